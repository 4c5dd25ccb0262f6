"""Exposures of a scene with a WFC3/IR-like camera: distortion, noise, cosmic rays and bad pixels.

GalSim (Rowe et al. 2015) draws galaxies, stars and their PSF, so the truth does not come from skymere's own renderer.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.instruments import find_detector
from skymere.testing.scene import BANDS
from skymere.wcs import wcs_cards, wcs_from_cards

__all__ = [
    "SCALE_ARCSEC",
    "CameraParams",
    "Pointing",
    "blurred_profile",
    "cosmic_rays",
    "detector_faults",
    "dithers",
    "draw_sources",
    "noise_free_image",
    "render_exposure",
    "source_profile",
    "write_exposure",
]

SCALE_ARCSEC = 0.1282500028610229
# SIP coefficients of WFC3/IR (IDCTAB w3m18525i), the terms above 0.005 pixel at the corners.
_SIP_A = {"A_2_0": -1.868e-7, "A_1_1": 2.4449e-5, "A_0_2": 4.736e-8, "A_3_0": -1.88e-10, "A_1_2": 5.08e-11}
_SIP_B = {"B_2_0": 6.978e-6, "B_1_1": -2.038e-7, "B_0_2": 2.9988e-5, "B_2_1": -2.856e-10, "B_0_3": -2.009e-10}
_LINEAR = np.array([[0.1354261934757233, 0.000779107213020324], [-0.00042105099419131, 0.120962917804718]])


@dataclass(frozen=True, kw_only=True)
class CameraParams:
    """The camera and its faults.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the detector.
    exptime : float
        Exposure time [s].
    sky : float
        Background [electron / s / pix].
    read_noise : float
        Effective read noise [electron].
    psf_fwhm_arcsec : float
        FWHM of the optical PSF in the reddest band; it grows with wavelength.
    n_cosmic_rays : int
        Mean number of hits in an exposure.
    n_bad_pixels : int
        Pixels with a DQ bit, the same in every exposure.
    n_dead_pixels : int
        Pixels without signal and without a DQ bit, the same in every exposure: the static mask finds them.
    """

    shape: tuple[int, int] = (1014, 1014)
    exptime: float = 800.0
    sky: float = 0.6
    read_noise: float = 14.0
    psf_fwhm_arcsec: float = 0.17
    n_cosmic_rays: int = 400
    n_bad_pixels: int = 4000
    n_dead_pixels: int = 150

    def __post_init__(self) -> None:
        for name in ("exptime", "sky", "psf_fwhm_arcsec"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """Where one exposure looks.

    Parameters
    ----------
    name : str
        Root name of the exposure.
    band : str
        One of `skymere.testing.BANDS`.
    ra, dec : float
        Sky at the reference pixel [deg].
    pa_deg : float
        Position angle of the detector's y axis [deg].
    """

    name: str
    band: str
    ra: float
    dec: float
    pa_deg: float


def dithers(
    ra: float, dec: float, *, bands: Sequence[str], n_dithers: int = 6, step_arcsec: float = 6.0, seed: int = 1
) -> list[Pointing]:
    """Return pointings scattered around a centre, with sub-pixel phases and a small roll between bands.

    Parameters
    ----------
    ra, dec : float
        Centre [deg].
    bands : sequence of str
        Filters, of `BANDS`.
    n_dithers : int, optional
        Exposures in each band.
    step_arcsec : float, optional
        Largest offset along each axis [arcsec].
    seed : int, optional
        Seed of the random numbers.

    Raises
    ------
    InvalidInputError
        When a band is not one of `BANDS`.
    """
    rng = np.random.default_rng([seed, 1])
    pointings = []
    for i_band, band in enumerate(bands):
        if band not in BANDS:
            msg = f"bands: {band!r} is not allowed, it must be one of {sorted(BANDS)}"
            raise InvalidInputError(msg)
        for i in range(n_dithers):
            east, north = rng.uniform(-step_arcsec, step_arcsec, 2) / 3600.0
            pointings.append(
                Pointing(
                    name=f"sim{i_band:02d}{i:03d}q",
                    band=band,
                    ra=ra + east / np.cos(np.deg2rad(dec)),
                    dec=dec + north,
                    pa_deg=30.0 + 1.5 * i_band + rng.normal(0.0, 0.02),
                )
            )
    return pointings


def camera_wcs(pointing: Pointing, shape: tuple[int, int]) -> WCS:
    """Return the TAN-SIP WCS of a pointing."""
    angle = np.deg2rad(pointing.pa_deg)
    turn = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cd = turn @ _LINEAR / 3600.0
    cards: dict[str, Any] = {"WCSAXES": 2, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "RADESYS": "ICRS"}
    cards |= {"CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": pointing.ra, "CRVAL2": pointing.dec}
    cards |= {"CRPIX1": shape[1] / 2.0, "CRPIX2": shape[0] / 2.0, "A_ORDER": 3, "B_ORDER": 3, **_SIP_A, **_SIP_B}
    cards |= {f"CD{i + 1}_{j + 1}": float(cd[i, j]) for i in (0, 1) for j in (0, 1)}
    return wcs_from_cards(cards)


def render_exposure(
    scene: pl.DataFrame, pointing: Pointing, *, params: CameraParams | None = None, seed: int = 1
) -> dict[str, Any]:
    """Render one exposure.

    Parameters
    ----------
    scene : polars.DataFrame
        As `draw_scene` gives it.
    pointing : Pointing
        Where the camera looks, and through which filter.
    params : CameraParams, optional
        The camera.
    seed : int, optional
        With the pointing's name it seeds noise and cosmic rays; alone it seeds the detector's faults.

    Returns
    -------
    dict
        ``sci, err`` [electron / s], ``dq``, ``crtrue`` (pixels with a charge above 1 sigma of the sky), ``truth``
        (noise-free image) and ``wcs``.

    Notes
    -----
    Pixels are flat-fielded: the sky is uniform, so a source has flux x nominal / true pixel area, as in real exposures.
    """
    params = params or CameraParams()
    wcs = camera_wcs(pointing, params.shape)
    truth = noise_free_image(scene, pointing, wcs, params)
    rng = np.random.default_rng([seed, *pointing.name.encode()])
    electrons = (truth + params.sky) * params.exptime
    noisy = rng.poisson(electrons) + rng.normal(0.0, params.read_noise, params.shape)
    hits = cosmic_rays(rng, params)
    dq, dead = detector_faults(np.random.default_rng([seed, 2]), params)
    counts = noisy + rng.poisson(hits)
    counts[dead] = rng.normal(0.0, params.read_noise, int(dead.sum()))
    counts[dq > 0] += rng.normal(0.0, 30.0 * params.read_noise, int((dq > 0).sum()))
    error = np.sqrt(np.maximum(counts, 0.0) + params.read_noise**2) / params.exptime
    return {
        "sci": (counts / params.exptime).astype(np.float32),
        "err": error.astype(np.float32),
        "dq": dq,
        "crtrue": (hits > np.sqrt(params.sky * params.exptime + params.read_noise**2)).astype(np.uint8),
        "truth": truth.astype(np.float32),
        "wcs": wcs,
    }


def _jacobians(wcs: WCS, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(n, 2, 2)``: east and north offset [arcsec] for one pixel in x and in y, at every source."""
    _, dec = wcs.all_pix2world(x, y, 0)
    columns = []
    for dx, dy in ((0.5, 0.0), (0.0, 0.5)):
        ra1, dec1 = wcs.all_pix2world(x + dx, y + dy, 0)
        ra0, dec0 = wcs.all_pix2world(x - dx, y - dy, 0)
        east = ((ra1 - ra0 + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(dec)) * 3600.0
        columns.append(np.stack([east, (dec1 - dec0) * 3600.0], axis=-1))
    return np.stack(columns, axis=-1)


def source_profile(source: Mapping[str, Any], band: str, params: CameraParams) -> Any:
    """Return a row of the scene as a GalSim profile of unit flux behind the optics, in arcsec east and north."""
    fwhm = params.psf_fwhm_arcsec * BANDS[band][1] / max(pivot for _, pivot in BANDS.values())
    return blurred_profile(source, fwhm)


def blurred_profile(source: Mapping[str, Any], psf_fwhm_arcsec: float) -> Any:
    """Return a row of the scene as a GalSim profile of unit flux behind a Moffat PSF, in arcsec east and north."""
    import galsim

    settings = galsim.GSParams(folding_threshold=5e-3, maxk_threshold=1e-3, maximum_fft_size=8192)
    psf = _psf(psf_fwhm_arcsec, settings)
    if source["kind"] != "galaxy":
        return psf
    radius = source["r_half_arcsec"]
    shape = galsim.Sersic(source["sersic_n"], half_light_radius=radius, trunc=8.0 * radius, gsparams=settings)
    # Offsets are (east, north) and a position angle runs from north through east.
    shape = shape.shear(q=source["axis_ratio"], beta=(90.0 - source["pa_deg"]) * galsim.degrees)
    return galsim.Convolve([shape, psf], gsparams=settings)


@lru_cache(maxsize=16)
def _psf(fwhm_arcsec: float, settings: Any) -> Any:
    """Return the PSF; one object for all sources, because GalSim finds its largest wave number once for each."""
    import galsim

    return galsim.Moffat(beta=3.0, fwhm=fwhm_arcsec, trunc=12.0 * fwhm_arcsec, gsparams=settings)


def noise_free_image(scene: pl.DataFrame, pointing: Pointing, wcs: WCS, params: CameraParams) -> NDArray[np.float64]:
    """Return the noise-free sources on the detector [electron / s / pix]."""
    zero_point, _ = BANDS[pointing.band]
    return draw_sources(
        scene,
        wcs,
        params.shape,
        flux=lambda source: 10.0 ** (-0.4 * (source[f"mag_{pointing.band}"] - zero_point)),
        profile=lambda source: source_profile(source, pointing.band, params),
        scale_arcsec=SCALE_ARCSEC,
    )


def draw_sources(
    scene: pl.DataFrame,
    wcs: WCS,
    shape: tuple[int, int],
    *,
    flux: Callable[[Mapping[str, Any]], float],
    profile: Callable[[Mapping[str, Any]], Any],
    scale_arcsec: float,
) -> NDArray[np.float64]:
    """Return the noise-free, flat-fielded image ``shape`` of the sources [flux / pix] with GalSim's profiles."""
    import galsim

    ra, dec = scene["ra"].to_numpy(), scene["dec"].to_numpy()
    x, y = wcs.all_world2pix(ra, dec, 0, tolerance=1e-7, maxiter=100, quiet=True)
    ny, nx = shape
    image = galsim.ImageD(nx, ny, xmin=0, ymin=0)
    jacobians = _jacobians(wcs, x, y)
    for i, source in enumerate(scene.iter_rows(named=True)):
        if not (-100 < x[i] < nx + 100 and -100 < y[i] < ny + 100):
            continue
        jacobian = jacobians[i]
        area = abs(np.linalg.det(jacobian))
        local = galsim.JacobianWCS(*jacobian.ravel())
        scaled = profile(source) * (flux(source) * scale_arcsec**2 / area)
        stamp = scaled.drawImage(center=galsim.PositionD(x[i], y[i]), wcs=local, dtype=float)
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
    return np.asarray(np.maximum(image.array, 0.0))


def cosmic_rays(rng: np.random.Generator, params: CameraParams) -> NDArray[np.float64]:
    """Charge of cosmic rays [electron]: straight tracks, log-normal in charge, exponential in length."""
    hits = np.zeros(params.shape)
    ny, nx = params.shape
    for _ in range(rng.poisson(params.n_cosmic_rays)):
        length = rng.exponential(1.5)
        angle = rng.uniform(0.0, 2.0 * np.pi)
        x0, y0 = rng.uniform(0, nx), rng.uniform(0, ny)
        steps = np.linspace(0.0, length, max(2, int(8 * length)))
        xs = np.floor(x0 + steps * np.cos(angle)).astype(int)
        ys = np.floor(y0 + steps * np.sin(angle)).astype(int)
        inside = (xs >= 0) & (ys >= 0) & (xs < nx) & (ys < ny)
        charge = rng.lognormal(np.log(600.0), 1.0) * (1.0 + 0.3 * length)
        np.add.at(hits, (ys[inside], xs[inside]), charge / len(steps))
    return hits


def detector_faults(rng: np.random.Generator, params: CameraParams) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """DQ bits of the flagged pixels, and the dead pixels that have none."""
    bits = find_detector("HST", "WFC3", "IR").dq_bits
    dq = np.zeros(params.shape, np.int16)
    pixels = rng.choice(dq.size, params.n_bad_pixels + params.n_dead_pixels, replace=False)
    flagged = pixels[: params.n_bad_pixels]
    dq.flat[flagged] = rng.choice([bits["dead"], bits["hot"], bits["unstable"]], params.n_bad_pixels)
    dead = np.zeros(params.shape, bool)
    dead.flat[pixels[params.n_bad_pixels :]] = True
    return dq, dead


def write_exposure(rendered: dict[str, Any], pointing: Pointing, path: Path, *, params: CameraParams) -> None:
    """Write a rendered exposure as a WFC3/IR FLT file, with the true cosmic rays in a CRTRUE extension."""
    zero_point, pivot = BANDS[pointing.band]
    primary = fits.PrimaryHDU()
    pivot_angstrom = pivot * 1e4
    flam = 10.0 ** (-0.4 * (zero_point + 5.0 * np.log10(pivot_angstrom) + 2.408))
    keywords: dict[str, Any] = {
        "TELESCOP": "HST",
        "INSTRUME": "WFC3",
        "DETECTOR": "IR",
        "FILTER": pointing.band.upper(),
    }
    keywords |= {"ROOTNAME": pointing.name, "EXPTIME": params.exptime, "PHOTFLAM": flam, "PHOTPLAM": pivot_angstrom}
    keywords |= {f"READNSE{amp}": params.read_noise for amp in "ABCD"} | {"SIMULATE": True}
    primary.header.update(keywords)
    hdus = fits.HDUList([primary])
    for name in ("sci", "err", "dq", "crtrue"):
        hdu = fits.CompImageHDU(
            rendered[name],
            name=name.upper(),
            compression_type="GZIP_2" if name in ("sci", "err") else "RICE_1",
            quantize_level=0.0,
        )
        if name == "sci":
            hdu.header.update(wcs_cards(rendered["wcs"]))
            hdu.header["BUNIT"] = "ELECTRONS/S"
            hdu.header["IDCSCALE"] = SCALE_ARCSEC
        hdus.append(hdu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        hdus.writeto(path, overwrite=True)
