import numpy as np
import polars as pl
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from skymere.errors import InvalidInputError
from skymere.lake.sky import cone_ranges, healpix29, separation

CENTRES = [
    (0.0, 0.0),
    (359.99999, -30.0),
    (0.00001, 45.0),
    (123.0, 90.0),
    (0.0, -90.0),
    (45.0, 89.9995),
    (180.0, 41.81),
]


def around(ra, dec, scale_arcsec, n, rng):
    """Positions scattered around a place, also beyond a pole."""
    frame = SkyCoord(ra * u.deg, dec * u.deg).skyoffset_frame()
    offsets = rng.normal(0, scale_arcsec, (2, n)) * u.arcsec
    sky = SkyCoord(offsets[0], offsets[1], frame=frame).icrs
    return sky.ra.deg, sky.dec.deg


@pytest.mark.parametrize("seed", range(12))
def test_cones_hold_exactly_what_astropy_finds(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        ra, dec = (
            CENTRES[rng.integers(len(CENTRES))]
            if rng.random() < 0.6
            else (
                rng.uniform(0, 360),
                np.rad2deg(np.arcsin(rng.uniform(-1, 1))),
            )
        )
        radius = 10 ** rng.uniform(-1, 5)
        a, d = around(ra, dec, radius, 400, rng)
        table = pl.DataFrame({"ra": a, "dec": d, "_healpix_29": healpix29(a, d)}).with_row_index("row")
        index = pl.col("_healpix_29")
        ranges = cone_ranges(ra, dec, radius)
        near = table.filter(pl.any_horizontal([index.is_between(lo, hi) for lo, hi in ranges]))
        found = near.filter(separation("ra", "dec", ra, dec) <= radius)["row"].to_numpy()
        truth = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(a * u.deg, d * u.deg)).arcsec
        clear = np.abs(truth / radius - 1) > 1e-9
        inside = np.isin(np.arange(400), found)
        np.testing.assert_array_equal(inside[clear], (truth <= radius)[clear])
        assert len(ranges) <= 20


def test_ranges_keep_out_most_of_the_sky():
    total = sum(b - a + 1 for a, b in cone_ranges(150.0, 2.0, 60.0))
    cone = np.pi * 60.0**2 / (4 * np.pi * (180 / np.pi * 3600) ** 2) * 12 * 4**29
    assert cone <= total <= 20 * cone


def test_cones_of_a_lake_are_those_of_brute_force(full):
    sources = full.table("source").collect()
    for ra, dec, radius in [(150.0, 0.0, 3.0), (149.999, 0.0005, 1.7), (150.0, 0.0, 100.0), (10.0, 0.0, 5.0)]:
        truth = SkyCoord(ra * u.deg, dec * u.deg).separation(
            SkyCoord(sources["ra"].to_numpy() * u.deg, sources["dec"].to_numpy() * u.deg)
        )
        found = full.cone("source", ra, dec, radius_arcsec=radius).collect()
        assert set(found["source_id"]) == set(sources.filter(truth.arcsec <= radius)["source_id"])
    assert full.cone("cutout", 150.0, 0.0, radius_arcsec=100.0).collect().height == 18


@pytest.mark.parametrize(
    ("ra", "dec", "radius", "message"),
    [(np.nan, 0, 1, "ra"), (0, 91, 1, "dec"), (0, 0, -1, "radius"), (0, 0, np.nan, "radius"), (0, 0, 1e9, "radius")],
)
def test_cones_without_meaning_are_refused(full, ra, dec, radius, message):
    with pytest.raises(InvalidInputError, match=message):
        full.cone("source", ra, dec, radius_arcsec=radius)


def test_tables_without_positions_have_no_cones(full):
    with pytest.raises(InvalidInputError, match=r"'run'.*'cutout'.*'source'"):
        full.cone("run", 0.0, 0.0, radius_arcsec=1.0)
