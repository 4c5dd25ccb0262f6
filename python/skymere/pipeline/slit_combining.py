"""Exposures of slits into a lake without a plan of a survey: what ``skymere slit combine --lake`` does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from skymere.errors import ConflictError
from skymere.lake import Lake
from skymere.pipeline.attempts import run_task
from skymere.pipeline.events import Event
from skymere.pipeline.slit_plan import SlitsPlan
from skymere.pipeline.slit_units import find_units, own_tile
from skymere.pipeline.stages.slits import STAGE, batch_task

__all__ = ["combine_slits"]


def combine_slits(
    lake: Lake, plan: SlitsPlan, *, folder: Path | None = None, observer: Callable[[Event], None] | None = None
) -> pl.DataFrame:
    """Combine exposures of slits and publish slitlets, pixels and spectra; other sources of the lake are left alone.

    Parameters
    ----------
    lake : Lake
        The lake.
    plan : SlitsPlan
        Files and how they are combined; each source is published by itself.
    folder : Path, optional
        Where relative paths begin; the working folder when not given.
    observer : callable, optional
        Called with every event.

    Returns
    -------
    polars.DataFrame
        ``source_name``, ``source_id``, ``grating``, ``band``, ``status``, ``message``, ``snr``, ``n_slitlets`` of every
        source and grating of the files.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing, or there is no such pack.
    ConflictError
        When a plan has published a source; run the plan to change it.
    """
    folder = folder or Path.cwd()
    units = find_units(plan, folder, lake)
    if "/" in plan.pack:
        plan = replace(plan, pack=str((folder / plan.pack).resolve()))
    names = {unit.source_name for unit in units}
    planned = lake.table("slitlet").filter(
        pl.col("source_name").is_in(sorted(names)), pl.col("tile").str.starts_with("slits-")
    )
    taken = sorted(set(planned.select("source_name").collect()["source_name"]))
    if taken:
        msg = f"slits of {', '.join(taken)} were published by a plan; change and run the plan"
        raise ConflictError(msg)
    tiles = []
    for name in sorted(names):
        mine = tuple(unit for unit in units if unit.source_name == name)
        tiles.append(own_tile(name))
        run_task(STAGE, batch_task(tiles[-1], mine, plan, lake), lake, observer)
    rows = lake.table("slit_spectrum").filter(pl.col("tile").is_in(tiles)).collect()
    found = {unit.name: unit.source_name for unit in units}
    return rows.select(
        pl.col("group_id").replace(found).alias("source_name"),
        "source_id",
        "grating",
        "band",
        "status",
        "message",
        "snr",
        "n_slitlets",
    ).sort("source_name", "grating", "band")
