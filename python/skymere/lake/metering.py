"""What a piece of work costs the process that does it."""

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["Meter", "peak_memory"]

_IO, _STATUS = Path("/proc/self/io"), Path("/proc/self/status")
# Linux counts in KiB, macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Meter:
    """Measures from now on.

    Notes
    -----
    Processor time is that of all threads of this process, and of its children that have ended. Bytes are those that
    it asked the system for, whether they came from a disk or from memory. With several pieces of work in one process
    at the same time each of them is charged with all.
    """

    def __init__(self) -> None:
        self._clock, self._cpu, self._read = time.monotonic(), _cpu_seconds(), _bytes_read()

    @property
    def seconds(self) -> float:
        """Time by the clock [s]."""
        return time.monotonic() - self._clock

    @property
    def cpu_seconds(self) -> float:
        """Processor time [s]."""
        return _cpu_seconds() - self._cpu

    @property
    def bytes_read(self) -> int | None:
        """Bytes read from files; None where the system does not count them."""
        now = _bytes_read()
        return None if now is None or self._read is None else now - self._read


def peak_memory() -> float:
    """Return the most memory that this process has held [MiB]: since somebody let the kernel begin anew, where it can.

    That is ``VmHWM`` of ``/proc/self/status``, which the executors of the pipeline start again before each task, and
    ``ru_maxrss`` elsewhere.
    """
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / 2**20


def _cpu_seconds() -> float:
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def _bytes_read() -> int | None:
    try:
        lines = _IO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("rchar:")), None)
