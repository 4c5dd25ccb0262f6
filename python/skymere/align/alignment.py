"""Alignment of exposures to each other or to a catalogue."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.align.finding import find_sources
from skymere.align.joint import fit_together
from skymere.align.matching import Fit, Positions, fit_positions, match_positions
from skymere.align.params import AlignParams
from skymere.align.plane import LinearMap, TangentPlane, corrected_wcs, footprint, pixel_scale
from skymere.align.registration import register
from skymere.align.selection import Region, exclude_sources
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, NoDataError
from skymere.wcs import wcs_cards

__all__ = ["Alignment", "align"]

_ERROR_FLOOR_PIX = 0.03


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """Where an exposure looks, and how that was found.

    Parameters
    ----------
    exposure_id, group : str
        The exposure, and the group that moved as one (its own name when there is none).
    status : {"reference", "aligned", "not aligned"}
        Whether the WCS was corrected; that of a reference stays.
    reason : str
        Why it is not aligned; empty otherwise.
    wcs : astropy.wcs.WCS, gwcs.WCS or CorrectedWcs
        The corrected WCS with the distortion of the old one; the old one when it is not aligned.
    parent : astropy.wcs.WCS or APE-14 object
        The WCS before.
    method, fitgeom, reference : str
        Method, geometry, and what defined the sky.
    plane : TangentPlane
        The plane of the correction.
    correction : LinearMap
        From where ``parent`` puts things to where they are.
    fit : Fit, optional
        Pairs and residuals of the group; None for a reference and where nothing was fitted.
    sources : polars.DataFrame
        The sources of the exposure, see `find_sources`.
    n_reference : int
        Sources of the reference.
    params : AlignParams
        Parameters of the alignment.
    """

    exposure_id: str
    group: str
    status: Literal["reference", "aligned", "not aligned"]
    wcs: Any
    parent: Any
    method: str
    fitgeom: str
    reference: str
    plane: TangentPlane
    correction: LinearMap
    sources: pl.DataFrame
    n_reference: int
    params: AlignParams
    fit: Fit | None = None
    reason: str = ""

    @property
    def is_aligned(self) -> bool:
        """Whether its WCS is in the frame of the reference."""
        return self.status != "not aligned"

    @property
    def shift_arcsec(self) -> tuple[float, float]:
        """How the correction moves the middle of the pairs to the east and north [arcsec]."""
        x, y = self.correction.shift
        return float(x), float(y)

    def apply(self, exposure: Exposure) -> Exposure:
        """Return an exposure with this WCS.

        Raises
        ------
        InvalidInputError
            When it is another exposure.
        """
        if exposure.exposure_id != self.exposure_id:
            msg = f"exposure: {exposure.exposure_id!r} is not allowed, the alignment is of {self.exposure_id!r}"
            raise InvalidInputError(msg)
        return replace(exposure, wcs=self.wcs)

    def row(self) -> dict[str, Any]:
        """Return the row of ``wcs_solution`` [arcsec, deg], without tile and run.

        ``wcs`` holds all of the coordinates, see `skymere.wcs.wcs_from_cards`.
        """
        text = json.dumps(wcs_cards(self.wcs), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        is_new = self.status == "aligned"
        row: dict[str, Any] = {
            "exposure_id": self.exposure_id,
            "solution_id": f"{'align' if is_new else 'header'}-{digest[:16]}",
            "status": "ok" if self.is_aligned else "rejected",
            "message": self.reason,
            "parent": f"header-{_digest(self.parent)[:16]}" if is_new else "",
            "method": "header" if not is_new else "image" if self.method == "pixels" else "catalogue",
            "fitgeom": self.fitgeom if self.fit else "",
            "reference": self.reference,
            "is_active": self.is_aligned,
            "n_sources": self.sources.height,
            "n_reference": self.n_reference,
            "wcs": text,
            "wcs_sha256": digest,
            "params": json.dumps(asdict(self.params), sort_keys=True, default=list),
        }
        if self.fit is None:
            return row
        (xx, xy), (yx, yy) = self.correction.matrix.tolist()
        x, y = self.shift_arcsec
        row |= {"shift_x": x, "shift_x_err": self.fit.shift_err[0], "shift_y": y, "shift_y_err": self.fit.shift_err[1]}
        row |= {"matrix_xx": xx, "matrix_xy": xy, "matrix_yx": yx, "matrix_yy": yy}
        row |= {"rotation": self.correction.rotation_deg, "scale": self.correction.scale}
        row |= {"rms_x": self.fit.rms[0], "rms_y": self.fit.rms[1], "rmse": float(np.hypot(*self.fit.rms))}
        return row | {"mae": self.fit.mae, "n_matches": self.fit.n_used}


def _digest(wcs: Any) -> str:
    return hashlib.sha256(json.dumps(wcs_cards(wcs), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Exposures that move as one."""

    name: str
    members: list[int]
    positions: Positions


