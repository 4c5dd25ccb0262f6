"""What a run of a plan will cost, before it is made: tasks, time, memory, bytes and files."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError, SkymereError
from skymere.io import read_heads
from skymere.lake import Lake, Run
from skymere.pipeline.costs import CostModel
from skymere.pipeline.exposures import outline_of, place_of, usable_exposures
from skymere.pipeline.forecast import Forecast, lake_to_explain
from skymere.pipeline.memory import WORKER_BASELINE, predicted_cost
from skymere.pipeline.owners import owner_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.plan_asked import why_not_asked
from skymere.pipeline.plan_check import refuse_faults
from skymere.pipeline.slit_units import find_units, slit_files
from skymere.pipeline.stages import STAGES
from skymere.pipeline.task import Stage, Task
from skymere.pipeline.task_sizes import (
    DRIVERS,
    FieldSizes,
    GrismFootprint,
    corners_of,
    covered_arcmin2,
    mosaic_members,
)

__all__ = ["CostEstimate", "estimate_plan"]

_MIB = 2**20
# Stages whose tasks follow from objects that stages before will find.
_BY_OBJECTS = ("beams", "redshifts", "maps")
_BEFORE_SOURCES = ("mosaic", "segmentation", "source")
_STAGES: dict[str, Any] = {
    "stage": pl.String,
    "n_tasks": pl.Int64,
    "n_fresh": pl.Int64,
    "seconds": pl.Float64,
    "cpu_seconds": pl.Float64,
    "wall_seconds": pl.Float64,
    "bytes_written": pl.Float64,
    "n_files": pl.Float64,
    "worker_mib": pl.Float64,
    "note": pl.String,
}
# What is told, and what the costs of it are the sum of.
_OF_PRODUCTS = {"bytes_written": ("array_bytes", "table_bytes"), "n_files": ("n_files",)}
_PRODUCTS: dict[str, Any] = {"product": pl.String, "bytes_written": pl.Float64, "n_files": pl.Float64}


@dataclass(frozen=True, kw_only=True, eq=False)
class CostEstimate:
    """What a run of a plan will cost.

    Parameters
    ----------
    stages : polars.DataFrame
        ``stage``; ``n_tasks`` that will be done and ``n_fresh`` that need not; ``seconds`` and ``cpu_seconds`` of all
        of them [s]; ``wall_seconds`` with the workers [s]; ``bytes_written`` [byte]; ``n_files``; ``worker_mib``: peak
        memory of a worker [MiB]; ``note``: why a number is missing (null). What the lakes that the costs were learnt
        from did not count is null.
    products : polars.DataFrame
        ``product, bytes_written, n_files``.
    totals : mapping of str to float
        ``n_tasks, seconds, cpu_seconds, wall_seconds, bytes_written, n_files, n_commits, n_sources, n_workers`` and
        ``memory_mib``, the peak of all workers together [MiB]; without what no stage tells.
    """

    stages: pl.DataFrame
    products: pl.DataFrame
    totals: Mapping[str, float]


def estimate_plan(
    plan: Plan, costs: CostModel, *, n_workers: int | None = None, sources_per_arcmin2: float | None = None
) -> CostEstimate:
    """Return what `run_plan` will cost.

    Parameters
    ----------
    plan : Plan
        The plan; its lake need not exist, and only headers of its files are read.
    costs : CostModel
        From `fit_costs`.
    n_workers : int, optional
        Processes that work at the same time; those of the plan's section ``run`` when not given.
    sources_per_arcmin2 : float, optional
        How many sources will be found where exposures see the sky; as many as in the lakes of the costs when not given.
        Beams and sources with beams go with it.

    Raises
    ------
    InvalidInputError
        When `check_plan` finds faults, or an argument is not allowed.
    NoDataError
        When the number of sources is needed and neither given nor learnt.
    SkymereError
        When the lake or what the plan names cannot be read.

    Notes
    -----
    Tasks and pixels are those that headers and footprints tell, objects those that the sky which exposures see holds on
    average: a tile of ``n`` expected objects has some with the probability ``1 - exp(-n)``. The depth of exposures
    changes no density. One worker takes ``seconds``; several have one core each and take ``cpu_seconds``, the longest
    task first, with a barrier after every stage; starting processes, commits and pictures are not in it. Memory is what
    the runner foretells of stages, else the largest that a process had in the lakes of the costs.

    Examples
    --------
    >>> from skymere.pipeline import estimate_plan, fit_costs, read_plan
    >>> estimate_plan(read_plan("plan.toml"), fit_costs(["pilot/lake"]), n_workers=8).stages  # doctest: +SKIP
    """
    workers = _workers(plan) if n_workers is None else n_workers
    if workers < 1:
        msg = f"n_workers: {workers} is not allowed, the least is 1"
        raise InvalidInputError(msg)
    if sources_per_arcmin2 is not None and not (math.isfinite(sources_per_arcmin2) and sources_per_arcmin2 >= 0):
        msg = f"sources_per_arcmin2: {sources_per_arcmin2} is not allowed, it must be finite and not negative"
        raise InvalidInputError(msg)
    refuse_faults(plan)
    with lake_to_explain(plan) as lake:
        return _Estimator(lake, plan, _with_density(costs, sources_per_arcmin2), workers).estimate()


def _workers(plan: Plan) -> int:
    return max(plan.run.n_workers, 1)


def _with_density(costs: CostModel, wanted: float | None) -> CostModel:
    if wanted is None:
        return costs
    known = costs.yields.get("sources_per_arcmin2", 0.0)
    factor = wanted / known if known > 0 else 1.0
    scaled = {name: value * (factor if name.endswith("_per_arcmin2") else 1.0) for name, value in costs.yields.items()}
    return replace(costs, yields=scaled | {"sources_per_arcmin2": wanted})


def _nothing(_: Run) -> None:
    """Work of a task that is only counted."""


def _counted(tile: str) -> Task:
    return Task(tile=tile, inputs=[], params={}, work=_nothing)


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """A task that will be, and how likely it is."""

    task: Task
    share: float = 1.0


class _Estimator:
    """Goes through the stages as a run would, and adds up."""

    def __init__(self, lake: Lake, plan: Plan, costs: CostModel, n_workers: int) -> None:
        self.lake, self.plan, self.costs, self.n_workers = lake, plan, costs, n_workers
        self.forecast = Forecast.of(lake, plan)
        self.areas: dict[str, tuple[float, float, float]] = {}
        self.products: dict[str, dict[str, float]] = {}
        self.n_products = 0.0

    def estimate(self) -> CostEstimate:
        rows = [row for stage in STAGES if stage.name in DRIVERS and (row := self._stage(stage)) is not None]
        stages = pl.DataFrame(rows, schema=_STAGES)
        products = pl.DataFrame([{"product": name} | row for name, row in self.products.items()], schema=_PRODUCTS)
        sums = ("n_tasks", "seconds", "cpu_seconds", "wall_seconds", "bytes_written", "n_files")
        totals = {name: float(known.sum()) for name in sums if not (known := stages[name].drop_nulls()).is_empty()}
        at_once = [
            row["worker_mib"] * min(self.n_workers, row["n_tasks"]) for row in rows if row["worker_mib"] is not None
        ]
        return CostEstimate(
            stages=stages,
            products=products,
            totals=totals
            | {
                "n_commits": self.n_products * self.costs.yields.get("commits_per_product", 0.0),
                "n_sources": sum(self._sizes.objects["sources"].values()),
                "n_workers": float(self.n_workers),
                "memory_mib": max(at_once, default=0.0),
            },
        )

    def _stage(self, stage: Stage) -> dict[str, Any] | None:
        self.__dict__.pop("_sizes", None)
        if why_not_asked(stage.name, self.plan, self.forecast):
            return None
        try:
            expected, n_fresh = self._tasks(stage)
        except SkymereError as error:
            note = f"its tasks cannot be told: {type(error).__name__}: {error}"
            return {"stage": stage.name, "n_tasks": 0, "n_fresh": 0, "worker_mib": None, "note": note}
        if not expected and not n_fresh:
            return None
        for one in expected:
            self.forecast.publish(stage, one.task)
        # Exposures are known from now on.
        self.__dict__.pop("_sizes", None)
        sizes = [self._sizes.of(stage.name, one.task.tile, one.task.inputs, one.task.params) for one in expected]
        self._book_products(stage, expected, sizes)
        cost = {name: self._each(stage, name, expected, sizes) for name in ("seconds", "cpu_seconds")}
        each = cost["seconds"] if self.n_workers == 1 or cost["cpu_seconds"] is None else cost["cpu_seconds"]
        return {
            "stage": stage.name,
            "n_tasks": round(sum(one.share for one in expected)),
            "n_fresh": n_fresh,
            **{name: None if values is None else sum(values) for name, values in cost.items()},
            "wall_seconds": None if each is None else _wall(each, self.n_workers),
            **{name: self._total(stage, parts, expected, sizes) for name, parts in _OF_PRODUCTS.items()},
            "worker_mib": self._memory(stage, expected),
            "note": "" if each is not None or not expected else "the lakes of the costs have no run of it",
        }

    def _tasks(self, stage: Stage) -> tuple[list[_Expected], int]:
        """Return the tasks that will be done, and how many are done already."""
        changed = {product for product, _ in self.forecast.changed}
        if stage.name in _BY_OBJECTS and changed & set(stage.reads):
            return self._by_objects(stage), 0
        if stage.name == "measure" and "segmentation" in changed:
            # What neighbours will see close to a border is in no header; a tile with other labels is measured anew, and
            # so may be those beside it.
            tiles = sorted(tile for product, tile in self.forecast.changed if product == "segmentation")
            n_fresh = len(self.forecast.live_runs("segmentation")) - len(tiles)
            return [_Expected(task=_counted(tile)) for tile in tiles], n_fresh
        tasks = stage.tasks(self.plan, self.forecast) if stage.tasks else []
        live = self.lake.live_runs(stage.writes[0])
        todo = [task for task in tasks if live.get(task.tile) != self.forecast.run_of(stage, task)]
        n_sources = self._sizes.objects["sources"]
        if stage.name == "models" and "profile" in changed:
            return [_Expected(task=one, share=_some(n_sources.get(one.tile, 0.0))) for one in todo], len(tasks) - len(
                todo
            )
        return [_Expected(task=one) for one in todo], len(tasks) - len(todo)

    def _by_objects(self, stage: Stage) -> list[_Expected]:
        """Return a task for each tile that may have objects."""
        objects = self._sizes.objects
        has_beams = stage.name != "redshifts" or bool(self.plan.redshifts.grism.templates)
        with_beams = objects["grism_sources"] if has_beams else {}
        with_slits = objects["slit_spectra"] if stage.name == "redshifts" else {}
        return [
            _Expected(
                task=_counted(tile),
                share=1.0 if with_slits.get(tile) else _some(with_beams[tile]),
            )
            for tile in sorted({*with_slits, *(tile for tile, n in with_beams.items() if n > 0)})
        ]

    def _book_products(self, stage: Stage, expected: Sequence[_Expected], sizes: Sequence[Mapping[str, float]]) -> None:
        for told, parts in _OF_PRODUCTS.items():
            for one, size in zip(expected, sizes, strict=True):
                for part in parts:
                    for product, value in self.costs.of(stage.name, part, size).items():
                        row = self.products.setdefault(product, {})
                        row[told] = row.get(told, 0.0) + one.share * value
        self.n_products += len(stage.writes) * sum(one.share for one in expected)

    def _each(
        self, stage: Stage, quantity: str, expected: Sequence[_Expected], sizes: Sequence[Mapping[str, float]]
    ) -> list[float] | None:
        """Return what each task costs; None when the lakes of the costs do not tell."""
        found = [
            one.share * sum(cost.values())
            for one, size in zip(expected, sizes, strict=True)
            if (cost := self.costs.of(stage.name, quantity, size))
        ]
        return found if len(found) == len(expected) else None

    def _total(
        self,
        stage: Stage,
        quantities: Sequence[str],
        expected: Sequence[_Expected],
        sizes: Sequence[Mapping[str, float]],
    ) -> float | None:
        found = [each for name in quantities if (each := self._each(stage, name, expected, sizes)) is not None]
        return sum(map(sum, found)) if len(found) == len(quantities) else None

    def _memory(self, stage: Stage, expected: Sequence[_Expected]) -> float | None:
        told = predicted_cost(stage.name, self.plan, self.forecast)
        largest = max((told(one.task) for one in expected), default=0)
        if largest:
            return (WORKER_BASELINE + largest) / _MIB
        measured = self.costs.of(stage.name, "peak_memory", {})
        return max(measured.values(), default=None) if expected else 0.0

    @cached_property
    def _sizes(self) -> FieldSizes:
        rows = usable_exposures(self.forecast)
        pixels = {name: int(ny) * int(nx) for name, ny, nx in rows.select("exposure_id", "ny", "nx").iter_rows()}
        outlines = {name: outline_of(text) for name, text in rows.select("exposure_id", "footprint").iter_rows()}
        mosaics = mosaic_members(self.forecast)
        for tile in mosaics.keys() - self.areas.keys():
            members = set().union(*mosaics[tile].values())
            sky, _ = covered_arcmin2(self.lake, tile, corners_of(outlines, members))
            self.areas[tile] = (sky, *covered_arcmin2(self.lake, tile, self._grism_outlines))
        sources = self._expected("source", "sources_per_arcmin2", 0, mosaics)
        return FieldSizes(
            lake=self.lake,
            exposures=pixels,
            mosaics=mosaics,
            outlines=outlines,
            n_grism_pixels={one.name: one.n_pixels for one in self._grisms},
            objects={
                "sources": sources,
                "fluxes": {tile: n * len(self.plan.band_images()) for tile, n in sources.items()},
                "beams": self._expected("beam", "beams_per_arcmin2", 2, mosaics),
                "grism_sources": self._expected("redshift", "grism_sources_per_arcmin2", 1, mosaics),
                "slit_spectra": self._slit_spectra,
            },
        )

    def _expected(self, product: str, name: str, area: int, tiles: Mapping[str, Any]) -> dict[str, float]:
        """Return how many objects each tile will have: those that it has where nothing changes."""
        rows = self.lake.table(product)
        rows = rows.filter(pl.col("method") == "grism") if product == "redshift" else rows
        known = dict(rows.group_by("tile").agg(pl.len().cast(pl.Float64)).collect().iter_rows())
        will_change = {tile for (made, tile) in self.forecast.changed if made in (*_BEFORE_SOURCES, product)}
        found = {}
        for tile in tiles:
            if tile in known and tile not in will_change:
                found[tile] = known[tile]
                continue
            sky = self.areas[tile][area]
            if sky and name not in self.costs.yields:
                if name == "sources_per_arcmin2":
                    msg = "sources_per_arcmin2: it must be given, the lakes of the costs have no mosaics"
                    raise NoDataError(msg)
                sky = 0.0
            found[tile] = sky * self.costs.yields.get(name, 0.0)
        return found

    @cached_property
    def _grisms(self) -> list[GrismFootprint]:
        section = self.plan.contam
        if not section.files:
            return []
        found = []
        for path in slit_files(section.files, self.plan.folder, key="contam.files"):
            try:
                heads = read_heads(path)
            except SkymereError:
                # The run makes a row with the reason of it.
                continue
            found += [_footprint(path, head.wcs, head.shape) for head in heads]
        return found

    @property
    def _grism_outlines(self) -> list[NDArray[np.float64]]:
        return [one.outline for one in self._grisms if one.outline is not None]

    @cached_property
    def _slit_spectra(self) -> dict[str, float]:
        """Sources with a spectrum of slits that is fitted, by the tile that owns them."""
        if not self.plan.slits.files or not self.plan.redshifts.is_on:
            return {}
        wanted = {one.lower() for one in self.plan.redshifts.gratings}
        places = {
            unit.source_name: (unit.ra, unit.dec)
            for unit in find_units(self.plan.slits, self.plan.folder, self.forecast)
            if unit.grating in wanted and math.isfinite(unit.ra)
        }
        found: dict[str, float] = {}
        for ra, dec in places.values():
            if owner := owner_of(self.lake, ra, dec):
                found[owner] = found.get(owner, 0.0) + 1
        return found


def _footprint(path: Path, wcs: Any, shape: tuple[int, int]) -> GrismFootprint:
    outline = outline_of(place_of(wcs, shape)["footprint"])
    return GrismFootprint(name=path.name, n_pixels=shape[0] * shape[1], outline=outline)


def _some(expected: float) -> float:
    """Return the probability that there is at least one of so many expected objects."""
    return -math.expm1(-expected)


def _wall(seconds: Sequence[float], n_workers: int) -> float:
    """Return how long tasks take when each goes to the first worker that is free, the longest first [s]."""
    busy = [0.0] * min(n_workers, max(len(seconds), 1))
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)
