"""Runs grizli on beams of one source, in an environment of its own, one job for each line that it is sent.

Run as ``python grism_peer.py FILE...`` with files of beams, and ``GRIZLI`` set to a folder with ``CONF``, ``templates`` and
the empty folders ``iref`` and ``jref``. A line is a number of redshifts to leave out (for a warm-up) or ``all``; the answer
is a line ``= `` with the CPU time of the redshift grid [s], its redshifts and chi squares.
"""

import gc
import json
import os
import sys
import time

import numpy as np
from grizli import multifit, utils

# What packages print is not an answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
utils.set_warnings()
beams = multifit.MultiBeam(
    sys.argv[1:], group_name="bench", fcontam=0.2, sys_err=0.03, MW_EBV=0.0, min_mask=0.01, min_sens=0.02,
    mask_resid=True, verbose=False,
)  # fmt: skip
beams.initialize_masked_arrays()
templates = utils.load_templates(line_complexes=True, fsps_templates=True, fwhm=1200)
ranges = {"warm": [1.7, 1.75], "all": [0.05, 3.4]}
for line in sys.stdin:
    gc.collect()
    start = time.process_time()
    fit = beams.xfit_redshift(
        templates=templates, zr=ranges[line.strip()], dz=[0.004, 0.0004], fitter="nnls", verbose=False, huber_delta=4
    )
    seconds = time.process_time() - start
    found = [seconds, np.array(fit["zgrid"]).tolist(), np.array(fit["chi2"]).tolist(), float(fit.meta["z_map"][0])]
    print("= " + json.dumps(found), file=answers)
