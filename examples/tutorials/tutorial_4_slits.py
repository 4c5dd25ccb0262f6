"""
Combine the exposures of a slit
===============================

``SlitGroup`` of *msaexp*: three nods of one source behind the micro-shutters of NIRSpec, from files to a combined spectrum and its redshift.

The names are msaexp's, so change the import. What is different is said under :doc:`/packages/slit`; ``compat="msaexp"`` makes it the same again.

================================================= ==================================================================
in the documentation of msaexp                    here
================================================= ==================================================================
``SlitGroup(files, name, ...)``                   `skymere.slit.SlitGroup`, the same arguments
``fit_all_traces(niter, ref_exp, ...)``           the same; all exposures are fitted together
``flag_hot_cold_pixels, flag_trace_outliers ...`` the same, and each flagged pixel has a reason
``plot_profile()``                                the same
``combine_grating_group``                         `skymere.slit.combine_grating_group`; errors follow every raw pixel
``extract_spectra``                               `skymere.slit.extract_spectra`, ``skymere slit combine``
================================================= ==================================================================
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from skymere.io import build_pack
from skymere.slit import SlitGroup, combine_grating_group, plot_summary, read_slit_spectrum, write_slit_spectrum
from skymere.slit.flags import SLIT_FLAG_BITS
from skymere.spectra import fit_redshift, prism_templates
from skymere.testing import simulate_slit_files, write_slit_pack

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
# Three exposures
# ---------------
#
# A galaxy at redshift 3.217 with lines, three nods of 1000 s with the prism, hot pixels and outliers; and a pack with the reference files that
# correct them: shadows of the bars, flat fields, dispersion. ``skymere data add`` makes such a pack of real ones.

TRUE = 3.217
sources = pl.DataFrame(
    {"name": ["9998_1"], "ra": [150.0], "dec": [2.0], "redshift": [TRUE], "continuum": [0.3], "line_flux": [2.4]}
)
files = simulate_slit_files(sources, folder / "exposures", seed=11)
pack = build_pack(write_slit_pack(folder / "packs"), name="nirspec", version="simulated")
for path in files:
    print(path.name)

# %%
# The group
# ---------
#
# The constructor reads the exposures, applies the corrections and flags what is not the source's: its arguments are those of msaexp, and
# ``meta["status"]`` says what was done.

group = SlitGroup(files, "9998_1", pack=pack)
print(group.info.select("filename", "position_number", "y_offset", "detector", "filter"))
for stage, status in group.meta["status"].items():
    print(f"{stage:28} {status}")

# %%
# A pixel is left out for a reason:

for reason, bit in SLIT_FLAG_BITS.items():
    n_pixels = int(np.count_nonzero(group.flags & bit))
    if n_pixels:
        print(f"{reason:20} {n_pixels}")

# %%
# Traces
# ------
#
# One width and one trace for all exposures, from the raw frames with free skies, so that no exposure is fitted to another.

group.fit_all_traces(degree=0)
for position, one in group.fit.items():
    print(
        f"exposure at position {position}: width {one['sigma']:.3f} pixels, trace off by {one['trace_coeffs'][-1]:+.4f}"
    )

# %%
# The combined spectrum
# ---------------------
#
# In two dimensions for the eye, in one from the pixels themselves: fluxes are a linear function of raw pixels, so their covariance is known.

spectrum = combine_grating_group(group)
write_slit_spectrum(spectrum, folder / "9998_1.spec.fits")
again = read_slit_spectrum(folder / "9998_1.spec.fits")
print(f"{again.wave.size} bins from {again.wave[0]:.2f} to {again.wave[-1]:.2f} um")
print(f"median signal over noise of a bin {np.nanmedian(again.flux / again.err):.1f}")

# %%
# Redshift and lines
# ------------------

fit = fit_redshift(spectrum, templates=prism_templates(), z_range=(0.5, 7.0))
print(f"z = {fit.z:.4f} +- {fit.z_err:.4f}, true {TRUE}: {fit.status}")
print(fit.lines.select("line", "wave", "flux", "flux_err", "snr").sort("snr", descending=True).head(5))

# %%
# A page of it all:

plot_summary(spectrum, fit=fit).savefig(folder / "summary.png")

# %%
# Real slits
# ----------
#
# Three nods of CEERS source 1345_933 with msaexp's reference files.

data = os.environ.get("SKYMERE_DATA")
if data is None:
    print("SKYMERE_DATA is not set, so there are no real slits here")
else:
    calib = folder / "calib"
    calib.mkdir()
    for pattern in ("prism_*", "*badpix_nrs2*", "*prism_disp*", "*.csv"):
        for path in Path(data, "spectra/nirspec/calib").glob(pattern):
            shutil.copyfile(path, calib / path.name)
    real = SlitGroup(
        sorted(Path(data, "spectra/nirspec").glob("*_phot.*.fits")),
        "1345_933",
        pack=build_pack(calib, name="nirspec", version="0.9.19"),
    )
    real.fit_all_traces(degree=0)
    real_spectrum = combine_grating_group(real)
    real_fit = fit_redshift(real_spectrum, templates=prism_templates(), z_range=(3.5, 5.0))
    print(f"z = {real_fit.z:.4f} +- {real_fit.z_err:.4f}")
    plot_summary(real_spectrum, fit=real_fit).savefig(folder / "real_summary.png")

# %%
# From a shell, ``skymere slit combine`` writes the spectra of files, ``skymere slit redshift`` fits them. In a survey, for any number of sources, these are the
# stages ``slits`` and ``redshifts`` of a plan: :doc:`/start`.

temporary.cleanup()
