"""HEALPix tiles: one image for each cell, and every place in exactly one of them."""

import json

import numpy as np
import polars as pl
import pytest
from cdshealpix.nested import vertices

from skymere.errors import FormatError, InvalidInputError, NotFoundError, SchemaError
from skymere.lake import HealpixTiles, Lake, NamedTile
from skymere.lake.cells import lowest_order, widest_cell_arcsec
from skymere.lake.sky import centre, polygons_overlap
from skymere.wcs import Grid


def extent_arcsec(cells, order):
    """Largest size of cells on their own tangent planes, from the projection's own formulas."""
    lon, lat = vertices(cells.astype(np.uint64), order, 4)
    l0, b0 = (np.deg2rad(v)[:, None] for v in centre(cells, order))
    lam, b = np.deg2rad(lon.deg), np.deg2rad(lat.deg)
    depth = np.sin(b0) * np.sin(b) + np.cos(b0) * np.cos(b) * np.cos(lam - l0)
    x = np.cos(b) * np.sin(lam - l0) / depth
    y = (np.cos(b0) * np.sin(b) - np.sin(b0) * np.cos(b) * np.cos(lam - l0)) / depth
    return 2 * np.rad2deg(max(np.abs(x).max(), np.abs(y).max())) * 3600


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5])
def test_no_cell_is_wider_than_the_bound_and_one_nearly_is(order):
    found = extent_arcsec(np.arange(12 * 4**order), order)
    assert 0.97 * widest_cell_arcsec(order) <= found <= widest_cell_arcsec(order) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("scale", "width", "order"), [(0.06, 8192, 10), (0.03, 8192, 11), (0.08, 800, 14), (60.0, 8192, 0)]
)
def test_the_order_is_the_lowest_whose_tiles_fit(scale, width, order):
    assert lowest_order(scale, width) == order
    assert widest_cell_arcsec(order) / scale + 20 / scale <= width
    assert order == 0 or widest_cell_arcsec(order - 1) / scale + 20 / scale > width


@pytest.mark.parametrize("cell", [0, 123456, 10**7, 12 * 4**10 - 1, 4**10 - 1, 4 * 4**10])
def test_a_tile_is_a_north_up_image_around_its_cell(cell):
    tile = HealpixTiles(10, 0.06)[f"t{cell}"]
    ny, nx = tile.grid.shape
    assert max(ny, nx) <= 8192
    ra, dec = centre(np.array([cell]), 10)
    x, y = tile.grid.pixels(ra, dec)
    assert (x[0], y[0]) == pytest.approx(((nx - 1) / 2, (ny - 1) / 2), abs=1e-6)
    assert tile.grid.scale_arcsec == pytest.approx(0.06)
    north = tile.grid.pixels(ra, dec + 1e-3)
    assert (north[0][0] - x[0], north[1][0] - y[0]) == pytest.approx((0.0, 60.0), abs=1e-3)
    px, py = tile.grid.pixels(*tile.polygon.T)
    margin = 10 / 0.06 - 1
    assert px.min() + 0.5 >= margin
    assert py.min() + 0.5 >= margin
    assert nx - 0.5 - px.max() >= margin
    assert ny - 0.5 - py.max() >= margin


def test_every_place_has_exactly_one_owner():
    rng = np.random.default_rng(1)
    tiles = HealpixTiles(3, 60.0)
    ra, dec = rng.uniform(0, 360, 500), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 500)))
    ra[:4], dec[:4] = [0.0, 360.0, 12.0, 200.0], [0.0, 0.0, 90.0, -90.0]
    owners = sum(tiles[f"t{cell}"].owns(ra, dec).astype(int) for cell in range(12 * 4**3))
    assert (owners == 1).all()
    assert all(tiles[name].owns(ra[i : i + 1], dec[i : i + 1])[0] for i, name in enumerate(tiles.at(ra, dec)))


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.001, 0.0), (30.0, 89.95), (210.0, -41.81)])
def test_tiles_that_touch_a_footprint_are_those_of_its_pixels(ra, dec):
    tiles = HealpixTiles(12, 0.1)
    grid = Grid.tangent(ra, dec, shape=(150, 200), scale_arcsec=1.0, rotation_deg=33.0)
    y, x = np.mgrid[-0.5:150:0.25, -0.5:200:0.25].reshape(2, -1)
    inside = set(tiles.at(*grid.sky(x, y)))
    found = tiles.touching(grid.corners())
    assert inside <= set(found)
    assert 1 < len(found) <= len(inside) + 1
    assert all(polygons_overlap(tiles[name].polygon, grid.corners()) for name in found)


