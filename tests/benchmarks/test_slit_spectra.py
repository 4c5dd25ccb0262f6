"""The three real slitlets combined with every weight and with the tabulated profile, against msaexp itself in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with msaexp 0.9.19 (``make bench`` makes one); skipped where there is none.
``-s`` prints the differences.
"""

import numpy as np
import pytest
from tests.benchmarks.peers import run_once

from skymere.io import build_pack, read_slitlet
from skymere.slit import SlitGroup, combine_grating_group, lookup_file

BARE = {
    "flag_trace_kwargs": None,
    "flag_percentile_kwargs": None,
    "flag_profile_kwargs": None,
    "hot_cold_kwargs": None,
    "estimate_sky_kwargs": None,
    "sky_file": None,
    "set_background_spectra_kwargs": None,
    "slit_hotpix_kwargs": None,
    "do_multiple_mask": False,
    "bad_shutter_names": [],
}
FIT = {"niter": 4, "degree": 0, "ref_exp": 2, "force_positive": False, "with_bounds": False}
# As in slit_spectra_peer.py.
THETA = [5.6404, 0.8078]
TABLE_THETA = [4.5, 0.8078]
COLUMNS = ("flux", "err", "sky", "flux_sum", "profile_sum", "var_sum")


@pytest.fixture(scope="module")
def peer(spectra_folder, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("grizli")
    output = scratch / "spectra.npz"
    run_once("slit_spectra_peer.py", spectra_folder, scratch, str(spectra_folder / "nirspec"), str(output))
    with np.load(output) as found:
        return dict(found)


@pytest.fixture(scope="module")
def pack(spectra_folder):
    return build_pack(spectra_folder / "nirspec" / "calib", name="nirspec", version="0.9.19")


@pytest.fixture(scope="module")
def slitlets(spectra_folder):
    return [read_slitlet(path) for path in sorted((spectra_folder / "nirspec").glob("*_phot.*.fits"))]


def worst(ours: np.ndarray, true: np.ndarray) -> float:
    """Return the largest difference over the largest number, of what is known."""
    known = np.isfinite(ours)
    return float(np.abs(ours - true)[known].max() / np.abs(true[known]).max())


def compare(key: str, group: SlitGroup, theta: list[float], peer: dict[str, np.ndarray]) -> None:
    """Compare a group with all traces at one place with msaexp's."""
    fit = group.fit_all_traces(x0=theta, evaluate=True, **FIT)
    chi2 = np.array([fit[exp]["chi2_fit"] for exp in sorted(fit)])
    np.testing.assert_allclose(chi2, peer[f"{key} chi2"], rtol=2e-9)
    spectrum = combine_grating_group(group)
    covered = spectrum.image.n_pixels > 0
    found = {}
    for name, ours in (("SCI", spectrum.sci), ("WHT", spectrum.wht), ("PROFILE", spectrum.profile)):
        found[name] = worst(ours[covered], peer[f"{key} {name}"][covered])
    for name in COLUMNS:
        found[name] = worst(spectrum.table[name].to_numpy(), peer[f"{key} {name}"])
    for name in ("pix", "profile", "pfit"):
        found[f"PROF1D {name}"] = worst(spectrum.section[name].to_numpy(), peer[f"{key} prof1d {name}"])
    print(f"\n{key}: " + ", ".join(f"{name} {value:.0e}" for name, value in found.items()))
    # Sums of the same numbers in another order, and distances from traces to 2e-12 pixel.
    assert max(found.values()) < 1e-11, found
    assert np.array_equal(spectrum.npix, peer[f"{key} npix"])
    assert np.isfinite(spectrum.flux).sum() == 345
    # These two are single precision in the file.
    for name in ("path_corr", "norm_corr"):
        assert worst(spectrum.table[name].to_numpy(), peer[f"{key} {name}"]) < 1e-6


@pytest.mark.benchmark
@pytest.mark.parametrize("weight", ["ivm", "poisson", "exptime", "exptime_bar", "mask"])
def test_spectra_with_every_weight_are_msaexps(weight, slitlets, pack, peer):
    group = SlitGroup(slitlets, "g", compat="msaexp", pack=pack, weight_type=weight, **BARE)
    compare(weight, group, THETA, peer)


@pytest.mark.benchmark
def test_the_tabulated_profile_and_its_path_loss_are_msaexps(slitlets, pack, peer):
    group = SlitGroup(slitlets, "g", compat="msaexp", pack=pack, lookup_prf="merged", **BARE)
    compare("table", group, TABLE_THETA, peer)
    pixels = group.get_flat_diff_arrays(with_pathloss=True)
    for name in ("wave", "profile", "pathloss"):
        difference = np.abs(pixels[name].to_numpy() - peer[f"table pixels {name}"]).max()
        print(f"pixels, {name}: {difference:.0e}")
        assert difference < 1e-11
    group = SlitGroup(slitlets, "g", compat="msaexp", pack=pack, lookup_prf="merged", **BARE)
    fit = group.fit_all_traces(initial_sigma=7, **FIT)[2]
    print(f"theta {fit['theta']}, msaexp {peer['table theta']}; chi2 {fit['chi2_fit'] / peer['table best'] - 1:.1e}")
    np.testing.assert_allclose(fit["theta"], peer["table theta"], rtol=0, atol=1e-4)
    assert fit["chi2_fit"] <= peer["table best"] * (1 + 2e-9)


@pytest.mark.benchmark
def test_names_of_tables_are_msaexps(peer):
    for kind in ("merged", "by_grating"):
        ours = [
            lookup_file(grating=grating, filter_name=filter_name, slit=slit, kind=kind)
            for grating, filter_name, slit in (
                ("PRISM", "CLEAR", "s200a1"),
                ("G395H", "F290LP", "s200a1"),
                ("G140M", "F070LP", "s200b1"),
                ("G235M", "F170LP", "s1600a1"),
            )
        ]
        assert ours == peer[f"names {kind}"].tolist()
