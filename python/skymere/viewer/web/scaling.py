"""From pixels to shades: limits that are proposed, stretches between them, and colours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.viewer.web.png import png_of_indices, png_of_rgba

__all__ = [
    "COLOUR_MAPS",
    "LABEL_COLOURS",
    "STRETCHES",
    "Limits",
    "Scaling",
    "colour_of_labels",
    "colour_picture",
    "grey_picture",
    "limits_of",
    "zscale",
]

_Values = NDArray[np.float32]
_LOG_RANGE = 1000.0
STRETCHES: Mapping[str, Callable[[_Values, float], _Values]] = {
    "linear": lambda t, _: t,
    "sqrt": lambda t, _: np.sqrt(t),
    "log": lambda t, _: np.log1p(t * np.float32(_LOG_RANGE)) / np.float32(np.log1p(_LOG_RANGE)),
    "asinh": lambda t, softening: np.arcsinh(t / np.float32(softening)) / np.float32(np.arcsinh(1.0 / softening)),
}
COLOUR_MAPS = ("grey", "inverted", "viridis")
# Okabe & Ito's colours, which colour-blind people tell apart; black is sky.
LABEL_COLOURS = np.array(
    [(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167)], np.uint8
)
_SHADES = 255
# Shades that are told apart; 0 is clear.
_CLEAR = np.array([0], np.uint8)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How values become shades.

    Parameters
    ----------
    low, high : float
        Values that are black and white [unit of the image].
    stretch : str, optional
        ``linear``, ``sqrt``, ``log`` or ``asinh``.
    softening : float, optional
        Where ``asinh`` bends, as a fraction of the range.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    low: float
    high: float
    stretch: str = "asinh"
    softening: float = 0.02

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            msg = (
                f"low, high: {self.low}, {self.high} are not allowed, they must be numbers, the first below the second"
            )
            raise InvalidInputError(msg)
        if self.stretch not in STRETCHES:
            msg = f"stretch: {self.stretch!r} is not allowed, it must be one of {list(STRETCHES)}"
            raise InvalidInputError(msg)
        if not 0 < self.softening <= 1:
            msg = f"softening: {self.softening} is not allowed, it must be above 0 and at most 1"
            raise InvalidInputError(msg)

    def fraction(self, values: _Values) -> _Values:
        """Return where values stand between black (0) and white (1), before the stretch and without an upper end."""
        step = np.float32(self.high - self.low)
        return np.asarray(np.maximum((values - np.float32(self.low)) / step, np.float32(0.0)), np.float32)

    def shade(self, fraction: _Values) -> _Values:
        """Return stretched fractions in [0, 1]."""
        return STRETCHES[self.stretch](np.minimum(fraction, np.float32(1.0)), self.softening)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that suit an image, by the way in which they were found.

    Parameters
    ----------
    sky, noise : float
        Median, and 1.4826 MAD around it [unit of the image].
    choices : mapping of str to (float, float)
        ``noise``: from 2 sigma below the sky to 100 above, ``zscale``, ``99 %``, ``99.9 %`` and ``all``.
    softening : float
        ``asinh`` bends at 2 sigma for the limits ``noise``.
    """

    sky: float
    noise: float
    choices: Mapping[str, tuple[float, float]]
    softening: float


def limits_of(values: _Values) -> Limits:
    """Return limits that suit a sample of an image.

    Parameters
    ----------
    values : ndarray, float32
        Pixels; those that are not finite do not count. Without any the limits are 0 and 1.
    """
    good = np.asarray(values[np.isfinite(values)], np.float64)
    if good.size == 0:
        good = np.array([0.0, 1.0])
    sky = float(np.median(good))
    noise = float(1.4826 * np.median(np.abs(good - sky)))
    spread = noise or float(good.std()) or 1.0
    low1, high1, low01, high01 = (float(v) for v in np.percentile(good, [0.5, 99.5, 0.05, 99.95]))
    found = {
        "noise": (sky - 2.0 * spread, sky + 100.0 * spread),
        "zscale": zscale(good),
        "99 %": (low1, high1),
        "99.9 %": (low01, high01),
        "all": (float(good.min()), float(good.max())),
    }
    choices = {name: (low, high) if high > low else (low - 0.5, low + 0.5) for name, (low, high) in found.items()}
    return Limits(sky=sky, noise=noise, choices=choices, softening=2.0 / 102.0)


