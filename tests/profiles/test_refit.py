"""Sources of scenes fitted again: other starts, bounds, components, neighbours and masks, every attempt kept."""

import json

import galsim
import numpy as np
import polars as pl
import pytest
from tests.profiles.stamps import draw, effective_psf
from tests.profiles.test_scene import BLEND, PSF, nearest, scene

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError
from skymere.profiles import (
    Component,
    FitParams,
    RefitEdit,
    SceneFit,
    SceneParams,
    SourcePlan,
    choose,
    fit_scene,
    group_of,
    refit,
    render,
    render_sersic,
)
from skymere.psf import Psf, PsfGrid

SHAPE = (140, 200)
FAR = {"x": 160.3, "y": 60.8, "flux": 2500.0, "re": 3.5, "n": 1.0, "q": 0.8, "pa": 70.0}
SOURCES = [*BLEND, FAR]
LABELS = nearest(SHAPE, SOURCES, 9.0)
NOISE = 0.3
DATA = (scene(SHAPE, SOURCES) + np.random.default_rng(2).normal(0, NOISE, SHAPE)).astype(np.float32)
GIVEN = {"labels": LABELS, "psf": PSF}


@pytest.fixture(scope="module")
def first() -> SceneFit:
    return fit_scene(DATA, NOISE, **GIVEN)


def best(fit: SceneFit) -> pl.DataFrame:
    return fit.table.filter("is_best").sort("label")


def check_attempts(fit: SceneFit) -> None:
    """Exactly one attempt of a label is the best, parents are there, and the images are those of the best."""
    for _, rows in fit.table.group_by("label"):
        attempts = rows.select("attempt", "parent_attempt", "is_best").unique().sort("attempt")
        assert attempts["attempt"].to_list() == list(range(attempts.height))
        assert attempts["is_best"].sum() == 1
        assert attempts["parent_attempt"][0] is None
        assert all(p < a for a, p in attempts.select("attempt", "parent_attempt").slice(1).iter_rows())
    np.testing.assert_allclose(fit.model + fit.residual, DATA, atol=1e-4)


def test_the_first_attempt_tells_its_start_and_its_group(first: SceneFit) -> None:
    check_attempts(first)
    assert first.table["attempt"].to_list() == [0, 0, 0]
    assert [group_of(first, label) for label in (1, 2, 3)] == [[1, 2], [1, 2], [3]]
    said = json.loads(first.table["start"][2])
    assert said["kind"] == "sersic"
    assert said["bounds"]["sersic_index"] == [0.1, 8.0]
    assert said["bounds"]["flux"] == [0.0, None]
    radius = np.sqrt(np.count_nonzero(first.labels == 3) / np.pi)
    assert said["bounds"]["r_eff_pix"] == pytest.approx([0.01, 2.5 * radius])
    assert said["reach_pix"] == 4.0
    assert said["start"]["x"] == pytest.approx(FAR["x"], abs=1.0)
    with pytest.raises(InvalidInputError, match="label: 9 is not allowed, the fit has 3 sources, 1 to 3"):
        group_of(first, 9)


def test_a_source_is_fitted_again_with_its_sibling_and_nothing_else_moves(first: SceneFit) -> None:
    edit = RefitEdit(label=2, start={"sersic_index": 3.0}, fixed=["sersic_index"])
    again = refit(first, DATA, NOISE, edits=[edit], **GIVEN)
    check_attempts(again)
    table = again.table
    assert table.select("label", "attempt").rows() == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]
    assert table["parent_attempt"].to_list() == [None, 0, None, 0, None]
    assert table["is_best"].to_list() == [False, True, False, True, True]
    # What was there before is kept to the bit.
    kept = table.filter(pl.col("attempt") == 0).drop("is_best")
    assert kept.equals(first.table.drop("is_best"))
    row = best(again).row(1, named=True)
    assert row["sersic_index"] == pytest.approx(3.0)
    assert np.isnan(row["sersic_index_err"])
    assert row["chi2"] > first.table["chi2"][1] + 10
    sibling = best(again).row(0, named=True)
    assert sibling["flux"] != first.table["flux"][0]
    assert json.loads(row["start"])["fixed"] == ["sersic_index"]
    # Free again from there, by a partial edit: the fit is that of before.
    freed = refit(again, DATA, NOISE, edits=[RefitEdit(label=2, fixed=())], **GIVEN)
    check_attempts(freed)
    assert best(freed)["parent_attempt"].to_list() == [1, 1, None]
    assert best(freed)["chi2"][1] == pytest.approx(first.table["chi2"][1], abs=0.5)
    np.testing.assert_allclose(best(freed)["flux"], first.table["flux"], rtol=2e-3)
    # What stays is subtracted as it is: the far source's model is the same.
    assert np.abs(freed.model - first.model)[:, 120:].max() < 1e-3 * first.model[:, 120:].max()


