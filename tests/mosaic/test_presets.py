"""Where parameters come from."""

import pytest

from skymere.errors import InvalidInputError
from skymere.mosaic import PRESETS, preset_values, resolve


def sources(resolved) -> dict[str, tuple[object, str]]:
    return {key: (value, source) for key, value, source in resolved.rows}


def test_a_preset_never_replaces_what_was_given() -> None:
    given = {"mosaic": {"drizzle": {"pixfrac": 0.95}, "flag": {"cosmic_rays": {"combine": "imedian"}}}}
    for name in PRESETS:
        for n in (1, 3, 5, 8, 40):
            resolved = resolve(given, preset=name, n_exposures=n)
            assert resolved.plan.mosaic.drizzle.pixfrac == 0.95
            assert resolved.plan.mosaic.flag.cosmic_rays.combine == "imedian"
            rows = sources(resolved)
            assert rows["mosaic.drizzle.pixfrac"] == (0.95, "given")
            assert rows["mosaic.flag.cosmic_rays.combine"] == ("imedian", "given")


def test_presets_follow_instrument_and_number_of_exposures() -> None:
    rows = sources(resolve({}, preset="wfc3-uvis", n_exposures=6))
    assert rows["grid.scale_arcsec"] == (0.03, "preset wfc3-uvis")
    assert rows["mosaic.flag.cosmic_rays.scale"] == ((1.5, 0.7), "preset wfc3-uvis")
    assert rows["mosaic.flag.cosmic_rays.snr"] == ((3.5, 3.0), "default")
    assert resolve({}, preset="wfc3-uvis", n_exposures=1).plan.mosaic.flag.cosmic_rays is None
    assert resolve({}, preset="wfc3-ir", n_exposures=12).plan.mosaic.flag.cosmic_rays.combine == "median"
    pixfracs = [preset_values("acs-wfc", n)["mosaic.drizzle.pixfrac"] for n in (2, 4, 6)]
    assert pixfracs == [1.0, 0.8, 0.6]
    assert "grid.scale_arcsec" not in preset_values("generic", 4)


def test_a_table_that_is_left_out_is_not_filled_by_a_preset() -> None:
    resolved = resolve({"mosaic": {"flag": {"cosmic_rays": False}}}, preset="wfc3-ir", n_exposures=4)
    assert resolved.plan.mosaic.flag.cosmic_rays is None
    assert sources(resolved)["mosaic.flag.cosmic_rays"] == (None, "given")
    with_grid = resolve({"grid": {"reference_image": "a.fits"}}, preset="wfc3-ir", n_exposures=4)
    assert with_grid.plan.grid.scale_arcsec is None


def test_unknown_presets_keys_and_values_are_named() -> None:
    with pytest.raises(InvalidInputError, match="preset: 'hst' is not known, it must be one of acs-hrc"):
        resolve({}, preset="hst")
    with pytest.raises(InvalidInputError, match=r"unknown key mosaic\.pixfrac"):
        resolve({"mosaic": {"pixfrac": 1.0}})
    with pytest.raises(InvalidInputError, match=r"mosaic\.drizzle\.pixfrac: 'big' is not allowed"):
        resolve({"mosaic": {"drizzle": {"pixfrac": "big"}}})
    with pytest.raises(InvalidInputError, match=r"use 'globalmin\+match'"):
        resolve({"mosaic": {"flag": {"sky": {"method": "match"}}}})
