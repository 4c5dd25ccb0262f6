"""SIGKILL of the whole process group inside every stage; what is finished afterwards is what was never interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skymere.lake import Lake

STAGES = ("ingest", "background", "outliers", "mosaic", "detect", "measure", "cutouts", "release")


def events(folder: Path, skip: int = 0) -> list[dict[str, object]]:
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines()[skip:] if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # the last line of a killed process
            continue
    return found


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "skymere", "run", str(folder / "plan.toml")]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_at(folder: Path, stage: str, name: str, until: str) -> bool:
    """Run and kill the group as soon as an event appears; whether the kill landed before the event ``until``."""
    log = folder / "events.jsonl"
    skip = len(log.read_text().splitlines()) if log.exists() else 0
    process = start(folder)
    deadline = time.monotonic() + 60.0
    wanted = f'"name": "{name}", "stage": "{stage}"'
    position = log.stat().st_size if log.exists() else 0
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists():
            with log.open() as file:
                file.seek(position)
                if wanted in file.read():
                    os.killpg(process.pid, signal.SIGKILL)
                    break
        time.sleep(0.0005)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    after = [event["name"] for event in events(folder, skip) if event["stage"] == stage]
    assert name in after
    return until not in after


@pytest.mark.timeout(300)
def test_a_run_killed_in_every_stage_ends_as_one_that_was_not(fresh: Path, finished: Path) -> None:
    places = [(stage, "stage_started" if stage == "release" else "task_started", "stage_done") for stage in STAGES]
    places[4:4] = [("mosaic", "rows_written", "committed")]
    landed = [kill_at(fresh, *place) for place in places]
    assert all(landed), [place for place, was in zip(places, landed, strict=True) if not was]
    process = start(fresh)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    assert events(fresh)[-1]["name"] == "run_done"
    lake, whole = Lake.open(fresh / "lake"), Lake.open(finished / "lake")
    assert lake.content_hash() == whole.content_hash()
    assert Lake.open(fresh / "lake", release="DR1").content_hash() == whole.content_hash()
