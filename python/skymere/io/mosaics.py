"""Mosaics as ``drz``-like FITS files: SCI, WHT, CTX and VAR extensions, and those of the noise covariance."""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning

from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.errors import FormatError, InvalidInputError
from skymere.io._open import open_fits, write_whole
from skymere.io.exposures import COUNT_UNITS, RATE_UNITS
from skymere.io.headers import BlendRule, InputHeader, blend_headers, table_of_inputs
from skymere.wcs import Grid, fits_cards, wcs_from_cards

__all__ = ["exposure_ids_of", "read_mosaic", "read_noise", "unit_of", "write_mosaic"]

# Rows of the context that are looked at together.
_ROWS = 4096
_RATE, _COUNTS = "electron / s", "electron"
_UNITS = {_RATE: "ELECTRONS/S", _COUNTS: "ELECTRONS"}


def write_mosaic(
    mosaic: Mosaic,
    path: str | Path,
    *,
    inputs: Sequence[InputHeader] = (),
    rules: Sequence[BlendRule] = (),
) -> None:
    """Write a mosaic as AstroDrizzle would: SCI, WHT, CTX, and VAR beside them.

    Its noise covariance goes to NOISECLS (class of every pixel), NOISEKER (kernels by class and lag) and NOISEOBS (the
    same measured).

    Parameters
    ----------
    mosaic : Mosaic
        What to write.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    inputs : sequence of InputHeader, optional
        What the headers of its exposures say, in their order; it is blended into the primary header as
        `skymere.io.blend_headers` says, and listed in the extension HDRTAB.
    rules : sequence of BlendRule, optional
        Rules for that.

    Raises
    ------
    InvalidInputError
        When the inputs are not the exposures of the mosaic, or a rule is not allowed.
    StorageError
        When the file cannot be written.
    """
    path = Path(path)
    names = [one.exposure_id for one in inputs]
    if inputs and names != list(mosaic.exposure_ids):
        msg = f"inputs: {names} are not allowed, they must be the exposures {list(mosaic.exposure_ids)}"
        raise InvalidInputError(msg)
    cards = fits_cards(mosaic.grid.wcs)
    primary = fits.PrimaryHDU(header=_primary_header(mosaic, path, inputs, rules))
    unit = _UNITS.get(mosaic.unit, mosaic.unit)
    context = mosaic.context[0] if len(mosaic.context) == 1 else mosaic.context
    planes = (
        ("SCI", mosaic.data, unit),
        ("WHT", mosaic.weight, "s" if mosaic.weight_kind == "exposure_time" else ""),
        ("CTX", context, ""),
        ("VAR", mosaic.variance, f"({unit})2"),
    )
    hdus = fits.HDUList([primary])
    for name, data, bunit in planes:
        hdu = fits.ImageHDU(data, name=name)
        hdu.header.update(cards)
        hdu.header["BUNIT"] = bunit
        hdus.append(hdu)
    hdus["SCI"].header.update(_photometry(mosaic, inputs))
    hdus.extend(_noise_hdus(mosaic))
    if inputs:
        hdus.append(table_of_inputs(inputs))
    primary.header["NEXTEND"] = len(hdus) - 1
    write_whole(hdus, path)


def _primary_header(
    mosaic: Mosaic, path: Path, inputs: Sequence[InputHeader], rules: Sequence[BlendRule]
) -> fits.Header:
    header = fits.Header()
    if inputs:
        header.update(blend_headers(inputs, rules))
    header["FILENAME"] = path.name
    header["FILTER"] = mosaic.band.upper()
    header["NDRIZIM"] = (len(mosaic.exposure_ids), "number of exposures combined")
    if np.isfinite(mosaic.zero_point_ab):
        header["ZPAB"] = (mosaic.zero_point_ab, "[mag] AB magnitude of one SCI unit")
    header["WHTKIND"] = (mosaic.weight_kind, "what WHT is")
    header["NOISECOR"] = (mosaic.noise_correlation, "R, noise of large areas over white noise")
    header["DRIZPARS"] = json.dumps(dict(mosaic.params), sort_keys=True)
    with warnings.catch_warnings():
        # The thousandth input makes a keyword of nine letters.
        warnings.simplefilter("ignore", VerifyWarning)
        for i in range(len(mosaic.exposure_ids)):
            for key, value in _input_cards(mosaic, path, i, inputs[i] if inputs else None).items():
                # Setting a keyword looks at all of them first.
                header.append(fits.Card(f"D{i + 1:03d}{key}", value), end=True)
    return header


