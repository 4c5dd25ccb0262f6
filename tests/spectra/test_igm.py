"""Absorption between galaxies against sums and integrals of numpy and scipy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from tests.spectra.prism import PARAMS, POWER, SCALE, VELOCITY, WAVE, pixel_edges

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import add_pack
from skymere.spectra import IgmTransmission, SplineContinuum, TabulatedTemplate, fit_redshift

# Table 2 of Inoue et al. 2014, its first lines.
FOREST = """    2  1215.670 1.68976E-02 2.35379E-03 1.02611E-04
    3  1025.720 4.69229E-03 6.53625E-04 2.84940E-05
    4   972.537 2.23898E-03 3.11884E-04 1.35962E-05
"""
DAMPED = """    2  1215.670 1.61698E-04 5.38995E-05
    3  1025.720 1.54539E-04 5.15129E-05
    4   972.537 1.49767E-04 4.99222E-05
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "LAFcoeff.txt").write_text(FOREST)
    (tmp_path / "DLAcoeff.txt").write_text(DAMPED)
    return tmp_path


def _series(wave, z):
    """Optical depth of the lines at observed wavelengths [Angstrom]: eqs. 21 and 22 as they stand."""
    depth = np.zeros(wave.shape)
    for row, damped in zip(FOREST.splitlines(), DAMPED.splitlines(), strict=True):
        rest, *a = map(float, row.split()[1:])
        b = [float(value) for value in damped.split()[2:]]
        for k, w in enumerate(wave):
            if not w < rest * (1 + z):
                continue
            if w < 2.2 * rest:
                depth[k] += a[0] * (w / rest) ** 1.2
            elif w < 5.7 * rest:
                depth[k] += a[1] * (w / rest) ** 3.7
            else:
                depth[k] += a[2] * (w / rest) ** 5.5
            depth[k] += b[0] * (w / rest) ** 2.0 if w < 3.0 * rest else b[1] * (w / rest) ** 3.0
    return depth


def _continuum(wave, z):
    """Optical depth of the Lyman continuum, integrated along the way.

    The closed forms of eqs. 25 to 29 are integrals over 1 + z' of absorbers whose number goes as a power of it and whose
    depth goes as (w / (911.8 A (1 + z')))^2.1 for the forest; damped systems are opaque but for a small correction.
    """
    x = wave / 911.8

    def forest(s):
        if s < 2.2:
            return 0.29232 * s**0.2 * (x / s) ** 2.1
        if s < 5.7:
            return 0.04072 * s**2.7 * (x / s) ** 2.1
        return 1.77514e-3 * s**4.5 * (x / s) ** 2.1

    def damped(s):
        amount = 0.4226 * s if s < 3.0 else 0.14088 * s**2
        return amount * (1 - 0.4167 * (x / s) ** -0.3)

    if x >= 1 + z:
        return 0.0
    bounds = [v for v in (2.2, 3.0, 5.7) if x < v < 1 + z]
    return sum(quad(f, x, 1 + z, points=bounds or None, limit=200)[0] for f in (forest, damped))


@pytest.mark.parametrize("z", [0.8, 1.9, 3.3, 4.6, 6.5])
def test_the_transmission_is_that_of_the_paper(folder, z):
    igm = IgmTransmission.load(folder)
    wave = np.linspace(500.0, 1300.0, 801) * (1 + z)
    found = igm.transmission(wave * 1e-4, z)
    depth = _series(wave, z)
    above = wave >= 911.8 * (1 + z)
    np.testing.assert_allclose(found[above], np.exp(-depth[above]), rtol=1e-12)
    assert (found[wave >= 1215.67 * (1 + z)] == 1).all()
    for k in np.flatnonzero(~above)[::23]:
        # The paper rounds its coefficients to four digits, and its terms are as large as 20 at the highest redshift.
        assert -np.log(found[k]) - depth[k] == pytest.approx(_continuum(wave[k], z), rel=0.01, abs=0.01)


def test_the_files_of_the_paper_give_the_known_mean_of_the_forest(shared_data):
    igm = IgmTransmission.load(shared_data / "spectra" / "igm")
    assert igm.wave.size == 39
    for z in (3.0, 4.0):
        # Between Lyman beta and alpha; Faucher-Giguere et al. 2008 see exp(-0.0018 (1 + z')^3.92) on the way.
        rest = np.linspace(0.1050, 0.1180, 200)
        seen = np.exp(-0.0018 * (rest / 0.121567 * (1 + z)) ** 3.92).mean()
        found = igm.transmission(rest * (1 + z), z).mean()
        print(f"forest at {z}: {found:.3f}, measured {seen:.3f}")
        assert found == pytest.approx(seen, abs=0.05)


