"""Exposures that stay in their files until they are asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.io import read_exposure

__all__ = ["ExposureFiles", "OverrideParams", "override_exposure"]


@dataclass(frozen=True, kw_only=True)
class OverrideParams:
    """Values that replace those of the headers; None keeps what was read.

    Parameters
    ----------
    gain : float or None
        Electrons per unit of the pixels: data, error and sky are multiplied by it.
    read_noise : float or None
        Read noise [electron].
    exptime : float or None
        Exposure time [s]. The pixels are rates and stay as they are.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    gain: float | None = None
    read_noise: float | None = None
    exptime: float | None = None

    def __post_init__(self) -> None:
        for name in ("gain", "exptime"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if self.read_noise is not None and not (np.isfinite(self.read_noise) and self.read_noise >= 0):
            msg = f"read_noise: {self.read_noise} is not allowed, it must not be negative"
            raise InvalidInputError(msg)


def override_exposure(exposure: Exposure, params: OverrideParams) -> Exposure:
    """Return an exposure with values that replace those of its header; the old one stays as it is.

    Parameters
    ----------
    exposure : Exposure
        As it was read.
    params : OverrideParams
        The values.
    """
    if params.gain is not None:
        gain = np.float32(params.gain)
        zero_point = exposure.zero_point_ab + 2.5 * np.log10(params.gain)
        exposure = replace(
            exposure,
            data=exposure.data * gain,
            error=exposure.error * gain,
            sky=exposure.sky * params.gain,
            zero_point_ab=float(zero_point),
        )
    return replace(
        exposure,
        read_noise=exposure.read_noise if params.read_noise is None else params.read_noise,
        exptime=exposure.exptime if params.exptime is None else params.exptime,
    )


class ExposureFiles(Sequence[Exposure]):
    """Exposures in files, each read whenever it is asked for, so that memory holds one at a time.

    Parameters
    ----------
    paths : iterable of path-like
        FLT-like files.
    override : OverrideParams, optional
        Values that replace those of the headers.
    prepare : callable, optional
        What is done to an exposure after it was read, such as `skymere.align.Alignment.apply`.

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
        self.paths = [Path(path) for path in paths]
        self._override = override
        self._prepare = prepare

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, i: int) -> Exposure: ...
    @overload
    def __getitem__(self, i: slice) -> list[Exposure]: ...
    def __getitem__(self, i: int | slice) -> Exposure | list[Exposure]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        exposure = read_exposure(self.paths[i])
        if self._override is not None:
            exposure = override_exposure(exposure, self._override)
        return exposure if self._prepare is None else self._prepare(exposure)
