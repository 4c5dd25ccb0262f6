"""Context planes can be left out."""

import numpy as np

from skymere.resample import Drizzler


def test_without_context_everything_else_is_the_same() -> None:
    rng = np.random.default_rng(1)
    y, x = np.indices((20, 20), dtype=float)
    with_context, without = Drizzler((24, 24)), Drizzler((24, 24), context=False)
    for _ in range(40):
        data = rng.normal(size=(20, 20)).astype(np.float32)
        pixmap = np.stack([x + rng.uniform(0, 4), y + rng.uniform(0, 4)], axis=-1)
        for drizzler in (with_context, without):
            drizzler.add(data, pixmap, variance=data**2)
    partly = with_context.read()
    one, other = with_context.finish(), without.finish()
    for plane in ("data", "weight", "variance"):
        np.testing.assert_array_equal(getattr(one, plane), getattr(other, plane))
    assert one.context.shape == (2, 24, 24)
    assert other.context.shape == (0, 24, 24)
    np.testing.assert_array_equal(partly.context, one.context)
    assert partly.context is not one.context
