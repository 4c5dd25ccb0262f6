"""Thumbnails as ``thumb.fits`` and what ``full.fits`` files say of direct images and of their geometry."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from skymere.datamodels import EXPOSURE_COLUMNS, FLAM, BandThumbnail, Thumbnail, ThumbnailWeight
from skymere.errors import FormatError, InvalidInputError
from skymere.instruments import find_filter, flam_of_zero_point
from skymere.io._columns import native_columns
from skymere.io._open import open_fits, write_whole
from skymere.io.coordinates import is_singular
from skymere.wcs import Grid, fits_cards, wcs_from_cards

__all__ = [
    "GeometryCards",
    "band_extensions",
    "read_geometry_cards",
    "read_thumbnail",
    "thumbnail_inputs",
    "write_thumbnail",
]

_UNITS = {"electron / s": "ELECTRONS/S", FLAM: "10**-20 erg/(s cm2 Angstrom)"}
# 2-D spectra of grizli have coordinates that claim to be of the sky.
_MOST_ELONGATED = 3.0
# Names of the planes in files that skymere or grizli's drizzler writes, and in grizli's full.fits; PSFOVER is the PSF
# on smaller pixels, OVERSAMP of which are a pixel of the others.
_PLANES = (("SCI", "WHT", "VAR", "PSF", "PSFOVER"), ("DSCI", "DWHT", "DVAR", "DPSF", "DPSFOVER"))


@dataclass(frozen=True, kw_only=True)
class GeometryCards:
    """Pixels, kernel and drop of an extension.

    Parameters
    ----------
    grid : Grid
        Its pixels.
    kernel : str
        Kernel of the drizzle (DRIZKRNL), lower case.
    pixfrac : float
        Side of the drop (PIXFRAC) [input pix].
    """

    grid: Grid
    kernel: str
    pixfrac: float


def read_geometry_cards(
    path: str | Path, *, extension: str | int | tuple[str, str | int] | None = None
) -> GeometryCards:
    """Return the pixels, the kernel and the drop of a drizzled extension.

    Parameters
    ----------
    path : path-like
        A file such as ``full.fits`` or ``thumb.fits``.
    extension : str, int or (str, str or int), optional
        Name, number, or name and version of the extension; the first LINE when not given, or else the first image with
        coordinates.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing or unreadable, or there is no such extension.
    InvalidInputError
        When that has no coordinates on the sky, or no kernel is in its header or the primary one.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        hdu = _extension(hdus, path, extension)
        about = _described(hdu)
        grid = _grid(hdu, path)
        across, along = np.sort(proj_plane_pixel_scales(grid.wcs)) * 3600.0
        if along > _MOST_ELONGATED * across:
            msg = (
                f"{path}: {about} has pixels of {across:.3g} x {along:.3g} arcsec; it is no image of the sky, and the "
                "geometry of a spectrum is none of images"
            )
            raise InvalidInputError(msg)
        values = {}
        for key in ("DRIZKRNL", "PIXFRAC"):
            value = hdu.header.get(key, hdus[0].header.get(key))
            if value is None:
                msg = f"{path}: {about} has no {key}, and the primary header has none, so it has no geometry"
                raise InvalidInputError(msg)
            values[key] = value
    return GeometryCards(grid=grid, kernel=str(values["DRIZKRNL"]).strip().lower(), pixfrac=float(values["PIXFRAC"]))


