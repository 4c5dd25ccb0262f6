"""How good a mosaic is: evenness of its weight, holes, and sources that were rejected as cosmic rays."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Mosaic, Window
from skymere.errors import InvalidInputError
from skymere.mosaic.detection_image import n_exposures, n_pointings
from skymere.mosaic.rejection import Coincidence, Reasons, RejectionMap
from skymere.resample.ranks import median_of_parts

__all__ = ["MosaicQuality", "QualityParams", "QualitySums", "measure_quality"]

# Side of a box that is wider than the holes between drops [pix].
_HOLE_BOX = 5
# Columns that are looked at together.
_STRIP = 256

Verdict = Literal["ok", "over-rejected", "not tested"]


@dataclass(frozen=True, kw_only=True)
class QualityParams:
    """Limits of `measure_quality`.

    Parameters
    ----------
    max_weight_scatter : float
        Largest std / median of the weight; the handbook's rule of thumb is 0.2 to 0.3.
    hole_weight : float
        With nothing rejected, a pixel below this part of the weight around it is a hole.
    max_hole_fraction : float
        Largest part of the enclosed pixels that may be holes.
    min_snr : float
        Peaks above this many sigma are sources.
    min_sources : int
        With fewer sources over-rejection is not tested.
    max_excess : float
        Largest rejected part of the weight at sources beyond that of the sky.
    max_coincidence : float
        Largest part of the rejected places that are rejected in two or more exposures beyond what chance does.
    n_sigma : float
        The excess must exceed the limit by this many times its own error to be a failure.
    max_exptime_ratio : float
        Exposure times further apart, together with saturated pixels, make exposure-time weights inconsistent.

    Raises
    ------
    InvalidInputError
        When a value is not positive.
    """

    max_weight_scatter: float = 0.3
    hole_weight: float = 0.2
    max_hole_fraction: float = 1e-4
    min_snr: float = 20.0
    min_sources: int = 10
    max_excess: float = 0.02
    max_coincidence: float = 0.1
    n_sigma: float = 3.0
    max_exptime_ratio: float = 2.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class MosaicQuality:
    """What the weight of a mosaic says.

    Parameters
    ----------
    weight_scatter : float
        std / median of the weight where it is not 0 (D9.1).
    n_covered, n_enclosed : int
        Pixels with weight, and pixels with covered ones on all four sides.
    n_holes : int
        Pixels to which hardly anything contributes even with nothing rejected: too few dithers for this
        pixfrac and scale (D9.2).
    n_black : int
        Pixels without any weight that are no holes: everything was rejected (D9.3).
    rejected_fraction : float
        Part of the weight that cosmic-ray flags took from the sky.
    reasons : mapping of str to float
        Part of the input pixels that each reason took, by name of the DQ bit or flag (D9.3).
    n_sources : int
        Sources that were looked at.
    excess, excess_err : float
        Rejected part of the weight at sources minus that of the sky, and its error (D9.6).
    correlation : float
        Correlation coefficient of rejection and sources over all covered pixels.
    coincidence : float or None
        Part of the rejected places that are rejected in two or more exposures, beyond what chance does. Cosmic rays
        do not hit twice; sources that are misaligned do. Measured with three or more exposures.
    verdict : str
        ``ok``, ``over-rejected`` or ``not tested``.
    has_mixed_exptimes : bool
        Exposure times differ and pixels are saturated, so weights jump at the edges of saturated areas (D9.5).
    warnings : tuple of str
        What exceeds a limit, in words.
    """

    weight_scatter: float
    n_covered: int
    n_enclosed: int
    n_holes: int
    n_black: int
    rejected_fraction: float
    reasons: Mapping[str, float] = field(default_factory=dict)
    n_sources: int = 0
    excess: float | None = None
    excess_err: float | None = None
    correlation: float | None = None
    coincidence: float | None = None
    verdict: Verdict = "not tested"
    has_mixed_exptimes: bool = False
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return asdict(self) | {"reasons": dict(self.reasons), "warnings": list(self.warnings)}


def measure_quality(mosaic: Mosaic, rejection: RejectionMap, *, params: QualityParams | None = None) -> MosaicQuality:
    """Read the weight of a mosaic.

    Parameters
    ----------
    mosaic : Mosaic
        The product.
    rejection : RejectionMap
        Of the same exposures on the same grid.
    params : QualityParams, optional
        Limits.

    Notes
    -----
    Sources are the local maxima (5 x 5) of the mosaic whose smoothed signal exceeds ``min_snr`` sigma and that at least
    two exposures reach. Cosmic rays fall where they fall: a rejected part of the weight that is larger at sources than
    on the sky means that sources were taken for cosmic rays.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 6.3 (weight images).
    """
    sums = QualitySums(mosaic.shape, params=params)
    everything = Window((0, mosaic.shape[0]), (0, mosaic.shape[1]))
    sums.add(mosaic, rejection, everything)
    return sums.finish(lambda: [mosaic.weight], rejection.reasons)


class QualitySums:
    """The quality of a mosaic that is looked at window by window; see `measure_quality`.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the mosaic.
    params : QualityParams, optional
        Limits.

    Attributes
    ----------
    margin_pix : int
        How much wider windows are than the part of them that counts, where the mosaic goes on.
    n_covered : int
        Pixels with weight so far.
    """

    margin_pix = 8

    def __init__(self, shape: tuple[int, int], *, params: QualityParams | None = None) -> None:
        self._shape, self._p = shape, params or QualityParams()
        # First and last pixel with full weight of every row and of every column.
        self._rows, self._columns = (_Extents(n) for n in shape)
        self._coincidence = Coincidence()
        self._sky, self._usable_sky = _Moments(), _Moments()
        self._at_sources: list[NDArray[np.float64]] = []
        self._rejected, self._indicator, self._product = _Moments(), _Moments(), _Moments()
        self.n_covered = self._n_holes = self._n_black = 0

    def add(self, mosaic: Mosaic, rejection: RejectionMap, core: Window) -> None:
        """Look at a window.

        Parameters
        ----------
        mosaic : Mosaic
            The window with its margin.
        rejection : RejectionMap
            Of the same window.
        core : Window
            The part that counts.
        """
        at = core.within(rejection.window)
        full, covered = rejection.full_weight(), mosaic.covered[at]
        # A closing fills dips that are narrower than the box and leaves steps and borders as they are.
        closed = -_box_max(-_box_max(full, _HOLE_BOX), _HOLE_BOX)
        is_hole, is_seen = (full < self._p.hole_weight * closed)[at], full[at] > 0
        self._rows.add(is_seen, core.rows, core.columns)
        self._columns.add(is_seen.T, core.columns, core.rows)
        self.n_covered += int(np.count_nonzero(covered))
        self._n_holes += int(np.count_nonzero(is_hole))
        self._n_black += int(np.count_nonzero(is_seen & ~covered & ~is_hole))
        rejection.count_places(self._coincidence)
        fraction = rejection.fraction()
        self._sky.add(fraction[at][np.isfinite(fraction[at])])
        self._compare(mosaic, fraction, at)

    def _compare(self, mosaic: Mosaic, fraction: NDArray[np.float32], at: tuple[slice, slice]) -> None:
        """Compare the rejected part of the weight at sources with that of the sky (D9.6)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            snr = mosaic.data / np.sqrt(mosaic.variance)
        usable = np.isfinite(fraction) & (n_exposures(mosaic) >= min(2, n_pointings(mosaic.exposure_ids)))
        # Where a core is rejected in every exposure there is no value; its neighbours still make a peak around it.
        filled = np.where(np.isfinite(snr), snr, 0.0)
        smooth = _box_mean(filled, 3)
        peaks = (smooth == _box_max(smooth, 5)) & (smooth > self._p.min_snr) & usable
        sky = (usable & (smooth < 3.0) & (filled < 3.0))[at]
        self._usable_sky.add(fraction[at][sky])
        around = _box_mean(np.where(np.isfinite(fraction), fraction, 0.0), 3)
        self._at_sources.append(around[at][peaks[at]])
        rejected = fraction[at][usable[at]].astype(np.float64)
        indicator = _box_max(peaks, 3)[at][usable[at]].astype(np.float64)
        self._rejected.add(rejected)
        self._indicator.add(indicator)
        self._product.add(rejected * indicator)

    def finish(self, weights: Callable[[], Iterable[NDArray[np.float32]]], reasons: Reasons) -> MosaicQuality:
        """Return the quality of all windows together.

        Parameters
        ----------
        weights : callable
            Returns the weight of the mosaic part by part, each time anew.
        reasons : Reasons
            Of all exposures.
        """
        p, times = self._p, reasons.exptimes
        n_enclosed = self._n_enclosed()
        scatter = _scatter(weights)
        mixed = bool(times) and max(times) > p.max_exptime_ratio * min(times) and reasons.n_saturated > 0
        test = self._over_rejection() if len(times) > 1 else {}
        coincidence = self._coincidence.beyond_chance() if len(times) > 2 else None
        warnings = []
        if scatter > p.max_weight_scatter:
            warnings.append(
                f"weight: std / median is {scatter:.2f}, above {p.max_weight_scatter}; take a larger pixfrac or pixel"
            )
        if self._n_holes > p.max_hole_fraction * max(n_enclosed, 1):
            warnings.append(
                f"holes: {self._n_holes} pixels that hardly any exposure reaches; take a larger pixfrac or pixel"
            )
        if coincidence is not None and coincidence > p.max_coincidence:
            test["verdict"] = "over-rejected"
            warnings.append(
                f"rejection: {100 * coincidence:.0f} % of the rejected places are rejected in two or more exposures, "
                "which cosmic rays do not do; the exposures are not aligned, or sources are taken for cosmic rays"
            )
        elif test.get("verdict") == "over-rejected":
            warnings.append(
                f"rejection: sources lost {test['excess']:.3f} of their weight more than the sky; raise scale or "
                "core_scale of the cosmic rays, or align better"
            )
        if mixed:
            warnings.append(
                f"exposure times from {min(times):g} to {max(times):g} s with saturated pixels: weights jump at their "
                "edges"
            )
        return MosaicQuality(
            weight_scatter=scatter,
            n_covered=self.n_covered,
            n_enclosed=n_enclosed,
            n_holes=self._n_holes,
            n_black=self._n_black,
            rejected_fraction=self._sky.mean if self._sky.n else 0.0,
            reasons=reasons.parts,
            coincidence=coincidence,
            has_mixed_exptimes=mixed,
            warnings=tuple(warnings),
            **test,
        )

    def _n_enclosed(self) -> int:
        """Pixels that have pixels of full weight left, right, above and below, or are some."""
        total = 0
        y = np.arange(self._shape[0])
        for x in range(0, self._shape[1], _STRIP):
            columns = np.arange(x, min(x + _STRIP, self._shape[1]))
            first, last = self._columns.first[columns], self._columns.last[columns]
            inside = (y[:, None] >= first) & (y[:, None] <= last)
            inside &= (columns >= self._rows.first[:, None]) & (columns <= self._rows.last[:, None])
            total += int(np.count_nonzero(inside))
        return total

    def _over_rejection(self) -> dict[str, Any]:
        at_sources = np.concatenate(self._at_sources)
        n = len(at_sources)
        if n < self._p.min_sources or not self._usable_sky.n:
            return {"n_sources": n, "verdict": "not tested"}
        excess = float(at_sources.mean() - self._usable_sky.mean)
        error = float(at_sources.std(ddof=1) / np.sqrt(n))
        spread = self._indicator.std * self._rejected.std
        covariance = self._product.mean - self._indicator.mean * self._rejected.mean
        return {
            "n_sources": n,
            "excess": excess,
            "excess_err": error,
            "correlation": covariance / spread if spread > 0 else 0.0,
            "verdict": "over-rejected" if excess - self._p.n_sigma * error > self._p.max_excess else "ok",
        }


