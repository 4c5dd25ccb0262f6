"""Arrays that are written window by window, and read before they are sealed."""

import numpy as np
import pytest
import zarr

from skymere.datamodels import WINDOW_PIX, windows_of
from skymere.errors import InvalidInputError, SchemaError

SHAPE = WINDOW_PIX[0] + 300, WINDOW_PIX[1] + 70


def work(lake):
    return lake.run(stage="s", tile="east", product="mosaic", inputs=[], params={})


def image() -> np.ndarray:
    return np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


def fill(run, data: np.ndarray):
    """Write an image and a context of three planes by windows, but for the last one."""
    sci = run.open("f125w/sci", SHAPE, unit="electron / s", attributes={"made": "by windows"})
    ctx = run.open("f125w/ctx", (3, *SHAPE))
    *some, _ = windows_of(SHAPE)
    for window in some:
        sci[window.slices] = data[window.slices]
        for k in range(3):
            ctx[(k, *window.slices)] = np.full(window.shape, k + 1, np.int32)
    return sci, ctx


def test_windows_come_back_before_and_after_the_seal(lake, survey):
    data = image()
    expected = data.copy()
    expected[WINDOW_PIX[0] :, WINDOW_PIX[1] :] = np.nan
    with work(lake) as run:
        sci, ctx = fill(run, data)
        assert (sci.shape, sci.shard) == (SHAPE, WINDOW_PIX)
        np.testing.assert_array_equal(sci[...], expected)
        np.testing.assert_array_equal(sci[900:1100, 2000:2100], expected[900:1100, 2000:2100])
        np.testing.assert_array_equal(ctx[:, 5, 7], [1, 2, 3])
        run.annotate("f125w", {"wcs": survey.grid("east").cards()})
        run.publish(survey.frame("mosaic", [survey.empty_row("mosaic", band="f125w")]))
    group = lake.arrays("mosaic", "east")
    for path, shape in (("f125w/sci", sci.shape), ("f125w/ctx", ctx.shape)):
        plain = zarr.open_array(group.folder / path, mode="r")
        assert plain.attrs["units"] == ("electron / s" if path.endswith("sci") else "")
        assert group[path][...].tobytes() == plain[...].tobytes()
        assert group[path].shape == shape
    np.testing.assert_array_equal(group["f125w/sci"][...], expected)
    assert group["f125w/sci"].attributes["made"] == "by windows"
    assert not list(group.folder.rglob(".part"))


def test_what_is_sealed_already_is_read_and_not_written_again(lake, survey):
    data = image()
    run = work(lake)
    with run:
        fill(run, data)
        run._seal()
        again = run.open("f125w/sci", SHAPE, unit="electron / s")
        again[0:1024, 0:2048] = np.zeros(WINDOW_PIX, np.float32)
        np.testing.assert_array_equal(again[0:3, 0:4], data[:3, :4])


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        (np.s_[0:100, 0:2048], np.zeros((100, 2048), np.float32), r"must be whole shards of \(1024, 2048\)"),
        (np.s_[0:1024, 5:2048], np.zeros((1024, 2043), np.float32), "must be whole shards"),
        (np.s_[0:1024, 0:2048], np.zeros(WINDOW_PIX), "values: float64"),
        (np.s_[0:1024, 0:2048], np.zeros((5, 5), np.float32), r"values: float32 of shape \(5, 5\)"),
    ],
)
def test_windows_that_are_no_shards_or_have_other_pixels_are_refused(lake, key, values, message):
    with work(lake) as run:
        sci = run.open("f125w/sci", SHAPE, unit="electron / s")
        with pytest.raises(InvalidInputError, match=message):
            sci[key] = values


def test_arrays_that_the_schema_does_not_know_are_refused_and_none_is_begun_twice(lake):
    with work(lake) as run:
        with pytest.raises(SchemaError, match="unit"):
            run.open("f125w/sci", SHAPE)
        with pytest.raises(SchemaError, match="number of axes"):
            run.open("f125w/sci", (3, *SHAPE), unit="")
        run.open("f125w/sci", SHAPE, unit="")
        with pytest.raises(InvalidInputError, match="was written already"):
            run.open("f125w/sci", SHAPE, unit="")
