"""Which sources take part: windows of flux, the brightest, and regions of an exposure."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["exclude_sources", "select_sources"]

Region = tuple[Literal["include", "exclude"], ArrayLike]
"""Whether sources within a polygon ``(n, 2)`` ``x, y`` [pix] take part."""


def select_sources(
    table: pl.DataFrame,
    *,
    column: str = "flux",
    limits: tuple[float, float] = (-np.inf, np.inf),
    n_brightest: int | None = None,
    is_magnitude: bool = False,
) -> pl.DataFrame:
    """Return the sources of a catalogue within limits of brightness, and of these the brightest.

    Parameters
    ----------
    table : polars.DataFrame
        Sources of an exposure, or of the reference.
    column : str, optional
        Brightness.
    limits : tuple of float, optional
        Least and largest value, both allowed.
    n_brightest : int, optional
        Keep so many; all when not given.
    is_magnitude : bool, optional
        Whether smaller values are brighter.

    Returns
    -------
    polars.DataFrame
        Rows of ``table``, the brightest first where ``n_brightest`` is given; without those whose value is unknown.

    Raises
    ------
    InvalidInputError
        When there is no such column, or a number is not allowed.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.align import select_sources
    >>> stars = pl.DataFrame({"ra": [1.0, 2.0, 3.0], "mag": [17.0, 21.0, 19.0]})
    >>> select_sources(stars, column="mag", limits=(18.0, 22.0), n_brightest=1, is_magnitude=True)["ra"].to_list()
    [3.0]
    """
    if column not in table.columns:
        msg = f"column: {column!r} is not in the table, it must be one of {table.columns}"
        raise InvalidInputError(msg)
    if not limits[0] <= limits[1]:
        msg = f"limits: {limits} is not allowed, it must be a smaller and a larger number"
        raise InvalidInputError(msg)
    if n_brightest is not None and n_brightest < 1:
        msg = f"n_brightest: {n_brightest} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    kept = table.filter(pl.col(column).is_between(*limits), pl.col(column).is_not_nan())
    if n_brightest is None:
        return kept
    return kept.sort(column, descending=not is_magnitude, maintain_order=True).head(n_brightest)


def exclude_sources(table: pl.DataFrame, regions: Sequence[Region] | ArrayLike) -> pl.DataFrame:
    """Return the sources that regions of an exposure leave.

    Parameters
    ----------
    table : polars.DataFrame
        Sources with ``x, y`` [pix].
    regions : sequence of (str, polygon), or array_like of bool
        ``("include", polygon)`` or ``("exclude", polygon)`` with polygons ``(n, 2)`` ``x, y`` [pix], or an image that
        is True where no source may be. A later region overrules an earlier one; where none is, sources take part unless
        the first one includes.

    Returns
    -------
    polars.DataFrame
        Rows of ``table``.

    Raises
    ------
    InvalidInputError
        When a word or polygon is not allowed.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.align import exclude_sources
    >>> square = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]
    >>> exclude_sources(pl.DataFrame({"x": [5.0, 20.0], "y": [5.0, 5.0]}), [("exclude", square)])["x"].to_list()
    [20.0]
    """
    xy = table.select("x", "y").to_numpy()
    if isinstance(regions, np.ndarray):
        return table.filter(~_in_mask(xy, regions))
    steps: list[Region] = list(regions)  # type: ignore[arg-type]
    takes_part = np.full(len(xy), not steps or steps[0][0] != "include")
    for word, polygon in steps:
        if word not in ("include", "exclude"):
            msg = f"regions: {word!r} is not allowed, it must be 'include' or 'exclude'"
            raise InvalidInputError(msg)
        takes_part[_in_polygon(xy, np.asarray(polygon, np.float64))] = word == "include"
    return table.filter(takes_part)


def _in_mask(xy: NDArray[np.float64], mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether positions are on True pixels; outside of the image none is."""
    if mask.ndim != 2:
        msg = f"regions: a mask of shape {mask.shape} is not allowed, it must be an image (ny, nx)"
        raise InvalidInputError(msg)
    i, j = np.round(xy).astype(np.int64).T
    ny, nx = mask.shape
    inside = (i >= 0) & (j >= 0) & (i < nx) & (j < ny)
    out = np.zeros(len(xy), bool)
    out[inside] = mask[j[inside], i[inside]] != 0
    return out


def _in_polygon(xy: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether positions are inside: a ray to the right crosses the border an odd number of times."""
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3 or not np.isfinite(polygon).all():
        msg = f"regions: a polygon of shape {polygon.shape} is not allowed, it must be (3 or more, 2) finite pixels"
        raise InvalidInputError(msg)
    (x0, y0), (x1, y1) = polygon.T[:, None], np.roll(polygon, -1, axis=0).T[:, None]
    x, y = xy.T[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        crosses = ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return np.asarray(crosses.sum(axis=1) % 2 == 1)
