"""Evaluate the configurations of `grism_configs.py` with grizli 1.14.3 and grismconf 1.60.

Run with an interpreter that has both: ``GRIZLI=DIR python make_grism_traces.py`` writes ``grism_traces.json`` beside this
file. DIR is an empty folder, with ``CONF/GR150C.F150W.220725.conf`` and its sensitivities for the real file of NIRISS.
"""

import json
import os
from pathlib import Path

import numpy as np
from grism_configs import N_OFFSETS, PLACES, WHEEL, write_configs
from grizli import grismconf

folder = Path(os.environ["GRIZLI"]) / "CONF"
paths = write_configs(folder)
real = "GR150C.F150W.220725.conf"
if (folder / real).is_file():
    paths[real] = folder / real
out = {}
for name, path in paths.items():
    conf = grismconf.load_grism_config(str(path), warnings=False)
    rows = []
    for beam in conf.beams:
        dx = np.linspace(conf.dxlam[beam][0], conf.dxlam[beam][-1], N_OFFSETS)
        reference = (
            getattr(conf, "conf", {}).get("FWCPOS_REF") if isinstance(getattr(conf, "conf", None), dict) else None
        )
        wheels = [None] if reference is None else [None, reference + WHEEL]
        for x, y in PLACES:
            for wheel in wheels:
                dy, wave = conf.get_beam_trace(x=x, y=y, dx=dx, beam=beam, fwcpos=wheel)
                rows.append(
                    {
                        "order": beam,
                        "first": int(conf.dxlam[beam][0]),
                        "last": int(conf.dxlam[beam][-1]),
                        "x": x,
                        "y": y,
                        "fwcpos": wheel,
                        "dx": dx.tolist(),
                        "dy": np.broadcast_to(dy, dx.shape).tolist(),
                        "wavelength": np.broadcast_to(wave, dx.shape).tolist(),
                    }
                )
    out[name] = rows
Path(__file__).with_name("grism_traces.json").write_text(json.dumps(out, indent=0))
