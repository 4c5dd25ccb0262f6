"""The content hash: equal for two lakes that say the same, however they came to it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from skymere.lake.arrays import ArrayGroup
from skymere.lake.ledger import about_objects
from skymere.lake.schemas import Schema

__all__ = ["content_hash"]


def content_hash(
    table: Callable[[str], pl.LazyFrame],
    schema_of: Callable[[str], Schema],
    arrays: Callable[[str, str], ArrayGroup],
    live: Mapping[str, Mapping[str, str]],
) -> str:
    """Return sha256 over decoded arrays and key-sorted rows, without what differs between equal lakes.

    Parameters
    ----------
    table : callable
        Rows of a product.
    schema_of : callable
        Schema of a product.
    arrays : callable
        Arrays of a product and tile.
    live : mapping
        Tiles of each product.
    """
    total = hashlib.sha256()
    # A product without rows says nothing: skymere had none of it once.
    for product in sorted(name for name, tiles in live.items() if tiles):
        schema = schema_of(product)
        frame = table(product).collect()
        if product == "run_item":
            # Tasks that failed or were held are the history of a lake, not its content.
            frame = about_objects(frame.lazy()).collect()
            if frame.is_empty():
                continue
        _add_rows(total, schema, frame)
        if schema.arrays:
            for tile in sorted(live[product]):
                _add_text(total, tile)
                _add_group(total, arrays(product, tile))
    return total.hexdigest()


def _add_rows(total: Any, schema: Schema, frame: pl.DataFrame) -> None:
    # A column without a value says nothing: it is there because the lake once had that band.
    silent = {values.name for values in frame if values.null_count() == frame.height}
    # Nor does a text that is empty in every row, when a minor version has added it.
    texts = {column.name for column in schema.columns if column.is_text and not column.nullable}
    silent |= {v.name for v in frame if v.dtype == pl.String and v.name not in texts and (v == "").all()}
    names = sorted(set(frame.columns) - silent - schema.not_content)
    frame = frame.select(names)
    # Keys that name a run stay out of the hash, so all other columns take part in the order.
    keys = [key for key in schema.primary_key if key in names]
    frame = frame.sort([*keys, *(name for name in names if name not in keys)], nulls_last=True)
    _add_text(total, f"{schema.product} {frame.height}")
    for name in names:
        values = frame[name]
        _add_text(total, f"{name} {values.dtype}")
        total.update(np.packbits(values.is_null().to_numpy()).tobytes())
        if values.dtype == pl.String:
            for text in values.fill_null(""):
                _add_text(total, text)
        else:
            total.update(np.ascontiguousarray(values.fill_null(0).to_numpy()).tobytes())


def _add_group(total: Any, group: ArrayGroup) -> None:
    for path in sorted(group):
        array = group[path]
        _add_text(total, f"{path} {array.dtype} {array.shape} {array.dims}")
        total.update(np.ascontiguousarray(array[...]).tobytes())
    for path in sorted(group.nodes):
        attributes = {key: value for key, value in group.attributes(path).items() if key != "skymere"}
        _add_text(total, path + json.dumps(attributes, sort_keys=True))


def _add_text(total: Any, text: str) -> None:
    data = text.encode()
    total.update(len(data).to_bytes(8, "little") + data)
