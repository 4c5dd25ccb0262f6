"""The redshift grid of two and of 32 beams against grizli on the same files, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with grizli 1.14.3; the race is skipped where there is none. Both give the
same: chi square, factors and covariances of all redshifts of a coarse and a fine grid, p(z), percentiles, risk, and the
polynomial and the spline they are compared with.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.grism_beams import REAL, simulated_beams
from tests.benchmarks.peers import Peer, print_machine, race_each

from skymere.grism import GRIZLI_BEAMS, GRIZLI_REDSHIFT, MultiBeam, RedshiftFit, fit_redshift, read_beams
from skymere.grism.problem import BeamProblem
from skymere.spectra import TemplateSet

RANGE, STEPS = (0.05, 3.4), (0.004, 0.0004)


@pytest.fixture(scope="module")
def templates(spectra_folder: Path) -> TemplateSet:
    return TemplateSet.load(spectra_folder / "grizli" / "templates")


@pytest.fixture(scope="module")
def files(spectra_folder: Path, templates: TemplateSet, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    many = tmp_path_factory.mktemp("beams") / "many.beams.fits"
    return [
        spectra_folder / REAL,
        simulated_beams(spectra_folder, many, templates, n_exposures=16, n_angles=4),
    ]


@pytest.fixture(scope="module")
def peer(
    spectra_folder: Path, files: list[Path], tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> Iterator[Peer]:
    one = Peer("grism_fit_peer.py", spectra_folder, tmp_path_factory.mktemp("peer"), *map(str, files))
    print_machine()
    yield one
    one.close()


def beams(path: Path, folder: Path) -> MultiBeam:
    return read_beams(path, conf_path=folder / "grizli" / "CONF", params=GRIZLI_BEAMS)


def is_same(fit: RedshiftFit, found: list, limit: float) -> None:
    """Compare chi square on the grid of both, and the redshift."""
    z, chi2 = np.array(found[0]), np.array(found[1])
    near = np.abs(fit.zgrid[:, None] - z).argmin(axis=1)
    is_shared = np.abs(z[near] - fit.zgrid) < 1e-9
    difference = np.abs(fit.chi2 - chi2[near])[is_shared].max()
    print(
        f"{is_shared.sum()} of {z.size} redshifts, chi square differs by {difference:.1e} of {fit.chi2.min():.0f}, z_map by"
        f" {fit.z_map - found[2]:.1e}"
    )
    assert is_shared.sum() > 350
    assert difference < limit
    assert fit.z_map == pytest.approx(found[2], abs=2e-4)


@pytest.mark.benchmark
def test_the_redshift_grid_of_a_real_galaxy(
    peer: Peer, files: list[Path], spectra_folder: Path, templates: TemplateSet
) -> None:
    multibeam = beams(files[0], spectra_folder)

    def ours() -> RedshiftFit:
        return fit_redshift(multibeam, templates=templates, z_range=RANGE, dz=STEPS, params=GRIZLI_REDSHIFT)

    is_same(ours(), peer.run("0")[1], 0.01)
    assert race_each(peer, "0", {"redshift grid, 2 real beams": ours})["redshift grid, 2 real beams"] > 60


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_the_redshift_grid_of_32_beams(
    peer: Peer, files: list[Path], spectra_folder: Path, templates: TemplateSet
) -> None:
    multibeam = beams(files[1], spectra_folder)
    assert multibeam.N == BeamProblem(multibeam).kernel.n_groups == 32
    assert min(len(angles) for angles in multibeam.PA.values()) >= 3

    def ours() -> RedshiftFit:
        return fit_redshift(multibeam, templates=templates, z_range=RANGE, dz=STEPS, params=GRIZLI_REDSHIFT)

    is_same(ours(), peer.run("1")[1], 0.01)
    # grizli takes most of a minute for each.
    assert race_each(peer, "1", {"redshift grid, 32 beams": ours}, repeat=3)["redshift grid, 32 beams"] > 150
