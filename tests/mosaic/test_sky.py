"""Sky levels: each by itself, the lowest, matched in overlaps, and what cannot be matched."""

import numpy as np
import pytest

import skymere
from skymere.background import PedestalParams
from skymere.errors import InvalidInputError
from skymere.mosaic import FlagParams, MosaicParams, SkyParams, flag_exposures, solve_sky, subtractable_sky
from skymere.outliers import CosmicRayParams

STARS = [(x, y, 40.0, 0.3) for x in (-6.0, -2.0, 3.0) for y in (-5.0, 0.5, 4.0)]


def test_matched_skies_differ_by_the_true_offsets(make_exposure) -> None:
    true = [0.5, 0.62, 0.41, 0.7]
    places = [(0.0, 0.0), (3.0, 1.0), (-2.5, 2.0), (4.0, -3.0)]
    exposures = [
        make_exposure(f"e{i}", x=x, y=y, sky=sky, stars=STARS)
        for i, ((x, y), sky) in enumerate(zip(places, true, strict=True))
    ]
    solution = solve_sky(exposures, params=SkyParams(method="match"))
    # The median of 30 differences of cells with 64 pixels of noise 0.05 has an error of 0.002; 3 sigma.
    assert solution.levels == pytest.approx([v - 0.41 for v in true], abs=0.006)
    assert min(solution.levels) == 0.0
    assert solution.n_groups == 1
    assert len(solution.pairs) == 6
    assert solution.rms < 0.005 / 0.1**2


def test_globalmin_and_match_have_the_level_of_the_lowest(make_exposure) -> None:
    true = [0.5, 0.62, 0.41]
    exposures = [make_exposure(f"e{i}", x=2.0 * i, sky=sky, stars=STARS) for i, sky in enumerate(true)]
    levels = subtractable_sky(exposures, params=SkyParams(method="globalmin+match"))
    assert np.diff(levels) == pytest.approx(np.diff(true), abs=0.006)
    assert levels == pytest.approx(true, abs=0.01)


def test_a_field_full_of_emission_is_matched_without_steps(make_exposure) -> None:
    """F51: the levels of two exposures of a nebula differ by the nebula; their difference in the overlap does not."""
    nebula = [(9.0, 0.0, 4000.0, 5.0)]
    exposures = [make_exposure(f"e{i}", x=4.0 * i, sky=0.5, stars=nebula) for i in range(3)]
    alone = subtractable_sky(exposures, params=SkyParams(method="localmin"))
    assert np.ptp(alone) > 0.05
    matched = subtractable_sky(exposures, params=SkyParams(method="match"))
    assert np.ptp(matched) < 0.01


def test_nine_images_in_three_groups_are_reported_as_three_groups(make_exposure) -> None:
    exposures = [
        make_exposure(f"g{g}e{i}", x=60.0 * g + 2.0 * i, y=i, sky=0.3 + 0.1 * g + 0.02 * i)
        for g in range(3)
        for i in range(3)
    ]
    for method in ("match", "globalmin+match"):
        solution = solve_sky(exposures, params=SkyParams(method=method))
        assert solution.groups == tuple(tuple(f"g{g}e{i}" for i in range(3)) for g in range(3))
        with pytest.raises(InvalidInputError, match=r"3 groups without common sky.*g0e0, g0e1, g0e2; g1e0"):
            subtractable_sky(exposures, params=SkyParams(method=method))
    levels = subtractable_sky(exposures, params=SkyParams(method="globalmin+match", disconnected="apart"))
    assert levels == pytest.approx([0.3 + 0.1 * g + 0.02 * i for g in range(3) for i in range(3)], abs=0.01)


def test_chips_of_one_camera_get_one_level(make_exposure) -> None:
    chips = [make_exposure(f"v{v}c{c}", x=v, y=9.0 * c, sky=0.5 + 0.1 * v + 0.05 * c) for v in (0, 1) for c in (0, 1)]
    groups = {name: name[:2] for name in ("v0c0", "v0c1", "v1c0", "v1c1")}
    levels = subtractable_sky(chips, groups=groups)
    assert levels == pytest.approx([0.5, 0.5, 0.6, 0.6], abs=0.005)
    matched = solve_sky(chips, params=SkyParams(method="match"), groups=groups)
    assert matched.levels == pytest.approx([0.0, 0.0, 0.1, 0.1], abs=0.005)
    assert [(p.first, p.second) for p in matched.pairs] == [("v0", "v1")]


