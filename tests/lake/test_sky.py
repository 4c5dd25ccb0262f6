"""Cones, boxes and cross-matches against brute force, on the whole sky (T3)."""

import numpy as np
import polars as pl
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation

from skymere.errors import InvalidInputError
from skymere.lake import Lake, around, in_box, in_cone, separation

POLES_AND_SEAM = [
    (0.0, 0.0),
    (359.99999, -30.0),
    (1e-5, 45.0),
    (123.0, 90.0),
    (0.0, -90.0),
    (45.0, 89.9995),
    (180.0, 41.81),
]


def scattered(rng, n):
    """Positions in clumps of all sizes around the places where formulas fail, and around one where they do not."""
    ra, dec = np.empty(n), np.empty(n)
    places = [*POLES_AND_SEAM, (77.0, 12.0)]
    for k, (ra0, dec0) in enumerate(places):
        mine = np.arange(k, n, len(places))
        frame = SkyCoord(ra0 * u.deg, dec0 * u.deg).skyoffset_frame()
        size = 10 ** rng.uniform(-1, 3.3, len(mine))
        offset = rng.normal(0, 1, (2, len(mine))) * size / 3600
        sky = SkyCoord(offset[0] * u.deg, offset[1] * u.deg, frame=frame).icrs
        ra[mine], dec[mine] = sky.ra.deg, sky.dec.deg
    return ra, dec


@pytest.fixture(scope="module")
def whole_sky(survey, tmp_path_factory):
    """A lake with 1500 sources in every corner of the sky, and their positions."""
    lake = Lake.create(tmp_path_factory.mktemp("sky") / "lake", tiles="healpix", scale_arcsec=60.0)
    ra, dec = scattered(np.random.default_rng(5), 1500)
    tile = np.array(lake.tiles.at(ra, dec))
    for name in np.unique(tile):
        rows = [
            survey.empty_row("source", source_id=int(i), ra=ra[i], dec=dec[i]) for i in np.flatnonzero(tile == name)
        ]
        with lake.run(stage="s", tile=str(name), product="source", inputs=[], params={}) as run:
            run.publish(survey.frame("source", rows))
    return lake, ra, dec


def apart_arcsec(ra, dec, ra0, dec0):
    return np.rad2deg(angular_separation(*np.deg2rad([ra, dec]), *np.deg2rad([ra0, dec0]))) * 3600


def test_1000_cones_are_those_of_astropy(whole_sky):
    lake, ra, dec = whole_sky
    rng = np.random.default_rng(6)
    centres = scattered(rng, 1000)
    n_found = 0
    for ra0, dec0, radius in zip(*centres, 10 ** rng.uniform(-1, 4.5, 1000), strict=True):
        found = lake.cone("source", ra0, dec0, radius_arcsec=radius).select("source_id").collect()["source_id"]
        truth = np.flatnonzero(apart_arcsec(ra, dec, ra0, dec0) <= radius)
        assert sorted(found) == truth.tolist(), (ra0, dec0, radius)
        n_found += len(truth)
    assert n_found > 20000


@pytest.mark.parametrize(
    ("ra_range", "dec_range"),
    [((70, 80), (-20, 20)), ((350, 10), (-90, 90)), ((-10, 10), (-90, 0)), ((0, 360), (89, 90)), ((359.9999, 0), (-31, -29)),
     ((0, 0.5), (-1, 1)), ((200, 360), (-90, -80)), ((360, 1), (40, 50)), ((-180, 180), (0, 45))],
)  # fmt: skip
def test_boxes_are_those_of_brute_force(whole_sky, ra_range, dec_range):
    lake, ra, dec = whole_sky
    width = ra_range[1] - ra_range[0]
    east_of_border = (ra - ra_range[0]) % 360
    inside = (east_of_border <= width % 360) | (abs(width) >= 360)
    truth = np.flatnonzero(inside & (dec >= dec_range[0]) & (dec <= dec_range[1]))
    found = lake.box("source", ra=ra_range, dec=dec_range).select("source_id").collect()["source_id"]
    assert sorted(found) == truth.tolist()
    assert len(truth) > 0


