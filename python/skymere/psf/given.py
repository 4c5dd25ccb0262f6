"""PSFs that somebody gives as an image: read, and checked before anything is measured with them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.io import read_psf_image
from skymere.psf.sampled import Psf, PsfShape, measure_shape

__all__ = ["PsfCheck", "PsfLimits", "check_psf", "read_psf", "require_psf"]

# Part of the radius over which the light of a ring is averaged, and where the inner of two rings ends.
_RIM = 0.1
_INNER = 0.7
# Apertures that diffract have wings of r^-3.
_WING = 3.0
_LEAST_SIDE = 3
# Sums of PSFs that are ready for use are this close to what they enclose.
_SUM_ERROR = 0.01


@dataclass(frozen=True, kw_only=True)
class PsfLimits:
    """What a PSF must hold.

    Parameters
    ----------
    max_offset_pix : float
        Largest distance of its centroid from the middle of the image [pix of the band].
    min_coverage : float
        Least part of all light that must be on the image.
    max_sum_error : float or None
        Largest part by which the sum may differ from ``enclosed``; None when any sum will do, as it will be normalised.
    min_side_fwhm : float
        The shorter side has at least so many FWHM.
    parity : {"any", "odd"}
        Whether sides may be even.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    max_offset_pix: float = 0.25
    min_coverage: float = 0.9
    max_sum_error: float | None = None
    min_side_fwhm: float = 2.0
    parity: Literal["any", "odd"] = "any"

    def __post_init__(self) -> None:
        if not (self.max_offset_pix > 0 and 0 <= self.min_coverage <= 1):
            msg = (
                f"max_offset_pix, min_coverage: {self.max_offset_pix}, {self.min_coverage} are not allowed, the first "
                "must be positive and the second between 0 and 1"
            )
            raise InvalidInputError(msg)
        if (self.max_sum_error is not None and not self.max_sum_error > 0) or not self.min_side_fwhm >= 0:
            msg = (
                f"max_sum_error, min_side_fwhm: {self.max_sum_error}, {self.min_side_fwhm} are not allowed, the first "
                "must be positive or None and the second at least 0"
            )
            raise InvalidInputError(msg)
        if self.parity not in ("any", "odd"):
            msg = f"parity: {self.parity!r} is not allowed, it must be 'any' or 'odd'"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class PsfCheck:
    """What an image of a PSF shows.

    Parameters
    ----------
    sum : float
        Of its pixels, as they are.
    x, y : float
        Centroid [pix of the image].
    offset_pix : float
        Its distance from where the source is said to be [pix of the band].
    fwhm_pix : float
        Full width at half maximum [pix of the band].
    coverage : float
        Light on the image over all light.
    problems : tuple of str
        What is beyond the limits, in words; empty when nothing is.
    """

    sum: float
    x: float
    y: float
    offset_pix: float
    fwhm_pix: float
    coverage: float
    problems: tuple[str, ...]


