"""The layout of the house: floors, mirrors, names and sizes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "skymere"
CORE = ROOT / "rust" / "core" / "src"
BINDING = ROOT / "rust" / "python" / "src"
ROOMS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())
BINDING_ROOMS = sorted(
    p.stem for p in BINDING.glob("*.rs") if p.stem not in ("lib", "errors", "threads", "images", "memory")
)
CODE = sorted(
    p
    for folder, pattern in (("python", "*.py"), ("rust", "*.rs"), ("tests", "*.py"))
    for p in (ROOT / folder).rglob(pattern)
)
# High to low; a module of rust/core may use only what stands after its own line.
CORE_FLOORS = (
    {"grism", "slit"},
    {"photometry"},
    {"profiles"},
    {"outliers", "psf", "segmentation", "spectra"},
    {"align", "resample"},
    {"background"},
    {"regions"},
    {"wcs"},
    {"codec", "image", "math"},
    {"error", "interrupt"},
)


def test_python_floors_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rust_core_floors_are_kept() -> None:
    floor = {name: i for i, names in enumerate(CORE_FLOORS) for name in names}
    wrong = []
    for path in CORE.rglob("*.rs"):
        here = path.relative_to(CORE).parts[0].removesuffix(".rs")
        if here == "lib":
            continue
        assert here in floor, f"{path}: give the module {here!r} a floor"
        text = path.read_text(encoding="utf-8")
        used = set(re.findall(r"\bcrate::(\w+)", text))
        used |= {
            name
            for group in re.findall(r"\buse crate::\{([^}]*)\}", text)
            for name in re.findall(r"^\w+|, (\w+)", group)
        }
        wrong += [
            f"{path}: uses {name}"
            for name in used
            if name in floor and name != here and floor[name] <= floor[here] and floor[here] != len(CORE_FLOORS) - 2
        ]
    assert not wrong


@pytest.mark.parametrize("room", ROOMS)
def test_every_package_has_tests_and_a_page(room: str) -> None:
    assert list((ROOT / "tests" / room).glob("test_*.py")), f"tests/{room} has no test"
    assert (ROOT / "docs" / "packages" / f"{room}.md").is_file(), f"docs/packages/{room}.md is missing"


@pytest.mark.parametrize("room", BINDING_ROOMS)
def test_every_binding_has_a_core_room_and_a_stub(room: str) -> None:
    core = ROOT / "rust" / "store" / "src" if room == "lake" else CORE / room  # the lake's bytes are the store's
    assert core.is_dir() or core.with_suffix(".rs").is_file(), f"{core} is missing"
    text = (BINDING / f"{room}.rs").read_text(encoding="utf-8")
    renamed = dict(re.findall(r'name = "(\w+)"[^\n]*\]\s*(?:#\[[^\]]*\]\s*)*fn (\w+)', text))
    functions = re.findall(r"#\[pyfunction[^\]]*\](?:\s*#\[[^\]]*\])*\s*(?:pub )?fn (\w+)", text)
    bound = set(functions) - set(renamed.values()) | set(renamed)
    stub = (PACKAGE / "_rust" / f"{room}.pyi").read_text(encoding="utf-8")
    assert bound <= set(re.findall(r"^def (\w+)", stub, flags=re.MULTILINE))


@pytest.mark.parametrize("room", BINDING_ROOMS)
def test_the_binding_only_converts_and_calls(room: str) -> None:
    text = (BINDING / f"{room}.rs").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\s*(for|while|loop)\b", line)]
    assert not lines, f"rust/python/src/{room}.rs has a loop: {lines}"


def test_stub_folder_is_not_a_package() -> None:
    assert not (PACKAGE / "_rust" / "__init__.py").exists()


def test_there_is_no_dumping_ground() -> None:
    banned = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "shared", "stuff", "core_utils"}
    assert not [p for p in CODE if p.stem in banned or p.parent.name in banned]


def test_files_have_one_subject() -> None:
    long = {str(p.relative_to(ROOT)): n for p in CODE if (n := p.read_text(encoding="utf-8").count("\n")) > 800}
    assert not long


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(
        "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error", "unimplemented" + "!"])
    )
    assert not [f"{p}:{i}" for p in CODE for i, line in enumerate(p.read_text().splitlines(), 1) if marks.search(line)]
