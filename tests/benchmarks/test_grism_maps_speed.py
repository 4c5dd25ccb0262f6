"""Line maps, stacks and extracted spectra of a real galaxy against grizli, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with grizli 1.14.3; the race is skipped where there is none.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.peers import Peer, print_machine, race_peer

from skymere.grism import (
    GRIZLI_BEAMS,
    GRIZLI_EXTRACTION,
    GRIZLI_LINE_MAPS,
    GRIZLI_STACKS,
    FittedModel,
    MultiBeam,
    drizzle_stacks,
    line_maps,
    oned_spectrum,
    read_beams,
)
from skymere.resample import Geometry
from skymere.spectra import TemplateSet

Z = 1.7429358875314136


def beams_of(folder: Path) -> Path:
    return folder / "wfc3" / "j033216m2743_00152.beams.fits"


@pytest.fixture(scope="module")
def peer(spectra_folder: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Peer]:
    scratch = tmp_path_factory.mktemp("peer")
    one = Peer("grism_maps_peer.py", spectra_folder, scratch, str(beams_of(spectra_folder)))
    print_machine()
    yield one
    one.close()


@pytest.fixture(scope="module")
def fit(peer: Peer, spectra_folder: Path) -> FittedModel:
    """The fit of the peer."""
    coefficients, errors = peer.run("fit")[1]

    def named(values: dict[str, float]) -> dict[str, float]:
        return {name.removeprefix("line "): value for name, value in values.items() if not name.startswith("bg ")}

    return FittedModel(
        z=Z,
        templates=TemplateSet.load(spectra_folder / "grizli" / "templates", line_complexes=False),
        coefficients=named(coefficients),
        errors=named(errors),
        backgrounds=tuple(value for name, value in coefficients.items() if name.startswith("bg ")),
    )


def beams(folder: Path) -> MultiBeam:
    """New beams, which remember no model."""
    return read_beams(beams_of(folder), conf_path=folder / "grizli" / "CONF", params=GRIZLI_BEAMS)


@pytest.mark.benchmark
def test_line_maps_of_a_real_galaxy(peer: Peer, fit: FittedModel, spectra_folder: Path) -> None:
    params = replace(GRIZLI_LINE_MAPS, mask_ratio=np.inf, always=tuple(fit.line_fluxes))

    def ours(multibeam: MultiBeam) -> tuple[int, float]:
        maps = line_maps(multibeam, fit, geometry=Geometry(), params=params)
        return len(maps.lines), float(maps["OIII"].data.sum())

    n, total = ours(beams(spectra_folder))
    their_n, their_total = peer.run("line maps")[1]
    assert n == their_n
    # A sum of noise over thousands of pixels, each the same to 1e-4 of its error.
    assert total == pytest.approx(their_total, abs=0.05)
    assert race_peer(peer, "line maps", ours, prepare=lambda: beams(spectra_folder)) > 10


@pytest.mark.benchmark
def test_stacks_and_spectra_of_a_real_galaxy(peer: Peer, fit: FittedModel, spectra_folder: Path) -> None:
    def stacks(multibeam: MultiBeam) -> float:
        made = drizzle_stacks(multibeam, fit=fit, params=GRIZLI_STACKS)
        return float(next(one for one in made if one.grism == "G102" and one.angle is None).sci.sum())

    def spectra(multibeam: MultiBeam) -> float:
        return float(oned_spectrum(multibeam, fit=fit, params=GRIZLI_EXTRACTION)["G102"].table["flux"].sum())

    for job, ours in (("stacks", stacks), ("1-D spectra", spectra)):
        assert ours(beams(spectra_folder)) == pytest.approx(peer.run(job)[1], rel=1e-4)
        # New beams, whose masks and models are made in that time, too; those of grizli are there already.
        assert race_peer(peer, job, ours, prepare=lambda: beams(spectra_folder)) > 1