def check_psf(psf: Psf, *, limits: PsfLimits | None = None) -> PsfCheck:
    """Measure sum, centroid, size and coverage of a PSF.

    Parameters
    ----------
    psf : Psf
        Of any sum.
    limits : PsfLimits, optional
        What is a problem.

    Raises
    ------
    InvalidInputError
        When there are fewer than 3 x 3 pixels, or one is not finite.
    NoDataError
        When the sum is not positive, or there is no peak.

    Notes
    -----
    Light beyond the largest circle around the source, of radius R, is taken to fall as ``r^-p`` from its mean I along
    the border, with the slope p from there to a ring at 0.7 R, but at least 3, that of the wings of apertures that
    diffract: ``coverage = S / (S_R + 2 pi I R^2 / (p - 2))`` with the sums S of the image and S_R of the circle, at
    most 1. A sky that was left in the image is found so, too.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.psf import Psf, check_psf
    >>> y, x = np.mgrid[:41, :41]
    >>> found = check_psf(Psf(data=np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 18)))
    >>> round(found.sum, 1), round(found.coverage, 3), found.problems
    (56.5, 1.0, ())
    """
    limits = limits or PsfLimits()
    if min(psf.shape) < _LEAST_SIDE:
        what = "empty" if 0 in psf.shape else "too small"
        msg = f"data: shape {psf.shape} is {what}, a PSF needs at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels"
        raise InvalidInputError(msg)
    n_bad = int(np.count_nonzero(~np.isfinite(psf.data)))
    if n_bad:
        msg = f"data: {n_bad} of {psf.data.size} pixels are not finite, a PSF needs all"
        raise InvalidInputError(msg)
    total = float(psf.data.sum(dtype=float))
    if not total > 0:
        msg = f"data: a sum of {total} is not allowed, it must be positive"
        raise NoDataError(msg)
    shape = measure_shape(psf.data)
    offset = float(np.hypot(shape.x - psf.x, shape.y - psf.y)) / psf.oversampling
    coverage = _coverage(psf, total)
    fwhm = shape.fwhm / psf.oversampling
    problems = []
    if limits.max_sum_error is not None and not abs(total / psf.enclosed - 1.0) <= limits.max_sum_error:
        problems.append(
            f"it is not normalised: its sum of {total:g} must be {psf.enclosed:g} within {limits.max_sum_error:g} of it"
        )
    if limits.parity == "odd" and 0 in (psf.shape[0] % 2, psf.shape[1] % 2):
        problems.append(f"its {psf.shape[1]} x {psf.shape[0]} pixels have an even side, both must be odd")
    if min(psf.shape) < limits.min_side_fwhm * shape.fwhm:
        problems.append(
            f"its {psf.shape[1]} x {psf.shape[0]} pixels are too few for its FWHM of {shape.fwhm:.2f} pixels, a side "
            f"needs at least {limits.min_side_fwhm:g} times that"
        )
    if offset > limits.max_offset_pix:
        problems.append(
            f"its centroid x, y = {shape.x:.2f}, {shape.y:.2f} is {offset:.2f} pixels of the band from the middle "
            f"{psf.x:g}, {psf.y:g}, at most {limits.max_offset_pix:g} are allowed{_hint(psf, shape)}"
        )
    if coverage < limits.min_coverage:
        problems.append(
            f"its {psf.shape[1]} x {psf.shape[0]} pixels hold about {coverage:.3f} of the light, "
            f"at least {limits.min_coverage:g} are needed"
        )
    return PsfCheck(
        sum=total,
        x=shape.x,
        y=shape.y,
        offset_pix=offset,
        fwhm_pix=fwhm,
        coverage=coverage,
        problems=tuple(problems),
    )


def _hint(psf: Psf, shape: PsfShape) -> str:
    """Return what may be wrong where a side is even (F27)."""
    said = (psf.x, psf.y)
    better = tuple(
        _middle(n, found) if n % 2 == 0 else middle
        for n, found, middle in zip((psf.shape[1], psf.shape[0]), (shape.x, shape.y), said, strict=True)
    )
    if better == said:
        return ""
    return f"; a side is even and the light is in the other of its two middles, so say x={better[0]:g}, y={better[1]:g}"


def require_psf(psf: Psf, *, limits: PsfLimits | None = None, name: str = "psf") -> Psf:
    """Return a PSF that can be used for fits and photometry, or say why it cannot.

    Parameters
    ----------
    psf : Psf
        Ready for use.
    limits : PsfLimits, optional
        What is refused; those of `PsfLimits` and a sum within 1 % of ``enclosed`` when not given.
    name : str, optional
        Name of the argument, for the error.

    Returns
    -------
    Psf
        The same.

    Raises
    ------
    InvalidInputError
        When the PSF is empty, too small, not finite, or beyond a limit; with all reasons. A centroid that is a little
        off is repaired by `recentred`, a sum by `Psf.normalised`.
    NoDataError
        When its sum is not positive, or there is no peak.
    """
    try:
        found = check_psf(psf, limits=limits or PsfLimits(max_sum_error=_SUM_ERROR))
    except (InvalidInputError, NoDataError) as error:
        msg = f"{name}: {error}"
        raise type(error)(msg) from error
    if found.problems:
        msg = f"{name}: the PSF cannot be used: {'; '.join(found.problems)}"
        raise InvalidInputError(msg)
    return psf