def write_thumbnail(thumbnail: Thumbnail, path: str | Path, *, inputs_sha256: str = "") -> None:
    """Write a thumbnail: for each filter SCI, WHT, VAR, PSF and PSFOVER, then SEG, and last the table of its exposures.

    The version (EXTVER) of an extension is its filter, so that astropy finds ``hdus["SCI", "F140W"]``. Pixels without
    data are 0 in all planes, as programs that read sigma images need it.

    Parameters
    ----------
    thumbnail : Thumbnail
        What to write.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    inputs_sha256 : str, optional
        Digest of all that it was made from, by which `thumbnail_inputs` tells whether it has to be made again.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    primary = fits.PrimaryHDU()
    about: dict[str, Any] = {
        "ROW": (thumbnail.row, "Row of the list of positions, from 0 on"),
        "RA": (thumbnail.ra, "[deg] Position"),
        "DEC": (thumbnail.dec, "[deg] Position"),
        "XPOS": (thumbnail.x + 1, "[pix] Position, 1-based"),
        "YPOS": (thumbnail.y + 1, "[pix] Position, 1-based"),
        "DRIZKRNL": (thumbnail.kernel, "Drizzle kernel"),
        "PIXFRAC": (thumbnail.pixfrac, "Drizzle PIXFRAC"),
        "GEOMSHA": (thumbnail.geometry_sha256, ""),
        "INPUTSHA": (inputs_sha256, ""),
        "STATUS": (thumbnail.status, ""),
        "NFILT": (len(thumbnail.bands), "Number of filters"),
    }
    if thumbnail.source_id is not None:
        about = {"ID": (thumbnail.source_id, "Number of the source")} | about
    if thumbnail.label is not None:
        about["LABEL"] = (thumbnail.label, "Number of the source in SEG")
    for i, one in enumerate(thumbnail.bands, start=1):
        about[f"FILT{i:02d}"] = (one.band.upper(), "Filter")
    for key, value in about.items():
        if not (isinstance(value[0], float) and not np.isfinite(value[0])):
            primary.header[key] = value
    hdus = fits.HDUList([primary])
    for one in thumbnail.bands:
        for name, plane in _planes_of(one):
            hdus.append(_plane(plane, name, one, thumbnail))
    if thumbnail.segmentation is not None:
        seg = fits.ImageHDU(thumbnail.segmentation, name="SEG")
        seg.header.update(fits_cards(thumbnail.grid.wcs))
        hdus.append(seg)
    hdus.append(_exposures(thumbnail.exposures))
    with warnings.catch_warnings():
        # A filter is the version here, which astropy reads and finds but says should be a number.
        warnings.simplefilter("ignore", VerifyWarning)
        write_whole(hdus, Path(path))


def read_thumbnail(path: str | Path) -> Thumbnail:
    """Read the direct images of a ``thumb.fits`` or of a ``full.fits``.

    Parameters
    ----------
    path : path-like
        The file; extensions SCI, WHT, VAR, PSF, PSFOVER or DSCI, DWHT, DVAR, DPSF, DPSFOVER with the filter as their
        version, and SEG.

    Returns
    -------
    Thumbnail
        Weights are called what the file calls them (WHTTYPE): ``coverage`` where its values are whole multiples of one
        number, as those of exposures of which each counts 1, and ``unknown`` where it says nothing. PHOTFLAM and
        PHOTPLAM that are missing are those of `skymere.instruments.FILTERS`.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing or unreadable, or holds no direct image.
    InvalidInputError
        When an image has no coordinates on the sky, or its filter is not known and its header does not say its
        photometry either; the extension is named.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        names = next((names for names in _PLANES if any(hdu.name == names[0] for hdu in hdus)), None)
        if names is None:
            msg = f"{path}: none of its extensions {[hdu.name for hdu in hdus]} is a direct image, SCI or DSCI"
            raise FormatError(msg)
        direct = [hdu for hdu in hdus if hdu.name == names[0]]
        grid = _grid(direct[0], path)
        found = {(hdu.name, _version(hdu)): hdu for hdu in hdus[1:]}
        bands = tuple(_band(hdu, names, found, path) for hdu in direct)
        primary = hdus[0].header
        labels = next((np.asarray(hdu.data, np.int32) for hdu in hdus if hdu.name == "SEG"), None)
        listed = next((hdu for hdu in hdus if hdu.name == "EXPOSURES" and isinstance(hdu, fits.BinTableHDU)), None)
        exposures = pl.DataFrame(schema=dict(EXPOSURE_COLUMNS)) if listed is None else _read_exposures(listed, path)
        ra, dec = (float(primary.get(key, direct[0].header[f"CRVAL{k}"])) for k, key in ((1, "RA"), (2, "DEC")))
        x, y = grid.pixels(np.array([ra]), np.array([dec]))
        source_id = primary.get("ID")
        label = primary.get("LABEL", source_id)
        return Thumbnail(
            row=int(primary.get("ROW", 0)),
            source_id=None if source_id is None else int(source_id),
            label=None if label is None else int(label),
            ra=ra,
            dec=dec,
            x=float(x[0]),
            y=float(y[0]),
            grid=grid,
            bands=bands,
            segmentation=labels,
            kernel=str(primary.get("DRIZKRNL", "")).strip(),
            pixfrac=float(primary.get("PIXFRAC", "nan")),
            geometry_sha256=str(primary.get("GEOMSHA", "")),
            exposures=exposures,
            status=str(primary.get("STATUS", "ok")),
        )


