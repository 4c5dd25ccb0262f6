"""Filters, galaxies and catalogues that numpy makes, for tests of photometric redshifts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skymere.spectra import Band, Filter, TabulatedTemplate, template_fluxes

LIGHT_A = 2.99792458e18
# Centre [um] and full width [um], like the wide filters of ACS, WFC3 and NIRCam.
SHAPES = {
    "f435w": (0.433, 0.10),
    "f606w": (0.596, 0.23),
    "f775w": (0.770, 0.15),
    "f814w": (0.805, 0.25),
    "f850lp": (0.905, 0.15),
    "f105w": (1.055, 0.29),
    "f125w": (1.249, 0.30),
    "f160w": (1.540, 0.29),
    "f200w": (1.990, 0.46),
    "f277w": (2.760, 0.68),
    "f356w": (3.560, 0.79),
    "f444w": (4.400, 1.02),
}


def curve(name, centre, width, *, step=1e-4):
    """A filter with soft edges and a sloping top."""
    wave = np.round(np.arange(centre - 0.62 * width, centre + 0.62 * width, step), 6)
    edge = 0.03 * width
    soft = [1 / (1 + np.exp(-np.clip(side, -60, 60))) for side in _sides(wave, centre, width, edge)]
    throughput = soft[0] * soft[1] * (1 + 0.3 * (wave - centre) / width)
    throughput[[0, -1]] = 0.0
    return Filter(name=name, wave=wave, throughput=throughput)


def _sides(wave, centre, width, edge):
    return (wave - centre + 0.5 * width) / edge, (centre + 0.5 * width - wave) / edge


def filters():
    return [curve(name, *shape) for name, shape in SHAPES.items()]


def bands(curves=None, **more):
    return [
        Band(filter=one, flux=f"{one.name}_flux", flux_err=f"{one.name}_err", **more) for one in curves or filters()
    ]


def galaxies():
    """Five spectra at rest: old, two of middle age, young with lines, dusty."""
    wave = np.concatenate([np.arange(0.05, 0.13, 0.0005), np.arange(0.13, 1.0, 0.001), np.arange(1.0, 6.0, 0.01)])

    def break_at(place, depth, width):
        return depth + (1 - depth) / (1 + np.exp(-(wave - place) / width))

    def lines(*pairs):
        return sum(ew * np.exp(-0.5 * ((wave - place) / 0.002) ** 2) / 0.005 for place, ew in pairs)

    lyman = break_at(0.0912, 0.02, 0.0005)
    shapes = {
        "old": break_at(0.4, 0.25, 0.008) * break_at(0.26, 0.1, 0.01) * (wave / 0.5) ** -0.6,
        "middle": break_at(0.37, 0.45, 0.006) * (wave / 0.5) ** -1.3,
        "later": break_at(0.385, 0.35, 0.008) * break_at(0.2, 0.4, 0.02) * (wave / 0.5) ** -1.0,
        "young": (wave / 0.5) ** -2.2 * (1 + lines((0.3728, 0.015), (0.4990, 0.05), (0.6563, 0.04))),
        "dusty": np.exp(-0.5 / wave) * (wave / 0.5) ** -0.5 * 3 * break_at(0.37, 0.6, 0.006),
    }
    return [TabulatedTemplate(name=name, wave=wave, flux=1e-19 * flux * lyman) for name, flux in shapes.items()]


def seen_through(one, flux, *, n_fine=40):
    """Flux density [uJy] by sums on a fine grid, for an f_lambda [erg/s/cm2/Angstrom] given as a function."""
    fine = np.linspace(one.wave[0], one.wave[-1], n_fine * one.wave.size)
    passed = np.interp(fine, one.wave, one.throughput)
    f_nu = flux(fine) * (fine * 1e4) ** 2 / LIGHT_A * 1e29
    return np.trapezoid(f_nu * passed / fine, fine) / np.trapezoid(passed / fine, fine)


def catalogue(templates, fluxes, z_grid, *, n, seed, snr=(5, 50), z_range=(0.1, 6.0)):
    """Objects of random mixtures at redshifts of a grid, with noise; ``fluxes`` are those of templates on the grid."""
    rng = np.random.default_rng(seed)
    allowed = np.flatnonzero((z_grid >= z_range[0]) & (z_grid <= z_range[1]))
    i_z = rng.choice(allowed, n)
    mixture = rng.dirichlet(np.full(len(templates), 0.7), n)
    truth = np.einsum("nt,ntf->nf", mixture, fluxes[i_z])
    level = np.exp(rng.uniform(*np.log(snr), n))
    # The same depth in all filters; S/N in the brightest as drawn.
    err = np.repeat((truth.max(axis=1) / level)[:, None], truth.shape[1], axis=1)
    return z_grid[i_z], truth, truth + err * rng.standard_normal(truth.shape), err, level


def table_of(curves, flux, err):
    columns = {"id": np.arange(len(flux)) + 1000}
    for j, one in enumerate(curves):
        columns[f"{one.name}_flux"], columns[f"{one.name}_err"] = flux[:, j], err[:, j]
    return columns


def eazy_files(folder, fsps, *, n, settings, snr=(5, 50), seed=5):
    """Write filters, templates, catalogue and prior as eazy reads them; return templates and catalogue."""
    curves = filters()
    lines = []
    for one in curves:
        lines.append(f"{one.wave.size} {one.name} lambda_c= {one.pivot * 1e4:.1f}")
        lines += [
            f"{i + 1} {w * 1e4:.3f} {t:.10e}" for i, (w, t) in enumerate(zip(one.wave, one.throughput, strict=True))
        ]
    (folder / "filters.res").write_text("\n".join(lines) + "\n")
    paths = sorted(fsps.glob("*.dat"))
    templates = []
    for path in paths:
        wave, flux = np.loadtxt(path, unpack=True)
        # eazy reads templates off at the points of filters: it needs fine ones to be exact.
        fine = np.union1d(wave[(wave > 100) & (wave < 5e4)], np.geomspace(850, 3e4, 8000))
        flux = np.interp(fine, wave, flux)
        np.savetxt(folder / path.name, np.column_stack([fine, flux]), fmt="%.17e")
        templates.append(TabulatedTemplate(name=path.stem, wave=fine * 1e-4, flux=flux))
    lines = [f"{i + 1} {folder / p.name} 1.0 0 1.0\n" for i, p in enumerate(paths)]
    (folder / "galaxies.param").write_text("".join(lines))
    z_grid = np.exp(np.arange(np.log1p(0.1), np.log1p(6.0), 0.01)) - 1
    fluxes = template_fluxes(templates, filters=curves, z_grid=z_grid)
    # Templates of any unit: the same brightness in the reddest filter.
    fluxes /= fluxes[..., -1:]
    z, _, flux, err, _ = catalogue(templates, fluxes, z_grid, n=n, seed=seed, snr=snr)
    columns = table_of(curves, flux, err)
    # Some fluxes were not measured.
    for j, one in enumerate(curves[:4]):
        columns[f"{one.name}_flux"][j::7] = columns[f"{one.name}_err"][j::7] = -99.0
    columns |= {"ra": np.zeros(n), "dec": np.zeros(n), "z_spec": z}
    names = list(columns)
    rows = [",".join(repr(float(columns[k][i])) if k != "id" else str(columns[k][i]) for k in names) for i in range(n)]
    (folder / "catalog.csv").write_text("\n".join([",".join(names), *rows]) + "\n")
    (folder / "zphot.translate").write_text(
        "".join(f"{c.name}_flux F{j + 1}\n{c.name}_err E{j + 1}\n" for j, c in enumerate(curves))
    )
    mags = np.arange(18.0, 30.0)
    z = np.linspace(0, 10, 200)
    p = [z**2 * np.exp(-((z / (0.3 + 0.1 * (m - 17))) ** 1.3)) for m in mags]
    head = "# z " + " ".join(f"{m:.1f}" for m in mags) + "\n"
    body = "".join(" ".join(f"{v:.8e}" for v in (one, *(q[i] for q in p))) + "\n" for i, one in enumerate(z))
    (folder / "prior.dat").write_text(head + body)
    (folder / "settings.json").write_text(json.dumps(settings))
    return templates, columns


def run_eazy(folder, mode):
    """Return times of eazy on the files of a folder; the test is skipped where it cannot run."""
    python = os.environ.get("SKYMERE_BENCH_PYTHON_MSAEXP", sys.executable)
    worker = Path(__file__).parents[1] / "benchmarks" / "photoz_peer.py"
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    (folder / "home").mkdir(exist_ok=True)
    for name in ("CONF", "templates", "iref", "jref"):
        (folder / "home" / name).mkdir(exist_ok=True)
    done = subprocess.run(
        [python, str(worker), str(folder), mode],
        env=os.environ | one_thread | {"HOME": str(folder / "home"), "GRIZLI": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"eazy cannot run: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
