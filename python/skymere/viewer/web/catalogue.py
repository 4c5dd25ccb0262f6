"""Tables of a lake, a page at a time: filters, orders, and counts for plots."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.lake import Condition, parse_condition, parse_value
from skymere.viewer.web.answers import plain, rows_of
from skymere.viewer.web.reading import LakeReader, OpenTable

__all__ = ["MOST_POINTS", "MOST_ROWS", "Catalogue", "Question"]

MOST_ROWS = 500
# More points than this are counted in cells.
MOST_POINTS = 20_000
# Positions and identifiers are signed integers of 64 bits in Polars.
_LARGEST = 2**63 - 1
_N_BINS = 60
_CELLS = (160, 120)
_N_ORDERS = 8
# What lies outside these percentiles stretches a plot and shows nothing.
_PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A part of a table.

    Parameters
    ----------
    table : str
        Product, or imported catalogue.
    where : str, optional
        Condition on its columns; see `skymere.lake.parse_condition`. Empty for all rows.
    sort : str, optional
        Column by which rows are ordered, missing values last; empty for the order of the table.
    descending : bool, optional
        Largest first.
    columns : tuple of str, optional
        Columns; empty for all.
    first, n : int, optional
        First row and number of rows, at most 500.
    """

    table: str
    where: str = ""
    sort: str = ""
    descending: bool = False
    columns: tuple[str, ...] = ()
    first: int = 0
    n: int = 100