def test_levels_compare_as_brightness_and_are_stored_in_the_unit_of_each(make_exposure) -> None:
    """F43: a pixel of four times the area has four times the counts of the same sky."""
    fine = make_exposure("fine", sky=0.2, scale=0.1)
    coarse = make_exposure("coarse", sky=0.8, scale=0.2, shape=(40, 45))
    for method in ("globalmin", "globalmin+match"):
        levels = subtractable_sky([fine, coarse], params=SkyParams(method=method, cell_pix=4))
        assert levels[1] / levels[0] == pytest.approx(4.0, rel=0.02)


def test_statistics_limits_masks_and_dq_decide_about_the_level(make_exposure) -> None:
    exposure = make_exposure(sky=0.5, noise=0.1)
    data = exposure.data.copy()
    data[:20] += 0.4  # a quarter of the image
    bad = np.zeros(exposure.shape, bool)
    bad[:20] = True
    exposure = make_exposure(data=data, dq=bad.astype(np.uint32))

    def level(ignore_dq=(), masks=None, **values):
        params = SkyParams(pedestal=PedestalParams(**values))
        return solve_sky([exposure], params=params, ignore_dq=ignore_dq, masks=masks).levels[0]

    assert level() == pytest.approx(0.5, abs=0.01)
    mean, median, mode = (level(["hot"], statistic=s) for s in ("mean", "median", "mode"))
    assert mean == pytest.approx(0.6, abs=0.01)
    assert 0.51 < median < mean
    assert abs(mode - 0.5) < 0.05
    assert level(["hot"], upper=0.5) < 0.45
    assert level(["hot"], masks=[bad]) == pytest.approx(0.5, abs=0.01)
    own = SkyParams(ignore_dq=("hot",), pedestal=PedestalParams(statistic="mean"))
    assert subtractable_sky([exposure], params=own)[0] == pytest.approx(0.6, abs=0.01)


def test_given_values_are_taken_as_they_are(make_exposure) -> None:
    exposures = [make_exposure("a"), make_exposure("b")]
    given = SkyParams(method="user", user=(("b", 0.25), ("a", 0.125)))
    assert subtractable_sky(exposures, params=given) == [0.125, 0.25]
    with pytest.raises(InvalidInputError, match=r"values for \['a'\].*must be for \['a', 'b'\]"):
        subtractable_sky(exposures, params=SkyParams(method="user", user=(("a", 0.1),)))


def test_match_alone_with_cosmic_rays_or_inverse_variances_is_refused(make_exposure) -> None:
    match = SkyParams(method="match")
    with pytest.raises(InvalidInputError, match=r"'match' is not allowed.*use 'globalmin\+match'"):
        FlagParams(sky=match)
    alone = FlagParams(sky=match, cosmic_rays=None)
    with pytest.raises(InvalidInputError, match=r"'inverse_variance' is not allowed.*'globalmin\+match'"):
        MosaicParams(flag=alone, weight="inverse_variance")
    assert MosaicParams(flag=alone).weight == "exposure_time"
    flagged = flag_exposures([make_exposure("a"), make_exposure("b", sky=0.6)], params=alone)
    assert flagged[1].sky - flagged[0].sky == pytest.approx(0.1, abs=0.005)
    assert FlagParams(sky=SkyParams(method="globalmin+match"), cosmic_rays=CosmicRayParams()).sky.method


def test_matches_do_not_depend_on_the_number_of_threads(make_exposure) -> None:
    exposures = [make_exposure(f"e{i}", x=i, sky=0.4 + 0.1 * i, stars=STARS) for i in range(3)]
    before, found = skymere.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            skymere.set_num_threads(n_threads)
            found.append(solve_sky(exposures, params=SkyParams(method="globalmin+match")).levels)
    finally:
        skymere.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SkyParams(method="lowest"), "method: 'lowest' is not allowed"),
        (lambda: SkyParams(method="user"), "user: 0 values"),
        (lambda: SkyParams(cell_pix=0), "cell_pix: 0"),
        (lambda: SkyParams(disconnected="ignore"), "disconnected: 'ignore'"),
        (lambda: PedestalParams(statistic="sum"), "statistic: 'sum'"),
        (lambda: PedestalParams(lower=2.0, upper=1.0), "lower: 2.0"),
        (lambda: PedestalParams(bin_width=0.0), "bin_width: 0.0"),
    ],
)
def test_wrong_parameters_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_two_exposures_of_one_name_and_missing_masks_are_refused(make_exposure) -> None:
    with pytest.raises(InvalidInputError, match="each with a name of its own"):
        solve_sky([make_exposure("a"), make_exposure("a")])
    with pytest.raises(InvalidInputError, match="masks: 1 masks"):
        solve_sky([make_exposure("a"), make_exposure("b")], masks=[np.zeros((80, 90), bool)])
