"""Total fluxes of simulated galaxies and stars against their truth and against sep's AUTO."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import sep
from scipy.spatial import KDTree

from skymere.segmentation import MeasureImage, MeasureParams, SourceFlag, detect, measure
from skymere.testing import CameraParams, SceneParams, draw_scene
from skymere.testing.exposures import draw_sources, source_profile
from skymere.wcs import Grid

BAND = "f160w"
SCALE_ARCSEC, SIGMA = 0.08, 0.0012
MATCH_PIX = 1.5


def sep_auto(data: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and AUTO fluxes with SExtractor's settings."""
    found = sep.extract(data, 1.5, err=error, minarea=5, deblend_nthresh=32, deblend_cont=0.005)
    shape = (found["x"], found["y"], found["a"], found["b"], np.clip(found["theta"], -np.pi / 2, np.pi / 2))
    first, _ = sep.kron_radius(data, *shape, 6.0)
    flux, _, _ = sep.sum_ellipse(data, *shape, np.maximum(2.5 * first, 3.5), subpix=1)
    return np.column_stack([found["x"], found["y"]]), flux


def matched(seed: int, scene: SceneParams) -> pl.DataFrame:
    """Sources of a field in white noise with one truth each, and what sep makes of them [uJy]."""
    side = int(2 * scene.radius_arcsec / SCALE_ARCSEC) + 60
    grid = Grid.tangent(53.16, -27.78, shape=(side, side), scale_arcsec=SCALE_ARCSEC)
    sources = draw_scene(53.16, -27.78, params=scene, seed=seed)
    light = draw_sources(
        sources,
        grid.wcs,
        grid.shape,
        flux=lambda source: source[f"flux_{BAND}"],
        profile=lambda source: source_profile(source, BAND, CameraParams()),
        scale_arcsec=SCALE_ARCSEC,
    )
    noise = np.random.default_rng(seed).normal(0.0, SIGMA, grid.shape)
    image = MeasureImage(data=(light + noise).astype(np.float32), error=SIGMA)
    table = measure(detect(image.data, error=SIGMA), {BAND: image}).table
    truth = np.column_stack(grid.pixels(sources["ra"].to_numpy(), sources["dec"].to_numpy()))
    ours = table.select("x", "y").to_numpy()
    offset, of_truth = KDTree(ours).query(truth)
    back = KDTree(truth).query(ours)[1]
    is_one = (offset < MATCH_PIX) & (back[of_truth] == np.arange(len(truth)))
    places, flux = sep_auto(image.data, SIGMA)
    distance, of_sep = KDTree(places).query(truth[is_one])
    rows = table[of_truth[is_one]]
    profile = pl.when(pl.col("sersic_n") == 4.0).then(pl.lit("de Vaucouleurs")).otherwise(pl.lit("exponential"))
    kind = sources.select(pl.when(pl.col("kind") == "star").then("kind").otherwise(profile).alias("kind"))["kind"]
    return pl.DataFrame(
        {
            "true": sources.filter(pl.Series(is_one))[f"flux_{BAND}"],
            "auto": rows[f"flux_auto_{BAND}"],
            "total": rows[f"flux_total_{BAND}"],
            "sep": np.where(distance < MATCH_PIX, flux[of_sep], np.nan),
            "total_err": rows[f"flux_total_err_{BAND}"],
            "is_alone": (rows["flags"] & (SourceFlag.BLENDED | SourceFlag.NEIGHBOUR)) == 0,
            "kind": kind.filter(pl.Series(is_one)),
            "s_n": rows[f"flux_auto_{BAND}"] / rows[f"flux_auto_err_{BAND}"],
            "is_whole": (rows["flags"] & (SourceFlag.EDGE | SourceFlag.BAD_PIXELS)) == 0,
        }
    ).filter("is_whole")


