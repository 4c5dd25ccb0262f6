"""Single images and copies of exposures."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import FormatError, InvalidInputError, StorageError
from skymere.io import (
    image_shape,
    physical_cards,
    read_grid,
    read_image,
    read_mask,
    read_psf_library,
    write_image,
    write_image_rows,
    write_with_data,
    write_with_wcs,
)
from skymere.wcs import Grid

GRID = Grid.tangent(10.0, -5.0, shape=(30, 40), scale_arcsec=0.1, rotation_deg=20.0)


def test_an_image_and_its_grid_come_back(tmp_path: Path) -> None:
    data = np.arange(1200.0, dtype=np.float32).reshape(30, 40)
    write_image(data, tmp_path / "a.fits", wcs=GRID.wcs, keywords={"BUNIT": "ELECTRONS/S"})
    found, grid = read_image(tmp_path / "a.fits")
    np.testing.assert_array_equal(found, data)
    assert grid.shape == (30, 40)
    x, y = grid.pixels(*GRID.sky(np.array([3.0]), np.array([7.0])))
    assert (x[0], y[0]) == pytest.approx((3.0, 7.0), abs=1e-8)
    # Any FITS image will do for a grid.
    fits.PrimaryHDU(data, fits.getheader(tmp_path / "a.fits", 1)).writeto(tmp_path / "b.fits")
    assert read_grid(tmp_path / "b.fits").shape == (30, 40)


def test_a_grid_is_read_without_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(np.zeros((30, 40), np.float32), tmp_path / "a.fits", wcs=GRID.wcs)

    def fail(_: fits.ImageHDU) -> None:
        raise AssertionError

    monkeypatch.setattr(fits.ImageHDU, "data", property(fail))
    assert read_grid(tmp_path / "a.fits").shape == image_shape(tmp_path / "a.fits") == (30, 40)


@pytest.mark.parametrize(("first", "sci", "expected"), [
    ({"LTV1": 3.0}, {"LTV1": -100.0, "LTM1_1": 0.5}, {"LTV1": -100.0, "LTM1_1": 0.5}),
    ({"LTV1": 3.0, "LTV2": 4.0}, {}, {"LTV1": 3.0, "LTV2": 4.0}),
    ({}, {}, {}),
])  # fmt: skip
def test_physical_coordinates_are_those_of_the_image_not_of_other_extensions(
    tmp_path: Path, first: dict[str, float], sci: dict[str, float], expected: dict[str, float]
) -> None:
    path = tmp_path / "a.fits"
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros((3, 4)), name=name) for name in ("WHT", "SCI", "CTX"))]
    for hdu, cards in zip(hdus, (first, {"LTV1": 8.0}, sci, {"LTV1": 7.0, "LTM2_2": 2.0}), strict=True):
        hdu.header.update(cards)
    fits.HDUList(hdus).writeto(path)
    assert physical_cards(path) == expected
    fits.PrimaryHDU().writeto(tmp_path / "b.fits")
    with pytest.raises(FormatError, match=r"b\.fits: none of its extensions"):
        physical_cards(tmp_path / "b.fits")


def test_masks_come_back(tmp_path: Path) -> None:
    mask = np.random.default_rng(1).random((30, 40)) < 0.1
    write_image(mask, tmp_path / "m.fits", name="CRMASK")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.fits"), mask)


def flt(path: Path, unit: str = "ELECTRONS") -> Path:
    header = GRID.wcs.to_header()
    hdus = [fits.PrimaryHDU()]
    for name, value in (("SCI", 6.0), ("ERR", 1.0), ("DQ", 0)):
        dtype = np.int16 if name == "DQ" else np.float32
        hdus.append(fits.ImageHDU(np.full(GRID.shape, value, dtype), header, name=name))
    hdus[0].header.update({"EXPTIME": 3.0, "TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": "F160W"})
    hdus[1].header["BUNIT"] = unit
    fits.HDUList(hdus).writeto(path)
    return path


def test_copies_have_new_pixels_in_the_unit_of_the_file_and_the_rest_unchanged(tmp_path: Path) -> None:
    source = flt(tmp_path / "a_flt.fits")
    before = source.read_bytes()
    write_with_data(source, tmp_path / "b_flt.fits", [np.full(GRID.shape, 5.0, np.float32)])
    assert source.read_bytes() == before
    with fits.open(tmp_path / "b_flt.fits") as hdus:
        assert (hdus["SCI"].data == 15.0).all()
        assert (hdus["ERR"].data == 1.0).all()
        assert hdus["SCI"].header["BUNIT"] == "ELECTRONS"
    with pytest.raises(InvalidInputError, match=r"data: shapes \[\(3, 3\)\]"):
        write_with_data(source, tmp_path / "c.fits", [np.zeros((3, 3), np.float32)])
    with pytest.raises(InvalidInputError, match="the exposure itself"):
        write_with_data(source, source, [np.zeros(GRID.shape, np.float32)])
    assert not (tmp_path / "c.fits").exists()


def test_copies_have_new_coordinates_and_keep_the_old_ones_as_an_alternate(tmp_path: Path) -> None:
    source = flt(tmp_path / "a_flt.fits")
    moved = GRID.cutout(3, -5, GRID.shape)
    write_with_wcs(source, tmp_path / "b_flt.fits", [moved.wcs], name="SKYMERE")
    old, new = (read_grid(path) for path in (source, tmp_path / "b_flt.fits"))
    ra, dec = moved.sky(np.array([4.0]), np.array([9.0]))
    assert [float(v[0]) for v in new.pixels(ra, dec)] == pytest.approx([4.0, 9.0], abs=1e-6)
    assert [float(v[0]) for v in old.pixels(ra, dec)] == pytest.approx([-1.0, 12.0], abs=1e-6)
    header = fits.getheader(tmp_path / "b_flt.fits", "SCI")
    assert header["WCSNAME"] == "SKYMERE"
    assert header["CRPIX1A"] == fits.getheader(source, "SCI")["CRPIX1"]


def test_files_without_what_is_needed_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.fits"
    fits.PrimaryHDU().writeto(empty)
    for read in (read_image, read_mask, read_grid):
        with pytest.raises(FormatError, match=r"empty.fits: none of its extensions"):
            read(empty)
    bare = tmp_path / "bare.fits"
    fits.PrimaryHDU(np.zeros((4, 5), np.float32)).writeto(bare)
    with pytest.raises(InvalidInputError, match=r"bare\.fits"):
        read_image(bare)
    with pytest.raises(InvalidInputError, match="has 0 SCI extensions"):
        write_with_wcs(bare, tmp_path / "x.fits", [GRID.wcs])
    with pytest.raises(InvalidInputError, match="band: 'f140w' is not in"):
        read_psf_library(bare, "f140w")
    cube = fits.ImageHDU(np.zeros((2, 5, 5), np.float32), name="F140W")
    fits.HDUList([fits.PrimaryHDU(), cube]).writeto(tmp_path / "cube.fits")
    with pytest.raises(FormatError, match="has no keyword"):
        read_psf_library(tmp_path / "cube.fits", "F140W")
    for folder in ("nowhere", "bare.fits"):
        with pytest.raises(StorageError, match="cannot be written"):
            write_image(np.zeros((3, 3)), tmp_path / folder / "a.fits")
        with pytest.raises(StorageError, match="cannot be written"):
            write_image_rows([np.zeros((3, 3))], tmp_path / folder / "a.fits", shape=(3, 3), dtype="float32")
