"""Models of sources on the sky, and what they are on the pixels of a band."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.photometry.band import jacobian
from skymere.wcs import Grid

__all__ = ["Models", "models_of", "pixel_ellipses"]

_KINDS = ("sersic", "exponential", "gaussian", "point", "external")
_SHAPE = ("r_eff", "sersic_index", "ellipticity", "pa_sky")
_FIXED_INDEX = {"exponential": 1.0, "gaussian": 0.5}
# Sources with a smaller half-light radius are points [pix]: the kernel's points no longer resolve them, and a template
# differs by less than 3e-3 of its peak.
_POINT_PIX = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """Models as columns; ``message`` says why a source cannot be drawn, and is empty for all others."""

    source_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    kind: NDArray[np.str_]
    shape: NDArray[np.float64]
    """Rows ``(r_eff [arcsec], sersic_index, ellipticity, pa_sky [deg])``; NaN for points and external models."""
    shape_error: NDArray[np.float64]
    """1 sigma of the shape; NaN where it is not known."""
    message: list[str]

    def __len__(self) -> int:
        return int(self.source_id.size)

    def take(self, rows: NDArray[np.int64]) -> "Models":
        """Return some of the models."""
        return Models(
            source_id=self.source_id[rows],
            ra=self.ra[rows],
            dec=self.dec[rows],
            kind=self.kind[rows],
            shape=self.shape[rows],
            shape_error=self.shape_error[rows],
            message=[self.message[i] for i in rows],
        )


def models_of(table: pl.DataFrame, external: frozenset[int]) -> Models:
    """Return a checked table of models.

    Raises
    ------
    InvalidInputError
        When a column is missing, an identifier comes twice or an external model belongs to no source.
    """
    if table.height == 0:
        msg = "models: 0 rows are not allowed, at least one source is needed"
        raise InvalidInputError(msg)
    kinds = set(table["kind"].unique().to_list()) if "kind" in table.columns else {"sersic"}
    needed = ["source_id", "ra", "dec", *(_SHAPE if kinds - {"point", "external"} else ())]
    missing = [
        name for name in needed if name not in table.columns and not (name == "sersic_index" and "sersic" not in kinds)
    ]
    if missing:
        msg = f"models: columns {', '.join(missing)} are missing; there are {', '.join(table.columns)}"
        raise InvalidInputError(msg)
    kind_of_id = table["source_id"].dtype
    if not kind_of_id.is_integer() or table["source_id"].null_count():
        msg = f"models: source_id of type {kind_of_id} is not allowed, it must be whole numbers without nulls"
        raise InvalidInputError(msg)
    ids = table["source_id"].to_numpy().astype(np.int64)
    if np.unique(ids).size != ids.size:
        values, counts = np.unique(ids, return_counts=True)
        msg = f"models: source_id {values[counts > 1][0]} comes more than once, each must be there once"
        raise InvalidInputError(msg)
    unknown = external - set(ids.tolist())
    if unknown:
        msg = f"external: source_id {min(unknown)} is not in models"
        raise InvalidInputError(msg)
    kind = table["kind"].to_numpy().astype(np.str_) if "kind" in table.columns else np.full(ids.size, "sersic")
    kind = np.where(np.isin(ids, list(external)), "external", kind)
    shape = np.full((ids.size, 4), np.nan)
    shape_error = np.full((ids.size, 4), np.nan)
    for i, name in enumerate(_SHAPE):
        if name in table.columns:
            shape[:, i] = table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        if f"{name}_err" in table.columns:
            shape_error[:, i] = table[f"{name}_err"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    for name, index in _FIXED_INDEX.items():
        shape[kind == name, 1] = index
        shape_error[kind == name, 1] = 0.0
    ra, dec = (table[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("ra", "dec"))
    message = _messages(ra, dec, kind, shape, external, ids)
    return Models(source_id=ids, ra=ra, dec=dec, kind=kind, shape=shape, shape_error=shape_error, message=message)


def _messages(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    kind: NDArray[np.str_],
    shape: NDArray[np.float64],
    external: frozenset[int],
    ids: NDArray[np.int64],
) -> list[str]:
    message = [""] * ids.size
    r_eff, n, ellipticity, pa = shape.T
    profile = ~np.isin(kind, ("point", "external"))
    with np.errstate(invalid="ignore"):
        rules = [
            (
                ~np.isfinite(ra) | ~(np.abs(dec) <= 90),
                "ra, dec",
                np.char.add(ra.astype(str), " ..."),
                "a place on the sky",
            ),
            (~np.isin(kind, _KINDS), "kind", kind, f"one of {', '.join(_KINDS)}"),
            (profile & ~((r_eff > 0) & (r_eff < np.inf)), "r_eff", r_eff, "positive"),
            (profile & ~((n >= 0.1) & (n <= 10)), "sersic_index", n, "from 0.1 to 10"),
            (profile & ~((ellipticity >= 0) & (ellipticity < 1)), "ellipticity", ellipticity, "at least 0 and below 1"),
            (profile & ~np.isfinite(pa), "pa_sky", pa, "finite"),
        ]
    for bad, name, values, rule in rules:
        for i in np.flatnonzero(bad):
            message[i] = message[i] or f"{name}: {values[i]} is not allowed, it must be {rule}"
    for i in np.flatnonzero(kind == "external"):
        if int(ids[i]) not in external:
            message[i] = message[i] or "kind: external is not allowed without an external model"
    return message


def pixel_ellipses(shape: NDArray[np.float64], local: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(r_e [pix], n, q, theta [rad])`` of shapes on the sky, through local Jacobians.

    Parameters
    ----------
    shape : ndarray, float64, shape (n, 4)
        Rows ``(r_eff [arcsec], sersic_index, ellipticity, pa_sky [deg])``.
    local : ndarray, float64, shape (n, 2, 2)
        Derivatives of ``(x, y)`` by ``(east, north)`` [pix / arcsec].

    Notes
    -----
    With the Jacobian J and the axes ``a u`` and ``b v`` on the sky, the ellipse on the pixels has the matrix
    ``M = J (a^2 u u^T + b^2 v v^T) J^T``, whose eigenvalues are the squares of its axes.
    """
    r_eff, n, ellipticity, pa = shape.T
    sin, cos = np.sin(np.deg2rad(pa)), np.cos(np.deg2rad(pa))
    b = r_eff * (1 - ellipticity)
    axes = np.stack([np.stack([r_eff * sin, b * cos], axis=-1), np.stack([r_eff * cos, -b * sin], axis=-1)], axis=-2)
    on_pixels = local @ axes
    m = on_pixels @ np.swapaxes(on_pixels, -1, -2)
    half_sum, half_difference = (m[:, 0, 0] + m[:, 1, 1]) / 2, (m[:, 0, 0] - m[:, 1, 1]) / 2
    spread = np.hypot(half_difference, m[:, 0, 1])
    major = np.sqrt(half_sum + spread)
    minor = np.abs(np.linalg.det(on_pixels)) / major
    theta = 0.5 * np.arctan2(2 * m[:, 0, 1], 2 * half_difference)
    return np.stack([major, n, np.minimum(minor / major, 1.0), theta], axis=-1)


