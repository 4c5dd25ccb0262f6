"""Small pictures of arrays of a lake: a row of a stack or of a flat array, or a window of an image."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.lake import load_schema
from skymere.lake.ragged import read_plane
from skymere.viewer.web.png import png_of_indices
from skymere.viewer.web.reading import LakeReader
from skymere.viewer.web.scaling import LABEL_COLOURS, Scaling, colour_of_labels, grey_picture, limits_of

__all__ = ["Stamp", "Stamps"]

MOST_PIX = 4096
_LABELS = ("label", "seg")


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Where the pixels of a small picture are.

    Parameters
    ----------
    product, tile, run : str
        Group of arrays.
    paths : tuple of str
        Array, less all that follow.
    row : int, optional
        Row of a stack or a flat array.
    window : tuple of int, optional
        ``(y0, x0, ny, nx)`` of an image; what lies beyond its border is NaN.
    less : tuple of str, optional
        Product, run and path of an image of the same tile that is subtracted, too.
    known : str, optional
        Array of 1 sigma; pixels where it is not positive have no data and are NaN.
    """

    product: str
    tile: str
    run: str
    paths: tuple[str, ...]
    row: int | None = None
    window: tuple[int, int, int, int] | None = None
    less: tuple[str, str, str] | None = None
    known: str = ""

    def address(self, **more: Any) -> str:
        """Return the URL of the picture below that of the page."""
        place = {"row": self.row} if self.window is None else {"window": ",".join(str(n) for n in self.window)}
        less = {} if self.less is None else {"less": ",".join(self.less)}
        known = {"known": self.known} if self.known else {}
        words = urlencode({"path": ",".join(self.paths), **place, **less, **known, **more})
        return f"/stamp/{self.product}/{self.tile}/{self.run}.png?{words}"


class Stamps:
    """The small pictures of a lake.

    Parameters
    ----------
    reader : LakeReader
        The lake.
    """

    def __init__(self, reader: LakeReader) -> None:
        self._reader = reader

    def pixels(self, stamp: Stamp) -> NDArray[Any]:
        """Return the pixels of a stamp, shape (ny, nx).

        Raises
        ------
        InvalidInputError
            When it is not allowed.
        NotFoundError
            When there is no such array or row.
        """
        if not stamp.paths or (stamp.row is None) == (stamp.window is None):
            msg = "stamp: a path is needed, and either a row or a window"
            raise InvalidInputError(msg)
        first, *others = (self._plane(stamp, path) for path in stamp.paths)
        if stamp.less is not None:
            product, run, path = stamp.less
            others.append(self._plane(replace(stamp, product=product, run=run), path))
        for other in others:
            if other.shape != first.shape:
                msg = f"path: shapes {first.shape} and {other.shape} of {stamp.paths} cannot be subtracted"
                raise InvalidInputError(msg)
            first = first - other
        if stamp.known:
            error = self._plane(stamp, stamp.known)
            if error.shape != first.shape:
                msg = f"known: shape {error.shape} of {stamp.known!r} is not {first.shape}, that of {stamp.paths}"
                raise InvalidInputError(msg)
            first = np.where(error > 0, first, np.nan)
        return first

    def picture(self, stamp: Stamp, scaling: Scaling | None = None, *, colour_map: str = "grey") -> bytes:
        """Return a PNG; with limits that suit it when no scaling is given, segments in colours."""
        values = self.pixels(stamp)
        if stamp.paths[0].rpartition("/")[2] in _LABELS:
            return png_of_indices(colour_of_labels(values)[::-1], LABEL_COLOURS)
        shown = np.asarray(values, np.float32)
        return grey_picture(shown, scaling or suited(shown), colour_map=colour_map)

    def described(self, stamp: Stamp, title: str, *, like: Scaling | None = None) -> dict[str, Any]:
        """Return title, address and shape of a picture, with the scaling of another or one that suits it."""
        values = self.pixels(stamp)
        told: dict[str, Any] = {"title": title, "ny": int(values.shape[0]), "nx": int(values.shape[1])}
        if stamp.paths[0].rpartition("/")[2] in _LABELS:
            return {**told, "url": stamp.address()}
        scaling = like or suited(np.asarray(values, np.float32))
        unit = self._reader.group(stamp.product, stamp.tile, stamp.run)[stamp.paths[0]].unit
        words = {"low": f"{scaling.low:.6g}", "high": f"{scaling.high:.6g}", "stretch": scaling.stretch}
        url = stamp.address(**words, softening=f"{scaling.softening:.6g}")
        return {**told, "url": url, "unit": unit, "low": scaling.low, "high": scaling.high}

    def scaling(self, stamp: Stamp) -> Scaling:
        """Return a scaling that suits a stamp."""
        return suited(np.asarray(self.pixels(stamp), np.float32))

    def _plane(self, stamp: Stamp, path: str) -> NDArray[Any]:
        arrays = self._reader.group(stamp.product, stamp.tile, stamp.run)
        spec = load_schema(stamp.product).array(path)
        stored = arrays[path]
        if stamp.window is not None:
            return _window(stored, stamp.window)
        rows = np.array([stamp.row], np.int64)
        found = read_plane(arrays, spec, rows)[0] if spec.offset else stored.rows(rows)[0]
        if found.ndim != 2:
            msg = f"path: {path!r} of {stamp.product} is no picture, it has {found.ndim} axes"
            raise InvalidInputError(msg)
        return found


def suited(values: NDArray[np.float32]) -> Scaling:
    """Return a scaling that suits a small picture: its noise at the bottom, its brightest pixels at the top."""
    limits = limits_of(values)
    low = limits.sky - 2.0 * limits.noise if limits.noise else limits.choices["99.9 %"][0]
    high = max(limits.choices["99.9 %"][1], low + 10.0 * limits.noise)
    low, high = (low, high) if high > low else limits.choices["all"]
    softening = min(1.0, max(3.0 * limits.noise / (high - low), 1e-3))
    # As the address has it, so that it is the same after the way there and back.
    return Scaling(low=float(f"{low:.6g}"), high=float(f"{high:.6g}"), softening=float(f"{softening:.6g}"))


def _window(stored: Any, window: tuple[int, int, int, int]) -> NDArray[Any]:
    y0, x0, ny, nx = window
    if stored.ndim != 2 or not (1 <= ny <= MOST_PIX and 1 <= nx <= MOST_PIX):
        msg = f"window: {window} is not allowed, it must be y0, x0, ny, nx of an image with at most {MOST_PIX} pixels"
        raise InvalidInputError(msg)
    a, b = max(y0, 0), max(x0, 0)
    seen = stored[a : max(a, y0 + ny), b : max(b, x0 + nx)]
    fill = np.nan if seen.dtype.kind == "f" else 0
    out = np.full((ny, nx), fill, seen.dtype)
    if seen.size:
        out[a - y0 : a - y0 + seen.shape[0], b - x0 : b - x0 + seen.shape[1]] = seen
    return out
