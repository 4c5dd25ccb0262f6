"""The PSF as the kernels take it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.psf import Psf, PsfGrid, PsfLimits, measure_shape, require_psf, resampled
from skymere.psf.sampled import RESOLVED_FWHM_PIX

__all__ = ["AnyPsf", "Response", "response_of"]

AnyPsf = Psf | PsfGrid | ArrayLike

# A little more than 1 for the noise of PSFs that were made of stars.
_SUMS = (0.5, 1.05)


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """A PSF, or those at the nodes of a grid, on pixels a whole number of times finer than those of an image.

    Parameters
    ----------
    data : tuple of ndarray, float64, shape (py, px)
        Images, node row after node row; each sum is the part of the light that the image holds.
    x, y : tuple of float
        Places of the columns and rows of nodes [pix of the image that is fitted].
    centre : tuple of float
        ``(y, x)`` of the source on them [pix of them].
    oversampling : int
        Pixels of them along a pixel of the image that is fitted.
    has_pixel : bool
        Whether they hold the response of a pixel.
    """

    data: tuple[NDArray[np.float64], ...]
    x: tuple[float, ...] = (0.0,)
    y: tuple[float, ...] = (0.0,)
    centre: tuple[float, float]
    oversampling: int = 1
    has_pixel: bool = True

    @property
    def warning(self) -> str:
        """What is to be said about its sampling; empty when there is nothing."""
        fwhm = min(measure_shape(one).fwhm for one in self.data)
        if fwhm >= RESOLVED_FWHM_PIX:
            return ""
        return (
            f"psf: a full width of {fwhm:.2f} of its pixels does not say what is between them, and bright sources have "
            f"ripples; give one with {RESOLVED_FWHM_PIX} pixels or more (oversampled)"
        )

    def keywords(self) -> dict[str, Any]:
        """Return what the kernels take."""
        return {
            "images": np.ascontiguousarray(np.concatenate(self.data)),
            "x": list(self.x),
            "y": list(self.y),
            "centre": self.centre,
            "oversampling": self.oversampling,
            "has_pixel": self.has_pixel,
        }


def response_of(psf: AnyPsf, *, has_pixel: bool = True, may_change: bool = False) -> Response:
    """Return a PSF as the kernels take it.

    Parameters
    ----------
    psf : Psf, PsfGrid or array_like, float64, shape (py, px)
        A PSF, those of a grid of places, or its image at the pixels of an image with the source in the middle.
    has_pixel : bool, optional
        Whether an array holds the response of a pixel; a `skymere.psf.Psf` says so itself.
    may_change : bool, optional
        Whether a grid is allowed.

    Returns
    -------
    Response
        On the pixels of the PSF, or on finer ones where those are no whole number of times finer than the image's.

    Raises
    ------
    InvalidInputError
        When it is no image, has values that are not finite, no sum that is a part of the light, its source is not where
        it should be, or it is a grid where none is allowed.
    """
    if isinstance(psf, PsfGrid):
        if not may_change:
            msg = "psf: a PsfGrid is not allowed here, it must be a PSF: see PsfGrid.at"
            raise InvalidInputError(msg)
        return _together(psf.x, psf.y, [response_of(one) for one in psf.psfs])
    values = np.ascontiguousarray(psf.data if isinstance(psf, Psf) else psf, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all() or not values.sum() > 0:
        msg = f"psf: shape {values.shape} with sum {values.sum()} is not allowed, it must be an image of positive sum"
        raise InvalidInputError(msg)
    total = float(values.sum())
    if not _SUMS[0] <= total <= _SUMS[1]:
        msg = (
            f"psf: a sum of {total:.4g} is not allowed, it must be the part of the light that the image holds, from"
            f" {_SUMS[0]} to {_SUMS[1]}"
        )
        raise InvalidInputError(msg)
    given = psf if isinstance(psf, Psf) else Psf(data=values.astype(np.float32), has_pixel=has_pixel)
    problem = _problem(given.data.tobytes(), given.shape, given.x, given.y, given.oversampling)
    if problem:
        raise InvalidInputError(problem)
    if given.oversampling != round(given.oversampling):
        return response_of(resampled(given, ceil(given.oversampling)))
    return Response(
        data=(values,), centre=(given.y, given.x), oversampling=int(given.oversampling), has_pixel=given.has_pixel
    )


@lru_cache(maxsize=16)
def _problem(data: bytes, shape: tuple[int, int], x: float, y: float, oversampling: float) -> str:
    """Return why a PSF cannot be used, or nothing; many fits ask for the same one."""
    psf = Psf(data=np.frombuffer(data, np.float32).reshape(shape), x=x, y=y, oversampling=oversampling)
    try:
        require_psf(psf, limits=PsfLimits())
    except (InvalidInputError, NoDataError) as error:
        return str(error)
    return ""


def _together(x: Sequence[float], y: Sequence[float], nodes: list[Response]) -> Response:
    first = nodes[0]
    return Response(
        data=tuple(one.data[0] for one in nodes),
        x=tuple(x),
        y=tuple(y),
        centre=first.centre,
        oversampling=first.oversampling,
        has_pixel=first.has_pixel,
    )
