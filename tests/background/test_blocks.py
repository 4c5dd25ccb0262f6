"""The background block by block is that of one pass."""

import numpy as np
import pytest

from skymere.background import BackgroundParams, estimate_background, estimate_background_blocks
from skymere.errors import InvalidInputError, NoDataError

SHAPE = (333, 290)
RNG = np.random.default_rng(3)
Y, X = np.indices(SHAPE)
DATA = (5.0 + 0.01 * X + 0.02 * Y + RNG.normal(0, 1, SHAPE) + 50 * (RNG.uniform(size=SHAPE) < 0.01)).astype(np.float32)
DATA[100:180, 60:150] = np.nan
MASK = RNG.uniform(size=SHAPE) < 0.05


def read(rows: slice, columns: slice) -> dict[str, np.ndarray]:
    return {"data": DATA[rows, columns], "mask": MASK[rows, columns]}


@pytest.mark.parametrize("side", [1, 40, 100, 5000])
@pytest.mark.parametrize("params", [BackgroundParams(box_size=32), BackgroundParams(box_size=400, filter_size=1)])
def test_level_and_rms_have_the_bits_of_one_pass(side: int, params: BackgroundParams) -> None:
    whole = estimate_background(DATA, mask=MASK, params=params)
    found = estimate_background_blocks(read, SHAPE, side=side, params=params)
    assert (found.level_global, found.rms_global) == (whole.level_global, whole.rms_global)
    assert np.array_equal(found.whole().level, whole.level)
    assert np.array_equal(found.whole().rms, whole.rms)
    for rows, columns in (
        (slice(0, 1), slice(3, 290)),
        (slice(99, 200), slice(17, 60)),
        (slice(332, 333), slice(0, 5)),
    ):
        assert np.array_equal(found.level(rows, columns), whole.level[rows, columns])
        assert np.array_equal(found.rms(rows, columns), whole.rms[rows, columns])


def test_what_is_not_allowed_is_named() -> None:
    with pytest.raises(InvalidInputError, match="side: 0"):
        estimate_background_blocks(read, SHAPE, side=0)
    with pytest.raises(InvalidInputError, match="it must return data"):
        estimate_background_blocks(lambda _rows, _columns: {"image": DATA}, SHAPE)
    with pytest.raises(InvalidInputError, match="shape"):
        estimate_background_blocks(lambda _rows, _columns: {"data": DATA}, SHAPE, side=100)
    with pytest.raises(NoDataError, match="cells"):
        estimate_background_blocks(lambda rows, columns: {"data": DATA[rows, columns] * np.nan}, SHAPE)
