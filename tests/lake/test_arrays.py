import json
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr

from skymere.errors import FormatError, InvalidInputError, NotFoundError, SchemaError, SkymereError
from skymere.lake import pyramid, quantise, round_weights


def groups(lake, survey):
    for product in ("exposure", "mask", "mosaic", "segmentation", "cutout"):
        yield lake.arrays(product, survey.key_of(product, "east"))


def test_plain_zarr_reads_every_array_bit_for_bit(full, survey):
    n = 0
    for group in groups(full, survey):
        plain = zarr.open_group(group.folder, mode="r")
        for path, array in group.items():
            theirs = plain[path]
            assert theirs.metadata.dimension_names == array.dims
            assert theirs[...].tobytes() == array[...].tobytes()
            assert theirs.attrs["units"] == array.unit
            n += 1
    assert n > 20


def test_plain_zarr_reads_arrays_without_consolidated_metadata(full, survey):
    for group in groups(full, survey):
        for path, array in group.items():
            assert zarr.open_array(group.folder / path, mode="r")[...].tobytes() == array[...].tobytes()


def test_xarray_opens_a_group_with_its_dimension_names(full):
    group = full.arrays("mosaic", "east")
    data = xr.open_zarr(group.folder, group="f140w", consolidated=False, chunks=None, mask_and_scale=False)
    for name in ("sci", "wht", "var"):
        assert data[name].dims == ("y", "x")
        assert data[name].values.tobytes() == group[f"f140w/{name}"][...].tobytes()
    cutouts = full.arrays("cutout", "east")
    stamps = xr.open_zarr(cutouts.folder, group="px64/f140w", consolidated=False, chunks=None, mask_and_scale=False)
    assert stamps["sci"].dims == ("source", "y", "x")
    assert stamps["sci"].values.tobytes() == cutouts["px64/f140w/sci"][...].tobytes()


def test_what_was_written_comes_back(full, survey):
    group = full.arrays("mosaic", "east")
    np.testing.assert_array_equal(group["f125w/sci"][...], survey.image("east", "f125w", 1))
    np.testing.assert_array_equal(full.arrays("segmentation", "east")["label"], survey.labels("east", 1))
    assert group.attributes()["skymere"]["run"] == full.live_run("mosaic", "east")
    assert group.grid("f125w/sci").shape == survey.SHAPE


@pytest.mark.parametrize(
    "key",
    [
        np.s_[3:50, 10:20],
        np.s_[...],
        np.s_[5],
        np.s_[-1, 4:9],
        np.s_[:, 7],
        np.s_[..., 90:200],
        np.s_[4, 5],
        np.s_[9:2],
    ],
)
def test_windows_are_those_of_numpy(full, survey, key):
    array = full.arrays("mosaic", "east")["f125w/sci"]
    np.testing.assert_array_equal(array[key], survey.image("east", "f125w", 1)[key])


@pytest.mark.parametrize("key", [np.s_[::2], np.s_[96], np.s_[0, 0, 0], np.s_["a"]])
def test_windows_that_make_no_sense_are_refused(full, key):
    with pytest.raises(InvalidInputError, match="index"):
        full.arrays("mosaic", "east")["f125w/sci"][key]


def test_chunks_that_hold_only_the_fill_value_are_absent_and_read_as_fill(lake, survey):
    with lake.run(stage="s", tile="east", product="mosaic", inputs=[], params={}) as run:
        empty = np.full((600, 600), np.nan, np.float32)
        empty[0, 0] = 1.0
        run.write("f140w/sci", empty, unit="electron / s")
        run.write("f140w/wht", np.zeros((600, 600), np.float32), unit="s")
        run.publish(survey.frame("mosaic", [survey.empty_row("mosaic", band="f140w")]))
    group = lake.arrays("mosaic", "east")
    assert not (group.folder / "f140w/wht/c").exists()
    np.testing.assert_array_equal(group["f140w/wht"][...], 0.0)
    np.testing.assert_array_equal(group["f140w/sci"][...], empty)
    np.testing.assert_array_equal(group.zarr["f140w/sci"][...], empty)
    assert (group.folder / "f140w/sci/c/0/0").stat().st_size < 10_000


def test_cutouts_are_rounded_to_a_power_of_two_below_a_sixteenth_of_the_noise(full, survey):
    group, mosaic = full.arrays("cutout", "east"), survey.image("east", "f140w", 1)
    stored, exponents = group["px64/f140w/sci"][...], group["px64/f140w/qexp"][...]
    origin = group["px64/f140w/origin"][...]
    for stamp, exponent, (y, x) in zip(stored, exponents, origin, strict=True):
        before = np.pad(mosaic, 64, constant_values=np.nan)[y + 64 : y + 128, x + 64 : x + 128]
        good = np.isfinite(before)
        np.testing.assert_array_equal(np.isfinite(stamp), good)
        values = before[good].astype(np.float64)
        sigma = 1.4826 * np.median(np.abs(values - np.median(values)))
        quantum = 2.0**exponent
        assert quantum <= sigma / 16 < 2 * quantum
        assert np.abs(stamp[good] - values).max() <= quantum / 2
        np.testing.assert_array_equal(stamp[good] / quantum, np.round(stamp[good] / quantum))


