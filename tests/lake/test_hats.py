"""HATS exports, opened again by lsdb and hats (T4)."""

import warnings

import numpy as np
import polars as pl
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky

from skymere.errors import ConflictError, InvalidInputError, NoDataError
from skymere.lake import Lake

# lsdb calls pandas in a way that pandas deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in NestedFrame:DeprecationWarning")

MARGIN = 60.0


@pytest.fixture(scope="module")
def lsdb():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lsdb
    return lsdb


def scattered(rng, n):
    """Positions in clumps at seams of the sky, at a corner of four pixels and in the middle of one."""
    places = [(0.0, 0.0), (123.0, 90.0), (0.0, -89.99), (45.0, 41.8103), (77.0, 12.0)]
    ra, dec = np.empty(n), np.empty(n)
    for k, (ra0, dec0) in enumerate(places):
        mine = np.arange(k, n, len(places))
        frame = SkyCoord(ra0 * u.deg, dec0 * u.deg).skyoffset_frame()
        offset = rng.normal(0, 120, (2, len(mine))) * u.arcsec
        sky = SkyCoord(offset[0], offset[1], frame=frame).icrs
        ra[mine], dec[mine] = sky.ra.deg, sky.dec.deg
    return ra, dec


@pytest.fixture(scope="module")
def sky(survey, tmp_path_factory):
    """Sources in many pixels; only some tiles have a second band."""
    lake = Lake.create(tmp_path_factory.mktemp("sky") / "lake", tiles="healpix", scale_arcsec=60.0)
    ra, dec = scattered(np.random.default_rng(11), 800)
    tile = np.array(lake.tiles.at(ra, dec))
    for k, name in enumerate(np.unique(tile)):
        bands = ("f125w", "f140w")[: 1 + k % 2]
        rows = [
            survey.empty_row("source", bands, source_id=int(i), ra=ra[i], dec=dec[i])
            for i in np.flatnonzero(tile == name)
        ]
        with lake.run(stage="s", tile=str(name), product="source", inputs=[], params={}) as run:
            run.publish(survey.frame("source", rows, bands))
    return lake


@pytest.fixture(scope="module")
def collection(sky, tmp_path_factory):
    return sky.export_hats("source", tmp_path_factory.mktemp("hats") / "out", margin_arcsec=MARGIN)


def test_hats_finds_it_strictly_valid(collection):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hats.io.validation import is_valid_catalog, is_valid_collection

    assert is_valid_collection(collection, strict=True)
    for name in ("source", "source_margin"):
        assert is_valid_catalog(collection / name, strict=True)


def test_lsdb_reads_equal_rows(sky, collection, lsdb):
    theirs = lsdb.open_catalog(collection)
    ours = sky.table("source").sort("source_id").collect()
    assert len(theirs) == ours.height
    frame = theirs.compute()
    frame = frame.reset_index() if "_healpix_29" not in frame.columns else frame
    frame = frame.sort_values("source_id")
    assert set(ours.columns) == set(frame.columns)
    for name in ours.columns:
        theirs = [None if gone else value for value, gone in zip(frame[name], frame[name].isna(), strict=True)]
        assert theirs == ours[name].to_list(), name


def test_a_cone_of_lsdb_is_that_of_the_lake(sky, collection, lsdb):
    for ra, dec, radius in [(0.001, 0.0, 100.0), (45.0, 41.81, 150.0), (77.0, 12.0, 30.0), (200.0, 89.99, 80.0)]:
        theirs = lsdb.open_catalog(collection).cone_search(ra, dec, radius).compute()
        ours = sky.cone("source", ra, dec, radius_arcsec=radius).collect()
        assert sorted(theirs["source_id"]) == sorted(ours["source_id"])
        assert ours.height


