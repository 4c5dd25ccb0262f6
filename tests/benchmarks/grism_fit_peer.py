"""Runs the redshift grid of grizli on files of beams, in an environment of its own, once for each line that it is sent.

Run as ``python grism_fit_peer.py FILE...`` with files of beams, and ``GRIZLI`` set to a folder with ``CONF``,
``templates`` and the empty folders ``iref`` and ``jref``. A line is the number of a file; the answer is a line ``= `` with
its CPU time [s] and the redshifts, chi squares, and the best redshift.
"""

import gc
import json
import os
import sys
import time

import numpy as np

# Collections of cycles now and then wait for ever with these packages.
gc.disable()
# What packages print is not an answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from grizli import multifit, utils  # noqa: E402

utils.set_warnings()
templates = utils.load_templates(line_complexes=True, fsps_templates=True, fwhm=1200)
read = {}
for line in sys.stdin:
    name = sys.argv[1:][int(line)]
    if name not in read:
        read[name] = multifit.MultiBeam(
            name, group_name="bench", fcontam=0.2, sys_err=0.03, MW_EBV=0.0, min_mask=0.01, min_sens=0.02,
            mask_resid=True, verbose=False,
        )  # fmt: skip
        read[name].initialize_masked_arrays()
    start = time.process_time()
    fit = read[name].xfit_redshift(
        templates=templates, zr=[0.05, 3.4], dz=[0.004, 0.0004], fitter="nnls", verbose=False, huber_delta=4
    )
    seconds = time.process_time() - start
    found = [np.array(fit["zgrid"]).tolist(), np.array(fit["chi2"]).tolist(), float(fit.meta["z_map"][0])]
    print("= " + json.dumps([seconds, found]), file=answers)