def test_bounds_that_exclude_a_wrong_solution_find_the_right_one() -> None:
    """The index of the blend's second source is held at a wrong value by the bounds of the first fit."""
    wrong = SourcePlan(label=2, components=[Component(bounds={"sersic_index": (3.5, 8.0), "r_eff_pix": (6.0, 50.0)})])
    bad = fit_scene(DATA, NOISE, sources=[wrong], **GIVEN)
    assert set(bad.table["bounds_hit"][1].to_list()) & {"sersic_index", "r_eff_pix"}
    edit = RefitEdit(label=2, bounds={"sersic_index": (0.3, 2.0), "r_eff_pix": (0.5, 5.0)})
    good = best(refit(bad, DATA, NOISE, edits=[edit], **GIVEN))
    for one, row in zip(SOURCES, good.iter_rows(named=True), strict=True):
        assert row["flux"] == pytest.approx(one["flux"], rel=0.02)
        assert row["r_eff_pix"] == pytest.approx(one["re"], rel=0.02)
    said = json.loads(good["start"][1])
    assert said["bounds"]["sersic_index"] == [0.3, 2.0]
    assert said["bounds"]["ellipticity"] == [0.0, 0.95]


def test_edits_of_any_order_and_any_threads_give_the_same(first: SceneFit) -> None:
    edits = [
        RefitEdit(label=3, start={"sersic_index": 2.0}),
        RefitEdit(label=1, start={"r_eff_pix": 3.0}),
        RefitEdit(label=2, bounds={"pa": (-60.0, -40.0)}),
    ]
    before = get_num_threads()
    found = []
    for n, some in ((1, edits), (2, edits), (2, edits[::-1])):
        set_num_threads(n)
        found.append(refit(first, DATA, NOISE, edits=some, **GIVEN))
    set_num_threads(before)
    for other in found[1:]:
        assert found[0].table.equals(other.table)
        assert np.array_equal(found[0].model, other.model)
    check_attempts(found[0])
    assert found[0].table["attempt"].to_list() == [0, 1, 0, 1, 0, 1]


def test_other_components_and_kinds_are_attempts_too(first: SceneFit) -> None:
    parts = [Component(kind="exponential"), Component(kind="point", centre_of=0)]
    both = refit(first, DATA, NOISE, edits=[RefitEdit(label=3, components=parts)], **GIVEN)
    check_attempts(both)
    rows = best(both).filter(pl.col("label") == 3)
    assert rows["component"].to_list() == [0, 1]
    assert rows["kind"].to_list() == ["exponential", "point"]
    assert rows["flux"][0] == pytest.approx(FAR["flux"], rel=0.02)
    assert abs(rows["flux"][1]) < 5 * rows["flux_err"][1]
    # One of them changes: the other one goes on as it was.
    edit = RefitEdit(label=3, component=1, start={"flux": 50.0}, fixed=["flux"])
    held = best(refit(both, DATA, NOISE, edits=[edit], **GIVEN)).filter(pl.col("label") == 3)
    assert held["flux"][1] == pytest.approx(50.0)
    assert held["x"][0] == held["x"][1]
    moffat = best(refit(first, DATA, NOISE, edits=[RefitEdit(label=3, kind="moffat")], **GIVEN))
    assert moffat["kind"][2] == "moffat"
    assert moffat["beta"][2] > 1.2
    assert np.isnan(moffat["sersic_index"][2])


