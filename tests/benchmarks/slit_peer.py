"""Times msaexp on the three real slitlets, in an environment of its own; the last line of the output is a JSON object.

Run as ``python slit_peer.py FOLDER`` with the folder of the slitlets' files, and ``GRIZLI`` set to a folder with the empty
folders ``CONF``, ``templates``, ``iref`` and ``jref``.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
FREE = {"degree": 0, "initial_sigma": 7, "force_positive": False, "with_bounds": False, "tol": 1e-8, "verbose": False}
FIXED = {"fix_sigma": 6.0, "degree": 1, "verbose": False}


def best_of(call: Callable[[], object], repeat: int = 5) -> float:
    """Least CPU time [s] after a warm-up."""
    call()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


slit_combine.VERBOSE_LOG = False
group = slit_combine.SlitGroup(sorted(str(p) for p in Path(sys.argv[1]).glob("*phot*.fits")), "bare", **BARE)
slit_combine.LOOKUP_PRF = None
times = {
    "fit, free width": best_of(lambda: group.fit_single_trace(exp=2, **FREE)),
    "fit, fixed width": best_of(lambda: group.fit_single_trace(exp=2, **FIXED)),
    "difference": best_of(lambda: group.make_diff_image(exp=2)),
}
chi2 = {
    "fit, free width": float(group.fit_single_trace(exp=2, **FREE)["chi2_fit"]),
    "fit, fixed width": float(group.fit_single_trace(exp=2, **FIXED)["chi2_fit"]),
}
fit = group.fit_all_traces(niter=4, ref_exp=2, **FREE)
groups = {"g": {"obj": group, "fit": fit}}
times["combination"] = best_of(
    lambda: slit_combine.drizzle_grating_group(groups, ["g"], **slit_combine.DRIZZLE_KWS), repeat=3
)
print()
print(json.dumps({"times": times, "chi2": chi2}))
