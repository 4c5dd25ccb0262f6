"""What happens in a run, one JSON line each: for progress, for finding places, for the curious."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skymere.errors import StorageError

__all__ = ["Event", "EventLog"]

# Lines of most events have nothing to say about these.
_RARE = ("status", "error_class", "message", "log", "memory", "n_failed")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened.

    Parameters
    ----------
    name : str
        ``run_started``, ``stage_started``, ``task_submitted``, ``task_started``, the steps of a publication
        (`skymere.lake.EVENTS`; ``committed`` and ``recorded`` are those of many tiles), ``task_done``,
        ``task_already``, ``task_held``, ``task_failed``, ``worker_died``, ``stage_done``, ``stage_skipped``,
        ``log_failed``, ``ledger_failed``, ``run_done``.
    stage, tile : str
        Where; empty for the run itself.
    done, total : int
        Tasks of the stage that have ended in any way, and all of them.
    seconds : float
        Time that a task or a stage took [s].
    error_class, message : str
        What went wrong, or why something is held.
    log : str
        File with more about it.
    memory : int
        Most memory of the process while it did the task [bytes].
    n_failed : int
        Failures of the run so far.
    """

    name: str
    stage: str = ""
    tile: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    error_class: str = ""
    message: str = ""
    log: str = ""
    memory: int = 0
    n_failed: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as it is written, with the time [s since 1970] and the process."""
        said = {name: value for name, value in asdict(self).items() if value or name not in _RARE}
        return {"time": time.time(), "pid": os.getpid(), **said}


class EventLog:
    """A file to which every event is appended at once, by any number of processes, and observers that hear of it.

    Parameters
    ----------
    path : Path
        The file; made when it does not exist.
    observers : callables
        Called with each event.

    Attributes
    ----------
    problem : str
        Why lines are missing, since the run does not end for a full disk; empty when none are.

    Raises
    ------
    StorageError
        When the file cannot be opened.
    """

    def __init__(self, path: Path, *observers: Callable[[Event], None]) -> None:
        self.path = path
        self.problem = ""
        self._observers = observers
        self._is_torn = False
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            msg = f"{path}: cannot be written: {error.strerror}"
            raise StorageError(msg) from error

    def __call__(self, event: Event) -> None:
        """Append an event and tell the observers."""
        self._append(json.dumps(event.as_json()).encode() + b"\n")
        for observer in self._observers:
            observer(event)

    def _append(self, line: bytes) -> None:
        # One call for the whole line: the kernel puts what processes append one after the other.
        whole = b"\n" + line if self._is_torn else line
        try:
            self._is_torn = os.write(self._file, whole) < len(whole)
        except OSError as error:
            is_first = not self.problem
            self.problem = f"{self.path}: cannot be written: {error.strerror}"
            if is_first:
                for observer in self._observers:
                    observer(Event(name="log_failed", error_class="StorageError", message=self.problem))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
