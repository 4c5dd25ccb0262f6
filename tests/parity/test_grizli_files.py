"""Files that are written for grizli's users, and templates, against grizli itself.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with grizli 1.14.3; the tests are skipped where there is none.
"""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from tests.benchmarks.peers import run_once

from skymere.grism import GRIZLI_BEAMS, MultiBeam, write_beam_file
from skymere.grism.template_bank import grizli_line
from skymere.lake import Lake
from skymere.pipeline import BeamsPlan, store_beams
from skymere.spectra import TemplateSet


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "spectra"


@pytest.fixture(scope="module")
def stored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MultiBeam:
    """The real galaxy out of a lake, which keeps one direct plane of each beam."""
    lake = Lake.create(tmp_path_factory.mktemp("lake") / "lake", tiles="healpix", scale_arcsec=0.1)
    file = folder / "wfc3" / "j033216m2743_00152.beams.fits"
    rows = store_beams(lake, BeamsPlan(files=(str(file),)), conf=folder / "grizli" / "CONF")
    return lake.beams(int(rows["source_id"][0]), params=GRIZLI_BEAMS)


def test_grizli_opens_beams_of_a_lake_and_its_fits_see_the_same(stored, folder, tmp_path):
    path = tmp_path / "lake_00152.beams.fits"
    write_beam_file(path, [one.beam for one in stored.beams])
    with fits.open(path) as hdus:
        direct = [hdu.name for hdu in hdus if hdu.ver == 1 and hdu.name not in ("PRIMARY", "SEG")]
    # One direct plane and the labels are all that its stripped form has.
    assert direct == ["REF"] * stored.N
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run_once("grism_files_peer.py", folder, scratch, "beams", str(path), str(tmp_path / "found.npz"))
    found = np.load(tmp_path / "found.npz")
    assert int(found["N"]) == stored.N
    assert dict(zip(found["grisms"].tolist(), found["counts"].tolist(), strict=True)) == stored.Ngrism
    for i, one in enumerate(stored.beams):
        np.testing.assert_array_equal(found[f"sci{i}"], one.sci)
        np.testing.assert_array_equal(found[f"contam{i}"], one.contam)
        np.testing.assert_array_equal(found[f"mask{i}"], one.fit_mask)
        # It adds in single precision.
        np.testing.assert_allclose(found[f"flat{i}"], one.flat, atol=1e-6 * one.flat.max())
        used = one.fit_mask
        np.testing.assert_allclose(found[f"ivar{i}"][used], one.ivar[used], rtol=1e-4)
        assert float(found[f"angle{i}"]) == np.round(stored.angles[i])


@pytest.mark.parametrize("kind", ["complexes", "lines"])
def test_lorentzian_lines_are_those_of_grizli(folder, tmp_path, kind):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run_once("grism_files_peer.py", folder, scratch, "templates", str(tmp_path / "found.npz"))
    found = np.load(tmp_path / "found.npz")
    made = TemplateSet.load(folder / "grizli" / "templates", line_complexes=kind == "complexes", lorentz=True)
    names = {key.removeprefix(f"{kind} ") for key in found.files if key.startswith(f"{kind} ")}
    assert names == {one.name for one in made.lines}
    for one in made.lines:
        theirs = found[f"{kind} {one.name}"]
        wave, flux = grizli_line(one)
        np.testing.assert_allclose(wave, theirs[0], rtol=1e-12)
        np.testing.assert_allclose(flux, theirs[1], rtol=1e-9, atol=1e-9 * theirs[1].max())
