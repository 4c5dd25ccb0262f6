"""Detectors by name."""

import pytest

from skymere.errors import InvalidInputError
from skymere.instruments import DETECTORS, Detector, find_detector


def test_a_detector_is_found_whatever_the_case_and_padding() -> None:
    assert find_detector("hst", "WFC3  ", "ir").scale_arcsec == pytest.approx(0.12825)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: f"{d.instrument} {d.name}")
def test_every_dq_bit_is_one_bit_with_one_name(detector) -> None:
    values = list(detector.dq_bits.values())
    assert len(set(values)) == len(values)
    assert all(value > 0 and value & (value - 1) == 0 for value in values)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: f"{d.instrument} {d.name}")
def test_every_detector_is_found_by_its_words_and_has_a_scale(detector) -> None:
    assert find_detector(detector.telescope, detector.instrument, detector.name) is detector
    assert 0.02 < detector.scale_arcsec < 0.2
    assert set(detector.harmless_dq) < set(detector.dq_bits)


def test_bits_have_the_values_of_the_handbooks() -> None:
    jwst = find_detector("JWST", "MIRI", "MIRIMAGE")
    assert (jwst.dq_bits["do_not_use"], jwst.dq_bits["jump_det"], jwst.dq_bits["hot"]) == (1, 4, 2048)
    assert jwst.dq_bits["reference_pixel"] == 2147483648
    assert "jump_det" in jwst.harmless_dq
    assert "do_not_use" not in jwst.harmless_dq
    wfc = find_detector("HST", "ACS", "WFC")
    assert (wfc.dq_bits["charge_trap"], wfc.dq_bits["a_to_d_saturated"]) == (1024, 2048)


def test_a_small_table_makes_a_detector_and_its_mistakes_are_named() -> None:
    table = {"telescope": "CTIO", "instrument": "DECAM", "name": "N12"}
    detector = Detector.from_table(table | {"band_keywords": ["FILTER"], "clear_filters": ["none"]})
    assert detector.band_keywords == ("FILTER",)
    for wrong, named in (
        ({"gian": 4.0}, "gian"),
        ({"gain": 0.0}, "gain"),
        ({"read_noise": -1.0}, "read_noise"),
        ({"harmless_dq": ["hot"]}, "harmless_dq"),
        ({"planes": {"dq": "DQ"}}, "planes"),
    ):
        with pytest.raises(InvalidInputError, match=named):
            Detector.from_table(table | wrong)
    with pytest.raises(InvalidInputError, match="name"):
        Detector.from_table({"telescope": "CTIO", "instrument": "DECAM"})


def test_an_unknown_detector_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="SUBARU HSC 1 is not known, it must be one of: HST WFC3 IR"):
        find_detector("Subaru", "HSC", "1")
