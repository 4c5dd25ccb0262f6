"""Forced photometry of real bands with models of a sharper real image; run with ``-s`` to see the numbers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from skymere.datamodels import SegmentationMap
from skymere.photometry import (
    ForcedPhotometry,
    PhotometryParams,
    ShiftParams,
    components_as_sources,
    forced_photometry,
)
from skymere.profiles import Component, FitParams, SceneFit, SceneParams, SourcePlan, fit_scene, profiles_on_sky
from skymere.psf import Psf, check_psf, fit_gaussian_mixture, recentred, sample_psf, with_wings
from skymere.segmentation import DetectParams, MeasureImage, detect
from skymere.wcs import Grid

EUCLID, LENS, COSMOS = "euclid_q1_cdfs_vis_yjh", "euclid_q1_J174517_vis_yjh_ugrz", "cosmos_hst_f814w_hsc_grizy_1"
# Pixels with a larger error than so many times the median are those of flagged pixels: MER files say 1e16.
FLAGGED = 100.0
# Sharp profiles of real galaxies: positive light, and no sky, which was subtracted from these images: where a galaxy
# fills its stamp a free sky takes its outskirts, and the band gets them as its own sky.
FITS = FitParams(flux=(0.0, np.inf), r_eff_pix=(0.1, 30.0), sersic_index=(0.2, 8.0), sky=(0.0, 0.0))
BANDS = {
    EUCLID: ("NIR_Y", "NIR_J", "NIR_H"),
    LENS: ("MEGACAM_U", "HSC_G", "MEGACAM_R", "HSC_Z", "NIR_Y", "NIR_J", "NIR_H"),
    COSMOS: tuple("grizy"),
}
POINT, ONE, OF_FIRST = Component(kind="point"), Component(), Component(centre_of=0)
# Bright sources that are more than one Sersic profile. Components have a flux of their own in each band.
PARTS = {
    # A star.
    EUCLID: {1: (POINT,)},
    # The lens: a bulge, a disc and what is around it. A galaxy on the edge, and a compact source beside it.
    LENS: {1: (ONE, OF_FIRST, OF_FIRST), 4: (ONE, ONE), 7: (POINT,)},
    # Both nuclei of the merger and what is between them, its tails, a galaxy beside it, knots of the chain.
    COSMOS: {1: (ONE,) * 4, 2: (ONE,) * 4} | dict.fromkeys(range(3, 9), (ONE, ONE)),
}
# Galaxies beyond the edges of the sharp image, whose light reaches onto it: rows and columns of the band, as a
# ``mask_border_more.reg`` would have them.
BEYOND = {COSMOS: ((slice(44, 50), slice(9, 37)), (slice(0, 5), slice(9, 24)))}
# Residuals above so many sigma are sources.
UNMODELLED_SIGMA = {EUCLID: 5.0, LENS: 5.0, COSMOS: 4.0}
# Nothing in this band is bright enough to tell where it is.
EMPTY = "MEGACAM_U"
# PSFs of NISP go to nothing at 16 pixels, where diffraction leaves some percent of the light: from the first radius to
# the second they get what is left around the star of the first field [pix].
STAR, WINGS_PIX = 1, (4.0, 25.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sharp:
    """The image with the models."""

    image: MeasureImage
    segmentation: SegmentationMap
    scene: SceneFit
    models: pl.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class Blurred:
    """A band, its PSF, and what was measured."""

    image: MeasureImage
    psf: Psf
    fwhm: float
    found: ForcedPhotometry

    @property
    def good(self) -> NDArray[np.bool_]:
        return ~self.image.mask


def scatter(values: NDArray[np.floating]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def sky_noise(data: NDArray[np.float32]) -> tuple[float, float]:
    """Level and scatter of the pixels below the level, which no source makes brighter."""
    values = data.ravel().astype(float)
    level = np.median(values)
    for _ in range(20):
        below = values[values < level]
        noise = np.sqrt(np.mean((below - level) ** 2))
        level = np.median(values[np.abs(values - level) < 2 * noise])
    return float(level), float(noise)


def psf_of(data: NDArray[np.floating]) -> Psf:
    """A PSF as the file has it, its source where the light is."""
    psf = Psf(data=np.array(data, np.float32), enclosed=float(data.sum(dtype=float)))
    there = check_psf(psf)
    return (
        psf if there.offset_pix < 0.25 else recentred(Psf(data=psf.data, x=there.x, y=there.y, enclosed=psf.enclosed))
    )


def fit_models(name: str, image: MeasureImage, psf: Psf, params: DetectParams) -> Sharp:
    segmentation = detect(image.data, error=image.error, params=params)
    plans = [SourcePlan(label=label, components=parts) for label, parts in PARTS[name].items()]
    scene_params = SceneParams(n_passes=2, fits=FITS)
    scene = fit_scene(image.data, image.error, labels=segmentation.labels, psf=psf, sources=plans, params=scene_params)
    on_sky = profiles_on_sky(scene.table, image.grid, zero_point_ab=image.zero_point_ab)
    models = on_sky.filter(pl.col("status") == "ok").with_columns(source_id=pl.col("label").cast(pl.Int64))
    return Sharp(image=image, segmentation=segmentation, scene=scene, models=components_as_sources(models))


def euclid_plane(hdus: fits.HDUList, band: str) -> MeasureImage:
    header = hdus[f"{band}_FLUX"].header
    data = np.array(hdus[f"{band}_FLUX"].data, np.float32)
    error = np.array(hdus[f"{band}_RMS"].data, np.float32)
    return MeasureImage(
        data=data, error=error, grid=Grid(wcs=WCS(header), shape=data.shape), zero_point_ab=header["MAGZERO"]
    )


def euclid_band(hdus: fits.HDUList, band: str) -> MeasureImage:
    """A band with one error for all pixels.

    The errors of MER files grow with the light, and a PSF that is 10 % off in the core is then fitted to the pixels
    that are too low: fluxes come out 1 to 2 % below those in apertures.
    """
    plane = euclid_plane(hdus, band)
    flagged = plane.error > FLAGGED * np.median(plane.error)
    error = np.full_like(plane.data, np.median(plane.error[~flagged]))
    return replace(plane, error=error, mask=flagged)


def finer(psf: Psf) -> Psf:
    """A formula fitted to a PSF of less than 2.6 pixels, on pixels twice as fine."""
    formula = fit_gaussian_mixture(psf, 4, scale_arcsec=0.1).model
    return sample_psf(formula, scale_arcsec=0.1, shape=(61, 61), oversampling=2, renormalise=False)


def pixel_noise(data: NDArray[np.float32]) -> float:
    """Scatter of differences within two by two pixels, which light hardly enters."""
    return scatter((data[1:, 1:] - data[:-1, 1:] - data[1:, :-1] + data[:-1, :-1]) / 2)


def read(folder: Path, name: str) -> tuple[Sharp, dict[str, tuple[MeasureImage, Psf]]]:
    with fits.open(folder / "imaging" / "lowres" / f"{name}.fits") as hdus:
        if name != COSMOS:
            sharp = fit_models(name, euclid_plane(hdus, "VIS"), finer(psf_of(hdus["VIS_PSF"].data)), DetectParams())
            return sharp, {b: (euclid_band(hdus, b), psf_of(hdus[f"{b}_PSF"].data)) for b in BANDS[name]}
        data = np.array(hdus["HST_F814W"].data, np.float32)
        level, noise = sky_noise(data)
        grid = Grid(wcs=WCS(hdus["HST_F814W"].header), shape=data.shape)
        image = MeasureImage(data=data - np.float32(level), error=np.full_like(data, noise), grid=grid)
        # Drizzled noise is correlated over a few pixels.
        params = DetectParams(threshold=4.0, extent=2.5, min_area=20)
        sharp = fit_models(name, image, psf_of(hdus["PSF_HST"].data), params)
        planes = {}
        wcs = WCS(hdus["HSC_GRIZY"].header).celestial
        for i, band in enumerate(BANDS[name]):
            data = np.array(hdus["HSC_GRIZY"].data[i], np.float32)
            grid = Grid(wcs=wcs, shape=data.shape)
            mask = ~(pixels_of(sharp, grid)[0])
            for box in BEYOND[name]:
                mask[box] = True
            plane = MeasureImage(data=data, error=np.full_like(data, pixel_noise(data)), mask=mask, grid=grid)
            planes[band] = (plane, psf_of(hdus["PSF_HSC"].data[i]))
        return sharp, planes


def pixels_of(sharp: Sharp, grid: Grid) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Which pixels of a band lie on the sharp image, and on which rows and columns of it."""
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]]
    sx, sy = (
        np.rint(v).astype(int).reshape(grid.shape) for v in sharp.image.grid.pixels(*grid.sky(x.ravel(), y.ravel()))
    )
    ny, nx = sharp.image.data.shape
    inside = (sx >= 0) & (sx < nx) & (sy >= 0) & (sy < ny)
    return inside, np.clip(sy, 0, ny - 1), np.clip(sx, 0, nx - 1)


