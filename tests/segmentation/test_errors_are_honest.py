"""Errors against the scatter over realisations of white noise, at fixed segments and shapes."""

import numpy as np
import pytest

from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.errors import InvalidInputError
from skymere.segmentation import MeasureImage, MeasureParams, aperture_flux, detect, measure
from skymere.wcs import Grid

N_REALISATIONS = 200
SHAPE = (240, 240)


def _scene() -> np.ndarray:
    rng = np.random.default_rng(21)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    scene = np.zeros(SHAPE)
    for cy in range(20, 240, 40):
        for cx in range(20, 240, 40):
            a, b, t = rng.uniform(1.5, 4.0), rng.uniform(1.2, 1.5), rng.uniform(0, np.pi)
            dx, dy = x - cx - rng.uniform(), y - cy - rng.uniform()
            u, v = (dx * np.cos(t) + dy * np.sin(t)) / a, (-dx * np.sin(t) + dy * np.cos(t)) / b
            scene += 10 ** rng.uniform(1.3, 2.3) * np.exp(-0.5 * (u**2 + v**2))
    return scene


@pytest.mark.parametrize("is_uniform", [True, False])
def test_the_pull_of_every_flux_is_one(is_uniform: bool) -> None:
    rng = np.random.default_rng(22)
    scene = _scene()
    sigma = np.ones(SHAPE) if is_uniform else rng.uniform(0.5, 1.5, SHAPE)
    truth = MeasureImage(data=scene, error=sigma)
    segmentation = detect(scene, error=sigma)
    table = measure(segmentation, {"r": truth}).table
    assert table.height == 36
    ellipse = {"theta": table["theta"], "segmentation": segmentation, "label": table["label"]}
    kron = {k: table[k] * table["kron_radius"] for k in ("a", "b")}

    def fluxes(image: MeasureImage) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        iso = measure(
            segmentation, {"r": image}, detection=truth, params=MeasureParams(aperture_diameters_pix=(5.0,))
        ).table
        auto = aperture_flux(image, table["x"], table["y"], **kron, **ellipse)
        return {
            "iso": (iso["flux_iso_r"].to_numpy(), iso["flux_iso_err_r"].to_numpy()),
            "aper": (iso["flux_aper1_r"].to_numpy(), iso["flux_aper1_err_r"].to_numpy()),
            "auto": (auto.flux, auto.flux_err),
        }

    expected = fluxes(truth)
    pulls: dict[str, list[np.ndarray]] = {name: [] for name in expected}
    for _ in range(N_REALISATIONS):
        found = fluxes(MeasureImage(data=scene + rng.normal(0, 1, SHAPE) * sigma, error=sigma))
        for name, (flux, error) in found.items():
            pulls[name].append((flux - expected[name][0]) / error)
    for name, values in pulls.items():
        width = np.std(values)
        print(f"pull of {name}: {width:.3f} (uniform noise: {is_uniform})")
        assert width == pytest.approx(1.0, abs=0.05), name


@pytest.mark.parametrize("has_weights", [False, True])
def test_the_pull_of_fluxes_is_one_where_the_sky_has_an_error_of_its_own(has_weights: bool) -> None:
    rng = np.random.default_rng(27)
    scene, level = _scene(), 0.08
    # The pixels of a source have one weight, and so one error of their sky.
    weight = np.kron(rng.uniform(0.5, 2.0, (6, 6)), np.ones((40, 40))) if has_weights else np.ones(SHAPE)
    error = 1.0 / np.sqrt(weight)
    truth = MeasureImage(data=scene, error=error, weight=weight)
    segmentation = detect(scene, error=1.0)
    params = MeasureParams(aperture_diameters_pix=(12.0,))
    expected = measure(segmentation, {"r": truth}, params=params).table
    names = ("flux_iso", "flux_auto", "flux_aper1")
    pulls: dict[str, list[np.ndarray]] = {name: [] for name in (*names, "flux_auto without")}
    for _ in range(120):
        sky = np.kron(rng.normal(0.0, level, (6, 6)), np.ones((40, 40)))
        noisy = scene + (rng.normal(0.0, 1.0, SHAPE) + sky) * error
        image = MeasureImage(data=noisy, error=error, weight=weight if has_weights else None)
        for suffix, errors in (("", {"r": level}), (" without", None)):
            found = measure(segmentation, {"r": image}, detection=truth, sky_errors=errors, params=params).table
            for name in names:
                if name + suffix in pulls:
                    pull = (found[f"{name}_r"] - expected[f"{name}_r"]) / found[f"{name}_err_r"]
                    pulls[name + suffix].append(pull.to_numpy())
    widths = {name: float(np.std(values)) for name, values in pulls.items()}
    print(widths)
    for name in names:
        assert widths[name] == pytest.approx(1.0, abs=0.05), name
    assert widths["flux_auto without"] > 1.2


