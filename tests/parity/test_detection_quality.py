"""Completeness at given purity, and close pairs that are split, against sep and photutils on simulated deep fields."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import sep
from scipy.spatial import KDTree

from skymere.background import estimate_background
from skymere.segmentation import PYRAMID, DetectParams, MeasureImage, MeasureParams, detect, gaussian_kernel, measure
from skymere.testing import DeepField, DeepFieldParams, draw_deep_field

# 0.3 arcsec; pairs of sources above 10 sigma from there to 0.8 arcsec.
RADIUS_PIX, FAR_PAIR_PIX = 0.3 / 0.08, 0.8 / 0.08
PURITIES = (0.90, 0.95, 0.99)
N_BLOCKS = 4
SEP_KERNELS = {"3x3": np.array(PYRAMID, np.float32), "2.0": gaussian_kernel(2.0), "2.5": gaussian_kernel(2.5)}
SEP_THRESHOLDS = {
    "3x3": (0.84, 0.92, 1.0, 1.1, 1.25, 1.45),
    "2.0": (0.78, 0.86, 0.94, 1.04, 1.18, 1.36),
    "2.5": (0.72, 0.79, 0.86, 0.93, 1.02, 1.16),
}
# Its detections that are none stay among the brightest ones.
PHOTUTILS_THRESHOLDS = (0.79, 0.93, 1.16, 1.5, 2.0, 2.7)
THRESHOLDS = (3.4, 3.65, 3.9, 4.15, 4.4, 4.75, 5.1, 5.5, 6.0)

Positions = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Counts:
    """For each block of each field: detections, those that are true, sources above 5 sigma, those found, pairs, split."""

    blocks: np.ndarray

    @property
    def purity(self) -> np.ndarray:
        return self.blocks[:, 1] / np.maximum(self.blocks[:, 0], 1)


def one_to_one(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs within the radius, the closest first, each of both sides once: masks of what has a partner."""
    near = KDTree(found).query_ball_point(truth, RADIUS_PIX)
    pairs = [(np.hypot(*(found[j] - truth[i])), i, j) for i, those in enumerate(near) for j in those]
    has_found, is_true = np.zeros(len(truth), bool), np.zeros(len(found), bool)
    for _, i, j in sorted(pairs):
        if not has_found[i] and not is_true[j]:
            has_found[i] = is_true[j] = True
    return has_found, is_true