def measured(name: str, key: str, sharp: Sharp, image: MeasureImage, psf: Psf) -> Blurred:
    shift = ShiftParams(method="none" if key == EMPTY else "joint")
    params = PhotometryParams(unmodelled_sigma=UNMODELLED_SIGMA[name], max_searches=5, shift=shift)
    found = forced_photometry(image, models=sharp.models, psf=psf, params=params)
    return Blurred(image=image, psf=psf, fwhm=check_psf(psf).fwhm_pix, found=found)


Wings = Callable[[Psf], Psf]


def wings_of(band: Blurred) -> Wings:
    """What gives PSFs of a band the wings of the star."""
    star = band.found.table.row(by_predicate=pl.col("source_id") == STAR, named=True)
    return partial(
        with_wings,
        residual=band.found.residual,
        x=star["x"],
        y=star["y"],
        flux=star["flux"] / ab_unit(band.image),
        from_pix=WINGS_PIX[0],
        to_pix=WINGS_PIX[1],
        mask=band.image.mask,
    )


Fields = dict[str, tuple[Sharp, dict[str, Blurred]]]


@pytest.fixture(scope="module")
def fields(shared_data: Path) -> Fields:
    """Models and bands of all fields."""
    found: Fields = {}
    wings: dict[str, Wings] = {}
    for name in BANDS:
        sharp, planes = read(shared_data, name)
        if name == EUCLID:
            wings = {key: wings_of(measured(name, key, sharp, *plane)) for key, plane in planes.items()}
        psfs = {key: wings[key](psf) if key in wings else psf for key, (_, psf) in planes.items()}
        found[name] = sharp, {key: measured(name, key, sharp, planes[key][0], psfs[key]) for key in planes}
    return found


