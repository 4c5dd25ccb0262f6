"""Direct images of exposures of grisms are loaded when they may be partners, and not before."""

from dataclasses import replace

import pytest
from tests.pipeline.grism_survey import simulated

from skymere.io import read_exposure
from skymere.pipeline import grism_direct
from skymere.pipeline.grism_direct import direct_images


def test_exposures_elsewhere_are_not_loaded(tmp_path, monkeypatch):
    survey = simulated(tmp_path)
    warnings = []
    found = direct_images([*survey.direct, survey.mosaic, tmp_path / "none_flt.fits"], warn=warnings.append)
    assert len(warnings) == 1
    assert "none_flt.fits" in warnings[0]
    far = [replace(one, ra=one.ra + 0.01) for one in found.stored]
    loaded = []
    read = grism_direct.read_exposures
    monkeypatch.setattr(grism_direct, "read_exposures", lambda path: loaded.append(path) or read(path))
    exposure = read_exposure(survey.grism[0])
    partner, mosaic = replace(found, stored=[*far, *found.stored]).of(exposure, max_arcsec=3.0)
    assert partner.exposure_id == "gsim001d"
    assert mosaic.band == "f140w"
    # Both angles are of one place.
    assert loaded == list(survey.direct)
    assert replace(found, stored=far).of(exposure, max_arcsec=3.0) == [found.mosaics[0]]
    assert pytest.approx(exposure.wcs.wcs.crval[0], abs=1e-3) == found.stored[0].ra
