"""Spectra of many sources: one after the other, or in processes beside each other, in the order they were asked for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from skymere._workers import work_in_order
from skymere.datamodels import Slitlet
from skymere.errors import InvalidInputError, SkymereError
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
    return work_in_order(_work, sources, shared=(read, kwargs), n_workers=n_workers, most=n_workers * (1 + n_ahead))


def _extract(name: str, files: Any, read: Read | None, kwargs: dict[str, Any]) -> SourceSpectra:
    try:
        found = extract_spectra(files if read is None else read(files), **kwargs)
    except (SkymereError, np.linalg.LinAlgError) as error:
        row = {"group": name, "status": "failed", "message": f"{type(error).__name__}: {error}"}
        return SourceSpectra(name=name, spectra={}, status=pl.DataFrame([row], schema=STATUS_SCHEMA))
    return SourceSpectra(name=name, spectra=found.spectra, status=found.status)


def _work(shared: tuple[Read | None, dict[str, Any]], source: tuple[str, Any]) -> SourceSpectra:
    read, kwargs = shared
    return _extract(*source, read, kwargs)