def far_from_segments(sharp: Sharp, band: Blurred) -> NDArray[np.bool_]:
    """Blank sky: a full width away from segments of the sharp image and of the band, inside of both."""
    own = detect(np.where(band.good, band.image.data, 0), error=scatter_error(band), mask=~band.good)
    inside, rows, columns = pixels_of(sharp, band.image.grid)
    sources = (inside & (sharp.segmentation.labels[rows, columns] > 0)) | (own.labels > 0)
    return band.good & inside & (distance_transform_edt(~sources) > band.fwhm)


def scatter_error(band: Blurred) -> NDArray[np.float32]:
    """Error of single pixels: MER files state that of independent ones, 3 to 4 times the scatter of correlated ones."""
    return np.full(band.image.data.shape, scatter(band.found.residual[band.good]), np.float32)


def distance_to_cores(band: Blurred, *, has_added: bool = True) -> NDArray[np.float64]:
    y, x = np.mgrid[: band.image.data.shape[0], : band.image.data.shape[1]]
    placed = band.found.table.filter((pl.col("status") == "ok") & (has_added | ~pl.col("is_added")))
    return np.min([np.hypot(x - px, y - py) for px, py in placed.select("x", "y").iter_rows()], axis=0)


@pytest.mark.parametrize("name", BANDS)
def test_residuals_outside_of_cores_are_blank_sky(fields: Fields, name: str) -> None:
    sharp, bands = fields[name]
    for key, band in bands.items():
        blank = far_from_segments(sharp, band)
        distance = distance_to_cores(band) / band.fwhm
        outside = band.good & (distance > 1)
        near = outside & (distance < 3)
        # Where little sky is left it holds wings of sources, which would make it too large a measure.
        sky = min(scatter(band.image.data[blank]), scatter(band.found.residual[blank]))
        ratio, near_ratio = (scatter(band.found.residual[part]) / sky for part in (outside, near))
        n_added = band.found.table["is_added"].sum()
        of_models = band.good & (distance_to_cores(band, has_added=False) > band.fwhm)
        with_added = scatter(band.found.residual[of_models]) / sky
        shift, error = band.found.shift.arcsec, band.found.shift.error_arcsec
        print(
            f"{name[:16]} {key}: MAD of the residual outside of cores / blank sky {ratio:.3f} ({outside.sum()} and"
            f" {blank.sum()} pixels), 1 to 3 FWHM from a core {near_ratio:.3f} ({near.sum()}); {n_added} added,"
            f" {with_added:.3f} with their cores; shift"
            f" {shift[0]:+.4f} {shift[1]:+.4f} arcsec ({error[0]:.4f} {error[1]:.4f})"
        )
        assert ratio < 1.1
        # The better a band is fitted, the deeper is the search for its own sources, and the less is blank. Where that is
        # little, the residual is compared with differences of pixels, too, whose scatter correlated noise makes smaller.
        assert blank.sum() > 70 or scatter(band.found.residual[outside]) < 1.1 * pixel_noise(band.image.data)


