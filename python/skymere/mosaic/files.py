"""Exposures that stay in their files until they are asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

from skymere.datamodels import Exposure
from skymere.instruments import read_detectors
from skymere.io import ReadParams, chips_of, read_exposure

__all__ = ["ExposureFiles", "OverrideParams"]


@dataclass(frozen=True, kw_only=True)
class OverrideParams:
    """What files do not say, or say wrongly; None and empty texts keep what was read.

    Parameters
    ----------
    gain : float or None
        Gain [electron / DN], for files in data numbers.
    read_noise : float or None
        Read noise [electron].
    exptime : float or None
        Exposure time [s].
    error : str
        ``file``: the error extension; ``model``: Poisson noise of the data and read noise.
    detectors : str
        TOML file with detectors, see `skymere.instruments.read_detectors`.
    reference_files : str
        Folder with the IDCTAB, NPOLFILE and D2IMFILE that the headers name, from which the distortion is built anew.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    gain: float | None = None
    read_noise: float | None = None
    exptime: float | None = None
    error: Literal["file", "model"] = "file"
    detectors: str = ""
    reference_files: str = ""

    def __post_init__(self) -> None:
        self._numbers()

    def _numbers(self) -> ReadParams:
        return ReadParams(gain=self.gain, read_noise=self.read_noise, exptime=self.exptime, error=self.error)

    def read_params(self, folder: str | Path = ".") -> ReadParams:
        """Return what `skymere.io.read_exposure` takes; relative paths start at ``folder``.

        Raises
        ------
        NotFoundError, InvalidInputError
            When the file of detectors is missing, or is not allowed.
        """
        folder = Path(folder)
        return replace(
            self._numbers(),
            detectors=read_detectors(folder / self.detectors) if self.detectors else (),
            distortion=folder / self.reference_files if self.reference_files else None,
        )


class ExposureFiles(Sequence[Exposure]):
    """Exposures in files, each read whenever it is asked for, so that memory holds one at a time.

    Parameters
    ----------
    paths : iterable of path-like
        FLT-like files; every chip of a file is an exposure.
    override : OverrideParams, optional
        What the files do not say.
    prepare : callable, optional
        What is done to an exposure after it was read, such as `skymere.align.Alignment.apply`.

    Attributes
    ----------
    places : list of (Path, int or None)
        File and chip of each exposure.
    read_params : ReadParams
        How they are read.

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
        self.read_params = (override or OverrideParams()).read_params()
        self.places = [(Path(path), chip) for path in paths for chip in chips_of(path, params=self.read_params)]
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
        exposure = read_exposure(path, chip=chip, params=self.read_params)
        return exposure if self._prepare is None else self._prepare(exposure)
