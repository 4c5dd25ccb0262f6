"""Fluxes of bands that GalSim drew: pulls, bias and shifts; rotated, flipped and of any pixel scale."""

import numpy as np
import pytest

from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.segmentation import MeasureImage

from . import scenes

KINDS = {"plain": (0.11, -0.07), "rotated": (-0.08, 0.12), "flipped": (0.10, 0.09), "ground": (0.05, 0.03)}


def spread(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def check_fluxes_and_shifts(kind: str, *, n: int, side: int, n_noise: int) -> None:
    """Limits are those of issue 7, except where a smaller sample needs three of its standard deviations."""
    scene = scenes.make_scene(kind, n=n, side=side, seed=11, shift=KINDS[kind])
    scale = scene.grid.scale_arcsec
    params = PhotometryParams(shift=ShiftParams(method="joint"))

    def measure(data: np.ndarray):
        image = MeasureImage(data=data, error=1.0, grid=scene.grid)
        return forced_photometry(image, models=scene.models, psf=scene.psf, params=params)

    clean = measure(scene.truth)
    assert clean.warnings == ()
    off = (np.array(clean.shift.arcsec) - scene.shift) / scale
    rng = np.random.default_rng(5)
    pulls, distances, moves, ratios = [], [], [], []
    for _ in range(n_noise):
        found = measure(scene.truth + rng.normal(size=scene.truth.shape))
        assert (found.table["status"] == "ok").all()
        difference = found.table["flux"].to_numpy() - scene.flux
        error = found.table["err_formal"].to_numpy()
        pulls.append(difference / error)
        distances.append(found.chi2_of(difference) / n)
        moves.append((np.array(found.shift.arcsec) - scene.shift) / found.shift.error_arcsec)
        ratios.append((difference / scene.flux)[scene.flux > 20 * error])
    pull, distance, bias = spread(np.concatenate(pulls)), np.sqrt(np.mean(distances)), np.median(np.concatenate(ratios))
    pull_of_shift = float(np.sqrt(np.mean(np.square(moves))))
    print(
        f"{kind}: pull {pull:.3f}, distance {distance:.3f}, bias {100 * bias:.3f} %, shift off by "
        f"{np.abs(off).max():.1e} pix without noise, its pull {pull_of_shift:.2f}"
    )
    assert pull == pytest.approx(1.0, abs=0.05)
    assert distance == pytest.approx(1.0, abs=0.03)
    assert abs(bias) < 0.003
    assert np.abs(off).max() < 0.003
    assert pull_of_shift == pytest.approx(1.0, abs=max(0.2, 3 / np.sqrt(4 * n_noise)))


@pytest.mark.parametrize("kind", KINDS)
def test_pulls_bias_and_shifts_of_a_band(kind: str) -> None:
    check_fluxes_and_shifts(kind, n=120, side=200, n_noise=25)


@pytest.mark.validate
@pytest.mark.parametrize("kind", KINDS)
def test_pulls_bias_and_shifts_of_a_large_band(kind: str) -> None:
    check_fluxes_and_shifts(kind, n=400, side=370, n_noise=60)


def test_the_sign_of_a_shift_is_that_of_the_sky() -> None:
    """The band's sources lie to the east and north of the models by what is stored, whatever its pixels look like."""
    for kind in KINDS:
        scene = scenes.make_scene(kind, n=12, side=90, seed=3, shift=(0.15, 0.0), faint=300.0)
        image = MeasureImage(data=scene.truth, error=1.0, grid=scene.grid)
        params = PhotometryParams(shift=ShiftParams(method="joint"))
        found = forced_photometry(image, models=scene.models, psf=scene.psf, params=params)
        assert found.shift.arcsec == pytest.approx((0.15, 0.0), abs=0.003 * scene.grid.scale_arcsec)
        # Given to another run it is no longer there: what is left asks for no move.
        given = ShiftParams(shift_arcsec=found.shift.arcsec)
        again = forced_photometry(image, models=scene.models, psf=scene.psf, params=PhotometryParams(shift=given))
        np.testing.assert_allclose(again.table["move_east"], 0.0, atol=0.01)
        without = forced_photometry(image, models=scene.models, psf=scene.psf)
        assert np.median(without.table["move_east"]) == pytest.approx(0.15, rel=0.2)
        assert abs(np.median(without.table["move_north"])) < 0.03
        assert np.median(without.table["dipole"]) > 10 * np.median(again.table["dipole"])
