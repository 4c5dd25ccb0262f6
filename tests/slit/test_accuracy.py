"""Spectra of simulated slitlets with known truth, from exposures to fluxes and errors through `SlitGroup`.

``-s`` prints the figures; those of ``validate`` take minutes.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skymere.io import build_pack
from skymere.slit import (
    GaussianProfile,
    SlitGroup,
    SlitGroupParams,
    combine_grating_group,
    pixel_table_to_1d,
    read_slit_spectrum,
    write_slit_spectrum,
)
from skymere.testing import SlitSceneParams, scene_slitlets, scene_tables, simulate_slitlets

#: Photons make a fifth of the noise of the sky's pixels, as in F54, whose biases hold for that.
PRISM = SlitSceneParams(photon_noise=0.0009)
GRATING = replace(PRISM, wavelengths=(3.0, 3.6068), tilt=0.02)
N_SUMMED = 10
OVERLAP = {"method": "drizzle", "share": "overlap", "pixfrac": 1.0}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Reference files that the grid of the prism needs."""
    folder = tmp_path_factory.mktemp("nirspec")
    wave = np.linspace(0.3, 6.0, 200)
    step = (5.3 - 0.6) / 339
    table = Table({"WAVELENGTH": wave, "DLDS": np.full(200, step), "R": wave / step / 2.2})
    table.write(folder / "jwst_nirspec_prism_disp.fits")
    return build_pack(folder, name="nirspec", version="1")


@dataclass
class Setting:
    """Scene, group and combination of draws."""

    flux: float = 1.0
    scene: SlitSceneParams = PRISM
    grating: str = "PRISM"
    group: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=lambda: {"degree": 0})

    @property
    def grid(self):
        """Bins a little wider than pixels, so that their phases differ."""
        low, high = self.scene.wavelengths
        step = (high - low) / (self.scene.shape[1] - 1)
        return np.arange(low + 8 * step, high - 8 * step, 1.04 * step)

    def make(self, scene, pack, **words):
        profile = GaussianProfile(wave=list(self.scene.wavelengths), fwhm_pix=list(self.scene.psf_fwhm))
        slitlets = scene_slitlets(scene, params=self.scene, grating=self.grating)
        tables = scene_tables(self.scene)
        return SlitGroup(slitlets, "made", tables=tables, pack=pack, lookup_prf=profile, **(self.group | words))

    def spectrum(self, group, **words):
        group.fit_all_traces(**self.fit)
        # Simulated light is that behind the slit.
        return combine_grating_group(group, wave_grid=self.grid, with_pathloss=False, **words)


def sums_of(spectrum, truth, y_range=(-3.0, 3.0)):
    """Sums of 10 fluxes less their truth, errors, errors without covariances, errors of independent rows."""
    plain = pixel_table_to_1d(spectrum.pixels, spectrum.wave, y_range=y_range)["err"].to_numpy()
    rows = []
    for first in range(0, spectrum.wave.size - N_SUMMED, N_SUMMED):
        chosen = slice(first, first + N_SUMMED)
        c = np.zeros(spectrum.wave.size)
        c[chosen] = 1.0
        value, err = spectrum.sum_flux(c)
        alone = [np.sqrt((one[chosen] ** 2).sum()) for one in (spectrum.err, plain)]
        rows.append([value - N_SUMMED * truth, err, *alone])
    return rows


SIDES = (-12.0, 12.0)
#: What is combined, and how, of the same draws.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "pseudo": ({}, {}, {}),
    "drizzle": ({}, {}, OVERLAP),
    "poisson": ({"weight_type": "poisson"}, {}, {}),
    "negative traces": ({}, {"force_positive": False}, {"y_range": SIDES}),
    "fitted sky": ({"diffs": False, "grating_diffs": False, "estimate_sky_kwargs": {}}, {}, {}),
    "fitted sky, drizzle": ({"diffs": False, "grating_diffs": False, "estimate_sky_kwargs": {}}, {}, OVERLAP),
}


