"""Bands that stay in their files are those that are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from skymere.datamodels import Mosaic, StoredMosaic
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import open_band, read_band, read_mosaic, write_image, write_image_rows, write_mosaic
from skymere.wcs import Grid, fits_cards

SHAPE = (40, 55)
GRID = Grid.tangent(53.0, -27.0, shape=SHAPE, scale_arcsec=0.06)
RNG = np.random.default_rng(4)
DATA = RNG.normal(0, 1, SHAPE).astype(np.float32)
DATA[:5] = 0
DATA[7, 9] = np.nan


def same(found: StoredMosaic, expected: Mosaic) -> None:
    whole, part = found.window(slice(None), slice(None)), found.window(slice(3, 20), slice(40, 55))
    for name in ("data", "weight", "variance", "context"):
        assert np.array_equal(getattr(whole, name), getattr(expected, name), equal_nan=True), name
        assert np.array_equal(getattr(part, name), getattr(expected, name)[..., 3:20, 40:55], equal_nan=True), name
    for name in ("band", "unit", "zero_point_ab", "weight_kind", "exposure_ids", "noise_correlation"):
        assert getattr(found, name) == getattr(expected, name) or np.isnan(getattr(expected, name)), name
    assert part.grid.wcs.wcs.crpix.tolist() == (GRID.wcs.wcs.crpix - [40, 3]).tolist()


def image(path: Path, data: np.ndarray, **keywords: object) -> Path:
    header = fits.Header(fits_cards(GRID.wcs))
    header.update(keywords)
    fits.PrimaryHDU(data, header).writeto(path)
    return path


@pytest.mark.parametrize("given", [None, "weight", "rms"])
def test_images_with_and_without_weights_are_those_that_are_read(tmp_path: Path, given: str | None) -> None:
    path = image(tmp_path / "f125w.fits", DATA, PHOTFLAM=2.2e-20, PHOTPLAM=12486.0)
    more = {}
    if given:
        more = {given: image(tmp_path / "more.fits", RNG.uniform(0, 2, SHAPE).astype(np.float32))}
    same(open_band(path, **more), read_band(path, **more))
    named = open_band(path, band="j", zero_point_ab=26.0)
    assert (named.band, named.zero_point_ab) == ("j", 26.0)
    assert isinstance(named.data, np.memmap)


@pytest.mark.parametrize("scaled", ["integers", "compressed"])
def test_scaled_and_compressed_files_are_read_whole(tmp_path: Path, scaled: str) -> None:
    path = tmp_path / "band.fits"
    header = fits.Header(fits_cards(GRID.wcs))
    if scaled == "integers":
        fits.PrimaryHDU(RNG.integers(1, 60000, SHAPE).astype(np.uint16), header).writeto(path)
    else:
        hdu = fits.CompImageHDU(RNG.integers(1, 100, SHAPE).astype(np.int32), header)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    same(open_band(path), read_band(path))


def test_bytes_have_no_sign(tmp_path: Path) -> None:
    path = image(tmp_path / "bytes.fits", RNG.integers(0, 256, SHAPE).astype(np.uint8))
    weight = image(tmp_path / "weight.fits", RNG.integers(0, 256, SHAPE).astype(np.uint8))
    assert isinstance(open_band(path).data, np.memmap)
    same(open_band(path, weight=weight), read_band(path, weight=weight))


def test_drizzled_files_are_those_that_are_read(tmp_path: Path) -> None:
    mosaic = Mosaic(
        band="f160w",
        grid=GRID,
        data=DATA,
        weight=RNG.uniform(0, 2, SHAPE).astype(np.float32),
        variance=RNG.uniform(0, 2, SHAPE).astype(np.float32),
        context=RNG.integers(0, 4, (1, *SHAPE)).astype(np.int32),
        exposure_ids=("a", "b"),
        zero_point_ab=25.9,
        noise_correlation=1.4,
    )
    write_mosaic(mosaic, tmp_path / "f160w_drz.fits")
    same(open_band(tmp_path / "f160w_drz.fits"), read_band(tmp_path / "f160w_drz.fits"))
    same(StoredMosaic.of(mosaic), replace(mosaic))


def test_an_image_written_by_rows_is_the_image(tmp_path: Path) -> None:
    write_image(DATA, tmp_path / "whole.fits", name="SNR", wcs=GRID.wcs, keywords={"BUNIT": "uJy"})
    parts = (DATA[y : y + 7] for y in range(0, 40, 7))
    about = {"name": "SNR", "wcs": GRID.wcs, "keywords": {"BUNIT": "uJy"}}
    write_image_rows(parts, tmp_path / "rows.fits", shape=SHAPE, dtype="float32", **about)
    assert (tmp_path / "rows.fits").read_bytes() == (tmp_path / "whole.fits").read_bytes()
    with pytest.raises(InvalidInputError, match="33 rows are not allowed, there must be 40"):
        write_image_rows([DATA[7:]], tmp_path / "short.fits", shape=SHAPE, dtype="float32")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.fits", "whole.fits"]


@pytest.mark.parametrize(("said", "expected"), [
    (None, "electron / s"),
    ("", "electron / s"),
    ("ELECTRONS/S", "electron / s"),
    ("electron / s", "electron / s"),
    ("ELECTRONS", "electron"),
    ("uJy", "uJy"),
    (" MJy/sr", "MJy/sr"),
])  # fmt: skip
def test_images_have_the_unit_of_their_header(tmp_path: Path, said: str | None, expected: str) -> None:
    path = image(tmp_path / "a.fits", DATA, **({} if said is None else {"BUNIT": said}))
    assert read_band(path).unit == expected
    same(open_band(path), read_band(path))


@pytest.mark.parametrize("unit", ["uJy", "electron", "electron / s", "MJy / sr"])
def test_mosaics_keep_their_unit(tmp_path: Path, unit: str) -> None:
    plane = np.ones(SHAPE, np.float32)
    about = {"band": "r", "grid": GRID, "exposure_ids": ("a",), "zero_point_ab": 23.9, "unit": unit}
    mosaic = Mosaic(data=plane, weight=plane, variance=plane, context=np.ones((1, *SHAPE), np.int32), **about)
    path = tmp_path / "r_drz.fits"
    write_mosaic(mosaic, path)
    assert [read(path).unit for read in (read_mosaic, read_band, open_band)] == [unit] * 3
    assert read_mosaic(path).microjansky_per_unit == pytest.approx(1.0)
    assert ("electron" in fits.getheader(path, "SCI").comments["PHOTFNU"]) is (unit == "electron / s")


@pytest.mark.parametrize("read", [read_band, open_band])
def test_what_is_no_image_or_no_number_is_a_format_error(tmp_path: Path, read: Any) -> None:
    path, table = image(tmp_path / "a.fits", DATA), tmp_path / "table.fits"
    fits.HDUList([fits.PrimaryHDU()]).writeto(table)
    for more in ({"weight": table}, {"rms": table}):
        with pytest.raises(FormatError, match=r"table\.fits: none of its extensions \['PRIMARY'\]"):
            read(path, **more)
    for key, others in (("ZPAB", {}), ("PHOTFLAM", {}), ("PHOTPLAM", {"PHOTFLAM": 1e-19})):
        text = image(tmp_path / f"{key}.fits", DATA, **{key: "none"}, **others)
        with pytest.raises(FormatError, match=rf"{key}\.fits: {key} 'none' is not allowed, it must be a number"):
            read(text)
        assert read(text, zero_point_ab=25.0).zero_point_ab == 25.0


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = image(tmp_path / "a.fits", DATA)
    with pytest.raises(NotFoundError, match=r"b\.fits"):
        open_band(tmp_path / "b.fits")
    with pytest.raises(InvalidInputError, match="not allowed together"):
        open_band(path, weight=path, rms=path)
    small = tmp_path / "small.fits"
    fits.PrimaryHDU(np.ones((2, 2), np.float32)).writeto(small)
    with pytest.raises(InvalidInputError, match=r"small\.fits"):
        open_band(path, weight=small)
    band = open_band(path, rms=image(tmp_path / "negative.fits", -np.ones(SHAPE, np.float32)))
    with pytest.raises(InvalidInputError, match="negative values are not allowed"):
        band.window(slice(0, 3), slice(0, 3))
