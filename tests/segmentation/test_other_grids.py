"""Bands whose pixels are not those of the segmentation: other scale, rotation and flip."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.datamodels import Mosaic, NoiseCovariance, SegmentationMap, SourceCatalog
from skymere.errors import InvalidInputError
from skymere.segmentation import (
    DetectParams,
    MeasureImage,
    MeasureParams,
    SourceFlag,
    aperture_flux,
    detect,
    labels_on_grid,
    measure,
)
from skymere.segmentation.on_grid import local_map
from skymere.wcs import Grid

RA, DEC = 150.1, 2.2
FINE = Grid.tangent(RA, DEC, shape=(1000, 1000), scale_arcsec=0.06)
# Sigmas [arcsec] along the axes and position angle [rad] of stars, and of galaxies.
STAR, GALAXY = (0.5, 0.5, 0.0), (1.0, 0.55, 0.6)
# Circles of 6 arcsec.
PARAMS = MeasureParams(aperture_diameters_pix=(100.0,), extended=False)


def flipped(grid: Grid) -> Grid:
    wcs = grid.wcs.deepcopy()
    wcs.wcs.cd = wcs.wcs.cd @ np.diag([-1.0, 1.0])
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=grid.shape)


IRAC = flipped(Grid.tangent(RA, DEC, shape=(130, 132), scale_arcsec=0.6, rotation_deg=33.0))


def places() -> list[tuple[float, float, tuple[float, float, float]]]:
    """Offsets east and north [arcsec] and shapes of 25 sources, 11 arcsec apart."""
    shift = np.random.default_rng(5).uniform(-0.4, 0.4, (25, 2))
    return [
        (11.0 * (k % 5 - 2) + shift[k, 0], 11.0 * (k // 5 - 2) + shift[k, 1], GALAXY if k % 3 == 0 else STAR)
        for k in range(25)
    ]


def scene(grid: Grid, n: int) -> np.ndarray:
    """The sources, each of flux 1, integrated over the pixels of a grid with n x n points in each."""
    total = np.zeros(grid.shape)
    area = (grid.scale_arcsec / n) ** 2
    steps = (np.arange(n) - (n - 1) / 2) / n
    rows, columns = np.indices(grid.shape, dtype=float)
    for dy in steps:
        for dx in steps:
            u, v = FINE.pixels(*grid.sky((columns + dx).ravel(), (rows + dy).ravel()))
            # North is up and east to the left in FINE.
            east, north = (-(u - 499.5) * 0.06).reshape(grid.shape), ((v - 499.5) * 0.06).reshape(grid.shape)
            for e, k, (a, b, angle) in places():
                along = (east - e) * np.sin(angle) + (north - k) * np.cos(angle)
                across = (east - e) * np.cos(angle) - (north - k) * np.sin(angle)
                near = (np.abs(along) < 8) & (np.abs(across) < 8)
                profile = np.exp(-0.5 * ((along[near] / a) ** 2 + (across[near] / b) ** 2))
                total[near] += area * profile / (2 * np.pi * a * b)
    return total.astype(np.float32)


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    return scene(FINE, 1), scene(IRAC, 10)


@pytest.fixture(scope="module")
def segments(images: tuple[np.ndarray, np.ndarray]) -> SegmentationMap:
    found = detect(images[0], error=2.5e-4, grid=FINE, params=DetectParams(threshold=3.0, extent=1.5))
    assert found.n_sources == 25
    return found


def test_one_run_has_the_same_fluxes_on_pixels_of_0_06_and_0_6_arcsec(images, segments) -> None:
    fine, coarse = (
        MeasureImage(data=image, error=error, grid=grid)
        for image, error, grid in zip(images, (2.5e-4, 2.5e-3), (FINE, IRAC), strict=True)
    )
    catalogue = measure(segments, {"f160w": fine, "irac1": coarse}, params=PARAMS)
    assert catalogue.bands == ("f160w", "irac1")
    table = catalogue.table
    assert {"flux_iso_irac1", "flux_auto_irac1", "flux_aper1_err_irac1", "flags_irac1"} <= set(table.columns)
    assert not {"flux_total_irac1", "flux_auto_err_total_irac1"} & set(table.columns)
    np.testing.assert_allclose(table["flux_aper1_irac1"], 1.0, rtol=0.005)
    # Pixels of 0.6 arcsec blur: a star of 0.5 arcsec sigma by 6 %, and galaxies lose 0.1 % from the circle.
    np.testing.assert_allclose(table["flux_aper1_irac1"], table["flux_aper1_f160w"], rtol=2e-3)
    np.testing.assert_allclose(table["flux_auto_irac1"], table["flux_auto_f160w"], rtol=0.02)
    np.testing.assert_allclose(table["flux_iso_irac1"], table["flux_iso_f160w"], rtol=0.15)
    assert table["flags_irac1"].to_list() == [0] * 25
    # A circle of 5 coarse pixels: its overlaps squared.
    np.testing.assert_allclose(table["flux_aper1_err_irac1"], 2.5e-3 * np.sqrt(np.pi * 25), rtol=0.05)
    doubled = measure(segments, {"f160w": fine, "irac1": replace(coarse, noise_correlation=2.0)}, params=PARAMS).table
    np.testing.assert_allclose(doubled["flux_aper1_err_irac1"], 2 * table["flux_aper1_err_irac1"], rtol=1e-9)
    np.testing.assert_array_equal(doubled["flux_aper1_err_f160w"], table["flux_aper1_err_f160w"])


def test_fluxes_on_both_grids_agree_within_their_errors(images, segments) -> None:
    """Pulls of 25 sources in 24 realisations of the noise of both images, at places measured anew in each."""
    sigma = (2.2e-4, 2.8e-3)
    rng = np.random.default_rng(8)
    truth = _measured(images, sigma, segments)
    pulls: dict[str, list[np.ndarray]] = {"coarse": [], "fine": [], "difference": [], "kron": []}
    for _ in range(24):
        noisy = [
            image + rng.normal(0, s, image.shape).astype(np.float32) for image, s in zip(images, sigma, strict=True)
        ]
        table = _measured(noisy, sigma, segments).table
        off = {band: table[f"flux_aper1_{band}"] - truth.table[f"flux_aper1_{band}"] for band in ("fine", "coarse")}
        errors = {band: table[f"flux_aper1_err_{band}"] for band in off}
        for band, error in errors.items():
            pulls[band].append((off[band] / error).to_numpy())
        both = np.hypot(*(errors[band].to_numpy() for band in off))
        pulls["difference"].append((table["flux_aper1_coarse"] - table["flux_aper1_fine"]).to_numpy() / both)
        kron = table["flux_auto_coarse"] - truth.table["flux_auto_coarse"]
        pulls["kron"].append((kron / table["flux_auto_err_coarse"]).to_numpy())
    width = {name: float(np.std(values)) for name, values in pulls.items()}
    middle = {name: float(np.mean(values)) for name, values in pulls.items()}
    print("widths of the pulls", width, "means", middle)
    # 600 values: 3 % on a width, 0.04 on a mean.
    for name in ("coarse", "fine", "difference"):
        assert width[name] == pytest.approx(1.0, abs=0.1)
        assert middle[name] == pytest.approx(0.0, abs=0.13)
    # Kron apertures that are measured anew scatter more than their error says, as on the pixels of the detection.
    assert 0.9 < width["kron"] < 1.5


def _measured(pair, sigma, segments: SegmentationMap) -> SourceCatalog:
    bands = {
        name: MeasureImage(data=image, error=error, grid=grid)
        for name, image, error, grid in zip(("fine", "coarse"), pair, sigma, (FINE, IRAC), strict=True)
    }
    return measure(segments, bands, params=PARAMS)


@pytest.mark.parametrize("rotation", [0.0, 70.0, 200.0])
@pytest.mark.parametrize("is_flipped", [False, True])
def test_ellipses_turn_with_the_sky_and_circles_keep_their_arcsec(segments, images, rotation, is_flipped) -> None:
    """Shapes that are brought over are those that are measured there."""
    grid = Grid.tangent(RA, DEC, shape=(700, 700), scale_arcsec=0.1, rotation_deg=rotation)
    grid = flipped(grid) if is_flipped else grid
    here = measure(segments, {"r": MeasureImage(data=images[0])}, params=replace(PARAMS, kernel=None)).table
    there = local_map(here["x"].to_numpy(), here["y"].to_numpy(), FINE, grid)
    a, b, theta = there.ellipses(*(here[n].to_numpy() for n in "ab"), np.deg2rad(here["theta"].to_numpy()))
    labels = SegmentationMap(labels=labels_on_grid(segments, grid), grid=grid)
    direct = measure(labels, {"r": MeasureImage(data=scene(grid, 1))}, params=replace(PARAMS, kernel=None)).table
    np.testing.assert_allclose(there.x, direct["x"], atol=0.05)
    np.testing.assert_allclose(there.y, direct["y"], atol=0.05)
    np.testing.assert_allclose(there.scale, 0.6, rtol=1e-6)
    np.testing.assert_allclose(a, direct["a"], rtol=0.03)
    np.testing.assert_allclose(b, direct["b"], rtol=0.03)
    is_long = here["elongation"].to_numpy() > 1.3
    assert is_long.sum() == 9
    turned = (np.rad2deg(theta) - direct["theta"].to_numpy() + 90) % 180 - 90
    assert np.abs(turned[is_long]).max() < 2.0


def test_a_mosaic_of_other_pixels_has_its_own_noise_covariance(images, segments) -> None:
    rng = np.random.default_rng(2)
    triangle = np.convolve(np.ones(3), np.ones(3)) / 3
    ones = np.ones(IRAC.shape, np.float32)
    mosaic = Mosaic(
        band="irac1",
        grid=IRAC,
        data=images[1] + rng.normal(0, 2e-3, IRAC.shape).astype(np.float32),
        weight=ones,
        variance=ones * np.float32(4e-6),
        context=np.ones((1, *IRAC.shape), np.int32),
        exposure_ids=("a",),
        zero_point_ab=21.6,
        noise=NoiseCovariance(
            kernels=np.outer(triangle, triangle)[None], class_map=np.zeros(IRAC.shape, np.uint8), classes=("all",)
        ),
    )
    table = measure(segments, {"f160w": MeasureImage(data=images[0]), "irac1": mosaic}, params=PARAMS).table
    x, y = IRAC.pixels(table["ra"].to_numpy(), table["dec"].to_numpy())
    labels = SegmentationMap(labels=labels_on_grid(segments, IRAC), grid=IRAC)
    alone = aperture_flux(mosaic, x, y, a=5.0, segmentation=labels, label=table["label"].to_numpy())
    np.testing.assert_allclose(table["flux_aper1_irac1"], alone.flux, rtol=1e-6)
    np.testing.assert_allclose(table["flux_aper1_err_irac1"], alone.flux_err, rtol=1e-6)
    white = aperture_flux(
        replace(mosaic, noise=None), x, y, a=5.0, segmentation=labels, label=table["label"].to_numpy()
    )
    assert (alone.flux_err > 2 * white.flux_err).all()
    assert table["mag_auto_irac1"].is_finite().all()


def test_what_the_other_image_does_not_hold_is_nan_and_flagged(images, segments) -> None:
    """Half of the field, a bad corner, and segments that are smaller than a pixel."""
    window = IRAC.cutout(0, 0, (130, 66))
    bad = np.zeros(window.shape, bool)
    bad[:, :20] = True
    small = MeasureImage(data=images[1][:, :66], error=2.5e-3, mask=bad, saturated=0.05, grid=window)
    fine = MeasureImage(data=images[0], error=2.5e-4)
    # Where four coarse pixels meet.
    x, y = (round(float(p)) for p in FINE.pixels(*window.sky(45.5, 60.5)))
    tiny = segments.labels.copy()
    tiny[y - 1 : y + 2, x - 1 : x + 2] = 99
    table = measure(replace(segments, labels=tiny), {"f160w": fine, "irac1": small}, params=PARAMS).table
    u, _ = window.pixels(table["ra"].to_numpy(), table["dec"].to_numpy())
    flags = table["flags_irac1"].to_numpy()
    incomplete = (flags & SourceFlag.APERTURE_INCOMPLETE.value) > 0
    outside, whole = u > 80, (u > 40) & (u < 50)
    assert outside.sum() >= 5
    assert whole.sum() >= 2
    assert np.isnan(table["flux_aper1_irac1"].to_numpy()[outside]).all()
    assert np.isnan(table["flux_iso_irac1"].to_numpy()[outside]).all()
    assert incomplete[outside].all()
    assert not incomplete[whole].any()
    at_edge = np.abs(u - 20) < 1.5
    assert (flags[at_edge] & SourceFlag.BAD_PIXELS.value > 0).all()
    assert (flags[whole] & SourceFlag.SATURATED.value > 0).any()
    speck = table["label"].to_numpy() == 99
    assert np.isnan(table["flux_iso_irac1"].to_numpy()[speck]).all()
    assert np.isfinite(table["flux_aper1_irac1"].to_numpy()[speck]).all()
    assert (flags[speck] == 0).all()


def test_bad_input_is_named(images, segments) -> None:
    coarse = MeasureImage(data=images[1], grid=IRAC)
    with pytest.raises(InvalidInputError, match="detection: is missing"):
        measure(segments, {"irac1": coarse})
    with pytest.raises(InvalidInputError, match="'irac1' is not a band on the pixels of the segmentation"):
        measure(segments, {"f160w": MeasureImage(data=images[0]), "irac1": coarse}, detection="irac1")
    with pytest.raises(InvalidInputError, match="detection: its grid is another"):
        measure(segments, {"f160w": MeasureImage(data=images[0])}, detection=coarse)
    with pytest.raises(InvalidInputError, match="shape"):
        MeasureImage(data=images[0], grid=IRAC)
    with pytest.raises(InvalidInputError, match="shape"):
        measure(replace(segments, grid=None), {"irac1": coarse})
