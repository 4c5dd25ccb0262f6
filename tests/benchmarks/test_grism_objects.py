"""1,000 simulated objects from files of beams to redshift, lines and maps: objects per second, and memory that stays.

Two beams each, of G102 and G141, default parameters (exact lines, spline operator). Their spectra are drawn with the
operator of the fit, which is fast, on the places and shapes of GalSim sources: what is shown is speed, not accuracy.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.grism_beams import simulated_beams
from tests.benchmarks.peers import ONE_THREAD
from tests.grism.emitters import WAVE, beams_of, spectrum, truth

from skymere.grism import read_beams
from skymere.io import write_beam_file
from skymere.spectra import TemplateSet

N_OBJECTS, N_SHAPES = 1000, 5


def write_objects(folder: Path, spectra_folder: Path) -> np.ndarray:
    """Write files of beams; return the redshifts."""
    templates = TemplateSet.load(spectra_folder / "grizli" / "templates")
    conf = spectra_folder / "grizli" / "CONF"
    (folder / "shapes").mkdir()
    shapes = []
    for i in range(N_SHAPES):
        path = folder / "shapes" / f"{i}.beams.fits"
        simulated_beams(spectra_folder, path, templates, n_exposures=1, n_angles=1, seed=100 * i)
        shapes.append(read_beams(path, conf_path=conf))
    rng = np.random.default_rng(3)
    # Two lines are within the grisms.
    redshifts = rng.uniform(1.3, 2.2, N_OBJECTS)
    for i, z in enumerate(redshifts):
        strength = float(10 ** rng.uniform(-16.0, -15.3))
        lines = {"OIII+Hb+Hg+Hd": strength, "OII+Ne": 0.4 * strength}
        flux = spectrum(templates, z, truth(templates, z, lines=lines))
        made = beams_of(shapes[i % N_SHAPES], WAVE, flux, rng=rng)
        write_beam_file(folder / f"{i:04d}.beams.fits", [one.beam for one in made.beams])
    return redshifts


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_a_thousand_objects_from_beams_to_maps_in_the_same_memory(spectra_folder: Path, tmp_path: Path) -> None:
    redshifts = write_objects(tmp_path, spectra_folder)
    words = [str(tmp_path), str(spectra_folder / "grizli" / "templates"), str(spectra_folder / "grizli" / "CONF")]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("grism_objects_worker.py")), *words],
        env=os.environ | ONE_THREAD | {"POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    few, all_of_them = (json.loads(line) for line in done.stdout.splitlines())
    print(f"\n{platform.machine()}, Python {platform.python_version()}, one thread, CPU time")
    for one in (few, all_of_them):
        total = sum(one["spent"].values())
        steps = ", ".join(f"{step} {1e3 * spent / one['n']:.1f} ms" for step, spent in one["spent"].items())
        print(f"{one['n']} objects: {one['n'] / total:.1f} objects/s ({steps}), at most {one['memory']:.0f} MB")
    off = np.abs(np.array(all_of_them["z"]) - redshifts) / (1 + redshifts)
    print(f"redshifts within 0.005 (1 + z): {np.mean(off < 0.005):.3f}; {np.mean(all_of_them['maps']):.1f} maps each")
    assert all_of_them["n"] == N_OBJECTS
    assert np.mean(off < 0.005) > 0.9
    assert np.mean(all_of_them["maps"]) >= 1
    # Caches of templates and tables are full after the first ones.
    assert all_of_them["memory"] < 1.1 * few["memory"]
    assert N_OBJECTS / sum(all_of_them["spent"].values()) > 3
