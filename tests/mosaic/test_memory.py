"""Memory does not grow with the number of exposures."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skymere.testing import CameraParams, SceneParams, dithers, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure

CAMERA = CameraParams(shape=(200, 200), n_cosmic_rays=30, n_bad_pixels=300, n_dead_pixels=5)
SCRIPT = """
import sys
from pathlib import Path
import skymere
from skymere.mosaic import ExposureFiles, GridParams, drizzle_stream, make_grid

skymere.set_num_threads(1)
exposures = ExposureFiles(sorted(Path(sys.argv[1]).glob("*_flt.fits")))
mosaic = drizzle_stream(exposures, make_grid(exposures, params=GridParams(scale_arcsec=0.1)))
assert len(mosaic.exposure_ids) == int(sys.argv[2])
assert mosaic.params["quality"]["verdict"] != "over-rejected"
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def peak_mb(folder: Path, n: int) -> float:
    """Peak memory of a fresh process that makes a mosaic of n exposures [MB]."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, folder, str(n)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.validate
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_200_exposures_need_no_more_than_a_tenth_more_memory_than_20(tmp_path: Path) -> None:
    scene = draw_scene(20.0, 1.0, params=SceneParams(n_galaxies=10, n_stars=25, radius_arcsec=13.0), seed=4)
    (tmp_path / "20").mkdir()
    (tmp_path / "200").mkdir()
    for pointing in dithers(20.0, 1.0, bands=["f160w"], n_dithers=20, step_arcsec=1.5):
        path = tmp_path / "20" / f"{pointing.name}_flt.fits"
        write_exposure(render_exposure(scene, pointing, params=CAMERA), pointing, path, params=CAMERA)
        for i in range(10):
            shutil.copy(path, tmp_path / "200" / f"{pointing.name}{i}_flt.fits")
    few, many = peak_mb(tmp_path / "20", 20), peak_mb(tmp_path / "200", 200)
    print(f"peak memory {few:.0f} MB for 20 exposures, {many:.0f} MB for 200: x {many / few:.3f}")
    assert many < 1.1 * few