def align(
    exposures: Sequence[Exposure],
    *,
    reference: pl.DataFrame | str | None = None,
    groups: Mapping[str, str] | None = None,
    sources: Mapping[str, pl.DataFrame] | None = None,
    exclusions: Mapping[str, Sequence[Region] | NDArray[np.bool_]] | None = None,
    params: AlignParams | None = None,
) -> list[Alignment]:
    """Return where exposures look, relative to one of them or to a catalogue; the exposures stay as they are.

    Parameters
    ----------
    exposures : sequence of Exposure
        What is aligned, with masks and errors.
    reference : polars.DataFrame or str, optional
        Catalogue with ``ra, dec`` [deg] and optionally ``ra_err`` (times cos dec) and ``dec_err`` [arcsec]; or the
        name of an exposure or group. When not given, the group with most sources on the others (with ``keep_order``:
        the first) is the reference.
    groups : mapping of str to str, optional
        Group of an exposure, such as the chips of one camera, which move as one; `Exposure.group` when not given.
    sources : mapping of str to polars.DataFrame, optional
        Sources of an exposure as `find_sources` gives them, at least ``x, y`` [pix]; found when not given.
    exclusions : mapping of str to regions, optional
        Where the sources of an exposure take no part, see `exclude_sources`.
    params : AlignParams, optional
        Search, match and fit.

    Returns
    -------
    list of Alignment
        One for each exposure, in their order.

    Raises
    ------
    InvalidInputError
        When there is no exposure, two have one name, or the reference is none of them.

    Notes
    -----
    Positions are compared in the tangent plane in the middle of the exposures. The offset is the peak of the histogram
    of all differences; then nearest neighbours that are mutual are fitted, and matched and fitted again until the
    pairs stay. With ``method="global"`` the maps of all groups are then solved for at once from all common sources;
    with ``method="pixels"`` each group is then registered on its pixels against a stack of the others.

    Examples
    --------
    >>> from skymere.align import align
    >>> [a.shift_arcsec for a in align(exposures)]  # doctest: +SKIP
    """
    params = params or AlignParams()
    _check_exposures(exposures)
    tables = [_sources(exposure, sources, params) for exposure in exposures]
    for i, exposure in enumerate(exposures):
        if exclusions is not None and exposure.exposure_id in exclusions:
            tables[i] = exclude_sources(tables[i], exclusions[exposure.exposure_id])
    corners = [footprint(exposure.wcs, exposure.shape) for exposure in exposures]
    plane = TangentPlane.around(*np.concatenate(corners).T)
    grouped = _groups(exposures, tables, plane, groups or {}, params)
    frame, name, first = _reference(reference, grouped, plane, exposures, params)
    fits = _one_by_one(grouped, frame, first, params)
    if params.method == "global":
        fits = _together(fits, grouped, frame if first is None else None, first, params)
    if params.method == "pixels":
        fits = _on_pixels(fits, grouped, first, exposures, tables, plane, params)
    out: dict[int, Alignment] = {}
    for group, fit in zip(grouped, fits, strict=True):
        for i in group.members:
            out[i] = _alignment(exposures[i], tables[i], group.name, fit, plane, name, len(frame), params)
    return [out[i] for i in range(len(exposures))]


_Result = Fit | str | None
"""The fit of a group, the reason why there is none, or None for a reference."""


