"""``1D.fits`` and ``stack.fits``: spectra of one object, as grizli's users know them."""

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning

from skymere.datamodels import ANGSTROM, GrismSpectrum, GrismStack
from skymere.errors import FormatError
from skymere.io._open import open_fits, write_whole

__all__ = ["read_grism_spectra", "read_grism_stacks", "write_grism_spectra", "write_grism_stacks"]

_UNITS = {
    "wave": "Angstrom",
    "flat": "count Angstrom cm2 / erg",
    "flam": "erg / (Angstrom cm2 s)",
    "flam_err": "erg / (Angstrom cm2 s)",
}
_RATE = "count / s"
_STACK_PLANES = ("SCI", "WHT", "CONTAM", "MODEL", "KERNEL")


def write_grism_spectra(
    spectra: Mapping[str, GrismSpectrum],
    path: str | Path,
    *,
    source_id: int,
    ra: float,
    dec: float,
    target: str = "",
    mw_ebv: float = 0.0,
) -> None:
    """Write a ``1D.fits``: a table for each grism.

    Parameters
    ----------
    spectra : mapping of str to GrismSpectrum
        By grism.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    source_id : int
        Label of the source.
    ra, dec : float
        Position [deg].
    target : str, optional
        Name of the field.
    mw_ebv : float, optional
        Extinction E(B-V) of the Milky Way.

    Raises
    ------
    StorageError
        When the file cannot be written.

    Notes
    -----
    As in files of grizli, wavelengths are in Angstrom, and bins without pixels are 0 with ``npix`` 0.
    """
    primary = fits.PrimaryHDU()
    header = primary.header
    header["ID"], header["RA"], header["DEC"] = source_id, ra, dec
    header["TARGET"], header["MW_EBV"] = target, mw_ebv
    hdus = fits.HDUList([primary])
    for i, (grism, one) in enumerate(spectra.items(), start=1):
        header[f"GRISM{i:03d}"] = (grism, "Grism name")
        header[f"N_{grism}"] = (one.n_exposures, "Number of exposures")
        if np.isfinite(one.exptime):
            header[f"T_{grism}"] = (one.exptime, "Total exposure time")
        header[f"PA_{grism}"] = (one.n_angles, "Number of PAs")
        columns = []
        for series in one.table.drop("wave_low", "wave_high", strict=False):
            is_whole = series.dtype.is_integer()
            values = series.to_numpy() if is_whole else series.fill_null(0.0).to_numpy()
            values = values / ANGSTROM if series.name == "wave" else values
            unit = None if is_whole else _UNITS.get(series.name, _RATE)
            columns.append(fits.Column(name=series.name, format="K" if is_whole else "D", array=values, unit=unit))
        table = fits.BinTableHDU.from_columns(columns, name=grism)
        table.header["GRISM"] = grism
        table.header["NEXP"] = one.n_exposures
        table.header["NPA"] = one.n_angles
        if np.isfinite(one.exptime):
            table.header["EXPTIME"] = one.exptime
        for k, file in enumerate(one.files, start=1):
            table.header[f"FILE{k:04d}"] = file
        hdus.append(table)
    write_whole(hdus, path)


def read_grism_spectra(path: str | Path) -> dict[str, GrismSpectrum]:
    """Read a ``1D.fits`` of skymere or of grizli.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict of str to GrismSpectrum
        By grism; bins without pixels are null.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing or unreadable, or holds no spectrum.
    """
    path = Path(path)
    out = {}
    with open_fits(path) as hdus:
        for hdu in hdus:
            if not isinstance(hdu, fits.BinTableHDU) or "flux" not in hdu.columns.names:
                continue
            values = {name: np.asarray(hdu.data[name]) for name in hdu.columns.names}
            values = {name: v.astype(v.dtype.newbyteorder("=")) for name, v in values.items()}
            table = pl.DataFrame(values).with_columns(pl.col("wave") * ANGSTROM)
            filled = [name for name in table.columns if name not in ("wave", "npix")]
            if "npix" in table.columns:
                table = table.with_columns(pl.when(pl.col("npix") > 0).then(pl.col(filled)))
            header = hdu.header
            files = [str(header[key]) for key in header if re.fullmatch(r"FILE\d{4}", key)]
            out[str(hdu.name)] = GrismSpectrum(
                grism=str(hdu.name),
                table=table,
                exptime=float(header.get("EXPTIME", "nan")),
                n_exposures=int(header.get("NEXP", 0)),
                n_angles=int(header.get("NPA", 0)),
                files=tuple(files),
            )
        if not out:
            msg = f"{path}: none of its extensions {[hdu.name for hdu in hdus]} is a table of a spectrum"
            raise FormatError(msg)
    return out


