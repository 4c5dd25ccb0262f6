"""A small survey of grism exposures on disk: direct images, catalogue, segmentation, configurations and the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import GrismConfig
from skymere.errors import InvalidInputError, StorageError
from skymere.instruments import find_filter
from skymere.io import read_config
from skymere.testing.grism import GrismSceneParams, simulate_grism
from skymere.wcs import Grid, fits_cards

__all__ = ["GrismSurvey", "GrismSurveyParams", "simulate_grism_survey", "write_grism_templates"]

_SCALE_ARCSEC = 0.13
_FINE_ARCSEC = 0.065
_LIGHT = 2.99792458e5
_TRIES = 100
# Grism, direct filter, wavelengths [Angstrom] where the sensitivity rises and falls, first offset, last one, DLDP.
_GRISMS: Mapping[str, tuple[str, tuple[float, float], tuple[int, int], tuple[float, float]]] = {
    "g102": ("f105w", (8000.0, 11500.0), (41, 248), (6344.0, 24.4)),
    "g141": ("f140w", (10700.0, 16900.0), (15, 196), (8951.0, 44.97)),
}
# Rest wavelengths [um] and the part of the flux at each.
_LINES = {"oiii": ((0.49603, 0.25), (0.50082, 0.75)), "oii": ((0.3729, 1.0),), "hb": ((0.48627, 1.0),)}
# Their flux over that of Ha. That of Hb is of case B without dust.
_RATIOS = {"oiii": 1.0, "oii": 0.6, "hb": 0.35}
# Dust's scatter of Hb over Ha, relative to that of the lines of oxygen.
_DUST = 0.4
_HA = 0.65646
_N_TEMPLATES = 12


@dataclass(frozen=True, kw_only=True)
class GrismSurveyParams:
    """What `simulate_grism_survey` makes.

    Parameters
    ----------
    ra, dec : float
        Centre of the field [deg].
    grisms : tuple of str
        ``g102``, ``g141``.
    angles_deg : tuple of float
        Position angles of the detector's y axis [deg].
    n_dithers : int
        Exposures at each angle.
    n_sources : int
        Sources in the field.
    n_points : int
        How many of them are points.
    min_separation_arcsec : float
        Sources are not closer together, as long as there is room [arcsec].
    flux_range : tuple of float
        Least and largest flux of a source in F140W [e/s].
    flux_slope : float
        Sources of a flux F are as many as ``F^-flux_slope`` per logarithm of it; uniform for 0.
    radius_arcsec : tuple of float
        Least and largest half-light radius [arcsec].
    ew_range : tuple of float
        Least and largest equivalent width of Ha, at rest [Angstrom].
    line_scatter : float
        Scatter of the fluxes of [OIII] and [OII] over that of Ha; by dust, Hb is fainter than in case B by 0.4 times
        such a scatter's absolute value [dex].
    wcs_error_arcsec : tuple of float
        By how much the coordinates of the exposures of a grism are off, east and north; those of their direct partners
        are right, with nominal ones beside them that are off by the same [arcsec].
    column_sigma : float
        Scatter of the columns' levels [e/s].
    keep_truth : bool
        Whether the light of every source in every exposure is kept, for `GrismSurvey.truth`.
    is_noise_shared : bool
        Whether surveys of other seeds have the same noise; statistics of many need noise of their own.
    scene : GrismSceneParams
        Frame, PSF, noise and orders.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    ra: float = 150.1
    dec: float = 2.2
    grisms: tuple[str, ...] = ("g102", "g141")
    angles_deg: tuple[float, ...] = (0.0, 70.0)
    n_dithers: int = 3
    n_sources: int = 30
    n_points: int = 3
    min_separation_arcsec: float = 1.2
    flux_range: tuple[float, float] = (1.0, 100.0)
    flux_slope: float = 0.0
    radius_arcsec: tuple[float, float] = (0.13, 0.5)
    ew_range: tuple[float, float] = (10.0, 200.0)
    line_scatter: float = 0.0
    wcs_error_arcsec: tuple[float, float] = (0.2, -0.15)
    column_sigma: float = 0.005
    keep_truth: bool = True
    is_noise_shared: bool = True
    scene: GrismSceneParams = field(
        default_factory=lambda: GrismSceneParams(
            shape=(300, 400), oversampling=5, orders=("A", "B"), segment_level=0.004, direct_noise=0.01
        )
    )

    def __post_init__(self) -> None:
        unknown = set(self.grisms) - set(_GRISMS)
        if unknown or not self.grisms:
            msg = f"grisms: {self.grisms} are not allowed, they must be of {sorted(_GRISMS)}"
            raise InvalidInputError(msg)
        for name in ("n_dithers", "n_sources"):
            if getattr(self, name) < 1:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 1 or more"
                raise InvalidInputError(msg)
        if not 0 <= self.line_scatter < np.inf:
            msg = f"line_scatter: {self.line_scatter} is not allowed, it must be 0 or more"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismSurvey:
    """Where the files of a survey are, and what they were made of.

    Parameters
    ----------
    folder : Path
        The folder.
    grism, direct : tuple of Path
        Exposures through the grisms, and without them; those of one place in the list belong together.
    catalogue, segmentation, mosaic, nominal : Path
        ``id, ra, dec, mag``; labels; direct image of the last grism's filter on their pixels; the coordinates of the
        direct exposures before they were aligned.
    noiseless : Path
        The mosaic without noise, a part of the truth.
    conf : Path
        Folder of configurations, and of the image of the sky of each grism.
    sources : DataFrame
        The truth: ``id, ra, dec, flux, radius_arcsec, sersic_n, q, pa_deg, z, ew_ha, slope, oiii, oii, hb,
        flux_ha``; ``oiii`` (both lines), ``oii`` and ``hb`` are fluxes over that of Ha, ``slope`` is that of the
        continuum between F105W and F140W, ``flux_ha`` is in erg/s/cm2.
    spectra : mapping of int to (ndarray, ndarray)
        Wavelengths [um] and flux densities [erg/s/cm2/A] by id.
    """

    folder: Path
    grism: tuple[Path, ...]
    direct: tuple[Path, ...]
    catalogue: Path
    segmentation: Path
    mosaic: Path
    noiseless: Path
    nominal: Path
    conf: Path
    sources: pl.DataFrame
    spectra: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]]

    def truth(self, exposure_id: str) -> dict[int, NDArray[np.float32]]:
        """Return what every source gives in an exposure, by id [e/s]; nothing without ``keep_truth``.

        Parameters
        ----------
        exposure_id : str
            The exposure.
        """
        with np.load(self.folder / "truth" / f"{exposure_id}.npz") as planes:
            return {int(name[1:]): planes[name] for name in planes.files if name.startswith("s")}

    def sky(self, exposure_id: str) -> NDArray[np.float32]:
        """Return the sky of an exposure with its columns [e/s].

        Parameters
        ----------
        exposure_id : str
            The exposure.
        """
        with np.load(self.folder / "truth" / f"{exposure_id}.npz") as planes:
            return np.asarray(planes["background"])


