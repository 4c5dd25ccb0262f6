"""Line maps, stacks and extracted spectra of a real galaxy against grizli, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with grizli 1.14.3; the race is skipped where there is none.
"""

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skymere import get_num_threads, set_num_threads
from skymere.grism import (
    GRIZLI_EXTRACTION,
    GRIZLI_LINE_MAPS,
    GRIZLI_STACKS,
    BeamParams,
    FittedModel,
    MultiBeam,
    drizzle_stacks,
    line_maps,
    oned_spectrum,
    read_beams,
)
from skymere.resample import Geometry
from skymere.spectra import TemplateSet

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Z = 1.7429358875314136
REPEAT = 5


class Peer:
    """grizli in a process of its own, which does one job for each line."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        for name in ("iref", "jref"):
            (scratch / name).mkdir()
        for name in ("CONF", "templates"):
            (scratch / name).symlink_to(folder / "grizli" / name)
        python = os.environ.get("SKYMERE_BENCH_PYTHON_MSAEXP", sys.executable)
        self.log = (scratch / "peer.log").open("w+")
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("grism_maps_peer.py")), str(beams_of(folder))],
            cwd=scratch,
            env=os.environ | ONE_THREAD | {"GRIZLI": str(scratch), "HOME": str(scratch)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            bufsize=1,
        )

    def run(self, job: str) -> tuple[float, object]:
        """Return CPU time [s] and result; the test is skipped where grizli cannot run."""
        answer = ""
        try:
            self.process.stdin.write(f"{job}\n")
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer.startswith("= "):
            self.process.wait()
            self.log.seek(0)
            pytest.skip(f"grizli cannot run: {self.log.read().strip().splitlines()[-1:]}")
        return json.loads(answer[2:])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def beams_of(folder: Path) -> Path:
    return folder / "wfc3" / "j033216m2743_00152.beams.fits"


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    folder = shared_data / "spectra"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="module")
def peer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    one = Peer(folder, tmp_path_factory.mktemp("peer"))
    before = get_num_threads()
    set_num_threads(1)
    print(f"\n{platform.machine()}, Python {platform.python_version()}, one thread, CPU time, best of {REPEAT}")
    yield one
    set_num_threads(before)
    one.close()


@pytest.fixture(scope="module")
def fit(peer: Peer, folder: Path) -> FittedModel:
    """The fit of the peer."""
    coefficients, errors = peer.run("fit")[1]

    def named(values: dict[str, float]) -> dict[str, float]:
        return {name.removeprefix("line "): value for name, value in values.items() if not name.startswith("bg ")}

    return FittedModel(
        z=Z,
        templates=TemplateSet.load(folder / "grizli" / "templates", line_complexes=False),
        coefficients=named(coefficients),
        errors=named(errors),
        backgrounds=tuple(value for name, value in coefficients.items() if name.startswith("bg ")),
    )


def beams(folder: Path) -> MultiBeam:
    """New beams, which remember no model."""
    return read_beams(beams_of(folder), conf_path=folder / "grizli" / "CONF", params=BeamParams(operator="grizli"))


def race(peer: Peer, job: str, folder: Path, ours: Callable[[MultiBeam], object]) -> float:
    """Print the best CPU times of both, after a warm-up and in turns; return the ratio."""
    times: list[tuple[float, float]] = []
    for _ in range(REPEAT + 1):
        multibeam = beams(folder)
        gc.collect()
        start = time.process_time()
        ours(multibeam)
        times.append((time.process_time() - start, peer.run(job)[0]))
    mine, theirs = (min(column) for column in zip(*times[1:], strict=True))
    print(f"{job}: skymere {1e3 * mine:.1f} ms, grizli {1e3 * theirs:.0f} ms, ratio {theirs / mine:.1f}")
    return theirs / mine


@pytest.mark.benchmark
def test_line_maps_of_a_real_galaxy(peer: Peer, fit: FittedModel, folder: Path) -> None:
    params = replace(GRIZLI_LINE_MAPS, mask_ratio=np.inf, always=tuple(fit.line_fluxes))

    def ours(multibeam: MultiBeam) -> tuple[int, float]:
        maps = line_maps(multibeam, fit, geometry=Geometry(), params=params)
        return len(maps.lines), float(maps["OIII"].data.sum())

    n, total = ours(beams(folder))
    their_n, their_total = peer.run("line maps")[1]
    assert n == their_n
    # A sum of noise over thousands of pixels, each the same to 1e-4 of its error.
    assert total == pytest.approx(their_total, abs=0.05)
    # Not yet the tenfold that is wanted: 5.4 on two shared cores.
    assert race(peer, "line maps", folder, ours) > 3


@pytest.mark.benchmark
def test_stacks_and_spectra_of_a_real_galaxy(peer: Peer, fit: FittedModel, folder: Path) -> None:
    def stacks(multibeam: MultiBeam) -> float:
        made = drizzle_stacks(multibeam, fit=fit, params=GRIZLI_STACKS)
        return float(next(one for one in made if one.grism == "G102" and one.angle is None).sci.sum())

    def spectra(multibeam: MultiBeam) -> float:
        return float(oned_spectrum(multibeam, fit=fit, params=GRIZLI_EXTRACTION)["G102"].table["flux"].sum())

    for job, ours in (("stacks", stacks), ("1-D spectra", spectra)):
        assert ours(beams(folder)) == pytest.approx(peer.run(job)[1], rel=1e-4)
        # New beams, whose masks and models are made in that time, too; those of grizli are there already.
        assert race(peer, job, folder, ours) > 0.3