def test_the_meridian_of_zero_is_that_of_360():
    table = pl.DataFrame({"ra": [0.0, 360.0, 1.0, 359.0], "dec": [0.0] * 4})
    for ra_range in ((0, 0.5), (359.5, 0), (359.5, 360), (-0.5, 0.5), (360, 0.5)):
        assert table.filter(in_box("ra", "dec", ra_range=ra_range, dec_range=(-1, 1)))["ra"].to_list() == [0.0, 360.0]


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.39, 60.0, 7000.0, 400000.0])
def test_a_crossmatch_is_that_of_brute_force(whole_sky, radius):
    lake, ra, dec = whole_sky
    rng = np.random.default_rng(7)
    ra0, dec0 = scattered(rng, 300)
    pick = rng.choice(len(ra), 100)
    # Some partners are where a source is, and some a little beside one.
    ra0[:50], dec0[:50] = ra[pick[:50]], dec[pick[:50]]
    ra0[50:100], dec0[50:100] = (v[2] for v in around(ra[pick[50:]], dec[pick[50:]], 0.7 * radius))
    other = pl.DataFrame({"name": np.arange(300), "ra": ra0, "dec": dec0, "flags": 0})
    found = lake.crossmatch("source", other, radius_arcsec=radius).collect()
    apart = apart_arcsec(ra[:, None], dec[:, None], ra0, dec0)
    assert found.select("source_id", "name").unique().height == found.height
    assert set(found.select("source_id", "name").rows()) == set(
        zip(*(i.tolist() for i in np.nonzero(apart <= radius)), strict=True)
    )
    assert found.height >= 50
    np.testing.assert_allclose(
        found["separation_arcsec"], apart[found["source_id"], found["name"]], rtol=1e-9, atol=1e-9
    )
    assert {"ra_other", "dec_other", "flags_other"} <= set(found.columns)
    nearest = lake.crossmatch("source", other.lazy(), radius_arcsec=radius, keep="nearest").collect()
    assert nearest["source_id"].to_list() == sorted(set(found["source_id"]))
    np.testing.assert_allclose(
        nearest["separation_arcsec"], apart.min(axis=1)[nearest["source_id"]], rtol=1e-9, atol=1e-9
    )


def test_two_tables_of_the_lake_are_matched(full):
    found = full.crossmatch("source", "cutout", radius_arcsec=0.01).collect()
    assert (found["source_id"] == found["source_id_other"]).all()
    assert found.height == 18


def test_rows_without_a_position_match_nothing(full):
    place = full.table("source").select("ra", "dec").head(1).collect()
    other = pl.concat([place, pl.DataFrame({"ra": [None, np.nan], "dec": [0.0, 0.0]}, schema=place.schema)])
    assert full.crossmatch("source", other, radius_arcsec=0.01).collect().height == 1
    assert full.crossmatch("source", other.clear(), radius_arcsec=1.0).collect().height == 0
    assert full.crossmatch("source", place.with_columns(pl.col("ra") + 360), radius_arcsec=1e-6).collect().height == 1


def test_predicates_take_columns_numbers_and_expressions():
    table = pl.DataFrame({"alpha": [10.0, 350.0], "delta": [0.0, 0.0], "ra": [10.0, 10.0], "dec": [0.001, 0.0]})
    one = table.select(separation("alpha", "delta", "ra", pl.col("dec")))["alpha"]
    np.testing.assert_allclose(one, [3.6, 72000.0], rtol=1e-12)
    assert table.filter(in_cone("alpha", "delta", 10.0, 0.0, radius_arcsec=1.0)).height == 1
    assert table.filter(in_cone(pl.col("alpha") - 360, "delta", "ra", "dec", radius_arcsec=4.0)).height == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lake: lake.box("source", ra=(0, 400), dec=(0, 1)), "ra: "),
        (lambda lake: lake.box("source", ra=(0, 1), dec=(1, 0)), "smaller one comes first"),
        (lambda lake: lake.box("source", ra=(0, 1), dec=(0, np.nan)), "dec: "),
        (lambda lake: lake.box("run", ra=(0, 1), dec=(0, 1)), "no index of positions"),
        (lambda lake: lake.crossmatch("run", "source", radius_arcsec=1), "no index of positions"),
        (lambda lake: lake.crossmatch("source", "run", radius_arcsec=1), "no index of positions"),
        (lambda lake: lake.crossmatch("source", "source", radius_arcsec=-1), "radius_arcsec"),
        (lambda lake: lake.crossmatch("source", "source", radius_arcsec=1, keep="best"), "keep"),
        (lambda lake: lake.crossmatch("source", pl.DataFrame({"x": [1]}), radius_arcsec=1), "column 'ra' is missing"),
        (lambda lake: lake.crossmatch("source", pl.DataFrame({"ra": [1], "dec": [91]}), radius_arcsec=1), "dec 91"),
        (lambda _: in_cone("ra", "dec", 0.0, 91.0, radius_arcsec=1), "dec: 91"),
    ],
)
def test_questions_without_meaning_are_refused(full, call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(full)
