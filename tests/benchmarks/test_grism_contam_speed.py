"""The contamination scene of 398 galaxies against grizli, one thread, CPU times, in one run.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with grizli 1.14.3; the race is skipped where there is none.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from tests.benchmarks.peers import Peer, print_machine, race_each

from skymere.grism import GRIZLI_CONTAMINATION, ContaminationParams, contamination_model, read_config

PHOTFLAM = 1.4737148727237957e-20


@pytest.fixture
def peer(spectra_folder: Path, tmp_path: Path, one_thread: None) -> Iterator[Peer]:
    one = Peer("grism_contam_peer.py", spectra_folder, tmp_path, str(spectra_folder))
    print_machine()
    yield one
    one.close()


@pytest.mark.benchmark
def test_all_orders_of_all_sources_of_a_frame(spectra_folder: Path, peer: Peer) -> None:
    with fits.open(spectra_folder / "scene" / "scene_g141.fits.gz", memmap=False) as hdus:
        direct, labels = np.array(hdus["DIRECT"].data), np.array(hdus["SEG"].data).astype(np.int32)
    catalog = pl.read_csv(spectra_folder / "scene" / "scene_catalog.csv").select("id", "mag")
    config = read_config(spectra_folder / "grizli" / "CONF" / "G141.F140W.V4.32.conf")

    def drawn(params: ContaminationParams) -> np.ndarray:
        return contamination_model(direct, labels, catalog, config, photflam=PHOTFLAM, params=params)

    # grizli adds in single precision.
    total = float(drawn(GRIZLI_CONTAMINATION).sum(dtype=np.float64))
    assert total == pytest.approx(peer.run("draw")[1], rel=1e-3)
    ratios = race_each(
        peer,
        "draw",
        {
            "scene, operator grizli": lambda: drawn(GRIZLI_CONTAMINATION),
            "scene, operator spline": lambda: drawn(ContaminationParams(operator="spline")),
        },
    )
    # The same model; the spline, which is a better one, takes twice as long.
    assert ratios["scene, operator grizli"] > 10
    assert ratios["scene, operator spline"] > 5