@dataclass(frozen=True, kw_only=True)
class Total:
    """A source of one component or more, as a band shows it."""

    source_id: int
    x: float
    y: float
    snr: float
    light_inside: float
    model: NDArray[np.float64]


def total(band: Blurred, source_id: int, parts: list[int]) -> Total | None:
    rows = band.found.table.filter(pl.col("source_id").is_in(parts))
    flux, error = band.found.sum_of(parts)
    if not flux > 0:
        return None
    model = np.zeros(band.image.data.shape)
    for row in rows.iter_rows(named=True):
        template, y0, x0 = band.found.template(row["source_id"])
        there = model[y0 : y0 + template.shape[0], x0 : x0 + template.shape[1]]
        there += row["flux"] / ab_unit(band.image) * template
    main = rows.row(by_predicate=pl.col("source_id") == source_id, named=True)
    inside = float((rows["flux"] * rows["light_inside"]).sum()) / flux
    return Total(source_id=source_id, x=main["x"], y=main["y"], snr=flux / error, light_inside=inside, model=model)


def in_aperture(band: Blurred, source: Total, radius: float) -> tuple[float, float]:
    """Light within a radius on the image less all others over that of the fit, and the light of others over it."""
    y, x = np.mgrid[: band.image.data.shape[0], : band.image.data.shape[1]]
    inside = np.hypot(x - source.x, y - source.y) < radius
    if not band.good[inside].all():
        return np.nan, np.nan
    of_fit = float(source.model[inside].sum())
    own = of_fit + float(band.found.residual[inside].sum(dtype=float))
    whole = float((band.image.data[inside] - band.found.background[0]).sum(dtype=float))
    return own / of_fit, (whole - own) / of_fit


