"""Photometric redshifts of a catalogue against eazy on the same files, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with eazy 0.8.7; the race is skipped where there is none.
"""

import platform
import time
from pathlib import Path

import numpy as np
import pytest
from tests.spectra.photoz_scene import eazy_files, run_eazy

from skymere import get_num_threads, set_num_threads
from skymere.spectra import PhotozParams, fit_photoz, read_filters, read_translate

SETTINGS = {"z_min": 0.05, "z_max": 7.0, "z_step": 0.01, "sys_err": 0.02, "mw_ebv": 0.0}
PARAMS = PhotozParams(z_min=0.05, z_max=7.0, z_step=0.01, sys_err=0.02, sys_err_of="data", min_rest_wave=None)


@pytest.mark.benchmark
def test_photometric_redshifts_of_a_catalogue(shared_data: Path, tmp_path: Path) -> None:
    fsps = shared_data / "spectra" / "grizli" / "templates" / "fsps"
    if not fsps.is_dir():
        pytest.skip(f"{fsps} is not there")
    templates, catalogue = eazy_files(tmp_path, fsps, n=200, settings=SETTINGS)
    peer = run_eazy(tmp_path, "plain")
    bands = read_translate(
        tmp_path / "zphot.translate", filters=read_filters(tmp_path / "filters.res"), ab_zeropoint=23.9
    )
    before = get_num_threads()
    set_num_threads(1)

    def cpu(n: int) -> float:
        table = {name: np.resize(values, n) for name, values in catalogue.items()}
        start = time.process_time()
        fit_photoz(table, filters=bands, templates=templates, params=PARAMS)
        return time.process_time() - start

    cpu(10)
    # One object is nearly all fluxes of templates; many more are the fits, with p(z) and percentiles.
    set_up = min(cpu(1) for _ in range(3))
    fitted = min(cpu(2000) for _ in range(3)) - set_up
    set_num_threads(before)
    ours, theirs = fitted / 2000, peer["fit"] / peer["n"]
    print(f"\n{platform.machine()}, Python {platform.python_version()}, one thread, CPU time, {peer['n_z']} redshifts")
    print(f"per object: skymere {1e3 * ours:.3f} ms, eazy {1e3 * theirs:.1f} ms, ratio {theirs / ours:.0f}")
    print(
        f"fluxes of templates: skymere {set_up:.2f} s, eazy {peer['set_up']:.2f} s, ratio {peer['set_up'] / set_up:.1f}"
    )
    assert theirs > 10 * ours
