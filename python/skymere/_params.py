"""Parameter dataclasses from tables: what plans, presets and the command line have in common."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from skymere.errors import InvalidInputError

__all__ = ["build_params", "resolve_params"]


def build_params(cls: Any, table: Mapping[str, Any], *, where: str = "", skip: tuple[str, ...] = ()) -> Any:
    """Return a parameter dataclass made of a nested table.

    Parameters
    ----------
    cls : type
        The dataclass.
    table : mapping
        Field to value, as TOML and JSON have them: lists for tuples, tables for dataclasses, ``false`` or ``null`` for
        None where None is allowed.
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
    """Check a value of TOML or JSON against a type hint; ``false`` stands for None where None is allowed."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    result: Any = None
    if origin in (types.UnionType, typing.Union) and type(None) in arguments:
        rest = [argument for argument in arguments if argument is not type(None)]
        return None if value is False or value is None else _convert(rest[0], value, where)
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


def resolve_params(
    cls: Any, given: Mapping[str, Any], preset: Mapping[str, Any] | None = None, *, preset_name: str = ""
) -> tuple[Any, tuple[tuple[str, Any, str], ...]]:
    """Return parameters of given values, of a preset where nothing was given, and of defaults, with their sources.

    Parameters
    ----------
    cls : type
        The dataclass.
    given : mapping
        Nested table, as in `build_params`.
    preset : mapping, optional
        Dotted key to value.
    preset_name : str, optional
        What the preset is called in the sources.

    Returns
    -------
    object
        An instance of ``cls``.
    tuple of (str, object, str)
        Dotted key, value, and ``given``, ``preset NAME`` or ``default``.

    Raises
    ------
    InvalidInputError
        When a key is unknown or a value is not allowed.
    """
    mine = dict(_leaves(given))
    added = {
        key: value
        for key, value in (preset or {}).items()
        if not any(_covers(one, key) or _covers(key, one) for one in mine)
    }
    params = build_params(cls, _nested(added | mine))

    def source(key: str) -> str:
        for values, name in ((mine, "given"), (added, f"preset {preset_name}")):
            if any(_covers(one, key) for one in values):
                return name
        return "default"

    return params, tuple((key, value, source(key)) for key, value in _values(params))


def _covers(one: str, key: str) -> bool:
    """Return whether a key is the other, or a table that holds it."""
    return key == one or key.startswith(f"{one}.")


def _leaves(table: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        *tables, last = key.split(".")
        table = out
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    return out


def _values(params: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested parameters with its dotted key."""
    for one in dataclasses.fields(params):
        value = getattr(params, one.name)
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{where}{one.name}.")
        else:
            yield f"{where}{one.name}", value
