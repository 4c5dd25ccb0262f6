"""Pair offsets of fields of galaxies without stars: against the Cramer-Rao limit, tweakwcs and DrizzlePac's finder.

``pytest -s -m validate tests/parity/test_galaxy_alignment.py`` prints the figures. DrizzlePac's finder needs
``pip install --no-deps drizzlepac stsci.imagestats``; that part is skipped without.
"""

import importlib.util
import sys
import types
import warnings
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from skymere.align import AlignParams, align
from skymere.datamodels import Exposure
from skymere.instruments import find_detector
from skymere.testing import CameraParams, SceneParams, dithers, draw_scene, render_exposure, shift_limit

CAMERA = CameraParams(n_dead_pixels=0, n_bad_pixels=4000)
BAND = "f125w"
SEEDS = tuple(range(21, 27))

pytestmark = [pytest.mark.validate, pytest.mark.timeout(1800)]


def render_field(seed):
    """Six exposures of 450 galaxies whose headers are true, and the limit of the offset of two [pix]."""
    scene = draw_scene(53.1, -27.8, params=SceneParams(n_galaxies=450, n_stars=0, radius_arcsec=72.0), seed=seed)
    # Fainter ones only add to the time of the rendering.
    scene = scene.filter(pl.col(f"mag_{BAND}") < 26.3)
    exposures = []
    for pointing in dithers(53.1, -27.8, bands=[BAND], n_dithers=6, step_arcsec=4.0, seed=seed):
        rendered = render_exposure(scene, pointing, params=CAMERA, seed=seed)
        if not exposures:
            limit = shift_limit(scene, pointing, params=CAMERA, good=rendered["dq"] == 0)
        exposures.append(
            Exposure(
                exposure_id=pointing.name,
                data=rendered["sci"],
                error=rendered["err"],
                dq=rendered["dq"].astype(np.uint32),
                dq_bits=find_detector("HST", "WFC3", "IR").dq_bits,
                wcs=rendered["wcs"],
                exptime=CAMERA.exptime,
                band=BAND,
            )
        )
    return exposures, np.array(limit) * np.sqrt(2)


@pytest.fixture(scope="module")
def fields():
    return [render_field(seed) for seed in SEEDS]


def moved_by(wcs, header, shape):
    """Where a corrected WCS puts the middle of the field, in pixels of the true one."""
    middle = np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]])
    return (header.all_world2pix(wcs.all_pix2world(middle, 0), 0) - middle)[0]


def offsets(shifts):
    """Offsets of all pairs of exposures; truth is 0."""
    return np.array([shifts[i] - shifts[j] for i, j in combinations(range(len(shifts)), 2)])


def rms(values):
    return np.sqrt(np.mean(np.square(np.concatenate(values)), axis=0))


def by_skymere(fields, method):
    found, pulls = [], []
    for exposures, _ in fields:
        aligned = align(exposures, params=AlignParams(fitgeom="shift", method=method))
        good = [(a, e) for a, e in zip(aligned, exposures, strict=True) if a.is_aligned]
        assert len(good) >= 4
        found.append(offsets([moved_by(a.wcs, e.wcs, e.shape) for a, e in good]))
        pulls += [np.divide(a.shift_arcsec, a.fit.shift_err) for a in aligned if a.fit]
    return rms(found), np.std(pulls)


def drizzlepac_finder():
    """DrizzlePac's `findobj` without the rest of the package, or None."""
    if "drizzlepac.findobj" in sys.modules:
        return sys.modules["drizzlepac.findobj"]
    spec = importlib.util.find_spec("drizzlepac")
    if spec is None or importlib.util.find_spec("stsci.imagestats") is None:
        return None
    package = types.ModuleType("drizzlepac")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules.setdefault("drizzlepac", package)
    return importlib.import_module("drizzlepac.findobj")


def sep_catalogue(exposure):
    """Sources with windowed centroids, as SExtractor measures them."""
    import sep
    from astropy.table import Table

    data = np.ascontiguousarray(exposure.data, np.float32)
    mask = exposure.mask()
    sky = sep.Background(data, mask=mask)
    found = sep.extract(data - sky.back(), 3.0, err=sky.globalrms, mask=mask, minarea=5)
    x, y, _ = sep.winpos(data - sky.back(), found["x"], found["y"], np.full(len(found), 1.2), mask=mask)
    return Table({"x": x, "y": y})


def drizzlepac_catalogue(exposure):
    """Sources of TweakReg's own finder with its defaults for WFC3/IR (conv_width 2.5, threshold 4 sigma)."""
    from astropy.table import Table

    mask = exposure.mask()
    data = np.where(mask, 0.0, exposure.data).astype(np.float32)
    sigma = 1.4826 * np.median(np.abs(exposure.data[~mask] - np.median(exposure.data[~mask])))
    level = float(np.median(exposure.data[~mask]))
    places, _ = drizzlepac_finder().findstars(data, 2.5, 4.0 * sigma, level, mask=~mask)
    x, y = np.array([place[:2] for place in places]).T
    return Table({"x": x, "y": y})


def by_tweakwcs(fields, catalogue):
    """The same by tweakwcs's matching and fit, from a catalogue of each exposure."""
    from tweakwcs import FITSWCSCorrector, XYXYMatch, align_wcs

    found = []
    for exposures, _ in fields:
        correctors = []
        for e in exposures:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wcs = e.wcs.deepcopy()
                wcs.pixel_shape = e.shape[::-1]
                corrector = FITSWCSCorrector(wcs)
                corrector.meta.update(catalog=catalogue(e), name=e.exposure_id)
            correctors.append(corrector)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            match = XYXYMatch(searchrad=1.0, separation=0.5, tolerance=0.2, use2dhist=True)
            align_wcs(correctors, match=match, fitgeom="shift", nclip=3, sigma=(3.0, "rmse"))
        good = [
            moved_by(c.wcs, e.wcs, e.shape)
            for c, e in zip(correctors, exposures, strict=True)
            if c.meta["fit_info"]["status"] in ("SUCCESS", "REFERENCE")
        ]
        found.append(offsets(good) if len(good) > 1 else np.full((1, 2), np.nan))
    return rms(found)


@pytest.fixture(scope="module")
def limit(fields):
    return np.sqrt(np.mean([limit**2 for _, limit in fields], axis=0))


@pytest.fixture(scope="module")
def ours(fields):
    return {method: by_skymere(fields, method) for method in ("reference", "global", "pixels")}


@pytest.mark.parametrize(("method", "most"), [("reference", 3.0), ("global", 3.0), ("pixels", 1.5)])
def test_pair_offsets_are_near_the_cramer_rao_limit(ours, limit, method, most):
    found, pull = ours[method]
    print(f"{method}: {found.round(4)} pix, limit {limit.round(4)}, ratio {(found / limit).round(2)}, pull {pull:.2f}")
    assert (found <= 0.010).all()
    assert (found <= most * limit).all()


@pytest.mark.parametrize("finder", ["sep", "DrizzlePac"])
def test_pair_offsets_are_smaller_than_those_of_tweakwcs(ours, fields, finder):
    if finder == "DrizzlePac" and drizzlepac_finder() is None:
        pytest.skip("needs pip install --no-deps drizzlepac stsci.imagestats")
    peer = by_tweakwcs(fields, sep_catalogue if finder == "sep" else drizzlepac_catalogue)
    print(f"tweakwcs on the sources of {finder}: {peer.round(4)} pix")
    for method in ("reference", "global", "pixels"):
        assert np.hypot(*ours[method][0]) < np.hypot(*peer)
