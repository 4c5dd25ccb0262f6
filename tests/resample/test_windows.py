"""A mosaic that is drizzled window by window is the mosaic, bit by bit."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from places import make_field

from skymere.datamodels import Mosaic, windows_of
from skymere.errors import InvalidInputError
from skymere.resample import DrizzleParams, Drizzler, HeldExposures, WindowedDrizzle, drizzle

PLANES = ("data", "weight", "variance", "context")


def assembled(windowed: WindowedDrizzle, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The planes of a mosaic from its windows."""
    shape = windowed.grid.shape
    whole: dict[str, np.ndarray] = {}
    for window in windows_of(shape, size):
        part = windowed.window(window)
        assert part.grid.shape == window.shape
        for name in PLANES:
            plane = getattr(part, name)
            out = whole.setdefault(name, np.full((*plane.shape[:-2], *shape), 77, plane.dtype))
            out[(..., *window.slices)] = plane
    return whole


def assert_same(found: dict[str, np.ndarray], mosaic: Mosaic) -> None:
    for name in PLANES:
        expected = getattr(mosaic, name)
        assert found[name].dtype == expected.dtype
        assert np.array_equal(found[name].view(np.uint32), expected.view(np.uint32)), name


@pytest.mark.parametrize(
    "params",
    [
        DrizzleParams(kernel="square", pixfrac=0.8),
        DrizzleParams(kernel="turbo", pixfrac=0.6),
        DrizzleParams(kernel="point"),
        DrizzleParams(kernel="gaussian"),
        DrizzleParams(kernel="lanczos3"),
    ],
    ids=lambda params: params.kernel,
)
@pytest.mark.parametrize("size", [(64, 96), (37, 500), (500, 41)])
def test_windows_of_any_size_have_the_bits_of_the_whole_mosaic(params: DrizzleParams, size: tuple[int, int]) -> None:
    field = make_field(n=4)
    windowed = WindowedDrizzle(HeldExposures(field.exposures), field.grid, params=params)
    assert [one.exposure_id for one in windowed.look()] == [one.exposure_id for one in field.exposures]
    assert_same(assembled(windowed, size), drizzle(field.exposures, field.grid, params=params))


def test_exposures_that_touch_no_window_keep_their_bits_of_context() -> None:
    field = make_field(n=2)
    far = [replace(one, exposure_id=f"far{k}", wcs=moved(one.wcs, 1.0)) for k, one in enumerate(field.exposures)]
    exposures = [far[0], field.exposures[0], *(replace(far[1], exposure_id=f"more{k}") for k in range(40))]
    exposures.append(field.exposures[1])
    windowed = WindowedDrizzle(HeldExposures(exposures), field.grid)
    list(windowed.look())
    assert sum(part is not None for part in windowed.reach.parts(next(windows_of(field.grid.shape)))) == 2
    whole = drizzle(exposures, field.grid)
    assert whole.context.shape[0] == 2
    assert_same(assembled(windowed, (100, 100)), whole)


def moved(wcs, degrees: float):
    there = wcs.deepcopy()
    there.wcs.crval = np.add(there.wcs.crval, (0.0, degrees))
    there.wcs.set()
    return there


def test_a_window_reads_few_rows_of_an_exposure_that_is_not_turned() -> None:
    field = make_field(n=1)
    (exposure,) = field.exposures
    grid = type(field.grid).covering([(exposure.wcs, exposure.shape)], scale_arcsec=0.04, rotation_deg=25.0)
    windowed = WindowedDrizzle(HeldExposures([exposure]), grid)
    list(windowed.look())
    rows = [
        part.exposure.shape[0]
        for window in windows_of(grid.shape, (40, grid.shape[1]))
        for part in windowed.reach.parts(window)
        if part is not None
    ]
    assert len(rows) > 6
    assert max(rows) <= 97 < exposure.shape[0]


def test_a_window_without_pixels_and_exposures_of_two_bands_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"window: .* it must hold pixels of an output of \(20, 30\)"):
        Drizzler((20, 30), window=(slice(5, 5), slice(None)))
    field = make_field(n=2)
    mixed = [field.exposures[0], replace(field.exposures[1], band="other")]
    with pytest.raises(InvalidInputError, match="band 'other'"):
        list(WindowedDrizzle(HeldExposures(mixed), field.grid).look())
    with pytest.raises(InvalidInputError, match="at least one exposure"):
        list(WindowedDrizzle(HeldExposures([]), field.grid).look())
