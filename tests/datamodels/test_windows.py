"""Windows of images, and planes that lie in files."""

from pathlib import Path

import numpy as np
import pytest

from skymere.datamodels import ScratchPlanes, Window, windows_of
from skymere.errors import StorageError


def test_windows_cover_every_pixel_once_row_after_row() -> None:
    seen = np.zeros((50, 70), int)
    windows = list(windows_of(seen.shape, (20, 32)))
    for window in windows:
        seen[window.slices] += 1
        assert seen[window.slices].shape == window.shape
    assert (seen == 1).all()
    assert [window.origin for window in windows[:4]] == [(0, 0), (0, 32), (0, 64), (20, 0)]


def test_a_wider_window_ends_where_the_image_does_and_holds_the_first() -> None:
    image = np.arange(3500).reshape(50, 70)
    for window in windows_of(image.shape, (20, 32)):
        wide = window.widened(7, image.shape)
        np.testing.assert_array_equal(image[wide.slices][window.within(wide)], image[window.slices])
        assert wide.rows == (max(window.rows[0] - 7, 0), min(window.rows[1] + 7, 50))


def test_what_two_windows_share_is_a_window_or_nothing() -> None:
    one = Window((0, 10), (5, 20))
    assert one.shared(Window((8, 30), (0, 6))) == Window((8, 10), (5, 6))
    assert one.shared(Window((10, 30), (0, 6))) is None


def test_planes_in_files_are_zero_until_they_are_written() -> None:
    rng = np.random.default_rng(1)
    expected = np.zeros((40, 60))
    with ScratchPlanes() as scratch:
        plane = scratch.plane("p", expected.shape, np.float64)
        folder = plane.path.parent
        for _ in range(20):
            y, x = sorted(rng.integers(0, 41, 2)), sorted(rng.integers(0, 61, 2))
            if y[0] < y[1] and x[0] < x[1]:
                values = rng.normal(size=(y[1] - y[0], x[1] - x[0]))
                plane[y[0] : y[1], x[0] : x[1]] = expected[y[0] : y[1], x[0] : x[1]] = values
        np.testing.assert_array_equal(plane[:, :], expected)
        np.testing.assert_array_equal(plane[3:9, 50:], expected[3:9, 50:])
        copy = plane[3:9, 50:]
        copy[:] = 7
        np.testing.assert_array_equal(plane[3:9, 50:], expected[3:9, 50:])
    assert not folder.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_is_an_error_that_names_the_file() -> None:
    with ScratchPlanes() as scratch:
        plane = scratch.plane("p", (300, 300), np.float64)
        plane.path.unlink()
        plane.path.symlink_to("/dev/full")
        with pytest.raises(StorageError, match="cannot be written: No space left"):
            plane[0:300, 0:300] = np.ones((300, 300))
