"""Runs of a survey in processes of their own, which may be killed, and what their lakes say."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from skymere.lake import Lake

SERIAL = ("--executor", "serial")
PROCESSES = ("--executor", "processes", "--workers", "2")
DASK = ("--executor", "dask", "--workers", "2")
# A run that takes so long hangs [s].
PATIENCE = 3000.0


class EventFile:
    """The lines that are added to ``events.jsonl`` of a survey from now on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.jsonl"
        self._position = self._path.stat().st_size if self._path.exists() else 0

    def new(self) -> list[dict[str, Any]]:
        """Return the events since the last call; a line that is not whole yet is left for the next one."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        found = []
        for line in whole.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # the end of a killed process, with the first line of the next one
                continue
        return found


def copy_of(folder: Path, to: Path) -> Path:
    """Copy the files of a survey without what a run has made of them."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("lake", "events.jsonl", "logs", "pictures"))
    return to


def start(folder: Path, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Begin a run of the plan in a process group of its own."""
    command = [sys.executable, "-m", "skymere", "run", str(folder / "plan.toml"), *options]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a run that must succeed."""
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, errors.decode()


@contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """A small file system of its own on a folder; the test is skipped where it cannot be had."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def enlarge(folder: Path, size: str) -> None:
    """Give a `disk` another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def run(folder: Path, options: tuple[str, ...] = SERIAL) -> Lake:
    """Run a survey from beginning to end."""
    finish(start(folder, options))
    return Lake.open(folder / "lake")


def n_done(folder: Path) -> int:
    """Return how many tasks all runs together have ended with a product."""
    path = folder / "events.jsonl"
    return path.read_text().count('"name": "task_done"') if path.exists() else 0


def kill_after(folder: Path, n_tasks: int, delay: float, options: tuple[str, ...] = SERIAL) -> None:
    """Run, and kill the whole group in a task, as soon as so many are done and ``delay`` [s] has passed."""
    events, done, is_inside = EventFile(folder), n_done(folder), False
    process = start(folder, options)

    def is_time() -> bool:
        nonlocal done, is_inside
        for event in events.new():
            done += event["name"] == "task_done"
            is_inside |= event["name"] == "task_started"
        return is_inside and done >= n_tasks

    _wait(process, is_time)
    time.sleep(delay)
    assert process.poll() is None, f"the run ended before it could be killed after {n_tasks} tasks"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_worker(folder: Path, n_tasks: int, options: tuple[str, ...]) -> list[dict[str, Any]]:
    """Run, kill the worker that begins a task when so many have begun, and wait for the end; returns the events."""
    events, seen = EventFile(folder), []
    process = start(folder, options)

    def is_time() -> bool:
        seen.extend(events.new())
        return sum(event["name"] == "task_started" for event in seen) > n_tasks

    _wait(process, is_time)
    worker = [event["pid"] for event in seen if event["name"] == "task_started"][-1]
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    finish(process)
    return seen + events.new()


def _wait(process: subprocess.Popen[bytes], is_time: Callable[[], bool]) -> None:
    """Wait for a moment; a run that ends before, or hangs, has failed."""
    deadline = time.monotonic() + PATIENCE
    while not is_time():
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
        if process.poll() is not None:
            _, errors = process.communicate()
            pytest.fail(f"the run ended with {process.returncode} before its moment came: {errors.decode()}")
        time.sleep(0.002)


def random_moments(n_tasks: int, n_kills: int, seed: int) -> list[tuple[int, float]]:
    """Draw after how many tasks, of so many, runs are killed, and how much later [s]."""
    rng = np.random.default_rng(seed)
    # A kill may take the line of a task that was published, so the last ones might not be told.
    counts = np.sort(rng.integers(0, n_tasks - n_kills - 1, n_kills))
    return list(zip(counts.tolist(), rng.uniform(0.0, 0.3, n_kills).tolist(), strict=True))


def content(lake: Lake) -> dict[str, str]:
    """Return the content hash of every product, so that a difference has a name."""
    return {name: lake.content_hash(name) for name in lake.names()}


def expect_same(lake: Lake, whole: Lake) -> None:
    """Compare a lake with that of a run that nothing disturbed."""
    assert content(lake) == content(whole)
    assert lake.content_hash() == whole.content_hash()
    assert Lake.open(lake.path, release="DR1").content_hash() == whole.content_hash()


def expect_whole(lake: Lake, like: Lake) -> None:
    """Look for tiles that are missing or twice, and for rows of arrays that are not there."""
    faults = lake.fsck(hashes=True)
    assert faults == [], [str(one) for one in faults]
    for product in like.names():
        assert set(lake.live_runs(product)) == set(like.live_runs(product)), product
    assert lake.table("source").select(pl.col("source_id").is_unique().all()).collect().item()
    runs = lake.table("run").select("stage", "tile", "run_id").collect()
    assert runs.is_unique().all()
