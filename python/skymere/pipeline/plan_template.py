"""A plan to begin with: every section and every key with its default and a line about it."""

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from skymere._params import section_class
from skymere.errors import ConflictError, InvalidInputError, StorageError
from skymere.pipeline.plan import Plan
from skymere.pipeline.plan_words import key_comments, section_comment

__all__ = ["PLAN_KINDS", "PlanKind", "plan_template", "write_plan_template"]

PlanKind = Literal["imaging", "photometry", "grism", "slits", "all"]
PLAN_KINDS: tuple[PlanKind, ...] = get_args(PlanKind)

_PHOTOMETRY = frozenset({"profiles", "photometry"})
_GRISM = frozenset({"contam", "beams", "maps"})
_SLITS = frozenset({"slits"})
_REDSHIFTS = frozenset({"redshifts"})
_IMAGING = frozenset({"outliers", "mosaic", "psf", "detect", "measure", "cutouts", "align", "background", "ingest"})
# Sections that a kind of plan has no use for; all others stand in it.
_LEFT_OUT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "imaging": _PHOTOMETRY | _GRISM | _SLITS | _REDSHIFTS,
        "photometry": _GRISM | _SLITS | _REDSHIFTS,
        "grism": _PHOTOMETRY | _SLITS,
        "slits": _IMAGING | _PHOTOMETRY | _GRISM,
        "all": frozenset(),
    }
)
_EXPOSURES = {"survey.exposures": ["exposures/*_flt.fits"]}
_MEASURED = {"psf.source": "stars", "profiles.band": "f160w", "photometry.bands": ["f125w"]}
_DISPERSED = {
    "contam.files": ["exposures/*g_flt.fits"],
    "contam.conf": "CONF/",
    "redshifts.grism.templates": "templates/",
}
_SHUTTERS = {"slits.files": ["spectra/*_phot.*.fits"]}
# What must be given, which is not commented out; the values are those of the documentation.
_GIVEN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "imaging": _EXPOSURES,
        "photometry": _EXPOSURES | _MEASURED,
        "grism": _EXPOSURES | _DISPERSED,
        "slits": {"survey.exposures": [], "tile.kind": "healpix"} | _SHUTTERS,
        "all": _EXPOSURES | _MEASURED | _DISPERSED | _SHUTTERS,
    }
)


def plan_template(kind: PlanKind = "imaging") -> str:
    """Return a plan in which every key stands with its default, commented out unless it must be given.

    Parameters
    ----------
    kind : {"imaging", "photometry", "grism", "slits", "all"}, optional
        What the plan is for: which sections it has, and which keys are given.

    Raises
    ------
    InvalidInputError
        When there is no such kind.

    Examples
    --------
    >>> from skymere.pipeline import plan_template
    >>> print(plan_template("imaging").splitlines()[8])
    exposures = ["exposures/*_flt.fits"]
    """
    if kind not in _GIVEN:
        msg = f"kind: {kind!r} is not allowed, it must be one of {', '.join(_GIVEN)}"
        raise InvalidInputError(msg)
    lines = [
        f"# A plan of skymere for {'everything' if kind == 'all' else kind}: `skymere plan check` looks for faults,",
        "# `skymere plan explain` says what it would do, `skymere run` does it.",
        "# A key behind # has its default; what is not commented out must be given.",
        "# Paths begin at the folder of this file.",
    ]
    writer = _Writer(dict(_GIVEN[kind]))
    hints = typing.get_type_hints(Plan)
    for one in dataclasses.fields(Plan):
        if one.name != "folder" and one.name not in _LEFT_OUT[kind]:
            lines += writer.field(hints[one.name], one.name, _default(one))
    return "\n".join(lines) + "\n"


