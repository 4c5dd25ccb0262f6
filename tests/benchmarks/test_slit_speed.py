"""Trace fits and combination of the three real slitlets against msaexp, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with msaexp 0.9.19; the race is skipped where there is none.
"""

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere import get_num_threads, set_num_threads
from skymere.instruments import NIRSPEC_GRIDS
from skymere.slit import (
    AllTracesParams,
    GaussianProfile,
    SlitFrames,
    TraceParams,
    combine_pixels,
    compat_nods,
    compat_pixels,
    fit_all_traces,
    fit_single_trace,
    get_flat_diff_arrays,
    make_diff_image,
    pixel_table_to_1d,
    wavelength_grid,
)

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
INF = (-np.inf, np.inf)
FREE = TraceParams(degree=0, initial_size=0.7, force_positive=False, size_bounds=INF, trace_bounds=INF)
FIXED = TraceParams(degree=1, fix_size=0.6)


def run_peer(folder: Path, scratch: Path) -> dict:
    """Return times and objectives of msaexp; the test is skipped where it cannot run."""
    for name in ("CONF", "templates", "iref", "jref"):
        (scratch / name).mkdir()
    python = os.environ.get("SKYMERE_BENCH_PYTHON_MSAEXP", sys.executable)
    worker = Path(__file__).with_name("slit_peer.py")
    done = subprocess.run(
        [python, str(worker), str(folder)],
        cwd=scratch,
        env=os.environ | ONE_THREAD | {"GRIZLI": str(scratch), "HOME": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"msaexp cannot run: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def best_of(call: Callable[[], object], repeat: int = 15) -> float:
    call()
    times = []
    for _ in range(repeat):
        gc.collect()
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.benchmark
def test_traces_and_combination(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "spectra"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    peer = run_peer(folder / "nirspec", tmp_path)
    reference = folder / "reference" / "msaexp"
    geometry = json.loads((reference / "slitgroup_summary.json").read_text())["geometry"]
    with fits.open(reference / "slitgroup_bare.fits.gz") as hdul:
        has = {hdu.name: np.ascontiguousarray(hdu.data, dtype=float) for hdu in hdul if hdu.data is not None}
    with fits.open(folder / "nirspec" / "calib" / "jwst_nirspec_prism_disp.fits") as hdul:
        dispersion = tuple(np.asarray(hdul[1].data[name], dtype=float) for name in ("WAVELENGTH", "DLDS"))
    psf = pl.read_csv(folder / "nirspec" / "calib" / "nirspec_psf_fwhm.csv")
    profile = GaussianProfile(wave=psf["wave"].to_numpy(), fwhm_pix=psf["fwhm_pix"].to_numpy())
    frames = SlitFrames(
        data=has["SCI"],
        variance=has["VAR_RNOISE"] + has["VAR_POISSON"],
        read_variance=has["VAR_RNOISE"],
        mask=has["MASK"] == 0,
        counted_mask=has["BKG_MASK"] == 0,
        position=geometry["y_index"],
        wavelength=has["WAVE"],
        base_coeffs=geometry["base_coeffs"],
    )
    nods = compat_nods()
    traces = AllTracesParams(likelihood="reference", reference=2, n_rounds=4)
    fitted = fit_all_traces(frames, profile=profile, params=FREE, traces=traces, nods=nods)

    def fit(params: TraceParams) -> float:
        return fit_single_trace(frames, position=2, profile=profile, params=params, nods=nods).chi2

    def combine() -> None:
        table = get_flat_diff_arrays(
            fitted.frames,
            exptime=geometry["exptime"],
            fits=fitted.fits,
            columns={"dwave_dx": has["DWAVE_DX"], "bar": has["BAR"], "normalization": has["NORMALIZATION"]},
            nods=nods,
            params=compat_pixels(),
        )
        grid = wavelength_grid(NIRSPEC_GRIDS["prism"], dispersion=dispersion)
        combine_pixels(table, grid)
        pixel_table_to_1d(table, grid)

    before = get_num_threads()
    set_num_threads(1)
    ours = {
        "fit, free width": best_of(lambda: fit(FREE)),
        "fit, fixed width": best_of(lambda: fit(FIXED)),
        "difference": best_of(lambda: make_diff_image(frames, position=2, params=nods)),
        "combination": best_of(combine),
    }
    set_num_threads(before)
    print(f"\n{platform.machine()}, Python {platform.python_version()}, one thread, CPU time")
    for name, mine in ours.items():
        theirs = peer["times"][name]
        print(f"{name}: skymere {1e3 * mine:.2f} ms, msaexp {1e3 * theirs:.1f} ms, ratio {theirs / mine:.1f}")
    for name, params in (("fit, free width", FREE), ("fit, fixed width", FIXED)):
        # A chi2 of 1e-5 is a thousandth of an error bar.
        assert fit(params) < peer["chi2"][name] + 1e-5
