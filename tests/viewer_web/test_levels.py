"""Images at the resolution of the screen."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import pyramid
from skymere.viewer.web.levels import TILE_PIX, LevelledImage, n_levels


def whole(image, level):
    """A level put together from its tiles."""
    ny, nx = image.shape_at(level)
    rows = [
        np.concatenate([image.tile(level, x, y) for x in range(-(-nx // TILE_PIX))], axis=1)
        for y in range(-(-ny // TILE_PIX))
    ]
    return np.concatenate(rows)


def test_there_are_as_many_levels_as_a_pyramid_has():
    for shape in [(512, 512), (513, 20), (20_000, 20_000), (1, 1), (1025, 700)]:
        blank = np.zeros(shape if max(shape) < 5000 else (40, 40), np.float32)
        if max(shape) < 5000:
            assert n_levels(shape) == len(pyramid(blank, np.ones_like(blank)))
    assert n_levels((20_000, 20_000)) == 6


def test_tiles_of_each_level_are_what_was_published(shown):
    arrays = shown.arrays("mosaic", "field")
    image = LevelledImage(arrays, "f160w")
    assert image.n_levels == 2
    for level, name in enumerate(["sci", "level1", "level2"]):
        assert np.array_equal(whole(image, level), arrays[f"f160w/{name}"][...], equal_nan=True)


class WithoutLevels(dict):
    """Arrays of a mosaic of which only level 0 was stored."""

    folder = "somewhere"


@pytest.mark.parametrize("shape", [(1200, 1400), (2101, 5000)])
def test_levels_that_were_not_published_are_means_of_what_is_known(shape):
    rng = np.random.default_rng(5)
    values = rng.normal(size=shape).astype(np.float32)
    values[rng.random(shape) < 0.1] = np.nan
    stored = StoredInMemory(values)
    image = LevelledImage(WithoutLevels({"f1/sci": stored}), "f1")
    expected = pyramid(values, np.ones(shape, np.float32))
    assert image.n_levels == len(expected)
    for level, made in enumerate(expected, 1):
        assert np.allclose(whole(image, level), made, atol=2e-6, equal_nan=True)


class StoredInMemory:
    unit = "uJy"

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __getitem__(self, key):
        return self.values[key]


def test_levels_tiles_and_bands_that_are_not_there_are_refused(shown):
    arrays = shown.arrays("mosaic", "field")
    image = LevelledImage(arrays, "f160w")
    with pytest.raises(InvalidInputError, match="level: 3 is not allowed, it must be from 0 to 2"):
        image.tile(3, 0, 0)
    with pytest.raises(InvalidInputError, match="tile: 6, 0 of level 0 is not there, the level has 1400 x 1200"):
        image.tile(0, 6, 0)
    with pytest.raises(InvalidInputError, match="tile: -1, 0"):
        image.tile(0, -1, 0)
    with pytest.raises(NotFoundError, match=r"band: 'f999w' .*'f105w', 'f125w', 'f160w'"):
        LevelledImage(arrays, "f999w")
