"""FITS, VOTable, Parquet and Zarr out of a lake, opened again by other tools with equal numbers."""

import warnings

import duckdb
import numpy as np
import polars as pl
import pytest
import tensorstore as ts
import xarray as xr
import zarr
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table
from astropy.wcs import WCS

from skymere.errors import InvalidInputError, NotFoundError, StorageError
from skymere.lake import load_schema, table_dtypes

NO_DATA, OTHER_SOURCE = 1, 2


def sources(lake):
    return lake.table("source").sort("source_id").collect()


def same(theirs, ours):
    """Whether an astropy column holds the values of a Polars one."""
    missing = np.broadcast_to(getattr(theirs, "mask", False), len(theirs))
    if ours.dtype == pl.String:  # to astropy, an empty text of a FITS file is a missing one
        return ["" if gone else value for value, gone in zip(theirs.tolist(), missing, strict=True)] == ours.to_list()
    if ours.dtype.is_float():
        blank = np.where(missing, np.nan, np.asarray(theirs))
        return np.array_equal(blank, ours.fill_null(float("nan")).to_numpy(), equal_nan=True)
    return [None if gone else value for value, gone in zip(theirs.tolist(), missing, strict=True)] == ours.to_list()


def text(value):
    return "".join(value.split())


@pytest.fixture
def gappy(survey, lake):
    """A lake in which one tile has no second band, and some values are missing."""
    for tile, bands in (("east", ("f125w",)), ("west", ("f125w", "f140w"))):
        names, _, _, ra, dec = survey.centres(tile, 1)
        rows = [
            survey.empty_row("source", bands, source_id=int(10 * names[k] + len(bands)), ra=ra[k], dec=dec[k])
            | {f"flux_auto_{bands[0]}": None if k % 3 == 0 else float(k), "kron_radius": None if k == 1 else 0.5}
            for k in range(len(names))
        ]
        frame = survey.frame("source", rows, bands)
        with lake.run(stage="s", tile=tile, product="source", inputs=[], params={}) as run:
            run.publish(frame.select(name for name in frame.columns if name in table_dtypes("source", bands)))
    return lake


def test_an_astropy_table_has_units_ucds_and_masks(gappy):
    table = gappy.to_astropy("source")
    ours = gappy.table("source").collect()
    assert table.colnames == ours.columns
    for name in ours.columns:
        assert same(table[name], ours[name]), name
    assert table["ra"].unit == u.deg
    assert table["flux_auto_f140w"].unit == u.uJy
    assert table["flux_auto_f140w"].mask.sum() == ours["flux_auto_f140w"].null_count() >= 9
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert "ICRS" in table["ra"].description


def test_rows_that_were_picked_keep_their_meaning(full):
    picked = (
        full.table("source")
        .filter(pl.col("label") < 3)
        .select("source_id", "ra", flux_njy=pl.col("flux_auto_f125w") * 1e3)
    )
    table = full.to_astropy(picked)
    assert table["ra"].unit == u.deg
    assert table["flux_njy"].unit is None
    runs = full.to_astropy("run")
    assert runs["seconds"].unit == u.s


def test_columns_that_have_no_place_in_a_table_are_named(full):
    lists = full.table("source").group_by("tile").agg("ra")
    with pytest.raises(InvalidInputError, match="column 'ra': type List"):
        full.to_astropy(lists)


def test_a_fits_catalogue_opens_with_units_ucds_and_equal_numbers(gappy, tmp_path):
    assert gappy.export_fits(tmp_path / "cat.fits", table="source") == [tmp_path / "cat.fits"]
    with fits.open(tmp_path / "cat.fits") as hdus:
        hdus.verify("exception")
        header = hdus["source"].header
    table = Table.read(tmp_path / "cat.fits", hdu="source")
    ours = gappy.table("source").collect()
    columns = {c.name: c for c in load_schema("source").expand(("f125w", "f140w"))}
    for i, name in enumerate(ours.columns, start=1):
        assert same(table[name], ours[name]), name
        assert (table[name].unit or u.dimensionless_unscaled) == u.Unit(columns[name].unit)
        assert header[f"TUCD{i}"] == columns[name].ucd
        assert header[f"TCOMM{i}"] == columns[name].description[:68]


