"""The command line: help that teaches, errors in one line, exit codes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from skymere.lake import Lake, NamedTile
from skymere.wcs import Grid


def skymere(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "skymere", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "lake"
    Lake.create(path, tiles=[NamedTile("field", Grid.tangent(10.0, 0.0, shape=(50, 50), scale_arcsec=0.1))])
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("demo", "run", "info", "lake")),
        (("demo",), ("plan.toml", "pictures", "Polars")),
        (("run",), ("[survey]", "exposures", "second run does nothing")),
        (("info",), ("versions",)),
        (("align",), ("Example", "alignment.csv", "--dry-run")),
        (("drizzle",), ("Example", "--preset", "--reference-image", "--dry-run")),
        (("crmask",), ("Example", "--clean")),
        (("blot",), ("Example", "--interpolation")),
        (("lake", "ls"), ("Example",)),
        (("lake", "query"), ("select", "Example")),
    ],
)
def test_help_teaches(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = skymere(*arguments, "--help")
    assert done.returncode == 0
    for word in words:
        assert word in done.stdout


def test_info_names_versions_of_code_schemas_and_libraries() -> None:
    done = skymere("info")
    assert done.returncode == 0, done.stderr
    for word in ("skymere 0.1.0", "compiled part 0.1.0", "source", "1.0.0", "polars", "zarr"):
        assert word in done.stdout


def test_a_lake_is_listed_and_asked(lake: Path) -> None:
    done = skymere("lake", "ls", lake)
    assert done.returncode == 0, done.stderr
    assert "tiles: field; releases: none" in done.stdout
    done = skymere("lake", "query", lake, "select count(*) as n from source")
    assert done.returncode == 0, done.stderr
    assert " n " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lake", "ls", "nowhere"), "NotFoundError"),
        (("lake", "query", "LAKE", "select * from read_csv('/etc/passwd')"), "only the lake's tables"),
        (("lake", "query", "LAKE", "select * from nothing"), "only the lake's tables"),
        (("lake", "ls", "LAKE", "--release", "DR9"), "'DR9' does not exist"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    lake: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = skymere(*[lake if a == "LAKE" else a for a in arguments], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("skymere: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_run_that_cannot_begin_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = skymere("run", "none.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "skymere: NotFoundError: none.toml: no such plan\n"


def test_a_demo_in_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    done = skymere("demo", tmp_path)
    assert done.returncode == 1
    assert "not empty and not an earlier skymere demo" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_importing_skymere_costs_less_than_a_second_beside_polars() -> None:
    def seconds(code: str) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds("import skymere, polars") - seconds("import polars") < 1.0