def test_errors_of_the_sky_are_those_of_bands_on_the_pixels_of_the_segmentation() -> None:
    scene = _scene()
    image = MeasureImage(data=scene, error=1.0)
    segmentation = detect(scene, error=1.0)
    with pytest.raises(InvalidInputError, match=r"sky_errors: \['g'\] are no bands .* some of \['r'\]"):
        measure(segmentation, {"r": image}, sky_errors={"g": 1.0})
    with pytest.raises(InvalidInputError, match=r"sky_errors: -1\.0 of 'r' is not allowed, it must be 0 or positive"):
        measure(segmentation, {"r": image}, sky_errors={"r": -1.0})
    plain = measure(segmentation, {"r": image}).table
    assert measure(segmentation, {"r": image}, sky_errors={"r": 0.0}).table.equals(plain)
    more = measure(segmentation, {"r": image}, sky_errors={"r": 0.1}).table
    for name in ("flux_auto_err_total_r", "flux_total_err_r"):
        assert (more[name] > plain[name]).all()
    assert more.select("flux_auto_r", "flux_total_r").equals(plain.select("flux_auto_r", "flux_total_r"))


def test_the_pull_of_positions_in_segments_that_are_given_is_one() -> None:
    rng = np.random.default_rng(23)
    scene = _scene()
    segmentation = detect(scene, error=1.0)
    params = MeasureParams(kernel=None, has_moving_edges=False)
    truth = measure(segmentation, {"r": MeasureImage(data=scene, error=1.0)}, params=params).table
    is_bright = truth["flux_iso_r"].to_numpy() > 30 * truth["flux_iso_err_r"].to_numpy()
    assert is_bright.sum() >= 12
    pulls = []
    for _ in range(N_REALISATIONS):
        noisy = MeasureImage(data=scene + rng.normal(0, 1, SHAPE), error=1.0)
        found = measure(segmentation, {"r": noisy}, params=params).table
        pulls.extend(((found[c] - truth[c]) / found[f"{c}_err"]).to_numpy()[is_bright] for c in ("x", "y"))
    width = np.std(pulls)
    print(f"pull of positions: {width:.3f}")
    assert width == pytest.approx(1.0, abs=0.05)


def test_the_pull_of_positions_in_segments_that_are_detected_is_one() -> None:
    # The truth is where the sources were put; the segments are those of each realisation.
    rng = np.random.default_rng(25)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = np.array([(cx, cy) for cy in range(30, 240, 60) for cx in range(30, 240, 60)], float)
    moving, fixed = [], []
    for _ in range(40):
        true = places + rng.uniform(-0.5, 0.5, places.shape)
        scene = np.zeros(SHAPE)
        for cx, cy in true:
            # An exponential disk, whose edge lies where the light falls slowly.
            scene += 25.0 * np.exp(-np.hypot(x - cx, (y - cy) / 0.7) / 3.0)
        image = MeasureImage(data=scene + rng.normal(0, 1, SHAPE), error=1.0)
        segmentation = detect(image.data, error=1.0)
        for pulls, is_moving in ((moving, True), (fixed, False)):
            params = MeasureParams(has_moving_edges=is_moving, extended=False)
            table = measure(segmentation, {"r": image}, params=params).table
            at = table.select("x", "y").to_numpy()
            nearest = np.hypot(*(at[:, None] - true).T).argmin(axis=1)
            errors = table.select("x_err", "y_err").to_numpy()[nearest]
            pulls.append((at[nearest] - true) / errors)
    width, without = np.std(moving), np.std(fixed)
    print(f"pull of positions in detected segments: {width:.3f}, with edges that stay {without:.3f}")
    assert width == pytest.approx(1.0, abs=0.1)
    assert without > 1.25


@pytest.mark.parametrize("noise", [0.0, np.nan])
def test_positions_of_a_blend_whose_saddle_has_no_noise_have_no_errors(noise: float) -> None:
    y, x = np.mgrid[:60, :80]
    image = sum(h * np.exp(-((x - cx) ** 2 + (y - 30.0) ** 2) / 18) for h, cx in ((90.0, 32.0), (60.0, 44.0)))
    segmentation = detect(image, error=0.5)
    assert segmentation.n_sources == 2
    params = MeasureParams(kernel=None)
    plain = measure(segmentation, {"r": MeasureImage(data=image, error=0.5)}, params=params).table
    assert (plain["x_err"] > 0).all()
    # Where the segments touch.
    error = np.full(image.shape, 0.5)
    error[:, 34:44] = noise
    found = measure(segmentation, {"r": MeasureImage(data=image, error=error)}, params=params).table
    for name in ("x_err", "y_err"):
        assert found[name].is_nan().all()