def test_a_votable_opens_with_units_ucds_and_equal_numbers(gappy, tmp_path):
    path = gappy.export_votable("source", tmp_path / "cat.vot")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        votable = parse(path, verify="exception")
    ours = gappy.table("source").collect()
    table = votable.get_first_table()
    columns = {c.name: c for c in load_schema("source").expand(("f125w", "f140w"))}
    assert [field.name for field in table.fields] == ours.columns
    for field in table.fields:
        assert field.ucd == columns[field.name].ucd
        assert (field.unit or u.dimensionless_unscaled) == u.Unit(columns[field.name].unit)
        assert text(field.description) == text(columns[field.name].description)
    back = table.to_table()
    for name in ours.columns:
        assert same(back[name], ours[name]), name


@pytest.mark.parametrize("product", ["line", "redshift", "spectrum", "run"])
def test_units_that_votables_do_not_like_are_written_as_equal_ones(full, tmp_path, product):
    path = full.export_votable(product, tmp_path / "x.vot")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fields = {field.name: field for field in parse(path, verify="exception").get_first_table().fields}
    for column in load_schema(product).expand():
        assert (fields[column.name].unit or u.dimensionless_unscaled) == u.Unit(column.unit)


def test_the_parquet_files_open_as_votables_in_astropy(gappy):
    found = [
        Table.read(path, format="parquet.votable") for path in sorted((gappy.path / "tables/source").rglob("*.parquet"))
    ]
    ids = sorted(i for table in found for i in table["source_id"])
    assert ids == sources(gappy)["source_id"].to_list()
    for table in found:
        assert table["ra"].unit == u.deg
        assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
        ours = sources(gappy).filter(pl.col("source_id").is_in(table["source_id"].tolist()))
        assert np.array_equal(np.sort(table["ra"]), ours["ra"].sort())


def test_duckdb_reads_the_parquet_files_with_equal_numbers(gappy, full):
    for lake, product in ((gappy, "source"), (full, "source"), (full, "cutout"), (full, "run")):
        glob = f"{lake.path}/tables/{product}/v1/dataset/**/*.parquet"
        asked = f"select * from read_parquet('{glob}', union_by_name=true, hive_partitioning=false)"
        theirs = pl.from_arrow(duckdb.sql(asked).to_arrow_table())
        ours = lake.table(product).collect()
        order = list(load_schema(product).primary_key)
        assert theirs.select(ours.columns).cast(dict(ours.schema)).sort(order).equals(ours.sort(order))


@pytest.fixture(scope="module")
def stamps(full, tmp_path_factory):
    rows = sources(full)
    folder = tmp_path_factory.mktemp("stamps")
    return rows, full.export_fits(folder, cutouts=rows["source_id"])


def test_each_source_has_one_file_with_all_planes_of_all_bands(full, survey, stamps):
    rows, paths = stamps
    assert [path.name for path in paths] == [f"{i}.fits" for i in rows["source_id"]]
    for path in paths:
        with fits.open(path) as hdus:
            hdus.verify("exception")
            names = [(hdu.name, hdu.ver) for hdu in hdus[1:]]
            assert names == [(name, v) for v in (1, 2) for name in ("SCI", "SIG", "WHT", "MSK", "SEG")]
            assert [hdus["SCI", v].header["FILTER"] for v in (1, 2)] == ["F125W", "F140W"]


def test_the_wcs_of_a_file_puts_the_source_where_it_is(full, survey, stamps):
    rows, paths = stamps
    cut = full.cutouts(rows["source_id"], bands=list(survey.BANDS), planes=["sci"])
    for i, (path, row) in enumerate(zip(paths, rows.iter_rows(named=True), strict=True)):
        with fits.open(path) as hdus:
            for hdu in hdus[1:]:
                x, y = WCS(hdu.header).all_world2pix(row["ra"], row["dec"], 0)
                y0, x0 = cut.origin[hdu.header["FILTER"].lower()][i]
                assert abs(x + x0 - row["x"]) < 1e-6
                assert abs(y + y0 - row["y"]) < 1e-6
            seg = hdus["SEG", 1].data
            assert seg[round(row["y"]) - y0, round(row["x"]) - x0] == row["label"]


