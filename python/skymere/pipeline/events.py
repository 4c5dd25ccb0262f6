"""What happens in a run, one JSON line each: for progress, for finding places, for the curious."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from skymere.errors import StorageError

__all__ = ["Event", "EventLog"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened.

    Parameters
    ----------
    name : str
        ``run_started``, ``stage_started``, ``task_started``, the steps of a publication (`skymere.lake.EVENTS`),
        ``task_done``, ``task_already``, ``stage_done``, ``run_done``.
    stage, tile : str
        Where; empty for the run itself.
    done, total : int
        Tasks of the stage.
    seconds : float
        Time that a task or a stage took [s].
    """

    name: str
    stage: str = ""
    tile: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0


class EventLog:
    """A file to which every event is appended at once, and observers that hear of it.

    Parameters
    ----------
    path : Path
        The file; made when it does not exist.
    observers : callables
        Called with each event.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """

    def __init__(self, path: Path, *observers: Callable[[Event], None]) -> None:
        self._observers = observers
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            msg = f"{path}: cannot be written: {error.strerror}"
            raise StorageError(msg) from error

    def __call__(self, event: Event) -> None:
        """Append an event and tell the observers."""
        line = {"time": time.time(), "pid": os.getpid(), **asdict(event)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for observer in self._observers:
            observer(event)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