def draw(setting, pack, n_draws, ways, seed=100):
    """Return the rows of `sums_of` of every way, from the same exposures."""
    rows = {way: [] for way in ways}
    for k in range(n_draws):
        scene = simulate_slitlets(seed=seed + k, continuum=setting.flux, params=setting.scene)
        made = {}
        for way in ways:
            words, fit, combine = WAYS[way]
            key = str((words, fit))
            if key not in made:
                made[key] = setting.make(scene, pack, **words)
                made[key].fit_all_traces(**(setting.fit | fit))
            group = made[key]
            if "estimate_sky_kwargs" in words:
                assert group.meta["status"]["estimate_sky"] == "ok"
            spectrum = combine_grating_group(group, wave_grid=setting.grid, with_pathloss=False, **combine)
            rows[way] += sums_of(spectrum, setting.flux, combine.get("y_range", (-3.0, 3.0)))
    return {way: np.array(one) for way, one in rows.items()}


def check_pulls(setting, pack, n_draws):
    found = draw(setting, pack, n_draws, WAYS)
    ratios = {}
    for way, rows in found.items():
        pull = rows[:, 0] / rows[:, 1]
        spread = 1 / np.sqrt(2 * len(rows))
        ratios[way] = [(rows[:, 0] / rows[:, k]).std() for k in (2, 3)]
        print(
            f"{setting.grating} {way}: {len(rows)} sums, pull {pull.mean():+.3f} +- {pull.std():.3f} ({spread:.3f}); "
            f"with diagonal errors {ratios[way][0]:.3f}, of independent rows {ratios[way][1]:.3f}"
        )
        # The specification's limit, and what this many draws know.
        assert abs(pull.std() - 1) < max(0.05, 3 * spread)
        assert abs(pull.mean()) < max(0.1, 3 * np.sqrt(2) * spread)
        # How far other errors miss is known better than either scatter, since both are of the same draws.
        ratios[way] = [ratio / pull.std() for ratio in ratios[way]]
    assert ratios["pseudo"][0] == pytest.approx(1, abs=1e-9)
    assert ratios["drizzle"][0] == pytest.approx(1.2, abs=0.05)
    assert ratios["negative traces"][1] == pytest.approx(1.3, abs=0.06)
    assert ratios["fitted sky"][0] > 1.02


@pytest.mark.parametrize(("scene", "grating"), [(PRISM, "PRISM"), (GRATING, "G395M")], ids=["prism", "grating"])
def test_sums_of_fluxes_have_the_errors_that_are_quoted(pack, scene, grating):
    check_pulls(Setting(scene=scene, grating=grating), pack, 8)


@pytest.mark.validate
@pytest.mark.parametrize(("scene", "grating"), [(PRISM, "PRISM"), (GRATING, "G395M")], ids=["prism", "grating"])
def test_sums_of_fluxes_pass_pulls_to_five_percent(pack, scene, grating):
    check_pulls(Setting(scene=scene, grating=grating), pack, 60)


def biases(setting, pack, n_draws, kinds):
    """Return the mean relative difference from the truth and its error for each kind of weights, and S/N of a bin."""
    rows = {kind: [] for kind in kinds}
    for k in range(n_draws):
        scene = simulate_slitlets(seed=500 + k, continuum=setting.flux, params=setting.scene)
        for kind in kinds:
            spectrum = setting.spectrum(setting.make(scene, pack, **WEIGHTS[kind]))
            rows[kind].append(float(np.mean(spectrum.flux / setting.flux - 1)))
            sn = float(np.median(setting.flux / spectrum.err))
    out = {}
    for kind, means in rows.items():
        # Fluxes of a draw share its profile, so their mean is what is independent.
        out[kind] = np.mean(means), np.std(means, ddof=1) / np.sqrt(n_draws)
        n = n_draws * setting.grid.size
        print(f"S/N {sn:.1f}, {kind}: bias {100 * out[kind][0]:+.2f} % +- {100 * out[kind][1]:.2f} %, {n} fluxes")
    return out, sn


