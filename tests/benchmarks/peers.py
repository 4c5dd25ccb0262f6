"""grizli and msaexp in their own environment: a process that does one job for each line it is sent, and races against it.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with both (``make bench`` makes one); tests are skipped where there is none.
"""

import gc
import json
import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "SKYMERE_BENCH_PYTHON_MSAEXP"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
# Best of so many, after one that does not count.
REPEAT = 7
# A job that takes longer hangs [s].
LIMIT = 300.0


def _command(worker: str, words: tuple[str, ...]) -> list[str]:
    python = os.environ.get(VARIABLE, "")
    if not Path(python).is_file():
        pytest.skip(f"{VARIABLE} names no Python: {python!r}")
    return [python, str(Path(__file__).with_name(worker)), *words]


def _home(folder: Path, scratch: Path) -> dict[str, str]:
    """Make the folder that both look into; return the environment variables that say so."""
    for name in ("CONF", "templates"):
        (scratch / name).symlink_to(folder / "grizli" / name)
    for name in ("iref", "jref"):
        (scratch / name).mkdir()
    places = {"GRIZLI": str(scratch), "HOME": str(scratch), "iref": f"{scratch}/iref/", "jref": f"{scratch}/jref/"}
    return os.environ | ONE_THREAD | places


def _failed(worker: str, said: str) -> None:
    last = " ".join(said.strip().splitlines()[-1:])
    if "ModuleNotFoundError" in said:
        pytest.skip(f"{worker} cannot run: {last}")
    pytest.fail(f"{worker}: {said[-2000:]}")


def run_once(worker: str, folder: Path, scratch: Path, *words: str) -> None:
    """Run a worker to its end."""
    done = subprocess.run(
        _command(worker, words),
        cwd=scratch,
        env=_home(folder, scratch),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    if done.returncode:
        _failed(worker, done.stderr)


class Peer:
    """A worker that answers each line with ``= `` and a list of its CPU time [s] and what it found."""

    def __init__(self, worker: str, folder: Path, scratch: Path, *words: str) -> None:
        command = _command(worker, words)
        self.worker = worker
        self.log = (scratch / "peer.log").open("w+")
        # What it prints goes to a file: a pipe that nobody reads fills up and stops it.
        self.process = subprocess.Popen(
            command,
            cwd=scratch,
            env=_home(folder, scratch),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            bufsize=1,
        )

    def run(self, job: str) -> tuple[float, Any]:
        """Return CPU time [s] and result of a job."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        answer = ""
        end = threading.Timer(LIMIT, self.process.kill)
        end.start()
        try:
            self.process.stdin.write(f"{job}\n")
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            end.cancel()
        if not answer.startswith("= "):
            self.process.wait()
            self.log.seek(0)
            _failed(self.worker, self.log.read() or f"no answer to {job!r} within {LIMIT:.0f} s")
        seconds, found = json.loads(answer[2:])
        return seconds, found

    def close(self) -> None:
        """End its process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def print_machine() -> None:
    """Print what the times that follow are of."""
    print(f"\n{platform.machine()}, Python {platform.python_version()}, one thread, CPU time, best of {REPEAT}")


def race_each(
    peer: Peer,
    job: str,
    ours: Mapping[str, Callable[..., object]],
    *,
    prepare: Callable[[], object] | None = None,
    repeat: int = REPEAT,
) -> dict[str, float]:
    """Print the best CPU times of each of ours and of the peer, after a warm-up and in turns; return the ratios.

    What ``prepare`` returns is given to each; its time does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in ours}
    theirs: list[float] = []
    for _ in range(repeat + 1):
        for name, run in ours.items():
            given = () if prepare is None else (prepare(),)
            gc.collect()
            start = time.process_time()
            run(*given)
            times[name].append(time.process_time() - start)
        theirs.append(peer.run(job)[0])
    best = min(theirs[1:])
    ratios = {name: best / min(spent[1:]) for name, spent in times.items()}
    for name, spent in times.items():
        print(f"{name}: skymere {1e3 * min(spent[1:]):.2f} ms, peer {1e3 * best:.1f} ms, ratio {ratios[name]:.1f}")
    return ratios


def race_peer(
    peer: Peer,
    job: str,
    ours: Callable[..., object],
    *,
    prepare: Callable[[], object] | None = None,
    repeat: int = REPEAT,
) -> float:
    """Race one of ours, as `race_each`."""
    return race_each(peer, job, {job: ours}, prepare=prepare, repeat=repeat)[job]