def _input_cards(mosaic: Mosaic, path: Path, i: int, given: InputHeader | None) -> dict[str, Any]:
    """Return what AstroDrizzle writes of an input, without the number; NAME is the exposure of context bit ``i``."""
    params, name = mosaic.params, mosaic.exposure_ids[i]
    given_fill = params.get("fillval")
    # In the lake NaN is a text.
    fill = float("nan") if given_fill is None else float(given_fill)
    cards: dict[str, Any] = {
        "NAME": name,
        "VER": f"skymere {version('skymere')}",
        "GEOM": "wcs",
        "DATA": name if given is None else f"{given.file}[{given.extension}]",
        "OUDA": f"{path.name}[SCI,1]",
        "OUWE": f"{path.name}[WHT,1]",
        "OUCO": f"{path.name}[CTX,1]",
        "KERN": str(params.get("kernel", "")),
        "PIXF": params.get("pixfrac", ""),
        "OUUN": "cps" if mosaic.unit == _RATE else mosaic.unit,
        "FVAL": fill if np.isfinite(fill) else "INDEF",
        "SCAL": mosaic.grid.scale_arcsec,
    }
    if given is None:
        return cards
    cards |= {"DEXP": given.exptime, "WKEY": str(given.keyword("WCSNAME") or "")}
    # The factor of the weight: exposure times, or 1 where weights are variances.
    cards["WTSC"] = given.exptime if mosaic.weight_kind == "exposure_time" else 1.0
    if np.isfinite(given.scale_arcsec):
        cards["ISCL"] = given.scale_arcsec
    if np.isfinite(given.sky):
        cards["SKY"] = given.sky
    return cards


def _photometry(mosaic: Mosaic, inputs: Sequence[InputHeader]) -> Mapping[str, Any]:
    """Return the keywords that make fluxes of SCI; those of the inputs may be of another unit."""
    if not np.isfinite(mosaic.zero_point_ab):
        return {}
    is_rate = mosaic.unit == _RATE
    said = "[Jy s / electron]" if is_rate else "[Jy] of one SCI unit"
    cards: dict[str, Any] = {"PHOTFNU": (10.0 ** (-0.4 * (mosaic.zero_point_ab - 8.9)), said)}
    for key in ("PHOTMODE", "PHOTPLAM", "PHOTBW"):
        found = {one.keyword(key) for one in inputs}
        if len(found) == 1 and None not in found:
            cards[key] = found.pop()
    if cards.get("PHOTPLAM", 0.0) > 0:
        exponent = -0.4 * (mosaic.zero_point_ab + 5.0 * np.log10(cards["PHOTPLAM"]) + 2.408)
        said = "[erg / cm2 / Angstrom / electron]" if is_rate else "[erg / s / cm2 / Angstrom] of one SCI unit"
        cards |= {"PHOTFLAM": (10.0**exponent, said), "PHOTZPT": -21.1}
    return cards


def _noise_hdus(mosaic: Mosaic) -> list[fits.ImageHDU]:
    """Return the extensions of the noise covariance."""
    if mosaic.noise is None:
        return []
    noise = mosaic.noise
    classes = fits.ImageHDU(noise.class_map, name="NOISECLS")
    classes.header.update(fits_cards(mosaic.grid.wcs))
    kernels = fits.ImageHDU(noise.kernels, name="NOISEKER")
    kernels.header["NOISEPAR"] = json.dumps(dict(noise.params), sort_keys=True)
    for k, name in enumerate(noise.classes):
        kernels.header[f"CLASS{k}"] = (name, f"class {k} of NOISECLS, plane {k + 1}")
    hdus = [classes, kernels]
    if noise.measured is not None:
        hdus.append(fits.ImageHDU(noise.measured, name="NOISEOBS"))
    return hdus


