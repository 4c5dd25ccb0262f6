"""What grizli makes of a file of beams, and its templates: runs in the environment that has it, writes arrays."""

import gc
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")
# Collections of cycles now and then wait for ever with these packages.
gc.disable()

from grizli import multifit, utils  # noqa: E402


def beams(path: str, out: str) -> None:
    """Open a file of beams as its users do and write what its fits see."""
    mb = multifit.MultiBeam(
        path, group_name="x", fcontam=0.2, sys_err=0.03, MW_EBV=0.0, min_mask=0.01, min_sens=0.02, mask_resid=True,
        verbose=False,
    )  # fmt: skip
    found = {"N": mb.N, "grisms": np.array(list(mb.Ngrism)), "counts": np.array(list(mb.Ngrism.values()))}
    for i, beam in enumerate(mb.beams):
        found[f"sci{i}"] = beam.grism.data["SCI"]
        found[f"contam{i}"] = beam.contam
        found[f"flat{i}"] = beam.flat_flam.reshape(beam.sh)
        found[f"mask{i}"] = beam.fit_mask.reshape(beam.sh)
        found[f"ivar{i}"] = beam.ivar
        found[f"angle{i}"] = beam.get_dispersion_PA(decimals=0)
    np.savez(out, **found)


def templates(out: str) -> None:
    """Write its Lorentzian lines."""
    found = {}
    for kind, complexes in (("complexes", True), ("lines", False)):
        some = utils.load_templates(fwhm=1200, line_complexes=complexes, lorentz=True, continuum_list=[])
        for name, one in some.items():
            found[f"{kind} {name.removeprefix('line ')}"] = np.stack([one.wave, one.flux])
    np.savez(out, **found)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    {"beams": beams, "templates": templates}[what](*words)