def test_neighbours_are_those_that_touch():
    tiles = HealpixTiles(5, 10.0)
    for name in ("t0", "t77", "t4095", "t12287"):
        beside = tiles.neighbours(name)
        assert name not in beside
        assert 6 <= len(beside) <= 8
        assert all(name in tiles.neighbours(other) for other in beside)


def test_a_healpix_lake_opens_with_the_tiles_it_was_made_with(tmp_path):
    made = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.06)
    config = json.loads((made.path / "lake.json").read_text())
    assert (config["tiles"], config["tile_order"], config["scale_arcsec"]) == ("healpix", 10, 0.06)
    assert config["partition_order"] == 6
    opened = Lake.open(made.path)
    assert opened.tiles["t17"].grid.cards() == made.tiles["t17"].grid.cards()
    assert "t17" in opened.tiles
    for name in ("t99999999", "t-1", "t01", "field", 17):
        assert name not in opened.tiles
    with pytest.raises(NotFoundError, match="'t0' to 't12582911'"):
        opened.tiles["field"]


def test_a_row_belongs_to_the_cell_that_contains_it(tmp_path, survey):
    lake = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1, width_pix=1000)
    (name,) = lake.tiles.at(np.array([150.0]), np.array([2.0]))
    tile = lake.tiles[name]
    ra, dec = (float(v[0]) for v in tile.grid.sky(*(np.array([(n - 1) / 2]) for n in tile.grid.shape[::-1])))
    work = {"stage": "s", "tile": name, "product": "source", "inputs": []}
    row = survey.empty_row("source", source_id=1, ra=ra, dec=dec)
    with lake.run(**work, params={}) as run:
        assert run.publish(survey.frame("source", [row])) == "published"
    with lake.run(**work, params={"beside": 1}) as run, pytest.raises(SchemaError, match=f"belong to tile '{name}'"):
        run.publish(survey.frame("source", [row | {"dec": dec + 0.01}]))
    assert lake.table("source").select("source_id", "tile").collect().rows() == [(1, name)]
    with lake.run(**work, params={"empty": 1}) as run:
        assert run.publish(survey.frame("source", [row]).clear()) == "published"
    assert lake.table("source").select(pl.len()).collect().item() == 0
    assert lake.live_runs("source") == {name: run.id}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tiles": "healpix"}, "scale_arcsec None"),
        ({"tiles": "squares", "scale_arcsec": 0.1}, "'squares'"),
        ({"tiles": "healpix", "scale_arcsec": 0.0}, "scale_arcsec: 0.0"),
        ({"tiles": "healpix", "scale_arcsec": 0.01, "width_pix": 1000}, "takes 2001 pixels"),
    ],
)
def test_tiles_without_meaning_are_refused(tmp_path, arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Lake.create(tmp_path / "lake", **arguments)
    assert not (tmp_path / "lake").exists()


def test_named_tiles_take_no_scale(tmp_path):
    tile = NamedTile("field", Grid.tangent(10.0, 20.0, shape=(50, 60), scale_arcsec=0.1))
    with pytest.raises(InvalidInputError, match=r"scale_arcsec 0\.1"):
        Lake.create(tmp_path / "lake", tiles=[tile], scale_arcsec=0.1)


@pytest.mark.parametrize("broken", [{"tiles": "healpix"}, {"tiles": "healpix", "tile_order": 99, "scale_arcsec": 1}])
def test_a_damaged_description_of_tiles_is_an_error(tmp_path, broken):
    made = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.06)
    config = json.loads((made.path / "lake.json").read_text())
    kept = {key: config[key] for key in ("format", "format_version", "uuid", "partition_order")}
    (made.path / "lake.json").write_text(json.dumps(kept | broken))
    with pytest.raises(FormatError, match="tile_order"):
        Lake.open(made.path)