def read_psf(
    path: str | Path,
    *,
    extension: str = "",
    oversampling: float | None = None,
    has_pixel: bool = True,
    enclosed: float | None = None,
    limits: PsfLimits | None = None,
) -> Psf:
    """Read the PSF of a band from a FITS image, and check it.

    Parameters
    ----------
    path : path-like
        FITS file.
    extension : str, optional
        Name of the extension; needed when the file has several two-dimensional images.
    oversampling : float, optional
        Pixels of the image per pixel of the band; else the keyword OVERSAMP or DET_SAMP, else 1.
    has_pixel : bool, optional
        Whether it holds the pixel's response; see `Psf`.
    enclosed : float, optional
        Light on the image over all light, when it is known; else that of `check_psf`.
    limits : PsfLimits, optional
        What is refused.

    Returns
    -------
    Psf
        With the sum ``enclosed``. The source is in the middle; where a side is even, in the middle between two pixels
        or in the pixel behind that, whichever is closer to the centroid (F27).

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or holds no image.
    InvalidInputError
        When there is no such extension, a pixel is not finite, a number is not allowed, or the PSF is beyond the
        limits.
    NoDataError
        When its sum is not positive, or there is no peak.
    """
    data, said = read_psf_image(path, extension=extension)
    if enclosed is not None and not 0 < enclosed <= 1:
        msg = f"enclosed: {enclosed} is not allowed, it must be positive and at most 1"
        raise InvalidInputError(msg)
    if oversampling is None:
        oversampling = 1.0 if said is None else said
    try:
        psf = Psf(data=data, oversampling=oversampling, has_pixel=has_pixel)
        found = check_psf(psf, limits=limits)
        if 0 in (data.shape[0] % 2, data.shape[1] % 2):
            psf = replace(psf, x=_middle(data.shape[1], found.x), y=_middle(data.shape[0], found.y))
            found = check_psf(psf, limits=limits)
    except (InvalidInputError, NoDataError) as error:
        msg = f"{path}: {error}"
        raise type(error)(msg) from error
    if found.problems:
        msg = f"{path}: the PSF cannot be used: {'; '.join(found.problems)}"
        raise InvalidInputError(msg)
    return replace(psf, enclosed=found.coverage if enclosed is None else enclosed).normalised()


def _middle(n: int, centroid: float) -> float:
    """Return the middle of n pixels that is closer to the centroid."""
    return min(((n - 1) / 2, float(n // 2)), key=lambda middle: abs(middle - centroid))


def _coverage(psf: Psf, total: float) -> float:
    y, x = np.indices(psf.shape)
    r: NDArray[np.float64] = np.hypot(x - psf.x, y - psf.y)
    ny, nx = psf.shape
    radius = min(psf.x, psf.y, nx - 1 - psf.x, ny - 1 - psf.y) + 0.5
    within = psf.data[r < radius].sum(dtype=float)
    inner, rim = (_ring(psf, r, part * radius) for part in (_INNER, 1.0))
    if rim[1] <= 0:
        return float(min(total / within, 1.0))
    steepness = float(np.log(inner[1] / rim[1]) / np.log(rim[0] / inner[0])) if inner[1] > 0 else 0.0
    falls = max(steepness, _WING)
    # The integral of I (r / r_I)^-p from the border of the circle on.
    beyond = 2 * np.pi * rim[1] * rim[0] ** falls * radius ** (2 - falls) / (falls - 2)
    return float(min(total / (within + beyond), 1.0))


def _ring(psf: Psf, r: NDArray[np.float64], radius: float) -> tuple[float, float]:
    """Return mean radius and mean value in a ring that ends at a radius."""
    ring = (r < radius) & (r >= min((1 - _RIM) * radius, radius - 1.0))
    return float(r[ring].mean()), float(psf.data[ring].mean(dtype=float))
