"""Plans to begin with: every key with its default and a line about it, in files that can be read at once."""

import dataclasses
import re
import tomllib
import typing
from pathlib import Path

import pytest

from skymere._params import build_params, section_class
from skymere.errors import ConflictError, InvalidInputError, StorageError
from skymere.pipeline import PLAN_KINDS, Plan, plan_template, read_plan, write_plan_template
from skymere.pipeline.plan_words import key_comments
from skymere.pipeline.task import as_params

KEY = re.compile(r"^# ([\w.]+) = (.*)$")


def classes() -> list[type]:
    """All parameter classes whose keys a plan may have."""
    found: list[type] = []

    def add(hint: object) -> None:
        cls = section_class(hint)
        if cls is None and typing.get_origin(hint) is tuple:
            cls = section_class(typing.get_args(hint)[0])
        if cls is not None and cls not in found:
            found.append(cls)
            for inner in typing.get_type_hints(cls).values():
                add(inner)

    for name, hint in typing.get_type_hints(Plan).items():
        if name != "folder":
            add(hint)
    return found


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_the_docstring_of_every_section_has_a_line_about_every_key(cls: type) -> None:
    words = key_comments(cls)
    for one in dataclasses.fields(cls):
        text = words.get(one.name, "")
        assert len(text) > 8, f"{cls.__name__}.{one.name}"
        assert "same name" not in text, f"{cls.__name__}.{one.name}: {text}"
        assert "\n" not in text


def uncommented(text: str, *, everything: bool) -> str:
    """A template with its keys, with `everything` also those of sections that are none by default."""
    lines, is_on = [], True
    for line in text.splitlines():
        is_head, key = line.startswith(("[", "# [")), KEY.match(line)
        if is_head:
            is_on = line.startswith("[") or (everything and not line.startswith("# [["))
        keeps = is_head or key is not None
        lines.append(line.removeprefix("# ") if is_on and keeps else line)
    return "\n".join(lines)


@pytest.mark.parametrize("kind", PLAN_KINDS)
def test_what_stands_commented_out_is_the_default(kind: str) -> None:
    text = plan_template(kind)
    given = tomllib.loads(text)
    assert given, "nothing is given"
    short = build_params(Plan, given, skip=("folder",))
    whole = tomllib.loads(uncommented(text, everything=False))
    assert len(str(whole)) > 3 * len(str(given))
    # NaN is not equal to itself; as_params gives its name.
    assert as_params(build_params(Plan, whole, skip=("folder",))) == as_params(short)
    build_params(Plan, tomllib.loads(uncommented(text, everything=True)), skip=("folder",))


def test_every_section_and_every_key_stands_in_the_plan_of_everything() -> None:
    whole = tomllib.loads(uncommented(plan_template("all"), everything=True))

    def check(cls: type, table: dict, where: str) -> None:
        hints = typing.get_type_hints(cls)
        for one in dataclasses.fields(cls):
            hint = hints[one.name]
            if typing.get_origin(hint) is tuple and section_class(typing.get_args(hint)[0]):
                assert f"[[{where}{one.name}]]" in plan_template("all")
            elif one.name != "folder":
                assert one.name in table, f"{where}{one.name}"
                if section_class(hint):
                    check(section_class(hint), table[one.name], f"{where}{one.name}.")

    check(Plan, whole, "")


def test_a_plan_has_the_sections_of_its_kind() -> None:
    sections = {kind: set(tomllib.loads(plan_template(kind))) for kind in PLAN_KINDS}
    assert {"survey", "tile", "mosaic", "detect", "release"} <= sections["imaging"]
    assert not sections["imaging"] & {"profiles", "slits", "contam", "redshifts"}
    assert sections["photometry"] - sections["imaging"] == {"profiles", "photometry"}
    assert sections["grism"] - sections["imaging"] == {"contam", "beams", "redshifts", "maps"}
    assert "detect" not in sections["slits"]
    assert sections["slits"] | sections["grism"] | sections["photometry"] == sections["all"]


def test_a_plan_that_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("mine")
    with pytest.raises(ConflictError, match=r"plan\.toml: is there already"):
        write_plan_template(path)
    assert path.read_text() == "mine"
    assert write_plan_template(path, "slits", replace=True) == path
    assert read_plan(path).tile.kind == "healpix"
    with pytest.raises(StorageError, match="cannot be written"):
        write_plan_template(tmp_path / "nowhere" / "plan.toml")
    with pytest.raises(InvalidInputError, match=r"kind: 'movie' is not allowed, it must be one of imaging"):
        write_plan_template(tmp_path / "other.toml", "movie")
    assert not (tmp_path / "other.toml").exists()
