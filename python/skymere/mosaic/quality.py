"""How good a mosaic is: evenness of its weight, holes, and sources that were rejected as cosmic rays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import FLAG_BITS, Exposure, Mosaic
from skymere.errors import InvalidInputError
from skymere.instruments import SATURATED_BITS
from skymere.mosaic.detection_image import n_exposures, n_pointings
from skymere.resample import DrizzleParams, Drizzler, pixel_scale_ratio
from skymere.wcs import Grid, pixel_map

__all__ = ["MosaicQuality", "QualityParams", "RejectionMap", "measure_quality"]

# Side of a box that is wider than the holes between drops [pix].
_HOLE_BOX = 5

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


class RejectionMap:
    """Which part of the weight cosmic-ray flags took from each pixel of a mosaic; exposures are added one at a time.

    Parameters
    ----------
    grid : Grid
        Pixels of the mosaic.
    params : DrizzleParams, optional
        Kernel and pixfrac of the mosaic; other kernels than ``square``, ``turbo`` and ``point`` are taken as ``turbo``.
    ignore : iterable of str, optional
        Names of DQ bits that count as good.
    """

    def __init__(self, grid: Grid, *, params: DrizzleParams | None = None, ignore: Iterable[str] = ()) -> None:
        p = params or DrizzleParams()
        kernel = p.kernel if p.kernel in ("square", "turbo", "point") else "turbo"
        self.grid = grid
        self._ignore = tuple(ignore)
        self._drizzler = Drizzler(grid.shape, params=DrizzleParams(kernel=kernel, pixfrac=p.pixfrac), context=False)
        self._saturated: Drizzler | None = None
        # Places on the sky, cells of about one and a half native pixels: in how many exposures they are hit and seen.
        self._cell_pix = 0.0
        self._hit = self._seen = np.zeros((0, 0), np.uint16)
        self._counts: dict[str, int] = {}
        self._n_pixels = 0
        self.exptimes: list[float] = []
        self.n_saturated = 0

    def add(self, exposure: Exposure) -> None:
        """Add an exposure with its flags."""
        flags = np.zeros(exposure.shape, np.uint32) if exposure.flags is None else exposure.flags
        hit = (flags & np.uint32(FLAG_BITS["cosmic_ray"])) != 0
        bad = _bad_without_cosmic_rays(exposure, self._ignore)
        pixmap = pixel_map(exposure.wcs, self.grid.wcs, exposure.shape)
        ratio = self.grid.scale_arcsec / exposure.native_scale_arcsec
        ratio = ratio if np.isfinite(ratio) else pixel_scale_ratio(pixmap)
        weight = np.full(exposure.shape, exposure.exptime, np.float32)
        # The weighted mean of a mask is the rejected part of the weight; the weight is that of an ideal detector.
        self._drizzler.add((hit & ~bad).astype(np.float32), pixmap, weight=weight, pixel_scale_ratio=ratio)
        self._add_saturated(exposure, pixmap, ratio)
        self._count(exposure, flags)
        self._mark(pixmap, hit & ~bad, ratio)

    def _add_saturated(self, exposure: Exposure, pixmap: NDArray[np.float64], ratio: float) -> None:
        bits = sum(bit for name, bit in exposure.dq_bits.items() if name in SATURATED_BITS)
        if not bits:
            return
        if self._saturated is None:
            whole = DrizzleParams(kernel="square", pixfrac=1.0)
            self._saturated = Drizzler(self.grid.shape, params=whole, context=False)
        full = (exposure.dq & np.uint32(bits)) != 0
        if full.any():
            weight = full.astype(np.float32)
            self._saturated.add(weight, pixmap, weight=weight, pixel_scale_ratio=ratio)

    def _mark(self, pixmap: NDArray[np.float64], hit: NDArray[np.bool_], ratio: float) -> None:
        """Count the places that this exposure sees, and those that are rejected in it."""
        if not self._cell_pix:
            self._cell_pix = max(1.5 / ratio, 1.0)
            shape = tuple(int(n / self._cell_pix) + 1 for n in self.grid.shape)
            self._hit, self._seen = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
        for places, total in ((pixmap[hit], self._hit), (pixmap.reshape(-1, 2), self._seen)):
            inside = (places > -0.5).all(axis=1) & (places < np.array(self.grid.shape[::-1]) - 0.5).all(axis=1)
            cells = ((places[inside] + 0.5) / self._cell_pix).astype(np.intp)
            once = np.zeros(total.shape, bool)
            once[cells[:, 1], cells[:, 0]] = True
            np.add(total, once, out=total)

    def coincidence(self) -> float | None:
        """Return the part of the rejected places that are rejected more than once, beyond what chance does.

        Notes
        -----
        Places that n exposures see are hit once or more with the probability 1 - q^n and twice or more with
        1 - q^n - n (1 - q) q^(n - 1), with 1 - q the mean rate of hits in an exposure.
        """
        n_seen, n_places = int(self._seen.sum()), int(np.count_nonzero(self._hit))
        if len(self.exptimes) < 3 or n_places == 0:
            return None
        rate = float(self._hit.sum()) / n_seen
        n = self._seen.astype(np.float64)
        by_chance = 1 - (1 - rate) ** n - n * rate * (1 - rate) ** np.maximum(n - 1, 0)
        return float((np.count_nonzero(self._hit > 1) - by_chance.sum()) / n_places)

    def watch(self, exposures: Iterable[Exposure]) -> Iterable[Exposure]:
        """Return exposures that are added when they pass by for the first time on their way to something else."""
        return _Watched(self, exposures)

    def _count(self, exposure: Exposure, flags: NDArray[np.uint32]) -> None:
        self._n_pixels += flags.size
        self.exptimes.append(exposure.exptime)
        used = {name: bit for name, bit in exposure.dq_bits.items() if name not in self._ignore}
        for names, plane in ((used, exposure.dq), (FLAG_BITS, flags)):
            for name, bit in names.items():
                n = int(np.count_nonzero(plane & np.uint32(bit)))
                if n:
                    self._counts[name] = self._counts.get(name, 0) + n
        if "saturated" in exposure.dq_bits:
            self.n_saturated += int(np.count_nonzero(exposure.dq & np.uint32(exposure.dq_bits["saturated"])))

    @property
    def reasons(self) -> dict[str, float]:
        """Part of the input pixels that each reason took, the largest first."""
        return {name: n / self._n_pixels for name, n in sorted(self._counts.items(), key=lambda item: -item[1])}

    def fraction(self) -> NDArray[np.float32]:
        """Return the rejected part of the weight, float32, shape of the grid; NaN where there is none."""
        return self._drizzler.read().data

    def saturated(self) -> NDArray[np.bool_] | None:
        """Return the pixels on which a saturated pixel of any exposure falls, bool, shape of the grid.

        None when no exposure has such DQ bits (`skymere.instruments.SATURATED_BITS`), so that nobody knows.
        """
        return None if self._saturated is None else np.asarray(self._saturated.read().weight > 0)

    def full_weight(self) -> NDArray[np.float32]:
        """Return the weight, float32, shape of the grid [s], that the mosaic would have with nothing rejected."""
        return self._drizzler.read().weight


class _Watched:
    """Exposures that begin anew as often as they are asked for; those of the first time are added to a map."""

    def __init__(self, rejection: RejectionMap, exposures: Iterable[Exposure]) -> None:
        self._rejection, self._exposures = rejection, exposures
        self._is_first = True

    def __iter__(self) -> Iterator[Exposure]:
        is_first, self._is_first = self._is_first, False
        for exposure in self._exposures:
            if is_first:
                self._rejection.add(exposure)
            yield exposure


def _bad_without_cosmic_rays(exposure: Exposure, ignore: Iterable[str]) -> NDArray[np.bool_]:
    """Pixels that are not used for other reasons than cosmic rays."""
    keep = sum(exposure.dq_bits[name] for name in ignore)
    bad = (exposure.dq & np.uint32(~keep & 0xFFFFFFFF)) != 0
    if exposure.flags is not None:
        bad |= (exposure.flags & np.uint32(~FLAG_BITS["cosmic_ray"] & 0xFFFFFFFF)) != 0
    return np.asarray(bad | ~np.isfinite(exposure.data) | ~np.isfinite(exposure.error))


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
    p = params or QualityParams()
    covered = mosaic.covered
    full = rejection.full_weight()
    enclosed = _enclosed(full > 0)
    # A closing fills dips that are narrower than the box and leaves steps and borders as they are.
    closed = -_box_max(-_box_max(full, _HOLE_BOX), _HOLE_BOX)
    is_hole = full < p.hole_weight * closed
    weights = mosaic.weight[covered].astype(np.float64)
    median = float(np.median(weights)) if weights.size else 0.0
    scatter = float(weights.std() / median) if median > 0 else float("inf")
    n_holes = int(np.count_nonzero(is_hole))
    fraction = rejection.fraction()
    times = rejection.exptimes
    mixed = bool(times) and max(times) > p.max_exptime_ratio * min(times) and rejection.n_saturated > 0
    test = _over_rejection(mosaic, fraction, p) if len(times) > 1 else {}
    coincidence = rejection.coincidence()
    sky = np.isfinite(fraction)
    warnings = []
    if scatter > p.max_weight_scatter:
        warnings.append(
            f"weight: std / median is {scatter:.2f}, above {p.max_weight_scatter}; take a larger pixfrac or pixel"
        )
    if n_holes > p.max_hole_fraction * max(int(enclosed.sum()), 1):
        warnings.append(f"holes: {n_holes} pixels that hardly any exposure reaches; take a larger pixfrac or pixel")
    if coincidence is not None and coincidence > p.max_coincidence:
        test["verdict"] = "over-rejected"
        warnings.append(
            f"rejection: {100 * coincidence:.0f} % of the rejected places are rejected in two or more exposures, which "
            "cosmic rays do not do; the exposures are not aligned, or sources are taken for cosmic rays"
        )
    elif test.get("verdict") == "over-rejected":
        warnings.append(
            f"rejection: sources lost {test['excess']:.3f} of their weight more than the sky; raise scale or "
            "core_scale of the cosmic rays, or align better"
        )
    if mixed:
        warnings.append(
            f"exposure times from {min(times):g} to {max(times):g} s with saturated pixels: weights jump at their edges"
        )
    return MosaicQuality(
        weight_scatter=scatter,
        n_covered=int(covered.sum()),
        n_enclosed=int(enclosed.sum()),
        n_holes=n_holes,
        n_black=int(np.count_nonzero((full > 0) & ~covered & ~is_hole)),
        rejected_fraction=float(fraction[sky].mean(dtype=float)) if sky.any() else 0.0,
        reasons=rejection.reasons,
        coincidence=coincidence,
        has_mixed_exptimes=mixed,
        warnings=tuple(warnings),
        **test,
    )


def _enclosed(covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels that are covered, or have covered pixels left, right, above and below."""
    inside = np.ones(covered.shape, bool)
    for axis in (0, 1):
        for step in (1, -1):
            turned = np.flip(covered, axis) if step < 0 else covered
            seen = np.maximum.accumulate(turned, axis=axis)
            inside &= np.flip(seen, axis) if step < 0 else seen
    return inside


