"""Solutions as files: shift files, headerlets, copies with another WCS."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere.errors import ConflictError, FormatError, InvalidInputError, StorageError
from skymere.io import read_headerlet, write_headerlet, write_shifts, write_with_wcs
from skymere.wcs import Grid, wcs_cards

pytestmark = [
    pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning"),
    pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning"),
]

ROW = {"exposure_id": "a", "shift_x": 0.12, "shift_y": -0.06, "rotation": 0.01, "scale": 1.00001, "rms_x": 0.006}
ROW |= {"rms_y": 0.012, "n_matches": 40, "reference": "gaia"}
GRID = Grid.tangent(10.0, 5.0, shape=(50, 60), scale_arcsec=0.06)


def sky(wcs):
    x, y = np.meshgrid(np.linspace(0, 2000, 21), np.linspace(0, 1500, 17))
    return np.array(wcs.all_pix2world(x, y, 0))


def test_a_shift_file_has_a_line_for_every_exposure_that_moved(tmp_path):
    path, grid_path = tmp_path / "shifts.txt", tmp_path / "shifts_wcs.fits"
    write_shifts(path, [ROW, {"exposure_id": "reference"}], grid=GRID, grid_path=grid_path)
    lines = path.read_text().splitlines()
    assert lines[:4] == ["# frame: output", "# refimage: shifts_wcs.fits[wcs]", "# form: delta", "# units: pixels"]
    assert len(lines) == 5
    name, *numbers = lines[4].split()
    assert name == "a"
    assert [float(n) for n in numbers] == pytest.approx([-2.0, -1.0, 0.01, 1.00001, 0.1, 0.2], abs=1e-6)
    with fits.open(grid_path) as hdus:
        again = WCS(hdus["WCS"].header)
    np.testing.assert_allclose(sky(again), sky(GRID.wcs), rtol=0, atol=1e-12)


def test_a_real_headerlet_with_its_tables_survives_writing_and_reading(shared_data, tmp_path):
    source = shared_data / "imaging" / "wcs" / "wfc3_uvis_ib4606c6q_hlet_svm_gaiaedr3.fits"
    chips = read_headerlet(source)
    assert len(chips) == 2
    path = tmp_path / "mine_hlet.fits"
    write_headerlet(path, chips, name="TWEAK_1", exposure="ib4606c6q", row=ROW, author="me", history=["one", "two"])
    again = read_headerlet(path)
    for a, b in zip(chips, again, strict=True):
        assert b.cpdis1 is not None
        assert b.det2im2 is not None
        np.testing.assert_allclose(sky(a), sky(b), rtol=0, atol=1e-12)
    with fits.open(path) as hdus:
        header = hdus[0].header
        assert (header["HDRNAME"], header["DESTIM"], header["NMATCH"]) == ("TWEAK_1", "ib4606c6q", 40)
        assert (header["RMS_RA"], header["CATALOG"]) == (6.0, "gaia")
        assert list(header["HISTORY"]) == ["one", "two"]
        assert hdus["SIPWCS", 2].header["TG_EVER"] == 2
        assert header["NEXTEND"] == len(hdus) - 1


def exposure_file(path, n_chips=2):
    hdus = [fits.PrimaryHDU()]
    for version in range(1, n_chips + 1):
        hdu = fits.ImageHDU(np.zeros((50, 60), np.float32), name="SCI", ver=version)
        hdu.header.update(wcs_cards(GRID.wcs))
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def test_a_copy_has_the_new_coordinates_and_keeps_the_old_ones_as_alternate(tmp_path):
    source = exposure_file(tmp_path / "a_flc.fits")
    before = source.read_bytes()
    new = [GRID.cutout(3, 5 + k, (50, 60)).wcs for k in (0, 1)]
    path = tmp_path / "b_flc.fits"
    write_with_wcs(source, path, new, name="TWEAK")
    assert source.read_bytes() == before
    with fits.open(path) as hdus:
        for version, wcs in enumerate(new, start=1):
            header = hdus["SCI", version].header
            assert (header["WCSNAME"], header["WCSNAMEA"]) == ("TWEAK", "OPUS")
            np.testing.assert_allclose(sky(WCS(header)), sky(wcs), rtol=0, atol=1e-12)
            np.testing.assert_allclose(sky(WCS(header, key="A")), sky(GRID.wcs), rtol=0, atol=1e-12)
    with pytest.raises(ConflictError, match="TWEAK"):
        write_with_wcs(path, tmp_path / "c_flc.fits", new, name="TWEAK")
    write_with_wcs(path, tmp_path / "c_flc.fits", new, name="TWEAK", reuse_name=True)
    with fits.open(tmp_path / "c_flc.fits") as hdus:
        assert hdus["SCI", 1].header["WCSNAMEB"] == "TWEAK"
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_written_is_named_and_nothing_is_left(tmp_path):
    source = exposure_file(tmp_path / "a_flc.fits")
    with pytest.raises(ConflictError, match="is the exposure itself"):
        write_with_wcs(source, source, [GRID.wcs, GRID.wcs])
    with pytest.raises(InvalidInputError, match="2 SCI"):
        write_with_wcs(source, tmp_path / "b.fits", [GRID.wcs])
    with pytest.raises(InvalidInputError, match=r"str is not allowed, it must be the kind that .*a_flc\.fits has"):
        write_with_wcs(source, tmp_path / "b.fits", ["a gwcs", "a gwcs"])
    with pytest.raises(StorageError, match="cannot be written"):
        write_with_wcs(source, tmp_path / "none" / "b.fits", [GRID.wcs, GRID.wcs])
    with pytest.raises(StorageError, match="cannot be written"):
        write_shifts(tmp_path / "none" / "s.txt", [ROW], grid=GRID)
    with pytest.raises(InvalidInputError, match="at least one"):
        write_headerlet(tmp_path / "h.fits", [], name="a", exposure="b")
    with pytest.raises(InvalidInputError, match="astropy WCS"):
        write_headerlet(tmp_path / "h.fits", ["no wcs"], name="a", exposure="b")
    with pytest.raises(FormatError, match="no SIPWCS"):
        read_headerlet(source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_flc.fits"]
