"""Ctrl-C while sources are fitted."""

import signal
import subprocess
import sys
import time

import pytest

BEGIN = """
import numpy as np
from skymere import set_num_threads
from skymere.profiles import FitParams, SceneParams, fit_scene, fit_sersic, render_sersic
set_num_threads(N_THREADS)
y, x = np.mgrid[-15:16, -15:16]
psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)
image = render_sersic((200, 200), x=99.3, y=98.8, flux=1e3, re=9.0, n=2.0, psf=psf).astype(np.float32)
fits = FitParams(tolerance=1e-300, max_evaluations=100_000)
labels = np.zeros(image.shape, int)
labels[80:120, 80:120] = 1
print("ready", flush=True)
"""
STAMPS = "fit_sersic(np.broadcast_to(image, (600, 200, 200)), 1.0, psf=psf, params=fits)"
# Neighbours of one group are one long fit.
SCENE = """
yy, xx = np.indices((900, 900))
centres = [(100 + 100 * j, 100 + 100 * i) for j in range(8) for i in range(8)]
labels = np.zeros((900, 900), int)
for k, (cy, cx) in enumerate(centres, 1):
    labels[cy - 12:cy + 12, cx - 12:cx + 12] = k
big = np.random.default_rng(1).normal(0, 1, (900, 900)) + 20 * (labels > 0)
params = SceneParams(max_members=64, min_half_pix=900.0, n_passes=50)
fit_scene(big, 1.0, labels=labels, psf=psf, params=params)
"""


# One thread works in the interpreter's own, and looks for signals itself.
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("work", [STAMPS, SCENE], ids=["stamps", "scene"])
def test_ctrl_c_ends_a_fit_soon(work: str, n_threads: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN.replace("N_THREADS", str(n_threads)) + work],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    time.sleep(2.0)
    assert process.poll() is None, process.communicate()[1]
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    # One evaluation of the largest model, on a machine that does other things, too.
    assert time.monotonic() - begun < 15
