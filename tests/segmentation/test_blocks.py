"""Detection block by block gives the labels of one pass."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import skymere
from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation import SEXTRACTOR, DetectParams, detect, detect_blocks

SHAPE = (420, 390)
RNG = np.random.default_rng(11)


def crowded() -> np.ndarray:
    """Noise, sources, and one segment that reaches over most of the image."""
    image = RNG.normal(0.0, 1.0, SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for cy, cx, flux in zip(
        RNG.uniform(0, 420, 150), RNG.uniform(0, 390, 150), 10 ** RNG.uniform(0.8, 3, 150), strict=True
    ):
        image += flux * np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / 2.5**2)
    image += 9.0 * (np.abs(np.hypot(x - 200, y - 210) - 150) < 3)
    return image.astype(np.float32)


IMAGE = crowded()
ERROR = RNG.uniform(0.7, 1.4, SHAPE).astype(np.float32)
MASK = RNG.uniform(size=SHAPE) < 0.01
PARAMS = {
    "default": DetectParams(),
    "filtered": DetectParams(threshold_noise="filtered", threshold=3.5, min_area=1),
    "no deblending": DetectParams(deblend=None, kernel=None),
    "SExtractor": SEXTRACTOR,
    "four neighbours": replace(SEXTRACTOR, connectivity=4, clean=None),
}


def read(rows: slice, columns: slice) -> dict[str, np.ndarray]:
    return {"data": IMAGE[rows, columns], "error": ERROR[rows, columns], "mask": MASK[rows, columns]}


@pytest.mark.parametrize("name", PARAMS)
@pytest.mark.parametrize("side", [37, 64, 150, 1000])
def test_labels_are_those_of_one_pass(name: str, side: int) -> None:
    whole = detect(IMAGE, error=ERROR, mask=MASK, params=PARAMS[name])
    blocks = detect_blocks(read, SHAPE, blocks=side, params=PARAMS[name])
    assert blocks.n_sources == whole.n_sources > 20
    assert np.array_equal(blocks.whole().labels, whole.labels)
    assert blocks.params["noise_correlation"] == whole.params["noise_correlation"]
    # The ring reaches over more than three blocks in both directions.
    if name == "no deblending" and side == 64:
        y, x = np.nonzero(whole.labels == np.bincount(whole.labels.ravel())[1:].argmax() + 1)
        assert min(np.ptp(y), np.ptp(x)) > 3 * side


def test_blocks_of_any_shape_in_any_order_and_any_number_of_threads_give_the_same() -> None:
    whole = detect(IMAGE, error=ERROR, mask=MASK).labels
    edges_y, edges_x = [0, 100, 101, 300, 420], [0, 13, 260, 390]
    blocks = [(slice(a, b), slice(c, d)) for a, b in pairwise(edges_y) for c, d in pairwise(edges_x)]
    for seed, threads in ((1, 1), (2, 3)):
        order = np.random.default_rng(seed).permutation(len(blocks))
        skymere.set_num_threads(threads)
        found = detect_blocks(read, SHAPE, blocks=[blocks[i] for i in order])
        skymere.set_num_threads(0)
        assert np.array_equal(found.labels(slice(50, 400), slice(7, 380)), whole[50:400, 7:380])


@pytest.mark.parametrize("given", [{"error": 1.1}, {"weight": np.full(SHAPE, 1.1**-2, np.float32)}])
def test_a_constant_error_and_weights_work_too(given: dict) -> None:
    def window(rows: slice, columns: slice) -> dict[str, object]:
        return {"data": IMAGE[rows, columns]} | {
            name: value if np.ndim(value) == 0 else value[rows, columns] for name, value in given.items()
        }

    whole = detect(IMAGE, **given)
    assert np.array_equal(detect_blocks(window, SHAPE, blocks=np.int64(90)).whole().labels, whole.labels)


def test_bad_blocks_are_named() -> None:
    half = (slice(0, 210), slice(0, 390))
    with pytest.raises(InvalidInputError, match="each of the 420 x 390 pixels must lie in one"):
        detect_blocks(read, SHAPE, blocks=[half])
    with pytest.raises(InvalidInputError, match="overlap"):
        detect_blocks(read, SHAPE, blocks=[half, half])
    with pytest.raises(InvalidInputError, match="step of 1"):
        detect_blocks(read, SHAPE, blocks=[(slice(0, 420, 2), slice(0, 390))])
    with pytest.raises(InvalidInputError, match="blocks: 0"):
        detect_blocks(read, SHAPE, blocks=0)
    with pytest.raises(InvalidInputError, match="rows 0:"):
        detect_blocks(lambda _rows, _columns: {"data": IMAGE, "error": 1.0}, SHAPE, blocks=100)
    with pytest.raises(InvalidInputError, match="it must return data"):
        detect_blocks(lambda _rows, _columns: {"image": IMAGE}, SHAPE, blocks=100)
    with pytest.raises(NoDataError):
        detect_blocks(lambda rows, columns: {"data": IMAGE[rows, columns] * np.nan, "error": 1.0}, SHAPE, blocks=100)
