"""Measurement block by block gives the numbers of one pass."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

import skymere
from skymere.datamodels import Mosaic, NoiseCovariance, SegmentationMap
from skymere.errors import InvalidInputError
from skymere.segmentation import (
    SEXTRACTOR,
    DetectParams,
    MeasureImage,
    MeasureParams,
    SourceFlag,
    StoredLabels,
    detect,
    detect_blocks,
    measure,
    measure_blocks,
)
from skymere.wcs import Grid

SHAPE = (240, 300)
GRID = Grid.tangent(150.0, 2.0, shape=SHAPE, scale_arcsec=0.06)
RNG = np.random.default_rng(23)
N = 60


def scene(scale: float) -> np.ndarray:
    """Noise, blends, a galaxy wider than any block, a ring across most of the image, and a hole."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros(SHAPE)
    places = zip(rng.uniform(0, SHAPE[0], N), rng.uniform(0, SHAPE[1], N), 10 ** rng.uniform(0.8, 2.8, N), strict=True)
    for cy, cx, height in places:
        dy, dx = y - cy, x - cx
        image += height * np.exp(-0.5 * (dx**2 + 0.5 * dx * dy + 1.5 * dy**2) / 2.5**2)
    image += 40.0 * np.exp(-np.hypot(y - 70.3, 0.7 * (x - 220.8)) / 9.0)
    image += 9.0 * (np.abs(np.hypot(x - 130, y - 120) - 100) < 3)
    image = scale * image + RNG.normal(0, 1, SHAPE)
    image[190:202, 40:65] = np.nan
    return image.astype(np.float32)


def mosaic(band: str, scale: float) -> Mosaic:
    lag = np.array([[0.05, 0.2, 0.05], [0.2, 1.0, 0.2], [0.05, 0.2, 0.05]])
    weight = RNG.uniform(0.8, 1.3, SHAPE).astype(np.float32)
    classes = np.zeros(SHAPE, np.uint8)
    classes[:, 150:] = 1
    data = scene(scale)
    return Mosaic(
        band=band,
        grid=GRID,
        data=data,
        weight=weight,
        variance=(1.0 / weight + 0.01 * np.maximum(np.nan_to_num(data), 0)).astype(np.float32),
        context=np.ones((1, *SHAPE), np.int32),
        exposure_ids=("a",),
        zero_point_ab=25.0,
        noise=NoiseCovariance(kernels=np.stack([lag, lag**1.5]), class_map=classes, classes=("a", "b")),
    )


MOSAICS = {band: mosaic(band, scale) for band, scale in (("r", 1.0), ("z", 0.4))}
DATA = scene(1.0)
ERROR = RNG.uniform(0.8, 1.3, SHAPE).astype(np.float32)
MASK = RNG.uniform(size=SHAPE) < 0.01
PLAIN = {"data": DATA, "error": ERROR, "mask": MASK}
STACK = {"data": scene(1.3), "error": ERROR, "mask": RNG.uniform(size=SHAPE) < 0.003}


def window_of(image: Mosaic | dict[str, np.ndarray], rows: slice, columns: slice) -> Mosaic | MeasureImage:
    if isinstance(image, dict):
        return MeasureImage(**{name: plane[rows, columns] for name, plane in image.items()}, noise_correlation=1.3)
    assert image.noise is not None
    noise = NoiseCovariance(
        kernels=image.noise.kernels, class_map=image.noise.class_map[rows, columns], classes=image.noise.classes
    )
    data = image.data[rows, columns]
    return Mosaic(
        band=image.band,
        grid=image.grid.cutout(rows.start, columns.start, data.shape),
        data=data,
        weight=image.weight[rows, columns],
        variance=image.variance[rows, columns],
        context=image.context[:, rows, columns],
        exposure_ids=image.exposure_ids,
        zero_point_ab=image.zero_point_ab,
        noise=noise,
    )


def read_bands(rows: slice, columns: slice) -> Mapping[str, Any]:
    """Two bands, one of which is the detection image."""
    return {"images": {band: window_of(m, rows, columns) for band, m in MOSAICS.items()}, "detection": "z"}


