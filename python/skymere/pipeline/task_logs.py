"""The log of a task: what it was given, what it was warned of, and how it ended. The next attempt overwrites it."""

import json
import logging
import os
import socket
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

__all__ = ["TaskLog", "append_to_log", "log_path"]

# A log is read by people; what is cut stands in the row of the run.
_LONGEST = 20_000
_MOST_WARNINGS = 200


def log_path(folder: Path, stage: str, tile: str) -> Path:
    """Return where the log of a task is."""
    return folder / stage / f"{tile}.log"


def append_to_log(path: Path, text: str) -> None:
    """Add a line to the log of a task whose process cannot do it any more; nothing happens when that is impossible."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{_now()} {text}\n")
    except OSError:
        return


class TaskLog:
    """A log that is written once there is something to say: a task that was done before has none of its own.

    Parameters
    ----------
    path : Path or None
        The file; None to keep no log.

    Attributes
    ----------
    warnings : list of str
        What the task was warned of.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._file: TextIO | None = None

    def begin(self, *, inputs: int, params: Mapping[str, Any]) -> None:
        """Begin the file anew."""
        self.close()
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        except OSError:
            # The task may well be possible where its log is not.
            self.path = None
            return
        self.write(f"started on {socket.gethostname()}, process {os.getpid()}")
        self.write(f"{inputs} inputs, parameters {_short(json.dumps(params, sort_keys=True))}")

    def write(self, text: str) -> None:
        """Add a line."""
        if self._file is None:
            return
        try:
            self._file.write(f"{_now()} {text}\n")
            self._file.flush()
        except OSError:
            self.path = None
            self._file = None

    def warn(self, text: str) -> None:
        """Keep a warning, and add a line."""
        self.warnings.append(_short(text, 500))
        if len(self.warnings) <= _MOST_WARNINGS:
            self.write(f"warning: {_short(text)}")

    def fail(self, error: BaseException) -> None:
        """Add the traceback of an error."""
        self.write("failed\n" + "".join(traceback.format_exception(error)).rstrip())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            if len(self.warnings) > _MOST_WARNINGS:
                self.write(f"{len(self.warnings) - _MOST_WARNINGS} more warnings")
            file, self._file = self._file, None
            try:
                if file is not None:
                    file.close()
            except OSError:
                self.path = None

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Keep warnings of Python and what libraries log while a task is done."""
        handler = _Handler(self)
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = self._show
                yield
        finally:
            root.removeHandler(handler)

    def _show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,  # noqa: ARG002  (as the standard library calls it)
        line: str | None = None,  # noqa: ARG002
    ) -> None:
        self.warn(f"{category.__name__}: {message} ({filename}:{lineno})")


class _Handler(logging.Handler):
    def __init__(self, log: TaskLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warn(f"{record.levelname.lower()} of {record.name}: {record.getMessage()}")


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