def ab_unit(image: MeasureImage) -> float:
    """Flux of one unit of an image in the unit of the table."""
    return 10 ** (-0.4 * (image.zero_point_ab - 23.9)) if np.isfinite(image.zero_point_ab) else 1.0


@pytest.mark.parametrize(("name", "n_isolated"), [(EUCLID, 6), (LENS, 4)])
def test_isolated_sources_have_the_light_of_an_aperture(fields: Fields, name: str, n_isolated: int) -> None:
    """Sources of S/N above 50 with less than a tenth of their light from others in a radius of 2 full widths.

    Sources are those of the sharp image, with all their components.
    """
    sharp, bands = fields[name]
    parts = sharp.models.group_by("part_of", maintain_order=True).agg("source_id")
    n = 0
    for key, band in bands.items():
        totals = [total(band, source_id, ids) for source_id, ids in parts.iter_rows()]
        for source in totals:
            if source is None or not (source.snr > 50 and source.light_inside > 0.9):
                continue
            ratio, of_others = in_aperture(band, source, 2 * band.fwhm)
            growth = in_aperture(band, source, 3 * band.fwhm)[0] - in_aperture(band, source, band.fwhm)[0]
            is_isolated = abs(of_others) < 0.1
            print(
                f"{name[:16]} {key} source {source.source_id}{'' if is_isolated else ' (blended)'}: aperture / fit"
                f" {ratio - 1:+.4f}, others {of_others:+.3f} of its light, S/N {source.snr:.0f};"
                f" change of the ratio from 1 to 3 FWHM {growth:+.3f}"
            )
            n += is_isolated
            if is_isolated:
                assert abs(ratio - 1) < 0.02
    assert n >= n_isolated


@pytest.mark.parametrize("name", BANDS)
def test_a_dropped_source_moves_its_neighbours_as_the_covariance_says(fields: Fields, name: str) -> None:
    """Without i the fit is the old one under the condition f_i = 0.

    With the covariance C that is a move of all others by ``-C_ij / C_ii f_i`` and a variance of ``C_jj - C_ij^2 / C_ii``.
    """
    sharp, bands = fields[name]
    for key, band in bands.items():
        fixed = PhotometryParams(shift=ShiftParams(method="none", shift_arcsec=band.found.shift.arcsec))
        whole = forced_photometry(band.image, models=sharp.models, psf=band.psf, params=fixed)
        flux, error = columns(whole)
        pairs = {i: {j: c for j, c in whole.covariance.of(i).items() if j != i} for i in flux}
        correlation, i = max((abs(c) / error[i] / error[j], i) for i in flux for j, c in pairs[i].items())
        models = sharp.models.filter(pl.col("source_id") != i)
        flux_less, error_less = columns(forced_photometry(band.image, models=models, psf=band.psf, params=fixed))
        moves = {j: (flux_less[j] - flux[j]) / error[j] for j in pairs[i]}
        j = max(moves, key=lambda one: abs(moves[one]))
        print(
            f"{name[:16]} {key}: without {i} source {j} moves by {moves[j]:+.2f} sigma, foreseen"
            f" {-pairs[i][j] / error[i] ** 2 * flux[i] / error[j]:+.2f}; the strongest correlation is {correlation:.2f}"
        )
        assert correlation > 0.2
        for j, covariance in pairs[i].items():
            foreseen = -covariance / error[i] ** 2 * flux[i] / error[j]
            # Both are solutions of one linear system in float64; templates are the same.
            assert moves[j] == pytest.approx(foreseen, rel=1e-8, abs=1e-8)
            assert error_less[j] ** 2 == pytest.approx(error[j] ** 2 - (covariance / error[i]) ** 2, rel=1e-8)


def columns(found: ForcedPhotometry) -> tuple[dict[int, float], dict[int, float]]:
    """Fluxes and formal errors by source."""
    table = found.table.filter(pl.col("status") == "ok")
    flux, error = (dict(zip(table["source_id"], table[c], strict=True)) for c in ("flux", "err_formal"))
    return flux, error