def test_a_crossmatch_of_lsdb_finds_pairs_across_pixels(sky, collection, lsdb):
    catalogue = lsdb.open_catalog(collection)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = catalogue.crossmatch(
            catalogue, n_neighbors=800, radius_arcsec=MARGIN * 0.99, suffixes=("_a", "_b"), suffix_method="all_columns"
        ).compute()
    found = set(zip(pairs["source_id_a"], pairs["source_id_b"], strict=True))
    rows = sky.table("source").select("source_id", "ra", "dec").collect()
    place = SkyCoord(rows["ra"].to_numpy(), rows["dec"].to_numpy(), unit="deg")
    i, j, _, _ = search_around_sky(place, place, MARGIN * 0.99 * u.arcsec)
    ids = rows["source_id"].to_numpy()
    assert found == set(zip(ids[i].tolist(), ids[j].tolist(), strict=True))
    pixel = sky.table("source").collect()["_healpix_29"].to_numpy() >> 46
    assert len(np.unique(pixel)) > 6


def test_the_margin_holds_all_neighbours_and_few_others(sky, collection):
    from cdshealpix import nested

    rows = sky.table("source").collect()
    place = SkyCoord(rows["ra"].to_numpy(), rows["dec"].to_numpy(), unit="deg")
    own = rows["_healpix_29"].to_numpy() >> 46
    margin = {}
    for path in (collection / "source_margin/dataset").rglob("*.parquet"):
        margin[int(path.parent.name.partition("=")[2])] = set(pl.read_parquet(path)["source_id"])
    assert set(margin) == set(own.tolist())
    needed = {pixel: set() for pixel in margin}
    for angle in np.arange(0, 360, 5) * u.deg:
        for radius in (0.25, 0.5, 0.75, 1.0):
            at = place.directional_offset_by(angle, radius * MARGIN * u.arcsec)
            pixel = nested.lonlat_to_healpix(at.ra, at.dec, 6).astype(np.int64)
            for source, p, mine in zip(rows["source_id"], pixel.tolist(), own.tolist(), strict=True):
                if p != mine and p in needed:
                    needed[p].add(source)
    for pixel, wanted in needed.items():
        assert wanted <= margin[pixel]
        assert len(margin[pixel]) <= rows.height - (own == pixel).sum()


def test_files_are_links_where_nothing_has_to_be_added(sky, tmp_path):
    out = sky.export_hats("source", tmp_path / "out")
    inodes = {path.stat().st_ino for path in (sky.path / "tables/source").rglob("*.parquet")}
    linked = [path.stat().st_ino in inodes for path in (out / "source").rglob("*.parquet")]
    assert 0 < sum(linked) < len(linked)


def test_an_export_stays_when_the_lake_goes_on(survey, tmp_path, lsdb):
    lake = survey.create(tmp_path / "lake")
    survey.publish_all(lake)
    out = lake.export_hats("source", tmp_path / "out")
    before = sorted(lsdb.open_catalog(out).compute()["source_id"])
    survey.publish_all(lake, 2)
    assert lake.gc(dry_run=False, grace_days=1e-9).files
    assert sorted(lsdb.open_catalog(out).compute()["source_id"]) == before
    assert len(before) == 18
    again = lake.export_hats("source", tmp_path / "again")
    assert len(lsdb.open_catalog(again)) == 16


def test_an_old_version_and_merged_files_can_be_exported(survey, tmp_path, lsdb):
    lake = survey.create(tmp_path / "lake")
    survey.publish_all(lake)
    first = max(entry["version"] for entry in lake.history("source"))
    assert lake.compact("source").after == 1
    merged = lake.export_hats("source", tmp_path / "merged")
    assert len(lsdb.open_catalog(merged)) == 18
    survey.publish_all(lake, 2)
    old = lake.export_hats("source", tmp_path / "old", version=first)
    assert len(lsdb.open_catalog(old)) == 18


def test_what_cannot_be_exported_is_said_and_nothing_is_left(full, lake, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("mine")
    with pytest.raises(ConflictError, match="not empty"):
        full.export_hats("source", tmp_path / "mine")
    with pytest.raises(InvalidInputError, match="'run'"):
        full.export_hats("run", tmp_path / "run")
    with pytest.raises(InvalidInputError, match="margin_arcsec: -1"):
        full.export_hats("source", tmp_path / "out", margin_arcsec=-1)
    with pytest.raises(NoDataError, match="'source' has no rows"):
        lake.export_hats("source", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name != "lake"] == ["mine"]
