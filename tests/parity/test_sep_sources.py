"""Background, apertures, Kron radii and detections against sep on the same image."""

from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from scipy.spatial import KDTree

from skymere.background import BackgroundParams, estimate_background
from skymere.segmentation import DeblendParams, DetectParams, MeasureImage, aperture_flux, detect, kron_radius, measure

RNG = np.random.default_rng(2)
IMAGE = RNG.normal(0, 1, (600, 500)).astype(np.float32)
ERROR = RNG.uniform(0.5, 1.5, IMAGE.shape).astype(np.float32)
N = 500
X, Y = RNG.uniform(80, 420, N), RNG.uniform(80, 520, N)
A = RNG.uniform(0.6, 12, N)
B = A * RNG.uniform(0.2, 1, N)
THETA = RNG.uniform(-89, 89, N)


def test_ellipse_and_circle_fluxes_are_those_of_sep() -> None:
    image = MeasureImage(data=IMAGE, error=ERROR)
    flux, error, _ = sep.sum_ellipse(IMAGE, X, Y, A, B, np.deg2rad(THETA), 1.0, err=ERROR, subpix=0)
    worst = np.abs((aperture_flux(image, X, Y, a=A, b=B, theta=THETA).flux - flux) / error).max()
    flux, error, _ = sep.sum_circle(IMAGE, X, Y, A, err=ERROR, subpix=0)
    worst_circle = np.abs((aperture_flux(image, X, Y, a=A).flux - flux) / error).max()
    print(f"\nlargest difference of an aperture flux: ellipse {worst:.1e}, circle {worst_circle:.1e} errors")
    assert max(worst, worst_circle) < 1e-10


def test_kron_radii_and_fluxes_are_those_of_sep() -> None:
    light = np.abs(IMAGE)
    image = MeasureImage(data=light, error=ERROR)
    theirs, _ = sep.kron_radius(light, X, Y, A, B, np.deg2rad(THETA), 6.0)
    ours = kron_radius(image, X, Y, a=A, b=B, theta=THETA)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    flux, error, _ = sep.sum_ellipse(light, X, Y, A, B, np.deg2rad(THETA), 2.5 * theirs, err=ERROR, subpix=0)
    found = aperture_flux(image, X, Y, a=2.5 * ours * A, b=2.5 * ours * B, theta=THETA)
    inside = found.bad == 0
    assert inside.sum() > 300
    assert np.abs((found.flux - flux) / error)[inside].max() < 1e-5


@pytest.fixture(scope="module")
def sep_image(shared_data: Path) -> np.ndarray:
    return fits.getdata(shared_data / "imaging/mosaics/sep_test_image.fits").astype(np.float32)


@pytest.mark.parametrize("box_size", [32, 64])
@pytest.mark.parametrize("filter_size", [1, 3])
@pytest.mark.parametrize("with_mask", [False, True])
def test_the_background_is_that_of_sep(
    sep_image: np.ndarray, box_size: int, filter_size: int, *, with_mask: bool
) -> None:
    mask = np.zeros(sep_image.shape, dtype=bool)
    if with_mask:
        mask[60:140, 40:150] = True
    theirs = sep.Background(sep_image, mask=mask, bw=box_size, bh=box_size, fw=filter_size, fh=filter_size)
    ours = estimate_background(
        sep_image, mask=mask, params=BackgroundParams(box_size=box_size, filter_size=filter_size)
    )
    level = np.abs(ours.level - theirs.back()).max() / theirs.globalrms
    rms = np.abs(ours.rms - theirs.rms()).max() / theirs.globalrms
    print(f"\nbackground: level differs by at most {level:.4f}, rms by {rms:.4f} of the rms")
    assert ours.level_global == pytest.approx(theirs.globalback, rel=1e-6)
    assert ours.rms_global == pytest.approx(theirs.globalrms, rel=1e-5)
    # Statistics of the cells agree (medians above). Between the nodes SExtractor and sep divide by 6 once too often as
    # they solve for the curvature, and place rows half a pixel lower than columns; ours is the natural spline.
    assert level < (0.01 if (box_size, filter_size) == (64, 3) else 0.04)
    assert rms < (0.001 if (box_size, filter_size) == (64, 3) else 0.02)


def test_detections_of_the_sep_image_are_those_of_sep(sep_image: np.ndarray) -> None:
    sky = estimate_background(sep_image)
    data = sep_image - sky.level
    params = DetectParams(threshold=1.5, threshold_noise="unfiltered", deblend=DeblendParams(assignment="random"))
    table = measure(detect(data, error=sky.rms_global, params=params), {"r": MeasureImage(data=data)}).table
    theirs = sep.extract(data, 1.5, err=sky.rms_global)
    offset, nearest = KDTree(np.column_stack([table["x"], table["y"]])).query(
        np.column_stack([theirs["x"], theirs["y"]])
    )
    matched = offset < 1
    print(f"\nsep finds {len(theirs)} sources, skymere {table.height}; {matched.sum()} within 1 pix")
    print(f"median offset {np.median(offset[matched]):.5f} pix")
    assert matched.mean() > 0.9
    assert np.median(offset[matched]) < 0.01
    ratio = table["flux_iso_r"].to_numpy()[nearest] / theirs["flux"]
    assert np.median(np.abs(ratio[matched] - 1)) < 0.01
