"""Flags, trace fits, combination and reading of the three real slitlets against msaexp, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with msaexp 0.9.19; the race is skipped where there is none.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.peers import Peer, print_machine, race_peer

from skymere.io import add_pack, find_pack, read_slitlet, slit_models
from skymere.slit import (
    SlitGroup,
    TraceParams,
    combine_grating_group,
    combine_pixels,
    fit_single_trace,
    make_diff_image,
    pixel_table_to_1d,
    standard_grid,
)
from skymere.wcs import open_asdf_tree

INF = (-np.inf, np.inf)
FREE = TraceParams(degree=0, initial_size=0.7, force_positive=False, size_bounds=INF, trace_bounds=INF)
FIXED = TraceParams(degree=1, fix_size=0.6)
FIT_ALL = {"niter": 4, "degree": 0, "ref_exp": 2, "force_positive": False, "initial_sigma": 7, "with_bounds": False}
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


@pytest.fixture(scope="module")
def peer(spectra_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    slitlets = str(spectra_folder / "nirspec")
    one = Peer("slit_peer.py", spectra_folder, tmp_path_factory.mktemp("peer"), slitlets)
    yield one
    one.close()


@pytest.fixture(scope="module")
def files(spectra_folder: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[list[Path]]:
    """Names of the files; the pack is where it is looked for."""
    packs = tmp_path_factory.mktemp("packs")
    add_pack(spectra_folder / "nirspec" / "calib", name="nirspec", version="0.9.19", into=packs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYMERE_PACKS", str(packs))
        yield sorted((spectra_folder / "nirspec").glob("*_phot.*.fits"))


class Bare:
    """A group that can be put back to where its constructor left it."""

    def __init__(self, files: list[Path]) -> None:
        self.group = SlitGroup([read_slitlet(file) for file in files], "bare", compat="msaexp", **BARE)
        self.kept = {name: getattr(self.group, name).copy() for name in ("mask", "flags", "sci", "trace_coeffs")}

    def restart(self) -> None:
        for name, values in self.kept.items():
            setattr(self.group, name, values.copy())
        self.group.fit = self.group.traces = None
        self.group.meta["bad_shutter_names"] = []
        self.group.update_trace_from_coeffs()

    def flag(self) -> list[int]:
        group = self.group
        group.mask_stuck_closed_shutters()
        group.flag_trace_outliers()
        group.flag_percentile_outliers()
        group.flag_from_profile()
        group.flag_2d_outliers()
        return group.mask.sum(axis=1).tolist()

    def everything(self) -> tuple[list[int], float]:
        left = self.flag()
        self.group.fit_all_traces(**FIT_ALL)
        return left, float(np.nansum(combine_grating_group(self.group).flux))


@pytest.fixture(scope="module")
def bare(files: list[Path]) -> Bare:
    print_machine()
    return Bare(files)


@pytest.mark.benchmark
def test_flags_traces_and_combination_of_three_slitlets(bare: Bare, peer: Peer) -> None:
    bare.restart()
    left, flux = bare.everything()
    theirs_left, theirs_flux = peer.run("flags, traces, combination")[1]
    assert left == theirs_left
    # Powell stops 1e-7 pixel beside the minimum.
    assert flux == pytest.approx(theirs_flux, rel=1e-5)
    race_peer(peer, "flags", lambda _: bare.flag(), prepare=bare.restart)
    ratio = race_peer(peer, "flags, traces, combination", lambda _: bare.everything(), prepare=bare.restart)
    assert ratio > 20


@pytest.mark.benchmark
def test_a_trace_and_the_combination_by_themselves(bare: Bare, peer: Peer) -> None:
    bare.restart()
    group = bare.group
    frames, nods, profile = group.frames(), group.nods(), group.profile()

    def fit(params: TraceParams) -> float:
        return fit_single_trace(frames, position=2, profile=profile, params=params, nods=nods).chi2

    ratios = {}
    for job, params in (("fit, free width", FREE), ("fit, fixed width", FIXED)):
        # A chi2 of 1e-5 is a thousandth of an error bar.
        assert fit(params) < peer.run(job)[1] + 1e-5
        ratios[job] = race_peer(peer, job, lambda params=params: fit(params))
    race_peer(peer, "difference", lambda: make_diff_image(frames, position=2, params=nods))
    group.fit_all_traces(**FIT_ALL)

    def combine() -> None:
        table = group.get_flat_diff_arrays(with_pathloss=True)
        grid = standard_grid(group.grating, pack=group.pack)
        combine_pixels(table, grid)
        pixel_table_to_1d(table, grid)

    race_peer(peer, "combination", combine)
    assert min(ratios.values()) > 50


@pytest.mark.benchmark
def test_a_group_from_files_with_their_gwcs(files: list[Path], peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    def cold() -> list[int]:
        return SlitGroup(files, "cold", compat="msaexp").mask.sum(axis=1).tolist()

    assert cold() == peer.run("cold")[1] == [4611, 4583, 4610]
    ratio = race_peer(peer, "cold", cold)
    spent = {"asdf": 0.0, "gwcs": 0.0}
    evaluate = slit_models.evaluate_slit_geometry

    def timed(wcs: object, *args: object, **kwargs: object) -> object:
        start = time.process_time()
        made = evaluate(wcs, *args, **kwargs)
        spent["gwcs"] += time.process_time() - start
        return made

    def content(path: Path) -> bytes:
        with slit_models.open_fits(path) as hdus:
            return np.asarray(hdus["ASDF"].data["ASDF_METADATA"][0]).tobytes()

    texts = [content(path) for path in files]
    start = time.process_time()
    for text in texts:
        with open_asdf_tree(text, "a file") as tree:
            assert tree["meta"]["wcs"] is not None
    spent["asdf"] = time.process_time() - start
    monkeypatch.setattr(slit_models, "evaluate_slit_geometry", timed)
    start = time.process_time()
    cold()
    whole = time.process_time() - start
    print(f"of it: asdf {spent['asdf'] / whole:.0%}, evaluation of the gwcs {spent['gwcs'] / whole:.0%}")
    assert find_pack("nirspec").version == "0.9.19"
    assert ratio > 4
