"""Every call that the pages of docs/moving name exists, with the arguments and options that they name."""

import dataclasses
import importlib
import inspect
import re
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
import typer

from skymere.cli import app

MOVING = Path(__file__).parents[2] / "docs" / "moving"
PAGES = sorted(path for path in MOVING.glob("*.md") if path.stem != "index")


def _rows(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


CALLS = sorted(
    {
        (page.stem, call)
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for call in re.findall(r"`(skymere[ .][^`]+)`", text)
    }
)


TUTORIALS = sorted((MOVING.parents[1] / "examples" / "tutorials").glob("tutorial_*.py"))


def _find(name: str) -> object:
    """Return what a dotted name means: what a package shows under it, else a module, or a field of a class."""
    first, *parts = name.split(".")
    thing: object = importlib.import_module(first)
    path = first
    for part in parts:
        path += f".{part}"
        if part in getattr(thing, "__dataclass_fields__", {}):
            return thing.__dataclass_fields__[part]
        if inspect.ismodule(thing) and part not in getattr(thing, "__all__", ()):
            thing = importlib.import_module(path)
        else:
            thing = getattr(thing, part)
    return thing


def _parameters(thing: object) -> set[str]:
    if inspect.isclass(thing) and dataclasses.is_dataclass(thing):
        return {field.name for field in dataclasses.fields(thing)}
    return set(inspect.signature(thing).parameters)


@cache
def _command() -> object:
    return typer.main.get_command(app)


def _check_command(words: list[str]) -> None:
    command = _command()
    while words and not words[0].startswith("-"):
        assert words[0] in getattr(command, "commands", {}), f"{command.name} has no command {words[0]}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert set(words) <= known, f"{command.name} has no {set(words) - known}"


@pytest.mark.parametrize(("page", "call"), CALLS, ids=[f"{page}: {call}" for page, call in CALLS])
def test_the_new_call_exists(page: str, call: str) -> None:
    if call.startswith("skymere "):
        _check_command(call.split()[1:])
        return
    found = re.fullmatch(r"([\w.]+)(?:\(((?:\w+=(?:, )?)*)\))?", call)
    assert found, f"{call}: write skymere.package.name(argument=)"
    thing = _find(found[1])
    asked = {word.removesuffix("=") for word in (found[2] or "").split(", ") if word}
    if asked:
        assert asked <= _parameters(thing), f"{found[1]} does not take {asked - _parameters(thing)}"


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_names_and_commands_in_the_words_of_tutorials_exist(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    commands = re.findall(r"``(skymere [a-z][^`]*)``", text)
    names = re.findall(r"(?<!`)`(skymere\.[\w.]+)`(?!`)", text)
    assert commands
    assert names
    for command in commands:
        words = [word for word in command.split()[1:] if word.islower()]
        called = list(takewhile(lambda word: not word.startswith("-"), words))
        _check_command(called + [word for word in words if word.startswith("-")])
    for name in names:
        _find(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_old_call_has_a_row_with_an_answer(page: Path) -> None:
    rows = _rows(page)
    assert len(rows) >= 20
    assert all(len(row) == 3 and row[0] and row[1] for row in rows), [row for row in rows if len(row) != 3]
    old = [row[0] for row in rows]
    assert len(set(old)) == len(old), "a call stands there twice"


def test_a_name_that_is_not_there_is_found_out() -> None:
    for call in (
        "skymere.align.allign",
        "skymere.align.AlignParams(fitgeo=)",
        "skymere detect --mehtod",
        "skymere detekt",
    ):
        with pytest.raises((AssertionError, ModuleNotFoundError)):
            test_the_new_call_exists("", call)


def test_columns_that_are_named_are_in_the_schemas() -> None:
    schemas = Path(__file__).parents[2] / "schemas"
    text = "\n".join(path.read_text(encoding="utf-8") for path in schemas.glob("*.yaml"))
    known = set(re.findall(r"\{name: \"?([\w{}]+)\"?,", text))
    cells = [new for page in PAGES for _, new, _ in _rows(page) if new.startswith("column")]
    assert cells
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert named <= known, named - known