def _over_rejection(mosaic: Mosaic, fraction: NDArray[np.float32], p: QualityParams) -> dict[str, Any]:
    """Compare the rejected part of the weight at sources with that of the sky (D9.6)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = mosaic.data / np.sqrt(mosaic.variance)
    usable = np.isfinite(fraction) & (n_exposures(mosaic) >= min(2, n_pointings(mosaic.exposure_ids)))
    # Where a core is rejected in every exposure there is no value; its neighbours still make a peak around it.
    filled = np.where(np.isfinite(snr), snr, 0.0)
    smooth = _box_mean(filled, 3)
    peaks = (smooth == _box_max(smooth, 5)) & (smooth > p.min_snr) & usable
    sky = usable & (smooth < 3.0) & (filled < 3.0)
    y, x = np.nonzero(peaks)
    if len(y) < p.min_sources or not sky.any():
        return {"n_sources": len(y), "verdict": "not tested"}
    at_sources = _box_mean(np.where(np.isfinite(fraction), fraction, 0.0), 3)[y, x]
    excess = float(at_sources.mean() - fraction[sky].mean(dtype=float))
    error = float(at_sources.std(ddof=1) / np.sqrt(len(y)))
    indicator = _box_max(peaks, 3)[usable].astype(np.float64)
    rejected = fraction[usable].astype(np.float64)
    spread = indicator.std() * rejected.std()
    covariance = float(((indicator - indicator.mean()) * (rejected - rejected.mean())).mean())
    return {
        "n_sources": len(y),
        "excess": excess,
        "excess_err": error,
        "correlation": covariance / float(spread) if spread > 0 else 0.0,
        "verdict": "over-rejected" if excess - p.n_sigma * error > p.max_excess else "ok",
    }


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