def write_grism_stacks(
    stacks: Iterable[GrismStack], path: str | Path, *, source_id: int, ra: float, dec: float
) -> None:
    """Write a ``stack.fits``: SCI, WHT, CONTAM, MODEL and KERNEL of each angle of each grism, then of all angles.

    Parameters
    ----------
    stacks : iterable of GrismStack
        Those of `drizzle_stacks`.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    source_id : int
        Label of the source.
    ra, dec : float
        Position [deg].

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    stacks = list(stacks)
    primary = fits.PrimaryHDU()
    header = primary.header
    header["ID"], header["RA"], header["DEC"] = source_id, ra, dec
    grisms = list(dict.fromkeys(one.grism for one in stacks))
    header["ISFLAM"] = (False, "Pixels in f-lam units")
    header["NGRISM"] = (len(grisms), "Number of grisms")
    header["FCONTAM"] = (max((one.fcontam for one in stacks), default=0.0), "Contamination parameter")
    for i, grism in enumerate(grisms, start=1):
        angles = [one.angle for one in stacks if one.grism == grism and one.angle is not None]
        header[f"GRISM{i:03d}"] = (grism, "Grism name")
        header[f"N{grism}"] = (len(angles), f"Number of PAs for grism {grism}")
        for k, angle in enumerate(angles, start=1):
            header[f"{grism}{k:02d}"] = (angle, "PA")
    hdus = fits.HDUList([primary])
    for one in stacks:
        hdus.extend(_stack_extensions(one, source_id))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        write_whole(hdus, path)


def _stack_extensions(one: GrismStack, source_id: int) -> list[fits.ImageHDU]:
    step = float(one.wave[1] - one.wave[0])
    middle = one.wave.size // 2
    version = one.grism if one.angle is None else f"{one.grism},{one.angle}"
    planes = dict(zip(_STACK_PLANES, (one.sci, one.weight, one.contam, one.model, one.kernel), strict=True))
    out = []
    for name, plane in planes.items():
        hdu = fits.ImageHDU(plane, name=name)
        header = hdu.header
        header["EXTVER"] = version
        # As in files of grizli, whose axes claim to be of the sky.
        cards: dict[str, Any] = {
            "CRPIX1": middle + 1,
            "CRPIX2": one.middle + 1,
            "CRVAL1": float(one.wave[middle]),
            "CD1_1": step,
            "CD1_2": 0.0,
            "CRVAL2": 0.0,
            "CD2_2": one.pixel_rows,
            "CD2_1": 0.0,
            "RADESYS": "",
            "CTYPE1": "RA---TAN-SIP",
            "CUNIT1": "mas",
            "CTYPE2": "DEC--TAN-SIP",
            "CUNIT2": "mas",
        }
        if name == "SCI":
            cards |= {
                "ID": source_id,
                "WMIN": float(one.wave[0]),
                "WMAX": float(one.wave[-1] + step),
                "DLAM": step / ANGSTROM,
                "SSCALE": one.pixel_rows,
                "FCONTAM": one.fcontam,
                "PIXFRAC": one.pixfrac,
                "DRIZKRNL": one.drizzle_kernel,
                "BEAM": "A",
                "NINPUT": len(one.files),
                "GRISM": one.grism,
                "ISFLAM": False,
                "CONF": one.config,
            }
            cards |= {"DLAM0": one.native_step / ANGSTROM} if np.isfinite(one.native_step) else {}
            cards |= {f"FILE{k:04d}": file for k, file in enumerate(one.files, start=1)}
            cards |= {} if one.angle is None else {"PA": one.angle}
            cards |= {"EXPTIME": one.exptime} if np.isfinite(one.exptime) else {}
        if name == "MODEL":
            cards["CONTIN1D"] = bool(np.isfinite(one.z))
            cards |= {"REDSHIFT": one.z} if np.isfinite(one.z) else {}
        header.update(cards)
        out.append(hdu)
    return out


def read_grism_stacks(path: str | Path) -> list[GrismStack]:
    """Read a ``stack.fits`` of skymere or of grizli.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    list of GrismStack
        In the order of the file; contamination that a file of grizli has not, of all angles together, is 0.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing or unreadable, or holds no stack.
    """
    path = Path(path)
    found: dict[str, dict[str, Any]] = {}
    with open_fits(path) as hdus:
        for hdu in hdus[1:]:
            if hdu.name in _STACK_PLANES:
                found.setdefault(str(hdu.header.get("EXTVER", "")).strip(), {})[hdu.name] = hdu
        complete = {name: there for name, there in found.items() if {"SCI", "WHT", "MODEL", "KERNEL"} <= set(there)}
        if not complete:
            msg = f"{path}: none of its extensions {[hdu.name for hdu in hdus]} is a stack with SCI, WHT, MODEL, KERNEL"
            raise FormatError(msg)
        return [_read_stack(name, there) for name, there in complete.items()]


def _read_stack(version: str, there: Mapping[str, Any]) -> GrismStack:
    header = there["SCI"].header
    planes = {name: np.asarray(hdu.data, np.float32) for name, hdu in there.items()}
    grism, _, angle = version.partition(",")
    columns = np.arange(planes["SCI"].shape[1]) + 1 - float(header["CRPIX1"])
    return GrismStack(
        grism=grism,
        angle=float(angle) if angle else None,
        sci=planes["SCI"],
        weight=planes["WHT"],
        contam=planes.get("CONTAM", np.zeros_like(planes["SCI"])),
        model=planes["MODEL"],
        kernel=planes["KERNEL"],
        wave=np.asarray(float(header["CRVAL1"]) + float(header["CD1_1"]) * columns, np.float64),
        middle=float(header["CRPIX2"]) - 1,
        pixel_rows=float(header["CD2_2"]),
        exptime=float(header.get("EXPTIME", "nan")),
        files=tuple(str(header[key]) for key in header if re.fullmatch(r"FILE\d{4}", key)),
        z=float(there["MODEL"].header.get("REDSHIFT", "nan")),
        pixfrac=float(header.get("PIXFRAC", "nan")),
        drizzle_kernel=str(header.get("DRIZKRNL", "")).strip(),
        fcontam=float(header.get("FCONTAM", 0.0)),
        config=str(header.get("CONF", "")).strip(),
        native_step=float(header.get("DLAM0", "nan")) * ANGSTROM,
    )
