"""What a run of a plan would do, task by task, and why; nothing is changed and no pixel is read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import polars as pl

from skymere import __version__
from skymere.errors import SkymereError
from skymere.lake import Lake, unused_exposures
from skymere.lake.history import difference_of_runs
from skymere.pipeline.forecast import Forecast, lake_to_explain
from skymere.pipeline.plan import Plan
from skymere.pipeline.plan_asked import why_not_asked
from skymere.pipeline.plan_check import refuse_faults
from skymere.pipeline.stages import STAGES
from skymere.pipeline.task import Stage, Task

__all__ = ["PlanExplanation", "explain_plan"]

_TASKS: dict[str, Any] = {"stage": pl.String, "tile": pl.String, "state": pl.String, "reason": pl.String}
_STAGES: dict[str, Any] = {
    "stage": pl.String,
    "reads": pl.List(pl.String),
    "writes": pl.List(pl.String),
    "is_asked": pl.Boolean,
    "why": pl.String,
    **{f"n_{state}": pl.Int64 for state in ("fresh", "stale", "new", "unknown")},
}
# Products whose rows, which nobody knows before they are made, decide what tasks a stage has or what these do.
_BY_ROWS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "slits": ("source",),
        "beams": ("grism_frame", "source"),
        "redshifts": ("slit_spectrum",),
        "maps": ("redshift",),
    }
)
_DECISIONS = frozenset({"region", "profile_edit", "beam_action"})
_MOST = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanExplanation:
    """What a run of a plan would do.

    Parameters
    ----------
    tasks : polars.DataFrame
        ``stage, tile, state, reason`` of every task, in the order in which stages run. ``fresh``: the lake shows what
        the task would make, it is left alone; ``stale``: it will be made anew; ``new``: nothing was published yet;
        ``unknown``: that is known only after the stages before have run. A row without a tile is of a whole stage.
    stages : polars.DataFrame
        ``stage, reads, writes, is_asked, why`` (the plan does not ask for it), and how many tasks have each state.
    """

    tasks: pl.DataFrame
    stages: pl.DataFrame

    def only(self, *, stage: str | None = None, tile: str | None = None) -> pl.DataFrame:
        """Return the tasks of a stage, or of a tile, or both.

        Parameters
        ----------
        stage, tile : str, optional
            Which; all when not given.
        """
        tasks = self.tasks
        for name, value in (("stage", stage), ("tile", tile)):
            tasks = tasks if value is None else tasks.filter(pl.col(name) == value)
        return tasks


def explain_plan(plan: Plan) -> PlanExplanation:
    """Return what `run_plan` would do with a plan, and why.

    Parameters
    ----------
    plan : Plan
        The plan.

    Raises
    ------
    InvalidInputError
        When `check_plan` finds faults.
    NoDataError
        When there is no lake, and no exposure says where its tile would be.
    SkymereError
        When the lake or what the plan names cannot be read.

    Notes
    -----
    A task is fresh when the run that its tile shows has the name that the task would have: the digest of what is read,
    of parameters and of the version of the code. Names of runs that will be made are known before, so what follows from
    a stale task is told for all stages behind it. Of files that are not in the lake only headers are read: exposures
    whose pixels turn out to be bad, and tasks that fail, are not foreseen.

    Examples
    --------
    >>> from skymere.pipeline import explain_plan, read_plan
    >>> explain_plan(read_plan("plan.toml")).only(stage="mosaic")  # doctest: +SKIP
    """
    refuse_faults(plan)
    with lake_to_explain(plan) as lake:
        return _Explainer(lake, plan).explain()


class _Explainer:
    """Goes through the stages as a run would."""

    def __init__(self, lake: Lake, plan: Plan) -> None:
        self.lake, self.plan = lake, plan
        self.forecast = Forecast.of(lake, plan)
        self.rows: list[dict[str, str]] = []
        self.left_out = _left_out(lake)
        # Products that may be there after stages of which nothing is known now.
        self.maybe: dict[str, str] = {}

    def explain(self) -> PlanExplanation:
        stages = [self._stage(stage) for stage in STAGES]
        return PlanExplanation(
            tasks=pl.DataFrame(self.rows, schema=_TASKS), stages=pl.DataFrame(stages, schema=_STAGES)
        )

    def _stage(self, stage: Stage) -> dict[str, Any]:
        begin, why = len(self.rows), why_not_asked(stage.name, self.plan, self.forecast)
        awaited = [
            f"{product}, which {maker} may make" for product, maker in self.maybe.items() if product in stage.reads
        ]
        if why.startswith("the lake has no") and awaited:
            self.rows.append(_row(stage, "", "unknown", f"it depends on {', '.join(awaited)}"))
            why = ""
        elif not why:
            self.rows += self._unseen(stage)
            tasks = self._tasks(stage)
            live = self.lake.live_runs(stage.writes[0]) if stage.writes else {}
            described = self._published(stage, live)
            for task in tasks:
                self.rows.append(self._task(stage, task, live, described))
            if stage.name == "release":
                self.rows.append(self._release())
            if len(self.rows) == begin:
                why = f"nothing that it reads is there: {', '.join(stage.reads)}" if stage.reads else "no file is named"
        if any(row["state"] == "unknown" and not row["tile"] for row in self.rows[begin:]):
            self.maybe |= dict.fromkeys(stage.writes, stage.name)
        states = [row["state"] for row in self.rows[begin:]]
        counts = {f"n_{state}": states.count(state) for state in ("fresh", "stale", "new", "unknown")}
        return {
            "stage": stage.name,
            "reads": list(stage.reads),
            "writes": list(stage.writes),
            "is_asked": not why,
            "why": why,
            **counts,
        }

    def _tasks(self, stage: Stage) -> Sequence[Task]:
        try:
            return stage.tasks(self.plan, self.forecast) if stage.tasks else []
        except SkymereError as error:
            if not any(row["stage"] == stage.name and row["state"] == "unknown" for row in self.rows):
                self.rows.append(_row(stage, "", "unknown", f"cannot be told: {type(error).__name__}: {error}"))
            return []

    def _unseen(self, stage: Stage) -> Iterator[dict[str, str]]:
        """Yield a row when tasks may come from rows that nobody knows yet."""
        for product in _BY_ROWS.get(stage.name, ()):
            # Sources lend their names to what other tasks are made of, they make no task.
            if product != "source" and (tiles := sorted(self.forecast.unseen.get(product, ()))):
                reason = f"what {product} of {_some(tiles)} holds is not known before it is made"
                yield _row(stage, "", "unknown", reason)

    def _task(
        self, stage: Stage, task: Task, live: Mapping[str, str], described: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str]:
        run = self.forecast.run_of(stage, task)
        notes = [f"leaves out {text}" for text in self.left_out.get(task.tile, ())] if stage.name == "mosaic" else []
        if live.get(task.tile) == run:
            if maybe := self._by_rows(stage):
                return _row(stage, task.tile, "unknown", "; ".join([*maybe, *notes]))
            return _row(stage, task.tile, "fresh", "; ".join(notes))
        self.forecast.publish(stage, task)
        if task.tile not in live:
            return _row(stage, task.tile, "new", "; ".join(["nothing was published", *notes]))
        known = described.get(live[task.tile])
        reasons = self._reasons(stage, task, known) if known else ["the table run does not have its run any more"]
        return _row(stage, task.tile, "stale", "; ".join([*reasons, *notes]))

    def _by_rows(self, stage: Stage) -> list[str]:
        """Return which rows will be others, so that a task that seems fresh may not be."""
        changed = sorted(
            {
                (product, maker)
                for (product, _), maker in self.forecast.changed.items()
                if product in _BY_ROWS.get(stage.name, ())
            }
        )
        return [f"it depends on rows of {product}, which {maker} will make anew" for product, maker in changed]

    def _published(self, stage: Stage, live: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Return the rows of the runs that tiles show, by name of the run."""
        if not live:
            return {}
        mine = pl.col("stage") == stage.name, pl.col("product") == stage.writes[0]
        rows = self.lake.table("run").filter(*mine, pl.col("run_id").is_in(sorted(set(live.values())))).collect()
        return {row["run_id"]: row for row in rows.iter_rows(named=True)}

    def _reasons(self, stage: Stage, task: Task, known: Mapping[str, Any]) -> list[str]:
        would = {
            **known,
            "stage": stage.name,
            "tile": task.tile,
            "product": stage.writes[0],
            "code_version": __version__,
            "inputs": json.dumps(list(task.inputs)),
            "params": json.dumps(dict(task.params)),
        }
        texts = [self._difference(**row) for row in difference_of_runs(known, would).iter_rows(named=True)]
        unique = list(dict.fromkeys(texts))
        return [*unique[:_MOST], *([f"and {len(unique) - _MOST} more"] if len(unique) > _MOST else [])] or [
            "its inputs are listed in another order"
        ]

    def _difference(self, *, what: str, name: str, old: str | None, new: str | None) -> str:
        if what == "parameter":
            return f"{name} {'nothing' if old is None else old} -> {'nothing' if new is None else new}"
        if what == "run":
            return f"{name.replace('code_version', 'code')} {old} -> {new}"
        product, _, tile = name.partition("/")
        maker = self.forecast.changed.get((product, tile), "")
        if maker and new is not None:
            return f"{maker} of {tile} will be made {'anew' if old is not None else 'and was not read'}"
        if product in _DECISIONS:
            return f"what people said about {tile} ({product}) has changed"
        if old is None or new is None:
            return f"{name} is {'read now' if old is None else 'not read any more'}"
        return f"{name} was made anew" if tile else f"the file {name} has changed"

    def _release(self) -> dict[str, str]:
        name, stage = self.plan.release.name, STAGES[-1]
        busy = any(row["state"] in ("stale", "new") for row in self.rows)
        maybe = any(row["state"] == "unknown" for row in self.rows)
        if name not in self.lake.releases():
            return _row(stage, name, "new", f"the release {name} will be given to what is there then")
        if not busy and self.lake.released(name) == self.lake.versions():
            state = "unknown" if maybe else "fresh"
            return _row(stage, name, state, f"the release {name} holds what the lake holds now")
        reason = f"the release {name} exists and holds an older state: the run will stop here, name another"
        return _row(stage, name, "stale", reason)


def _row(stage: Stage, tile: str, state: str, reason: str) -> dict[str, str]:
    return {"stage": stage.name, "tile": tile, "state": state, "reason": reason}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _left_out(lake: Lake) -> dict[str, list[str]]:
    """Return for each tile the exposures that touch it and are not in its mosaics."""
    found: dict[str, list[str]] = {}
    parts = unused_exposures(lake).partition_by("tile", "band", "reason", maintain_order=True)
    for part in parts:
        tile, band, reason = part.select("tile", "band", "reason").row(0)
        found.setdefault(tile, []).append(f"{_some(part['exposure_id'].to_list())} of {band} ({reason})")
    return found
