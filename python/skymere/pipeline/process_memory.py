"""How much memory processes hold, as the kernel tells it in /proc."""

import ctypes
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from skymere.lake import peak_memory as peak_mebibytes

__all__ = ["held_memory", "peak_memory", "restart_peak", "tree_memory"]

_KIB = 1024


def held_memory(pid: int | None = None) -> int:
    """Return the memory of a process [bytes]: pages that several share count in parts (PSS), so that sums are right.

    Parameters
    ----------
    pid : int, optional
        The process; this one when not given. 0 is returned for one that has ended, or that the kernel tells nothing of.
    """
    name = pid or os.getpid()
    for file, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        with suppress(OSError):
            for line in Path(f"/proc/{name}/{file}").read_text().splitlines():
                if line.startswith(key):
                    return int(line.split()[1]) * _KIB
    return 0 if pid else _most_ever()


def tree_memory(pid: int | None = None) -> int:
    """Return the memory of a process and of all that it has started, and so on [bytes]; see `held_memory`.

    Parameters
    ----------
    pid : int, optional
        The process; this one when not given.
    """
    return sum(held_memory(one) for one in _family(pid or os.getpid()))


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def restart_peak() -> None:
    """Let `peak_memory` begin anew, where the kernel can, without what was freed and kept for later."""
    with suppress(OSError, AttributeError):
        # What other threads freed stays in their heaps, and would count as the next task's.
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the most memory that this process has held since `restart_peak` [bytes]; since it began elsewhere."""
    return round(peak_mebibytes() * 2**20)


def _most_ever() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * _KIB
