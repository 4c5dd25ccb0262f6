"""Single Sersic fits against the fastest of some peers on identical stamps, in one run.

7 parameters and a flat sky, a PSF of 61 x 61 pixels, pixels of known noise, blind start values. pyimfit and petrofit get
the truth rounded as their start, and astrophot and petrofit fit no sky, which is less than skymere does. Every peer has
a process of its own, with one thread, in the environment that SKYMERE_BENCH_PYTHON_<PEER> names (``make bench``), or in
this one.
"""

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.profiles.stamps import stamps

from skymere import get_num_threads, set_num_threads
from skymere.profiles import fit_sersic

N_STAMPS, S_N, REPEAT = 4, 100.0, 3
PEERS = ("pyimfit", "astrophot", "petrofit")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
WORKER = Path(__file__).with_name("profile_peers.py")


class Peer:
    """A process that fits the same stamps whenever it is asked to."""

    def __init__(self, name: str, stamps_file: Path) -> None:
        python = os.environ.get(f"SKYMERE_BENCH_PYTHON_{name.upper()}", sys.executable)
        self.process: subprocess.Popen[str] | None = None
        try:
            self.process = subprocess.Popen(
                [python, str(WORKER), name, str(stamps_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=stamps_file.parent,
                env=os.environ | ONE_THREAD,
                text=True,
            )
        except OSError as error:
            self.missing = f"{name} has no environment: {error}"
            return
        self.missing = str(self._answer()["missing"])

    def _answer(self) -> dict:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        return {"missing": "its process ended without an answer"}

    def run(self) -> dict:
        """Return the times and the chi-squares of a run."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End its process."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def race(data: np.ndarray, psf: np.ndarray, peers: dict[str, Peer]) -> None:
    """Print the best times of all, CPU time for one thread and wall time for two."""
    for n_threads, clock, key in ((1, time.process_time, "cpu"), (2, time.perf_counter, "wall")):
        set_num_threads(n_threads)
        ours, theirs = float("inf"), dict.fromkeys(peers, float("inf"))
        for _ in range(REPEAT):
            gc.collect()
            start = clock()
            fit_sersic(data, 1.0, psf=psf)
            ours = min(ours, clock() - start)
            for name, peer in peers.items():
                theirs[name] = min(theirs[name], peer.run()[key])
        fastest = min(theirs, key=lambda name: theirs[name])
        said = ", ".join(f"{name} {len(data) / seconds:.2f}" for name, seconds in theirs.items())
        print(
            f"{data.shape[-1]} x {data.shape[-1]}, {n_threads} thread{'s' * (n_threads > 1)} ({key} time): skymere"
            f" {len(data) / ours:.1f} fits/s, {said}; {theirs[fastest] / ours:.1f} x the fastest ({fastest})"
        )


@pytest.mark.benchmark
@pytest.mark.parametrize("side", [64, 128, 200])
def test_single_fits(tmp_path: Path, side: int) -> None:
    drawn = stamps(N_STAMPS, re=side / 16, side=side, seed=side)
    data, truth = drawn.at(S_N, seed=1)
    start = np.column_stack([truth[name] for name in ("r_eff_pix", "sersic_index", "ellipticity", "pa", "flux")])
    path = tmp_path / "stamps.npz"
    np.savez(path, data=data, psf=drawn.psf, start=start)
    all_peers = {name: Peer(name, path) for name in PEERS}
    before = get_num_threads()
    try:
        print()
        for peer in all_peers.values():
            if peer.missing:
                print(f"skipped: {peer.missing}")
        peers = {name: peer for name, peer in all_peers.items() if not peer.missing}
        if not peers:
            pytest.skip("; ".join(peer.missing for peer in all_peers.values()))
        table = fit_sersic(data, 1.0, psf=drawn.psf)
        assert (table["status"] == "ok").all()
        for name, peer in peers.items():
            print(f"chi2 minus {name}'s: {np.round(table['chi2'].to_numpy() - peer.run()['chi2'], 2)}")
        race(data, drawn.psf, peers)
    finally:
        set_num_threads(before)
        for peer in all_peers.values():
            peer.close()
