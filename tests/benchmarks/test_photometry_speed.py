"""Forced photometry of one band against scipy's solvers of the same system, in one run.

Both sides draw the templates, find the shift together with the fluxes in two steps, solve and give the errors. The peers
draw with numpy on pixels three times finer, convolve with scipy, and solve with `lsqr` to a tolerance of 1e-9 or the
normal equations with `spsolve`; errors are those of the inverse of the normal equations by `splu`. How long only the
solution of the ready system takes is printed, too.
"""

import resource
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from scipy.signal import fftconvolve
from scipy.sparse import linalg
from scipy.special import gammaincinv

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


def _stamp(row: np.ndarray, fine_psf: np.ndarray, half: int) -> np.ndarray:
    """A Sersic profile on pixels three times finer, convolved with the effective PSF and taken in the middle of pixels."""
    x, y, re, n, q, theta = row
    b = gammaincinv(2 * n, 0.5)
    k = np.arange(-3 * half - 15, 3 * half + 16) / 3
    dx, dy = k[None, :] - (x - round(x)), k[:, None] - (y - round(y))
    along, across = dx * np.cos(theta) + dy * np.sin(theta), dy * np.cos(theta) - dx * np.sin(theta)
    light = np.exp(-b * (np.hypot(along, across / q) / re) ** (1 / n))
    # A fine pixel of a PSF of the band's pixel holds a ninth of it.
    blurred = 9 * fftconvolve(light / light.sum(), fine_psf, mode="same")
    return blurred[15:-15:3, 15:-15:3]


def _matrix(stamps: list[np.ndarray], places: np.ndarray, half: int, side: int) -> sparse.csr_matrix:
    """A column for each stamp, and one for the sky."""
    step = np.arange(-half, half + 1)
    x, y = (np.round(p).astype(int)[:, None, None] for p in places)
    x, y = np.broadcast_arrays(x + step[None, None, :], y + step[None, :, None])
    inside = (x >= 0) & (y >= 0) & (x < side) & (y < side)
    columns = np.broadcast_to(np.arange(len(stamps))[:, None, None], x.shape)
    sky = np.arange(side * side)
    return sparse.csr_matrix(
        (
            np.concatenate([np.array(stamps)[inside], np.ones(sky.size)]),
            (
                np.concatenate([(y * side + x)[inside], sky]),
                np.concatenate([columns[inside], np.full(sky.size, len(stamps))]),
            ),
        ),
        shape=(side * side, len(stamps) + 1),
    )


def _by_lsqr(matrix: sparse.csr_matrix, data: np.ndarray) -> np.ndarray:
    return linalg.lsqr(matrix, data, atol=1e-9, btol=1e-9, iter_lim=20_000)[0]


def _by_spsolve(matrix: sparse.csr_matrix, data: np.ndarray) -> np.ndarray:
    return linalg.spsolve((matrix.T @ matrix).tocsc(), matrix.T @ data)


def _by_scipy(
    image: MeasureImage, models: pl.DataFrame, solve: Callable[[sparse.csr_matrix, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fluxes, their errors, and how long the last solution took."""
    half, side = 9, image.data.shape[0]
    data = image.data.astype(float).ravel()
    fine = np.arange(-18, 19) / 3
    sigma2 = (1.7 / 0.6 / 2.3548) ** 2
    along = np.mean([np.exp(-((fine + d) ** 2) / 2 / sigma2) for d in np.linspace(-0.45, 0.45, 10)], axis=0)
    psf = np.outer(along, along) / (2 * np.pi * sigma2) / 9
    ra, dec, pa = models["ra"].to_numpy(), models["dec"].to_numpy(), np.deg2rad(models["pa_sky"].to_numpy())
    x, y = image.grid.pixels(ra, dec)
    ahead = image.grid.pixels(ra + 1e-5 * np.sin(pa) / np.cos(np.deg2rad(dec)), dec + 1e-5 * np.cos(pa))
    angle = np.arctan2(ahead[1] - y, ahead[0] - x)
    shapes = (models["r_eff"].to_numpy() / 0.6, models["sersic_index"].to_numpy(), 1 - models["ellipticity"].to_numpy())
    shift, flux, seconds = np.zeros(2), None, 0.0
    for _ in range(2):
        places = np.array([x + shift[0], y + shift[1]])
        stamps = [_stamp(row, psf, half) for row in np.column_stack([*places, *shapes, angle])]
        matrix = _matrix(stamps, places, half, side)
        if flux is None:
            flux = solve(matrix, data)[:-1]
        moves = [
            _matrix([-f * np.gradient(s, axis=k) for f, s in zip(flux, stamps, strict=True)], places, half, side)
            for k in (1, 0)
        ]
        more = sparse.csr_matrix(np.column_stack([np.asarray(m[:, :-1].sum(axis=1)) for m in moves]))
        start = time.perf_counter()
        found = solve(sparse.hstack([matrix, more]).tocsr(), data)
        seconds = time.perf_counter() - start
        flux, shift = found[: flux.size], shift + found[-2:]
    factor = linalg.splu((matrix.T @ matrix).tocsc())
    error = np.empty(flux.size)
    for first in range(0, flux.size, 500):
        rows = np.arange(first, min(first + 500, flux.size))
        unit = np.zeros((flux.size + 1, rows.size))
        unit[rows, np.arange(rows.size)] = 1.0
        error[rows] = np.sqrt(factor.solve(unit)[rows, np.arange(rows.size)])
    return flux, error, seconds


@pytest.mark.benchmark
@pytest.mark.parametrize("threads", [1, 2])
def test_fluxes_of_a_band(threads: int) -> None:
    image, models = _field(1000, 400)
    found = {}

    def ours() -> None:
        table = forced_photometry(image, models=models, psf=PSF, params=PARAMS).table
        found["skymere"] = table["flux"].to_numpy(), table["err_formal"].to_numpy(), float("nan")

    def by_lsqr() -> None:
        found["lsqr"] = _by_scipy(image, models, _by_lsqr)

    def by_spsolve() -> None:
        found["spsolve"] = _by_scipy(image, models, _by_spsolve)

    jobs: dict[str, Callable[[], None]] = {"skymere": ours, "lsqr": by_lsqr, "spsolve": by_spsolve}
    skymere.set_num_threads(threads)
    best = dict.fromkeys(jobs, np.inf)
    for _ in range(2):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            best[name] = min(best[name], time.perf_counter() - start)
    skymere.set_num_threads(0)
    fastest = min(best["lsqr"], best["spsolve"])
    print(f"\n{threads} thread(s), {models.height} sources:", end=" ")
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in best.items()), end="")
    alone = ", ".join(f"{name} {found[name][2]:.3f} s" for name in ("lsqr", "spsolve"))
    print(
        f"; ratio {fastest / best['skymere']:.2f}; {models.height / best['skymere']:.0f} sources/s; solutions alone: {alone}"
    )
    flux, error, _ = found["skymere"]
    for name in ("lsqr", "spsolve"):
        off = (flux - found[name][0]) / np.hypot(error, 0.03 * flux)
        print(
            f"{name}: fluxes differ by {np.median(np.abs(off)):.3f} in the median, errors by "
            f"{np.median(np.abs(found[name][1] / error - 1)):.4f}"
        )
        # Three fine pixels along an axis draw steep cores within some percent.
        assert np.median(np.abs(off)) < 0.3
        assert np.median(np.abs(found[name][1] / error - 1)) < 0.05


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
