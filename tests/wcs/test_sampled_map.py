import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere.errors import InvalidInputError
from skymere.wcs import Grid, pixel_map, pixel_transform, sample_pixel_map

SHAPE = (300, 410)


class Ape14:
    """A WCS of which only the APE-14 low-level interface is known, with dec as the first world axis."""

    pixel_n_dim = world_n_dim = 2
    world_axis_physical_types = ("pos.eq.dec", "pos.eq.ra")

    def __init__(self, wcs):
        self._wcs = wcs

    def pixel_to_world_values(self, x, y):
        return self._wcs.pixel_to_world_values(x, y)[::-1]

    def world_to_pixel_values(self, dec, ra):
        return self._wcs.world_to_pixel_values(ra, dec)


def zenithal(code="ZPN"):
    """A strongly curved projection that is not TAN."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{code}", f"DEC--{code}"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [53.0, -28.0], [200.0, 150.0], [-2e-3, 2e-3]
    if code == "ZPN":
        wcs.wcs.set_pv([(2, 1, 1.0), (2, 3, 40.0)])
    wcs.wcs.set()
    return wcs


def smooth(x, y):
    return 2.0 * x + 1e-5 * x * y + 3e-8 * x**3, y - 2e-5 * x * y + 1e-10 * y**4


def exact(transform, shape=SHAPE):
    y, x = np.indices(shape, dtype=float)
    return np.stack(transform(x, y), axis=-1)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6, 1e-9])
def test_the_measured_error_is_within_the_tolerance_and_is_the_true_one(tolerance):
    sampled = sample_pixel_map(smooth, SHAPE, tolerance_pix=tolerance)
    true = np.hypot(*np.moveaxis(sampled.pixmap - exact(smooth), -1, 0)).max()
    assert sampled.max_error_pix <= tolerance
    assert true <= 1.3 * sampled.max_error_pix + 1e-12


def test_a_tighter_tolerance_takes_a_finer_step_down_to_every_pixel():
    def wavy(x, y):
        return x + 0.3 * np.sin(x / 9), y + 0.3 * np.cos(y / 11)

    steps = [sample_pixel_map(wavy, SHAPE, tolerance_pix=t).step_pix for t in (1.0, 1e-2, 1e-4, 1e-12)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 30
    assert steps[-1] == 1
    assert np.array_equal(sample_pixel_map(wavy, SHAPE, tolerance_pix=1e-12).pixmap, exact(wavy))


def test_kinks_of_a_look_up_table_are_met():
    def kinked(x, y):
        return x + 0.2 * np.abs((x / 37) % 2 - 1), y + 0.1 * np.abs((y / 53) % 2 - 1)

    sampled = sample_pixel_map(kinked, SHAPE, tolerance_pix=1e-3)
    assert np.abs(sampled.pixmap - exact(kinked)).max() < 3e-3


def test_nan_is_where_the_callback_has_it():
    def bounded(x, y):
        inside = (x > 30.2) & (y < 250.7)
        return np.where(inside, x * 2, np.nan), np.where(inside, y + 1, np.nan)

    sampled = sample_pixel_map(bounded, SHAPE)
    assert np.array_equal(sampled.pixmap, exact(bounded), equal_nan=True)
    assert np.isnan(sampled.pixmap).any()


def test_small_images_are_evaluated_pixel_by_pixel():
    sampled = sample_pixel_map(smooth, (3, 500))
    assert (sampled.step_pix, sampled.max_error_pix) == (1.0, 0.0)
    assert np.array_equal(sampled.pixmap, exact(smooth, (3, 500)))


@pytest.mark.parametrize("code", ["ZPN", "ARC", "SIN"])
def test_other_projections_are_sampled_within_the_tolerance(code):
    wcs = zenithal(code)
    grid = Grid.tangent(53.0, -28.0, shape=SHAPE, scale_arcsec=4.0)
    for from_wcs, to_wcs in ((wcs, grid.wcs), (grid.wcs, wcs)):
        y, x = np.indices(SHAPE, dtype=float)
        ra, dec = from_wcs.all_pix2world(x, y, 0)
        expected = np.stack(to_wcs.all_world2pix(ra, dec, 0, tolerance=1e-10, maxiter=50), axis=-1)
        for tolerance in (1e-3, 1e-6):
            assert np.abs(pixel_map(from_wcs, to_wcs, SHAPE, tolerance_pix=tolerance) - expected).max() < tolerance


def test_an_ape_14_object_with_swapped_axes_gives_the_map_of_its_wcs():
    wcs, grid = zenithal(), Grid.tangent(53.0, -28.0, shape=SHAPE, scale_arcsec=4.0)
    expected = pixel_map(wcs, grid.wcs, SHAPE, tolerance_pix=1e-7)
    assert np.abs(pixel_map(Ape14(wcs), grid.wcs, SHAPE, tolerance_pix=1e-7) - expected).max() < 2e-7
    back = pixel_map(grid.wcs, Ape14(wcs), SHAPE, tolerance_pix=1e-7)
    assert np.abs(back - pixel_map(grid.wcs, wcs, SHAPE, tolerance_pix=1e-7)).max() < 2e-7


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_real_look_up_tables_agree_with_astropy(shared_data):
    with fits.open(shared_data / "imaging" / "wcs" / "acs_wfc_dist_lookup.fits.gz") as hdus:
        wcs = WCS(hdus[1].header, hdus)
        assert wcs.cpdis1 is not None
        shape = (1024, 2048)
        ra, dec = wcs.all_pix2world(1000, 500, 0)
        grid = Grid.tangent(float(ra), float(dec), shape=(100, 100), scale_arcsec=0.05)
        sampled = sample_pixel_map(pixel_transform(wcs, grid.wcs), shape, tolerance_pix=1e-3)
        y, x = np.indices(shape, dtype=float)
        expected = np.stack(grid.wcs.wcs_world2pix(*wcs.all_pix2world(x, y, 0), 0), axis=-1)
        one_by_one = pixel_map(wcs, grid.wcs, shape, tolerance_pix=1e-9)
    error = np.hypot(*np.moveaxis(sampled.pixmap - expected, -1, 0))
    print(f"step {sampled.step_pix:.1f}, measured {sampled.max_error_pix:.1e}, true {error.max():.1e} pix")
    assert np.abs(one_by_one - expected).max() < 1e-6
    assert error.max() < 3e-3


def test_a_tolerance_must_be_positive():
    with pytest.raises(InvalidInputError, match="tolerance_pix: nan"):
        sample_pixel_map(smooth, SHAPE, tolerance_pix=float("nan"))
