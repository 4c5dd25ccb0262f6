"""Tables a page at a time, with filters that can do nothing but choose rows."""

import time

import numpy as np
import polars as pl
import pytest


def rows(page, **query):
    return page.json("/api/rows/source", query)


def test_a_page_holds_the_rows_that_a_filter_chooses_in_the_order_that_was_asked_for(page, shown):
    table = shown.table("source").collect()
    where = "mag_auto_f160w < 23 and not isnull(r_half)"
    told = rows(
        page, where=where, sort="mag_auto_f160w", descending="1", columns="source_id,mag_auto_f160w", first=3, n=5
    )
    expected = table.filter(pl.col("mag_auto_f160w") < 23).sort("mag_auto_f160w", descending=True)
    assert expected.height > 8
    assert told["n_matching"] == expected.height
    assert [row[0] for row in told["rows"]] == [str(one) for one in expected["source_id"][3:8]]
    assert [row[1] for row in told["rows"]] == pytest.approx(expected["mag_auto_f160w"][3:8].to_list())


def test_identifiers_are_texts_for_javascript_keeps_53_bits(page, shown):
    first = rows(page, columns="source_id,_healpix_29", n=1)["rows"][0]
    assert all(isinstance(one, str) and int(one) > 2**53 for one in first)
    assert int(first[0]) in shown.table("source").select("source_id").collect()["source_id"]


def test_all_pages_together_are_the_table(page, shown):
    got = [row[0] for first in range(0, 60, 17) for row in rows(page, columns="source_id", first=first, n=17)["rows"]]
    assert sorted(got) == sorted(str(one) for one in shown.table("source").collect()["source_id"])


def test_the_place_of_a_source_in_an_order_is_found(page):
    order = {"sort": "flux_auto_f125w", "columns": "source_id"}
    listed = [row[0] for row in rows(page, **order)["rows"]]
    assert page.json("/api/place/source", {**order, "key": listed[41]})["place"] == 41
    assert page.json("/api/place/source", {**order, "where": "label = 0", "key": listed[41]})["place"] is None


def test_a_place_is_asked_for_in_an_order_and_a_table_that_have_one(page):
    for sort in ("nothing", "*", "^.*$", "/etc/passwd", "\x00"):
        status, text = page.refusal("/api/place/source", {"sort": sort, "key": "1"})
        assert (status, text.partition(" is not in table 'source'")[0]) == (400, f"columns, sort: {sort!r}")
    status, text = page.refusal("/api/place/mosaic", {"key": "1"})
    assert status == 400
    assert "'tile', which is no whole number" in text
    assert page.json("/api/place/source", {"key": str(10**23)})["place"] is None


def test_a_new_publication_is_seen(own, serve, small):
    with serve(own) as page:
        assert rows(page, where="label <= 10")["n_matching"] == 10
        frame = own.table("source").collect().filter(pl.col("label") > 5).drop("tile", "run_id", "_healpix_29")
        with own.run(stage="measure", tile="field", product="source", inputs=[], params={"again": 1}) as run:
            run.publish(frame)
        time.sleep(1.1)
        assert rows(page, where="label <= 10")["n_matching"] == 5


@pytest.mark.parametrize(
    "where",
    [
        "__import__('os').system('touch /tmp/hit')",
        "source_id.map_elements(print)",
        "pl.read_csv('/etc/passwd')",
        "read_csv('/etc/passwd') = 1",
        "eval('1') = 1",
        "label < 5; drop table source",
        "(lambda: 1)() = 1",
        "label < 5 union select 1",
        "label < [x for x in ()]",
        "\x00",
        "label < 5 " + "(" * 3000,
        "(" * 3000,
        "not " * 900 + "label = 1",
    ],
)
def test_a_filter_that_is_none_is_refused_with_its_place(page, where):
    status, text = page.refusal("/api/rows/source", {"where": where})
    assert status == 400
    assert "is not allowed" in text


def test_unknown_columns_tables_and_pages_are_refused(page):
    assert page.refusal("/api/rows/source", {"where": "nothing < 1"})[1].startswith(
        "column 'nothing' is not in the table"
    )
    assert page.refusal("/api/rows/source", {"sort": "nothing"})[0] == 400
    assert page.refusal("/api/rows/source", {"columns": "label,nothing"})[0] == 400
    assert page.refusal("/api/rows/source", {"n": "501"})[0] == 400
    assert page.refusal("/api/rows/source", {"first": "-1"})[0] == 400
    assert page.refusal("/api/rows/source", {"first": str(10**23)})[1].startswith(f"first, n: {10**23}, 100 are not")
    assert page.refusal("/api/rows/source", {"n": "many"})[1] == "n: 'many' is not allowed, it must be a whole number"
    assert page.ask("/api/rows/..%2Fsource")[0] == 404
    assert page.refusal("/api/rows/secrets")[0] == 404


def test_columns_say_what_they_are(page):
    columns = {one["name"]: one for one in page.json("/api/columns/source")}
    assert columns["ra"] == {"name": "ra", "kind": "number", "unit": "deg", "description": "ICRS"}
    assert columns["tile"]["kind"] == "text"
    assert columns["flux_auto_f160w"]["description"] == "Flux in the Kron ellipse (f160w)"


def test_a_histogram_counts_the_rows_of_the_filter(page, shown):
    told = page.json("/api/plot/source", {"x": "mag_auto_f105w - mag_auto_f160w", "where": "label <= 40"})
    assert told["n"] == 40
    assert sum(told["counts"]) + told["n_outside"] == 40
    assert len(told["edges"]) == len(told["counts"]) + 1


def test_a_scatter_has_each_point_with_its_key_and_many_points_are_counted(page, shown, monkeypatch):
    told = page.json("/api/plot/source", {"x": "ra", "y": "log10(flux_auto_f160w)", "where": "label <= 40"})
    table = shown.table("source").filter(pl.col("label") <= 40).collect()
    assert dict(zip(told["key"], told["x"], strict=True)) == {
        str(i): ra for i, ra in table.select("source_id", "ra").rows()
    }
    monkeypatch.setattr("skymere.viewer.web.catalogue.MOST_POINTS", 10)
    counted = page.json("/api/plot/source", {"x": "ra", "y": "dec"})
    assert 0 < np.sum(counted["cells"]) <= 60
    assert counted["n"] == 60


@pytest.mark.parametrize("x", ["", "tile", "ra <", "exp(ra)", "ra < 1", "'text'", "__class__", "ra if ra else dec"])
def test_what_is_no_number_is_not_plotted(page, x):
    assert page.refusal("/api/plot/source", {"x": x})[0] == 400


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from scan_parquet('/tmp/x.parquet')",
        "select * from '/etc/passwd'",
        "select * from source join read_ndjson('/etc/passwd') on true",
        "select * from (select * from READ_CSV('/etc/passwd'))",
        "with a as (select * from read_ipc('/x')) select * from a",
        "drop table source",
        "select * from source; select 1",
        "select * from nothing",
    ],
)
def test_sql_reads_tables_of_the_lake_and_nothing_else(page, query):
    assert page.refusal("/api/sql", {"query": query})[0] == 400


def test_sql_answers_questions_about_tables(page):
    told = page.json("/api/sql", {"query": "select count(*) as n, max(label) as most from source"})
    assert told == {"columns": ["n", "most"], "rows": [[60, 60]]}
    assert len(page.json("/api/sql", {"query": "select a.label from source a cross join source b"})["rows"]) == 500