def read_stack(rows: slice, columns: slice) -> Mapping[str, Any]:
    """Bands with and without covariance, a level of saturation, and a detection image of its own."""
    images = {"r": window_of(MOSAICS["r"], rows, columns), "plain": window_of(PLAIN, rows, columns)}
    return {"images": images, "detection": window_of(STACK, rows, columns), "saturated": {"r": 150.0}}


def differing(found: pl.DataFrame, expected: pl.DataFrame) -> list[str]:
    """Columns that are not the same, bit by bit."""
    assert found.columns == expected.columns
    assert found.schema == expected.schema
    same = {
        name: np.array_equal(found[name].to_numpy(), expected[name].to_numpy(), equal_nan=True)
        for name in found.columns
        if found[name].dtype.is_float()
    }
    same |= {name: found[name].equals(expected[name]) for name in found.columns if name not in same}
    return [name for name, is_same in same.items() if not is_same]


WHOLE = slice(0, SHAPE[0]), slice(0, SHAPE[1])
FOUND = {
    "default": detect(DATA, error=ERROR, mask=MASK, grid=GRID),
    "not deblended": detect(DATA, error=ERROR, mask=MASK, grid=GRID, params=DetectParams(deblend=None)),
    "SExtractor": detect(DATA, error=ERROR, mask=MASK, grid=GRID, params=SEXTRACTOR),
}


def test_the_scene_has_what_makes_blocks_difficult() -> None:
    table = measure(FOUND["default"], **read_stack(*WHOLE)).table
    assert table.height > 40
    flags = table["flags"].to_numpy()
    for flag in SourceFlag:
        assert ((flags | table["flags_r"].to_numpy()) & flag).any(), flag
    largest = FOUND["not deblended"].labels == 1 + np.bincount(FOUND["not deblended"].labels.ravel())[1:].argmax()
    assert min(np.ptp(axis) for axis in np.nonzero(largest)) > 3 * 50


@pytest.mark.parametrize(
    ("name", "read", "side", "margin"),
    [
        ("default", read_bands, 50, 20),
        ("default", read_stack, 128, 0),
        ("not deblended", read_bands, 150, 96),
        ("SExtractor", read_stack, 50, 30),
        ("SExtractor", read_bands, 1000, 5),
    ],
)
def test_every_column_is_that_of_one_pass(name: str, read: Any, side: int, margin: int) -> None:
    given = read(*WHOLE)
    expected = measure(FOUND[name], **given)
    found = measure_blocks(FOUND[name], read, blocks=side, margin=margin)
    assert found.bands == expected.bands
    assert differing(found.table, expected.table) == []


@pytest.mark.parametrize(
    "params",
    [
        MeasureParams(extended=False),
        MeasureParams(neighbours="blank", kernel=None),
        MeasureParams(neighbours="keep", aperture_diameters_pix=(3.0, 60.0), extended=False, kron_factor=4.0),
    ],
)
def test_the_same_with_other_parameters(params: MeasureParams) -> None:
    expected = measure(FOUND["default"], **read_stack(*WHOLE), params=params)
    found = measure_blocks(FOUND["default"], read_stack, blocks=90, margin=30, params=params)
    assert differing(found.table, expected.table) == []


def test_held_shapes_are_the_same_too() -> None:
    shapes = measure(FOUND["default"], {"z": MOSAICS["z"]}).table
    shapes = shapes.with_columns(pl.col("x") + 0.1234567890123, pl.col("y") - 1 / 3)
    expected = measure(FOUND["default"], **read_bands(*WHOLE), shapes=shapes)
    found = measure_blocks(FOUND["default"], read_bands, blocks=70, margin=30, shapes=shapes)
    assert differing(found.table, expected.table) == []


