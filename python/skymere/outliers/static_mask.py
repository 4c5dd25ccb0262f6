"""The static mask: pixels far below the sky in any exposure of a detector."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image
from skymere._rust import outliers as _rust
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError

__all__ = ["StaticMaskParams", "low_pixels", "static_masks"]


@dataclass(frozen=True, kw_only=True)
class StaticMaskParams:
    """Parameters of `low_pixels`.

    Parameters
    ----------
    sigma : float
        A pixel below mode - ``sigma`` x rms is bad.
    n_clip : int
        Clipping iterations of the rms.
    clip_sigma : float
        Clipping limit [rms].
    bin_width : float
        Bin of the histogram whose peak is the mode [rms].
    """

    sigma: float = 4.0
    n_clip: int = 3
    clip_sigma: float = 3.0
    bin_width: float = 0.1

    def __post_init__(self) -> None:
        for name in ("sigma", "clip_sigma", "bin_width"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if self.n_clip < 0:
            msg = f"n_clip: {self.n_clip} is not allowed, it must not be negative"
            raise InvalidInputError(msg)


def low_pixels(data: ArrayLike, *, params: StaticMaskParams | None = None) -> NDArray[np.bool_]:
    """Return the pixels of one image that lie far below its sky, and those that are not finite.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        The image; bad pixels are looked at too.
    params : StaticMaskParams, optional
        Thresholds.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True = bad.

    Raises
    ------
    InvalidInputError
        When ``data`` is not a two-dimensional image.

    Notes
    -----
    The rms is clipped ``n_clip`` times at ``clip_sigma``; the mode is the peak of a histogram, refined by a parabola.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 4.2.2.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(1).normal(1.0, 0.1, (50, 50)).astype(np.float32)
    >>> image[3, 4] = -5.0
    >>> np.argwhere(low_pixels(image)).tolist()
    [[3, 4]]
    """
    p = params or StaticMaskParams()
    return _rust.low_pixels(as_image(data, "data"), p.sigma, p.n_clip, p.clip_sigma, p.bin_width)


def static_masks(
    exposures: Iterable[Exposure], *, params: StaticMaskParams | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Return the static mask of every exposure: the low pixels of all exposures of its detector and shape.

    Parameters
    ----------
    exposures : iterable of Exposure
        They are looked at one by one.
    params : StaticMaskParams, optional
        Thresholds.

    Returns
    -------
    dict of str to ndarray of bool, shape (ny, nx)
        Keyed by exposure; exposures of one detector and shape share one array.
    """
    signatures: dict[str, tuple[object, ...]] = {}
    masks: dict[tuple[object, ...], NDArray[np.bool_]] = {}
    for exposure in exposures:
        signature = (exposure.instrument, exposure.detector, exposure.shape)
        # What is not finite in one exposure says nothing about the detector.
        low = low_pixels(exposure.data, params=params) & np.isfinite(exposure.data)
        masks[signature] = masks[signature] | low if signature in masks else low
        signatures[exposure.exposure_id] = signature
    return {exposure_id: masks[signature] for exposure_id, signature in signatures.items()}
