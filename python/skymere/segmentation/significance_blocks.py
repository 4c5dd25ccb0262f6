"""Several bands larger than memory as one image to detect on, window by window."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from skymere._rust import segmentation as _rust
from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.resample.ranks import median_of_parts
from skymere.segmentation.kernels import as_kernel
from skymere.segmentation.planes import MeasureImage
from skymere.segmentation.significance import (
    BandPlanes,
    SignificanceParams,
    Sums,
    band_planes,
    check_bands,
    check_stack,
    gradient_variance,
    is_blank,
    measured_noise,
    noise_steps,
    together,
)
from skymere.segmentation.windows import Window, partition, widened

__all__ = ["BandCoverage", "BlockSignificance", "coverage_blocks", "significance_blocks"]

ReadBands = Callable[[slice, slice], Mapping[str, MeasureImage | Mosaic | None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BandCoverage:
    """Which bands can be used.

    Parameters
    ----------
    bands : tuple of str
        They can.
    excluded : mapping of str to str
        The others, and why.
    coverage : mapping of str to float
        Fraction of the pixels of any band that each band has.
    blank : frozenset of str
        Bands whose zeros were never observed.
    """

    bands: tuple[str, ...]
    excluded: Mapping[str, str]
    coverage: Mapping[str, float]
    blank: frozenset[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockSignificance:
    """What several bands that do not fit into memory say together.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)``.
    usable : BandCoverage
        The bands that are in it, and those that are not.
    noise : mapping of str to float
        Noise of each filtered band over what its errors say of independent pixels.
    gradient : float
        Variance of the slope of the S/N of the noise along an axis, the mean of all bands [1/pix^2].
    depth : tuple of float
        1 / median error of each band.
    read : callable
        The bands of a window.
    params : SignificanceParams
        The statistic and its filter.
    """

    shape: tuple[int, int]
    usable: BandCoverage
    noise: Mapping[str, float]
    gradient: float
    depth: tuple[float, ...]
    read: ReadBands
    params: SignificanceParams

    def data(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return the significance of the pixels of a window, as `significance` gives it [sigma]."""
        core = rows.indices(self.shape[0])[:2], columns.indices(self.shape[1])[:2]
        sums = Sums((core[0][1] - core[0][0], core[1][1] - core[1][0]))
        for band, (z, sigma) in _filtered(self.read, self.shape, core, self.usable, self.params).items():
            sums.add(z / np.float32(self.noise[band]), sigma, both_signs=self.params.both_signs)
        return together(sums, self.depth, self.gradient, self.params)[0]


def coverage_blocks(
    read: ReadBands, shape: tuple[int, int], *, side: int = 4096, params: SignificanceParams
) -> BandCoverage:
    """Return which bands can be used, as `significance` decides it.

    Raises
    ------
    InvalidInputError
        When a band has no error, or cannot be used and that is to be an error.
    NoDataError
        When no band can be used.
    """
    windows = [(slice(*rows), slice(*columns)) for rows, columns in partition(shape, side)]
    zeros: dict[str, int] = {}
    missing: dict[str, str] = {}
    for window in windows:
        for band, image in read(*window).items():
            if image is None:
                missing[band] = "missing"
            elif isinstance(image, MeasureImage) and image.error is None:
                msg = f"images[{band!r}]: error must be given where images are read block by block"
                raise InvalidInputError(msg)
            else:
                zeros[band] = zeros.get(band, 0) + int(np.count_nonzero(np.asarray(image.data) == 0))
    blank = frozenset(band for band, n in zeros.items() if is_blank(n, shape[0] * shape[1]))
    counts, total = dict.fromkeys(zeros, 0), 0
    for window in windows:
        anywhere = np.zeros((), bool)
        for band, (_, _, bad) in _planes(read(*window), zeros, blank).items():
            counts[band] += int(np.count_nonzero(~bad))
            anywhere = anywhere | ~bad
        total += int(np.count_nonzero(anywhere))
    coverage = {band: n / max(total, 1) for band, n in counts.items()}
    names = list(read(slice(0, 1), slice(0, 1)))
    used = check_bands(names, coverage, missing, params)
    if not used:
        msg = f"images: no band can be used: {missing}"
        raise NoDataError(msg)
    return BandCoverage(bands=tuple(used), excluded=missing, coverage=coverage, blank=blank)


