"""Single Sersic fits against the fastest of some peers on identical stamps, in one run.

7 parameters and a flat sky, a PSF of 61 x 61 pixels, pixels of known noise, blind start values. pyimfit and petrofit get
the truth rounded as their start, and astrophot and petrofit fit no sky, which is less than skymere does. Every peer has
a process of its own, with one thread, in the environment that SKYMERE_BENCH_PYTHON_<PEER> names (``make bench``), or in
this one. The slow ones need minutes for a stamp: all fit the first stamps once, and the fastest races over all of them.
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

N_STAMPS, N_FIRST, S_N, REPEAT = 16, 2, 100.0, 7
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

    def run(self, n_stamps: int) -> dict:
        """Return the times and the chi-squares of fits of the first stamps."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{n_stamps}\n")
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


def race(data: np.ndarray, psf: np.ndarray, name: str, peer: Peer) -> None:
    """Print the best times of both, CPU time for one thread and wall time for two."""
    for n_threads, clock, key in ((1, time.process_time, "cpu"), (2, time.perf_counter, "wall")):
        set_num_threads(n_threads)
        ours, theirs = float("inf"), float("inf")
        for _ in range(REPEAT):
            gc.collect()
            start = clock()
            fit_sersic(data, 1.0, psf=psf)
            ours = min(ours, clock() - start)
            theirs = min(theirs, peer.run(len(data))[key])
        print(
            f"{data.shape[-1]} x {data.shape[-1]}, {n_threads} thread{'s' * (n_threads > 1)} ({key} time): skymere"
            f" {len(data) / ours:.1f} fits/s, {name} {len(data) / theirs:.2f}: {theirs / ours:.1f} x"
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
        cpu = {}
        for name, peer in peers.items():
            first = peer.run(N_FIRST)
            cpu[name] = first["cpu"]
            more = np.round(np.array(first["chi2"]) - table["chi2"].to_numpy()[:N_FIRST], 2)
            print(f"{name} makes {N_FIRST / first['cpu']:.2f} fits/s; its chi2 minus skymere's: {more}")
        fastest = min(cpu, key=lambda name: cpu[name])
        race(data, drawn.psf, fastest, peers[fastest])
    finally:
        set_num_threads(before)
        for peer in all_peers.values():
            peer.close()
