"""Parameter dataclasses from tables: what plans, presets and the command line have in common."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from skymere.errors import InvalidInputError

__all__ = ["ParamFault", "build_params", "check_params", "known_keys", "resolve_params", "section_class"]


@dataclass(frozen=True, kw_only=True)
class ParamFault:
    """What is wrong with a key.

    Parameters
    ----------
    key : str
        Dotted name; a section's when several of its keys do not fit together.
    value : object
        What it was given; None when it is missing.
    message : str
        What is wrong, and what is allowed; names the key.
    """

    key: str
    value: Any
    message: str


def build_params(
    cls: Any, table: Mapping[str, Any], *, where: str = "", skip: tuple[str, ...] = (), base: Any = None
) -> Any:
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
    base : object, optional
        Instance of ``cls`` whose values stand where the table says nothing; the defaults of the class when not given.

    Notes
    -----
    A table for a field that holds a dataclass begins with what that field holds by default, which need not be what the
    class of the field does.

    Raises
    ------
    InvalidInputError
        When a key is unknown or missing, or a value is not allowed.
    """
    made, faults = check_params(cls, table, where=where, skip=skip, base=base)
    if faults:
        raise InvalidInputError(faults[0].message)
    return made


def check_params(
    cls: Any, table: Mapping[str, Any], *, where: str = "", skip: tuple[str, ...] = (), base: Any = None
) -> tuple[Any, list[ParamFault]]:
    """Return what `build_params` would, and everything that is wrong with the table, not the first fault alone.

    Parameters
    ----------
    cls, table, where, skip, base
        As in `build_params`.

    Returns
    -------
    object
        The dataclass, made of the keys that are right; None when there is none, because a key is missing or the keys
        that are right do not fit together.
    list of ParamFault
        Unknown and missing keys, values that are not allowed and keys that contradict each other.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in skip}
    faults = [_unknown(key, table[key], where, cls, skip) for key in table if key not in fields]
    for name, spec in fields.items():
        if base is None and name not in table and _is_required(spec):
            faults.append(ParamFault(key=f"{where}{name}", value=None, message=f"key {where}{name} is missing"))
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in fields:
            values |= _converted(key, value, hints[key], _held(base, fields[key]), where, faults)
    if base is None and any(_is_required(spec) and name not in values for name, spec in fields.items()):
        return None, faults
    made, wrong = _made(cls, values, base, where, required={n for n, spec in fields.items() if _is_required(spec)})
    return made, faults + wrong


def known_keys(cls: Any, where: str = "", skip: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted names of all keys of a dataclass and of those that its fields hold.

    Parameters
    ----------
    cls : type
        The dataclass.
    where : str, optional
        Begin of the names.
    skip : tuple of str, optional
        Fields that no key may set.
    """
    hints = typing.get_type_hints(cls)
    for one in dataclasses.fields(cls):
        if one.name not in skip:
            yield f"{where}{one.name}"
            if (below := section_class(hints[one.name])) is not None:
                yield from known_keys(below, f"{where}{one.name}.")


def section_class(hint: Any) -> Any:
    """Return the dataclass that a table of a type hint makes; None when the hint wants something else.

    Parameters
    ----------
    hint : object
        A dataclass, one that may be None, or anything else.
    """
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint, *_) = (one for one in typing.get_args(hint) if one is not type(None))
    return hint if dataclasses.is_dataclass(hint) else None


def _is_required(spec: dataclasses.Field[Any]) -> bool:
    return spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING


def _held(base: Any, spec: dataclasses.Field[Any]) -> Any:
    """Return what a field holds where a table says nothing; None when that is nothing."""
    if base is not None:
        return getattr(base, spec.name)
    if spec.default_factory is not dataclasses.MISSING:
        return spec.default_factory()
    return None if spec.default is dataclasses.MISSING else spec.default


def _unknown(key: str, value: Any, where: str, cls: Any, skip: tuple[str, ...]) -> ParamFault:
    fields = [one.name for one in dataclasses.fields(cls) if one.name not in skip]
    near = [f"{where}{name}" for name in difflib.get_close_matches(key, fields, n=3)]
    if not near:
        deeper = [name for name in known_keys(cls, where, skip) if name.rpartition(".")[2] == key]
        near = deeper[:3]
    msg = f"unknown key {where}{key}; allowed are {', '.join(where + name for name in fields)}"
    if near:
        msg = f"{msg}; nearest: {', '.join(near)}"
    return ParamFault(key=f"{where}{key}", value=value, message=msg)


def _converted(key: str, value: Any, hint: Any, held: Any, where: str, faults: list[ParamFault]) -> dict[str, Any]:
    """Return the value of a key for its field, nothing when it is not allowed; faults go to the list."""
    section = section_class(hint)
    if section is not None and isinstance(value, Mapping):
        base = held if isinstance(held, section) else None
        made, wrong = check_params(section, value, where=f"{where}{key}.", base=base)
        faults += wrong
        return {key: made} if made is not None else {}
    item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
    if item is not None and dataclasses.is_dataclass(item) and isinstance(value, list):
        parts = []
        for number, one in enumerate(value):
            if not isinstance(one, Mapping):
                faults.append(_not_allowed(f"{where}{key}[{number}]", one, "a table"))
                continue
            made, wrong = check_params(item, one, where=f"{where}{key}[{number}].")
            faults += wrong
            parts.append(made)
        return {key: tuple(parts)} if all(one is not None for one in parts) else {}
    try:
        return {key: _convert(hint, value, f"{where}{key}")}
    except InvalidInputError as error:
        faults.append(ParamFault(key=f"{where}{key}", value=value, message=str(error)))
        return {}


def _made(
    cls: Any, values: Mapping[str, Any], base: Any, where: str, required: set[str]
) -> tuple[Any, list[ParamFault]]:
    """Return the dataclass, and what it refuses."""

    def make(some: Mapping[str, Any]) -> Any:
        return cls(**some) if base is None else dataclasses.replace(base, **some)

    # What the class refuses is left out, and what is left is tried again.
    fine = dict(values)
    faults: list[ParamFault] = []
    while True:
        try:
            return make(fine), faults
        except InvalidInputError as error:
            faults.append(_refused(error, where, values))
            blamed = {name for name in _told(error) if name in fine} - required
            if not blamed:
                return None, faults
            fine = {key: value for key, value in fine.items() if key not in blamed}


_KEYS = re.compile(r"([a-z][a-z0-9_.]*(?:, [a-z][a-z0-9_.]*)*): ")


def _told(error: InvalidInputError) -> list[str]:
    """Return the names of keys with which a message begins."""
    told = _KEYS.match(str(error))
    return told[1].split(", ") if told else []


def _refused(error: InvalidInputError, where: str, values: Mapping[str, Any]) -> ParamFault:
    """Return the fault that the class of a section found; its message begins with the names of the keys."""
    names = _told(error)
    known = [values[name] for name in names if name in values]
    key = f"{where}{names[0]}" if len(names) == 1 else where.rstrip(".")
    value = known[0] if len(known) == 1 else known or None
    section = where.rstrip(".")
    return ParamFault(key=key, value=value, message=f"in [{section}]: {error}" if section else str(error))


def _not_allowed(where: str, value: Any, wanted: str) -> ParamFault:
    return ParamFault(key=where, value=value, message=f"{where}: {value!r} is not allowed, it must be {wanted}")


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
