"""Sources fitted again, with other starts, bounds, components, masks or neighbours; every attempt is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere.errors import InvalidInputError
from skymere.profiles.component import Bounds, Component, Kind
from skymere.profiles.pixels import ScaledPixels, scaled_pixels
from skymere.profiles.plan import SourcePlan, component_of, sky_component
from skymere.profiles.response import AnyPsf, Response, response_of
from skymere.profiles.scene import ORDER, SceneFit, SceneParams, as_segments, run_scene

__all__ = ["RefitEdit", "choose", "group_of", "refit"]

_KEYS = ("label", "attempt", "component")


@dataclass(frozen=True, kw_only=True, eq=False)
class RefitEdit:
    """What is changed of one source before it is fitted again; what is not given stays as it was.

    Parameters
    ----------
    label : int
        Its label.
    start : mapping of float, optional
        Parameters that start elsewhere than where the attempt before ended.
    bounds : mapping of tuple of float, optional
        Other bounds of some parameters.
    fixed : sequence of str or None
        The parameters that stay as they start, all of them; ``()`` frees all.
    component : int
        Number of the component that ``start``, ``bounds`` and ``fixed`` are for.
    kind : str or None
        Another kind for that component.
    components : sequence of Component or None
        Other components in place of all; the centre starts where the source was.
    neighbours : sequence of int or None
        Labels of the sources that are fitted with it; ``()`` for none. They are updated, too.
    mask : array_like, bool, shape (ny, nx), optional
        Pixels that its group does not use, in place of those before.
    attempt : int or None
        Attempt to start from; the best one when None.

    Raises
    ------
    InvalidInputError
        When components are given together with changes of one.
    """

    label: int
    start: Mapping[str, float] | None = None
    bounds: Mapping[str, Bounds] | None = None
    fixed: Sequence[str] | None = None
    component: int = 0
    kind: Kind | None = None
    components: Sequence[Component] | None = None
    neighbours: Sequence[int] | None = None
    mask: ArrayLike | None = None
    attempt: int | None = None

    def __post_init__(self) -> None:
        changes = (self.start, self.bounds, self.fixed, self.kind)
        if self.components is not None and any(one is not None for one in changes):
            msg = f"components: they are not allowed with start, bounds, fixed or kind of label {self.label}"
            raise InvalidInputError(msg)


def group_of(fit: SceneFit, label: int) -> list[int]:
    """Return the labels of the sources that were fitted together in the best attempt of one, the brightest first.

    Parameters
    ----------
    fit : SceneFit
        What was fitted.
    label : int
        One of its sources.

    Raises
    ------
    InvalidInputError
        When there is no such source.
    """
    rows = fit.table.filter((pl.col("label") == label) & pl.col("is_best"))
    if not rows.height:
        raise InvalidInputError(_unknown(fit, label))
    return [int(one) for one in rows["members"][0]]


def _unknown(fit: SceneFit, label: int) -> str:
    labels = fit.table["label"].unique().sort()
    span = f"{labels[0]} to {labels[-1]}" if len(labels) else "none"
    return f"label: {label} is not allowed, the fit has {len(labels)} sources, {span}"


def refit(
    fit: SceneFit,
    data: ArrayLike,
    error: ArrayLike,
    *,
    labels: ArrayLike,
    psf: AnyPsf,
    edits: Sequence[RefitEdit],
    psf_has_pixel: bool = True,
    mask: ArrayLike | None = None,
    params: SceneParams | None = None,
) -> SceneFit:
    """Fit some sources of a scene again, each with the others of its group, all other models subtracted as they are.

    Parameters
    ----------
    fit : SceneFit
        What was fitted before.
    data : array_like, float32, shape (ny, nx)
        The image, as in `fit_scene`.
    error : array_like, float32, shape (ny, nx), or float [unit of the data]
        1 sigma.
    labels : array_like, int32, shape (ny, nx)
        The segments, with the labels of the fit.
    psf : Psf, PsfGrid or array_like, float64, shape (py, px)
        Point-spread function, as in `fit_scene`.
    edits : sequence of RefitEdit
        What changes; several may be for components of one source.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    params : SceneParams, optional
        Stamps and when to stop; those of the fit when not given. Bounds are those of the attempts before.

    Returns
    -------
    SceneFit
        With the rows before and a new attempt for every source of the groups. It is the best one if it is ``ok``; else
        the one before stays. Model and residual are those of the best attempts.

    Raises
    ------
    InvalidInputError
        When shapes differ, a label or a component is unknown, or two edits are for the same one.

    Notes
    -----
    The sources of a group start from the results of their best attempts, and their bounds and fixed parameters are
    those of that attempt. Groups of several edits that have a source in common are one. Groups do not see what happens
    to each other, so the order of the edits does not matter.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.profiles import RefitEdit, fit_scene, refit, render_sersic
    >>> y, x = np.mgrid[-15:16, -15:16]
    >>> psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)
    >>> image = render_sersic((81, 80), x=40.3, y=39.8, flux=100.0, re=5.0, n=2.0, psf=psf)
    >>> labels = (image > 0.2).astype(np.int32)
    >>> first = fit_scene(image, 0.01, labels=labels, psf=psf)
    >>> edit = RefitEdit(label=1, start={"sersic_index": 4.0}, fixed=["sersic_index"])
    >>> second = refit(first, image, 0.01, labels=labels, psf=psf, edits=[edit])
    >>> second.table["sersic_index"].round(2).to_list(), second.table["is_best"].to_list()
    ([2.0, 4.0], [False, True])
    """
    params = params or fit.params
    pixels = scaled_pixels(data, error, n_dims=(2,), is_counts=params.fits.is_counts)
    segments = as_segments(labels, pixels.data.shape)
    changed = (set(np.unique(segments).tolist()) - {0}) ^ set(fit.table["label"].to_list())
    if changed:
        msg = f"labels: {sorted(changed)} are not allowed to come or go, labels must be those of the fit"
        raise InvalidInputError(msg)
    response = response_of(psf, has_pixel=psf_has_pixel, may_change=True)
    bases = _bases(fit, edits)
    groups = _groups(bases, edits)
    plans: list[SourcePlan] = []
    parents: dict[int, int] = {}
    masks: dict[int, NDArray[np.bool_]] = {}
    for label, rows in bases.items():
        members = next((one for one in groups if label in one), None)
        if members is None:
            held = held_plan(label, rows)
            plans += [] if held is None else [held]
            continue
        own = [edit for edit in edits if edit.label == label]
        parents[label] = int(rows[0]["attempt"])
        kept = fit.masks.get((label, parents[label]))
        given = [
            as_mask(edit.mask, "mask", shape=(segments.shape[0], segments.shape[1]))
            for edit in own
            if edit.mask is not None
        ]
        chosen = np.logical_or.reduce(given) if given else kept
        masks |= {} if chosen is None else {label: chosen}
        plans.append(
            SourcePlan(
                label=label,
                components=_with_sky(_edited(label, rows, own), rows, params),
                neighbours=sorted(members - {label}),
                mask=chosen,
            )
        )
    fitted = segments
    without = [label for label in bases if label not in {plan.label for plan in plans}]
    if without:
        # What failed has no model; its pixels stay masked in the groups of others.
        mask = _or(mask, np.isin(segments, without))
        fitted = np.where(np.isin(segments, without), 0, segments).astype(np.int32)
    table, model = run_scene(pixels, fitted, response, mask, plans, params)
    return _joined(fit, table, model, data, parents, masks, segments, response, params)


def _or(mask: ArrayLike | None, more: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if mask is None:
        return more
    given = np.asarray(mask, np.bool_)
    if given.shape != more.shape:
        msg = f"mask: shape {given.shape} is not allowed, it must be {more.shape}"
        raise InvalidInputError(msg)
    return given | more


def _bases(fit: SceneFit, edits: Sequence[RefitEdit]) -> dict[int, list[dict[str, Any]]]:
    """Return the rows that every source starts from: the best ones, or those that an edit names."""
    wanted: dict[int, int] = {}
    for edit in edits:
        if edit.attempt is not None and wanted.setdefault(edit.label, edit.attempt) != edit.attempt:
            msg = f"edits: attempts of label {edit.label} are not allowed, they must be one"
            raise InvalidInputError(msg)
    bases: dict[int, list[dict[str, Any]]] = {}
    for row in fit.table.drop("covariance").iter_rows(named=True):
        label = row["label"]
        if row["attempt"] == wanted[label] if label in wanted else row["is_best"]:
            bases.setdefault(label, []).append(row)
    for edit in edits:
        if edit.label not in bases:
            if edit.label in wanted and (fit.table["label"] == edit.label).any():
                msg = f"attempt: {edit.attempt} of label {edit.label} is not allowed, there is none"
                raise InvalidInputError(msg)
            raise InvalidInputError(_unknown(fit, edit.label))
        for label in edit.neighbours or ():
            if label not in bases:
                msg = f"neighbours: {_unknown(fit, label)}"
                raise InvalidInputError(msg)
    return bases


def _groups(bases: Mapping[int, list[dict[str, Any]]], edits: Sequence[RefitEdit]) -> list[set[int]]:
    groups: list[set[int]] = []
    for edit in edits:
        members = bases[edit.label][0]["members"] if edit.neighbours is None else edit.neighbours
        own = {edit.label, *(int(label) for label in members)}
        apart = [one for one in groups if not one & own]
        groups = [*apart, own.union(*(one for one in groups if one & own))]
    return groups


def _edited(label: int, rows: Sequence[dict[str, Any]], edits: Sequence[RefitEdit]) -> list[Component]:
    """Return the components of a source as the attempt before left them, with the changes."""
    before = [(row["component"], component_of(json.loads(row["start"]), row)) for row in rows]
    given = [edit.components for edit in edits if edit.components is not None]
    if len(given) > 1 or (given and any(edit.components is None for edit in edits)):
        msg = f"edits: {len(edits)} of label {label} are not allowed, components replace all others"
        raise InvalidInputError(msg)
    if given:
        centre = {name: before[0][1].start[name] for name in ("x", "y") if name in before[0][1].start}
        return [
            replace(one, start={name: v for name, v in centre.items() if name in one.names} | dict(one.start))
            for one in given[0]
        ]
    changed = dict(before)
    seen: set[int] = set()
    for edit in edits:
        if edit.component not in changed or edit.component in seen:
            known = sorted(changed)
            msg = f"component: {edit.component} of label {label} is not allowed, it must be one of {known}, once"
            raise InvalidInputError(msg)
        seen.add(edit.component)
        changed[edit.component] = _changed(changed[edit.component], edit)
    return _numbered(changed)


def _with_sky(parts: list[Component], rows: Sequence[dict[str, Any]], params: SceneParams) -> list[Component]:
    """Return components with the sky that goes on from before, where they have none."""
    if any(one.is_sky for one in parts):
        return parts
    return [*parts, sky_component(json.loads(rows[0]["start"]), rows[0], params.fits)]


def _changed(one: Component, edit: RefitEdit) -> Component:
    kind = edit.kind or one.kind
    allowed = Component(kind=kind, centre_of=one.centre_of).names
    start = {name: value for name, value in one.start.items() if name in allowed} | dict(edit.start or {})
    bounds = {name: pair for name, pair in one.bounds.items() if name in allowed} | dict(edit.bounds or {})
    fixed = [name for name in one.fixed if name in allowed] if edit.fixed is None else edit.fixed
    for name, (low, high) in (edit.bounds or {}).items():
        # Angles count modulo half a turn, and the fit moves them to the nearest bound itself.
        if name in start and name != "pa" and name not in (edit.start or {}):
            start[name] = float(np.clip(start[name], low, high))
    return Component(kind=kind, start=start, bounds=bounds, fixed=fixed, centre_of=one.centre_of)


def _numbered(parts: Mapping[int, Component]) -> list[Component]:
    """Return components without gaps in their numbers, which skies had left."""
    places = {number: i for i, number in enumerate(sorted(parts))}
    return [
        replace(parts[number], centre_of=None if (owner := parts[number].centre_of) is None else places[owner])
        for number in sorted(parts)
    ]


def held_plan(label: int, rows: Sequence[dict[str, Any]]) -> SourcePlan | None:
    """Return the plan that subtracts what rows of a table say; None when they failed."""
    if rows[0]["status"] != "ok":
        return None
    parts = {row["component"]: component_of(json.loads(row["start"]), row) for row in rows}
    parts = {number: replace(one, bounds={}, fixed=()) for number, one in parts.items()}
    return SourcePlan(label=label, components=_numbered(parts), is_held=True)


def _joined(
    fit: SceneFit,
    table: pl.DataFrame,
    model: NDArray[np.float32],
    data: ArrayLike,
    parents: Mapping[int, int],
    masks: Mapping[int, NDArray[np.bool_]],
    segments: NDArray[np.int32],
    response: Response,
    params: SceneParams,
) -> SceneFit:
    """Return the fit with the new attempts of the labels that have a parent."""
    if not parents:
        residual = np.asarray(data, np.float32) - model
        return replace(fit, model=model, residual=residual, labels=segments, response=response, params=params)
    last = dict(fit.table.group_by("label").agg(pl.col("attempt").max()).iter_rows())
    new = table.filter(pl.col("label").is_in(list(parents)))
    by_label = pl.col("label")
    new = new.with_columns(
        by_label.replace_strict({label: last[label] + 1 for label in parents}, return_dtype=pl.Int16).alias("attempt"),
        by_label.replace_strict(dict(parents), return_dtype=pl.Int16).alias("parent_attempt"),
        (pl.col("status") == "ok").alias("is_best"),
    ).select(ORDER)
    better = new.filter("is_best")["label"].unique().to_list()
    old = fit.table.with_columns(pl.col("is_best") & ~by_label.is_in(better))
    joined = pl.concat([old, new]).sort(_KEYS)
    found = SceneFit(
        table=joined,
        model=model,
        residual=np.asarray(data, np.float32) - model,
        labels=segments,
        response=response,
        params=params,
        masks={**fit.masks, **{(label, last[label] + 1): one for label, one in masks.items()}},
    )
    for label in set(parents) - set(better):
        found = _with_light(found, _light(found, label, None))
    return found


def choose(fit: SceneFit, label: int, attempt: int) -> SceneFit:
    """Return the fit with an older attempt of one source as its best one.

    Parameters
    ----------
    fit : SceneFit
        With several attempts.
    label : int
        The source; others of its group stay as they are.
    attempt : int
        Its attempt.

    Returns
    -------
    SceneFit
        With the model and the residual of that attempt.

    Raises
    ------
    InvalidInputError
        When there is no such source or attempt, or it failed.
    """
    group_of(fit, label)
    is_own = pl.col("label") == label
    chosen = fit.table.filter(is_own & (pl.col("attempt") == attempt))
    if not chosen.height:
        known = fit.table.filter(is_own)["attempt"].unique().sort().to_list()
        msg = f"attempt: {attempt} of label {label} is not allowed, it must be one of {known}"
        raise InvalidInputError(msg)
    if chosen["status"][0] != "ok":
        msg = f"attempt: {attempt} of label {label} is not allowed, it has no result: {chosen['message'][0]}"
        raise InvalidInputError(msg)
    light = _light(fit, label, attempt) - _light(fit, label, None)
    is_best = pl.when(is_own).then(pl.col("attempt") == attempt).otherwise(pl.col("is_best"))
    return replace(_with_light(fit, light), table=fit.table.with_columns(is_best=is_best))


def _light(fit: SceneFit, label: int, attempt: int | None) -> NDArray[np.float32]:
    """Return the model of one attempt of a source, the best one for None."""
    which = pl.col("is_best") if attempt is None else pl.col("attempt") == attempt
    rows = fit.table.filter((pl.col("label") == label) & which).drop("covariance")
    plan = held_plan(label, list(rows.iter_rows(named=True)))
    if plan is None:
        return np.zeros_like(fit.model)
    ones = np.ones(fit.labels.shape, np.float32)
    alone = np.where(fit.labels == label, fit.labels, 0).astype(np.int32)
    pixels = ScaledPixels(data=np.zeros_like(ones), variance=ones, unit=1.0)
    return run_scene(pixels, alone, fit.response, None, [plan], fit.params)[1]


def _with_light(fit: SceneFit, light: NDArray[np.float32]) -> SceneFit:
    return replace(fit, model=fit.model + light, residual=fit.residual - light)
