"""Scores of beams, what is masked, shifts of traces and outliers, on simulated dithers of one source."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from matplotlib.patches import Rectangle

from skymere.datamodels import GrismConfig, GrismOrder
from skymere.errors import FitError, FormatError, InvalidInputError, NoDataError
from skymere.grism import (
    BEAM_ACTION_BIT,
    BeamAction,
    BeamModel,
    BeamParams,
    DrizzledFlagParams,
    MultiBeam,
    ScoreParams,
    actions_table,
    apply_beam_actions,
    apply_trace_shift,
    fit_trace_shift,
    flag_with_drizzled,
    plot_scores,
    read_beam_actions,
    score_beams,
    suggest_masks,
)
from skymere.testing import GrismSceneParams, simulate_grism

WAVE = np.linspace(1.0, 1.8, 4001)
PARAMS = BeamParams(sys_err=0.0, fcontam=0.0)


def _config():
    wave = np.linspace(10500.0, 17000.0, 400)
    edge = np.clip((wave - 10500) / 500, 0, 1) * np.clip((17000 - wave) / 500, 0, 1)
    terms = {
        "reference": [0.0, 0.0],
        "x_offset": [0.0],
        "y_offset": [0.0],
        "dydx": [[2.08], [0.0102]],
        "dldp": [[8951.0], [44.97]],
        "degree": 1,
        "wheel": None,
    }
    order = GrismOrder(
        name="A", form="polynomial", terms=terms, first=15, end=196, wavelength=wave, sensitivity=2e16 * edge
    )
    return GrismConfig(name="G141", orders={"A": order})


@pytest.fixture(scope="module")
def dithers():
    """Six dithers of a galaxy with a line, of one orientation."""
    rng, config = np.random.default_rng(2), _config()
    params = GrismSceneParams(segment_level=0.004, shape=(60, 300), oversampling=5, stamp_pix=16)
    sigma = 0.002
    flux = 2e-18 + 4e-17 * np.exp(-0.5 * ((WAVE - 1.4) / sigma) ** 2) / (sigma * 1e4 * 2.5066)
    models = []
    for k in range(6):
        x, y = rng.uniform(-0.5, 0.5, 2)
        source = pl.DataFrame({"id": [1], "x": [40 + x], "y": [30 + y], "flux": [50.0], "radius_pix": [1.5]})
        source = source.with_columns(sersic_n=pl.lit(1.0), q=pl.lit(0.7), pa_deg=pl.lit(20.0))
        scene = simulate_grism(source, {1: (WAVE, flux)}, config, params=params, seed=k + 1)
        beam = scene.beam(1, size=16)
        cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 16.0, "CRPIX2": 16.0, "CRVAL1": 150.0}
        cards |= {"CRVAL2": 2.0, "CD1_1": -3.6e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 3.6e-5}
        text = fits.Header(list(cards.items())).tostring(sep="\n", padding=False, endcard=False)
        beam = replace(beam, parent=f"dither{k}", headers={"direct": text}, grism="G141")
        models.append(BeamModel(beam, config.orders["A"], params=PARAMS))
    return MultiBeam(models)


def _with_data(multibeam, i, change):
    beams = list(multibeam.beams)
    one = beams[i]
    beams[i] = BeamModel(replace(one.beam, sci=change(one)), one.order, params=one.params)
    return MultiBeam(beams)


def _neighbour(one):
    """Light of a source that the contamination does not know, from 1.2 to 1.3 um."""
    inside = (one.wave > 1.2) & (one.wave < 1.3)
    return one.beam.sci + (2e-18 * one.flat * inside).astype(np.float32)


def test_clean_beams_have_scores_of_noise(dithers):
    scores = score_beams(dithers, params=ScoreParams(model_error=0.0))["score"].drop_nulls().to_numpy()
    # The others' noise and their differences in sub-pixel phase are in it; the worst of them is left out.
    assert scores.size > 150
    assert np.median(np.abs(scores)) / 0.6745 == pytest.approx(1.0, abs=0.3)
    assert suggest_masks(dithers, score_beams(dithers)) == []


def test_light_that_one_beam_alone_has_is_found_and_masked(dithers):
    bad = _with_data(dithers, 2, _neighbour)
    actions = suggest_masks(bad, score_beams(bad))
    assert {action.exposure_id for action in actions} == {"dither2"}
    assert {action.action for action in actions} == {"mask"}
    low, high = min(a.span[0] for a in actions), max(a.span[1] for a in actions)
    # A bin is 0.018 um.
    assert low == pytest.approx(1.2, abs=0.04)
    assert high == pytest.approx(1.3, abs=0.04)


def test_a_beam_that_is_off_everywhere_is_left_out(dithers):
    bad = _with_data(dithers, 4, lambda one: one.beam.sci + (2e-18 * one.flat).astype(np.float32))
    (action,) = suggest_masks(bad, score_beams(bad))
    assert (action.action, action.exposure_id) == ("omit", "dither4")
    assert apply_beam_actions(bad, [action]).N == 5


def test_of_two_beams_the_brighter_one_is_named(dithers):
    two = MultiBeam(_with_data(dithers, 1, _neighbour).beams[:2])
    assert {action.exposure_id for action in suggest_masks(two, score_beams(two))} == {"dither1"}


def test_masked_is_without_weight_and_not_without_data(dithers):
    action = BeamAction(source_id=1, exposure_id="dither3", wavelength_min=1.2, wavelength_max=1.3, author="me")
    masked = apply_beam_actions(dithers, [action])
    one, before = masked.beams[3], dithers.beams[3]
    inside = (one.wave >= 1.2) & (one.wave <= 1.3)
    np.testing.assert_array_equal(one.beam.sci, before.beam.sci)
    assert (one.ivar[:, inside] == 0).all()
    assert not one.fit_mask[:, inside].any()
    np.testing.assert_array_equal(one.ivar[:, ~inside], before.ivar[:, ~inside])
    assert (one.beam.dq[:, inside] & BEAM_ACTION_BIT).all()
    np.testing.assert_array_equal(masked.beams[2].fit_mask, dithers.beams[2].fit_mask)
    assert "dither3" in masked.records[-1]
    # Done again, it changes nothing.
    again = apply_beam_actions(masked, [action])
    np.testing.assert_array_equal(again.fit_mask, masked.fit_mask)


def test_the_strip_shows_each_beam_with_its_suggested_masks(dithers):
    import matplotlib.pyplot as plt

    bad = _with_data(dithers, 2, _neighbour)
    bad = _with_data(bad, 4, lambda one: one.beam.sci + (2e-18 * one.flat).astype(np.float32))
    for multibeam, spans in ((dithers, [0] * 6), (bad, [0, 0, 1, 0, 1, 0])):
        figure = plot_scores(multibeam)
        rows = [axes for part in figure.subfigs for axes in part.axes]
        assert len(rows) == multibeam.N
        shaded = [sum(isinstance(one, Rectangle) for one in axes.patches) for axes in rows]
        assert shaded == spans
        for i, axes in enumerate(rows):
            assert f"dither{i}" in axes.texts[0].get_text()
            assert ("OMIT" in axes.texts[0].get_text()) == (spans[i] == 1 and i == 4)
            points = next(one for one in axes.containers if one.get_label() != "x")[0].get_ydata()
            flux = score_beams(multibeam).filter(pl.col("beam") == i)["flux"].to_numpy() / 1e-19
            np.testing.assert_allclose(points, flux)
        plt.close(figure)
    # One beam has no others.
    figure = plot_scores(MultiBeam(dithers.beams[:1]))
    assert "no other beam" in figure.subfigs[0].axes[0].texts[0].get_text()
    plt.close(figure)


def _amplitude(multibeam):
    """The flux of a flat spectrum and its error."""
    weight = multibeam.ivarf * multibeam.fit_mask
    # The line is left out.
    weight = weight * (np.abs(multibeam.wavef - 1.4) > 0.06)
    power = (weight * multibeam.flat_flam**2).sum()
    return (weight * multibeam.flat_flam * multibeam.scif).sum() / power, power**-0.5


def test_a_mask_leaves_the_flux_unbiased_where_zeros_would_not(dithers):
    bad = _with_data(dithers, 2, _neighbour)
    action = BeamAction(source_id=1, exposure_id="dither2", wavelength_min=1.17, wavelength_max=1.33)
    truth, err = _amplitude(dithers)
    masked, _ = _amplitude(apply_beam_actions(bad, [action]))
    inside = (dithers.beams[2].wave > 1.17) & (dithers.beams[2].wave < 1.33)
    zeros, _ = _amplitude(_with_data(dithers, 2, lambda one: np.where(inside, 1e-12, one.beam.sci)))
    # A seventh of a sixth of the pixels are left out: the two estimates share the others.
    assert abs(masked - truth) < err
    assert abs(_amplitude(bad)[0] - truth) > 5 * err
    assert abs(zeros - truth) > 5 * err


def test_actions_are_written_and_read_and_do_the_same(dithers, tmp_path):
    actions = [
        BeamAction(source_id=1, exposure_id="dither3", wavelength_min=1.2, wavelength_max=1.3, reason="a, b"),
        BeamAction(source_id=1, exposure_id="dither0", action="omit", grating="g141", order="A", author="me"),
        BeamAction(source_id=2),
    ]
    actions_table(actions).write_csv(tmp_path / "actions.csv")
    again = read_beam_actions(tmp_path / "actions.csv")
    assert again == actions
    one, other = (apply_beam_actions(dithers, some) for some in (actions, again))
    np.testing.assert_array_equal(one.fit_mask, other.fit_mask)
    assert one.N == 5
    (tmp_path / "by_hand.csv").write_text("id,exposure,action\n1,dither1,omit\n")
    assert read_beam_actions(tmp_path / "by_hand.csv") == [
        BeamAction(source_id=1, exposure_id="dither1", action="omit")
    ]
    (tmp_path / "bad.csv").write_text("id,action\n1,mask\n1,paint\n")
    with pytest.raises(FormatError, match=r"row 2.*paint"):
        read_beam_actions(tmp_path / "bad.csv")
    (tmp_path / "other.csv").write_text("id,colour\n1,red\n")
    with pytest.raises(FormatError, match="colour"):
        read_beam_actions(tmp_path / "other.csv")
    with pytest.raises(NoDataError, match="all 6 beams"):
        apply_beam_actions(dithers, [BeamAction(source_id=1, action="omit")])
    with pytest.raises(InvalidInputError, match="wavelength_min"):
        BeamAction(source_id=1, wavelength_min=1.3, wavelength_max=1.2)


def test_a_trace_that_is_moved_by_0_4_pixels_is_found(dithers):
    """A3.21: to 0.05 pixels."""
    moved = apply_trace_shift(dithers, [0.4] * dithers.N)
    found = fit_trace_shift(moved)
    print("shifts", np.round(found.shifts, 3), "+-", np.round(found.errors, 3))
    np.testing.assert_allclose(found.shifts, -0.4, rtol=0, atol=0.05)
    assert found.chi2 < found.chi2_before
    together = fit_trace_shift(moved, together=True)
    np.testing.assert_allclose(together.shifts, -0.4, rtol=0, atol=0.03)
    assert (together.errors < 0.6 * found.errors).all()
    back = apply_trace_shift(moved, found)
    np.testing.assert_allclose([one.beam.y_shift for one in back.beams], 0.0, rtol=0, atol=0.05)
    with pytest.raises(InvalidInputError, match="shifts"):
        apply_trace_shift(dithers, [0.1])
    with pytest.raises(InvalidInputError, match="max_shift"):
        fit_trace_shift(dithers, max_shift=0)
    with pytest.raises(FitError, match="no best shift"):
        fit_trace_shift(moved, max_shift=0.2)


def test_a_masked_beam_has_no_shift_and_the_others_do(dithers):
    moved = apply_trace_shift(MultiBeam(dithers.beams[:3]), [0.4] * 3)
    first = moved.beams[0]
    masked = first.with_beam(replace(first.beam, dq=np.ones(first.shape, np.uint32)))
    some = MultiBeam([masked, *moved.beams[1:]])
    found, alone = fit_trace_shift(some), fit_trace_shift(MultiBeam(moved.beams[1:]))
    np.testing.assert_array_equal(found.shifts, [np.nan, *alone.shifts])
    np.testing.assert_array_equal(found.errors, [np.nan, *alone.errors])
    assert (found.chi2, found.chi2_before) == (alone.chi2, alone.chi2_before)
    back = [one.beam.y_shift for one in apply_trace_shift(some, found).beams]
    assert back == [0.4, *(0.4 + alone.shifts)]
    together = fit_trace_shift(some, together=True)
    np.testing.assert_allclose(together.shifts, -0.4, rtol=0, atol=0.05)
    with pytest.raises(FitError, match="no beam of source 1"):
        fit_trace_shift(MultiBeam([masked]))


def test_actions_that_meet_no_beam_are_recorded(dithers):
    action = BeamAction(source_id=1, exposure_id="dither9", action="omit", author="me", reason="a ghost")
    done = apply_beam_actions(dithers, [action, BeamAction(source_id=2)])
    assert done.N == dithers.N
    assert done.records == ("no beam of dither9: omit by me: a ghost",)


def test_actions_name_exposures_without_endings_and_orders_by_numbers(dithers, tmp_path):
    named = [one.with_beam(replace(one.beam, parent=f"{one.beam.parent}_flt.fits")) for one in dithers.beams]
    (tmp_path / "a.csv").write_text("source_id,exposure_id,order,action\n1,dither1,1,omit\n1,dither2_flt.fits,,omit\n")
    actions = read_beam_actions(tmp_path / "a.csv")
    assert [one.order for one in actions] == ["A", ""]
    left = apply_beam_actions(MultiBeam(named), actions)
    assert [one.beam.parent[:7] for one in left.beams] == ["dither0", "dither3", "dither4", "dither5"]
    with pytest.raises(InvalidInputError, match="order: '9'"):
        BeamAction(source_id=1, order="9")
    (tmp_path / "null.csv").write_text("source_id,action\n1,mask\n,omit\n")
    with pytest.raises(FormatError, match="row 2: source_id"):
        read_beam_actions(tmp_path / "null.csv")


def test_a_hot_pixel_in_one_of_six_beams_is_flagged_and_none_elsewhere(dithers):
    """A12.13."""
    one = dithers.beams[1]
    at = 16, 100
    hot = one.beam.sci.copy()
    hot[at] += 30 * one.beam.err[at]
    flagged, found = flag_with_drizzled(_with_data(dithers, 1, lambda _: hot))
    assert [int(bad.sum()) for bad in found] == [0, 1, 0, 0, 0, 0]
    assert found[1][at]
    assert flagged.beams[1].ivar[at] == 0
    with pytest.raises(InvalidInputError, match="min_others"):
        DrizzledFlagParams(min_others=1)
