"""Grids of wavelength and of distance from the trace."""

from bisect import bisect_right

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere.errors import InvalidInputError
from skymere.instruments import NIRSPEC_GRIDS
from skymere.io import Pack, read_dispersion

__all__ = ["bin_edges", "pixfrac_steps", "resolving_power", "slit_edges", "standard_grid", "wavelength_grid"]


def wavelength_grid(
    limits: tuple[float, float, float],
    *,
    sample: float = 1.05,
    dispersion: tuple[ArrayLike, ArrayLike] | None = None,
) -> NDArray[np.float64]:
    """Return a grid of wavelengths.

    Parameters
    ----------
    limits : tuple of float [um]
        First wavelength, end, and step; `skymere.instruments.NIRSPEC_GRIDS` has those of every grating.
    sample : float
        Points for each step.
    dispersion : pair of array_like, float64, shape (m,) [um], optional
        Wavelengths and the step there, in place of the constant one; the last point is the first beyond the end.

    Returns
    -------
    ndarray, float64, shape (n,) [um]
        The grid.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """
    low, high, step = limits
    if not (low < high and step > 0 and sample > 0):
        msg = f"limits, sample: {limits}, {sample} are not allowed, the limits must grow and the others be positive"
        raise InvalidInputError(msg)
    if dispersion is None:
        return np.arange(low, high, step / sample)
    nodes = as_floats(dispersion[0], "dispersion", shape=(None,))
    steps = as_floats(dispersion[1], "dispersion", shape=nodes.shape)
    if not (steps > 0).all():
        msg = f"dispersion: a step of {float(steps.min())} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    # Nodes as lists: a call of numpy for each point would take longer than the rest of a combination.
    x, y = nodes.tolist(), steps.tolist()
    grid = [low]
    while grid[-1] < high:
        grid.append(grid[-1] + _interpolate(grid[-1], x, y) / sample)
    return np.array(grid)


def _interpolate(at: float, x: list[float], y: list[float]) -> float:
    """Return what `numpy.interp` does for one place, to the last bit."""
    if at <= x[0]:
        return y[0]
    if at >= x[-1]:
        return y[-1]
    k = bisect_right(x, at) - 1
    slope = (y[k + 1] - y[k]) / (x[k + 1] - x[k])
    return slope * (at - x[k]) + y[k]


def standard_grid(grating: str, *, pack: Pack | None = None, sample: float = 1.05) -> NDArray[np.float64]:
    """Return the standard grid of wavelengths of a grating.

    Parameters
    ----------
    grating : str
        Its name.
    pack : Pack, optional
        Reference files; the step of the prism follows its dispersion, ``jwst_nirspec_prism_disp.fits``, when given.
    sample : float
        Points for each step.

    Returns
    -------
    ndarray, float64, shape (n,) [um]
        The grid.

    Raises
    ------
    InvalidInputError
        When the grating has none.
    NotFoundError
        When the pack lacks the dispersion.
    """
    name = grating.lower()
    if name not in NIRSPEC_GRIDS:
        msg = f"grating: {grating!r} is not allowed, it must be one of {', '.join(NIRSPEC_GRIDS)}"
        raise InvalidInputError(msg)
    dispersion = None
    if name == "prism" and pack is not None:
        table = pack.read("jwst_nirspec_prism_disp.fits", read_dispersion)
        dispersion = (table["wavelength"].to_numpy(), table["step"].to_numpy())
    return wavelength_grid(NIRSPEC_GRIDS[name], sample=sample, dispersion=dispersion)


def resolving_power(grating: str, wave: ArrayLike, *, pack: Pack) -> NDArray[np.float64]:
    """Return the resolving power of a grating for a source that fills the slit.

    Parameters
    ----------
    grating : str
        Its name.
    wave : array_like, float64, shape (n,) [um]
        Wavelengths; beyond those of the table the nearest one holds.
    pack : Pack
        Reference files: ``jwst_nirspec_{grating}_disp.fits``.

    Returns
    -------
    ndarray, float64, shape (n,)
        Wavelength over full width at half maximum.

    Raises
    ------
    NotFoundError
        When the pack lacks the file; the message names it.
    FormatError
        When it is something else.
    """
    table = read_dispersion(pack.path(f"jwst_nirspec_{grating.lower()}_disp.fits"))
    power: NDArray[np.float64] = np.interp(
        np.asarray(wave, np.float64), table["wavelength"].to_numpy(), table["resolution"].to_numpy()
    )
    return power


def bin_edges(centres: ArrayLike) -> NDArray[np.float64]:
    """Return the edges of bins: half way between centres.

    Parameters
    ----------
    centres : array_like, float64, shape (n,)
        Growing centres.

    Returns
    -------
    ndarray, float64, shape (n + 1,)
        Edges.

    Raises
    ------
    InvalidInputError
        When the centres do not grow.
    """
    values = as_floats(centres, "centres", shape=(None,))
    steps = np.diff(values)
    if values.size < 2 or not (steps > 0).all():
        msg = f"centres: {values.size} values are not allowed, they must be 2 or more and grow"
        raise InvalidInputError(msg)
    return np.hstack([values[0] - steps[0] / 2, values[:-1] + steps / 2.0, values[-1] + steps[-1] / 2.0])


def slit_edges(n_y: int = 13, *, step: float = 1.0) -> NDArray[np.float64]:
    """Return the edges of rows from ``-n_y`` to ``n_y`` around a trace.

    Parameters
    ----------
    n_y : int [pix]
        Half the height.
    step : float [pix]
        Height of a row.

    Returns
    -------
    ndarray, float64, shape (n + 1,) [pix]
        Edges; with steps of 1 the middle row is centred on the trace.

    Raises
    ------
    InvalidInputError
        When a value is not positive.
    """
    if n_y < 1 or not step > 0:
        msg = f"n_y, step: {n_y}, {step} are not allowed, they must be at least 1 and positive"
        raise InvalidInputError(msg)
    return np.arange(-n_y, n_y + step * 1.01, step) - 0.5


def pixfrac_steps(oversample: int, pixfrac: float) -> NDArray[np.float64]:
    """Return the shifts of bins of `pseudo_drizzle`, over ``-pixfrac`` to ``pixfrac``.

    Parameters
    ----------
    oversample : int
        Number of shifts.
    pixfrac : float
        Largest shift [bin].

    Returns
    -------
    ndarray, float64, shape (oversample,) [bin]
        Shifts.

    Raises
    ------
    InvalidInputError
        When a value is not positive.
    """
    if oversample < 1 or not pixfrac > 0:
        msg = f"oversample, pixfrac: {oversample}, {pixfrac} are not allowed, they must be at least 1 and positive"
        raise InvalidInputError(msg)
    return (np.linspace(1.0 / oversample, 2 + 1.0 / oversample, oversample + 1)[:-1] - 1) * pixfrac
