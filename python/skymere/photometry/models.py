"""Models of sources on the sky, and what they are on the pixels of a band."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.wcs import Grid, map_ellipses, pixel_jacobian

__all__ = ["Models", "Parts", "models_of", "pixel_ellipses", "pixel_rows", "with_moffat_beta", "with_points"]

_KINDS = ("sersic", "exponential", "de_vaucouleurs", "gaussian", "moffat", "point", "external")
_SHAPE = ("r_eff", "sersic_index", "ellipticity", "pa_sky")
_FIXED_INDEX = {"exponential": 1.0, "de_vaucouleurs": 4.0, "gaussian": 0.5}
# Numbers of the families of the kernel.
_SERSIC, _MOFFAT = 0.0, 1.0
# Sources with a smaller half-light radius are points [pix]: the kernel's points no longer resolve them, and a template
# differs by less than 3e-3 of its peak.
_POINT_PIX = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Components of sources, one for most of them, as columns."""

    owner: NDArray[np.int64]
    """Row of the source."""
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    kind: NDArray[np.str_]
    light: NDArray[np.float64]
    """Part of the source's light."""
    shape: NDArray[np.float64]
    """Rows ``(r_eff [arcsec], sersic_index, ellipticity, pa_sky [deg])``, of a Moffat profile with its exponent in the
    place of the index; NaN for points and external models."""
    shape_error: NDArray[np.float64]
    """1 sigma of the shape; NaN where it is not known."""

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_], owner: NDArray[np.int64]) -> "Parts":
        """Return some of the components, with other owners."""
        return Parts(
            owner=owner,
            ra=self.ra[rows],
            dec=self.dec[rows],
            kind=self.kind[rows],
            light=self.light[rows],
            shape=self.shape[rows],
            shape_error=self.shape_error[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """Models as columns; ``message`` says why a source cannot be drawn, and is empty for all others."""

    source_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    main: NDArray[np.int64]
    """Row of the component that has most of the light."""
    parts: Parts
    message: list[str]

    def __len__(self) -> int:
        return int(self.source_id.size)

    @property
    def is_drawn(self) -> NDArray[np.bool_]:
        """Sources without a message."""
        return np.array([not text for text in self.message], bool)

    @property
    def kind(self) -> NDArray[np.str_]:
        """Kind of the main component of each source."""
        return self.parts.kind[self.main]

    @property
    def shape(self) -> NDArray[np.float64]:
        """Shape of the main component of each source."""
        return self.parts.shape[self.main]

    def take(self, rows: NDArray[np.int64]) -> "Models":
        """Return some of the models."""
        to = np.full(len(self), -1)
        to[rows] = np.arange(rows.size)
        kept = np.flatnonzero(to[self.parts.owner] >= 0)
        place = np.full(self.parts.owner.size, -1)
        place[kept] = np.arange(kept.size)
        return Models(
            source_id=self.source_id[rows],
            ra=self.ra[rows],
            dec=self.dec[rows],
            main=place[self.main[rows]],
            parts=self.parts.take(kept, to[self.parts.owner[kept]]),
            message=[self.message[i] for i in rows],
        )


def models_of(table: pl.DataFrame, external: frozenset[int]) -> Models:
    """Return a checked table of models.

    Raises
    ------
    InvalidInputError
        When a column is missing, an identifier comes twice without components, or an external model belongs to no
        source.
    """
    table = with_moffat_beta(table)
    kinds = set(table["kind"].unique().to_list()) if "kind" in table.columns else {"sersic"}
    needed = ["source_id", "ra", "dec", *(_SHAPE if kinds - {"point", "external"} else ())]
    missing = [
        name for name in needed if name not in table.columns and not (name == "sersic_index" and "sersic" not in kinds)
    ]
    if missing:
        msg = f"models: columns {', '.join(missing)} are missing; there are {', '.join(table.columns) or 'none'}"
        raise InvalidInputError(msg)
    kind_of_id = table["source_id"].dtype
    if table.height and (not kind_of_id.is_integer() or table["source_id"].null_count()):
        msg = f"models: source_id of type {kind_of_id} is not allowed, it must be whole numbers without nulls"
        raise InvalidInputError(msg)
    ids = table["source_id"].cast(pl.Int64).to_numpy()
    _check_components(table, ids)
    unknown = external - set(ids.tolist())
    if unknown:
        msg = f"external: source_id {min(unknown)} is not in models"
        raise InvalidInputError(msg)
    # Sources come in the order of their first rows.
    source_id, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    owner = rank[inverse].astype(np.int64)
    parts, message = _parts(table, ids, owner, external)
    main, ra, dec = _middles(parts, order.size)
    return Models(source_id=source_id[order], ra=ra, dec=dec, main=main, parts=parts, message=message)


def with_moffat_beta(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose exponents of Moffat profiles are named as in the lake, where a fit names them ``beta``."""
    for old, new in (("beta", "moffat_beta"), ("beta_err", "moffat_beta_err")):
        if old in table.columns:
            known = pl.coalesce(new, old) if new in table.columns else pl.col(old)
            table = table.with_columns(known.alias(new)).drop(old)
    return table


def _check_components(table: pl.DataFrame, ids: NDArray[np.int64]) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if not (counts > 1).any():
        return
    one = values[counts > 1][0]
    if "component" not in table.columns:
        msg = f"models: source_id {one} comes more than once, each must be there once; components need a component"
        raise InvalidInputError(msg)
    if "flux" not in table.columns:
        msg = f"models: columns flux are missing, the components of source_id {one} need their relative light"
        raise InvalidInputError(msg)
    twice = table.filter(table.select("source_id", "component").is_duplicated())
    if twice.height:
        row = twice.row(0, named=True)
        msg = (
            f"models: component {row['component']} of source_id {row['source_id']} comes more than once, each must be "
            "there once"
        )
        raise InvalidInputError(msg)


def _parts(
    table: pl.DataFrame, ids: NDArray[np.int64], owner: NDArray[np.int64], external: frozenset[int]
) -> tuple[Parts, list[str]]:
    """Return the components, and for each source why it cannot be drawn."""
    kind = np.full(ids.size, "sersic")
    if "kind" in table.columns:
        kind = table["kind"].cast(pl.String).fill_null("null").to_numpy().astype(np.str_)
    kind = np.where(np.isin(ids, list(external)), "external", kind)
    shape, shape_error = np.full((ids.size, 4), np.nan), np.full((ids.size, 4), np.nan)
    for i, name in enumerate(_SHAPE):
        shape[:, i] = _floats(table, name)
        shape_error[:, i] = _floats(table, f"{name}_err")
    for name, index in _FIXED_INDEX.items():
        shape[kind == name, 1] = index
        shape_error[kind == name, 1] = 0.0
    is_moffat = kind == "moffat"
    shape[is_moffat, 1] = _floats(table, "moffat_beta")[is_moffat]
    shape_error[is_moffat, 1] = _floats(table, "moffat_beta_err")[is_moffat]
    ra, dec = _floats(table, "ra"), _floats(table, "dec")
    is_one_of_several = np.bincount(owner)[owner] > 1 if ids.size else np.zeros(0, bool)
    light = np.ones(ids.size)
    if is_one_of_several.any():
        light = np.where(is_one_of_several, _floats(table, "flux"), 1.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            light = light / np.bincount(owner, weights=light)[owner]
    of_part = _messages(ra, dec, kind, shape, external, ids)
    for i in np.flatnonzero(is_one_of_several).tolist():
        if not np.isfinite(light[i]):
            of_part[i] = "flux: components need finite light with a sum that is not 0"
        elif kind[i] == "external":
            of_part[i] = "kind: external is not allowed for a source of several components"
        if of_part[i]:
            of_part[i] = f"component {table['component'][i]}: {of_part[i]}"
    message = [""] * (int(owner.max()) + 1 if owner.size else 0)
    for row, text in zip(owner.tolist(), of_part, strict=True):
        message[row] = message[row] or text
    parts = Parts(owner=owner, ra=ra, dec=dec, kind=kind, light=light, shape=shape, shape_error=shape_error)
    return parts, message


def _floats(table: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """Return a column, NaN where it is null or absent."""
    if name not in table.columns:
        return np.full(table.height, np.nan)
    return np.asarray(table[name].cast(pl.Float64).fill_null(np.nan).to_numpy(), np.float64)


def _middles(parts: Parts, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the row of the main component and the mean place of the light of each source."""
    order = np.lexsort((-np.nan_to_num(parts.light), parts.owner))
    main = order[np.searchsorted(parts.owner[order], np.arange(n))] if n else np.zeros(0, np.int64)
    ra, dec = parts.ra[main], parts.dec[main]
    if n < parts.owner.size:
        # From the main one on, so that nothing happens at 360 degrees; a mean of several only.
        off = (parts.ra - ra[parts.owner] + 180.0) % 360.0 - 180.0, parts.dec - dec[parts.owner]
        several = np.bincount(parts.owner, minlength=n) > 1
        for place, distance in zip((ra, dec), off, strict=True):
            # Light that is not finite is that of sources that are not drawn.
            mean = np.bincount(
                parts.owner, weights=np.nan_to_num(parts.light, posinf=0.0, neginf=0.0) * distance, minlength=n
            )
            place[several] += mean[several]
    return main.astype(np.int64), ra, dec


def with_points(models: Models, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> Models:
    """Return models with points at more places, which have numbers after the largest one."""
    n, m, k = ra.size, len(models), models.parts.owner.size
    old, unknown = models.parts, np.full((n, 4), np.nan)
    last = int(models.source_id.max(initial=0))
    return Models(
        source_id=np.concatenate([models.source_id, last + 1 + np.arange(n)]),
        ra=np.concatenate([models.ra, ra]),
        dec=np.concatenate([models.dec, dec]),
        main=np.concatenate([models.main, k + np.arange(n)]),
        parts=Parts(
            owner=np.concatenate([old.owner, m + np.arange(n)]),
            ra=np.concatenate([old.ra, ra]),
            dec=np.concatenate([old.dec, dec]),
            kind=np.concatenate([old.kind, np.full(n, "point")]),
            light=np.concatenate([old.light, np.ones(n)]),
            shape=np.concatenate([old.shape, unknown]),
            shape_error=np.concatenate([old.shape_error, unknown]),
        ),
        message=[*models.message, *[""] * n],
    )


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
    profile, moffat = ~np.isin(kind, ("point", "external")), kind == "moffat"
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
            (profile & ~moffat & ~((n >= 0.1) & (n <= 10)), "sersic_index", n, "from 0.1 to 10"),
            (moffat & ~((n >= 1.1) & (n <= 20)), "moffat_beta", n, "from 1.1 to 20"),
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
        Rows ``(r_eff [arcsec], sersic_index or moffat_beta, ellipticity, pa_sky [deg])``.
    local : ndarray, float64, shape (n, 2, 2)
        Derivatives of ``(x, y)`` by ``(east, north)`` [pix / arcsec].
    """
    r_eff, n, ellipticity, pa = shape.T
    # From east towards north.
    angle = np.pi / 2 - np.deg2rad(pa)
    major, axis_ratio, theta = map_ellipses(local, r_eff, 1 - ellipticity, angle)
    return np.stack([major, n, axis_ratio, theta], axis=-1)


def pixel_rows(models: Models, grid: Grid, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return kernel rows ``(family, x, y, flux, r_e, n, q, theta)`` of components, NaN places for what is not drawn.

    Parameters
    ----------
    models : Models
        Sources on the sky.
    grid : Grid
        Of the band.
    shift : ndarray, float64, shape (n, 2)
        How far the band's sources lie from the models' positions, to the east and north [arcsec].
    """
    parts = models.parts
    rows = np.full((parts.owner.size, 8), np.nan)
    rows[:, 0], rows[:, 3] = _SERSIC, parts.light
    rows[:, 4:] = (0.0, 1.0, 1.0, 0.0)
    drawn = models.is_drawn[parts.owner]
    if not drawn.any():
        return rows
    ra, dec = parts.ra[drawn], parts.dec[drawn]
    local = pixel_jacobian(grid, ra, dec)
    move = np.einsum("nij,nj->ni", local, shift[parts.owner[drawn]])
    x, y = grid.pixels(ra, dec)
    rows[drawn, 1], rows[drawn, 2] = x + move[:, 0], y + move[:, 1]
    profile = ~np.isin(parts.kind[drawn], ("point", "external"))
    with np.errstate(invalid="ignore"):
        ellipses = pixel_ellipses(parts.shape[drawn], local)
        profile &= ellipses[:, 0] >= _POINT_PIX
    which = np.flatnonzero(drawn)[profile]
    rows[which, 4:] = ellipses[profile]
    rows[which, 0] = np.where(parts.kind[which] == "moffat", _MOFFAT, _SERSIC)
    rows[~np.isfinite(rows).all(axis=1), 1:3] = np.nan
    # The kernel draws what lies on the image; external models are put in by their stamps.
    rows[parts.kind == "external", 1:3] = np.nan
    return rows
