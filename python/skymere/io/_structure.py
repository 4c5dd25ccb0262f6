"""What the headers of a FITS file say of its size, before anything is made of it.

A file whose cards ask for 2e9 axes, or for more bytes than it has, would keep a reader busy for hours.
"""

import gzip
import math
from pathlib import Path
from typing import IO

from skymere.errors import FormatError

__all__ = ["check_structure"]

_BLOCK, _CARD = 2880, 80
_FIRST = (b"SIMPLE  ", b"XTENSION")
# The standard (4.0, sections 4.4.1 and 7.3.1) allows no more axes and columns.
_MOST = 999
_BITPIX = (8, 16, 32, 64, -32, -64)
# A header of a survey's mosaic with its history has some thousand cards.
_MOST_BLOCKS = 100_000


def check_structure(path: Path) -> None:
    """Raise when a file is no sequence of FITS headers, each with the bytes that it asks for.

    Parameters
    ----------
    path : Path
        The file, gzipped or not.

    Raises
    ------
    FormatError
        When it is not; the extension, the keyword and its value are named.
    OSError, EOFError
        When it cannot be read.
    """
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if is_gzip:
            with gzip.open(file) as inside:
                _check(inside, path)
        else:
            _check(file, path)


def _check(file: IO[bytes] | gzip.GzipFile, path: Path) -> None:
    size, end, n = file.seek(0, 2), 0, 0
    while end < size:
        file.seek(end)
        cards, length = _header(file, path, n)
        end += length + _data_size(cards, path, n)
        if end > size:
            msg = f"{path}: truncated or damaged: {size} bytes, and extension {n} ends at {end}"
            raise FormatError(msg)
        n += 1
    if n == 0:
        msg = f"{path}: not a readable FITS file: it is empty"
        raise FormatError(msg)


def _header(file: IO[bytes] | gzip.GzipFile, path: Path, n: int) -> tuple[dict[str, str], int]:
    """Return the cards about the structure and the length of the header."""
    cards: dict[str, str] = {}
    for i in range(_MOST_BLOCKS):
        block = file.read(_BLOCK)
        if i == 0 and block[:8] not in _FIRST[min(n, 1) :]:
            wanted = _FIRST[min(n, 1)]
            msg = f"{path}: not a readable FITS file: extension {n} begins with {block[:8]!r}, it must be {wanted!r}"
            raise FormatError(msg)
        for start in range(0, len(block) - _CARD + 1, _CARD):
            key = block[start : start + 8].decode("latin-1").rstrip()
            if key == "END":
                return cards, (i + 1) * _BLOCK
            if block[start + 8 : start + 9] == b"=" and _is_structural(key):
                value = block[start + 10 : start + _CARD].decode("latin-1").split("/")[0].strip()
                # Readers differ in which of two they believe, so that the file would be another one to each.
                if cards.setdefault(key, value) != value:
                    seen = f"{cards[key]!r} and {value!r}"
                    msg = f"{path}: extension {n}: {key} is there twice, as {seen}; it must be there once"
                    raise FormatError(msg)
        if len(block) < _BLOCK:
            break
    msg = f"{path}: truncated or damaged: the header of extension {n} has no END"
    raise FormatError(msg)


def _is_structural(key: str) -> bool:
    return key in ("XTENSION", "BITPIX", "PCOUNT", "GCOUNT", "TFIELDS", "GROUPS") or key.startswith(("NAXIS", "ZNAXIS"))


def _data_size(cards: dict[str, str], path: Path, n: int) -> int:
    """Return how many bytes follow a header, in whole blocks."""

    def number(key: str, default: int | None, least: int, most: float) -> int:
        text = cards.get(key)
        if text is None and default is not None:
            return default
        try:
            value = int(text or "")
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            said = "is missing" if text is None else f"{text!r} is not allowed"
            msg = f"{path}: extension {n}: {key} {said}, it must be a whole number of {least} or more" + (
                f" up to {most:.0f}" if math.isfinite(most) else ""
            )
            raise FormatError(msg)
        return value

    bitpix = number("BITPIX", None, min(_BITPIX), max(_BITPIX))
    if bitpix not in _BITPIX:
        msg = f"{path}: extension {n}: BITPIX {bitpix} is not allowed, it must be one of {_BITPIX}"
        raise FormatError(msg)
    number("ZNAXIS", 0, 0, _MOST)
    number("TFIELDS", 0, 0, _MOST)
    axes = [number(f"NAXIS{i + 1}", None, 0, math.inf) for i in range(number("NAXIS", None, 0, _MOST))]
    pcount, gcount = number("PCOUNT", 0, 0, math.inf), number("GCOUNT", 1, 0, math.inf)
    if cards.get("GROUPS") == "T" and axes and axes[0] == 0:
        axes = axes[1:]
    length = abs(bitpix) // 8 * gcount * (pcount + math.prod(axes)) if axes else 0
    return -(-length // _BLOCK) * _BLOCK