def read_noise(hdus: fits.HDUList, *, with_classes: bool = True) -> NoiseCovariance | None:
    """Return the noise covariance of a mosaic, or None; its class map is one pixel when that is not to be read."""
    names = [hdu.name for hdu in hdus]
    if "NOISEKER" not in names or "NOISECLS" not in names:
        return None
    kernels = hdus["NOISEKER"]
    return NoiseCovariance(
        kernels=np.asarray(kernels.data, np.float64),
        class_map=np.asarray(hdus["NOISECLS"].data, np.uint8) if with_classes else np.zeros((1, 1), np.uint8),
        classes=tuple(str(kernels.header[f"CLASS{k}"]) for k in range(len(kernels.data))),
        measured=np.asarray(hdus["NOISEOBS"].data, np.float64) if "NOISEOBS" in names else None,
        params=json.loads(kernels.header.get("NOISEPAR", "{}")),
    )


def exposure_ids_of(headers: Sequence[fits.Header], context: Any = None) -> tuple[str, ...]:
    """Return the names of the inputs; files of AstroDrizzle have those of files instead.

    Where no header names them they are D001, D002 ... up to the highest bit of the context.
    """
    for word in ("NAME", "DATA"):
        for header in headers:
            names = tuple(str(header[key]) for key in header if re.fullmatch(rf"D\d{{3,}}{word}", key))
            if names:
                return names
    if context is None:
        return ()
    highest = 0
    for plane in range(context.shape[0]):
        for y in range(0, context.shape[1], _ROWS):
            bits = np.bitwise_or.reduce(context[plane : plane + 1, y : y + _ROWS].astype(np.uint32), axis=None)
            highest = max(highest, 32 * plane + int(bits).bit_length() if bits else 0)
    return tuple(f"D{i:03d}" for i in range(1, highest + 1))


def unit_of(header: fits.Header) -> str:
    """Return the unit of an image by its header; electrons per second where it says none."""
    said = header.get("BUNIT")
    unit = "" if said is None or isinstance(said, fits.card.Undefined) else str(said).strip()
    if not unit or unit.upper() in RATE_UNITS:
        return _RATE
    return _COUNTS if unit.upper() in COUNT_UNITS else unit


def read_mosaic(path: str | Path) -> Mosaic:
    """Read a ``drz``-like FITS file: SCI and WHT, and CTX, VAR and the noise covariance where they exist.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or lacks SCI or WHT.
    InvalidInputError
        When it has no celestial WCS.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        names = [hdu.name for hdu in hdus]
        for name in ("SCI", "WHT"):
            if name not in names:
                msg = f"{path}: no {name} extension; it has {names}"
                raise FormatError(msg)
        primary, header = hdus[0].header, hdus["SCI"].header
        shape = hdus["SCI"].shape
        weight = np.asarray(hdus["WHT"].data, np.float32)
        context = hdus["CTX"].data if "CTX" in names else (weight > 0).astype(np.int32)
        context = np.atleast_3d(context).reshape(-1, *shape).astype(np.int32)
        variance = hdus["VAR"].data if "VAR" in names else np.full(shape, np.nan, np.float32)
        cards = {key: header[key] for key in header if key and not isinstance(header[key], fits.card.Undefined)}
        return Mosaic(
            band=str(primary.get("FILTER", "")).strip().lower(),
            grid=Grid(wcs=wcs_from_cards(cards), shape=shape),
            data=np.asarray(hdus["SCI"].data, np.float32),
            weight=weight,
            variance=np.asarray(variance, np.float32),
            context=context,
            exposure_ids=exposure_ids_of((primary, header), context if "CTX" in names else None),
            unit=unit_of(header),
            zero_point_ab=float(primary.get("ZPAB", "nan")),
            weight_kind=primary.get("WHTKIND", "exposure_time"),
            noise_correlation=float(primary.get("NOISECOR", 1.0)),
            noise=read_noise(hdus),
            params=json.loads(primary["DRIZPARS"]) if "DRIZPARS" in primary else {},
        )