def zscale(
    values: NDArray[np.float64], *, contrast: float = 0.25, n_samples: int = 1000, n_iterations: int = 5
) -> tuple[float, float]:
    """Return the limits of IRAF's zscale: a line through the sorted pixels around the median, made steeper.

    Parameters
    ----------
    values : ndarray, float64
        Finite pixels, at least one.
    contrast : float, optional
        The slope is divided by it.
    n_samples : int, optional
        Pixels that are used.
    n_iterations : int, optional
        Rejections at 2.5 sigma.

    References
    ----------
    IRAF task ``display``, algorithm ZSCALE.
    """
    step = max(1, values.size // n_samples)
    sample = np.sort(values.ravel()[::step][:n_samples])
    n = sample.size
    low, high = float(sample[0]), float(sample[-1])
    place = np.arange(n)
    bad = np.zeros(n, bool)
    n_good, n_before, slope = n, n + 1, 0.0
    for _ in range(n_iterations):
        if n_good >= n_before or n_good < max(5, int(n * 0.5)):
            break
        slope, offset = np.polyfit(place[~bad], sample[~bad], 1) if n_good > 1 else (0.0, low)
        left = sample - (slope * place + offset)
        bad = np.abs(left) > 2.5 * left[~bad].std()
        # What is beside a rejected pixel goes, too.
        bad = np.convolve(bad, np.ones(max(1, int(n * 0.01)), bool), mode="same")
        n_before, n_good = n_good, int((~bad).sum())
    if n_good < max(5, int(n * 0.5)):
        return low, high
    slope /= contrast
    median = float(np.median(sample))
    middle = (n - 1) // 2
    return max(low, median - (middle - 1) * slope), min(high, median + (n - middle) * slope)


def grey_picture(values: _Values, scaling: Scaling, *, colour_map: str = "grey") -> bytes:
    """Return a PNG of one band, whose first row is the last of the array: y goes up, and NaN is clear.

    Parameters
    ----------
    values : ndarray, float32, shape (ny, nx)
        Pixels.
    scaling : Scaling
        Limits and stretch.
    colour_map : str, optional
        ``grey``, ``inverted`` or ``viridis``.

    Raises
    ------
    InvalidInputError
        When there is no such map.
    """
    with np.errstate(invalid="ignore"):
        shade = scaling.shade(scaling.fraction(values)) * np.float32(_SHADES - 1) + np.float32(1.5)
        indices = np.where(np.isfinite(values), shade, np.float32(0.0)).astype(np.uint8)
    return png_of_indices(indices[::-1], _palette(colour_map), opacity=_CLEAR)


def colour_picture(bands: Sequence[_Values], scalings: Sequence[Scaling]) -> bytes:
    """Return a PNG of three bands, red first, with y going up.

    Parameters
    ----------
    bands : sequence of three ndarray, float32, shape (ny, nx)
        Pixels. Where one or two of them are NaN the picture is grey, where all are it is clear.
    scalings : sequence of three Scaling
        Limits of each band; the stretch of the first counts, and acts on the mean, so that colours keep their hue.

    Raises
    ------
    InvalidInputError
        When there are not three images of one shape.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133, eq. 2.
    """
    if len(bands) != 3 or len(scalings) != 3 or len({band.shape for band in bands}) != 1:
        msg = f"bands: shapes {[band.shape for band in bands]} are not allowed, three of one shape are needed"
        raise InvalidInputError(msg)
    with np.errstate(invalid="ignore", divide="ignore"):
        stack = np.stack([one.fraction(band) for band, one in zip(bands, scalings, strict=True)], axis=-1)
        known = np.isfinite(stack)
        n_known = known.sum(axis=-1, keepdims=True)
        stack[~known] = 0.0
        # A missing band is not a colour.
        stack = np.where(n_known == 3, stack, stack.sum(axis=-1, keepdims=True) / np.maximum(n_known, 1))
        mean = stack.mean(axis=-1, keepdims=True)
        colour = stack * np.where(mean > 0, scalings[0].shade(mean) / mean, np.float32(0.0))
        colour /= np.maximum(colour.max(axis=-1, keepdims=True), np.float32(1.0))
    pixels = np.empty((*bands[0].shape, 4), np.uint8)
    pixels[..., :3] = (colour * np.float32(_SHADES) + np.float32(0.5)).astype(np.uint8)
    pixels[..., 3] = np.where(n_known[..., 0] > 0, _SHADES, 0)
    return png_of_rgba(pixels[::-1])


def colour_of_labels(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the index of a label's colour in ``LABEL_COLOURS``: 0 for sky, the same for a label everywhere."""
    return np.where(labels > 0, 1 + labels % (len(LABEL_COLOURS) - 1), 0).astype(np.uint8)


@lru_cache(maxsize=8)
def _palette(colour_map: str) -> NDArray[np.uint8]:
    if colour_map not in COLOUR_MAPS:
        msg = f"colour_map: {colour_map!r} is not allowed, it must be one of {COLOUR_MAPS}"
        raise InvalidInputError(msg)
    if colour_map == "viridis":
        import matplotlib as mpl

        shades = np.asarray(mpl.colormaps[colour_map](np.linspace(0.0, 1.0, _SHADES))[:, :3] * _SHADES, np.float64)
    else:
        ramp = np.linspace(0.0, _SHADES, _SHADES)
        shades = np.repeat((ramp if colour_map == "grey" else ramp[::-1])[:, np.newaxis], 3, axis=1)
    return np.concatenate([np.zeros((1, 3)), np.rint(shades)]).astype(np.uint8)
