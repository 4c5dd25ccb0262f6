"""Forced photometry of one band against scipy's solvers of the same system, in one run.

Ours draws the templates, finds the shift together with the fluxes, solves and gives the errors and the covariances of
overlapping sources. The peers get templates that are drawn already, at the right place, and solve for fluxes and sky
only: `lsqr` to a tolerance of 1e-9 (no errors), and the normal equations by `spsolve` (no errors either).
"""

import resource
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from scipy.sparse import linalg

import skymere
from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.psf import GaussianPsf
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

SHIFT = (0.06, -0.04)
PSF = GaussianPsf(fwhm_arcsec=1.7)
PARAMS = PhotometryParams(shift=ShiftParams(method="joint"))


def _field(n: int, side: int) -> tuple[MeasureImage, pl.DataFrame]:
    """IRAC-like pixels, of our own templates: what is compared is speed."""
    rng = np.random.default_rng(7)
    grid = Grid.tangent(150.0, 2.0, shape=(side, side), scale_arcsec=0.6, rotation_deg=20.0)
    ra, dec = grid.sky(*rng.uniform(3, side - 4, (2, n)))
    models = pl.DataFrame({"source_id": np.arange(n), "ra": ra, "dec": dec}).with_columns(
        r_eff=10 ** rng.uniform(-0.9, -0.2, n),
        sersic_index=rng.uniform(0.5, 2.5, n),
        ellipticity=rng.uniform(0, 0.7, n),
        pa_sky=rng.uniform(0, 180, n),
    )
    blank = MeasureImage(data=np.zeros((side, side)), error=1.0, grid=grid)
    given = PhotometryParams(shift=ShiftParams(shift_arcsec=SHIFT))
    drawn = forced_photometry(blank, models=models, psf=PSF, params=given)
    data = rng.normal(size=(side, side))
    for source_id, flux in zip(models["source_id"], 10 ** rng.uniform(0.5, 3.0, n), strict=True):
        stamp, y0, x0 = drawn.template(source_id)
        data[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]] += flux * stamp
    return MeasureImage(data=data, error=1.0, grid=grid), models


def _system(image: MeasureImage, models: pl.DataFrame) -> tuple[sparse.csr_matrix, np.ndarray]:
    given = PhotometryParams(shift=ShiftParams(shift_arcsec=SHIFT))
    found = forced_photometry(image, models=models, psf=PSF, params=given)
    rows, columns, values = [], [], []
    nx = image.data.shape[1]
    for k, source_id in enumerate(models["source_id"]):
        stamp, y0, x0 = found.template(source_id)
        y, x = np.indices(stamp.shape)
        rows.append(((y + y0) * nx + x + x0).ravel())
        columns.append(np.full(stamp.size, k))
        values.append(stamp.ravel())
    n_pix = image.data.size
    rows.append(np.arange(n_pix))
    columns.append(np.full(n_pix, models.height))
    values.append(np.ones(n_pix))
    places = (np.concatenate(rows), np.concatenate(columns))
    matrix = sparse.csr_matrix((np.concatenate(values).astype(float), places), shape=(n_pix, models.height + 1))
    return matrix, image.data.astype(float).ravel()


@pytest.mark.benchmark
@pytest.mark.parametrize("threads", [1, 2])
def test_fluxes_of_a_band(threads: int) -> None:
    image, models = _field(3000, 700)
    matrix, data = _system(image, models)
    found = {}

    def ours() -> None:
        found["skymere"] = forced_photometry(image, models=models, psf=PSF, params=PARAMS)

    def by_lsqr() -> None:
        found["lsqr"] = linalg.lsqr(matrix, data, atol=1e-9, btol=1e-9, iter_lim=20_000)[0]

    def by_spsolve() -> None:
        found["spsolve"] = linalg.spsolve((matrix.T @ matrix).tocsc(), matrix.T @ data)

    jobs: dict[str, Callable[[], None]] = {"skymere": ours, "lsqr": by_lsqr, "spsolve": by_spsolve}
    skymere.set_num_threads(threads)
    best = dict.fromkeys(jobs, np.inf)
    for _ in range(3):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            best[name] = min(best[name], time.perf_counter() - start)
    skymere.set_num_threads(0)
    fastest = min(best["lsqr"], best["spsolve"])
    print(f"\n{threads} thread(s), {models.height} sources:", end=" ")
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in best.items()), end="")
    print(f"; ratio {fastest / best['skymere']:.2f}; {models.height / best['skymere']:.0f} sources/s")
    error = found["skymere"].table["err_formal"].to_numpy()
    for name in ("lsqr", "spsolve"):
        off = (found["skymere"].table["flux"].to_numpy() - found[name][:-1]) / error
        # The shift that we fit is not exactly the one that the peers are given.
        assert np.abs(off).max() < 0.5


@pytest.mark.benchmark
def test_a_hundred_thousand_sources_are_one_system_under_four_gigabytes() -> None:
    image, models = _field(100_000, 4096)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    found = forced_photometry(image, models=models, psf=PSF, params=PARAMS)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{models.height} sources: {seconds:.0f} s, peak {peak:.2f} GiB ({before:.2f} before)")
    assert (found.table["status"] == "ok").all()
    assert found.shift.arcsec == pytest.approx(SHIFT, abs=5 * max(found.shift.error_arcsec))
    assert peak < 4.0
