"""Runs msaexp on the three real slitlets, in an environment of its own, one job for each line that it is sent.

Run as ``python slit_peer.py FOLDER`` with the folder of the slitlets' files, and ``GRIZLI`` set to a folder with the empty
folders ``CONF``, ``templates``, ``iref`` and ``jref``. A line is the name of a job; the answer is a line ``= `` with its CPU
time [s] and what it found.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from msaexp import slit_combine

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
START = {"initial_sigma": 7, "force_positive": False, "with_bounds": False, "tol": 1e-8, "verbose": False}
FREE = {"degree": 0, **START}
FIXED = {"fix_sigma": 6.0, "degree": 1, "verbose": False}

# What packages print is not an answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
slit_combine.VERBOSE_LOG = False
files = sorted(str(p) for p in Path(sys.argv[1]).glob("*phot*.fits"))
bare = slit_combine.SlitGroup(files, "bare", **BARE)
slit_combine.LOOKUP_PRF = None
mask, sci = bare.mask.copy(), bare.sci.copy()


def restart():
    """Put the group back to where its constructor left it."""
    bare.mask[:], bare.sci[:] = mask, sci
    bare.trace_coeffs = [np.zeros_like(one) for one in bare.base_coeffs]
    bare.update_trace_from_coeffs()
    bare.meta["bad_shutter_names"] = []
    if hasattr(bare, "mask_profile"):
        del bare.mask_profile


def flag():
    bare.mask_stuck_closed_shutters()
    bare.flag_trace_outliers()
    bare.flag_percentile_outliers()
    bare.flag_from_profile()
    bare.flag_2d_outliers()
    return [int(n) for n in bare.mask.sum(axis=1)]


def fit_all():
    return bare.fit_all_traces(niter=4, ref_exp=2, **FREE)


def combine(fit):
    groups = {"g": {"obj": bare, "fit": fit}}
    return slit_combine.combine_grating_group(groups, ["g"], drizzle_kws=slit_combine.DRIZZLE_KWS)


def everything():
    left = flag()
    hdus = combine(fit_all())
    return [left, float(np.nansum(hdus["SPEC1D"].data["flux"]))]


def cold():
    group = slit_combine.SlitGroup(files, "cold")
    slit_combine.LOOKUP_PRF = None
    return [int(n) for n in group.mask.sum(axis=1)]


def drizzle():
    groups = {"g": {"obj": bare, "fit": fit_all.found}}
    slit_combine.drizzle_grating_group(groups, ["g"], **slit_combine.DRIZZLE_KWS)


def single(asked):
    return float(bare.fit_single_trace(exp=2, **asked)["chi2_fit"])


JOBS = {
    "fit, free width": lambda: single(FREE),
    "fit, fixed width": lambda: single(FIXED),
    "difference": lambda: bare.make_diff_image(exp=2) and None,
    "combination": drizzle,
    "flags": flag,
    "flags, traces, combination": everything,
    "cold": cold,
}
for line in sys.stdin:
    restart()
    if line.strip() == "combination":
        fit_all.found = fit_all()
    gc.collect()
    start = time.process_time()
    found = JOBS[line.strip()]()
    seconds = time.process_time() - start
    print("= " + json.dumps([seconds, found]), file=answers)
