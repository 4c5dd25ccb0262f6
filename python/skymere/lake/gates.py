"""Gates: conditions on the rows of a product that decide whether it is published or held until somebody accepts it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from skymere.errors import InvalidInputError
from skymere.lake.conditions import Condition, parse_condition
from skymere.lake.forms import polars_schema
from skymere.lake.schemas import Schema, load_schema, products

__all__ = ["Gate", "digest_of_gates", "reason_to_hold"]

_LEDGER = ("run", "run_item", "alias")
# Rows that a reason names.
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A rule that holds a product of a tile when a row matches: ``[[gates]]`` of a plan.

    Parameters
    ----------
    product : str
        The product whose rows are looked at.
    hold : str
        Condition on its columns, such as ``n_exposures < 2 or status != 'ok'``: comparisons of columns, numbers and
        texts, ``is null``, ``and``, ``or``, ``not`` and brackets.
    reason : str
        What it means, for people.

    Raises
    ------
    InvalidInputError
        When there is no such product or column, or the condition is not one.
    """

    product: str
    hold: str
    reason: str

    def __post_init__(self) -> None:
        allowed = [name for name in products() if name not in _LEDGER]
        if self.product not in allowed:
            msg = f"product: {self.product!r} is not allowed, it must be one of {', '.join(allowed)}"
            raise InvalidInputError(msg)
        if not self.reason.strip():
            msg = f"reason: {self.reason!r} is not allowed, it must say what is wrong with {self.product!r}"
            raise InvalidInputError(msg)
        try:
            condition = parse_condition(self.hold)
            schema = load_schema(self.product)
            condition.check(polars_schema(schema.expand(schema.bands(condition.columns))))
        except InvalidInputError as error:
            msg = f"gate of {self.product!r}, hold = {self.hold!r}: {error}"
            raise InvalidInputError(msg) from None

    @property
    def condition(self) -> Condition:
        """The condition."""
        return parse_condition(self.hold)


def digest_of_gates(gates: Iterable[Gate]) -> str:
    """Return a digest of what gates hold: another one asks for another look. Empty without gates."""
    rules = sorted({(gate.product, gate.hold) for gate in gates})
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()[:16] if rules else ""


def reason_to_hold(gates: Sequence[Gate], schema: Schema, frame: pl.DataFrame) -> str:
    """Return why a product is held: the gates that match, and the rows; empty when none does.

    Parameters
    ----------
    gates : sequence of Gate
        Gates of any product.
    schema : Schema
        Schema of the product.
    frame : polars.DataFrame
        All rows of the tile.
    """
    found = []
    for gate in gates:
        if gate.product != schema.product:
            continue
        condition = gate.condition
        # A band that no row of this tile has.
        kinds = polars_schema(schema.expand(schema.bands(condition.columns)))
        absent = [pl.lit(None, kinds[name]).alias(name) for name in condition.columns if name not in frame.columns]
        rows = frame.with_columns(absent).filter(condition.expr)
        if rows.height:
            found.append(f"{gate.reason}: {gate.hold}: {_described(rows, frame.height, schema)}")
    return "; ".join(found)


def _described(rows: pl.DataFrame, n_all: int, schema: Schema) -> str:
    keys = [name for name in schema.primary_key if name not in ("tile", "run_id")]
    some = [", ".join(f"{name} {row[name]}" for name in keys) for row in rows.head(_NAMED).iter_rows(named=True)]
    named = f" ({'; '.join(some)}{'; ...' if rows.height > _NAMED else ''})" if keys else ""
    return f"{rows.height} of {n_all} rows{named}"
