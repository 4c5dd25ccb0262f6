"""Fluxes of which none is negative."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere._rust import photometry as _rust

__all__ = ["Bounded", "non_negative"]

# Exchanges of whole blocks; what has not settled then goes on one step at a time.
_MAX_EXCHANGES = 30
# Exchanges of blocks without fewer wrong sources than ever before.
_PATIENCE = 3
# Steps of the slow method, for each source and at least.
_STEPS_PER_SOURCE, _LEAST_STEPS = 5, 200
# Slopes below this part of what a source's data could give are rounding.
_ROUNDING = 1e-10
# Slopes so many times larger are wrong results.
_SLACK = 1e3


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounded:
    """Sources and columns, which sources are 0, and which of them are not where they belong."""

    values: NDArray[np.float64]
    at_bound: NDArray[np.bool_]
    is_unsettled: NDArray[np.bool_]


class _Problem:
    """``min x^T N x / 2 - r^T x`` with sources x >= 0 and free columns."""

    def __init__(
        self, normal: _rust.Normal, templates: _rust.Templates, active: NDArray[np.bool_], start: NDArray[np.float64]
    ) -> None:
        self.normal, self.templates, self.active = normal, templates, active
        self.right, self.n = normal.right(), active.size
        size = np.sqrt(max(float(np.dot(start, self.right)), 0.0))
        self.tolerance = _ROUNDING * np.sqrt(np.maximum(normal.diagonal(), 0)) * size

    def solve(self, free: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the best values with all sources that are not free at 0."""
        found = _rust.Factor(self.normal, self.templates, free).solve(self.right)
        found[: self.n][~free] = 0.0
        return found

    def slopes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives by the sources: where one is negative more flux is better."""
        return (self.normal.multiply(self.templates, values) - self.right)[: self.n]

    def wrong(self, free: NDArray[np.bool_], values: NDArray[np.float64], slack: float = 1.0) -> NDArray[np.bool_]:
        """Return free sources that are negative, and others of which more would be better."""
        wants_more = self.slopes(values) < -slack * self.tolerance
        return np.asarray((free & (values[: self.n] < 0)) | (self.active & ~free & wants_more))

    def worth(self, values: NDArray[np.float64]) -> float:
        """Return what is to become least."""
        return float(values @ (0.5 * self.normal.multiply(self.templates, values) - self.right))


def non_negative(
    normal: _rust.Normal, templates: _rust.Templates, active: NDArray[np.bool_], start: NDArray[np.float64]
) -> Bounded:
    """Return the best values of which no source is negative.

    Parameters
    ----------
    normal, templates
        The equations.
    active : ndarray, bool, shape (n,)
        Sources that count.
    start : ndarray, float64, shape (n + n_columns,)
        The best values without bounds.

    Notes
    -----
    Blocks of sources that are wrong are exchanged between free and 0 [1]_, which takes few steps but need not end
    where sources are nearly copies of each other. What has not settled goes on with an active set [2]_: sources that
    want more become free, and the values go from where they are towards the best ones of the free sources until the
    first ones reach 0, so that each step lowers chi square.

    References
    ----------
    .. [1] Portugal, Judice & Vicente 1994, Math. Comput. 63, 625.
    .. [2] Lawson & Hanson 1974, Solving Least Squares Problems, ch. 23.
    """
    problem = _Problem(normal, templates, active, start)
    free, found = active.copy(), start.copy()
    fewest, patience = active.size + 1, _PATIENCE
    for _ in range(_MAX_EXCHANGES):
        wrong = problem.wrong(free, found)
        count = int(wrong.sum())
        if count == 0 or (count >= fewest and patience == 0):
            break
        if count < fewest:
            fewest, patience = count, _PATIENCE
        else:
            patience -= 1
        free = free ^ wrong
        found = problem.solve(free)
    if problem.wrong(free, found).any():
        free, found = _by_active_set(problem, free & (found[: active.size] > 0))
    unsettled = problem.wrong(free, found, slack=_SLACK)
    found[: active.size] = np.maximum(found[: active.size], 0.0)
    return Bounded(values=found, at_bound=active & ~free, is_unsettled=unsettled)


def _by_active_set(problem: _Problem, free: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    n = problem.n
    values = np.zeros(problem.right.size)
    free, values = _descend(problem, free, values)
    worth = problem.worth(values)
    is_single = False
    for _ in range(max(_LEAST_STEPS, _STEPS_PER_SOURCE * n)):
        slopes = problem.slopes(values)
        wants = problem.active & ~free & (slopes < -problem.tolerance)
        if not wants.any():
            break
        if is_single:
            # The one that gains most, in units of its own error, cannot be sent back.
            gain = np.where(wants, -slopes / np.sqrt(np.maximum(problem.normal.diagonal(), 1e-300)), -np.inf)
            wants = np.arange(n) == int(np.argmax(gain))
        more, better = _descend(problem, free | wants, values)
        lower = problem.worth(better)
        has_gained = lower < worth
        if not has_gained and is_single:
            break
        is_single = not has_gained
        if has_gained:
            free, values, worth = more, better, lower
    return free, values


def _descend(
    problem: _Problem, free: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Go towards the best values of the free sources; those that reach 0 on the way are free no longer."""
    n, free = problem.n, free.copy()
    while True:
        best = problem.solve(free)
        falls = free & (best[:n] <= 0)
        if not falls.any():
            return free, best
        room = values[:n][falls] / np.maximum(values[:n][falls] - best[:n][falls], 1e-300)
        part = float(room.min(initial=1.0))
        values = values + part * (best - values)
        values[:n] = np.where(free, np.maximum(values[:n], 0.0), 0.0)
        out = np.zeros(n, bool)
        out[np.flatnonzero(falls)[room <= part]] = True
        free &= ~out
        values[:n][out] = 0.0