def pixel_rows(models: Models, grid: Grid, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return kernel rows ``(x, y, flux, r_e, n, q, theta)``, NaN places for what is not drawn.

    Parameters
    ----------
    models : Models
        Sources on the sky.
    grid : Grid
        Of the band.
    shift : ndarray, float64, shape (n, 2)
        How far the band's sources lie from the models' positions, to the east and north [arcsec].
    """
    rows = np.full((len(models), 7), np.nan)
    rows[:, 2:] = (1.0, 0.0, 1.0, 1.0, 0.0)
    drawn = np.array([not text for text in models.message], bool)
    if not drawn.any():
        return rows
    ra, dec = models.ra[drawn], models.dec[drawn]
    local = jacobian(grid, ra, dec)
    move = np.einsum("nij,nj->ni", local, shift[drawn])
    x, y = grid.pixels(ra, dec)
    rows[drawn, 0], rows[drawn, 1] = x + move[:, 0], y + move[:, 1]
    profile = ~np.isin(models.kind[drawn], ("point", "external"))
    with np.errstate(invalid="ignore"):
        ellipses = pixel_ellipses(models.shape[drawn], local)
        profile &= ellipses[:, 0] >= _POINT_PIX
    which = np.flatnonzero(drawn)[profile]
    rows[which, 3:] = ellipses[profile]
    rows[~np.isfinite(rows).all(axis=1), :2] = np.nan
    # The kernel draws what lies on the image; external models are put in by their stamps.
    rows[models.kind == "external", :2] = np.nan
    return rows