def test_neighbours_and_masks_can_be_changed(first: SceneFit) -> None:
    alone = refit(first, DATA, NOISE, edits=[RefitEdit(label=2, neighbours=())], **GIVEN)
    check_attempts(alone)
    assert group_of(alone, 2) == [2]
    assert alone.table.filter(pl.col("label") == 1).height == 1
    all_three = refit(alone, DATA, NOISE, edits=[RefitEdit(label=3, neighbours=(1, 2))], **GIVEN)
    check_attempts(all_three)
    assert sorted(group_of(all_three, 1)) == [1, 2, 3]
    assert best(all_three)["attempt"].to_list() == [1, 2, 1]
    np.testing.assert_allclose(best(all_three)["flux"], [one["flux"] for one in SOURCES], rtol=0.02)
    # A mask counts from the attempt on that has it.
    mask = np.zeros(SHAPE, bool)
    mask[50:56] = True
    masked = refit(first, DATA, NOISE, edits=[RefitEdit(label=3, mask=mask)], **GIVEN)
    n_masked = first.table["dof"][2] - best(masked)["dof"][2]
    assert n_masked > 200
    later = refit(masked, DATA, NOISE, edits=[RefitEdit(label=3, start={"pa": 60.0})], **GIVEN)
    assert best(later)["dof"][2] == best(masked)["dof"][2]
    from_first = refit(masked, DATA, NOISE, edits=[RefitEdit(label=3, attempt=0)], **GIVEN)
    assert best(from_first)["dof"][2] == first.table["dof"][2]
    assert best(from_first)["parent_attempt"][2] == 0


def test_an_older_attempt_can_be_the_best_again(first: SceneFit) -> None:
    edit = RefitEdit(label=3, start={"sersic_index": 6.0}, fixed=["sersic_index"])
    worse = refit(first, DATA, NOISE, edits=[edit], **GIVEN)
    assert np.abs(worse.model - first.model).max() > 0.1
    undone = choose(worse, 3, 0)
    check_attempts(undone)
    assert best(undone)["attempt"].to_list() == [0, 0, 0]
    np.testing.assert_allclose(undone.model, first.model, atol=1e-3)
    np.testing.assert_allclose(undone.residual, first.residual, atol=1e-3)
    assert choose(undone, 3, 1).table.equals(worse.table)
    for label, attempt, words in ((3, 5, "attempt: 5 of label 3"), (8, 0, "label: 8")):
        with pytest.raises(InvalidInputError, match=words):
            choose(worse, label, attempt)


def test_a_refit_that_fails_leaves_the_one_before_in_place(first: SceneFit) -> None:
    mask = LABELS >= 0
    failed = refit(first, DATA, NOISE, edits=[RefitEdit(label=3, mask=mask)], **GIVEN)
    check_attempts(failed)
    rows = failed.table.filter(pl.col("label") == 3)
    assert rows["status"].to_list() == ["ok", "failed"]
    assert rows["is_best"].to_list() == [True, False]
    np.testing.assert_allclose(failed.model, first.model, atol=1e-3)
    with pytest.raises(InvalidInputError, match="attempt: 1 of label 3 is not allowed, it has no result"):
        choose(failed, 3, 1)
    # And it can be tried again from the failure, or from a scene in which it had failed at once.
    broken = fit_scene(DATA, NOISE, sources=[SourcePlan(label=3, mask=mask)], **GIVEN)
    assert broken.table["status"].to_list() == ["ok", "ok", "failed"]
    mended = refit(broken, DATA, NOISE, edits=[RefitEdit(label=3, mask=np.zeros(SHAPE, bool))], **GIVEN)
    check_attempts(mended)
    assert best(mended)["flux"][2] == pytest.approx(FAR["flux"], rel=0.02)
    around = refit(broken, DATA, NOISE, edits=[RefitEdit(label=1)], **GIVEN)
    assert best(around)["flux"][0] == pytest.approx(BLEND[0]["flux"], rel=0.02)


