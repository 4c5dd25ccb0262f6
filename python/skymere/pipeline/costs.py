"""What work costs, learnt from the ledger of lakes in which it was done.

Every task of a stage took ``constant + sum of (cost of one x size)``; the sizes of each stage stand in `DRIVERS`.
"""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere import __version__
from skymere._workers import n_cores
from skymere.errors import FormatError, NoDataError, NotFoundError
from skymere.lake import Lake
from skymere.lake.arrays import MANIFEST
from skymere.lake.files import storage, write_whole
from skymere.pipeline.task_sizes import ARRAY_DRIVERS, DRIVERS, SIZES, YIELDS, FieldSizes, sizes_of_lake

__all__ = ["COST_SCHEMA", "CostModel", "fit_costs", "fit_line", "read_costs"]

_TERMS = ("constant", *(f"per_{name}" for name in SIZES))
COST_SCHEMA: Mapping[str, Any] = {
    **dict.fromkeys(("stage", "product", "quantity"), pl.String),
    **dict.fromkeys(_TERMS, pl.Float64),
    "scatter": pl.Float64,
    "n_tasks": pl.Int64,
}
_OF_TASKS = ("seconds", "cpu_seconds", "peak_memory")
_OF_PRODUCTS = ("array_bytes", "table_bytes", "n_files")
_FORMAT = "skymere costs 1"
# Relative residuals below this tell nothing about which sizes matter.
_NOISE = 0.02
# Residuals beyond so many times their scatter count less (Huber's constant for normal errors).
_HUBER = 1.345
_ROUNDS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class CostModel:
    """What tasks cost by their sizes, and how many objects a survey yields; made by `fit_costs`.

    Parameters
    ----------
    stages : polars.DataFrame
        ``stage``; ``product``, empty for what concerns the task as a whole; ``quantity``: ``seconds`` [s],
        ``cpu_seconds`` [s], ``peak_memory`` [MiB], ``array_bytes``: chunks of arrays [byte], ``table_bytes``: rows and
        descriptions of arrays [byte], ``n_files``; ``constant`` and ``per_<size>``
        (`skymere.pipeline.task_sizes.SIZES`); ``scatter``: robust standard deviation of the relative residuals;
        ``n_tasks`` that it was learnt from. ``peak_memory`` is a constant: the largest that a process had.
    yields : mapping of str to float
        Objects for each square arcmin (`skymere.pipeline.task_sizes.YIELDS`), and ``commits_per_product``: entries of
        the logs of all tables for each product of a tile.
    about : mapping of str to str
        Where, when and with what it was measured.
    """

    stages: pl.DataFrame
    yields: Mapping[str, float]
    about: Mapping[str, str]

    def of(self, stage: str, quantity: str, sizes: Mapping[str, float]) -> dict[str, float]:
        """Return what a task costs, by product; empty when nothing was learnt about its stage.

        Parameters
        ----------
        stage, quantity : str
            See `stages`.
        sizes : mapping of str to float
            Of the task.
        """
        return {
            row["product"]: row["constant"] + sum(row[f"per_{name}"] * size for name, size in sizes.items())
            for row in self._rows.get((stage, quantity), ())
        }

    @cached_property
    def _rows(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.stages.iter_rows(named=True):
            found.setdefault((row["stage"], row["quantity"]), []).append(row)
        return found

    def save(self, path: str | Path) -> Path:
        """Write the model as JSON.

        Parameters
        ----------
        path : path-like
            File; replaced when it is there.

        Raises
        ------
        StorageError
            When it cannot be written.
        """
        tree = {
            "format": _FORMAT,
            "about": dict(self.about),
            "yields": dict(self.yields),
            "stages": [
                {name: value for name, value in row.items() if value or name in ("stage", "quantity", "n_tasks")}
                for row in self.stages.iter_rows(named=True)
            ],
        }
        path = Path(path)
        with storage(path), write_whole(path) as new:
            new.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
        return path


def read_costs(path: str | Path) -> CostModel:
    """Read a model that `CostModel.save` has written.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    NotFoundError
        When there is none.
    FormatError
        When it is no model of costs, with the key that is wrong.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"costs: {path}: no such file"
        raise NotFoundError(msg)
    try:
        tree = json.loads(path.read_bytes())
        if tree["format"] != _FORMAT:
            msg = f"{path}: format: {tree['format']!r} is not allowed, it must be {_FORMAT!r}"
            raise FormatError(msg)
        rows = [_row(row, f"{path}: stages[{i}]") for i, row in enumerate(tree["stages"])]
        yields = {str(name): _number(value, f"{path}: yields.{name}") for name, value in tree["yields"].items()}
        about = {str(name): str(value) for name, value in tree["about"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        msg = f"{path} is not a model of costs: {error!r}"
        raise FormatError(msg) from error
    return CostModel(stages=pl.DataFrame(rows, schema=COST_SCHEMA), yields=yields, about=about)


def _row(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    known: dict[str, Any] = {"product": "", **dict.fromkeys(_TERMS, 0.0), "scatter": 0.0}
    for name, value in row.items():
        if name not in COST_SCHEMA:
            msg = f"{where}: {name!r} is not known, it must be one of {list(COST_SCHEMA)}"
            raise FormatError(msg)
        is_text = COST_SCHEMA[name] == pl.String
        known[name] = str(value) if is_text else _number(value, f"{where}.{name}")
    return {name: int(known[name]) if name == "n_tasks" else known[name] for name in COST_SCHEMA}


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
        msg = f"{where}: {value!r} is not allowed, it must be a number that is not negative"
        raise FormatError(msg)
    return float(value)


def fit_costs(lakes: Iterable[Lake | str | Path]) -> CostModel:
    """Learn from the ledgers of lakes what each stage costs.

    Parameters
    ----------
    lakes : iterable of Lake or path-like
        Lakes in which plans were run.

    Returns
    -------
    CostModel
        See there.

    Raises
    ------
    NoDataError
        When their ledgers have no run of a stage.
    SkymereError
        When one of them is no lake.

    Notes
    -----
    Least squares of relative residuals with coefficients that are not negative and Huber's weights, so that a task
    that met a busy moment does not decide. Sizes that make the fit no better, by Schwarz's criterion, are left out:
    where all tiles have one size, a constant and a cost of pixels cannot be told apart, and the pixels have it; files
    and bytes of tables are a constant then.
    Only what the lakes show now is learnt from, because the sizes of older work are gone.

    Examples
    --------
    >>> from skymere.pipeline import fit_costs
    >>> fit_costs(["survey/lake"]).save("costs.json")  # doctest: +SKIP
    """
    opened = [one if isinstance(one, Lake) else Lake.open(one) for one in lakes]
    measured = [sizes_of_lake(lake) for lake in opened]
    tasks = [row for lake, (sizes, _) in zip(opened, measured, strict=True) for row in _of_lake(lake, sizes)]
    if not tasks:
        msg = f"lakes: the ledgers of {[str(lake.path) for lake in opened]} have no run of a stage"
        raise NoDataError(msg)
    rows = []
    for stage, drivers in DRIVERS.items():
        mine = [one for one in tasks if one["stage"] == stage]
        for quantity in _OF_TASKS:
            rows += _fitted(stage, "", quantity, [one for one in mine if one["is_main"]], drivers)
        for product in sorted({one["product"] for one in mine}):
            some = [one for one in mine if one["product"] == product]
            for quantity in _OF_PRODUCTS:
                by = ARRAY_DRIVERS[stage] if quantity == "array_bytes" else drivers
                rows += _fitted(stage, product, quantity, some, by)
    return CostModel(
        stages=pl.DataFrame(rows, schema=COST_SCHEMA),
        yields=_yields(opened, [one for _, one in measured], len(tasks)),
        about=_about(opened),
    )


def _fitted(
    stage: str, product: str, quantity: str, tasks: Sequence[Mapping[str, Any]], drivers: Sequence[str]
) -> list[dict[str, Any]]:
    known = [one for one in tasks if one[quantity] is not None]
    if not known:
        return []
    described = {"stage": stage, "product": product, "quantity": quantity, **dict.fromkeys(_TERMS, 0.0)}
    values = np.array([one[quantity] for one in known], np.float64)
    if quantity == "peak_memory":
        return [described | {"constant": float(values.max()), "scatter": 0.0, "n_tasks": len(known)}]
    sizes = {name: np.array([one["sizes"][name] for one in known], np.float64) for name in drivers}
    # Files and headers come with arrays and tables, and seldom with their size.
    terms, scatter = fit_line(values, sizes, prefers_constant=quantity in ("n_files", "table_bytes"))
    costs = {"constant" if name == "constant" else f"per_{name}": value for name, value in terms.items()}
    return [described | costs | {"scatter": scatter, "n_tasks": len(known)}]


def fit_line(
    values: NDArray[np.float64], sizes: Mapping[str, NDArray[np.float64]], *, prefers_constant: bool = False
) -> tuple[dict[str, float], float]:
    """Fit ``values = constant + sum of (coefficient x size)`` with coefficients that are not negative.

    Parameters
    ----------
    values : ndarray, float64, shape (n,)
        What the tasks cost; not negative.
    sizes : mapping of str to ndarray, float64, shape (n,)
        Their sizes, what matters most first.
    prefers_constant : bool, optional
        Whether a constant is the better guess where it cannot be told from a size.

    Returns
    -------
    terms : dict of str to float
        The coefficients that are not zero, by size, and ``constant``.
    scatter : float
        Robust standard deviation of the relative residuals.
    """
    constant = {"constant": np.ones(values.size)}
    sized = {name: size for name, size in sizes.items() if size.any()}
    columns = constant | sized if prefers_constant else sized | constant
    if not values.any():
        return {}, 0.0
    best: tuple[float, dict[str, float], float] | None = None
    for n_terms in range(1, min(len(columns), values.size) + 1):
        for names in combinations(columns, n_terms):
            found = _robust(values, np.column_stack([columns[name] for name in names]))
            if found is None:
                continue
            coefficients, loss, scatter = found
            # Schwarz's criterion; of equal ones the first holds, which has the sizes that matter most.
            score = values.size * np.log(max(loss, _NOISE**2)) + n_terms * max(np.log(values.size), 1.0)
            if best is None or score < best[0] - 1e-9:
                best = score, dict(zip(names, coefficients.tolist(), strict=True)), scatter
    return (best[1], best[2]) if best else ({"constant": float(np.median(values))}, 0.0)


def _robust(
    values: NDArray[np.float64], design: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, float] | None:
    """Return coefficients, the mean loss and the scatter of relative residuals; None when one would be negative."""
    # What is tiny beside the rest weighs as a tenth of the mean, or it would decide.
    least = 0.1 * values.mean()
    expected, trust = np.maximum(values, least), np.ones(values.size)
    unit = np.abs(design).max(axis=0)
    for _ in range(_ROUNDS):
        weight = np.sqrt(trust) / expected
        if np.linalg.matrix_rank(design / unit * weight[:, None]) < design.shape[1]:
            return None
        solved: NDArray[np.float64] = (
            np.linalg.lstsq(design / unit * weight[:, None], values * weight, rcond=None)[0] / unit
        )
        if (solved < 0).any():
            return None
        expected = np.maximum(design @ solved, least)
        residual = (values - design @ solved) / expected
        scatter = 1.4826 * float(np.median(np.abs(residual)))
        limit = _HUBER * max(scatter, _NOISE)
        trust = np.minimum(1.0, limit / np.maximum(np.abs(residual), limit))
    size = np.abs(residual)
    loss = np.where(size <= limit, size**2, 2 * limit * size - limit**2).mean()
    return solved, float(loss), scatter


def _of_lake(lake: Lake, sizes: FieldSizes) -> list[dict[str, Any]]:
    """Return products that a lake shows with what they cost and their sizes."""
    runs = lake.table("run").filter(pl.col("stage").is_in(list(DRIVERS))).sort("finished").collect()
    for name in ("cpu_seconds", "peak_memory", "bytes_written"):
        if name not in runs.columns:
            runs = runs.with_columns(pl.lit(None, pl.Float64).alias(name))
    live = {product: lake.live_runs(product) for product in runs["product"].unique().to_list()}
    found = []
    for row in runs.unique(["stage", "tile", "product", "run_id"], keep="last", maintain_order=True).iter_rows(
        named=True
    ):
        params = json.loads(row["params"])
        # What was taken back has no sizes, and cost nothing that another run would.
        if live[row["product"]].get(row["tile"]) != row["run_id"] or params.get("is_retired"):
            continue
        chunks, n_files = _arrays(lake, row["product"], row["tile"], row["run_id"])
        found.append(
            {
                **{name: row[name] for name in ("stage", "product", *_OF_TASKS)},
                "is_main": params.get("product") != row["product"],
                "array_bytes": chunks,
                "table_bytes": None if row["bytes_written"] is None else max(row["bytes_written"] - chunks, 0),
                # Those of the arrays, its rows, and the row of its run.
                "n_files": n_files + 2,
                "sizes": sizes.of(row["stage"], row["tile"], json.loads(row["inputs"]), params),
            }
        )
    return found


def _arrays(lake: Lake, product: str, tile: str, run: str) -> tuple[int, int]:
    """Return the bytes of the chunks of a product's arrays, and how many files, or objects, they are with all else."""
    folder = lake.array_folder(product, tile, run)
    if not folder:
        return 0, 0
    files = json.loads((lake.path / folder / MANIFEST).read_bytes())["files"]
    return sum(size for name, (size, _) in files.items() if "/c/" in name), len(files) + 1


def _yields(lakes: Sequence[Lake], measured: Sequence[Mapping[str, float]], n_products: int) -> dict[str, float]:
    found = {}
    for name in YIELDS:
        some = [one[name] for one in measured if name in one]
        if some:
            found[name] = float(np.mean(some))
    commits = sum(version + 1 for lake in lakes for version in lake.versions().values())
    return found | {"commits_per_product": commits / n_products}


def _about(lakes: Sequence[Lake]) -> dict[str, str]:
    hosts = sorted({host for lake in lakes for host in lake.table("run").select("host").unique().collect()["host"]})
    return {
        "lakes": ", ".join(str(lake.path) for lake in lakes),
        "hosts": ", ".join(hosts),
        "learnt": datetime.now(UTC).isoformat(timespec="seconds"),
        "learnt_on": f"{platform.machine()}, {n_cores()} cores",
        "skymere": __version__,
    }
