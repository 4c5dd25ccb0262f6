"""Mosaics as ``drz``-like FITS files: SCI, WHT, CTX and VAR extensions, and those of the noise covariance."""

import json
from pathlib import Path

import numpy as np
from astropy.io import fits

from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.errors import FormatError
from skymere.io._open import open_fits, write_whole
from skymere.wcs import Grid, fits_cards, wcs_from_cards

__all__ = ["read_mosaic", "write_mosaic"]

_UNITS = {"electron / s": "ELECTRONS/S"}


def write_mosaic(mosaic: Mosaic, path: str | Path) -> None:
    """Write a mosaic as AstroDrizzle would: SCI, WHT, CTX, and VAR beside them.

    Its noise covariance goes to NOISECLS (class of every pixel), NOISEKER (kernels by class and lag) and NOISEOBS (the
    same measured).

    Parameters
    ----------
    mosaic : Mosaic
        What to write.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    path = Path(path)
    cards = fits_cards(mosaic.grid.wcs)
    primary = fits.PrimaryHDU()
    primary.header["FILTER"] = mosaic.band.upper()
    primary.header["NDRIZIM"] = (len(mosaic.exposure_ids), "number of exposures combined")
    primary.header["ZPAB"] = (mosaic.zero_point_ab, "[mag] AB magnitude of one SCI unit")
    primary.header["WHTKIND"] = (mosaic.weight_kind, "what WHT is")
    primary.header["NOISECOR"] = (mosaic.noise_correlation, "R, noise of large areas over white noise")
    for i, exposure_id in enumerate(mosaic.exposure_ids):
        primary.header[f"D{i + 1:03d}DATA"] = (exposure_id, f"exposure of context bit {i}")
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
    hdus.extend(_noise_hdus(mosaic))
    primary.header["DRIZPARS"] = json.dumps(dict(mosaic.params), sort_keys=True)
    write_whole(hdus, path)


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


def _read_noise(hdus: fits.HDUList) -> NoiseCovariance | None:
    names = [hdu.name for hdu in hdus]
    if "NOISEKER" not in names or "NOISECLS" not in names:
        return None
    kernels = hdus["NOISEKER"]
    return NoiseCovariance(
        kernels=np.asarray(kernels.data, np.float64),
        class_map=np.asarray(hdus["NOISECLS"].data, np.uint8),
        classes=tuple(str(kernels.header[f"CLASS{k}"]) for k in range(len(kernels.data))),
        measured=np.asarray(hdus["NOISEOBS"].data, np.float64) if "NOISEOBS" in names else None,
        params=json.loads(kernels.header.get("NOISEPAR", "{}")),
    )


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
        variance = hdus["VAR"].data if "VAR" in names else np.full(shape, np.nan, np.float32)
        cards = {key: header[key] for key in header if key and not isinstance(header[key], fits.card.Undefined)}
        return Mosaic(
            band=str(primary.get("FILTER", "")).strip().lower(),
            grid=Grid(wcs=wcs_from_cards(cards), shape=shape),
            data=np.asarray(hdus["SCI"].data, np.float32),
            weight=weight,
            variance=np.asarray(variance, np.float32),
            context=np.atleast_3d(context).reshape(-1, *shape).astype(np.int32),
            exposure_ids=tuple(str(primary[key]) for key in primary if key.startswith("D") and key.endswith("DATA")),
            unit=next((ours for ours, fits_unit in _UNITS.items() if fits_unit == header.get("BUNIT")), "electron / s"),
            zero_point_ab=float(primary.get("ZPAB", "nan")),
            weight_kind=primary.get("WHTKIND", "exposure_time"),
            noise_correlation=float(primary.get("NOISECOR", 1.0)),
            noise=_read_noise(hdus),
            params=json.loads(primary["DRIZPARS"]) if "DRIZPARS" in primary else {},
        )
