"""Runs eazy on a catalogue, in an environment of its own; the last line of the output is a JSON object.

Run as ``python photoz_peer.py FOLDER MODE`` in a folder with ``filters.res``, ``galaxies.param``, ``catalog.csv``,
``zphot.translate`` and ``settings.json``. ``MODE`` ``igm`` has absorption between the galaxies, and writes the table of it,
``plain`` has none. Chi square, redshifts and priors go to ``eazy_MODE.npz``.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

folder, mode = Path(sys.argv[1]), sys.argv[2]
os.chdir(folder)
Path("tef.txt").write_text("100. 0.\n1000. 0.01\n100000. 0.01\n1000000. 0.\n")

from eazy import photoz  # noqa: E402

settings = json.loads(Path("settings.json").read_text())
params = {
    "FILTERS_RES": "filters.res",
    "TEMPLATES_FILE": "galaxies.param",
    "CATALOG_FILE": "catalog.csv",
    "MAIN_OUTPUT_FILE": "photz",
    "TEMP_ERR_FILE": "tef.txt",
    "TEMP_ERR_A2": 0.0,
    "PRIOR_FILE": "prior.dat",
    "PRIOR_FILTER": 8,
    "PRIOR_ABZP": 23.9,
    "ARRAY_NBITS": 64,
    "IGM_SCALE_TAU": 1.0 if mode == "igm" else 0.0,
    "ADD_CGM": "n",
    "MW_EBV": settings["mw_ebv"],
    "CAT_HAS_EXTCORR": "n",
    "Z_MIN": settings["z_min"],
    "Z_MAX": settings["z_max"],
    "Z_STEP": settings["z_step"],
    "SYS_ERR": settings["sys_err"],
    "VERBOSITY": 0,
}
start = time.process_time()
fit = photoz.PhotoZ(
    param_file=None, translate_file="zphot.translate", zeropoint_file=None, params=params, load_prior=True, n_proc=-1
)
set_up = time.process_time() - start
start = time.process_time()
fit.fit_catalog(n_proc=0, verbose=False, prior=False, get_best_fit=False)
fitted = time.process_time() - start
if mode == "igm":
    rest = fit.templates[0].wave[fit.templates[0].wave < 1300]
    table = [fit.templates[0].igm_absorption(z=z)[: rest.size] for z in fit.zgrid]
    np.savez("igm.npz", rest_um=rest * 1e-4, z=fit.zgrid, transmission=np.array(table))
np.savez(
    f"eazy_{mode}.npz",
    z=fit.zgrid,
    chi2=fit.chi2_fit,
    fluxes=fit.tempfilt.tempfilt,
    prior=np.exp(fit.full_logprior),
    ext_corr=fit.ext_corr,
    pivot=fit.pivot,
)
print()
print(json.dumps({"set_up": set_up, "fit": fitted, "n": int(fit.NOBJ), "n_z": int(fit.zgrid.size)}))
