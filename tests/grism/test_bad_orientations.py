"""What leaving out orientations does to redshifts of objects that GalSim drew (`pytest -s` prints the figures)."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from tests.grism import galsim_objects
from tests.grism.galsim_objects import NOISE, make_object

from skymere.errors import NoDataError
from skymere.grism import GRIZLI_BAD_PA, FitParams, drop_angles, drop_bad_angles, fit_redshift
from skymere.spectra import TemplateSet

N_ANGLES, STEP = 3, 40.0
OUTLIER = 0.005


@pytest.fixture(scope="module")
def templates(folder):
    path = folder / "grizli" / "templates"
    return TemplateSet.load(path), TemplateSet.load(path, line_complexes=False)


def _turned(beam, angle):
    a, scale = np.deg2rad(angle), 3.6e-5
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 20.0, "CRPIX2": 20.0, "CRVAL1": 150.0, "CRVAL2": 2.0}
    cards |= {"CD1_1": -scale * np.cos(a), "CD1_2": scale * np.sin(a)}
    cards |= {"CD2_1": scale * np.sin(a), "CD2_2": scale * np.cos(a)}
    text = fits.Header(list(cards.items())).tostring(sep="\n", padding=False, endcard=False)
    return replace(beam, headers={"direct": text})


def _beside_another(beam, rng, sigmas):
    """A beam with the end of a spectrum and a line of a source that no model knows."""
    ny, nx = beam.sci.shape
    rows, x = np.arange(ny)[:, None] - ny / 2 - rng.uniform(-3, 3), np.arange(nx)
    spectrum = (x > rng.uniform(0.2, 0.8) * nx) + 3 * np.exp(-0.5 * ((x - rng.uniform(0.1, 0.9) * nx) / 2) ** 2)
    return replace(beam, sci=(beam.sci + sigmas * NOISE * spectrum * np.exp(-0.5 * (rows / 2) ** 2)).astype(np.float32))


@pytest.mark.parametrize("n", [12, pytest.param(60, marks=[pytest.mark.validate, pytest.mark.timeout(3600)])])
def test_the_default_leaves_out_bad_orientations_alone_and_saves_redshifts(templates, monkeypatch, n):
    t0, t1 = templates
    # Two grisms at three angles.
    monkeypatch.setattr(galsim_objects, "EXPOSURES", 2 * N_ANGLES)
    rng = np.random.default_rng(71)
    dropped, off = {"clean": 0, "bad": 0, "good beside bad": 0}, {"all": 0, "kept": 0, "clean": 0}
    params = FitParams(has_covariance=False)
    for _ in range(n):
        one = make_object(rng, t1, snr=(8.0, 60.0), radii=(1.0, 2.0))
        clean = [_turned(beam, STEP * (i // 2)) for i, beam in enumerate(one.beams)]
        bad = int(rng.integers(N_ANGLES))
        dirty = [_beside_another(beam, rng, 10.0) if i // 2 == bad else beam for i, beam in enumerate(clean)]
        for name, beams in (("clean", clean), ("dirty", dirty)):
            multibeam = replace(one, beams=beams).multibeam()
            kept, table = drop_bad_angles(multibeam, threshold=GRIZLI_BAD_PA)
            left = [beam.beam.parent for beam in kept.beams]
            for i in range(2 * N_ANGLES):
                kind = "clean" if name == "clean" else "bad" if i // 2 == bad else "good beside bad"
                dropped[kind] += f"made_{i}" not in left
            rows = table.filter(~table["is_kept"]).select("grism", "angle").rows()
            assert [one.beam.parent for one in drop_angles(multibeam, rows).beams] == left
            trials = (("clean", kept),) if name == "clean" else (("all", multibeam), ("kept", kept))
            for which, some in trials:
                z = fit_redshift(some, templates=t0, z_range=(0.65, 2.9), params=params).z_map
                off[which] += abs(z - one.z) > OUTLIER * (1 + one.z)
    print(
        f"{n} objects, 6 beams at 3 angles: dropped {dropped['clean']} of {6 * n} clean beams, {dropped['bad']} of {2 * n} "
        f"beside 10 sigma and {dropped['good beside bad']} of {4 * n} others; wrong redshifts {off}"
    )
    assert dropped["clean"] == 0
    assert dropped["good beside bad"] <= 0.02 * 4 * n
    assert dropped["bad"] >= 0.9 * 2 * n
    assert off["kept"] <= off["clean"] + 0.05 * n
    # Without that many are wrong.
    assert off["all"] >= off["kept"] + 0.15 * n


def test_nothing_is_left_when_all_orientations_are_named(ers):
    angles = [(grism, angle) for grism, some in ers.PA.items() for angle in some]
    assert drop_angles(ers, []) is ers
    assert drop_angles(ers, [("G800L", 1.0)]) is ers
    assert drop_angles(ers, angles[:1]).N == ers.N - 1
    with pytest.raises(NoDataError, match="all orientations"):
        drop_angles(ers, angles)
