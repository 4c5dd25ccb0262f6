"""Single Sersic fits against pyimfit on identical stamps, in one run.

7 parameters and a flat sky, a PSF of 61 x 61 pixels, pixels of known noise, blind start values. pyimfit gets the truth
rounded as its start, which is more than skymere does.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from tests.profiles.stamps import stamps

from skymere.profiles import fit_sersic

pyimfit = pytest.importorskip("pyimfit", reason="pyimfit is not installed: pip install pyimfit")

N_STAMPS, S_N = 4, 100.0


def by_pyimfit(data: np.ndarray, truth: dict[str, np.ndarray], psf: np.ndarray) -> list[float]:
    chi2 = []
    for i, image in enumerate(data):
        sersic = pyimfit.make_imfit_function("Sersic")
        r, n, ell = truth["r_eff_pix"][i], truth["sersic_index"][i], truth["ellipticity"][i]
        sersic.PA.setValue(round(float(truth["pa"][i]) % 180, -1), [0, 180])
        sersic.ell.setValue(float(np.clip(round(ell, 1), 0.05, 0.9)), [0, 0.95])
        sersic.n.setValue(float(round(n)) or 0.8, [0.1, 8])
        sersic.r_e.setValue(float(round(r)), [0.01, 100])
        sersic.I_e.setValue(float(truth["flux"][i] / (15 * r**2)), [0, 1e9])
        sky = pyimfit.make_imfit_function("FlatSky")
        sky.I_sky.setValue(0.0, [-10, 10])
        model = pyimfit.SimpleModelDescription()
        middle = (data.shape[-1] + 1) / 2
        model.x0.setValue(middle, [middle - 4, middle + 4])
        model.y0.setValue(middle, [middle - 4, middle + 4])
        model.addFunction(sersic)
        model.addFunction(sky)
        fitter = pyimfit.Imfit(model, psf=psf, maxThreads=1)
        found = fitter.fit(image.astype(float), error=np.ones(image.shape), error_type="sigma", solver="LM", verbose=-1)
        chi2.append(found.fitStat)
    return chi2


@pytest.mark.benchmark
@pytest.mark.parametrize("side", [64, 128, 200])
def test_single_fits(race, side: int) -> None:
    drawn = stamps(N_STAMPS, re=side / 16, side=side, seed=side)
    data, truth = drawn.at(S_N, seed=1)
    peer = by_pyimfit(data, truth, drawn.psf)
    table = fit_sersic(data, 1.0, psf=drawn.psf)
    print(f"chi2 minus pyimfit's: {np.round(table['chi2'].to_numpy() - peer, 2)}")
    assert (table["status"] == "ok").all()
    race(
        f"{N_STAMPS} Sersic fits of {side} x {side}",
        lambda: fit_sersic(data, 1.0, psf=drawn.psf),
        lambda: by_pyimfit(data, truth, drawn.psf),
    )
