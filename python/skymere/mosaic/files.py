"""Exposures that stay in their files until they are asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import overload

from skymere.datamodels import Exposure
from skymere.io import ReadParams, chips_of, read_exposure

__all__ = ["ExposureFiles", "OverrideParams"]


@dataclass(frozen=True, kw_only=True)
class OverrideParams:
    """Values that replace those of the headers; None keeps what was read.

    Parameters
    ----------
    gain : float or None
        Gain [electron / DN], for files in data numbers.
    read_noise : float or None
        Read noise [electron].
    exptime : float or None
        Exposure time [s].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    gain: float | None = None
    read_noise: float | None = None
    exptime: float | None = None

    def __post_init__(self) -> None:
        ReadParams(**asdict(self))


class ExposureFiles(Sequence[Exposure]):
    """Exposures in files, each read whenever it is asked for, so that memory holds one at a time.

    Parameters
    ----------
    paths : iterable of path-like
        FLT-like files; every chip of a file is an exposure.
    override : OverrideParams, optional
        Values that replace those of the headers.
    prepare : callable, optional
        What is done to an exposure after it was read, such as `skymere.align.Alignment.apply`.

    Attributes
    ----------
    places : list of (Path, int or None)
        File and chip of each exposure.

    Examples
    --------
    >>> from skymere.mosaic import ExposureFiles, drizzle_exposures
    >>> mosaic, _ = drizzle_exposures(ExposureFiles(paths), grid)  # doctest: +SKIP
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        override: OverrideParams | None = None,
        prepare: Callable[[Exposure], Exposure] | None = None,
    ) -> None:
        self.places = [(Path(path), chip) for path in paths for chip in chips_of(path)]
        self._params = ReadParams(**asdict(override or OverrideParams()))
        self._prepare = prepare

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, i: int) -> Exposure: ...
    @overload
    def __getitem__(self, i: slice) -> list[Exposure]: ...
    def __getitem__(self, i: int | slice) -> Exposure | list[Exposure]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        path, chip = self.places[i]
        exposure = read_exposure(path, chip=chip, params=self._params)
        return exposure if self._prepare is None else self._prepare(exposure)
