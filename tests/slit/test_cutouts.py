"""The common part of unequal cutouts, and what may be a group."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoOverlapError
from skymere.slit import check_group, common_cutout


def test_unequal_cutouts_show_the_same_pixels_of_the_detector():
    frame = np.arange(40 * 500).reshape(40, 500)
    starts, shapes = [(0, 0), (1, 3), (0, 2)], [(20, 400), (22, 398), (25, 300)]
    cuts = [
        frame[y : y + h, x : x + w][cut]
        for (y, x), (h, w), cut in zip(starts, shapes, common_cutout(starts, shapes), strict=True)
    ]
    np.testing.assert_array_equal(cuts[0], frame[1:20, 3:302])
    assert all(np.array_equal(cuts[0], other) for other in cuts)


def test_cutouts_without_a_common_pixel_are_an_error():
    with pytest.raises(NoOverlapError, match="no pixel in common"):
        common_cutout([(0, 0), (20, 0)], [(20, 10), (20, 10)])
    with pytest.raises(InvalidInputError, match="starts"):
        common_cutout([], [])


@pytest.mark.parametrize(
    ("part", "change"),
    [("source", {"source_id": 8}), ("exposure", {"grating": "G395M"}), ("exposure", {"detector": "NRS2"})],
)
def test_a_slit_of_another_source_grating_or_detector_is_an_error_that_names_the_file(made, part, change):
    one = made.slitlet(0)
    other = replace(made.slitlet(1), **{part: replace(getattr(one, part), **change)})
    with pytest.raises(InvalidInputError, match=r"e1\.fits"):
        check_group([one, other])
    check_group([one, made.slitlet(1)])
    with pytest.raises(InvalidInputError, match="none is not allowed"):
        check_group([])
