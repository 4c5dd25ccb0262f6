"""Every command of README and of the first page is run, and every tutorial."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.pipeline import read_plan, run_plan
from skymere.testing import CameraParams, SceneParams, SurveyParams, simulate_survey

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "start.md", ROOT / "CONTRIBUTING.md")
TUTORIALS = sorted((ROOT / "examples" / "tutorials").glob("tutorial_*.py"))
# What stands for itself elsewhere, and where.
ELSEWHERE = {
    "make build": "every other target begins with it",
    "make demo": "takes minutes: tests/pipeline/test_demo.py runs a small one",
    "make test": "these are its tests",
    ". .venv/bin/activate": "of the shell",
    "skymere view skymere-demo/lake": "until Ctrl-C: tests/cli/test_view.py serves a lake and interrupts it",
    "skymere demo": "takes minutes: tests/pipeline/test_demo.py runs a small one",
}
SURVEY = SurveyParams(
    bands=("f105w", "f160w"),
    n_dithers=3,
    scene=SceneParams(n_galaxies=40, n_stars=8, bright_mag=19.5, faint_mag=25.0, radius_arcsec=16.0),
    camera=CameraParams(shape=(330, 330), n_cosmic_rays=40, n_bad_pixels=200, n_dead_pixels=8),
)


def _blocks(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader stands: exposures of his own, and what `skymere demo` has left, on a small scale."""
    folder = tmp_path_factory.mktemp("reader")
    simulate_survey(folder, params=SURVEY, n_workers=1)
    (folder / "skymere-demo").mkdir()
    plan = folder / "skymere-demo" / "plan.toml"
    plan.write_text(
        '[survey]\nexposures = ["../exposures/*_flt.fits"]\nlake = "lake"\n'
        '[tile]\nname = "field"\nscale_arcsec = 0.1\n[release]\nname = "DR1"\n'
    )
    run_plan(read_plan(plan))
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_works(page: Path, folder: Path) -> None:
    done = []
    with contextlib.chdir(folder):
        for language, block in _blocks(page):
            if language == "python":
                exec(compile(block, str(page), "exec"), {"__name__": "__reader__"})
                done.append("python")
            for line in block.splitlines() if language in ("", "shell") else ():
                command = line.split("  #")[0].strip()
                if not re.match(r"(make|skymere|pip|python|\.) ", command) or command in ELSEWHERE:
                    continue
                words = shlex.split(command)
                assert words[0] == "skymere", f"{command}: say in ELSEWHERE where this is run"
                found = CliRunner().invoke(app, words[1:])
                # `doctor` may find fault with the machine of the reader.
                assert found.exit_code == 0 or words[1] == "doctor", f"{command}:\n{found.output}{found.exception}"
                done.append(command)
    assert done or page.name == "CONTRIBUTING.md"


def test_the_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [*PAGES, *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8"))}
    named |= {command.split()[1] for command in ELSEWHERE if command.startswith("make ")}
    assert len(named) > 3
    assert named <= targets


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_the_tutorial_runs(script: Path, tmp_path: Path) -> None:
    data = Path(os.environ.get("SKYMERE_DATA", ROOT.parent / "shared" / "data"))
    environment = {name: value for name, value in os.environ.items() if name != "SKYMERE_DATA"}
    environment["MPLBACKEND"] = "agg"
    if data.is_dir():
        environment["SKYMERE_DATA"] = str(data)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout
    assert not list(tmp_path.iterdir()), "it leaves files where the reader stands"