WEIGHTS: dict[str, dict[str, Any]] = {
    "ivm": {},
    "poisson": {"weight_type": "poisson"},
    "poisson of data": {"weight_type": "poisson", "params": SlitGroupParams(poisson="data")},
    "msaexp's poisson": {"weight_type": "poisson", "compat": "msaexp"},
}
#: Flux of a column, and bias of weights that follow the data in per cent (F54), at S/N of about 20, 5 and 1.
LEVELS = {20: (0.36, -0.4), 5: (0.09, -1.5), 1: (0.018, -7.0)}


def check_biases(pack, level, n_draws):
    flux, known = LEVELS[level]
    found, sn = biases(Setting(flux=flux), pack, n_draws, WEIGHTS)
    assert sn == pytest.approx(level, rel=0.2)
    for kind in ("ivm", "poisson"):
        bias, error = found[kind]
        assert error < 0.003
        assert abs(bias) < 0.01
    # Of the same draws, so that what their common noise is does not count.
    low = 100 * (found["poisson of data"][0] - found["ivm"][0])
    print(f"S/N {sn:.1f}: weights that follow the data move fluxes by {low:+.2f} %")
    assert low == pytest.approx(known, abs=0.2 * abs(known) + 0.1)
    assert found["msaexp's poisson"][0] - found["ivm"][0] < 0.6 * known / 100


def test_fluxes_are_unbiased_and_weights_that_follow_the_data_are_not(pack):
    check_biases(pack, 5, 18)


@pytest.mark.validate
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("level", "n_draws"), [(20, 40), (5, 100), (1, 450)])
def test_fluxes_are_unbiased_at_any_signal(pack, level, n_draws):
    check_biases(pack, level, n_draws)


LINES = {"line_centres": (1.5, 2.6, 2.62, 3.4, 4.4), "line_fluxes": (20.0, 5.0, 40.0, 2.0, 80.0)}
BRIGHT = LINES | {"line_fluxes": (400.0, 100.0, 800.0, 200.0, 2000.0)}


def score(pack, n_scenes, *, continuum=0.3, lines=LINES, **changes):
    """Return the parts of outliers found, of clean pixels and of the lines' lost, by a group as it is by default."""
    setting = Setting(scene=SlitSceneParams(outlier_fraction=0.005, **changes))
    counts = np.zeros((3, 2))
    for seed in range(n_scenes):
        scene = simulate_slitlets(seed=seed, continuum=continuum, **lines, params=setting.scene)
        group = setting.make(scene, pack)
        assert all(value in ("ok", "no_spectra") or "skipped" in value for value in group.meta["status"].values())
        lost = ~group.mask.reshape(scene.sci.shape) & scene.valid
        clean = scene.valid & ~scene.outliers
        for k, of in enumerate((scene.outliers, clean, scene.lines & clean)):
            counts[k] += (lost & of).sum(), of.sum()
    found, false, line = counts[:, 0] / counts[:, 1]
    print(
        f"{changes or 'prism'}, continuum {continuum}: found {found:.4f} of {counts[0, 1]:.0f}, false {false:.1e} of "
        f"{counts[1, 1]:.0f}, lost {line:.4f} of {counts[2, 1]:.0f} pixels of lines"
    )
    assert counts[2, 1] > 500
    assert found > 0.95
    assert false < 1e-3
    assert line < 0.005


@pytest.mark.parametrize(
    "changes",
    [{}, {"continuum": 3.0}, {"continuum": 0.02}, {"source_sigma": 0.05}, {"lines": BRIGHT}],
    ids=["prism", "bright", "faint", "star", "bright lines"],
)
def test_a_group_finds_outliers_of_eight_sigma_and_keeps_lines(pack, changes):
    score(pack, 8, **changes)


@pytest.mark.validate
def test_a_group_finds_outliers_of_eight_sigma_in_many_slitlets(pack):
    score(pack, 60)


