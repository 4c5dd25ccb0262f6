"""align: where exposures look, by sources that they have in common with a reference or with each other."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere.align import Alignment, align, find_sources
from skymere.datamodels import Exposure
from skymere.errors import FormatError, InvalidInputError, NoDataError, NotFoundError, SkymereError
from skymere.io import file_digest, read_band, read_table
from skymere.lake import Lake, Run, in_cone, polygon_middle
from skymere.pipeline.exposures import StoredExposures, exposure_inputs, outline_of, place_of, usable_exposures
from skymere.pipeline.overlaps import overlapping_sets
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task, as_params
from skymere.pipeline.tile_groups import retirements
from skymere.wcs import wcs_cards

__all__ = ["STAGE"]

# What is aligned begins with the coordinates of the header, or with those that people gave.
_BEFORE = ("manual",)
_NAME_LENGTH = 64


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each pointing when there is a reference; else one for each set that hangs together.

    Raises
    ------
    NotFoundError, FormatError
        When there is no such reference, or it cannot be read.
    InvalidInputError, NoDataError
        When it is no table with ``ra, dec``, or is empty.
    """
    made = _made(plan, lake) if plan.align.is_on else []
    # Where people decided stays: only groups of this stage are retired.
    theirs = lake.table("wcs_solution").filter(pl.col("method") == "manual").select(pl.col("tile").unique()).collect()
    return [*retirements(lake, "wcs_solution", {*(task.tile for task in made), *theirs["tile"]}), *made]


def _made(plan: Plan, lake: Lake) -> list[Task]:
    rows = usable_exposures(lake, methods=_BEFORE)
    if rows.is_empty():
        return []
    # The chips of a file move as one.
    pointings = [part for _, part in sorted(rows.group_by("path"), key=lambda item: str(item[1]["exposure_id"].min()))]
    reference = plan.path(plan.align.reference) if plan.align.reference else None
    files = []
    if reference is not None:
        if not reference.is_file():
            msg = f"align.reference: {reference}: no such file"
            raise NotFoundError(msg)
        digest = file_digest(reference)
        _reference(reference, digest)
        files = [{"uri": reference.name, "sha256": digest}]
        sets = [[k] for k in range(len(pointings))]
    else:
        sets = overlapping_sets([[outline_of(text) for text in part["footprint"]] for part in pointings])
    return [_task(plan, lake, pl.concat([pointings[k] for k in members]), files, reference) for members in sets]


def _task(plan: Plan, lake: Lake, rows: pl.DataFrame, files: Sequence[dict[str, str]], reference: Path | None) -> Task:
    rows = rows.sort("exposure_id")
    names = tuple(rows["exposure_id"])
    # By name the first; its place in the sky is that of the set, so people's word goes before.
    by_hand = lake.table("wcs_solution").filter(
        pl.col("method") == "manual", pl.col("is_active"), pl.col("exposure_id").is_in(names)
    )
    decided = by_hand.select(pl.col("exposure_id").sort()).collect()["exposure_id"].to_list()
    first = (decided or names)[0]
    params = as_params(plan.align) | {"reference": plan.align.reference and Path(plan.align.reference).name}
    return Task(
        tile=_name(names[0]),
        inputs=[*exposure_inputs(rows), *files],
        params={"align": params, **({} if reference is not None else {"first": first})},
        work=partial(_work, plan, lake, names, first, reference),
    )


def _name(exposure_id: str) -> str:
    name = f"align.{exposure_id}"
    if len(name) <= _NAME_LENGTH:
        return name
    return f"{name[: _NAME_LENGTH - 17]}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


@lru_cache(maxsize=1)
def _reference(path: Path, digest: str) -> pl.DataFrame:  # noqa: ARG001 (another digest is another file)
    """Return the sources of a catalogue or an image, read once in a process."""
    try:
        table = read_table(path)
    except FormatError:
        # Of FITS files those without a table are images.
        return _sources_of_image(path)
    missing = [name for name in ("ra", "dec") if name not in table.columns]
    if missing:
        msg = f"align.reference: {path} has the columns {table.columns}, it must have ra and dec [deg]"
        raise InvalidInputError(msg)
    if table.is_empty():
        msg = f"align.reference: {path} has no rows"
        raise NoDataError(msg)
    kept = [name for name in ("ra", "dec", "ra_err", "dec_err") if name in table.columns]
    return table.select(pl.col(kept).cast(pl.Float64)).drop_nulls(("ra", "dec"))


def _sources_of_image(path: Path) -> pl.DataFrame:
    image = read_band(path)
    found = find_sources(image.data, mask=~image.covered)
    ra, dec = image.grid.sky(found["x"].to_numpy(), found["y"].to_numpy())
    scale = image.grid.scale_arcsec
    return pl.DataFrame({"ra": ra, "dec": dec}).with_columns(
        (found["x_err"] * scale).alias("ra_err"), (found["y_err"] * scale).alias("dec_err")
    )


def _near(table: pl.DataFrame, exposures: Sequence[Exposure], margin_arcsec: float) -> pl.DataFrame:
    """Return the sources of a reference that exposures may see."""
    corners = [outline_of(place_of(one.wcs, one.shape)["footprint"]) for one in exposures]
    ra, dec, radius_deg = polygon_middle(np.concatenate(corners))
    return table.filter(in_cone("ra", "dec", ra, dec, radius_arcsec=1.01 * radius_deg * 3600.0 + margin_arcsec))


def _work(plan: Plan, lake: Lake, names: Sequence[str], first: str, reference: Path | None, run: Run) -> None:
    exposures = StoredExposures(lake, names, methods=_BEFORE)
    params = plan.align
    try:
        if reference is None:
            known: pl.DataFrame | str = first
        else:
            digest = next(entry["sha256"] for entry in run.inputs if entry["uri"] == reference.name)
            known = _near(_reference(reference, digest), exposures, 2.0 * params.search_radius_arcsec)
        found = align(exposures, reference=known, params=params)
    except (NoDataError, InvalidInputError) as error:
        run.publish(run.frame([_failed(plan, one, error) for one in exposures]))
        return
    rows = []
    for one, exposure in zip(found, exposures, strict=True):
        if not one.is_aligned:
            run.warn(f"{one.exposure_id}: {one.reason}")
        rows.append(_row(plan, one, exposure, reference))
    run.publish(run.frame(rows))


def _row(plan: Plan, found: Alignment, exposure: Exposure, reference: Path | None) -> dict[str, Any]:
    row = found.row() | place_of(found.wcs, exposure.shape)
    row["params"] = json.dumps(as_params(plan.align), sort_keys=True)
    return row | ({} if reference is None else {"reference": reference.name})


def _failed(plan: Plan, exposure: Exposure, error: SkymereError) -> dict[str, Any]:
    cards = json.dumps(wcs_cards(exposure.wcs), sort_keys=True)
    digest = hashlib.sha256(cards.encode()).hexdigest()
    return {
        "exposure_id": exposure.exposure_id,
        "solution_id": f"header-{digest[:16]}",
        "status": "failed",
        "message": str(error),
        "method": "header",
        "is_active": False,
        "wcs": cards,
        "wcs_sha256": digest,
        "params": json.dumps(as_params(plan.align), sort_keys=True),
        **place_of(exposure.wcs, exposure.shape),
    }


STAGE = Stage(name="align", reads=("exposure",), writes=("wcs_solution",), tasks=tasks)
