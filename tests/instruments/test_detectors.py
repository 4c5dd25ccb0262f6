"""Detectors by name."""

import pytest

from skymere.errors import InvalidInputError
from skymere.instruments import DETECTORS, find_detector


def test_a_detector_is_found_whatever_the_case_and_padding() -> None:
    assert find_detector("hst", "WFC3  ", "ir").scale_arcsec == pytest.approx(0.12825)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)
def test_every_dq_bit_is_one_bit_with_one_name(detector) -> None:
    values = list(detector.dq_bits.values())
    assert len(set(values)) == len(values)
    assert all(value > 0 and value & (value - 1) == 0 for value in values)


def test_an_unknown_detector_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="SUBARU HSC 1 is not known, it must be one of: HST WFC3 IR"):
        find_detector("Subaru", "HSC", "1")
