"""Background, detection and Kron photometry against sep, and labelling against opencv, in one run.

Both sides of the photometry end with Kron fluxes, their errors and half-light radii of their own sources; ours measures
positions with errors, isophotal fluxes and flags as well, which sep has in `extract` or not at all.
"""

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import sep
from scipy import ndimage

import skymere
from skymere.background import estimate_background
from skymere.segmentation import (
    SEXTRACTOR,
    MeasureImage,
    MeasureParams,
    detect,
    gaussian_kernel,
    label,
    label_with_extents,
    measure,
)

SIZE, N_SOURCES, REPEATS = 4096, 15_000, 7
MASK_SIZE = 8192


def _field() -> np.ndarray:
    rng = np.random.default_rng(2)
    image = rng.normal(100.0, 1.0, (SIZE, SIZE)).astype(np.float32)
    stamp = gaussian_kernel(4.0)
    half = stamp.shape[0] // 2
    fluxes = 10 ** rng.uniform(1.3, 4, N_SOURCES)
    for (y, x), flux in zip(rng.integers(20, SIZE - 20, (N_SOURCES, 2)), fluxes, strict=True):
        image[y - half : y + half + 1, x - half : x + half + 1] += flux * stamp
    return image


def _by_sep(image: np.ndarray) -> int:
    sky = sep.Background(image)
    data = image - sky.back()
    sky.rms()
    found, segments = sep.extract(data, 1.5, err=sky.globalrms, segmentation_map=True)
    ids = np.arange(1, len(found) + 1, dtype=np.int32)
    shape = (found["x"], found["y"], found["a"], found["b"], np.clip(found["theta"], -np.pi / 2, np.pi / 2))
    radius, _ = sep.kron_radius(data, *shape, 6.0, seg_id=ids, segmap=segments)
    radius = np.maximum(np.nan_to_num(2.5 * radius), 3.5)
    flux, _, _ = sep.sum_ellipse(data, *shape, radius, err=sky.globalrms, subpix=0, seg_id=ids, segmap=segments)
    place, reach = (found["x"], found["y"]), radius * found["a"]
    sep.flux_radius(data, *place, reach, 0.5, normflux=flux, seg_id=ids, segmap=segments)
    return len(found)


def _by_skymere(image: np.ndarray) -> int:
    sky = estimate_background(image)
    data = image - sky.level
    segmentation = detect(data, error=sky.rms_global, params=SEXTRACTOR)
    picture = MeasureImage(data=data, error=sky.rms_global)
    return measure(
        segmentation, {"r": picture}, params=MeasureParams(aperture_diameters_pix=(), extended=False)
    ).table.height


def _interleaved(
    jobs: dict[str, Callable[[], int]], clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, int]]:
    results = {name: job() for name, job in jobs.items()}
    best = dict.fromkeys(jobs, np.inf)
    for _ in range(REPEATS):
        for name, job in jobs.items():
            start = clock()
            job()
            best[name] = min(best[name], clock() - start)
    return best, results


@pytest.mark.benchmark
@pytest.mark.parametrize("threads", [1, 2])
def test_sources_of_a_large_field(threads: int) -> None:
    sep.set_extract_pixstack(5_000_000)
    image = _field()
    skymere.set_num_threads(threads)
    jobs = {"sep": lambda: _by_sep(image), "skymere": lambda: _by_skymere(image)}
    best, n = _interleaved(jobs, time.process_time if threads == 1 else time.perf_counter)
    skymere.set_num_threads(0)
    print(f"\n{threads} thread(s): sep {best['sep']:.3f} s, skymere {best['skymere']:.3f} s,", end=" ")
    print(f"ratio {best['sep'] / best['skymere']:.2f}; {n['sep']} and {n['skymere']} sources")
    assert n["skymere"] == pytest.approx(n["sep"], rel=0.02)


@pytest.mark.benchmark
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("with_extents", [False, True])
def test_labels_of_a_large_mask(threads: int, with_extents: bool) -> None:
    noise = np.random.default_rng(1).normal(size=(MASK_SIZE, MASK_SIZE)).astype(np.float32)
    mask = ndimage.gaussian_filter(noise, 2.0) > 0.08
    skymere.set_num_threads(threads)
    cv2.setNumThreads(threads)
    if with_extents:
        jobs = {
            "opencv": lambda: cv2.connectedComponentsWithStats(mask.view(np.uint8))[0] - 1,
            "skymere": lambda: label_with_extents(mask)[1].height,
        }
    else:
        jobs = {
            "opencv": lambda: cv2.connectedComponents(mask.view(np.uint8))[0] - 1,
            "skymere": lambda: label(mask).labels.size,
        }
    best, n = _interleaved(jobs, time.process_time if threads == 1 else time.perf_counter)
    skymere.set_num_threads(0)
    print(f"\n{threads} thread(s){', with extents' * with_extents}: opencv {best['opencv']:.3f} s,", end=" ")
    print(f"skymere {best['skymere']:.3f} s, ratio {best['opencv'] / best['skymere']:.2f}; {n['opencv']} components")
    assert label_with_extents(mask)[1].height == n["opencv"]
