"""What goes over the wire: JSON without NaN, with identifiers as texts, for JavaScript keeps 53 bits of a number."""

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

__all__ = ["plain", "rows_of", "to_json"]

_EXACT = 2**53


def to_json(value: Any) -> bytes:
    """Return a value as JSON, UTF-8."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def plain(value: Any) -> Any:  # noqa: PLR0911
    """Return a value as JSON has it: null for what is not finite, a text for integers that doubles do not hold."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value) if -_EXACT < int(value) < _EXACT else str(int(value))
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | pl.Series):
        return [plain(one) for one in value.to_list()] if isinstance(value, pl.Series) else plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def rows_of(frame: pl.DataFrame) -> list[list[Any]]:
    """Return the rows of a table; a column of identifiers is of texts throughout."""
    columns = []
    for name in frame.columns:
        series = frame[name]
        is_long = series.dtype in (pl.Int64, pl.UInt64) and series.len() > 0 and _is_long(series)
        columns.append([None if v is None else str(v) for v in series] if is_long else plain(series))
    return [list(row) for row in zip(*columns, strict=True)] if columns else []


def _is_long(series: pl.Series) -> bool:
    if series.name == "_healpix_29" or series.name.endswith("_id"):
        return True
    low, high = series.min(), series.max()
    return low is not None and high is not None and (int(str(low)) <= -_EXACT or int(str(high)) >= _EXACT)
