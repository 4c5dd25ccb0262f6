"""Objects from files of beams to maps, one after the other; after 100 and after all, a line with what that took.

Run as ``python grism_objects_worker.py FOLDER TEMPLATES CONF`` with a folder of ``*.beams.fits``. A line is a JSON object:
objects, CPU time [s] of all and of each step, the most memory so far [MB], redshifts and numbers of maps.
"""

import json
import resource
import sys
import time
from pathlib import Path

from skymere import set_num_threads
from skymere.grism import fit_lines, fit_redshift, fit_templates, line_maps, read_beams
from skymere.resample import Geometry
from skymere.spectra import TemplateSet

folder, templates, conf = map(Path, sys.argv[1:])
set_num_threads(1)
blends = TemplateSet.load(templates)
lines = TemplateSet.load(templates, line_complexes=False)
geometry = Geometry(pixscale=0.1, size=6.0)
spent = dict.fromkeys(("read", "redshift", "lines", "maps"), 0.0)
redshifts, statuses, n_maps = [], [], []
for n, path in enumerate(sorted(folder.glob("*.beams.fits")), start=1):
    clock = [time.process_time()]
    beams = read_beams(path, conf_path=conf)
    clock.append(time.process_time())
    found = fit_redshift(beams, templates=blends, z_range=(0.05, 3.4))
    clock.append(time.process_time())
    table = fit_lines(beams, found.z_map, templates=lines)
    fit = fit_templates(beams, found.z_map, templates=lines)
    clock.append(time.process_time())
    maps = line_maps(beams, fit, geometry=geometry)
    clock.append(time.process_time())
    for step, first, last in zip(spent, clock[:-1], clock[1:], strict=True):
        spent[step] += last - first
    redshifts.append(found.z_map)
    statuses.append(found.status)
    n_maps.append(len(maps.lines))
    assert table.height
    if n in (100, 1000):
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        made = {"n": n, "spent": spent, "memory": memory, "z": redshifts, "status": statuses, "maps": n_maps}
        print(json.dumps(made), flush=True)