def write_plan_template(path: str | Path, kind: PlanKind = "imaging", *, replace: bool = False) -> Path:
    """Write what `plan_template` returns, and return the path.

    Parameters
    ----------
    path : path-like
        The file.
    kind : {"imaging", "photometry", "grism", "slits", "all"}, optional
        What the plan is for.
    replace : bool, optional
        Whether a file that is there is replaced.

    Raises
    ------
    InvalidInputError
        When there is no such kind.
    ConflictError
        When the file is there and is not to be replaced.
    StorageError
        When it cannot be written.
    """
    path, text = Path(path), plan_template(kind)
    try:
        with path.open("w" if replace else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        msg = f"{path}: is there already, it is not replaced unless you say so"
        raise ConflictError(msg) from error
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    return path


class _Writer:
    """Writes sections; keys that are given are taken from a table."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given

    def field(self, hint: Any, name: str, default: Any) -> list[str]:
        """Return the lines of a field of the plan: a section, or several of one kind."""
        section, item = section_class(hint), _item(hint)
        if section is not None:
            instance = default if isinstance(default, section) else None
            return list(self.section(section, name, instance, is_off=False))
        if item is not None:
            return list(_repeated(item, name))
        return list(self.key(key_comments(Plan).get(name, ""), hint, name, name, default, is_off=False))

    def section(self, cls: Any, where: str, instance: Any, *, is_off: bool, comment: str = "") -> Iterator[str]:
        """Yield the lines of a table and of those in it; an `is_off` one is None by default, and stays commented."""
        hints, words = typing.get_type_hints(cls), key_comments(cls)
        fields = dataclasses.fields(cls)
        yield ""
        yield f"# {comment or section_comment(cls)}"
        yield f"# [{where}]  # none by default" if is_off else f"[{where}]"
        nested = []
        for one in fields:
            if section_class(hints[one.name]) is not None:
                nested.append(one)
            elif _item(hints[one.name]) is None:
                value = getattr(instance, one.name) if instance is not None else _default(one)
                comment = words.get(one.name, "")
                yield from self.key(comment, hints[one.name], f"{where}.{one.name}", one.name, value, is_off=is_off)
        for one in fields:
            if (item := _item(hints[one.name])) is not None:
                yield from _repeated(item, f"{where}.{one.name}")
        for one in nested:
            below = section_class(hints[one.name])
            held = getattr(instance, one.name) if instance is not None else _default(one)
            off = is_off or not isinstance(held, below)
            inside = held if isinstance(held, below) else None
            comment = words.get(one.name, "")
            yield from self.section(below, f"{where}.{one.name}", inside, is_off=off, comment=comment)

    def key(self, comment: str, hint: Any, key: str, name: str, value: Any, *, is_off: bool) -> Iterator[str]:
        """Yield comment and value of a key."""
        yield f"# {comment}{_choices(hint)}"
        if key in self.given and not is_off:
            yield f"{name} = {as_toml(self.given[key])}"
        elif value is dataclasses.MISSING:
            yield f"# {name} =  # must be given with its table"
        else:
            yield f"# {name} = {as_toml(value)}"


def _repeated(cls: Any, where: str) -> Iterator[str]:
    """Yield the lines of a table of which a plan may have several, all commented out; tables in it by dotted keys."""
    yield ""
    yield f"# {section_comment(cls)}"
    yield f"# [[{where}]]  # as often as needed; none by default"
    yield from _dotted(cls, "", None)


def _dotted(cls: Any, where: str, instance: Any) -> Iterator[str]:
    hints, words = typing.get_type_hints(cls), key_comments(cls)
    for one in dataclasses.fields(cls):
        value = getattr(instance, one.name) if instance is not None else _default(one)
        below = section_class(hints[one.name])
        if below is not None:
            yield from _dotted(below, f"{where}{one.name}.", value if isinstance(value, below) else None)
        elif _item(hints[one.name]) is None:
            must = value is dataclasses.MISSING
            yield f"# {words.get(one.name, '')}{_choices(hints[one.name])}"
            yield f"# {where}{one.name} =  # must be given" if must else f"# {where}{one.name} = {as_toml(value)}"


def as_toml(value: Any) -> str:
    """Return a value as TOML writes it; None is ``false``.

    Parameters
    ----------
    value : object
        A value of a parameter: bool, number, text, tuple or None.
    """
    if value is None:
        return "false"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(as_toml(one) for one in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _item(hint: Any) -> Any:
    """Return the dataclass of which a list of tables is made; None for anything else."""
    if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
        return typing.get_args(hint)[0]
    return None


def _choices(hint: Any) -> str:
    """Return what may be chosen from, in brackets; nothing when that is no list of names."""
    parts = [hint, *typing.get_args(hint)]
    names = next((get_args(one) for one in parts if typing.get_origin(one) is Literal), ())
    return f" ({' | '.join(str(name) for name in names)})" if names else ""


def _default(spec: dataclasses.Field[Any]) -> Any:
    """Return the default of a field; MISSING when it must be given."""
    return spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()
