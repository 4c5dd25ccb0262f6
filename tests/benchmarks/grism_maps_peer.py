"""Runs grizli on the beams of the real galaxy, in an environment of its own, one job for each line that it is sent.

Run as ``python grism_maps_peer.py BEAMS`` with ``GRIZLI`` set to a folder with ``CONF`` and ``templates`` and the empty
folders ``iref`` and ``jref``. A line is the name of a job; the answer is a line ``= `` with its CPU time [s] and what it
found.
"""

import gc
import json
import os
import sys
import time
import warnings

import numpy as np

warnings.simplefilter("ignore")
# Collections of cycles now and then wait for ever with these packages.
gc.disable()
# What packages print is not an answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import grizli.multifit  # noqa: E402
import grizli.utils  # noqa: E402

Z = 1.7429358875314136
PLINE = {"kernel": "point", "pixfrac": 0.2, "pixscale": 0.1, "size": 8, "wcs": None}
beams = grizli.multifit.MultiBeam(
    sys.argv[1], group_name="x", fcontam=0.2, sys_err=0.03, MW_EBV=0.0, min_mask=0.01, min_sens=0.02, mask_resid=True,
    verbose=False,
)  # fmt: skip
beams.initialize_masked_arrays()
templates = grizli.utils.load_templates(line_complexes=False, fsps_templates=True, fwhm=1200)
beams.Asave = {}
fit = beams.template_at_z(
    z=Z, templates=templates, fit_background=True, fitter="bounded",
    bounded_kwargs={"method": "bvls", "tol": 1e-8, "verbose": 0},
)  # fmt: skip


def maps():
    hdus = beams.drizzle_fit_lines(
        fit, dict(PLINE), force_line=grizli.utils.DEFAULT_LINE_LIST, save_fits=False, mask_lines=True, min_line_sn=4,
        mask_sn_limit=np.inf, get_ir_psfs=False, verbose=False,
    )  # fmt: skip
    return [hdus[0].header["NUMLINES"], float(hdus["LINE", "OIII"].data.sum())]


def stacks():
    hdus = beams.drizzle_grisms_and_PAs(
        fcontam=0.2, flambda=False, kernel="point", size=32, tfit=fit, diff=True, make_figure=False
    )
    return float(hdus["SCI", "G102"].data.sum())


def spectra():
    found = beams.oned_spectrum(tfit=fit, loglam=False)
    return float(np.sum(found["G102"]["flux"]))


jobs = {"line maps": maps, "stacks": stacks, "1-D spectra": spectra}
coefficients = {name: float(value[0]) for name, value in fit["cfit"].items()}
errors = {name: float(value[1]) for name, value in fit["cfit"].items()}
for line in sys.stdin:
    if line.strip() == "fit":
        print("= " + json.dumps([0.0, [coefficients, errors]]), file=answers)
        continue
    start = time.process_time()
    found = jobs[line.strip()]()
    seconds = time.process_time() - start
    print("= " + json.dumps([seconds, found]), file=answers)