def band_extensions(thumbnail: Thumbnail) -> list[fits.ImageHDU]:
    """Return DSCI, DWHT, DVAR, DPSF and DPSFOVER of each filter, the extensions of a ``full.fits``.

    Parameters
    ----------
    thumbnail : Thumbnail
        Direct images.
    """
    out = []
    for one in thumbnail.bands:
        for short, plane in _planes_of(one):
            hdu = _plane(plane, short, one, thumbnail)
            hdu.name = _PLANES[1][_PLANES[0].index(short)]
            hdu.header["EXTVER"] = one.band.upper()
            out.append(hdu)
    return out


def thumbnail_inputs(path: str | Path) -> str:
    """Return the digest of what a ``thumb.fits`` was made from; empty when there is no such file, or it says none.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    StorageError, FormatError
        When it is there and cannot be read.
    """
    if not Path(path).is_file():
        return ""
    with open_fits(path) as hdus:
        return str(hdus[0].header.get("INPUTSHA", ""))


def _planes_of(one: BandThumbnail) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the planes that a band has, under their names in a ``thumb.fits``."""
    planes = (one.data, one.weight, one.variance, one.psf, one.fine_psf)
    return [(name, plane) for name, plane in zip(_PLANES[0], planes, strict=True) if plane is not None]


def _plane(plane: NDArray[np.float32], name: str, one: BandThumbnail, thumbnail: Thumbnail) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.nan_to_num(plane, nan=0.0), name=name)
    header = hdu.header
    header["EXTVER"] = one.band.upper()
    grid = thumbnail.grid.rescaled(1.0 / one.psf_oversample) if name == "PSFOVER" else thumbnail.grid
    header.update(fits_cards(grid.wcs))
    said: dict[str, Any] = {
        "FILTER": (one.band.upper(), "Filter"),
        "MERGED": (",".join(one.filters).upper(), "Filters of the exposures"),
        "PIXASEC": (grid.scale_arcsec, "[arcsec] Side of a pixel"),
        "PIXFRAC": (thumbnail.pixfrac, "Drizzle PIXFRAC"),
        "DRIZKRNL": (thumbnail.kernel, "Drizzle kernel"),
        "PHOTFLAM": (one.photflam, "[erg/s/cm2/A] of 1 electron/s"),
        "PHOTPLAM": (one.photplam, "[Angstrom] Pivot wavelength"),
        "PHOTFROM": (one.photometry_from, "Where these two come from"),
        "ZPAB": (one.zero_point_ab, "[mag] AB magnitude of 1 electron/s"),
        "COVERAGE": (one.coverage, "Fraction of the pixels with data"),
        "NOISER": (one.noise_correlation, "Noise of large areas over that of pixels"),
        "IMGMED": (one.median, "Level that was subtracted"),
    }
    if name in ("SCI", "VAR"):
        header["BUNIT"] = _UNITS[one.unit] if name == "SCI" else f"({_UNITS[one.unit]})2"
    if name == "PSFOVER":
        said["OVERSAMP"] = (one.psf_oversample, "Pixels of this plane per pixel of the others")
    if name == "WHT":
        said["WHTTYPE"] = (one.weight_kind, "What this plane is")
    if name == "VAR":
        said["VARTYPE"] = ("pixel", "Variance of each pixel alone")
    for key, value in said.items():
        if not (isinstance(value[0], float) and not np.isfinite(value[0])):
            header[key] = value
    return hdu


def _exposures(table: pl.DataFrame) -> fits.BinTableHDU:
    columns = []
    for series in table:
        values = series.to_numpy().astype(str) if series.dtype == pl.String else series.to_numpy()
        kind = {"U": f"{max(values.dtype.itemsize // 4, 1)}A", "b": "L", "f": "D"}[values.dtype.kind]
        columns.append(fits.Column(name=series.name, array=values, format=kind))
    return fits.BinTableHDU.from_columns(columns, name="EXPOSURES")


def _read_exposures(hdu: fits.BinTableHDU, path: Path) -> pl.DataFrame:
    return pl.DataFrame(native_columns(hdu, path, names=EXPOSURE_COLUMNS), schema=dict(EXPOSURE_COLUMNS))


def _band(hdu: Any, names: tuple[str, ...], found: dict[tuple[str, str], Any], path: Path) -> BandThumbnail:
    version, header = _version(hdu), hdu.header
    band = str(header.get("FILTER", version)).strip().lower()
    planes = {name: found[name, version].data if (name, version) in found else None for name in names}
    data = np.asarray(planes[names[0]], np.float32)
    given = planes[names[1]]
    weight = np.isfinite(data).astype(np.float32) if given is None else np.asarray(given, np.float32)
    kind = "coverage" if given is None else _weight_kind(found[names[1], version].header, weight)
    has_data = weight > 0
    unit = FLAM if "erg" in str(header.get("BUNIT", "")) else "electron / s"
    variance = planes[names[2]]
    photometry = _photometry(header, band, f"{path}: {_described(hdu)}")
    return BandThumbnail(
        band=band,
        data=np.where(has_data, data, np.float32(np.nan)),
        weight=weight,
        variance=None if variance is None else np.where(has_data, variance, np.float32(np.nan)),
        psf=planes[names[3]],
        fine_psf=planes[names[4]],
        psf_oversample=1 if planes[names[4]] is None else int(found[names[4], version].header["OVERSAMP"]),
        filters=tuple(part for part in str(header.get("MERGED", "")).strip().lower().split(",") if part),
        unit=unit,
        weight_kind=kind,
        coverage=float(np.mean(has_data)),
        noise_correlation=float(header.get("NOISER", "nan")),
        median=float(header.get("IMGMED", 0.0)),
        **photometry,
    )


def _photometry(header: fits.Header, band: str, where: str) -> dict[str, Any]:
    """Return zero point, PHOTFLAM and PHOTPLAM, and where they come from."""
    flam, plam, zero = (float(header.get(key) or "nan") for key in ("PHOTFLAM", "PHOTPLAM", "ZPAB"))
    said = str(header.get("PHOTFROM", "header"))
    if not plam > 0 or not (flam > 0 or np.isfinite(zero)):
        known = find_filter(band, where=where)
        flam, plam, said = (flam if flam > 0 else known.photflam), known.photplam, "table"
    if not flam > 0 and np.isfinite(zero):
        flam = flam_of_zero_point(zero, plam)
    if not np.isfinite(zero) and flam > 0:
        zero = -2.5 * np.log10(flam) - 5.0 * np.log10(plam) - 2.408
    return {"photflam": flam, "photplam": plam, "zero_point_ab": float(zero), "photometry_from": said}


def _weight_kind(header: fits.Header, weight: NDArray[np.float32]) -> ThumbnailWeight:
    said = str(header.get("WHTTYPE", "")).strip()
    for kind in ("inverse_variance_with_sources", "inverse_variance", "coverage"):
        if said == kind:
            return kind
    values = np.unique(weight[weight > 0])
    if values.size and np.allclose(values / values[0], np.rint(values / values[0]), rtol=1e-3):
        return "coverage"
    return "unknown"


def _extension(hdus: fits.HDUList, path: Path, extension: str | int | tuple[str, str | int] | None) -> Any:
    images = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2]
    placed = [hdu for hdu in images if "CRVAL1" in hdu.header]
    if extension is None:
        chosen = [hdu for hdu in images if hdu.name == "LINE"] or placed
    elif isinstance(extension, int):
        chosen = [hdus[extension]] if 0 <= extension < len(hdus) and hdus[extension] in images else []
    else:
        name, version = (extension, None) if isinstance(extension, str) else extension
        fits_name = [hdu for hdu in images if hdu.name == name.upper()]
        chosen = [hdu for hdu in fits_name if version is None or _version(hdu) == str(version).upper()]
    if not chosen:
        have = ", ".join(_described(hdu) for hdu in images)
        msg = (
            f"{path}: no image {extension if extension is not None else 'with coordinates'!r}, it has {have or 'none'}"
        )
        raise FormatError(msg)
    return chosen[0]


def _grid(hdu: Any, path: Path) -> Grid:
    header = hdu.header
    cards = {key: header[key] for key in header if key and not isinstance(header[key], fits.card.Undefined)}
    try:
        wcs = wcs_from_cards(cards)
    except InvalidInputError as error:
        msg = f"{path}: {_described(hdu)}: {error}"
        raise InvalidInputError(msg) from None
    if is_singular(wcs):
        msg = f"{path}: {_described(hdu)} has a singular WCS"
        raise InvalidInputError(msg)
    return Grid(wcs=wcs, shape=hdu.shape)


def _version(hdu: Any) -> str:
    return str(hdu.header.get("EXTVER", "1")).strip().upper()


def _described(hdu: Any) -> str:
    return f"extension {hdu.name or 0},{_version(hdu)}"