def test_the_stored_result_is_drawn_as_the_model(first: SceneFit) -> None:
    drawn = render_sersic(
        SHAPE,
        **{name: best(first)[name].to_numpy() for name in ("x", "y", "flux", "pa")},
        re=best(first)["r_eff_pix"].to_numpy(),
        n=best(first)["sersic_index"].to_numpy(),
        q=1 - best(first)["ellipticity"].to_numpy(),
        psf=PSF,
    )
    assert np.abs(drawn - first.model).max() < 1e-3 * drawn.max()


def test_plans_hold_sources_name_their_components_and_their_neighbours() -> None:
    held = Component(
        start={
            "x": BLEND[1]["x"],
            "y": BLEND[1]["y"],
            "flux": BLEND[1]["flux"],
            "r_eff_pix": BLEND[1]["re"],
            "sersic_index": BLEND[1]["n"],
            "ellipticity": 1 - BLEND[1]["q"],
            "pa": BLEND[1]["pa"],
        }
    )
    plans = [
        SourcePlan(label=2, components=[held], is_held=True),
        SourcePlan(
            label=3,
            components=[Component(kind="exponential"), Component(kind="sky", start={"sky": 0.0}, fixed=["sky"])],
        ),
    ]
    fit = fit_scene(DATA, NOISE, sources=plans, **GIVEN)
    rows = fit.table
    assert rows["is_held"].to_list() == [False, True, False]
    assert rows["n_group"].to_list() == [1, 1, 1]
    assert rows["kind"].to_list() == ["sersic", "sersic", "exponential"]
    assert rows["flux"][1] == BLEND[1]["flux"]
    assert rows["status"].to_list() == ["ok"] * 3
    assert rows["sky"][2] == 0.0
    assert rows["sersic_index"][2] == pytest.approx(1.0)
    # With the neighbour's true model subtracted the source alone is right.
    assert rows["flux"][0] == pytest.approx(BLEND[0]["flux"], rel=0.02)
    # An edit frees what was held; the sky that was asked for stays.
    free = best(refit(fit, DATA, NOISE, edits=[RefitEdit(label=2), RefitEdit(label=3)], **GIVEN))
    assert not free["is_held"][1]
    assert free["flux_err"][1] > 0
    assert free["sky"][2] == 0.0
    together = fit_scene(DATA, NOISE, sources=[SourcePlan(label=3, neighbours=[1])], **GIVEN)
    assert [group_of(together, label) for label in (1, 2, 3)] == [[1, 3], [2], [1, 3]]


def test_evaluations_are_bounded_whatever_the_source() -> None:
    """Noise, a spike and an edge of the image as sources: all end, and say how."""
    rng = np.random.default_rng(5)
    data = rng.normal(0, 1, (120, 120)).astype(np.float32)
    data[60, 60] += 1e6
    data[:3] += 50
    labels = np.zeros(data.shape, int)
    labels[20:30, 20:30], labels[58:63, 58:63], labels[:3, 40:90] = 1, 2, 3
    params = SceneParams(fits=FitParams(max_evaluations=12, max_starts=2))
    table = fit_scene(data, 1.0, labels=labels, psf=PSF, params=params).table
    assert table.height == 3
    assert table["n_evaluations"].max() <= 12


