"""MSA metafiles, on a small one of simulated numbers (``tests/data/make_slit_fixtures.py``)."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import FormatError, NotFoundError
from skymere.io import read_msa_metafile

PATH = Path(__file__).parents[1] / "data" / "jw09999001001_01_msa.fits.gz"


def test_shutters_and_sources_are_tables():
    msa = read_msa_metafile(PATH)
    assert msa.shutters.height == 6
    assert msa.shutters["is_open"].all()
    source = msa.shutters.filter("is_primary").row(0, named=True)
    assert (source["source_id"], source["is_background"]) == (77, False)
    # The file counts from the shutter's corner.
    assert (source["x_position"], source["y_position"]) == pytest.approx((0.2, -0.1))
    assert msa.shutters["x_position"].null_count() == 5
    assert msa.sources.select("source_id", "source_name", "ra", "dec").rows() == [
        (77, "9999_77", 150.0, 2.0),
        (78, "9999_78", 150.1, 2.1),
    ]


def test_the_state_of_a_slitlet_is_one_letter_for_each_shutter():
    msa = read_msa_metafile(PATH)
    assert msa.shutter_state(11, metadata_id=1) == "1x1"
    assert msa.shutter_state(12, metadata_id=1) == "1x1"
    with pytest.raises(NotFoundError, match="no slitlet 13 in configuration 1"):
        msa.shutter_state(13, metadata_id=1)
    with pytest.raises(NotFoundError, match="dither 2"):
        msa.shutter_state(11, metadata_id=1, dither=2)


def test_closed_shutters_between_open_ones_are_told():
    msa = read_msa_metafile(PATH)
    closed = msa.shutters.with_columns(is_open=pl.col("shutter_column") != 41).filter(pl.col("shutter_column") != 39)
    wide = closed.with_columns(pl.col("shutter_column").replace({41: 43}))
    assert replace(msa, shutters=wide).shutter_state(11, metadata_id=1) == "x000"


def test_missing_tables_and_columns_are_errors(tmp_path):
    with fits.open(PATH, memmap=False) as hdus:
        table = hdus["SOURCE_INFO"]
        table.columns.del_col("alias")
        fits.HDUList([hdus[0], hdus["SHUTTER_INFO"], table]).writeto(tmp_path / "column.fits")
        fits.HDUList([hdus[0], hdus["SHUTTER_INFO"]]).writeto(tmp_path / "table.fits")
    with pytest.raises(FormatError, match="'alias'"):
        read_msa_metafile(tmp_path / "column.fits")
    with pytest.raises(FormatError, match="SOURCE_INFO is missing"):
        read_msa_metafile(tmp_path / "table.fits")
    with pytest.raises(NotFoundError, match="no such file"):
        read_msa_metafile(tmp_path / "none.fits")
