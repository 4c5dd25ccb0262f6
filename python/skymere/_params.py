"""Parameter dataclasses from tables: what plans, presets and the command line have in common."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from skymere.errors import InvalidInputError

__all__ = ["build_params"]


def build_params(cls: Any, table: Mapping[str, Any], *, where: str = "", skip: tuple[str, ...] = ()) -> Any:
    """Return a parameter dataclass made of a nested table.

    Parameters
    ----------
    cls : type
        The dataclass.
    table : mapping
        Field to value, as TOML has them: lists for tuples, tables for dataclasses, ``false`` for None where None is
        allowed.
    where : str, optional
        Begin of the names of keys in errors.
    skip : tuple of str, optional
        Fields that no key may set.

    Raises
    ------
    InvalidInputError
        When a key is unknown or missing, or a value is not allowed.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in skip}
    for key in table:
        if key not in fields:
            msg = f"unknown key {where}{key}; allowed are {', '.join(where + name for name in fields)}"
            raise InvalidInputError(msg)
    for name, spec in fields.items():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if required and name not in table:
            msg = f"key {where}{name} is missing"
            raise InvalidInputError(msg)
    values = {key: _convert(hints[key], value, f"{where}{key}") for key, value in table.items()}
    try:
        return cls(**values)
    except InvalidInputError as error:
        msg = f"in [{where.rstrip('.')}]: {error}"
        raise InvalidInputError(msg) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check a TOML value against a type hint; ``false`` stands for None where None is allowed."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    result: Any = None
    if origin in (types.UnionType, typing.Union) and type(None) in arguments:
        rest = [argument for argument in arguments if argument is not type(None)]
        return None if value is False else _convert(rest[0], value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return build_params(hint, value, where=f"{where}.")
    if origin is Literal:
        allowed, result = value in arguments and not isinstance(value, bool), value
        wanted = " or ".join(repr(argument) for argument in arguments)
    elif origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        wanted, allowed = f"a list of {len(kinds)}", len(kinds) == len(value)
        if allowed:
            result = tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    elif hint is float:
        allowed, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        result = float(value) if allowed else None
    else:
        wanted = {bool: "true or false", int: "a whole number", str: "a text"}.get(hint, "a table or list")
        allowed = hint in (bool, int, str) and type(value) is hint
        result = value
    if not allowed:
        msg = f"{where}: {value!r} is not allowed, it must be {wanted}"
        raise InvalidInputError(msg)
    return result