def test_images_without_noise_are_left_as_they_are():
    images = np.full((3, 8, 8), 0.3, np.float32)
    images[1] = np.nan
    images[2, 0, 0] = np.inf
    rounded, exponents = quantise(images)
    assert rounded.tobytes() == images.tobytes()
    assert exponents.tolist() == [-128, -128, -128]


def test_weights_keep_seven_bits():
    weights = np.random.default_rng(3).uniform(1.0, 1e4, (5, 40)).astype(np.float32)
    rounded = round_weights(weights)
    assert np.abs(rounded / weights - 1).max() <= 2.0**-8
    assert not (rounded.view(np.uint32) & 0xFFFF).any()


def test_rounding_takes_the_same_bits_for_any_number_of_threads():
    import skymere

    images = np.random.default_rng(4).normal(size=(37, 30, 30)).astype(np.float32)
    before = skymere.get_num_threads()
    try:
        outcomes = []
        for n_threads in (1, 3):
            skymere.set_num_threads(n_threads)
            outcomes.append(quantise(images)[0].tobytes())
    finally:
        skymere.set_num_threads(before)
    assert outcomes[0] == outcomes[1]


def test_pyramid_is_the_weighted_mean_of_blocks():
    image = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    weight = np.array([[1, 3, 1], [0, 0, 1]], np.float32)
    image[1, 0] = np.nan
    (half,) = pyramid(image, weight, smallest=2)
    np.testing.assert_allclose(half, [[0.75, 3.5]])
    assert np.isnan(pyramid(image, np.zeros_like(weight), smallest=2)[0]).all()
    assert [level.shape for level in pyramid(np.ones((1025, 600)), np.ones((1025, 600)))] == [(513, 300), (257, 150)]


@pytest.mark.parametrize(
    ("path", "array", "more", "message"),
    [
        ("label", np.zeros((4, 4), np.int64), {}, "dtype: expected int32, found int64"),
        ("label", np.zeros(4, np.int32), {}, "number of axes: expected 2, found 1"),
        ("label", np.zeros((4, 4), np.int32), {"dims": ("x", "y")}, "dims"),
        ("label", np.zeros((4, 4), np.int32), {"unit": "s"}, "unit: expected , found s"),
        ("label", np.zeros((4, 4), np.int32), {"lossy": "quantise"}, "lossy: expected None, found quantise"),
        ("labels", np.zeros((4, 4), np.int32), {}, "'labels' is not in schema segmentation/1.0.0"),
    ],
)
def test_arrays_that_are_not_those_of_the_schema_are_refused(lake, path, array, more, message):
    with (
        lake.run(stage="s", tile="east", product="segmentation", inputs=[], params={}) as run,
        pytest.raises(SchemaError, match=message),
    ):
        run.write(path, array, **more)
    assert not any((lake.path / "arrays/.staging").iterdir())


def test_attributes_must_be_json(lake):
    with (
        lake.run(stage="s", tile="east", product="segmentation", inputs=[], params={}) as run,
        pytest.raises(InvalidInputError, match="JSON without NaN"),
    ):
        run.write("label", np.zeros((4, 4), np.int32), attributes={"x": float("nan")})


@pytest.fixture
def damaged(full, tmp_path):
    """A copy of a group whose files may be spoilt."""
    from skymere.lake import ArrayGroup

    copy = tmp_path / "copy.zarr"
    shutil.copytree(full.arrays("mosaic", "east").folder, copy)
    return ArrayGroup(copy)


def test_a_truncated_shard_is_an_error_that_names_it(damaged):
    shard = damaged.folder / "f140w/sci/c/0/0"
    shard.write_bytes(shard.read_bytes()[:-30])
    with pytest.raises(FormatError, match="f140w/sci/c/0/0"):
        damaged["f140w/sci"][...]


def test_a_flipped_byte_in_the_index_is_an_error(damaged):
    shard = damaged.folder / "f140w/sci/c/0/0"
    content = bytearray(shard.read_bytes())
    content[-10] ^= 1
    shard.write_bytes(content)
    with pytest.raises(FormatError, match="checksum"):
        damaged["f140w/sci"][...]


def test_hostile_metadata_are_an_error(damaged):
    path = damaged.folder / "f140w/sci/zarr.json"
    tree = json.loads(path.read_text())
    tree["chunk_grid"]["configuration"]["chunk_shape"] = [2**40, 2**40]
    path.write_text(json.dumps(tree))
    with pytest.raises(SkymereError):
        damaged["f140w/sci"][...]


def test_arrays_that_do_not_exist_are_named(full):
    with pytest.raises(NotFoundError, match=r"f999w/sci.*f125w/sci"):
        full.arrays("mosaic", "east")["f999w/sci"]
    with pytest.raises(NotFoundError, match=r"'nowhere', only for.*east"):
        full.arrays("mosaic", "nowhere")
    with pytest.raises(NotFoundError, match="'source' has no arrays"):
        full.arrays("source", "east")
