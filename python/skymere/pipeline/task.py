"""What a stage is, and the pieces of work that it hands to the runner."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from skymere.lake import Lake, Run
from skymere.pipeline.plan import Plan

__all__ = ["Stage", "Task", "as_params"]


def as_params(params: Any) -> Any:
    """Return parameters (a dataclass, or plain values) as JSON; a number that is not finite becomes its name."""
    if is_dataclass(params) and not isinstance(params, type):
        return as_params({f.name: getattr(params, f.name) for f in fields(params)})
    if isinstance(params, Mapping):
        return {str(key): as_params(value) for key, value in params.items()}
    if isinstance(params, list | tuple):
        return [as_params(value) for value in params]
    if isinstance(params, float) and not math.isfinite(params):
        return str(params)
    return params


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work: one product of one tile.

    Parameters
    ----------
    tile : str
        Tile, or the exposure or group that stands for one.
    inputs : sequence
        What is read, JSON: with the parameters and the code version they decide whether the work is done already.
    params : mapping
        Parameters, JSON.
    work : callable
        Does the work and publishes it through the run that it is given. It can be pickled: a function of a module, or
        a `functools.partial` of one, over values that can.
    cost : int
        Memory that the work needs beside what the process holds anyway [bytes]; 0 = what
        `skymere.pipeline.memory.predicted_cost` says of the stage.
    """

    tile: str
    inputs: Sequence[Any]
    params: Mapping[str, Any]
    work: Callable[[Run], None]
    cost: int = 0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One verb of the pipeline.

    Parameters
    ----------
    name : str
        The verb.
    reads, writes : tuple of str
        Products.
    tasks : callable, optional
        Gives the work, from the plan and the lake as the stages before have left it.
    finish : callable, optional
        What is done once, after all tasks; returns whether anything was done.
    needs_all : bool
        Whether `finish` waits for a run in which nothing has failed.
    n_workers : callable, optional
        How many processes do the tasks of this stage where the run itself is ``serial``, from the plan; one when not
        given. Other executors have workers of their own.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    tasks: Callable[[Plan, Lake], Sequence[Task]] | None = None
    finish: Callable[[Plan, Lake], bool] | None = None
    needs_all: bool = False
    n_workers: Callable[[Plan], int] | None = None
