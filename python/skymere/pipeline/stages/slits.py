"""slits: exposures of slits to slitlets, tables of pixels and combined spectra; one source and grating at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from skymere._workers import n_cores
from skymere.lake import Lake, Run
from skymere.pipeline.plan import Plan
from skymere.pipeline.slit_plan import SlitsPlan, plan_pack, without
from skymere.pipeline.slit_rows import write_pixels, write_slitlets, write_spectra
from skymere.pipeline.slit_units import SlitUnit, batches, find_units, own_tile
from skymere.pipeline.slit_work import extract_unit, load_slitlets
from skymere.pipeline.task import Stage, Task, as_params

__all__ = ["STAGE", "batch_task", "slit_tasks"]

# What decides about speed and memory alone, and what stands among the inputs.
_NO_RESULT = ("files", "batch", "n_workers", "pack", "pack_version")


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each batch of sources; none when the plan names no file.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing, or there is no such pack.
    """
    if not plan.slits.files:
        return []
    return slit_tasks(plan.slits, plan.folder, lake)


def slit_tasks(plan: SlitsPlan, folder: Path, lake: Lake) -> list[Task]:
    """Return one task for each batch of sources, and for what published them earlier, which becomes empty.

    Parameters
    ----------
    plan : SlitsPlan
        The section.
    folder : Path
        Where relative paths begin.
    lake : Lake
        The lake.

    Raises
    ------
    NotFoundError
        When a pattern matches nothing, or there is no such pack.
    """
    units = find_units(plan, folder, lake)
    if "/" in plan.pack:
        plan = replace(plan, pack=str((folder / plan.pack).resolve()))
    made = batches(units, plan.batch)
    own = {own_tile(unit.source_name) for unit in units}
    live = lake.live_runs("slit_spectrum")
    stale = sorted(name for name in live if name in own or (name.startswith("slits-") and name not in made))
    return [batch_task(name, made.get(name, ()), plan, lake) for name in (*stale, *made)]


def batch_task(name: str, units: Sequence[SlitUnit], plan: SlitsPlan, lake: Lake) -> Task:
    """Return the task of units that are published together.

    Parameters
    ----------
    name : str
        What stands for their tile.
    units : sequence of SlitUnit
        The units; none to take back what was published.
    plan : SlitsPlan
        The section.
    lake : Lake
        The lake.

    Raises
    ------
    NotFoundError
        When there is no such pack.
    """
    pack = plan_pack(plan)
    files = {(Path(m.path).name, m.sha256) for unit in units for m in unit.members}
    return Task(
        tile=name,
        inputs=[
            *({"uri": uri, "sha256": sha} for uri, sha in sorted(files)),
            {"uri": f"pack/{pack.label}", "sha256": pack.digest},
        ],
        params={
            "slits": without(as_params(plan), *_NO_RESULT),
            "units": [
                {
                    "name": unit.name,
                    "source_id": unit.source_id,
                    "slits": [[Path(m.path).name, m.slit_name] for m in unit.members],
                }
                for unit in units
            ],
        },
        work=partial(_work, Batch(lake=str(lake.path), units=tuple(units), plan=plan)),
    )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Units that are published together; it can be sent to another process.

    Parameters
    ----------
    lake : str
        Folder of the lake.
    units : tuple of SlitUnit
        The units.
    plan : SlitsPlan
        How.
    """

    lake: str
    units: tuple[SlitUnit, ...]
    plan: SlitsPlan


def _work(batch: Batch, run: Run) -> None:
    lake = Lake.open(batch.lake)
    plan = batch.plan
    pack = plan_pack(plan)
    slits, faults = load_slitlets(lake, (member for unit in batch.units for member in unit.members))
    results = [extract_unit(unit, slits, faults, plan=plan, pack=pack) for unit in batch.units]
    for one in results:
        if one.status != "ok":
            run.warn(f"{one.unit.name}: {one.status}: {one.message}")
    for product, write in (("slitlet", write_slitlets), ("pixel_table", write_pixels)):
        # A run makes one product: the row of each tells which.
        with run.beside(product) as its:
            if not its.already:
                write(its, results)
    write_spectra(run, results, weight_type=plan.group.weight_type)


def n_workers(plan: Plan) -> int:
    """Return how many processes the plan asks for."""
    return plan.slits.n_workers or n_cores()


STAGE = Stage(
    name="slits",
    reads=("source",),
    writes=("slit_spectrum", "slitlet", "pixel_table"),
    tasks=tasks,
    n_workers=n_workers,
)
