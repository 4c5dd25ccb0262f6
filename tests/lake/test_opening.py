import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError, SkymereError, StorageError
from skymere.lake import Lake, NamedTile
from skymere.wcs import Grid


@pytest.fixture
def tile():
    return NamedTile("field", Grid.tangent(10.0, 20.0, shape=(50, 60), scale_arcsec=0.1))


def test_a_lake_opens_with_the_tiles_it_was_made_with(tmp_path, tile):
    made = Lake.create(tmp_path / "deep" / "lake", tiles=[tile])
    opened = Lake.open(made.path)
    assert list(opened.tiles) == ["field"]
    assert opened.tiles["field"].grid.shape == (50, 60)
    np.testing.assert_allclose(opened.tiles["field"].polygon, tile.polygon)
    np.testing.assert_allclose(opened.tiles["field"].grid.corners(), tile.grid.corners(), atol=1e-10)


def test_a_foreign_folder_is_left_alone(tmp_path, tile):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match=f"{tmp_path} is not a lake and not an empty folder"):
        Lake.create(tmp_path, tiles=[tile])
    with pytest.raises(FormatError, match=r"no lake\.json"):
        Lake.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_lake_is_not_made_twice(tmp_path, tile):
    Lake.create(tmp_path / "lake", tiles=[tile])
    before = (tmp_path / "lake/lake.json").read_bytes()
    with pytest.raises(ConflictError, match="is a lake already"):
        Lake.create(tmp_path / "lake", tiles=[tile])
    assert (tmp_path / "lake/lake.json").read_bytes() == before


def test_a_file_in_the_way_is_an_error(tmp_path, tile):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        Lake.create(tmp_path / "file" / "lake", tiles=[tile])
    with pytest.raises(NotFoundError, match="no such folder"):
        Lake.open(tmp_path / "nothing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_place_is_an_error(tmp_path, tile):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        Lake.create(tmp_path / "lake", tiles=[tile])


def test_a_lake_that_cannot_be_written_stays_as_it_is(lake, survey):
    (lake.path / "arrays").write_text("in the way")
    with pytest.raises(StorageError, match="arrays"):
        survey.publish(lake, "segmentation")
    assert lake.table("segmentation").collect().is_empty()


def test_a_damaged_log_is_an_error_that_names_the_table(lake, survey):
    survey.publish(lake, "segmentation")
    (lake.path / "tables/segmentation/v1/dataset/_delta_log/00000000000000000001.json").write_text("nonsense")
    with pytest.raises(StorageError, match="segmentation/v1"):
        lake.table("segmentation")
    shutil.rmtree(lake.path / "tables/segmentation")
    (lake.path / "tables/segmentation/v1/dataset").mkdir(parents=True)
    (lake.path / "tables/segmentation/v1/dataset/_delta_log").write_text("in the way")
    with pytest.raises(StorageError, match="segmentation/v1"):
        survey.publish(lake, "segmentation")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not the lake.json of a lake"),
        ("[]", "not the lake.json of a lake"),
        ('{"format": "zarr", "format_version": 1}', "'zarr'"),
        ('{"format": "skymere-lake", "format_version": 2}', "format_version 2 is not allowed, .* up to 1"),
        ('{"format": "skymere-lake", "format_version": 1, "tiles": "squares"}', "'squares'"),
        ('{"format": "skymere-lake", "format_version": 1, "tiles": "named", "named_tiles": [{}]}', "named_tiles"),
    ],
)
def test_a_lake_json_of_another_kind_is_an_error(tmp_path, text, message):
    (tmp_path / "lake.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        Lake.open(tmp_path)


def test_lake_json_is_as_designed(lake):
    config = json.loads((lake.path / "lake.json").read_text())
    assert config["format"] == "skymere-lake"
    assert config["format_version"] == 1
    assert config["partition_order"] == 6
    assert config["tiles"] == "named"


def test_unknown_names_are_errors_that_name_the_known_ones(lake):
    work = {"stage": "s", "product": "source", "inputs": [], "params": {}}
    with pytest.raises(NotFoundError, match=r"'north'.*\['east', 'west'\]"):
        lake.run(tile="north", **work)
    with pytest.raises(NotFoundError, match=r"'sources'.*'source'"):
        lake.table("sources")
    with pytest.raises(NotFoundError, match="'sources'"):
        lake.run(tile="east", **work | {"product": "sources"})
    for tile in ("../west", "", "a b", ".hidden"):
        with pytest.raises(InvalidInputError, match="tile"):
            lake.run(tile=tile, **work)
    with pytest.raises(InvalidInputError, match="release"):
        lake.release("../DR1")
    with pytest.raises(InvalidInputError, match="inputs or params"):
        lake.run(tile="east", **work | {"params": {"x": float("nan")}})


def square(ra, dec, half=0.01):
    return [(ra - half, dec - half), (ra + half, dec - half), (ra + half, dec + half), (ra - half, dec + half)]


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        (square(10, 0), square(10.02, 0), False),
        (square(10, 0), square(10.019, 0), True),
        (square(10, 0), square(10, 0), True),
        (square(10, 0), square(10, 0, 0.001), True),
        (square(10, 0, 0.001), square(10, 0), True),
        (square(0, 0), square(359.985, 0), True),
        (square(0, 0), square(180, 0), False),
        (square(10, 0), square(10.02, 0.02), False),
        ([(0, 89), (120, 89), (240, 89)], square(77, 89.9, 0.01), True),
    ],
)
def test_tiles_must_not_own_the_same_sky(a, b, overlap):
    from skymere.lake.sky import polygons_overlap

    assert polygons_overlap(np.array(a, float), np.array(b, float)) is overlap


def test_tiles_that_overlap_or_share_a_name_are_refused(tmp_path, tile):
    other = NamedTile("other", tile.grid)
    with pytest.raises(InvalidInputError, match="'field' and 'other' own the same sky"):
        Lake.create(tmp_path / "lake", tiles=[tile, other])
    with pytest.raises(InvalidInputError, match="not all different"):
        Lake.create(tmp_path / "lake", tiles=[tile, tile])
    with pytest.raises(InvalidInputError, match="at least one tile"):
        Lake.create(tmp_path / "lake", tiles=[])
    with pytest.raises(InvalidInputError, match="owner of tile 'x'"):
        NamedTile("x", tile.grid, owner=[(1.0, 2.0)])
    assert not (tmp_path / "lake").exists()


def test_a_position_belongs_to_the_tile_whose_polygon_holds_it(lake):
    ra, dec = np.array([150.001, 149.999, 150.1, 330.0]), np.zeros(4)
    assert lake.tiles["east"].owns(ra, dec).tolist() == [True, False, False, False]
    assert lake.tiles["west"].owns(ra, dec).tolist() == [False, True, False, False]


def test_importing_skymere_loads_no_heavy_library():
    code = (
        "import sys, skymere; print([m for m in ('zarr','pyarrow','deltalake','astropy','polars') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_errors_are_of_one_family():
    assert issubclass(StorageError, SkymereError)
