"""What the header of a mosaic says of the exposures in it: rules that blend their keywords, and a table of all."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time

from skymere.errors import InvalidInputError, NotFoundError
from skymere.io._open import open_fits
from skymere.io.exposures import ReadParams, described_chip

__all__ = ["BlendRule", "InputHeader", "blend_headers", "input_header", "read_blend_rules", "table_of_inputs"]

# What describes a file or its pixels, and not the observation.
_NOT_BLENDED = re.compile(
    r"SIMPLE|BITPIX|NAXIS\d*|EXTEND|GROUPS|[PG]COUNT|XTENSION|EXTNAME|EXTVER|EXTLEVEL|NEXTEND|FILENAME|FILETYPE|ROOTNAME"
    r"|CHECKSUM|DATASUM|DATE|IRAF-TLM|HISTORY|COMMENT|BUNIT|BSCALE|BZERO|D\d{3,}\w+|NDRIZIM|S_\w+"
    r"|WCS\w*|C(TYPE|RVAL|RPIX|UNIT|DELT)\d\w?|(CD|PC|PV)\d_\d+\w?|LONPOLE\w?|LATPOLE\w?|RADESYS\w?|EQUINOX\w?"
    r"|PHOT(FLAM|FNU|ZPT|MJSR|UJA2)|PIXAR_\w+"
)


def _same(values: Sequence[Any]) -> Any:
    """Return the common value; of texts that differ the word MULTIPLE, of anything else nothing."""
    if all(value == values[0] for value in values):
        return values[0]
    return "MULTIPLE" if all(isinstance(value, str) for value in values) else None


_FUNCTIONS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "multi": _same,
    "mean": lambda values: float(np.mean(values)),
    "sum": lambda values: float(np.sum(values)),
    "min": min,
    "max": max,
    "stddev": lambda values: float(np.std(values)),
}


@dataclass(frozen=True, kw_only=True)
class BlendRule:
    """What becomes of a keyword of the exposures in the header of their mosaic.

    Parameters
    ----------
    keyword : str
        Keyword of the exposures.
    output : str
        Keyword of the mosaic; the same when empty.
    function : str
        ``first``, ``last``, ``multi`` (the common value, or MULTIPLE), ``mean``, ``sum``, ``min``, ``max``, ``stddev``,
        or ``delete``.

    Raises
    ------
    InvalidInputError
        When there is no such function.
    """

    keyword: str
    output: str = ""
    function: str = "multi"

    def __post_init__(self) -> None:
        if self.function not in (*_FUNCTIONS, "delete"):
            allowed = ", ".join((*_FUNCTIONS, "delete"))
            msg = f"function: {self.function!r} is not allowed for {self.keyword}, it must be one of {allowed}"
            raise InvalidInputError(msg)


_DEFAULT_RULES = (
    *(BlendRule(keyword=key, function="min") for key in ("DATE-OBS", "DATE-BEG", "EXPSTART", "MJD-BEG")),
    *(BlendRule(keyword=key, function="max") for key in ("DATE-END", "EXPEND", "MJD-END")),
    *(BlendRule(keyword=key, function="mean") for key in ("MJD-AVG", "PA_V3", "SUNANGLE", "MOONANGL")),
    *(BlendRule(keyword=key, function="delete") for key in ("EXPTIME", "XPOSURE", "EFFEXPTM", "TEXPTIME", "TIME-OBS")),
)


def read_blend_rules(path: str | Path) -> tuple[BlendRule, ...]:
    """Return the rules of a file such as AstroDrizzle's ``rules_file``.

    Parameters
    ----------
    path : path-like
        In each line a keyword, optionally the keyword of the mosaic, and a function; or ``<delete>`` and a keyword.
        ``#`` and ``!`` begin comments.

    Raises
    ------
    NotFoundError
        When there is no such file.
    InvalidInputError
        When a line is no rule.

    Notes
    -----
    A keyword alone keeps its common value. A keyword with a name is a column of AstroDrizzle's table HDRTAB; here that
    has all keywords in any case.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    rules = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        words = re.split(r"[#!]", line)[0].split()
        try:
            rules += _rule(words)
        except InvalidInputError as error:
            msg = f"{path}, line {number}: {error}"
            raise InvalidInputError(msg) from None
    return tuple(rules)


def _rule(words: Sequence[str]) -> list[BlendRule]:
    if not words:
        return []
    if words[0].lower() == "<delete>":
        return [BlendRule(keyword=word.upper(), function="delete") for word in words[1:]]
    if len(words) > 3:
        msg = f"{' '.join(words)!r} is not allowed, it must be a keyword, the keyword of the mosaic and a function"
        raise InvalidInputError(msg)
    if len(words) == 2:
        return []
    output, function = words[1:] or ("", "multi")
    return [BlendRule(keyword=words[0].upper(), output=output.upper(), function=function.lower())]


@dataclass(frozen=True, kw_only=True)
class InputHeader:
    """What is known of one exposure of a mosaic.

    Parameters
    ----------
    exposure_id : str
        Its name.
    file : str
        Name of the file.
    extension : str
        Name and number of the extension with its pixels, such as ``SCI,1``.
    exptime : float
        Exposure time, as it was used [s].
    scale_arcsec : float
        Nominal side of a pixel [arcsec].
    primary, header : mapping
        Keywords of the file and of the extension.
    sky : float
        Level that was subtracted [electron / s]; NaN when unknown.
    """

    exposure_id: str
    file: str
    extension: str
    exptime: float
    scale_arcsec: float
    primary: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)
    sky: float = float("nan")

    def keyword(self, name: str) -> Any:
        """Return a keyword of the extension, or else of the file; None where neither has it."""
        return self.header.get(name, self.primary.get(name))


