"""Files of beams as grizli writes them: ``beams.fits``."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from skymere.datamodels import ANGSTROM, Beam
from skymere.errors import FormatError, InvalidInputError
from skymere.io._open import open_fits, write_whole

__all__ = ["beam_position", "beam_wcs", "read_beam_file", "write_beam_file"]

# A file of an early version has no NEXT: these many extensions per beam.
_N_EXTENSIONS = 6
_DIRECT = ("SCI", "ERR", "DQ", "REF", "MED", "BKG")
_GRISM = ("SCI", "ERR", "DQ", "CONTAM")
# Cards of the celestial coordinates; alternate ones have a letter more.
_COORDINATES = re.compile(
    r"(?:WCSAXES|NAXIS\d?|(?:CRPIX|CRVAL|CTYPE|CUNIT|CDELT|CROTA)\d|(?:CD|PC|PV|PS)\d_\d+|LONPOLE|LATPOLE|RADE(?:C)?SYS"
    r"|EQUINOX|EPOCH|MJD-OBS|DATE-OBS|(?:A|B|AP|BP)_(?:ORDER|DMAX|\d+_\d+)|AXISCORR|D2IM[\w.]*|CPDIS\d|CPERR\d|DP\d[\w.]*)\s*="
)
_STRUCTURE = ("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "BZERO", "BSCALE", "EXTNAME")


def read_beam_file(path: str | Path) -> list[Beam]:
    """Read the beams of one source.

    Parameters
    ----------
    path : path-like
        A ``beams.fits`` of all beams, or the file of one beam, of grizli; it is not changed.

    Returns
    -------
    list of Beam
        In the order of the file.

    Raises
    ------
    NotFoundError, StorageError
        When there is no such file, or it may not be read.
    FormatError
        When it is truncated, or an extension or a keyword is missing.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        count = hdus[0].header.get("COUNT")
        if count is None:
            return [_read_beam(hdus, hdus[0].header, f"{path}")]
        beams, start = [], 1
        for i in range(int(count)):
            n = int(hdus[0].header.get(f"NEXT{i:04d}", _N_EXTENSIONS))
            part = hdus[start : start + n]
            if len(part) < n:
                msg = f"{path}: {len(hdus) - 1} extensions, beam {i} needs those from {start} to {start + n - 1}"
                raise FormatError(msg)
            beams.append(_read_beam(part, part[0].header, f"{path}, beam {i}", primary=hdus[0].header))
            start += n
        return beams


def _read_beam(hdus: Any, header: fits.Header, where: str, *, primary: fits.Header | None = None) -> Beam:
    """Return a beam of its extensions; ``header`` holds its own keywords."""
    there = {(hdu.name, hdu.ver): hdu for hdu in hdus}

    def need(name: str, version: int) -> Any:
        hdu = there.get((name, version)) or (there.get((name, 1)) if name in ("SEG", "CONTAM") else None)
        if hdu is None and name in ("SEG", "CONTAM", "MODEL"):
            hdu = next((h for (n, _), h in there.items() if n == name), None)
        if hdu is None or hdu.data is None:
            msg = f"{where}: extension {name},{version} is missing, it holds {sorted(there)}"
            raise FormatError(msg)
        return hdu

    def word(key: str) -> Any:
        if key not in header:
            msg = f"{where}: keyword {key} is missing"
            raise FormatError(msg)
        return header[key]

    planes = {name: np.asarray(there[name, 1].data) for name in _DIRECT if (name, 1) in there}
    base = need("REF" if "REF" in planes else "SCI", 1)
    grism = need("SCI", 2)
    scale = 1.0 / float(base.header.get("PHOTFLAM", 1.0)) if "REF" in planes else 1.0
    pad = tuple(
        int(header.get(key, base.header.get(key, header.get("PAD", base.header.get("PAD", 0)))))
        for key in ("PADY", "PADX")
    )
    g = grism.header
    try:
        return Beam(
            source_id=int(word("ID")),
            order=str(word("BEAM")).strip(),
            direct=np.asarray(base.data / np.float32(1 / scale) if scale != 1.0 else base.data, np.float32),
            segmentation=np.asarray(need("SEG", 1).data, np.int32),
            sci=_plane(grism, g),
            err=_plane(need("ERR", 2), g, is_error=True),
            dq=np.asarray(need("DQ", 2).data).astype(np.uint16).astype(np.uint32),
            contam=np.asarray(need("CONTAM", 2).data, np.float32),
            origin=(int(base.header.get("ORIGINY", 0)), int(base.header.get("ORIGINX", 0))),
            grism_origin=(int(g.get("ORIGINY", 0)), int(g.get("ORIGINX", 0))),
            pad=(pad[0], pad[1]),
            center_offset=(float(word("XCENTER")), float(word("YCENTER"))),
            x_shift=_number(header.get("TXOFFSET")),
            y_shift=_number(header.get("TYOFFSET")) or 0.0,
            fwcpos=_number(header.get("FWCPOS")) or None,
            mw_ebv=_number(header.get("MW_EBV")) or 0.0,
            instrument=_text(g, "INSTRUME"),
            grism=_text(g, "FILTER"),
            pupil=_text(g, "PUPIL"),
            module=_text(g, "MODULE"),
            direct_filter=_text(g, "DFILTER") or _text(base.header, "FILTER"),
            chip=int(g.get("CCDCHIP", 1)),
            parent=_text(header, "GPARENT") or _text(g, "PARENT"),
            direct_parent=_text(header, "DPARENT") or _text(base.header, "PARENT"),
            exptime=float(g.get("EXPTIME", "nan")),
            config_name=_text(g, "CONFFILE"),
            trace=_trace(there, header, base.data.shape, grism.data.shape),
            model=np.asarray(need("MODEL", 2).data, np.float32) if any(n == "MODEL" for n, _ in there) else None,
            direct_planes=planes,
            headers={
                "primary": (header if primary is None else primary).tostring(sep="\n", padding=False, endcard=False),
                "beam": header.tostring(sep="\n", padding=False, endcard=False),
                "direct": base.header.tostring(sep="\n", padding=False, endcard=False),
                "grism": g.tostring(sep="\n", padding=False, endcard=False),
            },
        )
    except InvalidInputError as error:
        msg = f"{where}: {error}"
        raise FormatError(msg) from error


