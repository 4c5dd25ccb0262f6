"""The redshift grid of real and of many beams against grizli on the same files, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with grizli 1.14.3; the race is skipped where there is none.
"""

import gc
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere import get_num_threads, set_num_threads
from skymere.grism import GRIZLI_REDSHIFT, BeamParams, fit_redshift, read_beams
from skymere.spectra import TemplateSet

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Z_RANGE, DZ = (0.05, 3.4), (0.004, 0.0004)


class Peer:
    """grizli in a process of its own."""

    def __init__(self, files: list[Path], folder: Path, scratch: Path) -> None:
        for name in ("CONF", "templates"):
            (scratch / name).symlink_to(folder / "grizli" / name)
        for name in ("iref", "jref"):
            (scratch / name).mkdir()
        python = os.environ.get("SKYMERE_BENCH_PYTHON_MSAEXP", sys.executable)
        self.log = (scratch / "peer.log").open("w+")
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("grism_peer.py")), *map(str, files)],
            cwd=scratch,
            env=os.environ | ONE_THREAD | {"GRIZLI": str(scratch), "HOME": str(scratch)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            bufsize=1,
        )

    def run(self, job: str) -> tuple[float, np.ndarray, np.ndarray, float]:
        """Return CPU time [s], redshifts and chi squares; the test is skipped where grizli cannot run."""
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
        seconds, z, chi2, z_map = json.loads(answer[2:])
        return seconds, np.array(z), np.array(chi2), z_map

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def _many(path: Path, folder: Path, n: int) -> list[Path]:
    """The real beams with other sub-pixel dithers and three angles, and noise of their own."""
    rng = np.random.default_rng(1)
    files = []
    for i in range(n):
        with fits.open(path, memmap=False) as hdus:
            turn = np.deg2rad(40.0 * (i % 3))
            c, s = np.cos(turn), np.sin(turn)
            for hdu in hdus[1:]:
                header = hdu.header
                for key in ("XCENTER", "YCENTER"):
                    if key in header:
                        header[key] = float(rng.uniform(-0.5, 0.5))
                if header.get("EXTNAME") == "SCI" and "CD1_1" in header:
                    cd = np.array([[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]])
                    turned = np.array([[c, -s], [s, c]]) @ cd
                    for a in (1, 2):
                        for b in (1, 2):
                            header[f"CD{a}_{b}"] = turned[a - 1, b - 1]
                    hdu.data = hdu.data + rng.normal(0, 0.005, hdu.data.shape).astype(np.float32)
            to = folder / f"dither_{i:02d}.beams.fits"
            hdus.writeto(to)
        files.append(to)
    return files


# Measured on a shared machine; the limits leave a fifth for its noise.
@pytest.mark.benchmark
@pytest.mark.parametrize(("n_files", "limit"), [(1, 50), (16, 120)])
def test_the_redshift_grid_races_grizli(shared_data: Path, tmp_path: Path, n_files: int, limit: float) -> None:
    folder = shared_data / "spectra"
    path = folder / "wfc3" / "j033216m2743_00152.beams.fits"
    files = [path] if n_files == 1 else _many(path, tmp_path, n_files)
    multibeam = read_beams(files, conf_path=folder / "grizli" / "CONF", params=BeamParams(operator="grizli"))
    templates = TemplateSet.load(folder / "grizli" / "templates")
    (tmp_path / "peer").mkdir()
    peer = Peer(files, folder, tmp_path / "peer")
    before = get_num_threads()
    set_num_threads(1)
    try:
        peer.run("warm")
        ours, theirs = np.inf, np.inf
        for _ in range(3 if n_files == 1 else 1):
            seconds, z, chi2, z_map = peer.run("all")
            theirs = min(theirs, seconds)
            for _ in range(4):
                gc.collect()
                start = time.process_time()
                fit = fit_redshift(multibeam, templates=templates, z_range=Z_RANGE, dz=DZ, params=GRIZLI_REDSHIFT)
                ours = min(ours, time.process_time() - start)
    finally:
        set_num_threads(before)
        peer.close()
    same = np.isin(np.round(fit.zgrid, 9), np.round(z, 9))
    difference = np.abs(fit.chi2[same] - np.interp(fit.zgrid[same], z, chi2)).max()
    print(
        f"\n{platform.machine()}, Python {platform.python_version()}, one thread, CPU time: {multibeam.N} beams,"
        f" {fit.zgrid.size} redshifts: {1e3 * ours:.1f} ms, grizli {z.size} redshifts {theirs:.2f} s, ratio"
        f" {theirs / ours:.0f}; chi square differs by {difference:.1e} of {fit.chi2.min():.0f}, z_map by"
        f" {fit.z_map - z_map:.1e}"
    )
    assert same.sum() > 350
    assert difference < 0.01 * multibeam.N / 2
    assert abs(fit.z_map - z_map) < 1e-3
    assert theirs > limit * ours
