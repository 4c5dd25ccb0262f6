"""Detection: threshold, label and deblend."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_image, as_mask
from skymere._rust import segmentation as _rust
from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError
from skymere.segmentation.kernels import PYRAMID, KernelValues, as_kernel, freeze_kernel, gaussian_kernel
from skymere.wcs import Grid

__all__ = [
    "SEXTRACTOR",
    "DeblendParams",
    "DetectParams",
    "ImageInputs",
    "deblend",
    "detect",
    "filtered_noise",
    "image_inputs",
    "label",
    "label_with_extents",
    "settings",
    "usable_noise",
]


# Gaussians of 2.5 and 3.5 pixels FWHM: a point source of a well-sampled mosaic, and a small galaxy.
_SHARP, _WIDE = (freeze_kernel(gaussian_kernel(fwhm_pix)) for fwhm_pix in (2.5, 3.5))

ImageInputs = tuple[NDArray[np.float32], NDArray[np.float32] | None, float, NDArray[np.bool_] | None]
ThresholdNoise = Literal["measured", "filtered", "unfiltered"]


def _check_connectivity(connectivity: int) -> None:
    if connectivity not in {4, 8}:
        msg = f"connectivity: {connectivity} is not allowed, it must be 4 or 8"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class DeblendParams:
    """How blends are split.

    Parameters
    ----------
    method : str
        ``saddles``: at the saddles between peaks, with a test of each peak against the noise and against the brighter
        peak beside it. ``levels``: where parts separate from each other at one of ``n_levels`` rising thresholds
        (SExtractor).
    contrast : float
        Flux of a part above its saddle or level, as a fraction of the segment's flux, that makes it a source.
    kernel : tuple of tuple of float, or None
        Saddles: filter of the image in which they are looked for, sharper than that of the detection and used by
        `detect`; None is that of the detection.
    min_prominence : float
        Saddles: least height of a peak above its saddle [sigma].
    n_levels : int
        Levels: number of thresholds between the segment's own and its peak.
    spacing : str
        Levels: ``exponential``, ``linear``, or ``sinh`` between these.
    assignment : str
        Levels: who gets the pixels below the branches: ``likeliest``, the branch whose Gaussian profile is brightest
        there; ``random``, a branch drawn with these profiles as probabilities (SExtractor; the draw is a function of
        the pixel's position, so it is the same every time).
    min_area : int
        Least number of pixels of a source; used by `deblend`, while `detect` has its own.
    connectivity : int
        4 or 8; used by `deblend`, while `detect` has its own.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    method: Literal["saddles", "levels"] = "saddles"
    contrast: float = 0.0005
    kernel: KernelValues | None = _SHARP
    min_prominence: float = 0.75
    n_levels: int = 32
    spacing: Literal["exponential", "linear", "sinh"] = "exponential"
    assignment: Literal["likeliest", "random"] = "likeliest"
    min_area: int = 5
    connectivity: int = 8

    def __post_init__(self) -> None:
        for name, allowed in _DEBLEND_WORDS.items():
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
        if not 1 <= self.n_levels <= 1024:
            msg = f"n_levels: {self.n_levels} is not allowed, it must be between 1 and 1024"
            raise InvalidInputError(msg)
        if not 0 <= self.contrast <= 1:
            msg = f"contrast: {self.contrast} is not allowed, it must be between 0 and 1"
            raise InvalidInputError(msg)
        if not 0 <= self.min_prominence < np.inf:
            msg = f"min_prominence: {self.min_prominence} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)
        if self.kernel is not None:
            object.__setattr__(self, "kernel", freeze_kernel(self.kernel))
        if self.min_area < 1:
            msg = f"min_area: {self.min_area} is not allowed, it must be at least 1 pixel"
            raise InvalidInputError(msg)
        _check_connectivity(self.connectivity)


_DEBLEND_WORDS = {
    "method": ("saddles", "levels"),
    "spacing": ("exponential", "linear", "sinh"),
    "assignment": ("likeliest", "random"),
}


def _deblending(params: DeblendParams | None, noise: float = 1.0) -> dict[str, Any]:
    """Return how blends are split, as the kernels take it; ``noise`` is that of the image over what its errors say."""
    levels = saddles = None
    if params is not None and params.method == "levels":
        levels = (params.n_levels, params.spacing, params.contrast, params.assignment == "random")
    elif params is not None:
        saddles = (params.min_prominence * noise, params.contrast)
    return {"deblend_levels": levels, "saddles": saddles}


@dataclass(frozen=True, kw_only=True)
class DetectParams:
    """Parameters of `detect`.

    Parameters
    ----------
    threshold : float
        Least value of the brightest pixel of a source in the filtered image [sigma].
    extent : float or None
        Least value of the other pixels of a source [sigma]; never above ``threshold``, which None is (SExtractor).
    threshold_noise : str
        Whose sigma: ``measured``, that of the filtered pixel, correlated noise included: what the errors say of
        independent pixels times `filtered_noise` where that is above 1; ``filtered``, that of independent pixels;
        ``unfiltered``, that of the pixels under the filter (mean variance), as SExtractor counts.
    kernel : tuple of tuple of float, or None
        Filter, normalised before use; None is no filter.
    connectivity : int
        Pixels connect to 4 or 8 neighbours.
    min_area : int
        Least number of pixels of a source.
    deblend : DeblendParams or None
        How blends are split; None is not at all.
    clean : float or None
        Exponent of the Moffat wing that may explain a faint neighbour, which is then removed (SExtractor's
        CLEAN_PARAM); None keeps all.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    threshold: float = 5.0
    extent: float | None = 3.0
    threshold_noise: ThresholdNoise = "measured"
    kernel: KernelValues | None = _WIDE
    connectivity: int = 8
    min_area: int = 5
    deblend: DeblendParams | None = DeblendParams()
    clean: float | None = None

    def __post_init__(self) -> None:
        if not (self.threshold > 0 and np.isfinite(self.threshold)):
            msg = f"threshold: {self.threshold} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.extent is not None and not self.extent > 0:
            msg = f"extent: {self.extent} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.threshold_noise not in get_args(ThresholdNoise):
            allowed = ", ".join(get_args(ThresholdNoise))
            msg = f"threshold_noise: {self.threshold_noise!r} is not allowed, it must be one of {allowed}"
            raise InvalidInputError(msg)
        if self.kernel is not None:
            object.__setattr__(self, "kernel", freeze_kernel(self.kernel))
        _check_connectivity(self.connectivity)
        if self.min_area < 1:
            msg = f"min_area: {self.min_area} is not allowed, it must be at least 1 pixel"
            raise InvalidInputError(msg)
        if self.clean is not None and not self.clean > 0:
            msg = f"clean: {self.clean} is not allowed, it must be positive, or None"
            raise InvalidInputError(msg)


SEXTRACTOR = DetectParams(
    threshold=1.5,
    extent=None,
    threshold_noise="unfiltered",
    kernel=PYRAMID,
    deblend=DeblendParams(method="levels", contrast=0.005, assignment="random"),
    clean=1.0,
)
"""SExtractor's defaults (Bertin & Arnouts 1996)."""


def usable_noise(measured: float) -> float:
    """Return by what thresholds are raised for correlated noise: what was measured where that is above 1."""
    return max(measured, 1.0) if np.isfinite(measured) else 1.0


def settings(params: DetectParams, noise: float) -> dict[str, Any]:
    """Return the parameters as the kernels take them; ``noise`` is that of the image over what its errors say."""
    deblending = params.deblend
    sharp = deblending.kernel if deblending is not None and deblending.method == "saddles" else None
    return {
        "threshold": params.threshold * noise,
        "extent": min(params.threshold, params.extent or params.threshold) * noise,
        "is_filtered": params.threshold_noise != "unfiltered",
        "connectivity": params.connectivity,
        "min_area": params.min_area,
        **_deblending(deblending, noise),
        "sharp_kernel": None if sharp is None else as_kernel(sharp),
        "clean": params.clean,
    }


def label(mask: ArrayLike, *, connectivity: int = 8) -> SegmentationMap:
    """Label the connected components of a mask.

    Parameters
    ----------
    mask : array_like, bool, shape (ny, nx)
        True where a component is.
    connectivity : int, optional
        4: pixels that share a side are connected; 8: also those that share a corner.

    Returns
    -------
    SegmentationMap
        Labels from 1 in raster order of each component's first pixel; the same for any number of threads.

    Raises
    ------
    InvalidInputError
        When the connectivity is not 4 or 8.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import label
    >>> label(np.eye(3, dtype=bool), connectivity=4).n_sources
    3
    """
    _check_connectivity(connectivity)
    pixels = as_mask(mask, "mask")
    labels, _ = _rust.label(pixels.view(np.uint8), connectivity)
    return SegmentationMap(labels=labels, params={"connectivity": connectivity})


def label_with_extents(mask: ArrayLike, *, connectivity: int = 8) -> tuple[SegmentationMap, pl.DataFrame]:
    """Label the connected components of a mask and say how large and where they are.

    Parameters
    ----------
    mask, connectivity
        As in `label`.

    Returns
    -------
    segmentation : SegmentationMap
        As from `label`.
    extents : polars.DataFrame
        One row per label, increasing: ``label``; ``area`` [pix]; ``x``, ``y`` [pix], mean column and row, 0-based;
        ``x_min``, ``x_max``, ``y_min``, ``y_max`` [pix], first and last column and row.

    Raises
    ------
    InvalidInputError
        When the connectivity is not 4 or 8.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import label_with_extents
    >>> segmentation, extents = label_with_extents(np.eye(3, dtype=bool))
    >>> extents.select("label", "area", "x", "y_max").row(0)
    (1, 3, 1.0, 2)
    """
    _check_connectivity(connectivity)
    pixels = as_mask(mask, "mask")
    labels, found = _rust.label_and_tally(pixels.view(np.uint8), connectivity)
    area = found["area"]
    columns = {"label": np.arange(1, len(area) + 1, dtype=np.int32), "area": area}
    columns |= {axis: found[f"{axis}_sum"] / area for axis in ("x", "y")}
    columns |= {name: found[name] for name in ("x_min", "x_max", "y_min", "y_max")}
    return SegmentationMap(labels=labels, params={"connectivity": connectivity}), pl.DataFrame(columns)


def image_inputs(
    data: ArrayLike, error: ArrayLike | None, weight: ArrayLike | None, mask: ArrayLike | None
) -> ImageInputs:
    """Return the image, its error (as an image, or None and one error for all pixels) and its mask."""
    pixels = as_image(data, "data")
    shape = (pixels.shape[0], pixels.shape[1])
    noise, sigma = _noise(error, weight, shape)
    return pixels, noise, sigma, None if mask is None else as_mask(mask, "mask", shape=shape)


def _noise(
    error: ArrayLike | None, weight: ArrayLike | None, shape: tuple[int, int]
) -> tuple[NDArray[np.float32] | None, float]:
    """Return the error image, or None and one error for all pixels."""
    if (error is None) == (weight is None):
        msg = "error, weight: exactly one of the two must be given"
        raise InvalidInputError(msg)
    if weight is not None:
        inverse = as_image(weight, "weight", shape=shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(inverse > 0, 1.0 / np.sqrt(inverse), np.inf).astype(np.float32), 0.0
    if np.ndim(error) > 0:  # type: ignore[arg-type]
        image = as_image(error, "error", shape=shape)  # type: ignore[arg-type]
        if bool((image < 0).any()):
            msg = "error: negative values are not allowed"
            raise InvalidInputError(msg)
        return image, 0.0
    sigma = float(error)  # type: ignore[arg-type]
    if not (sigma > 0 and np.isfinite(sigma)):
        msg = f"error: {sigma} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    return None, sigma


def filtered_noise(
    data: ArrayLike,
    *,
    error: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    kernel: ArrayLike | None = PYRAMID,
) -> float:
    """Return the noise of the filtered image over what it would be if neighbouring pixels were independent.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        A background-subtracted image.
    error, weight, mask
        As in `detect`.
    kernel : array_like, shape (odd, odd), optional
        The filter; None is no filter.

    Returns
    -------
    float
        1 for white noise and right errors, 1.5 in a typical drizzled mosaic under the 3 x 3 filter; NaN when fewer than
        256 pixels are negative.

    Raises
    ------
    InvalidInputError
        When the shapes differ, an error is negative, or not exactly one of ``error`` and ``weight`` is given.

    Notes
    -----
    Sources do not reach below zero, so the negative pixels of the filtered image f show its noise:
    ``median(|f| / sigma_f | f < 0) / 0.6745``, with sigma_f = ``sqrt(sum k^2 w) / sum k w`` of independent pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import filtered_noise
    >>> white = np.random.default_rng(1).normal(size=(300, 300))
    >>> round(filtered_noise(white, error=1.0), 1)
    1.0
    """
    pixels, noise, sigma, bad = image_inputs(data, error, weight, mask)
    return _rust.filtered_noise(pixels, noise, sigma, bad, None if kernel is None else as_kernel(kernel))


def detect(
    data: ArrayLike,
    *,
    error: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    grid: Grid | None = None,
    params: DetectParams | None = None,
) -> SegmentationMap:
    """Find the sources of a background-subtracted image.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        The image; pixels that are not finite are never detected. It must not change during the call.
    error : array_like, float32, shape (ny, nx), or float [unit]
        1 sigma of every pixel; pixels where it is 0 or not finite are never detected.
    weight : array_like, float32, shape (ny, nx) [unit^-2]
        Inverse variance, instead of ``error``.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    grid : Grid, optional
        WCS of the image, kept with the labels.
    params : DetectParams, optional
        Threshold, filter, areas, deblending and cleaning.

    Returns
    -------
    SegmentationMap
        Label 1 is the brightest source; the same for any number of threads.

    Raises
    ------
    InvalidInputError
        When the shapes differ, an error is negative, or not exactly one of ``error`` and ``weight`` is given.
    NoDataError
        When no pixel can be used.

    Notes
    -----
    Pixels of the filtered image above ``extent`` sigma are joined to components of at least ``min_area`` pixels, each
    component is split at its peaks, and what has no pixel above ``threshold`` sigma becomes sky. With ``clean``,
    detections that the wing of a brighter neighbour explains are removed: those split from the same component go back
    to it, others become sky.

    References
    ----------
    Bertin & Arnouts 1996, A&AS 117, 393.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import detect
    >>> image = np.zeros((64, 64), np.float32)
    >>> image[20:24, 30:34] = 50.0
    >>> detect(image, error=1.0).n_sources
    1
    """
    params = params or DetectParams()
    inputs = image_inputs(data, error, weight, mask)
    kernel = None if params.kernel is None else as_kernel(params.kernel)
    correlation = usable_noise(_rust.filtered_noise(*inputs, kernel)) if params.threshold_noise == "measured" else 1.0
    ny, nx = inputs[0].shape
    detector = _rust.Detector(ny, nx, kernel, **settings(params, correlation))
    detector.add(*inputs, (0, 0), ([0, ny], [0, nx]))
    labels = detector.finish().labels(0, 0, ny, nx)
    return SegmentationMap(labels=labels, grid=grid, params={**asdict(params), "noise_correlation": correlation})


def deblend(
    data: ArrayLike,
    segmentation: SegmentationMap,
    *,
    threshold: float = 0.0,
    sigma: float = 1.0,
    params: DeblendParams | None = None,
) -> SegmentationMap:
    """Split the segments of a map at the peaks of an image.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        The image, filtered as for the detection.
    segmentation : SegmentationMap
        Segments of any shape.
    threshold : float, optional
        Level from which a segment is cut; its faintest pixel where that is higher [unit].
    sigma : float, optional
        Noise of a pixel of the image [unit]; saddles are judged by it.
    params : DeblendParams, optional
        Method, its limits and the least area.

    Returns
    -------
    SegmentationMap
        New labels over the same pixels; label 1 is the brightest source.

    Raises
    ------
    InvalidInputError
        When the shapes differ or a label is negative.

    References
    ----------
    Bertin & Arnouts 1996, A&AS 117, 393, section 4.
    """
    params = params or DeblendParams()
    labels, _ = _rust.deblend(
        as_image(data, "data", shape=segmentation.shape),
        as_array(segmentation.labels, "segmentation", np.int32),  # type: ignore[arg-type]
        threshold=threshold,
        sigma=sigma,
        min_area=params.min_area,
        connectivity=params.connectivity,
        **_deblending(params),
    )
    return SegmentationMap(
        labels=labels, grid=segmentation.grid, params={**segmentation.params, "deblend": asdict(params)}
    )
