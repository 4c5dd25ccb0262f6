"""Regions as region files of DS9, to the last digit."""

import os
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal, localcontext
from pathlib import Path

from skymere.errors import InvalidInputError, StorageError
from skymere.regions.shapes import Region

__all__ = ["format_regions", "write_regions"]

_HEAD = "# Region file format: DS9 version 4.1\nglobal color=green width=1\n"
_N_SIZES = {"circle": 1, "box": 2, "ellipse": 2, "annulus": 2, "polygon": 0, "point": 0}


def write_regions(regions: Iterable[Region], path: str | Path) -> Path:
    """Write a region file of DS9; `read_regions` gives back equal regions.

    Parameters
    ----------
    regions : iterable of Region
        The regions.
    path : path-like
        The file; it is replaced.

    Raises
    ------
    InvalidInputError
        When a text cannot stand in such a file: it holds a line break, braces and both kinds of quotes, or what is not
        Unicode.
    StorageError
        When the file cannot be written.
    """
    out = Path(path)
    text = format_regions(regions)
    staged = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        staged.write_text(text, encoding="utf-8")
        staged.replace(out)
    except OSError as error:
        msg = f"{out}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    finally:
        with suppress(OSError):
            staged.unlink()
    return out


def format_regions(regions: Iterable[Region]) -> str:
    """Return regions in the format of DS9; see `write_regions`.

    Parameters
    ----------
    regions : iterable of Region
        The regions.

    Raises
    ------
    InvalidInputError
        See `write_regions`.

    Examples
    --------
    >>> from skymere.regions import Circle, format_regions
    >>> print(format_regions([Circle(centre=(0.1, 2.0), radius=3.0, frame="image")]))
    # Region file format: DS9 version 4.1
    global color=green width=1
    image
    circle(1.1,3.0,3.0)
    <BLANKLINE>
    """
    lines, frame = [_HEAD.rstrip("\n")], ""
    for region in regions:
        if region.frame != frame:
            frame = region.frame
            lines.append(frame)
        lines.append(_line(region))
    return "\n".join(lines) + "\n"


def _line(region: Region) -> str:
    numbers = region.numbers
    n_places = len(numbers) if region.shape == "polygon" else 2
    n_sizes = n_places + _N_SIZES[region.shape]
    is_sky = region.frame == "icrs"
    texts = [repr(v) if is_sky else _one_based(v) for v in numbers[:n_places]]
    texts += [f'{v!r}"' if is_sky else repr(v) for v in numbers[n_places:n_sizes]]
    texts += [repr(v) for v in numbers[n_sizes:]]
    sign = "" if region.is_include else "-"
    return f"{sign}{region.shape}({','.join(texts)})" + (f" # text={_quoted(region.text)}" if region.text else "")


def _one_based(value: float) -> str:
    # In decimal digits nothing is lost: 0.1 is 1.1, and 1.1 is read as 0.1.
    with localcontext(prec=800):
        return f"{Decimal(repr(value)) + 1:f}"


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"text: {text!r} cannot stand in a region file: {error.reason}"
        raise InvalidInputError(msg) from None
    if "\n" not in text and "\r" not in text:
        if not set("{}") & set(text):
            return f"{{{text}}}"
        for quote in ('"', "'"):
            if quote not in text:
                return f"{quote}{text}{quote}"
    msg = f"text: {text!r} cannot stand in a region file, it has a line break, or braces and both kinds of quotes"
    raise InvalidInputError(msg)