def test_blocks_in_any_order_of_stored_or_run_length_labels_and_any_number_of_threads_give_the_same() -> None:
    expected = measure(FOUND["default"], **read_stack(*WHOLE)).table
    blocks = [(slice(y, y + 66), slice(x, x + 82)) for y in range(0, 240, 66) for x in range(0, 300, 82)]
    runs = detect_blocks(lambda y, x: {name: plane[y, x] for name, plane in PLAIN.items()}, SHAPE, blocks=64, grid=GRID)
    stored = StoredLabels(array=FOUND["default"].labels.astype(">i4"), grid=GRID)
    for segmentation, seed, threads in ((runs, 1, 1), (stored, 2, 3)):
        order = np.random.default_rng(seed).permutation(len(blocks))
        skymere.set_num_threads(threads)
        found = measure_blocks(segmentation, read_stack, blocks=[blocks[i] for i in order], margin=16)
        skymere.set_num_threads(0)
        assert differing(found.table, expected) == []


@pytest.mark.parametrize("side", [31, 64])
def test_labels_and_catalogue_of_blocks_smaller_than_the_largest_segment_are_those_of_one_pass(side: int) -> None:
    together = FOUND["not deblended"].labels == 1 + np.bincount(FOUND["not deblended"].labels.ravel())[1:].argmax()
    blocks = [(slice(y, y + side), slice(x, x + side)) for y in range(0, 240, side) for x in range(0, 300, side)]
    assert sum(together[block].any() for block in blocks) >= 9
    # It is deblended, and some of its parts lie in several blocks, too.
    parts = np.unique(FOUND["default"].labels[together])
    assert len(parts) > 5
    assert max(sum((FOUND["default"].labels[block] == part).any() for block in blocks) for part in parts[1:]) >= 3
    expected = measure(FOUND["default"], **read_bands(*WHOLE)).table
    rng = np.random.default_rng(side)

    def read(rows: slice, columns: slice) -> dict[str, np.ndarray]:
        return {name: plane[rows, columns] for name, plane in PLAIN.items()}

    found = detect_blocks(read, SHAPE, blocks=[blocks[i] for i in rng.permutation(len(blocks))], grid=GRID)
    assert np.array_equal(found.whole().labels, FOUND["default"].labels)
    table = measure_blocks(found, read_bands, blocks=[blocks[i] for i in rng.permutation(len(blocks))], margin=24).table
    assert differing(table, expected) == []


def test_windows_are_as_large_as_blocks_and_the_largest_source_but_not_larger() -> None:
    sides = []

    def read(rows: slice, columns: slice) -> Mapping[str, Any]:
        sides.append((rows.stop - rows.start, columns.stop - columns.start))
        return read_stack(rows, columns)

    few = FOUND["default"].labels.copy()
    table = measure(FOUND["default"], read_stack(*WHOLE)["images"]).table
    small = table.filter((pl.col("a") < 3) & (pl.col("r_half") < 6))["label"].to_numpy()
    few[~np.isin(few, small)] = 0
    segmentation = SegmentationMap(labels=few, grid=GRID)
    found = measure_blocks(segmentation, read, blocks=60, margin=20)
    assert found.table.height > 20
    assert max(max(side) for side in sides) < 200


def test_no_source_gives_the_columns_of_one_pass() -> None:
    nothing = SegmentationMap(labels=np.zeros(SHAPE, np.int32), grid=GRID)
    found = measure_blocks(nothing, read_bands, blocks=100).table
    assert found.height == 0
    assert found.schema == measure(nothing, **read_bands(*WHOLE)).table.schema


def test_what_is_not_allowed_is_named() -> None:
    with pytest.raises(InvalidInputError, match="margin: -1"):
        measure_blocks(FOUND["default"], read_bands, margin=-1)
    with pytest.raises(InvalidInputError, match="it must return images"):
        measure_blocks(FOUND["default"], lambda _rows, _columns: {"image": DATA})
    with pytest.raises(InvalidInputError, match="shape"):
        measure_blocks(FOUND["default"], lambda _rows, _columns: {"images": {"r": MeasureImage(data=DATA)}}, blocks=90)
    with pytest.raises(InvalidInputError, match="windows have the same bands"):
        measure_blocks(
            FOUND["default"],
            lambda rows, columns: {"images": {f"r{rows.start}": window_of(PLAIN, rows, columns)}},
            blocks=90,
        )
