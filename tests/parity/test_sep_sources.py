"""Background, apertures, Kron radii and detections against sep on the same image."""

from pathlib import Path

import numpy as np
import pytest
import sep
from astropy.io import fits
from scipy.spatial import KDTree

from skymere.background import BackgroundParams, estimate_background
from skymere.datamodels import SegmentationMap
from skymere.segmentation import SEXTRACTOR, MeasureImage, aperture_flux, detect, kron_radius, measure

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
    table = measure(detect(data, error=sky.rms_global, params=SEXTRACTOR), {"r": MeasureImage(data=data)}).table
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


def crowded(seed: int = 6) -> np.ndarray:
    """Round and elongated sources in noise, many of which touch."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (500, 520))
    y, x = np.mgrid[:500, :520]
    for _ in range(150):
        cx, cy, a = rng.uniform(20, 500), rng.uniform(20, 480), rng.uniform(2, 5)
        b, t = a * rng.uniform(0.5, 1), rng.uniform(0, np.pi)
        dx, dy = x - cx, y - cy
        u, v = (dx * np.cos(t) + dy * np.sin(t)) / a, (-dx * np.sin(t) + dy * np.cos(t)) / b
        image += 10 ** rng.uniform(1, 2.5) * np.exp(-0.5 * (u**2 + v**2))
    return image.astype(np.float32)


def test_apertures_and_kron_fluxes_with_a_segmentation_are_those_of_sep() -> None:
    data = crowded()
    objects, labels = sep.extract(data, 2.0, err=1.0, minarea=5, segmentation_map=True)
    ids = np.arange(1, len(objects) + 1, dtype=np.int32)
    chosen = (objects["b"] > 0.5) & (np.abs(objects["theta"]) < np.pi / 2)
    x, y, a, b, theta = (objects[name][chosen] for name in ("x", "y", "a", "b", "theta"))
    ids = ids[chosen]
    owned = {"segmap": labels, "seg_id": ids}
    ours = {"segmentation": SegmentationMap(labels=labels), "label": ids, "neighbours": "blank"}
    image = MeasureImage(data=data, error=1.0)
    theirs, _ = sep.kron_radius(data, x, y, a, b, theta, 6.0, **owned)
    found = kron_radius(image, x, y, a=a, b=b, theta=np.rad2deg(theta), extent=6.0, **ours)
    # Beyond the image the opposite pixel stands in here, none in sep.
    whole = aperture_flux(image, x, y, a=6 * a, b=6 * b, theta=np.rad2deg(theta), **ours).bad == 0
    worth = (theirs > 0) & whole
    assert worth.sum() > 80
    np.testing.assert_allclose(found[worth], theirs[worth], rtol=1e-10)
    k = np.maximum(2.5 * theirs, 3.5)
    auto, auto_err, _ = sep.sum_ellipse(data, x, y, a, b, theta, k, err=1.0, subpix=0, **owned)
    circle, circle_err, _ = sep.sum_circle(data, x, y, 8.0, err=1.0, subpix=0, **owned)
    kron = aperture_flux(image, x, y, a=k * a, b=k * b, theta=np.rad2deg(theta), **ours)
    round_ = aperture_flux(image, x, y, a=8.0, **ours)
    for name, mine, flux, error in (("Kron", kron, auto, auto_err), ("circle", round_, circle, circle_err)):
        inside = mine.bad == 0
        assert inside.sum() > 80
        assert (mine.foreign[inside] > 0.01).sum() > 10
        off = np.abs((mine.flux - flux) / error)[inside]
        print(f"\n{name} fluxes with segments: at most {off.max():.1e} errors from sep's")
        assert off.max() < 1e-5


def test_windowed_centroids_are_those_of_sep() -> None:
    data = crowded(7)
    table = measure(detect(data, error=1.0), {"r": MeasureImage(data=data, error=1.0)}).table
    # Pixels of neighbours are theirs in sep.
    table = table.filter((table["flags"] & 3) == 0, table["r_half"] > 1.0, table["flux_auto_r"] > 2000)
    x, y, _ = sep.winpos(data, table["x"], table["y"], table["r_half"].to_numpy() * 2 / 2.3548, subpix=11)
    offset = np.hypot(table["x_win"].to_numpy() - x, table["y_win"].to_numpy() - y)
    inside = np.isfinite(offset)
    print(f"\nwindowed centroids of {inside.sum()} sources: median {np.median(offset[inside]):.1e} pix from sep's")
    assert inside.sum() > 20
    assert np.median(offset[inside]) < 1e-3
