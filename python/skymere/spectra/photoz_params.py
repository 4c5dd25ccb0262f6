"""Parameters of photometric redshifts."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_floats
from skymere.errors import InvalidInputError

__all__ = ["PhotozParams", "TemplateError"]

_Array = NDArray[np.float64]
SysErrOf = Literal["model", "data"]


@dataclass(frozen=True, kw_only=True)
class PhotozParams:
    """Parameters of `fit_photoz`.

    Parameters
    ----------
    z_min, z_max : float
        First and largest redshift of the grid.
    z_step : float
        Its step, in ln(1 + z).
    sys_err : float
        Error relative to the flux that is added in quadrature to every flux.
    sys_err_of : str
        ``model``: relative to the best model of a first pass, so that noise does not change weights; ``data``: to
        positive fluxes, as eazy.
    min_filters : int
        Objects with fewer measured fluxes are not fitted.
    min_rest_wave : float or None
        No redshift brings this wavelength at rest [um] beyond the pivot of an object's reddest filter; eazy has 0.11.
        None: all are allowed.
    has_pdf : bool
        Whether chi square and p(z) of every object are kept.
    block_rows : int
        How many objects are fitted at a time.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    z_min: float = 0.01
    z_max: float = 12.0
    z_step: float = 0.002
    sys_err: float = 0.01
    sys_err_of: SysErrOf = "model"
    min_filters: int = 3
    min_rest_wave: float | None = 0.11
    has_pdf: bool = True
    block_rows: int = 1000

    def __post_init__(self) -> None:
        if not -1 < self.z_min < self.z_max < np.inf:
            msg = f"z_min, z_max: {self.z_min}, {self.z_max} are not allowed, they must be above -1 and rise"
            raise InvalidInputError(msg)
        if not 0 < self.z_step <= np.log((1 + self.z_max) / (1 + self.z_min)) / 2:
            msg = f"z_step: {self.z_step} is not allowed, it must be positive and leave three redshifts"
            raise InvalidInputError(msg)
        if not 0 <= self.sys_err < np.inf:
            msg = f"sys_err: {self.sys_err} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)
        if self.sys_err_of not in get_args(SysErrOf):
            msg = f"sys_err_of: {self.sys_err_of!r} is not allowed, it must be one of {', '.join(get_args(SysErrOf))}"
            raise InvalidInputError(msg)
        if self.min_filters < 1 or self.block_rows < 1:
            msg = f"min_filters, block_rows: {self.min_filters}, {self.block_rows} are not allowed, the least is 1"
            raise InvalidInputError(msg)
        if self.min_rest_wave is not None and not 0 < self.min_rest_wave < np.inf:
            msg = f"min_rest_wave: {self.min_rest_wave} is not allowed, it must be positive or None"
            raise InvalidInputError(msg)

    @property
    def z_grid(self) -> _Array:
        """The redshifts, even in ln(1 + z)."""
        n = int(np.floor(np.log((1 + self.z_max) / (1 + self.z_min)) / self.z_step * (1 + 1e-12))) + 1
        return np.asarray(np.exp(np.log1p(self.z_min) + self.z_step * np.arange(n)) - 1.0, np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateError:
    """How wrong templates are, relative to the flux, at wavelengths at rest.

    Parameters
    ----------
    wave : ndarray, float64, shape (n,) [um]
        Wavelengths at rest, rising.
    error : ndarray, float64, shape (n,)
        Relative error; straight between the points, that of the ends outside.
    scale : float
        By which it is multiplied; eazy's ``TEMP_ERR_A2``.

    Raises
    ------
    InvalidInputError
        When wavelengths do not rise or an error is negative.
    """

    wave: _Array
    error: _Array
    scale: float = 1.0

    def __post_init__(self) -> None:
        wave = as_floats(self.wave, "wave", shape=(None,))
        error = as_floats(self.error, "error", shape=wave.shape)
        if not wave.size or not np.all(np.diff(wave) > 0):
            msg = f"wave: {wave.size} values are not allowed, they must rise"
            raise InvalidInputError(msg)
        if not (np.all(error >= 0) and np.all(np.isfinite(error)) and 0 <= self.scale < np.inf):
            msg = "error, scale: values are not allowed, they must be finite and 0 or more"
            raise InvalidInputError(msg)
        object.__setattr__(self, "wave", wave)
        object.__setattr__(self, "error", error)

    def on_grid(self, pivots: _Array, z_grid: _Array) -> _Array:
        """Return the error of each filter at each redshift.

        Parameters
        ----------
        pivots : ndarray, float64, shape (n_filters,) [um]
            Pivot wavelengths.
        z_grid : ndarray, float64, shape (n_z,)
            Redshifts.
        """
        return self.scale * np.interp(pivots[None, :] / (1 + z_grid[:, None]), self.wave, self.error)