def count(field: DeepField, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    truth = field.truth.filter(field.truth["sn"] > 3.0)
    place, sn = np.column_stack([truth["x"], truth["y"]]), truth["sn"].to_numpy()
    found = np.column_stack([x, y])
    has_found, is_true = one_to_one(found, place)
    bright = np.flatnonzero(sn > 10.0)
    pairs = bright[KDTree(place[bright]).query_pairs(FAR_PAIR_PIX, output_type="ndarray")]
    pairs = pairs[np.hypot(*(place[pairs[:, 0]] - place[pairs[:, 1]]).T) > RADIUS_PIX]
    side = field.data.shape[0] / N_BLOCKS

    def blocks(at: np.ndarray) -> np.ndarray:
        i = np.clip((at / side).astype(int), 0, N_BLOCKS - 1)
        return np.bincount(i[:, 1] * N_BLOCKS + i[:, 0], minlength=N_BLOCKS**2)

    deep = sn > 5.0
    split = has_found[pairs].all(axis=1)
    return np.column_stack(
        [
            blocks(found),
            blocks(found[is_true]),
            blocks(place[deep]),
            blocks(place[deep & has_found]),
            blocks(place[pairs[:, 0]]),
            blocks(place[pairs[split, 0]]),
        ]
    )


def at_purity(counts: np.ndarray, purity: float) -> tuple[float, float]:
    """Completeness and fraction of split pairs where the purity is reached; ``counts`` by increasing threshold."""
    pure = counts[:, 1] / counts[:, 0]
    complete, split = counts[:, 3] / counts[:, 2], counts[:, 5] / counts[:, 4]
    above = np.flatnonzero(pure >= purity)
    if not above.size:
        return float("nan"), float("nan")
    k = above[0]
    if k == 0:
        return float(complete[0]), float(split[0])
    t = (purity - pure[k - 1]) / (pure[k] - pure[k - 1])
    return tuple(float(v[k - 1] + t * (v[k] - v[k - 1])) for v in (complete, split))


def sweep(fields: Sequence[DeepField], find: Callable[[DeepField, float], Positions], steps: Sequence[float]):
    """Counts of all blocks of all fields, shape (threshold, block, 6)."""
    return np.stack([np.concatenate([count(f, *find(f, t)) for f in fields]) for t in steps])


def by_sep(kernel: str, contrast: float) -> Callable[[DeepField, float], Positions]:
    def find(field: DeepField, threshold: float) -> Positions:
        sky = sep.Background(field.data)
        found = sep.extract(
            field.data - sky.back(),
            threshold,
            err=sky.rms(),
            filter_kernel=SEP_KERNELS[kernel],
            filter_type="conv",
            minarea=6,
            deblend_cont=contrast,
        )
        return found["x"], found["y"]

    return find


def by_photutils(contrast: float) -> Callable[[DeepField, float], Positions]:
    from astropy.convolution import convolve_fft
    from photutils.segmentation import SourceCatalog, SourceFinder

    def find(field: DeepField, threshold: float) -> Positions:
        sky = estimate_background(field.data)
        data = field.data - sky.level
        smooth = convolve_fft(data, gaussian_kernel(2.5))
        finder = SourceFinder(n_pixels=6, contrast=contrast, progress_bar=False)
        catalog = SourceCatalog(data, finder(smooth, threshold * sky.rms), convolved_data=smooth)
        return catalog.x_centroid, catalog.y_centroid

    return find


def by_skymere(field: DeepField, threshold: float) -> Positions:
    sky = estimate_background(field.data)
    data = field.data - sky.level
    found = detect(data, error=sky.rms, params=replace(DetectParams(), threshold=threshold))
    params = MeasureParams(aperture_diameters_pix=(), extended=False)
    table = measure(found, {"r": MeasureImage(data=data, error=sky.rms)}, params=params).table
    return table["x"].to_numpy(), table["y"].to_numpy()


def bootstrap(ours: np.ndarray, theirs: np.ndarray, purity: float, which: int) -> float:
    """Standard deviation of the difference over blocks drawn again; both see the same blocks."""
    rng = np.random.default_rng(5)
    n = ours.shape[1]
    found = []
    for _ in range(300):
        draw = rng.integers(0, n, n)
        a, b = (at_purity(c[:, draw].sum(axis=1), purity)[which] for c in (ours, theirs))
        found.append(a - b)
    return float(np.nanstd(found))


def compare(fields: Sequence[DeepField], peers: dict[str, np.ndarray]) -> Iterator[tuple[str, float, float]]:
    """What is compared, the difference, and what it may be at least."""
    ours = sweep(fields, by_skymere, THRESHOLDS)
    for purity in PURITIES:
        mine = at_purity(ours.sum(axis=1), purity)
        print(f"purity {purity}: skymere completeness {mine[0]:.4f}, pairs split {mine[1]:.3f}")
        results = {name: at_purity(counts.sum(axis=1), purity) for name, counts in peers.items()}
        for name, (complete, split) in results.items():
            print(f"    {name}: {complete:.4f}, {split:.3f}")
        best = max(results, key=lambda name: np.nan_to_num(results[name][0]))
        for which, word in enumerate(("completeness", "pairs split")):
            sigma = bootstrap(ours, peers[best], purity, which)
            yield f"{word} at {purity} against {best}", mine[which] - results[best][which], -max(2 * sigma, 0.005)


def check(fields: Sequence[DeepField], peers: dict[str, np.ndarray]) -> None:
    print()
    rows = list(compare(fields, peers))
    for row in rows:
        print("{}: {:+.4f}, at least {:+.4f}".format(*row))
    assert [name for name, difference, least in rows if not difference >= least] == []


def test_more_sources_are_found_than_by_sep_in_a_small_field() -> None:
    fields = [draw_deep_field(params=DeepFieldParams(shape=(1536, 1536), n_stamps=500), seed=3)]
    settings = {("3x3", 0.005), ("2.5", 0.0005)}
    check(fields, {f"sep {k} {c}": sweep(fields, by_sep(k, c), SEP_THRESHOLDS[k]) for k, c in settings})


@pytest.mark.validate
@pytest.mark.timeout(14_000)
def test_more_sources_are_found_than_by_sep_in_ten_fields() -> None:
    fields = [draw_deep_field(seed=seed) for seed in range(1, 11)]
    settings = [(k, c) for k in SEP_KERNELS for c in (0.005, 0.0005)]
    check(fields, {f"sep {k} {c}": sweep(fields, by_sep(k, c), SEP_THRESHOLDS[k]) for k, c in settings})


@pytest.mark.validate
@pytest.mark.timeout(14_000)
def test_more_sources_are_found_than_by_photutils_in_ten_fields() -> None:
    fields = [draw_deep_field(seed=seed) for seed in range(1, 11)]
    check(fields, {"photutils 2.5 0.001": sweep(fields, by_photutils(0.001), PHOTUTILS_THRESHOLDS)})
