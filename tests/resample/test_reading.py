import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.resample import DrizzleParams, Drizzler, decode_context, noise_correlation


@pytest.mark.parametrize(
    ("pixfrac", "scale", "expected"), [(0.8, 0.6, 1.7778), (1.0, 1.0, 1.5), (0.6, 1.2, 1.2), (0.0, 1.0, 1.0)]
)
def test_noise_correlation_is_that_of_casertano(pixfrac, scale, expected):
    assert noise_correlation(pixfrac, scale) == pytest.approx(expected, rel=1e-4)


@pytest.mark.validate
@pytest.mark.parametrize("pixfrac", [0.6, 0.8, 1.0])
def test_noise_correlation_is_measured_in_large_blocks_of_random_dithers(pixfrac):
    rng = np.random.default_rng(5)
    scale, n, block, n_blocks = 0.6, 300, 40, 8
    y, x = np.indices((n, n), dtype=float)
    pixmaps = []
    for _ in range(12):
        angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5, 2)
        u, v = x - n / 2, y - n / 2
        turned = np.stack([np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v], axis=-1)
        pixmaps.append(turned / scale + shift + 160)
    squares = variances = 0.0
    for _ in range(40):
        drizzler = Drizzler((block * n_blocks, block * n_blocks), params=DrizzleParams(pixfrac=pixfrac))
        for pixmap in pixmaps:
            drizzler.add(rng.normal(size=(n, n)), pixmap, variance=np.ones((n, n)))
        image = drizzler.finish()
        blocks = (n_blocks, block, n_blocks, block)
        squares += (image.data.reshape(blocks).sum(axis=(1, 3)) ** 2).sum()
        variances += image.variance.sum(dtype=float)
    measured = np.sqrt(squares / variances)
    print(f"pixfrac {pixfrac}: R measured {measured:.3f}, predicted {noise_correlation(pixfrac, scale):.3f}")
    assert measured == pytest.approx(noise_correlation(pixfrac, scale), rel=0.03)


def test_context_bits_up_to_the_sign_bit_are_decoded():
    context = np.zeros((2, 3, 4), np.int32)
    context[0, 2, 3] = np.array([2**31 + 1], np.uint32).view(np.int32)[0]
    context[1, 2, 3] = np.array([2**31], np.uint32).view(np.int32)[0]
    assert [e.tolist() for e in decode_context(context, [3, 0], [2, 0])] == [[0, 31, 63], []]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise_correlation(-0.1, 1.0), "pixfrac"),
        (lambda: noise_correlation(0.5, 0.0), "scale_ratio"),
        (lambda: decode_context(np.zeros((1, 3, 4), np.int32), 4, 0), "x: positions"),
        (lambda: decode_context(np.zeros((1, 3, 4), np.int32), 0, -1), "y: positions"),
        (lambda: decode_context(np.zeros((1, 3, 4), np.int32), 0.5, 0), "x: positions"),
        (lambda: decode_context(np.zeros((3, 4), np.int32), 0, 0), "context: shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
