"""Spectra of many sources: one after the other, or in processes beside each other, in the order they were asked for."""

import copyreg
import io
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from skymere._workers import worker_pool
from skymere.datamodels import Slitlet
from skymere.errors import InternalError, InvalidInputError, SkymereError, StorageError
from skymere.slit.drivers import STATUS_SCHEMA, extract_spectra
from skymere.slit.spectrum import CombinedSpectrum

__all__ = ["SourceSpectra", "extract_sources"]

Files = Sequence[str | Path | Slitlet]
Read = Callable[[Any], Files]


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSpectra:
    """The spectra of one of many sources.

    Parameters
    ----------
    name : str
        The source.
    spectra : dict of str to CombinedSpectrum
        By grating and filter: ``prism-clear``; empty when there is none.
    status : polars.DataFrame
        A row for each group, as in `SlitExtraction`; one row named as the source when it could not be read.
    """

    name: str
    spectra: dict[str, CombinedSpectrum] = field(repr=False)
    status: pl.DataFrame


def extract_sources(
    sources: Iterable[tuple[str, Any]],
    *,
    read: Read | None = None,
    n_workers: int = 1,
    n_ahead: int = 2,
    **kwargs: Any,
) -> Iterator[SourceSpectra]:
    """Extract the spectra of many sources; what is held in memory does not grow with their number.

    Parameters
    ----------
    sources : iterable of tuple of str and object
        Name and files (or slitlets) of each source, or what ``read`` makes these of.
    read : callable, optional
        Returns the files or slitlets of a source. It runs where the source is worked on, so with several workers it
        must be a function of a module.
    n_workers : int, optional
        Processes, in each of which all libraries use one thread; with 1 the sources are worked on here.
    n_ahead : int, optional
        How many sources each worker has taken beside that which is waited for.
    **kwargs
        Arguments of `extract_spectra`, the same for all.

    Returns
    -------
    iterator of SourceSpectra
        In the order of ``sources``, each as soon as it and those before it are done.

    Raises
    ------
    InvalidInputError
        When a number is not allowed.
    TypeError
        When an argument is not known, at the first source.
    InternalError
        When a worker died.

    Notes
    -----
    A source that fails is a row of its ``status``; the others go on. Results have the same bits for any number of
    workers and threads. Workers are started anew (``spawn``), so a script needs ``if __name__ == "__main__":``.
    """
    for name, value, least in (("n_workers", n_workers, 1), ("n_ahead", n_ahead, 0)):
        if value < least:
            msg = f"{name}: {value} is not allowed, it must be at least {least}"
            raise InvalidInputError(msg)
    if n_workers == 1:
        return (_extract(name, files, read, kwargs) for name, files in sources)
    return _in_processes(sources, read, kwargs, n_workers, n_workers * (1 + n_ahead))


def _extract(name: str, files: Any, read: Read | None, kwargs: dict[str, Any]) -> SourceSpectra:
    try:
        found = extract_spectra(files if read is None else read(files), **kwargs)
    except (SkymereError, np.linalg.LinAlgError) as error:
        row = {"group": name, "status": "failed", "message": f"{type(error).__name__}: {error}"}
        return SourceSpectra(name=name, spectra={}, status=pl.DataFrame([row], schema=STATUS_SCHEMA))
    return SourceSpectra(name=name, spectra=found.spectra, status=found.status)


class _Pickler(pickle.Pickler):
    """Sends mappings that nobody may change, which products hold."""

    dispatch_table = copyreg.dispatch_table | {MappingProxyType: lambda view: (_view, (dict(view),))}


def _view(mapping: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(mapping)


def _dumps(value: object) -> bytes:
    content = io.BytesIO()
    _Pickler(content, pickle.HIGHEST_PROTOCOL).dump(value)
    return content.getvalue()


# What all sources of a worker share, sent to it once, and where it leaves spectra.
_shared: tuple[Read | None, dict[str, Any], Path] = (None, {}, Path())


def _begin(shared: bytes) -> None:
    global _shared  # noqa: PLW0603  (a worker has no other place to keep it)
    _shared = pickle.loads(shared)  # noqa: S301  (what this program wrote)


def _work(number: int, source: bytes) -> Path:
    name, files = pickle.loads(source)  # noqa: S301  (what this program wrote)
    read, kwargs, folder = _shared
    # A file is a copy in memory; a pipe would pass the megabytes of a source on in pieces of 64 kB.
    path = folder / str(number)
    found = _dumps(_extract(name, files, read, kwargs))
    try:
        path.write_bytes(found)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    return path


def _in_processes(
    sources: Iterable[tuple[str, Any]], read: Read | None, kwargs: dict[str, Any], n_workers: int, most: int
) -> Iterator[SourceSpectra]:
    with TemporaryDirectory(prefix="skymere-") as folder:
        pool = worker_pool(n_workers, initializer=_begin, initargs=(_dumps((read, kwargs, Path(folder))),))
        waiting: deque[Future[Path]] = deque()

        def first() -> SourceSpectra:
            path = waiting.popleft().result()
            found: SourceSpectra = pickle.loads(path.read_bytes())  # noqa: S301  (what a worker wrote)
            path.unlink()
            return found

        try:
            for number, source in enumerate(sources):
                waiting.append(pool.submit(_work, number, _dumps(source)))
                if len(waiting) >= most:
                    yield first()
            while waiting:
                yield first()
        except BrokenProcessPool as error:
            msg = f"a worker of {n_workers} died: {error}"
            raise InternalError(msg) from error
        finally:
            pool.shutdown(cancel_futures=True)