def check(sources: pl.DataFrame, edges: tuple[float, ...]) -> None:
    for low, high in pairwise(edges):
        in_bin = sources.filter(pl.col("s_n").is_between(low, high), pl.col("sep").is_finite())
        for kind in ("all", "star", "exponential", "de Vaucouleurs"):
            chosen = in_bin if kind == "all" else in_bin.filter(pl.col("kind") == kind)
            if chosen.height < 20:
                continue
            # Blends with something bright are off by any factor, hence medians.
            ratios = {name: (chosen[name] / chosen["true"] - 1).to_numpy() for name in ("auto", "sep", "total")}
            bias = {name: float(np.median(r)) for name, r in ratios.items()}
            off = {name: float(np.median(np.abs(r))) for name, r in ratios.items()}
            numbers = ", ".join(f"{name} {bias[name]:+.3f} ({off[name]:.3f})" for name in ratios)
            print(f"S/N {low:g} to {high:g}, {chosen.height} {kind}: bias (median absolute) {numbers}")
            if kind == "all":
                standard_error = 1.25 * 1.48 * off["total"] / np.sqrt(chosen.height)
                assert abs(bias["total"]) <= 0.03
                assert abs(bias["total"]) <= max(abs(bias["sep"]), 2 * standard_error)
                assert off["total"] <= off["sep"]


def test_total_fluxes_are_unbiased_and_better_than_auto() -> None:
    scene = SceneParams(n_galaxies=150, n_stars=12, bright_mag=19.5, faint_mag=25.0, radius_arcsec=30.0)
    check(matched(41, scene), (30.0, 80.0, 1e6))


@pytest.mark.validate
def test_total_fluxes_are_unbiased_in_every_bin() -> None:
    scene = SceneParams(n_galaxies=330, n_stars=25, bright_mag=19.5, faint_mag=25.5, radius_arcsec=42.0)
    sources = pl.concat([matched(seed, scene) for seed in range(151, 191)])
    check(sources, (30.0, 50.0, 100.0, 200.0, 500.0, 1e6))
    wrong = []
    for low, high in pairwise((10.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1e6)):
        in_bin = sources.filter(pl.col("s_n").is_between(low, high))
        pulls = in_bin.with_columns(pull=(pl.col("total") - pl.col("true")) / pl.col("total_err"))
        alone, every = pulls.filter("is_alone")["pull"], pulls["pull"]
        print(
            f"S/N {low:g} to {high:g}: pull of flux_total about the truth {width_about_zero(alone):.2f} of {len(alone)}"
            f" sources alone, {width_about_zero(every):.2f} of {len(every)} in all"
        )
        wrong += [(low, width) for width in map(width_about_zero, (alone, every)) if abs(width - 1.0) > 0.1]
    assert not wrong


def width_about_zero(pulls: pl.Series) -> float:
    """What 68.27 % of the absolute pulls are below: bias counts, a few blends do not."""
    return float(np.nanquantile(np.abs(pulls.to_numpy()), 0.6827))


def exponential(shape: tuple[int, int], x: float, y: float, radius: float, flux: float) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    scale = radius / 1.67835
    return (flux / (2 * np.pi * scale**2) * np.exp(-np.hypot(xx - x, yy - y) / scale)).astype(np.float32)


def test_an_exponential_disc_has_its_total_flux_in_every_band_and_its_errors_hold_the_scatter() -> None:
    image = exponential((161, 161), 80.3, 79.6, 6.0, 1000.0)
    sigma = {"r": 0.5, "i": 0.6}
    light = {"r": image, "i": 0.4 * image}
    segmentation = detect(image, error=sigma["r"])
    params = MeasureParams(aperture_diameters_pix=())

    def bands(rng: np.random.Generator | None) -> dict[str, MeasureImage]:
        noise = {b: 0.0 if rng is None else rng.normal(0, s, image.shape) for b, s in sigma.items()}
        return {b: MeasureImage(data=(light[b] + noise[b]).astype(np.float32), error=sigma[b]) for b in sigma}

    clean = measure(segmentation, bands(None), params=params).table.row(0, named=True)
    assert clean["flux_total_r"] == pytest.approx(1000.0, rel=0.02)
    assert clean["flux_total_i"] == pytest.approx(0.4 * clean["flux_total_r"], rel=1e-3)
    assert clean["flux_total_r"] > clean["flux_auto_r"]
    rng = np.random.default_rng(31)
    rows = [measure(segmentation, bands(rng), params=params).table.row(0, named=True) for _ in range(300)]
    for band in sigma:
        for flux, error in (("flux_total", "flux_total_err"), ("flux_auto", "flux_auto_err_total")):
            pull = [(r[f"{flux}_{band}"] - clean[f"{flux}_{band}"]) / r[f"{error}_{band}"] for r in rows]
            print(f"{flux}_{band}: pull {np.std(pull):.3f}")
            # 300 draws know the width to 4 %.
            assert np.std(pull) == pytest.approx(1.0, abs=0.12)