def test_planes_are_those_of_the_lake_and_galfit_can_take_them(full, survey, stamps):
    rows, paths = stamps
    cut = full.cutouts(rows["source_id"], bands=list(survey.BANDS), planes=["sci", "wht", "seg"])
    for i, (path, row) in enumerate(zip(paths, rows.iter_rows(named=True), strict=True)):
        with fits.open(path) as hdus:
            for v, band in enumerate(survey.BANDS, start=1):
                sci, sig, wht, mask, seg = (hdus[name, v].data for name in ("SCI", "SIG", "WHT", "MSK", "SEG"))
                ours = cut[band, "sci"][i]
                assert np.array_equal(sci, np.nan_to_num(ours, nan=0.0))
                assert np.array_equal(wht, cut[band, "wht"][i])
                assert np.array_equal(seg, cut[band, "seg"][i])
                assert np.array_equal((mask & NO_DATA) > 0, ~np.isfinite(ours) | (cut[band, "wht"][i] <= 0))
                assert np.array_equal((mask & OTHER_SOURCE) > 0, (seg > 0) & (seg != row["label"]))
                # sqrt(1e-4) times the noise correlation of 1.5
                assert np.allclose(sig[mask & NO_DATA == 0], 0.015, rtol=1e-6)
                assert all(np.isfinite(plane).all() for plane in (sci, sig, wht))
                assert (sig > 0).all()


def test_headers_say_units_and_what_galfit_needs(full, stamps):
    _, paths = stamps
    header = fits.getheader(paths[0], ("SCI", 1))
    assert u.Unit(header["BUNIT"]) == u.Unit("electron / s")
    assert u.Unit(fits.getheader(paths[0], ("SIG", 1))["BUNIT"]) == u.Unit("electron / s")
    assert u.Unit(fits.getheader(paths[0], ("WHT", 1))["BUNIT"]) == u.s
    mosaic = full.table("mosaic").filter(pl.col("band") == "f125w", pl.col("tile") == fits.getheader(paths[0])["TILE"])
    row = mosaic.collect().row(0, named=True)
    assert header["MAGZPT"] == row["zero_point_ab"]
    assert header["NCOMBINE"] == 1


def test_stamps_keep_the_mosaic_that_they_were_cut_from(lake, survey, tmp_path):
    for product in ("mosaic", "segmentation", "source"):
        survey.publish(lake, product)
    inputs = [lake.reference(product, "east") for product in ("mosaic", "source")]
    with lake.run(stage="cut", tile="east", product="cutout", inputs=inputs, params={}) as run:
        survey.publish_cutout(lake, "east", 1, run)
    source = sources(lake)["source_id"][0]
    (before,) = lake.export_fits(tmp_path / "before", cutouts=[source])
    with lake.run(stage="mosaic", tile="east", product="mosaic", inputs=[], params={"n": 2}) as run:
        for band in survey.BANDS:
            run.annotate(band, {"wcs": survey.grid("east").cards()})
            run.write(f"{band}/var", np.full(survey.SHAPE, 25, np.float32), unit="(electron / s)^2")
        rows = [survey.empty_row("mosaic", band=band, zero_point_ab=99.0) for band in survey.BANDS]
        run.publish(survey.frame("mosaic", rows))
    (after,) = lake.export_fits(tmp_path / "after", cutouts=[source])
    assert fits.getheader(after, ("SCI", 1))["MAGZPT"] == fits.getheader(before, ("SCI", 1))["MAGZPT"] == 1.5
    assert np.array_equal(fits.getdata(after, ("SIG", 1)), fits.getdata(before, ("SIG", 1)))


def test_a_size_that_is_asked_for_is_that_of_all_files(full, tmp_path):
    ids = sources(full)["source_id"].to_list()[:2]
    paths = full.export_fits(tmp_path / "out", cutouts=ids, bands=["f140w"], size_pix=30)
    for path in paths:
        with fits.open(path) as hdus:
            assert hdus["SCI"].data.shape == (30, 30)
            assert len(hdus) == 6


