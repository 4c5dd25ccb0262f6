"""``skymere refit``: the profile of one source of a lake, fitted again as somebody wants it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skymere.cli._print import console, print_frame
from skymere.errors import InvalidInputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["refit"]

_SHOWN = ("source_id", "attempt", "parent_attempt", "is_best", "kind", "flux", "flux_err", "r_eff", "sersic_index")


def refit(
    plan: Annotated[Path, typer.Argument(help="TOML file of the run; its section profiles names a band.")],
    source_id: Annotated[int, typer.Argument(help="Which source.")],
    start: Annotated[
        list[str] | None,
        typer.Option(
            help="Start value: ra, dec, flux, r_eff, sersic_index, ellipticity, pa_sky.", metavar="NAME=VALUE"
        ),
    ] = None,
    bounds: Annotated[list[str] | None, typer.Option(help="Bounds of a parameter.", metavar="NAME=LOW:HIGH")] = None,
    fix: Annotated[
        list[str] | None, typer.Option(help="Parameter that stays at its start value; may be repeated.")
    ] = None,
    kind: Annotated[str, typer.Option(help="sersic, exponential, de_vaucouleurs, gaussian, moffat or point.")] = "",
    component: Annotated[
        list[str] | None,
        typer.Option(help="Kind of each component of a sum, in place of one profile; may be repeated.", metavar="KIND"),
    ] = None,
    neighbour: Annotated[
        list[int] | None, typer.Option(help="source_id of a source that is fitted with it; may be repeated.")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Fit it without neighbours, whose models stay.")] = False,
    mask: Annotated[list[Path] | None, typer.Option(help="DS9 file on the sky: pixels that are not used.")] = None,
    from_attempt: Annotated[int | None, typer.Option(help="Attempt to start from; else the best one.")] = None,
    choose: Annotated[int | None, typer.Option(help="Make this attempt the best one, without a fit.")] = None,
    undo: Annotated[list[str] | None, typer.Option(help="Edit that is taken back; may be repeated.")] = None,
    author: Annotated[str, typer.Option(envvar="SKYMERE_AUTHOR", help="Who.")] = "",
    why: Annotated[str, typer.Option(help="Why, in words.")] = "",
) -> None:
    """Fit the profile of a source again, with other starts, bounds, components, masks or neighbours.

    What is not said stays as it was. Sources that are fitted with it are updated at the same time, every attempt is
    kept with the one that it started from, and later runs of the plan do the same again. Without any change it lists
    the attempts of the source and of its group. `skymere run` measures the other bands anew afterwards.

    Example: `skymere refit plan.toml 2528750983342069647`

    Example: `skymere refit plan.toml 2528750983342069647 --bounds sersic_index=0.5:2 --author Ada --why "too steep"`

    Example: `skymere refit plan.toml 2528750983342069647 --choose 0 --author Ada --why "was better"`
    """
    from skymere.pipeline import attempts_of, read_plan, refit_source, undo_refits
    from skymere.regions import read_regions

    read = read_plan(plan)
    changes: dict[str, Any] = {
        "start": dict(_pairs(start, "--start")),
        "bounds": {name: _two(text, name) for name, text in _texts(bounds, "--bounds")},
        "fixed": list(fix or ()),
        "kind": kind,
        "components": _components(component),
        "neighbours": list(neighbour or ()),
        "mask": [shape for path in mask or () for shape in read_regions(path)],
        "from_attempt": from_attempt,
        "is_alone": alone or None,
    }
    said = {name: value for name, value in changes.items() if value not in (None, "", [], {}, ())}
    if undo:
        undo_refits(read, undo, author=author, reason=why)
    elif choose is not None:
        refit_source(read, source_id, author=author, reason=why, action="choose", from_attempt=choose)
    elif said:
        refit_source(read, source_id, author=author, reason=why, **said)
    _show(attempts_of(read, source_id))


def _show(rows: "pl.DataFrame") -> None:
    print_frame(rows.select(_SHOWN))
    edits = rows.filter(rows["edit_id"] != "").select("edit_id", "source_id", "attempt", "status", "message")
    if edits.height:
        print_frame(edits, "Edits")
    console.print(f"{rows.height} attempts of {rows['source_id'].n_unique()} sources", soft_wrap=True)


def _texts(words: Sequence[str] | None, option: str) -> list[tuple[str, str]]:
    found = []
    for word in words or ():
        name, equals, text = word.partition("=")
        if not equals:
            msg = f"{option}: {word!r} is not allowed, it must be NAME=VALUE"
            raise InvalidInputError(msg)
        found.append((name.strip(), text.strip()))
    return found


def _pairs(words: Sequence[str] | None, option: str) -> list[tuple[str, float]]:
    return [(name, _number(text, name)) for name, text in _texts(words, option)]


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"{name}: {text!r} is not allowed, it must be a number"
        raise InvalidInputError(msg) from None


def _two(text: str, name: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    if not colon:
        msg = f"--bounds: {name}={text} is not allowed, it must be {name}=LOW:HIGH"
        raise InvalidInputError(msg)
    return _number(low, name), _number(high, name)


def _components(kinds: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return components that share the centre of the first one."""
    return [{"kind": kind} | ({"centre_of": 0} if i else {}) for i, kind in enumerate(kinds or ())]