def test_a_break_of_the_forest_is_where_the_redshift_says(folder):
    """A flat galaxy behind the forest, smeared cell by cell here; without the forest nothing tells its redshift."""
    igm = IgmTransmission.load(folder)
    rng = np.random.default_rng(3)
    z = 8.0
    fine = np.linspace(0.5, 3.0, 25001)
    template = TabulatedTemplate(name="flat", wave=np.array([0.01, 1.0]), flux=np.ones(2))
    passed = np.exp(-_series(fine * 1e4, z) - np.array([_continuum(w, z) for w in fine * 1e4]))
    edges, truth = pixel_edges(), np.ones(WAVE.size)
    for k, at in enumerate(WAVE):
        if edges[k + 1] > 2.0:
            continue
        instrument = 1 / (np.sqrt(8 * np.log(2)) * SCALE * POWER[k])
        sigma = at * np.hypot(VELOCITY / 299792.458, instrument)
        kernel = ndtr((edges[k + 1] - fine) / sigma) - ndtr((edges[k] - fine) / sigma)
        truth[k] = np.sum(passed * kernel) * (fine[1] - fine[0]) / (edges[k + 1] - edges[k])
    # Cells of the sum end at 0.5 um, where the smearing of the first pixels begins.
    use = WAVE > 0.8
    flux, err = truth * WAVE**2, 0.03 * WAVE**2
    exact = fit_redshift(
        (WAVE[use], flux[use], err[use], POWER[use]), templates=[template], z_range=(7.0, 9.0), params=PARAMS, igm=igm
    )
    np.testing.assert_allclose(exact.model[2:], flux[use][2:], atol=2e-3)
    assert exact.z == pytest.approx(z, abs=2e-3)
    assert "given" not in exact.igm
    assert exact.igm in exact.describe()
    pulls, splines = [], []
    for _ in range(40):
        given = (WAVE[use], (flux + rng.normal(size=WAVE.size) * err)[use], err[use], POWER[use])
        fit = fit_redshift(given, templates=[template], z_range=(7.0, 9.0), params=PARAMS, igm=igm)
        pulls.append((fit.z - z) / fit.z_err)
        smooth = fit_redshift(
            given,
            templates=[SplineContinuum(n_functions=5)],
            z_range=(7.0, 9.0),
            params=replace(PARAMS, n_peaks=1, coarse_step=0.005),
            igm=igm,
        )
        splines.append(smooth.z)
    print(f"break: z pull {np.mean(pulls):.2f} +- {np.std(pulls):.2f}, splines {np.mean(splines):.3f}")
    # 40 pulls of 1 have an error of 0.11.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.35)
    assert abs(np.mean(pulls)) < 0.5
    assert np.mean(splines) == pytest.approx(z, abs=0.02)
    blind = fit_redshift(given, templates=[template], z_range=(7.0, 9.0), params=PARAMS)
    assert np.ptp(blind.chi2_grid) < 1e-6


def test_packs_have_it_and_fits_say_which(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    with pytest.raises(NotFoundError, match=r"LAFcoeff.txt: in none of the packs"):
        IgmTransmission.load()
    source = tmp_path / "igm"
    source.mkdir()
    for name in ("LAFcoeff.txt", "DLAcoeff.txt"):
        (source / name).write_text((folder / name).read_text())
    pack = add_pack(source, name="igm", version="2014")
    found = IgmTransmission.load()
    assert found.source == f"pack igm-2014 (sha256 {pack.digest[:12]})"
    np.testing.assert_array_equal(found.wave, IgmTransmission.load(folder).wave)


def test_files_and_values_that_are_no_coefficients_are_named(folder):
    igm = IgmTransmission.load(folder)
    for words, call in {
        "z: -0.5": lambda: igm.transmission([1.0], -0.5),
        "wave: 0": lambda: igm.transmission([0.0], 1.0),
        "forest: ": lambda: IgmTransmission(wave=igm.wave, forest=-igm.forest, damped=igm.damped),
        "wave: an empty": lambda: IgmTransmission(wave=np.ones(0), forest=np.ones((0, 3)), damped=np.ones((0, 2))),
    }.items():
        with pytest.raises(InvalidInputError, match=words):
            call()
    (folder / "DLAcoeff.txt").write_text(DAMPED.replace("972.5", "973.5"))
    with pytest.raises(FormatError, match="its lines are not those of"):
        IgmTransmission.load(folder)
    (folder / "DLAcoeff.txt").write_text("1 2 3\n")
    with pytest.raises(FormatError, match="rows of 4 numbers"):
        IgmTransmission.load(folder)
    (folder / "DLAcoeff.txt").write_text("a b\n")
    with pytest.raises(FormatError, match="not a table of numbers"):
        IgmTransmission.load(folder)
    (folder / "DLAcoeff.txt").unlink()
    with pytest.raises(NotFoundError, match=r"DLAcoeff\.txt: no such file"):
        IgmTransmission.load(folder)
