"""Pictures of a group and of its stages, on slitlets with known numbers."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from scipy.special import ndtr

from skymere.errors import InvalidInputError, NoDataError
from skymere.outliers import flag_from_profile
from skymere.slit import (
    GaussianProfile,
    ShutterOffset,
    SlitGroup,
    combine_grating_group,
    plot_outliers,
    plot_shutter_offset,
    plot_sky,
    plot_summary,
)
from skymere.spectra import LineComplex, SplineContinuum, fit_redshift

GRID = 1.0 + 0.05 * np.arange(2, 58)
QUIET = {
    "sky_file": None,
    "set_background_spectra_kwargs": None,
    "flag_percentile_kwargs": None,
    "flag_trace_kwargs": None,
    "fix_prism_norm": False,
    "undo_barshadow": 0,
    "with_extra_dq": False,
    "stuck_threshold": 1e-9,
    "lookup_prf": GaussianProfile(wave=[0.5, 6.0], fwhm_pix=[1.5, 1.5]),
}
PLOT = {"make_plot": True}


@pytest.fixture
def group(made):
    """Three nods of a source of 1 uJy with a line of 10 uJy at 2.5 um, on a sky of 2 uJy; one pixel is hot."""
    slits = []
    for k, step in enumerate((0.0, 0.5, -0.5)):
        one = made.slitlet(k, y_offset=step, seed=5)
        rows = np.arange(25.0) - (12.0 + step / made.PIXEL_ARCSEC)
        sigma = np.hypot(1.5 / 2.35, 0.5)
        light = ndtr((rows + 0.5) / sigma) - ndtr((rows - 0.5) / sigma)
        flux = 1.0 + 10.0 * np.exp(-0.5 * ((one.geometry.wavelength[12] - 2.5) / 0.05) ** 2)
        sci = one.sci + light[:, None] * flux
        sci[20, 40 + k] += 30.0
        slits.append(replace(one, sci=sci.astype(np.float32)))
    return SlitGroup(slits, "made", tables=made.tables(), slit_hotpix_kwargs=None, **QUIET)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


def circled(axis):
    """Return how many points are circled or arrows at the edge."""
    marked = [line for line in axis.lines if line.get_marker() in ("o", "^", "v")]
    return sum(len(line.get_xdata()) for line in marked)


def test_every_flagger_draws_what_it_leaves_out(group):
    valid = group.mask.copy()
    for name, words in (
        ("flag_percentile_outliers", {}),
        ("flag_trace_outliers", {}),
        ("flag_from_profile", {"require_multiple": False}),
        ("flag_2d_outliers", {"threshold": (-3, 3)}),
    ):
        before = group.mask.copy()
        assert name not in group.figures
        getattr(group, name)(**words, **PLOT)
        figure = group.figures[name]
        assert isinstance(figure, Figure)
        assert circled(figure.axes[0]) == (before & ~group.mask).sum(), name
        assert figure.axes[0].get_xlabel().startswith("distance" if name == "flag_from_profile" else "wavelength")
    assert (valid & ~group.mask).sum() >= 3
    # Without make_plot nothing is drawn.
    drawn = dict(group.figures)
    group.flag_trace_outliers()
    assert group.figures == drawn


def test_stages_of_the_constructor_draw_when_asked(group):
    asked = {"flag_trace_kwargs": PLOT, "flag_profile_kwargs": PLOT, "flag_percentile_kwargs": PLOT}
    words = QUIET | asked
    again = SlitGroup(group.slits, "made", tables=group.tables, **words)
    assert sorted(again.figures) == ["flag_from_profile", "flag_percentile_outliers", "flag_trace_outliers"]


def test_limits_of_flaggers_are_drawn_where_they_are(group):
    found = flag_from_profile(group.data, group.var_total, group.yslit, valid=group.mask)
    figure = plot_outliers(found, group.data, group.wave, group.yslit, valid=group.mask, against="yslit")
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    for name in ("high", "low", "p5", "p50", "p95"):
        assert any(np.array_equal(one, found.curves[name]) for one in drawn), name
    with pytest.raises(InvalidInputError, match="against: 'x'"):
        plot_outliers(found, group.data, group.wave, group.yslit, against="x")
    with pytest.raises(NoDataError, match="no pixel is valid"):
        plot_outliers(found, group.data, group.wave, group.yslit, valid=np.zeros_like(group.mask))


def test_the_sky_is_drawn_with_the_pixels_it_is_from(group):
    axes = Figure().subplots(2, 1)
    sky = np.full(group.sci.shape, 2.0)
    used = group.mask & (np.abs(group.yslit) > 4)
    words = {"used": used, "ax": axes}
    figure = plot_sky(group.sci, group.var_total, group.wave, group.yslit, sky, **words)
    assert figure is axes[0].figure
    points = [one.get_offsets() for one in axes[0].collections if len(one.get_offsets()) == used.sum()]
    assert np.allclose(np.sort(points[0][:, 1]), np.sort(group.sci[used]))
    (text,) = [one.get_text() for one in axes[1].texts]
    # The noise of the simulated slitlets is what their variances say; some 2800 pixels know it to 2 per cent.
    assert 0.93 < float(text.split()[1]) < 1.07
    with pytest.raises(InvalidInputError, match="ax: 1 axes"):
        plot_sky(group.sci, group.var_total, group.wave, group.yslit, sky, used=used, ax=axes[0])
    with pytest.raises(NoDataError, match="no pixel"):
        plot_sky(group.sci, group.var_total, group.wave, group.yslit, sky, used=np.zeros_like(used))


def test_the_chi2_of_an_offset_is_drawn_with_its_error():
    at = np.linspace(-0.2, 0.2, 21)
    found = ShutterOffset(
        status="ok", offset=0.05, offset_err=0.02, chi2=10.0, samples=at, sample_chi2=10 + (at - 0.05) ** 2, n_pixels=99
    )
    axis = Figure().subplots()
    plot_shutter_offset(found, ax=axis)
    assert np.array_equal(axis.lines[0].get_ydata(), found.sample_chi2 - 10.0)
    assert "0.0500 +- 0.0200 pix" in axis.get_title(loc="left")
    with pytest.raises(NoDataError, match="bright_source"):
        plot_shutter_offset(replace(found, status="bright_source", samples=np.empty(0)))


def combined(group):
    group.fit_all_traces(degree=0)
    return combine_grating_group(group, wave_grid=GRID, with_pathloss=False)


def test_differences_and_profiles_show_what_was_fitted(group, tmp_path):
    assert len(group.plot_2d_differences().axes) == 3
    combined(group)
    figure = group.plot_2d_differences()
    assert len(figure.axes) == 9
    axis = Figure().subplots()
    profile = group.plot_profile(ax=axis)
    assert profile is axis.figure
    for one in (figure, profile, group.plot_profile(exp=1, fit_result=group.fit[1])):
        one.savefig(tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size > 5000
    # The mean of the middle is the light of the source there, a constant part of which is in every column.
    means = next(c for c in axis.containers if c.get_label() == "weighted mean").lines[0]
    assert means.get_ydata().max() > 0.2
    assert abs(means.get_xdata()[np.argmax(means.get_ydata())]) <= 0.5


def test_the_page_of_a_source_shows_flux_model_and_redshift(group, tmp_path):
    spectrum = combined(group)
    page = plot_summary(spectrum, lines={"line": 2.0}, redshift=0.25)
    drawn = [line.get_ydata() for axis in page.axes for line in axis.lines if len(line.get_xdata()) == GRID.size]
    assert any(np.array_equal(one, spectrum.flux) for one in drawn)
    assert "line" in [text.get_text() for axis in page.axes for text in axis.texts]
    line = LineComplex(name="Made", wave=(2.0,))
    power = np.full(GRID.size, 25.0)
    given = (GRID, spectrum.flux, spectrum.err, power)
    fit = fit_redshift(given, templates=(SplineContinuum(n_functions=7), line), z_range=(0.0, 0.6))
    page = plot_summary(spectrum, fit=fit)
    drawn = [line.get_ydata() for axis in page.axes for line in axis.lines if len(line.get_xdata()) == GRID.size]
    assert any(np.array_equal(one, fit.model) for one in drawn)
    assert f"z = {fit.z:.4f}" in page.get_suptitle()
    assert fit.z == pytest.approx(0.25, abs=0.02)
    assert "Made" in [text.get_text() for axis in page.axes for text in axis.texts]
    page.savefig(tmp_path / "a.png")
    with pytest.raises(InvalidInputError, match="no flux"):
        plot_summary(replace(spectrum, flux=np.full(GRID.size, np.nan)))
    other = replace(spectrum, table=pl.DataFrame(), flux=spectrum.flux[:-1], covariance=spectrum.covariance[:-1])
    with pytest.raises(InvalidInputError, match="fit: a model of shape"):
        plot_summary(other, fit=fit)
