"""The headerlets of the data folder."""

import warnings

import pytest
from astropy.io import fits
from astropy.wcs import WCS


@pytest.fixture(scope="session")
def headerlets(shared_data):
    """Every chip of every headerlet with its tables: ``(label, WCS)``."""
    found = []
    with warnings.catch_warnings():
        # What astropy mends in them on the way is no concern of these tests.
        warnings.simplefilter("ignore")
        for path in sorted((shared_data / "imaging" / "wcs").glob("*hlet*.fits")):
            with fits.open(path) as hdus:
                chips = [hdu for hdu in hdus if hdu.name == "SIPWCS"]
                found += [(f"{path.name}[{hdu.ver}]", WCS(hdu.header, hdus)) for hdu in chips]
    return found
