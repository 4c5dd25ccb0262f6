"""Strips are the same every time, and show what differs between two states of a lake."""

import re

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake
from skymere.viewer import (
    changed_sources,
    compare_strips,
    comparison_figure,
    source_strips,
    strip_assets,
    strip_figure,
)
from skymere.viewer.report_compare import state_of
from skymere.viewer.report_html import png_bytes
from skymere.viewer.strips import PANELS


@pytest.fixture(scope="module")
def states(lake):
    return [Lake.open(lake.path, release=name) for name in ("DR1", "DR2")]


def test_a_strip_is_the_same_to_the_last_byte_every_time(lake, small):
    ids = small.ids(lake)[:2]
    strips = [source_strips(Lake.open(lake.path), ids) for _ in range(2)]
    assert strip_assets(strips[0]).equals(strip_assets(strips[1]))
    pictures = [png_bytes(strip_figure(some[0])) for some in strips]
    assert pictures[0] == pictures[1]
    assert list(strips[0][0].panels) == list(PANELS)
    assert strips[0][0].words.startswith("z = 1.0800 (grism)")
    assert list(strips[0][1].panels) == ["direct", "segments", "models", "residual"]
    assert source_strips(lake, []) == []


def test_every_picture_has_a_digest_and_what_is_not_there_has_none(lake, small):
    first, second = small.ids(lake)[:2]
    assets = strip_assets(source_strips(lake, [first, second]))
    assert assets.height == 2 * len(PANELS)
    assert assets.filter(source_id=first)["sha256"].str.len_chars().to_list() == [64] * len(PANELS)
    absent = assets.filter(source_id=second, sha256="")["panel"].to_list()
    assert absent == ["beam", "line", "slit", "p(z)"]


def test_two_states_differ_where_the_survey_was_made_again(states, small):
    first = small.ids(states[1])[0]
    strips = [source_strips(one, [first]) for one in states]
    told = {row["panel"]: row for row in compare_strips(*strips).iter_rows(named=True)}
    # All noise is drawn anew and the source has moved; a state is the same as itself.
    assert {row["state"] for row in told.values()} == {"changed"}
    assert told["segments"]["largest"] == 1.0
    # Where the first curve is 8 decades below its maximum, the second is 4.1 sigma from its own.
    assert told["p(z)"]["largest"] == pytest.approx(4.4, abs=0.3)
    assert told["beam"]["largest"] > 1.0
    itself = compare_strips(strips[0], strips[0])
    assert set(itself["state"]) == {"same"}
    assert set(itself["largest"]) == {0.0}


def test_a_source_of_one_state_alone_is_told_from_one_without_a_product(states, small):
    lost = (set(small.ids(states[0])) - set(small.ids(states[1]))).pop()
    one = source_strips(states[0], [lost])
    told = dict(compare_strips(one, []).select("panel", "state").iter_rows())
    assert told["direct"] == "only first"
    assert dict(compare_strips([], one).select("panel", "state").iter_rows())["direct"] == "only second"
    assert png_bytes(comparison_figure(one[0], None)).startswith(b"\x89PNG")
    with pytest.raises(NotFoundError, match=f"{lost} is in none .* at DR2"):
        source_strips(states[1], [lost])


def test_the_third_line_is_the_second_less_the_first(states, small):
    first = small.ids(states[1])[0]
    strips = [source_strips(one, [first])[0] for one in states]
    figure = comparison_figure(*strips, captions=("A DR1", "B DR2"))
    lines = np.array(figure.axes).reshape(3, len(PANELS))
    one, two = (strip.panels["residual"] for strip in strips)
    drawn = np.asarray(lines[2, 3].images[0].get_array().filled(np.nan))
    known = np.isfinite(one.pixels) & np.isfinite(two.pixels)
    np.testing.assert_allclose(drawn[known], ((two.pixels - one.pixels) / one.noise)[known], rtol=1e-5, atol=1e-4)
    assert [line[0].get_ylabel() for line in lines] == ["A DR1", "B DR2", "B DR2 - A DR1"]


def test_what_cannot_be_compared_is_refused(lake, small):
    ids = small.ids(lake)
    strips = source_strips(lake, ids[:2])
    with pytest.raises(InvalidInputError, match="must be the same"):
        comparison_figure(*strips)
    with pytest.raises(InvalidInputError, match="None and None"):
        comparison_figure(None, None)
    with pytest.raises(InvalidInputError, match="'film'"):
        strip_figure(strips[0], names=["film"])


def test_sources_that_changed_are_ranked_and_states_have_names(lake, states, small):
    changed = changed_sources(*states)
    assert changed["source_id"][0] == small.ids(states[1])[0]
    assert changed["n_tables"].is_sorted(descending=True)
    assert changed["n_tables"][0] == 6
    assert re.search("redshift changed: [^;]*redshift", changed["what"][0])
    assert changed_sources(states[0], states[0]).is_empty()
    assert state_of(lake, "latest") is lake
    assert state_of(lake, "DR1").pinned == "DR1"
    run = states[0].live_run("source", small.TILE)
    assert state_of(lake, run).pinned == f"run {run}"
    with pytest.raises(NotFoundError, match="'DR9' is no release"):
        state_of(lake, "DR9")
