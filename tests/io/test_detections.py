"""The files of detections."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError, StorageError
from skymere.io import write_detection, write_sources
from skymere.wcs import Grid

GRID = Grid.tangent(10.0, -5.0, shape=(12, 15), scale_arcsec=0.1)
TABLE = pl.DataFrame(
    {"label": [1], "area": [9], "x": [4.0], "y": [5.0], "ra": [10.0], "dec": [-5.0], "flux": [3.0], "flux_err": [0.1]}
)


def write(folder: Path, table: pl.DataFrame = TABLE, **more: str) -> list[Path]:
    labels = np.zeros(GRID.shape, np.int32)
    labels[4:7, 3:6] = 1
    image = np.ones(GRID.shape, np.float32)
    return write_detection(folder, labels, table, stack=image, snr=image, wcs=GRID.wcs, **more)


@pytest.mark.parametrize(("given", "expected"), [({}, "uJy"), ({"flux_unit": ""}, None), ({"flux_unit": "Jy"}, "Jy")])
def test_fluxes_and_their_errors_have_one_unit(tmp_path: Path, given: dict[str, str], expected: str | None) -> None:
    write_sources(TABLE, tmp_path / "a.fits", **given)
    for path in (tmp_path / "a.fits", write(tmp_path / "all", **given)[1]):
        columns = fits.getdata(path, 1).columns
        assert [columns[name].unit for name in ("flux", "flux_err", "x")] == [expected, expected, "pix"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_text("a file")
    for folder in (place, place / "below"):
        with pytest.raises(StorageError, match=f"{folder}: cannot be made"):
            write(folder)


def test_a_table_without_a_label_of_the_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="0 labels for 1 in the map"):
        write(tmp_path, TABLE.head(0))