def input_header(
    path: str | Path, *, chip: int | None = None, params: ReadParams | None = None, sky: float = float("nan")
) -> InputHeader:
    """Return what the headers of an exposure say.

    Parameters
    ----------
    path : path-like
        The file.
    chip : int, optional
        Number of the chip, where there are several.
    params : ReadParams, optional
        Those that it was read with.
    sky : float, optional
        Level that was subtracted [electron / s].

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `skymere.io.read_exposure`.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        known = described_chip(hdus, path, chip, params or ReadParams())
        known["header"] = _plain(known["header"])
        return InputHeader(**known, file=path.name, primary=_plain(hdus[0].header), sky=sky)


def _plain(header: fits.Header) -> dict[str, Any]:
    """Return the standard keywords with one value each."""
    keys = [key for key in header if re.fullmatch(r"[A-Z0-9_-]{1,8}", key)]
    return {key: header[key] for key in keys if isinstance(header[key], bool | int | float | str)}


def blend_headers(inputs: Sequence[InputHeader], rules: Sequence[BlendRule] = ()) -> dict[str, Any]:
    """Return the keywords of a mosaic, out of those of the files of its exposures.

    Parameters
    ----------
    inputs : sequence of InputHeader
        The exposures.
    rules : sequence of BlendRule, optional
        Rules that come before the usual ones.

    Returns
    -------
    dict
        Keyword to value.

    Notes
    -----
    A value that all files share is kept, texts that differ become MULTIPLE, numbers that differ are left out. Times:
    EXPTIME and TEXPTIME are sums over the files (chips of one file share its time), DATE-OBS, TIME-OBS, EXPSTART,
    DATE-BEG and MJD-BEG are those of the first exposure in time, EXPEND, DATE-END and MJD-END of the last.
    """
    files = list({one.file: one for one in inputs}.values())
    headers = [one.primary for one in files]
    total = float(sum(one.exptime for one in files))
    out: dict[str, Any] = {"EXPTIME": total, "TEXPTIME": total}
    said = {rule.keyword: rule for rule in (*_DEFAULT_RULES, *rules)}
    for key in dict.fromkeys(key for header in headers for key in header):
        values = [header[key] for header in headers if key in header]
        rule = said.get(key, BlendRule(keyword=key))
        if rule.function == "delete" or (key not in said and _NOT_BLENDED.fullmatch(key)):
            continue
        if rule.function == "multi" and len(values) < len(headers):
            continue
        try:
            value = _FUNCTIONS[rule.function](values)
        except (TypeError, ValueError) as error:
            msg = f"rules: {rule.function} of {key} is not allowed, its values are {values[:3]}"
            raise InvalidInputError(msg) from error
        if value is not None:
            out[rule.output or key] = value
    out.update(_times(headers, out))
    for rule in rules:
        if rule.function == "delete":
            out.pop(rule.keyword, None)
    return out


def _times(headers: Sequence[Mapping[str, Any]], out: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of the FITS standard for begin and end, and the time of day of the first exposure."""
    found: dict[str, Any] = {}
    dated = [header for header in headers if "DATE-OBS" in header and "TIME-OBS" in header]
    if dated:
        found["TIME-OBS"] = min(dated, key=lambda h: (h["DATE-OBS"], h["TIME-OBS"]))["TIME-OBS"]
    for mjd, name in (("EXPSTART", "BEG"), ("EXPEND", "END")):
        if isinstance(out.get(mjd), float | int):
            found[f"DATE-{name}"] = str(Time(out[mjd], format="mjd", scale="utc").isot)
            found[f"MJD-{name}"] = float(out[mjd])
    return found


def table_of_inputs(inputs: Sequence[InputHeader]) -> fits.BinTableHDU:
    """Return the extension HDRTAB: for each exposure what was used of it, and all keywords of its file."""
    rows = [
        {"EXPOSURE": one.exposure_id, "FILE": one.file, "EXTENSION": one.extension, "SKY": one.sky}
        | {key: value for key, value in one.primary.items() if not _NOT_BLENDED.fullmatch(key)}
        | {"EXPTIME": one.exptime}
        for one in inputs
    ]
    names = dict.fromkeys(key for row in rows for key in row)
    return fits.BinTableHDU.from_columns([_column(key, [row.get(key) for row in rows]) for key in names], name="HDRTAB")


def _column(name: str, values: Sequence[Any]) -> fits.Column:
    """Return a column; what an exposure lacks is NaN or an empty text."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return fits.Column(name, "L", array=np.array(values))
    if kinds == {int}:
        return fits.Column(name, "K", array=np.array(values))
    if kinds <= {int, float, type(None)}:
        return fits.Column(name, "D", array=np.array([np.nan if value is None else value for value in values]))
    texts = np.array(["" if value is None else str(value) for value in values])
    return fits.Column(name, f"{max(1, texts.dtype.itemsize // 4)}A", array=texts)
