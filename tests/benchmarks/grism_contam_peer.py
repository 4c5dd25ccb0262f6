"""Draws the contamination scene with grizli, in an environment of its own, once for each line that it is sent.

Run as ``python grism_contam_peer.py FOLDER`` with the folder of the spectra, and ``GRIZLI`` set to a folder with ``CONF``,
``templates`` and the empty folders ``iref`` and ``jref``. The answer is a line ``= `` with its CPU time [s] and the sum of
the model.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

# Collections of cycles now and then wait for ever with these packages.
gc.disable()
# What packages print is not an answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from grizli.model import GrismFLT  # noqa: E402

folder = Path(sys.argv[1])
PHOTFLAM, PIVOT = 1.4737148727237957e-20, 13922.907
with fits.open(folder / "scene" / "scene_g141.fits.gz", memmap=False) as hdus:
    direct, seg = (np.array(hdus[name].data) for name in ("DIRECT", "SEG"))
with fits.open(folder / "wfc3" / "j033216m2743_00152.beams.fits") as hdus:
    sky = hdus[9].header.copy()
catalog = Table.read(folder / "scene" / "scene_catalog.csv")


def write(name, data, band):
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": band, "EXPTIME": 1000.0})
    header = fits.Header()
    for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        header[key] = sky[key]
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 507.0, "CRPIX2": 507.0})
    header.update({"BUNIT": "ELECTRONS/S", "PHOTFLAM": PHOTFLAM, "PHOTPLAM": PIVOT, "EXPTIME": 1000.0})
    planes = [fits.ImageHDU(data.astype(np.float32), header, "SCI"), fits.ImageHDU(np.ones_like(data), header, "ERR")]
    fits.HDUList([primary, *planes, fits.ImageHDU(np.zeros(data.shape, np.int16), header, "DQ")]).writeto(
        name, overwrite=True
    )


write("scene_g_flt.fits", np.zeros_like(direct), "G141")
write("scene_d_flt.fits", direct, "F140W")
frame = GrismFLT(grism_file="scene_g_flt.fits", direct_file="scene_d_flt.fits", pad=(64, 256), verbose=False)
padded = np.pad(seg, ((64, 64), (256, 256))).astype(np.float32)
frame.seg = padded
ids, mags = [int(one) for one in catalog["id"]], [float(one) for one in catalog["mag"]]


def draw():
    """Draw all orders of all sources anew: what grizli keeps of a source is thrown away first."""
    frame.object_dispersers = {}
    frame.model = np.zeros_like(frame.model)
    frame.compute_full_model(ids=ids, mags=mags, store=False, verbose=False)


for _ in sys.stdin:
    start = time.process_time()
    draw()
    spent = time.process_time() - start
    total = float(frame.model[64:-64, 256:-256].sum(dtype=np.float64))
    answers.write(f"= {json.dumps([spent, total])}\n")