def _alignment(
    exposure: Exposure,
    table: pl.DataFrame,
    group: str,
    fit: _Result,
    plane: TangentPlane,
    reference: str,
    n_reference: int,
    params: AlignParams,
) -> Alignment:
    correction = fit.map if isinstance(fit, Fit) else LinearMap.identity()
    return Alignment(
        exposure_id=exposure.exposure_id,
        group=group,
        status="aligned" if isinstance(fit, Fit) else "reference" if fit is None else "not aligned",
        reason=fit if isinstance(fit, str) else "",
        wcs=corrected_wcs(exposure.wcs, plane, correction) if isinstance(fit, Fit) else exposure.wcs,
        parent=exposure.wcs,
        method=params.method,
        fitgeom=params.fitgeom,
        reference=reference,
        plane=plane,
        correction=correction,
        fit=fit if isinstance(fit, Fit) else None,
        sources=table,
        n_reference=n_reference,
        params=params,
    )


def _check_exposures(exposures: Sequence[Exposure]) -> None:
    names = [exposure.exposure_id for exposure in exposures]
    if not names:
        msg = "exposures: at least one is needed"
        raise InvalidInputError(msg)
    if len(set(names)) < len(names):
        msg = f"exposures: {sorted(n for n in set(names) if names.count(n) > 1)} are there more than once"
        raise InvalidInputError(msg)


def _sources(exposure: Exposure, given: Mapping[str, pl.DataFrame] | None, params: AlignParams) -> pl.DataFrame:
    if given is None or exposure.exposure_id not in given:
        try:
            return find_sources(exposure.data, error=exposure.error, mask=exposure.mask(), params=params.find)
        except NoDataError:
            return pl.DataFrame(schema=dict.fromkeys(("x", "y", "x_err", "y_err", "flux"), pl.Float64))
    table = given[exposure.exposure_id]
    for column in ("x", "y"):
        if column not in table.columns:
            msg = f"sources: the table of {exposure.exposure_id} has no column {column!r}, only {table.columns}"
            raise InvalidInputError(msg)
    return table


def _groups(
    exposures: Sequence[Exposure],
    tables: Sequence[pl.DataFrame],
    plane: TangentPlane,
    groups: Mapping[str, str],
    params: AlignParams,
) -> list[_Group]:
    members: dict[str, list[int]] = {}
    for i, exposure in enumerate(exposures):
        members.setdefault(groups.get(exposure.exposure_id, exposure.group or exposure.exposure_id), []).append(i)
    out = []
    for name, indices in members.items():
        parts = [_positions(exposures[i], tables[i], plane, params) for i in indices]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined.join(part)
        out.append(_Group(name=name, members=indices, positions=joined))
    return out


def _positions(exposure: Exposure, table: pl.DataFrame, plane: TangentPlane, params: AlignParams) -> Positions:
    scale = pixel_scale(exposure.wcs, exposure.shape)
    floor = _ERROR_FLOOR_PIX * scale if params.error_floor_arcsec is None else params.error_floor_arcsec
    xy = plane.of_pixels(exposure.wcs, table["x"].to_numpy(), table["y"].to_numpy())
    errors = [table[name].to_numpy() * scale for name in ("x_err", "y_err") if name in table.columns]
    variance = np.mean(np.square(errors), axis=0) if errors else np.zeros(len(xy))
    return Positions(xy=xy, sigma=np.sqrt(variance + floor**2))


def _reference(
    reference: pl.DataFrame | str | None,
    groups: list[_Group],
    plane: TangentPlane,
    exposures: Sequence[Exposure],
    params: AlignParams,
) -> tuple[Positions, str, int | None]:
    """Return the positions that define the sky, their name, and the group that they are, if any."""
    if isinstance(reference, pl.DataFrame):
        return _catalogue(reference, plane), "catalogue", None
    if isinstance(reference, str):
        names = {exposures[i].exposure_id: k for k, group in enumerate(groups) for i in group.members}
        names |= {group.name: k for k, group in enumerate(groups)}
        if reference not in names:
            msg = f"reference: {reference!r} is not allowed, it must be one of {sorted(names)}"
            raise InvalidInputError(msg)
        first = names[reference]
    elif params.keep_order:
        first = 0
    else:
        first = int(np.argmax(_overlaps(groups).sum(axis=1)))
    return groups[first].positions, groups[first].name, first


