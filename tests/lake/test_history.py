"""What changed between versions."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import NotFoundError
from skymere.lake import table_dtypes


def publish(lake, survey, rows, bands=("f125w",), tile="east", **params):
    frame = survey.frame("source", rows, bands)
    frame = frame.select(name for name in frame.columns if name in table_dtypes("source", bands))
    with lake.run(stage="s", tile=tile, product="source", inputs=[], params=params) as run:
        run.publish(frame)
    return lake.history("source")[0]["version"]


def row(survey, k, bands=("f125w",), **values):
    return survey.empty_row("source", bands, source_id=k, ra=150.001 + 1e-5 * k, dec=1e-5 * k) | values


def test_rows_that_were_added_removed_or_changed_are_listed(lake, survey):
    first = publish(lake, survey, [row(survey, k) for k in range(1, 6)])
    rows = [row(survey, 1), row(survey, 2, flags=8), row(survey, 3, flags=1, label=77), row(survey, 5), row(survey, 9)]
    second = publish(lake, survey, rows, n=2)
    assert lake.diff("source", first, second).rows() == [
        (9, "added", []),
        (2, "changed", ["flags"]),
        (3, "changed", ["flags", "label"]),
        (4, "removed", []),
    ]
    back = lake.diff("source", second, first)
    assert back["change"].to_list() == ["added", "changed", "changed", "removed"]
    assert back["source_id"].to_list() == [4, 2, 3, 9]
    assert lake.diff("source", first, first).is_empty()


def test_runs_and_times_are_no_change_but_a_null_is(lake, survey):
    rows = [row(survey, 1, kron_radius=None), row(survey, 2, kron_radius=1.0), row(survey, 3, kron_radius=float("nan"))]
    first = publish(lake, survey, rows)
    second = publish(lake, survey, rows, n=2)
    assert lake.table("source", version=first).collect()["run_id"][0] != lake.live_run("source", "east")
    assert lake.diff("source", first, second).is_empty()
    rows[0]["kron_radius"], rows[1]["kron_radius"] = 2.0, None
    third = publish(lake, survey, rows, n=3)
    assert lake.diff("source", second, third)["columns"].to_list() == [["kron_radius"]] * 2


def test_a_new_band_changes_rows_that_have_a_value_in_it(lake, survey):
    bands = ("f125w", "f140w")
    first = publish(lake, survey, [row(survey, 1), row(survey, 2)])
    patterns = [name for name in table_dtypes("source", bands) if name.endswith("_f140w")]
    empty = dict.fromkeys(patterns)
    rows = [row(survey, 1, bands), row(survey, 2, bands, **empty)]
    second = publish(lake, survey, rows, bands, n=2)
    found = lake.diff("source", first, second)
    assert found["source_id"].to_list() == [1]
    assert set(found["columns"][0].to_list()) == set(patterns)


def test_a_random_change_is_that_of_brute_force(lake, survey):
    rng = np.random.default_rng(4)
    names = ("flags", "label", "area", "x", "flux_auto_f125w")
    old = {int(k): row(survey, int(k)) for k in rng.choice(100, 60, replace=False)}
    new = {int(k): row(survey, int(k)) for k in rng.choice(100, 60, replace=False)}
    expected = {k: ("removed", []) for k in old.keys() - new.keys()} | {
        k: ("added", []) for k in new.keys() - old.keys()
    }
    for k in sorted(old.keys() & new.keys()):
        touched = [name for name in names if rng.random() < 0.2]
        for name in touched:
            new[k][name] = old[k][name] + 1
        if touched:
            expected[k] = ("changed", sorted(touched))
    first = publish(lake, survey, list(old.values()))
    second = publish(lake, survey, list(new.values()), n=2)
    found = lake.diff("source", first, second)
    assert {k: (change, columns) for k, change, columns in found.iter_rows()} == expected
    assert {change for change, _ in expected.values()} == {"added", "removed", "changed"}


def test_tiles_that_stayed_are_not_read_and_compaction_changes_nothing(lake, survey):
    publish(lake, survey, [row(survey, 1)])
    west = [survey.empty_row("source", ("f125w",), source_id=50, ra=149.999, dec=0.0)]
    second = publish(lake, survey, west, tile="west")
    lake.compact("source")
    third = lake.history("source")[0]["version"]
    assert third > second
    assert lake.diff("source", second, third).is_empty()
    fourth = publish(lake, survey, [row(survey, 1, flags=4)], n=2)
    assert lake.diff("source", third, fourth).rows() == [(1, "changed", ["flags"])]


def test_changes_between_merged_files_are_found(lake, survey):
    rows = [row(survey, 1), row(survey, 2)]
    publish(lake, survey, [survey.empty_row("source", ("f125w",), source_id=50, ra=149.999, dec=0.0)], tile="west")
    publish(lake, survey, rows)
    lake.compact("source")
    first = lake.history("source")[0]["version"]
    publish(lake, survey, [row(survey, 1, flags=4)], n=2)
    lake.compact("source")
    second = lake.history("source")[0]["version"]
    assert len(list({file.path for file in lake._named("source").live(lake._delta(lake._named("source")))})) == 1
    assert lake.diff("source", first, second).rows() == [(1, "changed", ["flags"]), (2, "removed", [])]


def test_tables_with_keys_of_several_columns_are_compared_by_all_of_them(lake, survey):
    survey.publish(lake, "mosaic")
    first = lake.history("mosaic")[0]["version"]
    survey.publish(lake, "mosaic", version=2)
    second = lake.history("mosaic")[0]["version"]
    assert lake.diff("mosaic", first, second).is_empty()
    assert lake.diff("mosaic", first - 1, first)["band"].to_list() == ["f125w", "f140w"]


def test_versions_that_are_not_there_are_named(full):
    with pytest.raises(NotFoundError, match="99"):
        full.diff("source", 1, 99)
    with pytest.raises(NotFoundError, match="'nothing'"):
        full.diff("nothing", 1, 2)
    assert isinstance(full.history("source")[0]["timestamp"], int)
    assert full.table("source").select(pl.len()).collect().item() == 18


def test_two_runs_are_compared_by_parameters_inputs_and_code(lake, survey):
    def make(inputs, params):
        frame = survey.frame("source", [row(survey, 1)], ("f125w",))
        frame = frame.select(name for name in frame.columns if name in table_dtypes("source", ("f125w",)))
        with lake.run(stage="s", tile="east", product="source", inputs=inputs, params=params) as run:
            run.publish(frame)
        return lake.live_run("source", "east")

    old = make(
        [{"uri": "mosaic/east", "run": "a" * 16}, {"uri": "gone.fits", "sha256": "b" * 64}],
        {"fit": {"sigma": 3.0, "orders": ["A", "B"]}, "n": 1, "same": True},
    )
    new = make(
        [{"uri": "mosaic/east", "run": "c" * 16}], {"fit": {"sigma": 2.5, "orders": ["A"]}, "n": 1, "same": True}
    )
    found = lake.diff_runs(old, new[:9])
    assert found.rows() == [
        ("input", "gone.fits", "b" * 64, None),
        ("input", "mosaic/east", "a" * 16, "c" * 16),
        ("parameter", "fit.orders", '["A", "B"]', '["A"]'),
        ("parameter", "fit.sigma", "3.0", "2.5"),
    ]
    assert lake.diff_runs(old, old).is_empty()
    with pytest.raises(NotFoundError, match=r"'zzz'.*none"):
        lake.diff_runs(old, "zzz")
    with pytest.raises(NotFoundError, match="one run"):
        lake.diff_runs(old, "")
