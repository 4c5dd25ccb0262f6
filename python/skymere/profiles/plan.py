"""What is asked of the sources of a scene, and what the table keeps of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skymere._arrays import as_mask
from skymere.errors import InvalidInputError
from skymere.profiles.component import Component, Kind, asked_rows, names_of, sky_of
from skymere.profiles.fit import FitParams
from skymere.profiles.table import PARAMETERS

__all__ = ["SourcePlan", "component_of", "groups_of", "plan_words", "sky_component", "start_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SourcePlan:
    """What `fit_scene` does with one source that is not fitted like the others.

    Parameters
    ----------
    label : int
        Its label.
    components : sequence of Component
        What is fitted, with places on the image; a sky among them is that of the group.
    is_held : bool
        Whether its model is subtracted as the starts say, and not fitted.
    neighbours : sequence of int or None
        Labels of the sources that are fitted together with it; None for those that lie on its stamp.
    mask : array_like, bool, shape (ny, nx), optional
        More pixels that its group does not use.

    Raises
    ------
    InvalidInputError
        When nothing is to be fitted, or a start of a source that is held is missing.
    """

    label: int
    components: Sequence[Component] = (Component(),)
    is_held: bool = False
    neighbours: Sequence[int] | None = None
    mask: ArrayLike | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", tuple(self.components))
        if all(one.is_sky for one in self.components):
            kinds = [one.kind for one in self.components]
            msg = f"components: {kinds} of label {self.label} are not allowed, it needs a source"
            raise InvalidInputError(msg)
        for one in self.components if self.is_held else ():
            missing = [name for name in one.names if name not in one.start]
            if missing:
                msg = f"components: {', '.join(missing)} of label {self.label} is missing, which is to be held"
                raise InvalidInputError(msg)


def groups_of(plans: Sequence[SourcePlan]) -> dict[int, int]:
    """Return numbers of the groups that were asked for, by labels: lists with a label in common are one group.

    Parameters
    ----------
    plans : sequence of SourcePlan
        Some of which name their neighbours.
    """
    sets: list[set[int]] = []
    for plan in plans:
        if plan.neighbours is None or plan.is_held:
            continue
        own = {plan.label, *(int(label) for label in plan.neighbours)}
        apart = [one for one in sets if not one & own]
        sets = [*apart, own.union(*(one for one in sets if one & own))]
    return {label: number for number, one in enumerate(sorted(sets, key=min), start=1) for label in one}


def plan_words(
    plans: Sequence[SourcePlan], params: FitParams, unit: float, shape: tuple[int, int], labels: set[int]
) -> list[dict[str, Any]]:
    """Return plans as the kernel takes them.

    Parameters
    ----------
    plans : sequence of SourcePlan
        One for a label.
    params : FitParams
        Bounds that components do not have themselves.
    unit : float
        Unit of the data of the kernel.
    shape : tuple of int
        Of the image.
    labels : set of int
        Those that there are.

    Raises
    ------
    InvalidInputError
        When a label is unknown or has two plans, a neighbour is held, or a mask has another shape.
    """
    known = {plan.label: plan for plan in plans}
    if len(known) < len(plans):
        msg = f"sources: labels {sorted(plan.label for plan in plans)} are not allowed, each may be there once"
        raise InvalidInputError(msg)
    together = groups_of(plans)
    for label in {*known, *together} - labels:
        msg = f"sources: label {label} is not allowed, no pixel of the labels has it"
        raise InvalidInputError(msg)
    wrong = [label for label in together if label in known and known[label].is_held]
    if wrong:
        msg = f"sources: neighbours {wrong} are not allowed, they are held"
        raise InvalidInputError(msg)
    everywhere = [SourcePlan(label=label) for label in together if label not in known]
    return [_words(plan, params, unit, shape, together.get(plan.label)) for plan in [*plans, *everywhere]]


def _words(
    plan: SourcePlan, params: FitParams, unit: float, shape: tuple[int, int], together: int | None
) -> dict[str, Any]:
    defaults = params.bounds()
    if plan.is_held:
        # What is held stays where it is, wherever that is.
        anything = (-np.inf, np.inf)
        defaults = {"r_eff_pix": (1e-9, np.inf), "sersic_index": (0.1, 10.0), "beta": (1.1, 20.0)}
        defaults |= {"flux": anything, "pa": anything}
        defaults["ellipticity"] = (0.0, 1.0)
    sky = sky_of(plan.components, params.sky, unit)
    return {
        "label": int(plan.label),
        "asked": asked_rows(plan.components, defaults, unit),
        "start_sky": float("nan") if sky is None else sky[0],
        "sky": None if sky is None else sky[1],
        "is_held": plan.is_held,
        "together": together,
        "mask": None if plan.mask is None else as_mask(plan.mask, "mask", shape=shape),
    }


def start_of(
    one: Component, start: Mapping[str, float], params: FitParams, *, is_held: bool, sky: Component | None = None
) -> str:
    """Return start values, bounds and fixed parameters of a component as JSON.

    Parameters
    ----------
    one : Component
        What was asked.
    start : mapping of float
        Where its parameters started, by the names of the columns `x` to `sky_slope_y`.
    params : FitParams
        Bounds that it did not have itself.
    is_held : bool
        Whether all stayed.
    sky : Component, optional
        The sky that was asked for with it.

    Notes
    -----
    The keys are ``kind start bounds fixed centre_of is_held sky`` (the level where it started, and what was asked of
    it), and ``reach_pix`` where the centre was free to move so far from the start. Numbers that are not finite are
    null.
    """
    # A fit that failed began nowhere: what was asked is what is known.
    columns = {"beta" if name == "sersic_index" and one.kind == "moffat" else name: name for name in PARAMETERS}
    names = names_of(one.kind)
    bounds = {name: bound for name, bound in params.bounds().items() if name in names} | dict(one.bounds)
    fixed = list(names) if is_held else list(one.fixed)
    said: dict[str, Any] = {
        "kind": one.kind,
        "start": {name: _number(_known(start[columns[name]], one.start.get(name))) for name in names},
        "bounds": {name: [_number(v) for v in bound] for name, bound in bounds.items() if name not in fixed},
        "fixed": fixed,
        "centre_of": one.centre_of,
        "is_held": is_held,
        "sky": {
            "start": _number(start["sky"]),
            "kind": None if sky is None else sky.kind,
            "bounds": {} if sky is None else {name: [_number(v) for v in pair] for name, pair in sky.bounds.items()},
            "fixed": [] if sky is None else list(sky.fixed),
        },
    }
    if "x" not in one.bounds and one.centre_of is None and not is_held:
        said["reach_pix"] = params.reach_pix
    return json.dumps(said)


def component_of(said: Mapping[str, Any], row: Mapping[str, Any]) -> Component:
    """Return the component that goes on from a row of the table: its result is the start, its bounds stay.

    Parameters
    ----------
    said : mapping
        The row's ``start``, read.
    row : mapping
        The row.
    """
    kind = said["kind"]
    names = names_of(kind) if said["centre_of"] is None else names_of(kind)[2:]
    result = {name: row[name] for name in names if row[name] is not None and np.isfinite(row[name])}
    fixed = [] if said["is_held"] else said["fixed"]
    # What failed has no result: it stays where it was held.
    result |= {name: said["start"][name] for name in fixed if name not in result and said["start"][name] is not None}
    fixed = [name for name in fixed if name in result]
    return Component(kind=kind, start=result, bounds=_pairs(said["bounds"]), fixed=fixed, centre_of=said["centre_of"])


def sky_component(said: Mapping[str, Any], row: Mapping[str, Any], params: FitParams) -> Component:
    """Return the sky that goes on from a row of the table.

    Parameters
    ----------
    said : mapping
        The row's ``start``, read.
    row : mapping
        The row.
    params : FitParams
        Bounds where none was asked for.
    """
    sky = said["sky"]
    if sky["kind"] is None:
        is_flat = params.sky_slope == (0.0, 0.0)
        kind: Kind = "sky" if is_flat else "tilted_sky"
        bounds: dict[str, tuple[float, float]] = {"sky": params.sky}
        fixed: list[str] = []
        if not is_flat:
            bounds |= {"sky_slope_x": params.sky_slope, "sky_slope_y": params.sky_slope}
    else:
        kind, bounds, fixed = sky["kind"], _pairs(sky["bounds"]), sky["fixed"]
    names = names_of(kind)
    start = {name: row[name] for name in names if row[name] is not None and np.isfinite(row[name])}
    return Component(kind=kind, start=start, bounds=bounds, fixed=[name for name in fixed if name in start])


def _pairs(bounds: Mapping[str, Sequence[float | None]]) -> dict[str, tuple[float, float]]:
    return {
        name: (-np.inf if low is None else low, np.inf if high is None else high)
        for name, (low, high) in bounds.items()
    }


def _known(value: float, otherwise: float | None) -> float:
    return value if np.isfinite(value) or otherwise is None else otherwise


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