def test_groups_take_the_psf_of_their_place() -> None:
    """FWHM of 2.6 pixels at the left and of 4 at the right."""
    shape = (100, 240)
    narrow, wide = (draw(effective_psf(fwhm), (61, 61)) for fwhm in (2.6, 4.0))
    grid = PsfGrid(x=(40.0, 200.0), y=(50.0,), psfs=tuple(Psf(data=one.astype(np.float32)) for one in (narrow, wide)))
    shape_of = {"flux": 3000.0, "re": 3.0, "n": 1.0, "q": 0.7, "pa": 20.0}
    places = [{"x": 40.2, "y": 50.3} | shape_of, {"x": 199.6, "y": 49.8} | shape_of]
    data = np.zeros(shape)
    for one, fwhm in zip(places, (2.6, 4.0), strict=True):
        profile = galsim.Sersic(n=1.0, half_light_radius=3.0 * np.sqrt(0.7), flux=3000.0)
        seen = galsim.Convolve(profile.shear(q=0.7, beta=110 * galsim.degrees), effective_psf(fwhm))
        data += draw(seen.shift(one["x"] - 119.5, one["y"] - 49.5), shape)
    data += np.random.default_rng(1).normal(0, 0.1, shape)
    labels = nearest(shape, places, 10.0)
    found = fit_scene(data, 0.1, labels=labels, psf=grid)
    np.testing.assert_allclose(found.table["r_eff_pix"], 3.0, rtol=0.01)
    np.testing.assert_allclose(found.table["flux"], 3000.0, rtol=0.01)
    assert found.residual.std() < 0.105
    constant = fit_scene(data, 0.1, labels=labels, psf=narrow).table
    assert abs(constant["r_eff_pix"][1] / 3.0 - 1) > 0.1
    again = refit(found, data, 0.1, labels=labels, psf=grid, edits=[RefitEdit(label=2)])
    assert best(again)["r_eff_pix"][1] == pytest.approx(3.0, rel=0.01)
    with pytest.raises(InvalidInputError, match="psf: a PsfGrid is not allowed here"):
        render((50, 50), [Component(kind="point", start={"x": 20.0, "y": 20.0, "flux": 1.0})], psf=grid)


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([RefitEdit(label=7)], "label: 7 is not allowed, the fit has 3 sources"),
        ([RefitEdit(label=1, neighbours=(7,))], "neighbours: label: 7"),
        ([RefitEdit(label=1, attempt=4)], "attempt: 4 of label 1"),
        ([RefitEdit(label=1, component=1)], "component: 1 of label 1"),
        ([RefitEdit(label=1), RefitEdit(label=1)], "component: 0 of label 1"),
        ([RefitEdit(label=1, start={"radius": 3.0})], "start: 'radius'"),
        ([RefitEdit(label=1, bounds={"beta": (2.0, 3.0)})], "bounds: 'beta'"),
    ],
)
def test_bad_edits_are_named(first: SceneFit, edits: list[RefitEdit], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        refit(first, DATA, NOISE, edits=edits, **GIVEN)


def test_other_bad_input_is_named(first: SceneFit) -> None:
    with pytest.raises(InvalidInputError, match=r"labels: \[3\] are not allowed to come or go"):
        refit(first, DATA, NOISE, labels=np.where(LABELS == 3, 0, LABELS), psf=PSF, edits=[RefitEdit(label=1)])
    with pytest.raises(InvalidInputError, match="components: they are not allowed with start"):
        RefitEdit(label=1, start={"x": 1.0}, components=[Component()])
    with pytest.raises(InvalidInputError, match="mask"):
        refit(first, DATA, NOISE, edits=[RefitEdit(label=1, mask=np.zeros((3, 3), bool))], **GIVEN)
    for plans, words in (
        ([SourcePlan(label=9)], "sources: label 9 is not allowed"),
        ([SourcePlan(label=1), SourcePlan(label=1)], "each may be there once"),
        ([SourcePlan(label=1, neighbours=[12])], "sources: label 12"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            fit_scene(DATA, NOISE, sources=plans, **GIVEN)
    with pytest.raises(InvalidInputError, match=r"flux, .* of label 1 is missing, which is to be held"):
        SourcePlan(label=1, components=[Component(start={"x": 1.0, "y": 1.0})], is_held=True)
    with pytest.raises(InvalidInputError, match="it needs a source"):
        SourcePlan(label=1, components=[Component(kind="sky")])