def _text(header: fits.Header, key: str) -> str:
    value = header.get(key)
    return "" if value is None or isinstance(value, fits.card.Undefined) else str(value).strip()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plane(hdu: Any, header: fits.Header, *, is_error: bool = False) -> NDArray[np.float32]:
    """Return e/s of an extension: its sky is subtracted, and counts are divided by the exposure time."""
    data = np.asarray(hdu.data, np.float32)
    sky = _number(header.get("MDRIZSKY")) or 0.0
    if not is_error and sky:
        data = data - np.float32(sky)
    if _text(header, "BUNIT") == "ELECTRONS":
        data = data / np.float32(header["EXPTIME"])
    return data


def _trace(there: Any, header: fits.Header, direct: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Return wavelength, row from the source and sensitivity of every column, of a table TRACE."""
    hdu = next((hdu for (name, _), hdu in there.items() if name == "TRACE"), None)
    if hdu is None:
        return None
    columns = [np.asarray(hdu.data[name], np.float64) for name in ("wavelength", "trace", "sensitivity")]
    if columns[0].size != shape[1]:
        return None
    middle = direct[0] / 2 - float(header["YCENTER"])
    return np.stack([columns[0] * ANGSTROM, columns[1] - middle, columns[2]], axis=1)


def write_beam_file(path: str | Path, beams: Sequence[Beam]) -> None:
    """Write beams so that grizli can open them.

    Parameters
    ----------
    path : path-like
        The file; it appears whole or not at all.
    beams : sequence of Beam
        Beams of one source, each read by `read_beam_file`.

    Raises
    ------
    InvalidInputError
        When there is none, or they are of several sources.
    StorageError
        When it cannot be written.

    Notes
    -----
    Headers are those that were read, so that coordinates stay as they are. Fluxes are written in e/s without the sky
    (``MDRIZSKY`` 0).
    """
    ids = {beam.source_id for beam in beams}
    if len(ids) != 1:
        msg = f"beams: sources {sorted(ids)} are not allowed, all must be of one"
        raise InvalidInputError(msg)
    first = fits.Header.fromstring(beams[0].headers.get("primary", ""), sep="\n")
    primary = fits.PrimaryHDU()
    primary.header["ID"] = (beams[0].source_id, "Object ID")
    for key in ("RA", "DEC"):
        if key in first:
            primary.header[key] = first[key]
    hdus = fits.HDUList([primary])
    counts = []
    for i, beam in enumerate(beams):
        part = _extensions(beam)
        counts.append(len(part))
        hdus.extend(part)
        primary.header[f"FILE{i:04d}"] = (beam.parent, "Grism parent file")
        primary.header[f"GRIS{i:04d}"] = (beam.grism, "Grism element")
        primary.header[f"NEXT{i:04d}"] = (len(part), "Number of extensions")
    primary.header["COUNT"] = (len(beams), " ".join(str(n) for n in counts))
    for grism in dict.fromkeys(beam.grism for beam in beams):
        total = sum(beam.exptime for beam in beams if beam.grism == grism)
        if np.isfinite(total):
            primary.header[f"T_{grism}"] = (total, f"Exposure time in grism {grism}")
    write_whole(hdus, path)


def _extensions(beam: Beam) -> list[fits.ImageHDU | fits.BinTableHDU]:
    """Return the extensions of a beam in the order of grizli."""
    direct, grism, own = (
        fits.Header.fromstring(beam.headers.get(name, ""), sep="\n") for name in ("direct", "grism", "beam")
    )
    for header in (direct, grism, own):
        for key in _STRUCTURE:
            header.remove(key, ignore_missing=True)
    grism["MDRIZSKY"] = 0.0
    grism["BUNIT"] = "ELECTRONS/S"
    facts: dict[str, Any] = {
        "ID": beam.source_id,
        "PADX": beam.pad[1],
        "PADY": beam.pad[0],
        "BEAM": beam.order,
        "XCENTER": beam.center_offset[0],
        "YCENTER": beam.center_offset[1],
        "TYOFFSET": beam.y_shift,
        "GPARENT": beam.parent,
        "DPARENT": beam.direct_parent,
        "FWCPOS": beam.fwcpos,
        "MW_EBV": beam.mw_ebv,
    }
    if beam.x_shift is not None:
        facts["TXOFFSET"] = beam.x_shift
    for header, origin in ((direct, beam.origin), (grism, beam.grism_origin)):
        header["ORIGINY"], header["ORIGINX"] = origin
        header.remove("PAD", ignore_missing=True)
        header.update(facts)
    if beam.config_name:
        grism["CONFFILE"] = beam.config_name
    planes = dict(beam.direct_planes) or {"REF": beam.direct}
    if not beam.direct_planes:
        direct["PHOTFLAM"] = 1.0
        direct.setdefault("REF_FILE", beam.direct_parent)
        direct.setdefault("PHOTPLAM", 1.0)
    out: list[fits.ImageHDU | fits.BinTableHDU] = [
        fits.ImageHDU(data, header=direct, name=name, ver=1) for name, data in planes.items()
    ]
    out.append(fits.ImageHDU(beam.segmentation, header=direct, name="SEG", ver=1))
    arrays = {"SCI": beam.sci, "ERR": beam.err, "DQ": beam.dq.astype(np.uint16).view(np.int16), "CONTAM": beam.contam}
    out += [fits.ImageHDU(arrays[name], header=grism, name=name, ver=2) for name in _GRISM]
    if beam.model is not None:
        out.append(fits.ImageHDU(beam.model, header=grism, name="MODEL", ver=2))
    if beam.trace is not None:
        middle = beam.direct.shape[0] / 2 - beam.center_offset[1]
        wave, rows, sensitivity = beam.trace.T
        columns = {"wavelength": wave / ANGSTROM, "trace": rows + middle, "sensitivity": sensitivity}
        table = fits.BinTableHDU.from_columns(
            [fits.Column(name=name, format="E", array=values.astype(np.float32)) for name, values in columns.items()],
            name="TRACE",
            ver=2,
        )
        table.header["CONFFILE"] = beam.config_name
        out.append(table)
    return out


def beam_wcs(beam: Beam) -> WCS | None:
    """Return the coordinate system of the direct cutout of a beam.

    Parameters
    ----------
    beam : Beam
        A beam that was read from a file.

    Returns
    -------
    astropy.wcs.WCS or None
        None when its header has no sky.
    """
    # Other cards are most of a header, and of the time to read it.
    cards = [card for card in beam.headers.get("direct", "").split("\n") if _COORDINATES.match(card)]
    header = fits.Header.fromstring("\n".join(cards), sep="\n")
    if "CTYPE1" not in header:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        return WCS(header, relax=True)


def beam_position(beam: Beam) -> tuple[float, float] | None:
    """Return right ascension and declination of the source [deg] as the file states them.

    Parameters
    ----------
    beam : Beam
        A beam that was read from a file.

    Returns
    -------
    tuple of float or None
        None when the file does not say it.
    """
    header = fits.Header.fromstring(beam.headers.get("primary", ""), sep="\n")
    return (float(header["RA"]), float(header["DEC"])) if "RA" in header and "DEC" in header else None