def simulate_grism_survey(
    folder: str | Path,
    *,
    params: GrismSurveyParams | None = None,
    seed: int = 1,
    sources: pl.DataFrame | None = None,
    continua: Sequence[tuple[ArrayLike, ArrayLike]] | None = None,
) -> GrismSurvey:
    """Write a small survey: exposures of grisms with their direct images, catalogue, segmentation and truth.

    Parameters
    ----------
    folder : path-like
        Where to; files that are there are replaced.
    params : GrismSurveyParams, optional
        The survey.
    seed : int, optional
        Seed of all random numbers.
    sources : DataFrame, optional
        Instead of drawn ones; columns as `GrismSurvey.sources`, without ``flux_ha``; those of lines may be missing.
    continua : sequence of (array_like, array_like), optional
        Wavelengths at rest [um] and f_lambda of continua that sources have instead of power laws: that of source ``id``
        is number ``id % n``.

    Returns
    -------
    GrismSurvey
        Paths and truth.

    Raises
    ------
    StorageError
        When the folder cannot be written.

    Notes
    -----
    Each exposure is made by `simulate_grism`, with GalSim on fine pixels. The frames are square pixels of a tangent
    plane of 0.13 arcsec; configurations are made, like those of G102 and G141.
    """
    params = GrismSurveyParams() if params is None else params
    folder = Path(folder)
    try:
        for name in ("exposures", "truth", "CONF"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    rng = np.random.default_rng([seed, 3])
    if sources is None:
        sources = _sources(params, rng)
    sources = _made_of(sources, continua)
    spectra = {row["id"]: _spectrum(row, continua) for row in sources.iter_rows(named=True)}
    configs = {name: _write_config(folder / "CONF", name, params.scene.shape) for name in params.grisms}
    noise = [7] if params.is_noise_shared else [seed, 0]
    mosaic, segmentation = _write_mosaic(folder, params, sources, spectra, configs[params.grisms[-1]], noise)
    paths: dict[str, list[Path]] = {"grism": [], "direct": []}
    nominal: list[dict[str, Any]] = []
    number = 0
    for angle in params.angles_deg:
        for dither in range(params.n_dithers):
            east, north = _dither(dither, rng)
            for grism in params.grisms:
                number += 1
                ra = params.ra + east / 3600 / np.cos(np.deg2rad(params.dec))
                grid = Grid.tangent(
                    ra,
                    params.dec + north / 3600,
                    shape=params.scene.shape,
                    scale_arcsec=_SCALE_ARCSEC,
                    rotation_deg=angle,
                )
                name = f"gsim{number:03d}"
                noise = [int.from_bytes(name.encode()[-3:], "big")] if params.is_noise_shared else [seed, number]
                made = _expose(folder, name, grism, grid, params, sources, spectra, configs[grism], noise)
                for kind, path in made.items():
                    paths[kind].append(path)
                nominal.append({"exposure_id": f"gsim{number:03d}d", **_off(grid, params).cards()})
    pl.DataFrame(nominal).write_csv(folder / "nominal.csv")
    mag = _zero_point("f140w") - 2.5 * np.log10(sources["flux"].to_numpy())
    catalogue = folder / "catalogue.csv"
    sources.select("id", "ra", "dec").with_columns(mag=pl.Series(mag)).write_csv(catalogue)
    sources.write_parquet(folder / "truth" / "sources.parquet")
    return GrismSurvey(
        folder=folder,
        grism=tuple(paths["grism"]),
        direct=tuple(paths["direct"]),
        catalogue=catalogue,
        segmentation=segmentation,
        mosaic=mosaic,
        noiseless=folder / "truth" / mosaic.name,
        nominal=folder / "nominal.csv",
        conf=folder / "CONF",
        sources=sources,
        spectra=spectra,
    )


def write_grism_templates(folder: str | Path) -> Path:
    """Write twelve smooth continua with a break, under the names of those of grizli; returns the folder.

    Parameters
    ----------
    folder : path-like
        Where to; `skymere.spectra.TemplateSet.load` reads it, with the lines of the package.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    target = Path(folder) / "fsps"
    wave = np.geomspace(500.0, 60000.0, 800)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for k in range(_N_TEMPLATES):
            slope, knee = -2.5 + 0.3 * k, 2500 + 400 * k
            flux = (wave / 5000.0) ** slope / (1 + np.exp(-(wave - knee) / 300.0))
            np.savetxt(target / f"fsps_QSF_12_v3_nolines_{k + 1:03d}.dat", np.stack([wave, flux], axis=1))
    except OSError as error:
        msg = f"{target}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    return target.parent


def _zero_point(band: str) -> float:
    found = find_filter(band, camera="WFC3/IR")
    return float(-2.5 * np.log10(found.photflam) - 5 * np.log10(found.photplam) - 2.408)


def _dither(i: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return an offset with a sub-pixel phase of its own [arcsec]."""
    return (1.3 * i + 0.13 * rng.uniform(), -0.9 * i + 0.13 * rng.uniform())


def _sources(params: GrismSurveyParams, rng: np.random.Generator) -> pl.DataFrame:
    n = params.n_sources
    half = 0.5 * min(params.scene.shape) * _SCALE_ARCSEC / 3600
    radius, angle = _apart(n, half, params.min_separation_arcsec / 3600, rng)
    sizes = _between(params.radius_arcsec, n, rng)
    sizes[: params.n_points] = 0.0
    return pl.DataFrame(
        {
            "id": np.arange(1, n + 1),
            "ra": params.ra + radius * np.cos(angle) / np.cos(np.deg2rad(params.dec)),
            "dec": params.dec + radius * np.sin(angle),
            "flux": _between(params.flux_range, n, rng, slope=params.flux_slope),
            "radius_arcsec": sizes,
            "sersic_n": rng.uniform(0.8, 2.0, n),
            "q": rng.uniform(0.4, 1.0, n),
            "pa_deg": rng.uniform(0, 180, n),
            "z": rng.uniform(0.7, 2.3, n),
            "ew_ha": _between(params.ew_range, n, rng),
            "slope": rng.uniform(-1.5, 1.0, n),
            **_ratios(params.line_scatter, n, rng),
        }
    )


def _between(
    limits: tuple[float, float], n: int, rng: np.random.Generator, *, slope: float = 0.0
) -> NDArray[np.float64]:
    """Return numbers x of which there are ``x^-slope`` per logarithm."""
    if slope == 0:
        low, high = np.log(limits[0]), np.log(limits[1])
        return np.asarray(np.exp(rng.uniform(low, high, n)), np.float64)
    first, last = (limit**-slope for limit in limits)
    return np.asarray((first + (last - first) * rng.uniform(size=n)) ** (-1 / slope), np.float64)


def _ratios(scatter: float, n: int, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Return fluxes of lines over that of Ha."""
    if scatter == 0:
        return {name: np.full(n, ratio) for name, ratio in _RATIOS.items()}
    drawn = {name: scatter * rng.standard_normal(n) for name in _RATIOS}
    drawn["hb"] = -_DUST * np.abs(drawn["hb"])
    return {name: ratio * 10.0 ** drawn[name] for name, ratio in _RATIOS.items()}


def _apart(
    n: int, half: float, separation: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places in a disc that are not too close together: of some tries the first, else the last."""
    found: list[complex] = []
    for _ in range(n):
        for _ in range(_TRIES):
            one = complex(half * np.sqrt(rng.uniform()) * np.exp(2j * np.pi * rng.uniform()))
            if all(abs(one - other) > separation for other in found):
                break
        found.append(one)
    return np.abs(found), np.angle(found)


def _continuum(
    row: Mapping[str, Any], continua: Sequence[tuple[ArrayLike, ArrayLike]] | None, wave: ArrayLike
) -> NDArray[np.float64]:
    """Return a continuum whose flux in F140W is the source's, at wavelengths [um]."""
    band = find_filter("f140w", camera="WFC3/IR")
    at, pivot = np.asarray(wave, np.float64), band.photplam * 1e-4
    if not continua:
        return np.asarray(row["flux"] * band.photflam * (at / pivot) ** row["slope"])
    rest, drawn = (np.asarray(part, np.float64) for part in continua[row["id"] % len(continua)])
    unit = row["flux"] * band.photflam / np.interp(pivot / (1 + row["z"]), rest, drawn)
    return np.asarray(unit * np.interp(at / (1 + row["z"]), rest, drawn))


def _made_of(sources: pl.DataFrame, continua: Sequence[tuple[ArrayLike, ArrayLike]] | None) -> pl.DataFrame:
    """Return the sources with the slope of their continuum, and the flux of Ha."""
    pivots = np.array([find_filter(band, camera="WFC3/IR").photplam for band in ("f105w", "f140w")])
    rows = list(sources.iter_rows(named=True))
    ends = np.stack([_continuum(row, continua, pivots * 1e-4) for row in rows])
    at_ha = np.array([_continuum(row, continua, _HA * (1 + row["z"])) for row in rows])
    return sources.with_columns(
        slope=pl.Series(np.log(ends[:, 1] / ends[:, 0]) / np.log(pivots[1] / pivots[0])),
        flux_ha=pl.col("ew_ha") * (1 + pl.col("z")) * pl.Series(at_ha),
    )


def _spectrum(
    row: Mapping[str, Any], continua: Sequence[tuple[ArrayLike, ArrayLike]] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a continuum with lines of 400 km/s."""
    wave = np.linspace(0.7, 1.9, 12001)
    flux = _continuum(row, continua, wave)
    lines = [(at, row.get(name, _RATIOS[name]) * part) for name, parts in _LINES.items() for at, part in parts]
    for line, ratio in ((_HA, 1.0), *lines):
        middle = line * (1 + row["z"])
        sigma = middle * 400.0 / _LIGHT / 2.3548
        profile = np.exp(-0.5 * ((wave - middle) / sigma) ** 2) / (sigma * 1e4 * np.sqrt(2 * np.pi))
        flux += row["flux_ha"] * ratio * profile
    return wave, flux


def _write_config(folder: Path, grism: str, shape: tuple[int, int]) -> GrismConfig:
    """Write a configuration of two orders like that of the real grism, its sensitivities and the image of its sky."""
    band, (blue, red), (first, end), (zero, step) = _GRISMS[grism]
    wave = np.linspace(blue - 300, red + 300, 500)
    shape_a = np.clip((wave - blue + 200) / 400, 0, 1) * np.clip((red + 200 - wave) / 400, 0, 1)
    for order, scale in (("A", 2e16), ("B", 2e15)):
        columns = {"WAVELENGTH": wave, "SENSITIVITY": scale * shape_a, "ERROR": 0.01 * scale * shape_a}
        table = fits.BinTableHDU.from_columns(
            [fits.Column(name=name, format="D", array=values) for name, values in columns.items()]
        )
        table.writeto(folder / f"sim.{grism}.{order}.sens.fits", overwrite=True)
    name = grism.upper()
    words = [
        "INSTRUMENT WFC3",
        "CAMERA IR",
        f"BEAMA {first} {end}",
        "MMAG_EXTRACT_A 30",
        "DYDX_ORDER_A 1",
        "DYDX_A_0 2.08 -2e-4 -2.2e-3",
        "DYDX_A_1 0.0102 -6e-6 -3e-6",
        "XOFF_A 0.0",
        "YOFF_A 0.0",
        "DISP_ORDER_A 1",
        f"DLDP_A_0 {zero} 0.08 -0.009",
        f"DLDP_A_1 {step} 5e-4 3.6e-3",
        f"SENSITIVITY_A sim.{grism}.A.sens.fits",
        "BEAMB -207 -177",
        "MMAG_EXTRACT_B 30",
        "DYDX_ORDER_B 0",
        "DYDX_B_0 -1.0",
        "XOFF_B -190.0",
        "YOFF_B 0.0",
        "DISP_ORDER_B 1",
        f"DLDP_B_0 {0.5 * (blue + red)}",
        f"DLDP_B_1 {(red - blue) / 10.0}",
        f"SENSITIVITY_B sim.{grism}.B.sens.fits",
    ]
    path = folder / f"{name}.{band.upper()}.V4.32.conf"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    fits.writeto(folder / f"{grism}_sky.fits", _sky_shape(shape).astype(np.float32), overwrite=True)
    return read_config(path)


def _sky_shape(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the image of the sky through a grism, 1 on average: lower where an order is missing."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None]
    image = 1 - 0.08 * np.exp(-x / 0.15) + 0.05 * (y - 0.5) - 0.04 * (x - 0.5) ** 2
    return np.asarray(image / image.mean())


def _on_frame(sources: pl.DataFrame, grid: Grid, *, flux: NDArray[np.float64], half: float) -> pl.DataFrame:
    """Return sources with their places and shapes on the pixels of a grid; those far from it are left out."""
    x, y = grid.pixels(sources["ra"].to_numpy(), sources["dec"].to_numpy())
    (a, b), (c, d) = grid.wcs.wcs.cd
    pa = np.deg2rad(sources["pa_deg"].to_numpy())
    # East and north of the major axis, in pixels.
    u, v = np.linalg.inv([[a, b], [c, d]]) @ np.stack([np.sin(pa), np.cos(pa)])
    radius = sources["radius_arcsec"].to_numpy() / grid.scale_arcsec
    stamp = np.where(radius > 0, np.ceil(np.maximum(6 * radius, 5 * half / grid.scale_arcsec)), 0)
    made = sources.with_columns(
        x=pl.Series(x),
        y=pl.Series(y),
        flux=pl.Series(flux),
        radius_pix=pl.Series(radius),
        pa_deg=pl.Series(np.rad2deg(np.arctan2(v, u))),
        stamp_pix=pl.Series(np.where(stamp > 0, stamp, np.ceil(9 * half / grid.scale_arcsec)).astype(int)),
    )
    ny, nx = grid.shape
    inside = (x > -260) & (x < nx + 260) & (y > -40) & (y < ny + 40)
    return made.filter(pl.Series(inside))


def _fluxes(sources: pl.DataFrame, band: str) -> NDArray[np.float64]:
    """Return fluxes through a filter, of the continuum at its pivot wavelength [e/s]."""
    found, own = find_filter(band, camera="WFC3/IR"), find_filter("f140w", camera="WFC3/IR")
    ratio = (found.photplam / own.photplam) ** sources["slope"].to_numpy()
    return np.asarray(sources["flux"].to_numpy() * ratio * own.photflam / found.photflam)


def _write_mosaic(
    folder: Path, params: GrismSurveyParams, sources: pl.DataFrame, spectra: Any, config: GrismConfig, seed: list[int]
) -> tuple[Path, Path]:
    """Write the direct image and its segmentation on fine pixels, north up."""
    side = int(np.hypot(*params.scene.shape) * _SCALE_ARCSEC / _FINE_ARCSEC) + 40
    grid = Grid.tangent(params.ra, params.dec, shape=(side, side), scale_arcsec=_FINE_ARCSEC)
    fwhm = params.scene.psf_fwhm_pix * _SCALE_ARCSEC
    here = _on_frame(sources, grid, flux=sources["flux"].to_numpy(), half=fwhm)
    scene = replace(
        params.scene,
        shape=grid.shape,
        orders=(),
        psf_fwhm_pix=fwhm / _FINE_ARCSEC,
        direct_noise=params.scene.direct_noise * (_FINE_ARCSEC / _SCALE_ARCSEC),
    )
    made = simulate_grism(here, spectra, config, params=scene, seed=seed)
    cards = fits.Header(fits_cards(grid.wcs))
    band = find_filter("f140w", camera="WFC3/IR")
    cards.update({"FILTER": "F140W", "PHOTFLAM": band.photflam, "PHOTPLAM": band.photplam, "BUNIT": "ELECTRONS/S"})
    weight = np.full(grid.shape, 1 / max(scene.direct_noise, 1e-6) ** 2, np.float32)
    for place, image in ((folder, made.direct), (folder / "truth", made.noiseless)):
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, cards, "SCI"), fits.ImageHDU(weight, cards, "WHT")]
        fits.HDUList(hdus).writeto(place / "mosaic_f140w_drz.fits", overwrite=True)
    fits.writeto(folder / "segmentation.fits", made.segmentation, fits.Header(fits_cards(grid.wcs)), overwrite=True)
    return folder / "mosaic_f140w_drz.fits", folder / "segmentation.fits"


def _off(grid: Grid, params: GrismSurveyParams) -> Grid:
    """Return a grid whose coordinates are off."""
    wcs = grid.wcs.deepcopy()
    east, north = params.wcs_error_arcsec
    ra, dec = wcs.wcs.crval
    wcs.wcs.crval = [ra + east / 3600 / np.cos(np.deg2rad(dec)), dec + north / 3600]
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=grid.shape)


def _expose(
    folder: Path,
    name: str,
    grism: str,
    grid: Grid,
    params: GrismSurveyParams,
    sources: pl.DataFrame,
    spectra: Any,
    config: GrismConfig,
    seed: list[int],
) -> dict[str, Path]:
    band = _GRISMS[grism][0]
    here = _on_frame(sources, grid, flux=_fluxes(sources, band), half=params.scene.psf_fwhm_pix * _SCALE_ARCSEC)
    made = simulate_grism(here, spectra, config, params=params.scene, seed=seed)
    rng = np.random.default_rng([*seed, 5])
    columns = params.column_sigma * rng.standard_normal(grid.shape[1])
    background = params.scene.sky * _sky_shape(grid.shape) + columns
    direct_error = np.full(grid.shape, max(params.scene.direct_noise, 1e-4), np.float32)
    found = find_filter(band, camera="WFC3/IR")
    paths = {
        "grism": folder / "exposures" / f"{name}g_flt.fits",
        "direct": folder / "exposures" / f"{name}d_flt.fits",
    }
    facts = {"PHOTFLAM": found.photflam, "PHOTPLAM": found.photplam}
    exptime = params.scene.exptime
    _write_flt(paths["grism"], grism, made.sci + background, made.err, _off(grid, params), exptime, {})
    _write_flt(paths["direct"], band, made.direct, direct_error, grid, exptime, facts)
    kept = made.truth if params.keep_truth else {}
    planes = {f"s{one}": frame.astype(np.float32) for one, frame in kept.items()}
    np.savez_compressed(
        folder / "truth" / f"{name}g.npz",
        allow_pickle=False,
        background=np.asarray(background, np.float32),
        **planes,
    )
    return paths


def _write_flt(
    path: Path, band: str, sci: Any, err: Any, grid: Grid, exptime: float, facts: Mapping[str, float]
) -> None:
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": band.upper()})
    primary.header.update({"ROOTNAME": path.name.split("_")[0], "EXPTIME": exptime, **facts, "SIMULATE": True})
    cards = fits.Header(fits_cards(grid.wcs))
    cards.update({"BUNIT": "ELECTRONS/S", "IDCSCALE": _SCALE_ARCSEC})
    hdus = fits.HDUList(
        [
            primary,
            fits.ImageHDU(np.asarray(sci, np.float32), cards, "SCI"),
            fits.ImageHDU(np.asarray(err, np.float32), cards, "ERR"),
            fits.ImageHDU(np.zeros(grid.shape, np.int16), cards, "DQ"),
        ]
    )
    hdus.writeto(path, overwrite=True)
