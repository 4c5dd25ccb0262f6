"""Circles of anchors: neighbours that reach into them, faint anchors, and what the search shows."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.photometry.near import Cells
from skymere.segmentation import MeasureImage

from . import scenes

SHIFT = (-0.05, 0.03)


def place(x: list[float], y: list[float], **columns) -> tuple[scenes.Grid, pl.DataFrame]:
    grid = scenes.make_grid("plain", 101)
    ra, dec = grid.sky(np.array(x), np.array(y))
    return grid, pl.DataFrame({"source_id": range(1, len(x) + 1), "ra": ra, "dec": dec, **columns})


def measure(grid, models, data, **shift):
    image = MeasureImage(data=data, error=1.0, grid=grid)
    psf = scenes.psf_of("plain").drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
    return forced_photometry(image, models=models, psf=psf, params=PhotometryParams(shift=ShiftParams(**shift)))


@pytest.fixture(scope="module")
def beside():
    """An anchor and a far larger and brighter galaxy, whose middle is 11 arcsec away, 6 FWHM of the PSF."""
    grid, models = place(
        [50.2, 68.4],
        [49.7, 53.0],
        r_eff=[0.5, 4.5],
        sersic_index=[2.0, 1.0],
        ellipticity=[0.2, 0.1],
        pa_sky=[20.0, 80.0],
        kind=["sersic", "sersic"],
    )
    truth = scenes.draw_truth(grid, models, np.array([200.0, 20000.0]), scenes.psf_of("plain"), SHIFT)
    return grid, models, truth


@pytest.mark.parametrize("method", ["anchors", "grid"])
def test_an_extended_neighbour_that_reaches_into_the_circle_moves_nothing(beside, method: str) -> None:
    grid, models, truth = beside
    found = measure(grid, models, truth, method=method, anchors=(1,), radius_arcsec=3.0, step_arcsec=0.1)
    print(found.shift.arcsec, found.shift.error_arcsec)
    assert found.warnings == ()
    assert found.shift.arcsec == pytest.approx(SHIFT, abs=0.006)
    # Without it the slope of its light would be taken for a shift.
    alone = measure(grid, models[:1], truth, method="anchors", anchors=(1,), radius_arcsec=3.0)
    assert np.abs(np.array(alone.shift.arcsec) - SHIFT).max() > 0.1


@pytest.mark.parametrize(("step", "noise"), [(0.06, 0.0), (0.1, 0.0), (0.06, 1.0)])
def test_a_grid_finds_the_shift_far_below_its_step(beside, step: float, noise: float) -> None:
    grid, models, truth = beside
    data = 10 * truth + noise * np.random.default_rng(4).normal(size=truth.shape)
    found = measure(
        grid, models, data, method="grid", anchors=(1,), radius_arcsec=3.0, step_arcsec=step, max_arcsec=0.3
    )
    shift = found.shift
    n_steps = round(2 * 0.3 / step) + 1
    assert shift.chi2_map.shape == (n_steps, n_steps)
    assert shift.chi2_map.min() == 0.0
    j, i = divmod(int(np.argmin(shift.chi2_map)), n_steps)
    best = ((i - n_steps // 2) * step, (j - n_steps // 2) * step)
    assert best == pytest.approx(SHIFT, abs=step / 2 + 1e-9)
    assert shift.arcsec == pytest.approx(SHIFT, abs=0.003 if noise == 0 else 4 * max(shift.error_arcsec))
    # The width of the map is the error of the shift: chi square is a parabola near its least.
    assert shift.width_arcsec == pytest.approx(shift.error_arcsec, rel=0.25)


def test_the_residual_of_the_search_is_the_image_less_the_anchors_in_the_circle(beside) -> None:
    grid, models, truth = beside
    data = truth + np.random.default_rng(4).normal(size=truth.shape)
    found = measure(grid, models, data, method="anchors", anchors=(1,), radius_arcsec=3.0)
    residual = found.shift_residual
    y, x = np.indices(data.shape)
    ax, ay = (float(p[0]) for p in grid.pixels(models["ra"].to_numpy()[:1], models["dec"].to_numpy()[:1]))
    inside = np.hypot(x - ax, y - ay) <= 3.0 / 0.6
    assert np.array_equal(np.isfinite(residual), inside)
    assert residual[inside].std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * inside.sum()))
    assert np.abs(data - residual)[inside].max() > 10
    assert measure(grid, models, data, method="joint").shift_residual is None
    edge = measure(
        grid, models, data, method="grid", anchors=(1,), radius_arcsec=3.0, step_arcsec=0.01, max_arcsec=0.02
    )
    assert any("edge" in text for text in edge.warnings)
    assert np.isfinite(edge.shift_residual).sum() == inside.sum()
    ranked = measure(grid, models, 10 * data, method="ranked", n_anchors=2, radius_arcsec=3.0)
    assert np.isfinite(ranked.shift_residual).sum() > 1.5 * inside.sum()


def test_the_noise_around_a_faint_anchor_is_not_its_place(beside) -> None:
    grid, models, _ = beside
    dark = np.random.default_rng(5).normal(size=grid.shape)
    found = measure(
        grid, models[:1], dark, method="grid", anchors=(1,), step_arcsec=0.15, max_arcsec=0.6, shift_arcsec=(0.01, 0.02)
    )
    assert found.shift.arcsec == (0.01, 0.02)
    assert np.isnan(found.shift.error_arcsec).all()
    assert any("S/N" in text for text in found.warnings)
    assert found.shift.chi2_map.shape == (9, 9)


def test_starts_and_anchors_that_mean_nothing_are_refused() -> None:
    for arguments, name in [
        ({"shift_arcsec": (float("nan"), 0.0)}, "shift_arcsec"),
        ({"shift_arcsec": (0.0, float("inf"))}, "shift_arcsec"),
        ({"shift_arcsec": (0.0,)}, "shift_arcsec"),
        ({"method": "anchors", "anchors": (3, 4, 3)}, "anchors"),
        ({"radius_arcsec": float("nan")}, "radius_arcsec"),
    ]:
        with pytest.raises(InvalidInputError, match=name):
            ShiftParams(**arguments)


def test_cells_find_what_all_distances_find() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-40, 90, (2, 500))
    x[::50] = np.nan
    cells = Cells(x, y, 7.0)
    for px, py in rng.uniform(-50, 100, (60, 2)):
        expected = np.flatnonzero(np.hypot(x - px, y - py) < 7.0)
        assert cells.within(px, py).tolist() == expected.tolist()
    assert Cells(np.zeros(0), np.zeros(0), 1.0).within(0.0, 0.0).size == 0
    assert cells.within(np.nan, 0.0).size == 0