def test_a_missing_pixel_between_the_sources_of_a_blend_leaves_their_positions_and_errors() -> None:
    y, x = np.mgrid[:60, :80]
    image = sum(h * np.exp(-((x - cx) ** 2 + (y - 30.0) ** 2) / 18) for h, cx in ((90.0, 32.0), (60.0, 44.0)))
    segmentation = detect(image, error=0.5)
    params = MeasureParams(kernel=None)
    plain = measure(segmentation, {"r": MeasureImage(data=image, error=0.5)}, params=params).table
    touch = np.argwhere((segmentation.labels[:, :-1] == 1) & (segmentation.labels[:, 1:] == 2))
    holed = image.copy()
    holed[tuple(touch[0])] = np.nan
    found = measure(segmentation, {"r": MeasureImage(data=holed, error=0.5)}, params=params).table
    for name in ("x", "y", "x_err", "y_err"):
        np.testing.assert_allclose(found[name], plain[name], rtol=1e-2)


def test_noise_correlation_multiplies_every_error() -> None:
    scene = _scene()
    segmentation = detect(scene, error=1.0)
    plain = measure(segmentation, {"r": MeasureImage(data=scene, error=1.0)}).table
    correlated = measure(segmentation, {"r": MeasureImage(data=scene, error=1.0, noise_correlation=1.78)}).table
    for name in ("x_err", "y_err", "flux_iso_err_r", "flux_auto_err_r", "flux_aper1_err_r"):
        np.testing.assert_allclose(correlated[name], 1.78 * plain[name], rtol=1e-12)


def test_the_pull_of_every_flux_is_one_in_correlated_noise_whose_covariance_is_known() -> None:
    # White noise smoothed by 3 x 3 pixels: its correlation is that of the box with itself.
    rng = np.random.default_rng(24)
    scene = _scene()
    triangle = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 3
    noise = NoiseCovariance(
        kernels=np.outer(triangle, triangle)[np.newaxis], class_map=np.zeros(SHAPE, np.uint8), classes=("all",)
    )
    grid = Grid.tangent(150.0, 2.0, shape=SHAPE, scale_arcsec=0.06)

    def mosaic(data: np.ndarray) -> Mosaic:
        ones = np.ones(SHAPE, np.float32)
        return Mosaic(
            band="r",
            grid=grid,
            data=data,
            weight=ones,
            variance=ones,
            context=np.ones((1, *SHAPE), np.int32),
            exposure_ids=("a",),
            noise_correlation=3.0,
            noise=noise,
        )

    truth = mosaic(scene)
    segmentation = detect(scene, error=1.0)
    params = MeasureParams(aperture_diameters_pix=(4.0, 10.0, 24.0))
    expected = measure(segmentation, {"r": truth}, params=params).table
    # Segments, Kron radii and centres stay those of the truth.
    names = ("iso", "aper1", "aper2", "aper3")
    ellipse = {"theta": expected["theta"], "segmentation": segmentation, "label": expected["label"]}
    kron = {k: expected[k] * expected["kron_radius"] for k in ("a", "b")}
    whole = aperture_flux(truth, expected["x"], expected["y"], **kron, **ellipse)
    pulls: dict[str, list[np.ndarray]] = {name: [] for name in (*names, "kron")}
    for _ in range(N_REALISATIONS):
        white = np.pad(rng.normal(0, 1, SHAPE), 1, mode="wrap")
        smooth = sum(white[j : j + SHAPE[0], i : i + SHAPE[1]] for j in range(3) for i in range(3)) / 3
        noisy = mosaic(scene + smooth)
        found = measure(segmentation, {"r": noisy}, detection=truth, params=params).table
        for name in names:
            difference = (found[f"flux_{name}_r"] - expected[f"flux_{name}_r"]) / found[f"flux_{name}_err_r"]
            pulls[name].append(difference.to_numpy())
        auto = aperture_flux(noisy, expected["x"], expected["y"], **kron, **ellipse)
        pulls["kron"].append((auto.flux - whole.flux) / auto.flux_err)
    for name, values in pulls.items():
        width = np.std(values)
        print(f"pull of {name} in correlated noise: {width:.3f}")
        assert width == pytest.approx(1.0, abs=0.05), name
