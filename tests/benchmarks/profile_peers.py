"""Fits Sersic stamps with a peer, in an environment of its own: each line of the input is a number of stamps to fit.

Run as ``python profile_peers.py PEER STAMPS.npz``. The first line of the output says that the peer is there, or why not;
after it every run answers with its CPU time, its wall time [s] and the chi-squares of the first stamps.
"""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def pyimfit_fit() -> Fit:
    """From the truth rounded; pyimfit needs a start."""
    import pyimfit

    def fit(image: np.ndarray, psf: np.ndarray, start: np.ndarray) -> float:
        radius, index, ellipticity, pa, flux = start
        sersic = pyimfit.make_imfit_function("Sersic")
        sersic.PA.setValue(round(float(pa) % 180, -1), [0, 180])
        sersic.ell.setValue(float(np.clip(round(ellipticity, 1), 0.05, 0.9)), [0, 0.95])
        sersic.n.setValue(float(round(index)) or 0.8, [0.1, 8])
        sersic.r_e.setValue(float(round(radius)), [0.01, 100])
        sersic.I_e.setValue(float(flux / (15 * radius**2)), [0, 1e9])
        sky = pyimfit.make_imfit_function("FlatSky")
        sky.I_sky.setValue(0.0, [-10, 10])
        model = pyimfit.SimpleModelDescription()
        middle = (image.shape[-1] + 1) / 2
        model.x0.setValue(middle, [middle - 4, middle + 4])
        model.y0.setValue(middle, [middle - 4, middle + 4])
        model.addFunction(sersic)
        model.addFunction(sky)
        fitter = pyimfit.Imfit(model, psf=psf, maxThreads=1)
        found = fitter.fit(image, error=np.ones(image.shape), error_type="sigma", solver="LM", verbose=-1)
        return float(found.fitStat)

    return fit


def astrophot_fit() -> Fit:
    """From its own start, without a sky."""
    import torch

    torch.set_num_threads(1)
    import astrophot

    def fit(image: np.ndarray, psf: np.ndarray, start: np.ndarray) -> float:
        del start
        target = astrophot.TargetImage(data=image, pixelscale=1.0, variance=np.ones(image.shape), psf=psf)
        model = astrophot.Model(name="one", model_type="sersic galaxy model", target=target, psf_convolve=True)
        model.initialize()
        astrophot.fit.LM(model, verbose=0).fit()
        drawn = model().data.detach().numpy()
        return float(((image - drawn.reshape(image.shape)) ** 2).sum())

    return fit


def petrofit_fit() -> Fit:
    """From the truth rounded, without a sky."""
    from astropy.modeling.models import Sersic2D
    from petrofit.modeling import PSFConvolvedModel2D, fit_model

    def fit(image: np.ndarray, psf: np.ndarray, start: np.ndarray) -> float:
        radius, index, ellipticity, pa, flux = start
        middle = (image.shape[-1] - 1) / 2
        sersic = Sersic2D(
            amplitude=float(flux / (15 * radius**2)),
            r_eff=float(round(radius)),
            n=float(round(index)) or 0.8,
            x_0=middle,
            y_0=middle,
            ellip=float(np.clip(round(ellipticity, 1), 0.05, 0.9)),
            theta=float(np.deg2rad(round(float(pa), -1) + 90)),
            bounds={
                "amplitude": (0, None),
                "r_eff": (0.01, 100),
                "n": (0.1, 8),
                "x_0": (middle - 4, middle + 4),
                "y_0": (middle - 4, middle + 4),
                "ellip": (0, 0.95),
            },
        )
        model = PSFConvolvedModel2D(sersic, psf=psf, oversample=None)
        model.fixed["psf_pa"] = True
        found, _ = fit_model(image, model, maxiter=500)
        y, x = np.indices(image.shape)
        return float(((image - found(x, y)) ** 2).sum())

    return fit


PEERS: dict[str, Callable[[], Fit]] = {"pyimfit": pyimfit_fit, "astrophot": astrophot_fit, "petrofit": petrofit_fit}


def answer(words: dict[str, Any]) -> None:
    print("answer " + json.dumps(words), flush=True)


def main(peer: str, path: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    try:
        fit = PEERS[peer]()
    except (ImportError, OSError) as error:
        answer({"missing": f"{peer} cannot be imported by {sys.executable}: {error}"})
        return
    given = np.load(path)
    data, psf = given["data"].astype(float), given["psf"] / given["psf"].sum()
    answer({"missing": ""})
    for line in sys.stdin:
        n_stamps = int(line)
        cpu, wall = time.process_time(), time.perf_counter()
        chi2 = [fit(image, psf, start) for image, start in zip(data[:n_stamps], given["start"][:n_stamps], strict=True)]
        answer({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "chi2": chi2})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