def significance_blocks(
    read: ReadBands,
    shape: tuple[int, int],
    *,
    side: int = 4096,
    params: SignificanceParams | None = None,
    usable: BandCoverage | None = None,
) -> BlockSignificance:
    """Combine bands that are read block by block into one image to detect on.

    Parameters
    ----------
    read : callable
        ``read(rows, columns)`` returns the bands of a window: what `significance` takes, each with its error.
    shape : tuple of int
        ``(ny, nx)``.
    side : int, optional
        Side of the blocks in which noise and coverage are measured [pix].
    params : SignificanceParams, optional
        As in `significance`.
    usable : BandCoverage, optional
        Which bands are taken, when that is known.

    Returns
    -------
    BlockSignificance
        Any window of it is that of `significance`, bit by bit.

    Raises
    ------
    InvalidInputError, NoDataError
        As `significance`, and when a band has no error.

    Notes
    -----
    Noise and steepness of each band are medians over the whole image. Each is found in two passes, which count, so that
    no more than a block is held.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import MeasureImage, significance_blocks
    >>> rng = np.random.default_rng(1)
    >>> bands = {b: rng.normal(0, 1, (200, 200)) for b in "griz"}
    >>> def read(rows, columns):
    ...     return {b: MeasureImage(data=image[rows, columns], error=1.0) for b, image in bands.items()}
    >>> significance_blocks(read, (200, 200), side=64).data(slice(0, 10), slice(0, 200)).shape
    (10, 200)
    """
    params = params or SignificanceParams()
    usable = usable or coverage_blocks(read, shape, side=side, params=params)
    if params.needs_stack:
        check_stack(read(slice(0, 1), slice(0, 1)), list(usable.bands))
    windows = partition(shape, side)
    noise, gradients, depth = {}, [], []
    for band in usable.bands:
        alone = BandCoverage(bands=(band,), excluded={}, coverage={}, blank=usable.blank)

        def parts(alone: BandCoverage = alone) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
            for window in windows:
                yield from _filtered(read, shape, window, alone, params).values()

        below = median_of_parts(lambda parts=parts: (z[z < 0] for z, _ in parts()))  # type: ignore[misc]
        noise[band] = measured_noise(*below)

        def steps(alone: BandCoverage = alone) -> Iterator[NDArray[np.float32]]:
            for rows, columns in windows:
                more = (rows[0], min(rows[1] + 1, shape[0])), (columns[0], min(columns[1] + 1, shape[1]))
                for z, _ in _filtered(read, shape, more, alone, params).values():
                    yield noise_steps(z, (rows[1] - rows[0], columns[1] - columns[0]))

        gradients.append(gradient_variance(*median_of_parts(steps), noise[band]))
        errors, _ = median_of_parts(lambda parts=parts: (sigma[np.isfinite(z)] for z, sigma in parts()))  # type: ignore[misc]
        depth.append(1.0 / float(errors))
    return BlockSignificance(
        shape=shape,
        usable=usable,
        noise=MappingProxyType(noise),
        gradient=float(np.mean(gradients)),
        depth=tuple(depth),
        read=read,
        params=params,
    )


def _planes(
    images: Mapping[str, MeasureImage | Mosaic | None], bands: Sequence[str] | Mapping[str, int], blank: frozenset[str]
) -> dict[str, BandPlanes]:
    planes: dict[str, BandPlanes] = {}
    for band in bands:
        image = images[band]
        if image is not None:
            planes[band] = band_planes(image, f"images[{band!r}]", None, zeros_are_blank=band in blank)
    return planes


def _filtered(
    read: ReadBands, shape: tuple[int, int], core: Window, usable: BandCoverage, params: SignificanceParams
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return S/N after the filter and error of the bands in a window."""
    kernel = None if params.kernel is None else as_kernel(params.kernel)
    margin = (0, 0) if kernel is None else (kernel.shape[0] // 2, kernel.shape[1] // 2)
    rows, columns = widened(core, margin, shape)
    part = tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(core, (rows, columns), strict=True))
    found = {}
    for band, (data, sigma, bad) in _planes(read(slice(*rows), slice(*columns)), usable.bands, usable.blank).items():
        z = _rust.filtered_snr(data, sigma, 0.0, bad, kernel)
        found[band] = np.ascontiguousarray(z[part]), np.ascontiguousarray(sigma[part])
    return found
