"""FITS files that fuzzing found: each kept a reader busy for ever, or ended in an error without a name."""

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import FormatError
from skymere.io import read_exposures, read_mosaic, read_msa_metafile, read_table


def cards(*lines: str) -> bytes:
    return b"".join(line.ljust(80).encode() for line in (*lines, "END")).ljust(2880)


PRIMARY = cards("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0")


def extension(kind: str, *lines: str) -> bytes:
    return cards(f"XTENSION= '{kind:8s}'", *lines, "PCOUNT  =                    0", "GCOUNT  =                    1")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"SIMPLE  =                    T".ljust(2880), "header of extension 0 has no END"),
        (PRIMARY + b"x" * 2880, "extension 1 begins with b'xxxxxxxx'"),
        (
            PRIMARY + extension("IMAGE", "BITPIX  = 8", "NAXIS   =           2147483648"),
            "NAXIS '2147483648' is not allowed",
        ),
        (PRIMARY + extension("IMAGE", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = -5"), "NAXIS1 '-5' is not allowed"),
        (PRIMARY + extension("IMAGE", "BITPIX  = 8", "NAXIS   = 1"), "NAXIS1 is missing"),
        (PRIMARY + extension("IMAGE", "BITPIX  = 9", "NAXIS   = 0"), "BITPIX 9 is not allowed"),
        (PRIMARY + extension("IMAGE", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = 99999999"), "truncated"),
        (PRIMARY + extension("BINTABLE", "BITPIX  = 8", "NAXIS   = 0", "ZNAXIS  = 2147483648"), "ZNAXIS"),
        (PRIMARY + extension("BINTABLE", "BITPIX  = 8", "NAXIS   = 0", "TFIELDS = 2147483648"), "TFIELDS"),
        (
            PRIMARY + extension("IMAGE", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 14", "NAXIS2  = 2", "NAXIS2  = -64"),
            "NAXIS2 is there twice, as '2' and '-64'",
        ),
        (PRIMARY + extension("IMAGE", "BITPIX  = 8", "NAXIS   = 0", "PCOUNT  = -3584"), "PCOUNT is there twice"),
    ],
)
def test_a_header_that_asks_for_what_is_not_there_is_refused_at_once(data, message, tmp_path):
    path = tmp_path / "a_flt.fits"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        read_exposures(path)
    assert str(path) in str(caught.value)


def test_a_card_that_cannot_be_parsed_is_an_error_of_the_file(tmp_path):
    path = tmp_path / "a_drz.fits"
    pixels = fits.ImageHDU(np.zeros((2, 2), np.float32), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), pixels]).writeto(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"EXTNAME = ")
    data[at : at + 80] = b"EXTNAME = 'no end".ljust(80)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"a_drz\.fits: .*EXTNAME"):
        read_mosaic(path)


def test_an_extension_of_a_foreign_kind_is_no_image(tmp_path):
    path = tmp_path / "a_drz.fits"
    lines = ("BITPIX  =                    8", "NAXIS   =                    0", "EXTNAME = 'SCI     '")
    weight = extension("IMAGE", *lines[:2], "EXTNAME = 'WHT     '")
    path.write_bytes(PRIMARY + extension("FOREIGN", *lines) + weight)
    with pytest.raises(FormatError, match=r"a_drz\.fits: "):
        read_mosaic(path)


def test_planes_of_different_shapes_are_told_with_the_file(tmp_path):
    path = tmp_path / "a_drz.fits"
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -1e-5, "CD2_2": 1e-5})
    one, other = (np.zeros((n, 3), np.float32) for n in (2, 4))
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(one, header, name="SCI"), fits.ImageHDU(other, name="WHT")]).writeto(
        path
    )
    with pytest.raises(ValueError, match=r"a_drz\.fits: weight: shape \(4, 3\) is not allowed, it must be \(2, 3\)"):
        read_mosaic(path)


@pytest.mark.parametrize("read", [read_table, read_msa_metafile])
def test_a_name_of_a_column_that_is_no_text_is_an_error_of_the_file(read, tmp_path):
    path = tmp_path / "a.fits"
    columns = [fits.Column("a", "J", array=np.arange(3))]
    tables = [fits.BinTableHDU.from_columns(columns, name=name) for name in ("SHUTTER_INFO", "SOURCE_INFO")]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path)
    data = path.read_bytes().replace(b"TTYPE1  = 'a       '", b"TTYPE1  = (1.0, 2.0)")
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"a\.fits: "):
        read(path)


def test_a_text_that_is_not_ascii_is_an_error_of_its_column(tmp_path):
    path = tmp_path / "a.fits"
    fits.BinTableHDU.from_columns([fits.Column("name", "3A", array=["abc"])]).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"abc", b"\xd0bc"))
    with pytest.raises(FormatError, match=r"a\.fits: column 'name' holds characters that are not ASCII"):
        read_table(path)
