"""The four real F140W exposures, whose errors of pointing the README of the data gives.

``pytest -s tests/parity/test_wfc3ir_ers_alignment.py`` prints what is found.
"""

import warnings
from itertools import combinations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from skymere.align import AlignParams, FindParams, align
from skymere.datamodels import Exposure

# rtq minus the others, dRA* and dDec [arcsec].
README = {"rwq": (-0.014, -0.002), "rzq": (-0.045, 0.045), "s2q": (-0.056, 0.072)}


@pytest.fixture(scope="module")
def exposures(shared_data):
    return {name: real_exposure(shared_data, name) for name in ("rtq", *README)}


def real_exposure(folder, name):
    """The real pixels: truncated to integers, with 0 for what is below 1 e-/s."""
    with fits.open(folder / f"imaging/wfc3ir_ers/ib6o23{name}_f140w_real.fits") as hdus:
        counts = hdus["SCI_U8"].data.astype(np.float32)
        dq = hdus["DQ_U8"].data.astype(np.uint32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(hdus["SCI_U8"].header)
    return Exposure(
        exposure_id=name,
        data=np.where(counts > 0, counts + 0.5, 0.65).astype(np.float32),
        error=np.sqrt(counts / 203 + 0.13**2).astype(np.float32),
        dq=dq,
        dq_bits={"bad": 0xFF},
        wcs=wcs,
        exptime=203.0,
        band="f140w",
    )


def offset(first, second):
    """Where the second must move to be in the frame of the first [arcsec], and the number of pairs."""
    params = AlignParams(find=FindParams(threshold=10), fitgeom="shift")
    found = align([first, second], params=params)[1]
    assert found.is_aligned, found.reason
    return np.array(found.shift_arcsec), found.fit.n_used


def test_the_errors_of_pointing_are_those_of_the_readme_and_loops_close(exposures):
    pairs = {(a, b): offset(exposures[a], exposures[b]) for a, b in combinations(exposures, 2)}
    for (a, b), (shift, n) in pairs.items():
        print(f"{a} minus {b}: {shift[0]:+.4f} {shift[1]:+.4f} arcsec, {n} pairs")
        assert n >= 20
    for name, known in README.items():
        assert np.abs(pairs["rtq", name][0] - known).max() < 0.006
    for a, b, c in combinations(exposures, 3):
        loop = pairs[a, b][0] + pairs[b, c][0] - pairs[a, c][0]
        print(f"{a} {b} {c}: {loop[0]:+.4f} {loop[1]:+.4f} arcsec")
        assert np.abs(loop).max() < 0.005


def test_one_solution_for_all_agrees(exposures):
    params = AlignParams(method="global", find=FindParams(threshold=10), fitgeom="shift")
    found = align(list(exposures.values()), params=params)
    for a in found[1:]:
        print(a.exposure_id, np.round(a.shift_arcsec, 4), np.round(a.fit.shift_err, 4), np.round(a.fit.rms, 4))
        assert np.abs(np.subtract(a.shift_arcsec, README[a.exposure_id])).max() < 0.006
        assert max(a.fit.rms) < 0.01
