"""The plan that a lake was made with, as far as its runs tell."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from skymere._params import build_params
from skymere.errors import NotFoundError
from skymere.lake import Lake
from skymere.pipeline.plan import Plan, read_plan

__all__ = ["plan_of"]

# Stage, the part of its parameters, and the section of the plan.
_SECTIONS = (
    ("detect", "", "detect"),
    ("measure", "measure", "measure"),
    ("profiles", "profiles", "profiles"),
    ("photometry", "", "photometry"),
)


def plan_of(place: str | Path) -> Plan:
    """Return the plan of a file, or one with the parameters that the newest runs of a lake have.

    Parameters
    ----------
    place : path-like
        ``plan.toml``, or the folder of a lake.

    Returns
    -------
    Plan
        That of a lake has the sections that fake sources go through (``detect``, ``measure``, ``profiles``,
        ``photometry``); images of bands are those of the lake, since it does not know where files are. The parameters
        of spectra are those of a plan alone.

    Raises
    ------
    NotFoundError
        When there is neither.
    InvalidInputError
        When the plan is wrong, or the runs are those of another version.
    """
    path = Path(place)
    if path.is_file():
        return read_plan(path)
    if not (path / "lake.json").is_file():
        msg = f"{path}: neither a plan nor a lake"
        raise NotFoundError(msg)
    lake = Lake.open(path)
    sections: dict[str, Any] = {"survey": {"exposures": [], "lake": path.name}}
    for stage, part, section in _SECTIONS:
        params = _params_of(lake, stage)
        if params is not None:
            sections[section] = _of_lake(params) if section == "photometry" else _numbers(params.get(part, params))
    plan: Plan = build_params(Plan, sections, skip=("folder",))
    return replace(plan, folder=path.resolve().parent)


def _params_of(lake: Lake, stage: str) -> dict[str, Any] | None:
    rows = lake.table("run").filter(pl.col("stage") == stage).sort("finished").collect()
    if rows.is_empty():
        return None
    params: dict[str, Any] = json.loads(rows["params"][-1])
    return params


def _of_lake(params: dict[str, Any]) -> dict[str, Any]:
    """Return the section of photometry of the bands whose mosaics the lake has."""
    images = [_numbers(one) for one in params["images"] if not one["image"]]
    return {"images": images, "margin_arcsec": params["margin_arcsec"]}


def _numbers(tree: Any) -> Any:
    """Return parameters with the numbers that JSON has as text."""
    if isinstance(tree, dict):
        return {key: _numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_numbers(value) for value in tree]
    if isinstance(tree, str) and tree in ("nan", "inf", "-inf"):
        return math.nan if tree == "nan" else float(tree)
    return tree
