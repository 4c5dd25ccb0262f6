"""Thumbnails a second from exposures in files, with one and two processes; nothing is asserted of times.

Wall times of two processes mean something on two idle cores alone; CPU times, and the part of the parent, do on any machine.
"""

import resource
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.benchmarks.peers import print_machine

from skymere.mosaic import ExposureList, ThumbnailParams, thumbnails
from skymere.psf import MoffatPsf
from skymere.resample import Geometry
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure

RA, DEC = 40.0, 5.0
N_POSITIONS = 300
CAMERA = CameraParams(shape=(500, 500), exptime=600.0, n_cosmic_rays=0, n_bad_pixels=0, n_dead_pixels=0)


@pytest.fixture(scope="module")
def exposures(tmp_path_factory: pytest.TempPathFactory) -> ExposureList:
    folder = tmp_path_factory.mktemp("visit")
    scene = draw_scene(RA, DEC, params=SceneParams(n_galaxies=0, n_stars=12, radius_arcsec=25.0), seed=2)
    rng = np.random.default_rng(1)
    for band in ("f125w", "f160w"):
        for i in range(6):
            east, north = rng.uniform(-2.0, 2.0, 2) / 3600
            pointing = Pointing(name=f"{band}{i}q", band=band, ra=RA + east, dec=DEC + north, pa_deg=20.0)
            path = folder / f"{band}{i}q_flt.fits"
            write_exposure(render_exposure(scene, pointing, params=CAMERA), pointing, path, params=CAMERA)
    return ExposureList.from_files(folder)


@pytest.mark.benchmark
def test_thumbnails_a_second_with_one_and_two_processes(exposures: ExposureList, one_thread: None) -> None:
    print_machine()
    rng = np.random.default_rng(5)
    places = np.array([RA, DEC]) + rng.uniform(-24, 24, (N_POSITIONS, 2)) / 3600
    square = Geometry(kernel="square", pixfrac=0.8)
    moffat = MoffatPsf(fwhm_arcsec=0.16, beta=3.0)
    for name, geometry, psf in (("point", Geometry(), None), ("square", square, None), ("square, PSF", square, moffat)):
        seconds: dict[int, float] = {}
        cpu: dict[int, tuple[float, float]] = {}
        found: dict[int, bytes] = {}
        for n_workers in (1, 2):
            begin, begin_cpu = time.perf_counter(), cpu_seconds()
            made = thumbnails(
                exposures,
                places,
                geometry=replace(geometry, size=8.0),
                psf=psf,
                params=ThumbnailParams(memory_mb=512.0),
                n_workers=n_workers,
            )
            total = sum(np.nansum(one.bands[0].data, dtype=np.float64) for one in made if one.bands)
            seconds[n_workers] = time.perf_counter() - begin
            found[n_workers] = np.float64(total).tobytes()
            cpu[n_workers] = tuple(now - then for now, then in zip(cpu_seconds(), begin_cpu, strict=True))
        assert found[1] == found[2]
        here, there = (1e3 * part / N_POSITIONS for part in cpu[2])
        print(
            f"{name}: CPU {1e3 * cpu[1][0] / N_POSITIONS:.1f} ms each with one process, {here:.1f} ms here and {there:.1f} ms in"
            f" two (with their start); {N_POSITIONS / seconds[1]:.0f} and {N_POSITIONS / seconds[2]:.0f} per second of the clock"
        )


def cpu_seconds() -> tuple[float, float]:
    """CPU time of this process, and of its children that have ended [s]."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time(), children.ru_utime + children.ru_stime
