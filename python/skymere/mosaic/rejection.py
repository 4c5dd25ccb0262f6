"""Which part of the weight of a mosaic was rejected, and why."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import FLAG_BITS, Exposure, Window
from skymere.instruments import SATURATED_BITS
from skymere.resample import DrizzleParams, Drizzler, ExposureRows, pixel_scale_ratio
from skymere.wcs import Grid, pixel_map

__all__ = ["Coincidence", "Reasons", "RejectionMap"]


class Reasons:
    """What took the pixels of exposures, which are looked at one at a time.

    Parameters
    ----------
    ignore : iterable of str, optional
        Names of DQ bits that count as good.

    Attributes
    ----------
    exptimes : list of float
        Exposure times [s].
    n_saturated : int
        Saturated pixels.
    """

    def __init__(self, ignore: Iterable[str] = ()) -> None:
        self._ignore = tuple(ignore)
        self._counts: dict[str, int] = {}
        self._n_pixels = 0
        self.exptimes: list[float] = []
        self.n_saturated = 0

    def add(self, exposure: Exposure) -> None:
        """Look at an exposure with its flags."""
        flags = np.zeros(exposure.shape, np.uint32) if exposure.flags is None else exposure.flags
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
    def parts(self) -> dict[str, float]:
        """Part of the input pixels that each reason took, the largest first."""
        return {name: n / self._n_pixels for name, n in sorted(self._counts.items(), key=lambda item: -item[1])}


class Coincidence:
    """Places on the sky by how many exposures see them, and how many of these reject them; sums over windows."""

    def __init__(self) -> None:
        self._seen = np.zeros(1, np.int64)
        self._n_hits = self._n_places = self._n_repeated = 0

    def add(self, hit: NDArray[np.uint16], seen: NDArray[np.uint16]) -> None:
        """Add places: in how many exposures each is hit, and is seen."""
        counts = np.bincount(seen.ravel(), minlength=len(self._seen))
        counts[: len(self._seen)] += self._seen
        self._seen = counts.astype(np.int64)
        self._n_hits += int(hit.sum(dtype=np.int64))
        self._n_places += int(np.count_nonzero(hit))
        self._n_repeated += int(np.count_nonzero(hit > 1))

    def beyond_chance(self) -> float | None:
        """Return the part of the rejected places that are rejected more than once, beyond what chance does.

        Notes
        -----
        Places that n exposures see are hit once or more with the probability 1 - q^n and twice or more with
        1 - q^n - n (1 - q) q^(n - 1), with 1 - q the mean rate of hits in an exposure.
        """
        if self._n_places == 0:
            return None
        n = np.arange(len(self._seen), dtype=np.float64)
        rate = self._n_hits / float((n * self._seen).sum())
        by_chance = 1 - (1 - rate) ** n - n * rate * (1 - rate) ** np.maximum(n - 1, 0)
        return float((self._n_repeated - (by_chance * self._seen).sum()) / self._n_places)


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
    window : Window, optional
        Part of the mosaic that is kept, to which rows of exposures are added (`add_rows`).
    core : Window, optional
        Part of the window whose places are counted for `coincidence`; all of it when not given.

    Attributes
    ----------
    reasons : Reasons
        Of the exposures that were added whole.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        params: DrizzleParams | None = None,
        ignore: Iterable[str] = (),
        window: Window | None = None,
        core: Window | None = None,
    ) -> None:
        p = params or DrizzleParams()
        kernel = p.kernel if p.kernel in ("square", "turbo", "point") else "turbo"
        self.grid = grid
        self.window = window or Window((0, grid.shape[0]), (0, grid.shape[1]))
        self._core = core or self.window
        self._ignore = tuple(ignore)
        self.reasons = Reasons(ignore)
        how = DrizzleParams(kernel=kernel, pixfrac=p.pixfrac)
        self._drizzler = Drizzler(grid.shape, params=how, context=False, window=self.window.slices)
        self._saturated: Drizzler | None = None
        # Places on the sky, cells of about one and a half native pixels: in how many exposures they are hit and seen.
        self._cell_pix = 0.0
        self._hit = self._seen = np.zeros((0, 0), np.uint16)

    def add(self, exposure: Exposure) -> None:
        """Add an exposure with its flags."""
        pixmap = pixel_map(exposure.wcs, self.grid.wcs, exposure.shape)
        ratio = self.grid.scale_arcsec / exposure.native_scale_arcsec
        ratio = ratio if np.isfinite(ratio) else pixel_scale_ratio(pixmap)
        self.add_rows(ExposureRows(exposure=exposure, pixmap=pixmap, pixel_scale_ratio=ratio))
        self.reasons.add(exposure)

    def add_rows(self, part: ExposureRows) -> None:
        """Add rows of an exposure with its flags; `Reasons` are those of whole ones."""
        exposure, pixmap, ratio = part.exposure, part.pixmap, part.pixel_scale_ratio
        flags = np.zeros(exposure.shape, np.uint32) if exposure.flags is None else exposure.flags
        bad = _bad_without_cosmic_rays(exposure, self._ignore)
        hit = ((flags & np.uint32(FLAG_BITS["cosmic_ray"])) != 0) & ~bad
        weight = np.full(exposure.shape, exposure.exptime, np.float32)
        # The weighted mean of a mask is the rejected part of the weight; the weight is that of an ideal detector.
        self._drizzler.add(hit.astype(np.float32), pixmap, weight=weight, pixel_scale_ratio=ratio)
        self._add_saturated(part)
        self._mark(pixmap, hit, ratio)

    def _add_saturated(self, part: ExposureRows) -> None:
        bits = sum(bit for name, bit in part.exposure.dq_bits.items() if name in SATURATED_BITS)
        if not bits:
            return
        if self._saturated is None:
            whole = DrizzleParams(kernel="square", pixfrac=1.0)
            self._saturated = Drizzler(self.grid.shape, params=whole, context=False, window=self.window.slices)
        full = (part.exposure.dq & np.uint32(bits)) != 0
        if full.any():
            weight = full.astype(np.float32)
            self._saturated.add(weight, part.pixmap, weight=weight, pixel_scale_ratio=part.pixel_scale_ratio)

    def _mark(self, pixmap: NDArray[np.float64], hit: NDArray[np.bool_], ratio: float) -> None:
        """Count the places that this exposure sees, and those that are rejected in it."""
        low, high = np.array(self._core.origin[::-1]), np.array([self._core.columns[1], self._core.rows[1]])
        if not self._cell_pix:
            self._cell_pix = max(1.5 / ratio, 1.0)
            self._first_cell = (low / self._cell_pix).astype(np.intp)
            columns, rows = (high / self._cell_pix).astype(np.intp) - self._first_cell + 1
            self._hit, self._seen = np.zeros((rows, columns), np.uint16), np.zeros((rows, columns), np.uint16)
        for places, total in ((pixmap[hit], self._hit), (pixmap.reshape(-1, 2), self._seen)):
            inside = (places > low - 0.5).all(axis=1) & (places < high - 0.5).all(axis=1)
            cells = ((places[inside] + 0.5) / self._cell_pix).astype(np.intp) - self._first_cell
            once = np.zeros(total.shape, bool)
            once[cells[:, 1], cells[:, 0]] = True
            np.add(total, once, out=total)

    def count_places(self, coincidence: Coincidence) -> None:
        """Add the places of the window to sums over windows."""
        coincidence.add(self._hit, self._seen)

    def watch(self, exposures: Iterable[Exposure]) -> Iterable[Exposure]:
        """Return exposures that are added when they pass by for the first time on their way to something else."""
        return _Watched(self, exposures)

    def fraction(self) -> NDArray[np.float32]:
        """Return the rejected part of the weight, float32, shape of the window; NaN where there is none."""
        return self._drizzler.read().data

    def saturated(self) -> NDArray[np.bool_] | None:
        """Return the pixels on which a saturated pixel of any exposure falls, bool, shape of the window.

        None when no exposure has such DQ bits (`skymere.instruments.SATURATED_BITS`), so that nobody knows.
        """
        return None if self._saturated is None else np.asarray(self._saturated.read().weight > 0)

    def full_weight(self) -> NDArray[np.float32]:
        """Return the weight, float32, shape of the window [s], that the mosaic would have with nothing rejected."""
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