class Catalogue:
    """The tables of a lake.

    Parameters
    ----------
    reader : LakeReader
        The lake.

    Notes
    -----
    Keys of the rows of the last filters and orders are kept, so that scrolling reads only the rows that are seen; they
    are found anew when the table shows other runs.
    """

    def __init__(self, reader: LakeReader) -> None:
        self._reader = reader
        self._kept: OrderedDict[tuple[Any, ...], pl.DataFrame] = OrderedDict()
        self._lock = Lock()

    def tables(self) -> list[dict[str, Any]]:
        """Return the tables that have rows, by name, with what they are and how many rows they have."""
        lake = self._reader.lake
        found = []
        for name in lake.names():
            if self._reader.runs(name):
                n_rows = lake.table(name).select(pl.len()).collect().item()
                found.append({"name": name, "description": lake.schema(name).description, "n_rows": n_rows})
        return found

    def columns(self, table: str) -> list[dict[str, Any]]:
        """Return name, kind, unit and description of each column of a table."""
        dtypes = self._reader.table(table).dtypes
        schema = self._reader.lake.schema(table)
        known = {column.name: column for column in schema.expand(schema.bands(dtypes))}
        return [
            {
                "name": name,
                "kind": "number" if dtype.is_numeric() else "boolean" if dtype == pl.Boolean else "text",
                "unit": known[name].unit if name in known else "",
                "description": known[name].description if name in known else "",
            }
            for name, dtype in dtypes.items()
        ]

    def page(self, question: Question) -> dict[str, Any]:
        """Return rows, and how many there are.

        Raises
        ------
        InvalidInputError
            When the condition, the order or a column are not allowed.
        NotFoundError
            When there is no such table.
        """
        opened = self._reader.table(question.table)
        names = question.columns or tuple(opened.dtypes)
        _check_columns(question, opened)
        if not (0 <= question.first <= _LARGEST and 1 <= question.n <= MOST_ROWS):
            msg = f"first, n: {question.first}, {question.n} are not allowed, from 0 and 1 to {MOST_ROWS} are"
            raise InvalidInputError(msg)
        keys = self._keys(question, opened)
        rows = self._rows(opened.frame, keys.slice(question.first, question.n), names)
        return {"n_matching": keys.height, "first": question.first, "columns": list(names), "rows": rows_of(rows)}

    def place(self, question: Question, key: int) -> int | None:
        """Return at which row of a filter and order an object stands, by the first column of the key of the table.

        Raises
        ------
        InvalidInputError
            When the condition or the order are not allowed, or the key of the table does not begin with a number.
        NotFoundError
            When there is no such table.
        """
        opened = self._reader.table(question.table)
        _check_columns(question, opened)
        first = self._reader.lake.schema(question.table).primary_key[0]
        if not opened.dtypes[first].is_integer():
            msg = f"table: {question.table!r} is not allowed, its rows are named by {first!r}, which is no whole number"
            raise InvalidInputError(msg)
        if not -_LARGEST <= key <= _LARGEST:
            return None
        keys = self._keys(question, opened)
        found = keys.select((pl.first() == key).arg_true()).to_series()
        return int(found[0]) if found.len() else None

    def histogram(self, table: str, x: str, *, where: str = "", n_bins: int = _N_BINS) -> dict[str, Any]:
        """Return the counts of a column, or of what is reckoned from columns, in equal bins.

        Raises
        ------
        InvalidInputError
            When the value or the condition are not allowed.
        """
        values = self._values(table, {"x": x}, where)["x"].to_numpy()
        low, high = _range(values)
        counts, edges = np.histogram(values, bins=max(1, min(n_bins, 500)), range=(low, high))
        outside = int(values.size - counts.sum())
        return {"edges": plain(edges), "counts": plain(counts), "n": int(values.size), "n_outside": outside}

    def scatter(self, table: str, x: str, y: str, *, where: str = "") -> dict[str, Any]:
        """Return the points of two columns with their keys, or their counts in cells when there are many.

        Raises
        ------
        InvalidInputError
            When a value or the condition are not allowed.
        """
        key = self._reader.lake.schema(table).primary_key[0]
        values = self._values(table, {"x": x, "y": y}, where, key)
        xs, ys = values["x"].to_numpy(), values["y"].to_numpy()
        ranges = [_range(xs), _range(ys)]
        told = {"n": values.height, "x_range": ranges[0], "y_range": ranges[1]}
        if values.height <= MOST_POINTS:
            return {**told, "x": plain(xs), "y": plain(ys), "key": [str(one) for one in values["key"]]}
        counts, _, _ = np.histogram2d(xs, ys, bins=_CELLS, range=ranges)
        return {**told, "cells": plain(counts.astype(np.int64).T)}

    def sql(self, query: str, most: int) -> dict[str, Any]:
        """Return the first rows of a question in SQL; see `skymere.lake.Lake.sql`.

        Raises
        ------
        InvalidInputError
            When it is not understood, or reads anything but tables of the lake.
        """
        try:
            rows = self._reader.lake.sql(query).head(most).collect()
        except pl.exceptions.PolarsError as error:
            msg = f"query: {error}"
            raise InvalidInputError(msg) from error
        return {"columns": rows.columns, "rows": rows_of(rows)}

    def condition(self, table: str, where: str) -> Condition | None:
        """Return a condition that was compared with a table, None for an empty one."""
        if not where.strip():
            return None
        condition = parse_condition(where)
        condition.check(self._reader.table(table).dtypes)
        return condition

    def filtered(self, table: str, where: str) -> pl.LazyFrame:
        """Return the rows of a table that a condition chooses."""
        frame = self._reader.table(table).frame
        condition = self.condition(table, where)
        return frame if condition is None else frame.filter(condition.expr)

    def _values(self, table: str, wanted: dict[str, str], where: str, key: str = "") -> pl.DataFrame:
        """Return what is reckoned from columns, float64, rows where all of it is finite."""
        frame = self.filtered(table, where)
        dtypes = self._reader.table(table).dtypes
        exprs = []
        for name, text in wanted.items():
            value = parse_value(text)
            value.check(dtypes)
            exprs.append(value.expr.cast(pl.Float64).alias(name))
        chosen = frame.select(*exprs, *([pl.col(key).alias("key")] if key else []))
        return chosen.filter(pl.all_horizontal(pl.col(name).is_finite() for name in wanted)).collect()

    def _keys(self, question: Question, opened: OpenTable) -> pl.DataFrame:
        """Return the keys of all rows of a filter, in order."""
        state = frozenset(opened.runs.items())
        known = (question.table, question.where, question.sort, question.descending, state)
        with self._lock:
            if known in self._kept:
                self._kept.move_to_end(known)
                return self._kept[known]
        condition = self.condition(question.table, question.where)
        chosen = opened.frame if condition is None else opened.frame.filter(condition.expr)
        key = list(self._reader.lake.schema(question.table).primary_key)
        order = [question.sort] if question.sort and question.sort not in key else []
        keys = chosen.select(*key, *order).collect()
        if question.sort:
            keys = keys.sort(question.sort, descending=question.descending, nulls_last=True, maintain_order=True)
        keys = keys.select(key)
        with self._lock:
            self._kept[known] = keys
            while len(self._kept) > _N_ORDERS:
                self._kept.popitem(last=False)
        return keys

    def _rows(self, frame: pl.LazyFrame, keys: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
        key = keys.columns
        first = keys[key[0]]
        if first.is_empty():
            return frame.select(names).head(0).collect()
        near = (pl.col(key[0]) >= first.min()) & (pl.col(key[0]) <= first.max())
        wanted = list(dict.fromkeys([*key, *names]))
        found = frame.filter(near & pl.col(key[0]).is_in(first.unique().implode())).select(wanted).collect()
        return keys.join(found, on=key, how="left", maintain_order="left", nulls_equal=True).select(names)


def _check_columns(question: Question, opened: OpenTable) -> None:
    for name in [*question.columns, *([question.sort] if question.sort else [])]:
        if name not in opened.dtypes:
            msg = f"columns, sort: {name!r} is not in table {question.table!r}, which has {', '.join(opened.dtypes)}"
            raise InvalidInputError(msg)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = (float(one) for one in np.percentile(values, _PERCENTILES))
    return (low, high) if high > low else (low - 0.5, low + 0.5)