def _catalogue(table: pl.DataFrame, plane: TangentPlane) -> Positions:
    for column in ("ra", "dec"):
        if column not in table.columns:
            msg = f"reference: the catalogue has no column {column!r}, only {table.columns}"
            raise InvalidInputError(msg)
    xy = plane.of_sky(table["ra"].to_numpy(), table["dec"].to_numpy())
    errors = [table[name].to_numpy() for name in ("ra_err", "dec_err") if name in table.columns]
    variance = np.mean(np.square(errors), axis=0) if errors else np.zeros(len(xy))
    return Positions(xy=xy, sigma=np.sqrt(np.maximum(np.nan_to_num(variance), 1e-12)))


def _overlaps(groups: list[_Group]) -> NDArray[np.int64]:
    """Return how many sources of each group lie in the box of each other."""
    n = np.zeros((len(groups), len(groups)), np.int64)
    for i, mine in enumerate(groups):
        for j, other in enumerate(groups):
            if i != j and len(mine.positions) and len(other.positions):
                n[i, j] = _inside(mine.positions, other.positions).sum()
    return n


def _inside(some: Positions, others: Positions) -> NDArray[np.bool_]:
    low, high = others.xy.min(axis=0), others.xy.max(axis=0)
    return np.asarray(((some.xy >= low) & (some.xy <= high)).all(axis=1))


def _one_by_one(groups: list[_Group], frame: Positions, first: int | None, params: AlignParams) -> list[_Result]:
    """Align each group to the reference, which grows when it is expanded."""
    fits: list[_Result] = [None] * len(groups)
    waiting = [k for k in range(len(groups)) if k != first]
    while waiting:
        if params.keep_order:
            k = waiting[0]
        else:
            k = max(waiting, key=lambda k: (_inside(groups[k].positions, frame).sum() if len(frame) else 0, -k))
        waiting.remove(k)
        mine = groups[k].positions
        try:
            fit = fit_positions(mine, frame, params)
        except NoDataError as reason:
            fits[k] = str(reason) if len(mine) else "no source was found"
            continue
        fits[k] = fit
        if params.expand_reference or params.method == "global":
            moved = mine.mapped(fit.map)
            is_known = np.zeros(len(mine), bool)
            is_known[match_positions(moved, frame, radius_arcsec=params.tolerance_arcsec)[:, 0]] = True
            frame = frame.join(moved.where(~is_known))
    return fits


def _together(
    fits: list[_Result], groups: list[_Group], catalogue: Positions | None, first: int | None, params: AlignParams
) -> list[_Result]:
    """Fit all aligned groups at once; the map of the reference group, if any, stays."""
    aligned = [k for k, fit in enumerate(fits) if not isinstance(fit, str)]
    maps = [fit.map if isinstance(fit := fits[k], Fit) else LinearMap.identity() for k in aligned]
    anchor = None if first is None else aligned.index(first)
    positions = [groups[k].positions for k in aligned]
    joint = fit_together(positions, maps, catalogue=catalogue, anchor=anchor, params=params)
    out = list(fits)
    for k, fit in zip(aligned, joint, strict=True):
        if k != first:
            enough = fit.n_used >= params.min_matches
            out[k] = fit if enough else f"{fit.n_used} sources are common, {params.min_matches} are needed"
    return out


def _on_pixels(
    fits: list[_Result],
    groups: list[_Group],
    first: int | None,
    exposures: Sequence[Exposure],
    tables: Sequence[pl.DataFrame],
    plane: TangentPlane,
    params: AlignParams,
) -> list[_Result]:
    """Register all aligned groups on their pixels; the map of the reference group, if any, stays."""
    aligned = [k for k, fit in enumerate(fits) if not isinstance(fit, str)]
    if len(aligned) < 2:
        return fits
    found = register(
        exposures,
        tables,
        [groups[k].members for k in aligned],
        [fit if isinstance(fit := fits[k], Fit) else None for k in aligned],
        [groups[k].positions for k in aligned],
        anchor=None if first is None else aligned.index(first),
        plane=plane,
        params=params,
    )
    out = list(fits)
    for k, fit in zip(aligned, found, strict=True):
        out[k] = fit
    return out
