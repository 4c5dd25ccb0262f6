"""background: the sky of every exposure, found together with the exposures of its band that touch the same tile."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, NoDataError
from skymere.lake import Lake, Run
from skymere.mosaic import SkyParams, SkySolution, flag_static, require_connected, solve_sky
from skymere.pipeline.exposures import StoredExposures, exposure_inputs, usable_exposures
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task, as_params
from skymere.pipeline.tile_groups import TileGroup, retirements, tile_groups

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each band of each tile that exposures touch.

    Raises
    ------
    NoDataError
        When the exposures touch no tile.
    InvalidInputError
        When skies are given, and not for all exposures.
    """
    rows = usable_exposures(lake)
    groups = tile_groups(lake, rows)
    made = [_task(plan, lake, group, rows) for group in groups]
    return [*retirements(lake, "sky", [group.name for group in groups]), *made]


def _task(plan: Plan, lake: Lake, group: TileGroup, rows: pl.DataFrame) -> Task:
    # The chips of a file have one sky, so that those beside the tile are looked at, too.
    on_tile = pl.col("exposure_id").is_in(group.names)
    files = rows.filter(on_tile)["path"].unique().to_list()
    chips = rows.filter(pl.col("path").is_in(files), pl.col("band") == group.band)
    names = tuple(chips["exposure_id"].sort().to_list())
    params = _own(plan.background, names)
    return Task(
        tile=group.name,
        inputs=exposure_inputs(chips),
        params={
            "background": as_params(params),
            "static": as_params(plan.outliers.static),
            "ignore_dq": list(plan.outliers.ignore_dq),
            "exposures": list(group.names),
        },
        work=partial(_work, plan, params, lake, group, names),
    )


def _own(params: SkyParams, names: Sequence[str]) -> SkyParams:
    """Return the parameters with the skies of some exposures alone."""
    if params.method != "user":
        return params
    given = dict(params.user)
    missing = sorted(set(names) - set(given))
    if missing:
        msg = f"background.user: {missing} have no value, all exposures must have one with method 'user'"
        raise InvalidInputError(msg)
    return replace(params, user=tuple((name, given[name]) for name in names))


def _work(plan: Plan, params: SkyParams, lake: Lake, group: TileGroup, names: Sequence[str], run: Run) -> None:
    about = {"status": "ok", "message": "", "band": group.band, "method": params.method}
    about["params"] = json.dumps(as_params(params), sort_keys=True)
    skies, faults = _solved(plan, params, lake, names)
    rows = []
    for name in group.names:
        if name in faults:
            run.warn(f"{name}: {faults[name]}")
            rows.append(about | {"exposure_id": name, "status": "rejected", "message": faults[name]})
        else:
            rows.append(about | {"exposure_id": name, **skies[name]})
    run.count(n_items=len(rows), n_pixels=math.prod(lake.tiles[group.tile].grid.shape))
    run.publish(run.frame(rows))


def _solved(
    plan: Plan, params: SkyParams, lake: Lake, names: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the columns of exposures by name, and why others have no sky."""
    exposures = _prepared(plan, lake, names)
    faults: dict[str, str] = {}
    try:
        solution = solve_sky(exposures, params=params, ignore_dq=plan.outliers.ignore_dq)
    except NoDataError:
        faults = _faults(plan, params, exposures)
        names = [name for name in names if name not in faults]
        if not names:
            return {}, faults
        params = _own(params, names)
        exposures = _prepared(plan, lake, names)
        solution = solve_sky(exposures, params=params, ignore_dq=plan.outliers.ignore_dq)
    require_connected(solution, params=params)
    owner = {exposure.exposure_id: exposure.group or exposure.exposure_id for exposure in exposures}
    return _columns(solution, names, owner), faults


def _prepared(plan: Plan, lake: Lake, names: Iterable[str]) -> Sequence[Exposure]:
    return flag_static(StoredExposures(lake, names), params=plan.outliers.static)


def _faults(plan: Plan, params: SkyParams, exposures: Sequence[Exposure]) -> dict[str, str]:
    found = {}
    for exposure in exposures:
        try:
            solve_sky([exposure], params=SkyParams(pedestal=params.pedestal), ignore_dq=plan.outliers.ignore_dq)
        except NoDataError as error:
            found[exposure.exposure_id] = str(error)
    return found


def _columns(solution: SkySolution, names: Sequence[str], owner: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return level and overlaps of each exposure."""
    found: dict[str, dict[str, Any]] = {}
    is_matched = solution.method in ("match", "globalmin+match")
    for name, level in zip(names, solution.levels, strict=True):
        found[name] = {"sky": level, "n_exposures": len(names)}
        if not is_matched:
            continue
        mine = [pair for pair in solution.pairs if owner[name] in (pair.first, pair.second)]
        n_cells = sum(pair.n_cells for pair in mine)
        found[name] |= {"n_groups": solution.n_groups, "n_overlaps": len(mine), "n_cells": n_cells}
        if n_cells:
            squares = sum(pair.n_cells * pair.residual**2 for pair in mine)
            found[name]["residual"] = float(np.sqrt(squares / n_cells))
    return found


STAGE = Stage(name="background", reads=("exposure", "wcs_solution"), writes=("sky",), tasks=tasks)