def background_file(path, wave, flux, error, area_sr=1e-12):
    columns = [
        fits.Column(name, "D", array=values) for name, values in (("wave", wave), ("p50", flux), ("perr", error))
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["REFPAREA"] = area_sr
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def true_sky(params, wave):
    return params.sky * (0.6 + 0.1 * (wave - 3) ** 2 + 0.4 * np.exp(wave - 4.5))


def test_the_sky_of_a_group_is_known_to_two_percent_and_to_its_error(pack):
    setting, ratios, pulls = Setting(flux=0.5), [], []
    for seed in range(8):
        scene = simulate_slitlets(seed=seed, continuum=setting.flux, params=setting.scene)
        group = setting.make(scene, pack, estimate_sky_kwargs={})
        found = group.sky_data["result"]
        places = (found.wavelength > 0.8) & (found.wavelength < 5.1)
        truth = true_sky(setting.scene, found.wavelength[places])
        ratios.append(found.model[places] / truth)
        # One in seven entries of the grid, a knot from each other.
        pulls.append(((found.model[places] - truth) / found.model_err[places])[::7])
    ratio, pull = np.concatenate(ratios), np.concatenate(pulls)
    print(
        f"sky: {ratio.mean() - 1:+.5f} +- {ratio.std():.4f}; pull {pull.mean():+.3f} +- {pull.std():.3f}, {pull.size}"
    )
    assert abs(ratio.mean() - 1) < 0.003
    assert ratio.std() < 0.02
    assert abs(pull.std() - 1) < 3 / np.sqrt(2 * pull.size)
    assert abs(pull.mean()) < 0.15


@pytest.mark.parametrize("words", [{}, {"df": 5}], ids=["as it is", "scaled"])
def test_spectra_of_the_background_give_the_sky_to_its_error_and_fluxes_theirs(pack, tmp_path, words):
    setting, rng = Setting(flux=0.5), np.random.default_rng(4)
    wave = np.linspace(0.4, 5.6, 320)
    truth = true_sky(setting.scene, wave)
    error = 0.02 * truth
    pulls, sums = [], []
    for seed in range(12):
        scene = simulate_slitlets(seed=seed, continuum=setting.flux, params=setting.scene)
        # The error of 3 per cent is one number of the slit; where a scale is fitted that takes it up.
        factor = 1 + 0.03 * rng.normal()
        for k in range(3):
            noisy = factor * truth + error * rng.normal(size=wave.size)
            background_file(tmp_path / f"jw00001001001_03101_{k + 1:05d}_nrs1_gbkg.fits", wave, noisy, error)
        group = setting.make(scene, pack, diffs=False, set_background_spectra_kwargs={"path": str(tmp_path), **words})
        assert group.meta["status"]["set_background_spectra"] == "ok"
        made = group.sky_data["result"]
        off = (made.sky2d - scene.sky) / np.sqrt(made.var_sky)
        # Pixels of a column share their point of the spectrum.
        off = off.reshape(scene.sci.shape)
        known = scene.valid & np.isfinite(off)
        pulls.append(off[:, 12, ::9][known[:, 12, ::9]])
        spectrum = setting.spectrum(group)
        c = np.ones(spectrum.wave.size)
        value, err = spectrum.sum_flux(c)
        sums.append([value - c.sum() * setting.flux, err, np.sqrt((spectrum.err**2).sum())])
        rows = sums_of(spectrum, setting.flux)
        sums[-1] += [np.mean([(row[0] / row[1]) ** 2 for row in rows])]
    pull, sums = np.concatenate(pulls), np.array(sums)
    whole = (sums[:, 0] / sums[:, 1]).std()
    print(
        f"{words}: pull of the sky {pull.std():.3f}; of sums of 10 fluxes {np.sqrt(sums[:, 3].mean()):.3f}, of all "
        f"{whole:.2f}, with diagonal errors {(sums[:, 0] / sums[:, 2]).std():.2f}"
    )
    # 12 draws of one number that all share: known to 20 per cent, so three of those. A scale that is fitted takes up the
    # error of 3 per cent, which the variance of each pixel keeps.
    assert pull.std() < 1.5
    assert words or pull.std() > 0.5
    assert 0.4 < whole < 1.6
    assert np.sqrt(sums[:, 3].mean()) == pytest.approx(1, abs=0.15)


def test_the_offset_of_the_shutters_of_a_group_is_found(pack):
    params = replace(PRISM, bar_depth=0.6, sky=0.3)
    setting, found = Setting(flux=0.1, scene=params), []
    for seed in range(8):
        scene = simulate_slitlets(seed=seed, continuum=setting.flux, params=params)
        profile = GaussianProfile(wave=list(params.wavelengths), fwhm_pix=list(params.psf_fwhm))
        group = SlitGroup(
            scene_slitlets(scene, params=params, shutter_offset=0.03),
            "made",
            tables=scene_tables(params),
            pack=pack,
            lookup_prf=profile,
            # The sky's pixels are those of the fit, so some of them must be in the shadow.
            estimate_sky_kwargs={"min_bar": 0.5},
        )
        one = group.fit_shutter_offset()
        assert one.status == "ok"
        assert group.meta["shutter_offset"] == one.offset
        found.append([one.offset, one.offset_err])
    offset, error = np.transpose(found)
    print(f"offset {offset.mean():.4f} +- {offset.std():.4f}, quoted {error.mean():.4f}")
    # The prior of 0 +- 0.05 pulls by a hundredth.
    assert error.mean() < 0.006
    assert abs(offset.mean() - 0.03) < 3 * error.mean() / np.sqrt(len(found)) + 0.0005
    assert np.abs(offset - 0.03).max() < 4 * error.mean()


def test_the_covariance_with_that_of_the_sky_is_in_the_file(pack, tmp_path):
    setting = Setting()
    scene = simulate_slitlets(seed=1, continuum=setting.flux, params=setting.scene)
    words, _, _ = WAYS["fitted sky"]
    spectrum = setting.spectrum(setting.make(scene, pack, **words))
    nods = setting.spectrum(setting.make(scene, pack))
    assert spectrum.covariance.shape[1] > 20 > nods.covariance.shape[1]
    write_slit_spectrum(spectrum, tmp_path / "a.fits")
    back = read_slit_spectrum(tmp_path / "a.fits")
    np.testing.assert_array_equal(back.covariance, spectrum.covariance)
    c = np.ones(spectrum.wave.size)
    assert back.sum_flux(c) == spectrum.sum_flux(c)
    assert spectrum.sum_flux(c)[1] > 1.1 * np.sqrt((spectrum.err**2).sum())


def test_the_offset_is_found_with_the_pipelines_shadow_in_the_data_too(pack):
    params = replace(PRISM, bar_depth=0.6, sky=0.3)
    scene = simulate_slitlets(seed=3, continuum=0.1, params=params)
    words = {"tables": scene_tables(params), "pack": pack, "estimate_sky_kwargs": {"min_bar": 0.5}}
    words["lookup_prf"] = GaussianProfile(wave=list(params.wavelengths), fwhm_pix=list(params.psf_fwhm))
    slitlets = scene_slitlets(scene, params=params, shutter_offset=0.03)
    ours, theirs = (SlitGroup(slitlets, "made", undo_barshadow=undo, **words) for undo in (2, 0))
    assert not theirs.meta["own_barshadow"]
    found = [group.fit_shutter_offset() for group in (ours, theirs)]
    assert [one.status for one in found] == ["ok", "ok"]
    # The simulated file's shadow is the truth, and so is the light behind it; the tables' is 0.03 pixel beside it.
    assert abs(found[0].offset - 0.03) < 4 * found[0].offset_err
    assert abs(found[1].offset - 0.03) < 4 * found[1].offset_err
    assert theirs.meta["own_barshadow"]
    np.testing.assert_allclose(theirs.bar[theirs.mask], ours.bar[theirs.mask], atol=0.02)
    theirs.parse_data()
    assert (theirs.meta["own_barshadow"], theirs.meta["shutter_offset"], theirs.sky_data) == (False, 0.0, None)
    assert "fit_shutter_offset" not in theirs.meta["status"]
    fresh = SlitGroup(slitlets, "made", undo_barshadow=0, **{**words, "estimate_sky_kwargs": None})
    theirs_bare = SlitGroup(slitlets, "made", undo_barshadow=0, **{**words, "estimate_sky_kwargs": None})
    theirs_bare.parse_data()
    np.testing.assert_array_equal(theirs.sci, theirs_bare.sci)
    assert theirs.meta["num_shutters"] == fresh.meta["num_shutters"]
