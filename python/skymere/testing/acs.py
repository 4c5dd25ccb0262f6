"""Two-chip ACS/WFC exposures of a scene, with the distortion of real reference files, as the archive would give them.

The header of a file has the pointing that was planned; the scene was seen at the true one. Chips are windows on both
sides of the gap, so that a test needs no 16 million pixels; the windows are subarrays to the headers.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.io import DistortionFiles, open_fits
from skymere.testing.exposures import CameraParams, blurred_profile, cosmic_rays, detector_faults, draw_sources
from skymere.wcs import build_distortion

__all__ = ["ACS_BANDS", "AcsParams", "AcsPointing", "acs_distortion", "simulate_acs"]

# AB zero point of one electron / s and pivot wavelength [um] (STScI tables).
ACS_BANDS: Mapping[str, tuple[float, float]] = {"f606w": (26.49, 0.5922), "f814w": (25.94, 0.8045)}
_FILTERS = {"f606w": ("F606W", "CLEAR2L"), "f814w": ("CLEAR1L", "F814W")}
_SCALE_ARCSEC = 0.05
_CHIP_SHAPE = (2048, 4096)
# Reference pixel of a chip in the headers of the archive, 1-based.
_REFERENCE_PIX = (2048.0, 1024.0)
# From V3 to the y axis of the detector [deg], near enough for a header from which only the pointing is taken.
_Y_AXIS_DEG = -2.23


@dataclass(frozen=True, kw_only=True)
class AcsParams:
    """The camera.

    Parameters
    ----------
    camera : CameraParams
        Noise, PSF and faults of one chip; its ``shape`` is that of the window on each side of the gap.
    first_column : int
        First column of the windows.
    date : str
        DATE-OBS.
    pa_v3 : float
        Position angle of V3 [deg].
    vafactor : float
        Velocity aberration.

    Raises
    ------
    InvalidInputError
        When the window is not on the chip.
    """

    camera: CameraParams = field(
        default_factory=lambda: CameraParams(
            shape=(400, 600),
            exptime=600.0,
            sky=0.08,
            read_noise=5.2,
            psf_fwhm_arcsec=0.1,
            n_cosmic_rays=200,
            n_bad_pixels=300,
            n_dead_pixels=20,
        )
    )
    first_column: int = 1800
    date: str = "2004-11-12"
    pa_v3: float = 71.3
    vafactor: float = 1.00006

    def __post_init__(self) -> None:
        rows, columns = self.camera.shape
        if rows > _CHIP_SHAPE[0] or self.first_column < 0 or self.first_column + columns > _CHIP_SHAPE[1]:
            msg = f"camera.shape: {self.camera.shape} from column {self.first_column} is not on a chip of {_CHIP_SHAPE}"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class AcsPointing:
    """Where one exposure looks.

    Parameters
    ----------
    name : str
        Root name of the file.
    band : str
        One of `ACS_BANDS`.
    ra, dec : float
        Planned sky at the middle of the gap [deg].
    error_arcsec : tuple of float
        What the true pointing is to the east and north of the planned one [arcsec].
    roll_error_deg : float
        True minus planned position angle [deg].
    """

    name: str
    band: str
    ra: float
    dec: float
    error_arcsec: tuple[float, float] = (0.0, 0.0)
    roll_error_deg: float = 0.0


def acs_distortion(folder: str | Path, band: str) -> DistortionFiles:
    """Return the reference files of a band in a folder of the archive's files, gzipped or not.

    Parameters
    ----------
    folder : path-like
        Folder with ``*idc_*`` and ``*d2i_*`` files of ACS/WFC, and ``*{band}_npl_*`` where there is one.
    band : str
        One of `ACS_BANDS`.

    Raises
    ------
    InvalidInputError
        When the folder lacks one of the first two.
    """
    found = {kind: sorted(Path(folder).glob(f"acs_wfc*{kind}_*")) for kind in ("idc", f"{band}_npl", "d2i")}
    for kind in ("idc", "d2i"):
        if not found[kind]:
            msg = f"folder: {folder} has no file acs_wfc*{kind}_*"
            raise InvalidInputError(msg)
    npol = found[f"{band}_npl"]
    return DistortionFiles(idctab=found["idc"][0], npol=npol[0] if npol else None, d2im=found["d2i"][0])


def simulate_acs(
    folder: str | Path,
    scene: pl.DataFrame,
    pointings: Sequence[AcsPointing],
    *,
    tables: Mapping[str, DistortionFiles],
    params: AcsParams | None = None,
    seed: int = 1,
) -> dict[Path, list[WCS]]:
    """Write an FLC file for each pointing.

    Parameters
    ----------
    folder : path-like
        Where to write ``{name}_flc.fits``.
    scene : polars.DataFrame
        As `draw_scene` gives it with ``bands=ACS_BANDS``.
    pointings : sequence of AcsPointing
        The exposures.
    tables : mapping of str to DistortionFiles
        Reference files of each band, see `acs_distortion`.
    params : AcsParams, optional
        The camera.
    seed : int, optional
        Seed of the random numbers; with the names of the pointings it seeds their noise.

    Returns
    -------
    dict of Path to list of astropy.wcs.WCS
        The true coordinates of the chips of each file, in its order (chip 2, chip 1).

    Notes
    -----
    Each file holds SCI, ERR and DQ of chips 2 and 1 [electron], with the linear WCS of the archive, and CRTRUE: the
    pixels with a charge of a cosmic ray above 1 sigma of the sky.
    """
    params = params or AcsParams()
    out = {}
    for pointing in pointings:
        if pointing.band not in ACS_BANDS:
            msg = f"pointings: band {pointing.band!r} is not allowed, it must be one of {sorted(ACS_BANDS)}"
            raise InvalidInputError(msg)
        files = tables[pointing.band]
        primary = _primary(pointing, files, params)
        planned = _chip_headers(primary, pointing, files, params)
        truth = _true_chips(primary, planned, pointing, files)
        path = Path(folder) / f"{pointing.name}_flc.fits"
        _write(path, primary, planned, [_render(scene, wcs, k, pointing, params, seed) for k, wcs in enumerate(truth)])
        out[path] = truth
    return out


def _primary(pointing: AcsPointing, files: DistortionFiles, params: AcsParams) -> fits.Header:
    zero_point, pivot = ACS_BANDS[pointing.band]
    angstrom = pivot * 1e4
    header = fits.Header()
    header.update(TELESCOP="HST", INSTRUME="ACS", DETECTOR="WFC", ROOTNAME=pointing.name, SIMULATE=True)
    header["FILTER1"], header["FILTER2"] = _FILTERS[pointing.band]
    header["DATE-OBS"], header["PA_V3"], header["EXPTIME"] = params.date, params.pa_v3, params.camera.exptime
    header["PHOTPLAM"] = angstrom
    header["PHOTFLAM"] = 10.0 ** (-0.4 * (zero_point + 5.0 * np.log10(angstrom) + 2.408))
    for key, path in (("IDCTAB", files.idctab), ("NPOLFILE", files.npol), ("D2IMFILE", files.d2im)):
        header[key] = Path(path).name if path is not None else "N/A"
    header.update({f"READNSE{amplifier}": params.camera.read_noise for amplifier in "ABCD"})
    return header


def _chips(primary: fits.Header, headers: list[fits.Header], files: DistortionFiles) -> list[WCS]:
    with open_fits(files.idctab) as idctab:
        if files.d2im is None:
            return build_distortion(primary, headers, idctab=idctab)
        with open_fits(files.d2im) as d2im:
            if files.npol is None:
                return build_distortion(primary, headers, idctab=idctab, d2im=d2im)
            with open_fits(files.npol) as npol:
                return build_distortion(primary, headers, idctab=idctab, npol=npol, d2im=d2im)


def _first_row(chip: int, params: AcsParams) -> int:
    """First row of the window: the gap is above chip 2 and below chip 1."""
    return _CHIP_SHAPE[0] - params.camera.shape[0] if chip == 2 else 0


def _chip_headers(
    primary: fits.Header, pointing: AcsPointing, files: DistortionFiles, params: AcsParams
) -> list[fits.Header]:
    """Return what the archive says of chips 2 and 1: linear coordinates that put the gap on the planned position."""
    angle = np.deg2rad(params.pa_v3 + _Y_AXIS_DEG)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [-np.sin(angle), -np.cos(angle)]]) * _SCALE_ARCSEC / 3600
    headers = [_chip_header(chip, (pointing.ra, pointing.dec), turn, params) for chip in (2, 1)]
    ny, nx = params.camera.shape
    for _ in range(2):
        wcs = _chips(primary, headers, files)[0]
        ra, dec = wcs.all_pix2world(nx / 2, ny, 0)
        for header in headers:
            header["CRVAL1"] += pointing.ra - float(ra)
            header["CRVAL2"] += pointing.dec - float(dec)
    built = _chips(primary, headers, files)
    return [
        _chip_header(chip, tuple(wcs.wcs.crval), wcs.wcs.cd, params) for chip, wcs in zip((2, 1), built, strict=True)
    ]


def _chip_header(chip: int, crval: tuple[float, float], cd: NDArray[np.float64], params: AcsParams) -> fits.Header:
    header = fits.Header()
    header["CCDCHIP"], header["BUNIT"], header["VAFACTOR"] = chip, "ELECTRONS", params.vafactor
    header["CTYPE1"], header["CTYPE2"], header["RADESYS"] = "RA---TAN", "DEC--TAN", "ICRS"
    first = (params.first_column, _first_row(chip, params))
    for axis in (0, 1):
        header[f"LTV{axis + 1}"], header[f"LTM{axis + 1}_{axis + 1}"] = -float(first[axis]), 1.0
        header[f"CRPIX{axis + 1}"] = _REFERENCE_PIX[axis] - first[axis]
        header[f"CRVAL{axis + 1}"] = float(crval[axis])
        for other in (0, 1):
            header[f"CD{axis + 1}_{other + 1}"] = float(cd[axis, other])
    return header


def _true_chips(
    primary: fits.Header, planned: list[fits.Header], pointing: AcsPointing, files: DistortionFiles
) -> list[WCS]:
    east, north = pointing.error_arcsec
    primary, headers = primary.copy(), [header.copy() for header in planned]
    primary["PA_V3"] += pointing.roll_error_deg
    for header in headers:
        header["CRVAL1"] += east / 3600 / np.cos(np.deg2rad(pointing.dec))
        header["CRVAL2"] += north / 3600
    return _chips(primary, headers, files)


def _render(
    scene: pl.DataFrame, wcs: WCS, chip: int, pointing: AcsPointing, params: AcsParams, seed: int
) -> dict[str, NDArray[Any]]:
    camera = params.camera
    zero_point, pivot = ACS_BANDS[pointing.band]
    fwhm = camera.psf_fwhm_arcsec * pivot / max(other for _, other in ACS_BANDS.values())
    rates = draw_sources(
        scene,
        wcs,
        camera.shape,
        flux=lambda source: 10.0 ** (-0.4 * (source[f"mag_{pointing.band}"] - zero_point)),
        profile=lambda source: blurred_profile(source, fwhm),
        scale_arcsec=_SCALE_ARCSEC,
    )
    rng = np.random.default_rng([seed, chip, *pointing.name.encode()])
    hits = cosmic_rays(rng, camera)
    electrons = rng.poisson((rates + camera.sky) * camera.exptime + hits) + rng.normal(
        0.0, camera.read_noise, hits.shape
    )
    dq, dead = detector_faults(np.random.default_rng([seed, chip, 2]), camera)
    electrons[dead] = rng.normal(0.0, camera.read_noise, int(dead.sum()))
    electrons[dq > 0] += rng.normal(0.0, 30.0 * camera.read_noise, int((dq > 0).sum()))
    noise = np.sqrt(camera.sky * camera.exptime + camera.read_noise**2)
    return {
        "SCI": electrons.astype(np.float32),
        "ERR": np.sqrt(np.maximum(electrons, 0.0) + camera.read_noise**2).astype(np.float32),
        "DQ": dq,
        "CRTRUE": (hits > noise).astype(np.uint8),
    }


def _write(path: Path, primary: fits.Header, headers: list[fits.Header], planes: list[dict[str, NDArray[Any]]]) -> None:
    hdus = [fits.PrimaryHDU(header=primary)]
    for version, (header, arrays) in enumerate(zip(headers, planes, strict=True), start=1):
        for name, data in arrays.items():
            hdu = fits.ImageHDU(data, name=name, ver=version)
            hdu.header.update(header)
            hdus.append(hdu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        fits.HDUList(hdus).writeto(path, overwrite=True)