class _Extents:
    """The first and the last pixel of every line that is set; a line without one begins behind its end."""

    def __init__(self, n: int) -> None:
        self.first, self.last = np.full(n, np.iinfo(np.int64).max), np.full(n, -1, np.int64)

    def add(self, is_set: NDArray[np.bool_], lines: tuple[int, int], along: tuple[int, int]) -> None:
        """Look at a window: its lines, and which pixels along them it has."""
        has, n = is_set.any(axis=1), is_set.shape[1]
        first, last = is_set.argmax(axis=1), n - 1 - is_set[:, ::-1].argmax(axis=1)
        mine = slice(*lines)
        self.first[mine] = np.where(has, np.minimum(self.first[mine], along[0] + first), self.first[mine])
        self.last[mine] = np.where(has, np.maximum(self.last[mine], along[0] + last), self.last[mine])


class _Moments:
    """Number, mean and standard deviation of values that come part by part."""

    def __init__(self) -> None:
        self.n, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Add values."""
        self.n += values.size
        self._sum += float(values.sum(dtype=np.float64))
        self._squares += float(np.square(values, dtype=np.float64).sum())

    @property
    def mean(self) -> float:
        return self._sum / self.n

    @property
    def std(self) -> float:
        return float(np.sqrt(max(self._squares / self.n - self.mean**2, 0.0)))


def _scatter(weights: Callable[[], Iterable[NDArray[np.float32]]]) -> float:
    """Return std / median of the weights that are not 0."""

    def positive() -> Iterator[NDArray[np.float32]]:
        yield from (part[part > 0] for part in weights())

    middle, n = median_of_parts(positive)
    if n == 0 or not middle > 0:
        return float("inf")
    mean = sum(float(part.sum(dtype=np.float64)) for part in positive()) / n
    squares = sum(float(np.square(part - mean, dtype=np.float64).sum()) for part in positive())
    return float(np.sqrt(squares / n) / float(middle))


def _windows(image: NDArray[Any], side: int) -> list[NDArray[Any]]:
    """Return the image shifted to every place of a box, its edge repeated."""
    padded = np.pad(image, side // 2, mode="edge")
    ny, nx = image.shape
    return [padded[dy : dy + ny, dx : dx + nx] for dy in range(side) for dx in range(side)]


def _box_mean(image: NDArray[Any], side: int) -> NDArray[Any]:
    total = np.zeros(image.shape, np.float64)
    for window in _windows(image, side):
        total += window
    return total / side**2


def _box_max(image: NDArray[Any], side: int) -> NDArray[Any]:
    largest = image.copy()
    for window in _windows(image, side):
        np.maximum(largest, window, out=largest)
    return largest