def test_bad_requests_for_files_are_named(full, tmp_path):
    with pytest.raises(InvalidInputError, match="exactly one of the three"):
        full.export_fits(tmp_path / "x")
    with pytest.raises(InvalidInputError, match="exactly one of the three"):
        full.export_fits(tmp_path / "x", table="source", cutouts=[1])
    with pytest.raises(NotFoundError, match="have no cutout"):
        full.export_fits(tmp_path / "x", cutouts=[12345])
    with pytest.raises(NotFoundError, match="'nothing'"):
        full.export_votable("nothing", tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        full.export_fits(tmp_path / "file/x.fits", table="source")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def arrays(lake, survey):
    for product in ("exposure", "mask", "mosaic", "segmentation", "cutout"):
        group = lake.arrays(product, survey.key_of(product, "east"))
        for path in group:
            yield group.folder, path, group[path]


@pytest.mark.filterwarnings("ignore:Object at manifest.json is not recognized")
def test_tensorstore_xarray_and_zarr_read_the_bits_that_rust_reads(full, survey):
    """Target A6."""
    n = 0
    for folder, path, ours in arrays(full, survey):
        bits = ours[...].tobytes()
        kvstore = {"driver": "file", "path": str(folder / path)}
        theirs = ts.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
        assert theirs.shape == ours.shape
        assert theirs.domain.labels == ours.dims
        assert theirs.read().result().tobytes() == bits
        assert zarr.open_array(folder / path, mode="r")[...].tobytes() == bits
        above, _, name = path.rpartition("/")
        data = xr.open_zarr(folder, group=above or None, consolidated=False, chunks=None, mask_and_scale=False)
        assert data[name].dims == ours.dims
        assert data[name].values.tobytes() == bits
        n += 1
    assert n > 20


def test_single_rows_are_the_same_in_every_reader(full):
    group = full.arrays("cutout", "east")
    ours = group["px64/f140w/sci"]
    rows = ours.rows(np.array([3, 0, 2]))
    kvstore = {"driver": "file", "path": str(group.folder / "px64/f140w/sci")}
    theirs = ts.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
    assert theirs[[3, 0, 2]].read().result().tobytes() == rows.tobytes()
    assert zarr.open_array(group.folder / "px64/f140w/sci", mode="r").oindex[[3, 0, 2]].tobytes() == rows.tobytes()


def test_missing_integers_and_truths_stay_missing_in_files(full, tmp_path):
    rows = pl.DataFrame(
        {
            "short": pl.Series([1, None, -32768], dtype=pl.Int16),
            "int": pl.Series([999999, None, 3], dtype=pl.Int32),
            "long": pl.Series([999999, None, -(2**63)], dtype=pl.Int64),
            "double": [1.0, None, 2.0],
        }
    )
    full.export_fits(tmp_path / "x.fits", table=rows)
    full.export_votable(rows.with_columns(truth=pl.Series([True, None, False])), tmp_path / "x.vot")
    for table in (Table.read(tmp_path / "x.fits"), Table.read(tmp_path / "x.vot")):
        for name in rows.columns:
            assert same(table[name], rows[name]), name
    assert Table.read(tmp_path / "x.vot")["truth"].tolist() == [True, None, False]


def test_texts_that_fits_cannot_hold_are_refused_by_name_and_a_votable_holds_them(full, tmp_path):
    rows = pl.DataFrame({"name": ["plain", "Ωmega"], "n": [1, 2]})
    with pytest.raises(InvalidInputError, match="column 'name': FITS cannot hold 'Ωmega'"):
        full.export_fits(tmp_path / "x.fits", table=rows)
    assert list(tmp_path.iterdir()) == []
    full.export_votable(rows, tmp_path / "x.vot")
    assert Table.read(tmp_path / "x.vot")["name"].tolist() == ["plain", "Ωmega"]
    with pytest.raises(InvalidInputError, match="VOTable cannot hold"):
        full.export_votable(pl.DataFrame({"name": ["\U0001f52d"]}), tmp_path / "y.vot")
    assert [path.name for path in tmp_path.iterdir()] == ["x.vot"]


def test_long_tables_and_counts_without_sign_are_whole(full, tmp_path):
    rng = np.random.default_rng(1)
    n = 120_000
    rows = pl.DataFrame(
        {
            "n": pl.Series(rng.integers(0, 2**32, n), dtype=pl.UInt32),
            "tiny": pl.Series(rng.integers(-128, 128, n), dtype=pl.Int8),
            "x": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "name": [f"s{k % 1013}" for k in range(n)],
            "truth": rng.random(n) < 0.5,
        }
    ).with_columns(y=pl.when(pl.col("truth")).then(pl.col("x").cast(pl.Float32)))
    full.export_votable(rows, tmp_path / "x.vot")
    full.export_fits(tmp_path / "x.fits", table=rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = [
            parse(tmp_path / "x.vot", verify="exception").get_first_table().to_table(),
            Table.read(tmp_path / "x.fits"),
        ]
    for table in tables:
        for name in rows.columns:
            assert same(table[name], rows[name]), name
