"""What msaexp makes of the three real slitlets with each weight, and with its tabulated profile, as an ``npz`` file.

Run by `test_slit_spectra` as ``python slit_spectra_peer.py FOLDER OUTPUT`` in an environment of its own, with ``GRIZLI`` set.
"""

import sys
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
FIT = {"niter": 4, "degree": 0, "ref_exp": 2, "force_positive": False, "with_bounds": False, "verbose": False}
# Where both are compared; the rounds of msaexp end with all traces there.
THETA = [5.6404, 0.8078]
TABLE_THETA = [4.5, 0.8078]
COLUMNS = ("wave", "flux", "err", "sky", "path_corr", "npix", "norm_corr", "flux_sum", "profile_sum", "var_sum")

slit_combine.VERBOSE_LOG = False
files = sorted(str(path) for path in Path(sys.argv[1]).glob("*phot*.fits"))
made = {}


def add(key, group, theta):
    """Keep the spectra of a group with all traces at one place."""
    fit = group.fit_all_traces(x0=np.array(theta), evaluate=True, **FIT)
    hdus = slit_combine.combine_grating_group({"g": {"obj": group, "fit": fit}}, ["g"])
    for name in ("SCI", "WHT", "PROFILE"):
        made[f"{key} {name}"] = hdus[name].data
    for column in COLUMNS:
        made[f"{key} {column}"] = np.asarray(hdus["SPEC1D"].data[column], float)
    for column in ("pix", "profile", "pfit"):
        made[f"{key} prof1d {column}"] = np.asarray(hdus["PROF1D"].data[column], float)
    made[f"{key} chi2"] = np.array([fit[exp]["chi2_fit"] for exp in sorted(fit)])
    return hdus


group = slit_combine.SlitGroup(files, "g", **BARE)
slit_combine.LOOKUP_PRF = None
for weight in ("ivm", "poisson", "exptime", "exptime_bar", "mask"):
    group.meta["weight_type"] = weight
    add(weight, group, THETA)

table = slit_combine.set_lookup_prf(slit_file=files[0])
group = slit_combine.SlitGroup(files, "g", lookup_prf=table, **BARE)
hdus = add("table", group, TABLE_THETA)
for column in ("profile", "pathloss", "wave"):
    made[f"table pixels {column}"] = np.asarray(hdus["PIXTAB"].data[column], float)
fit = group.fit_all_traces(initial_sigma=7, tol=1e-8, **FIT)
made["table theta"] = np.array(fit[2]["theta"])
made["table best"] = fit[2]["chi2_fit"]
for kind in ("merged", "by_grating"):
    names = []
    for grating, filter_name, aperture in (
        ("PRISM", "CLEAR", "s200a1"),
        ("G395H", "F290LP", "s200a1"),
        ("G140M", "F070LP", "s200b1"),
        ("G235M", "F170LP", "s1600a1"),
    ):
        slit_combine.msautils.LookupTablePSF = lambda psf_file, names=names: names.append(psf_file)
        # Only the name is asked for; most of the tables are not there.
        slit_combine.set_lookup_prf(grating=grating, filter=filter_name, fixed_slit=aperture, lookup_prf_type=kind)
    made[f"names {kind}"] = np.array(names)
np.savez(sys.argv[2], **made)
