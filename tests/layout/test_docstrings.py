"""Every public name says what it takes, in which unit, and what it raises."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "skymere"
ROOMS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file() and p.name != "cli")
PUBLIC = [(room, name) for room in ROOMS for name in importlib.import_module(f"skymere.{room}").__all__]


def _public(room: str, name: str) -> object:
    return getattr(importlib.import_module(f"skymere.{room}"), name)


@pytest.mark.parametrize(("room", "name"), PUBLIC, ids=[f"{room}.{name}" for room, name in PUBLIC])
def test_public_callables_document_every_parameter(room: str, name: str) -> None:
    thing = _public(room, name)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        pytest.skip("not a class or function")
    doc = inspect.getdoc(thing) or ""
    assert doc, "no docstring"
    if inspect.isclass(thing) and not hasattr(thing, "__dataclass_fields__"):
        return
    parameters = [p for p in inspect.signature(thing).parameters if p not in ("self", "args", "kwargs")]
    missing = [p for p in parameters if p not in doc]
    assert not missing, f"{room}.{name} does not document {missing}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_listed_once_and_exists(room: str) -> None:
    module = importlib.import_module(f"skymere.{room}")
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    assert inspect.getdoc(module)


MODULES = sorted(
    ".".join(("skymere", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__main__"
)
EXAMPLES = [
    example
    for name in MODULES
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_example_gives_what_it_says(example: doctest.DocTest, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctest.DocTestRunner().run(example).failed == 0
