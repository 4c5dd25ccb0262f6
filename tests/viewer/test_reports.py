"""A report is one valid HTML file that needs nothing else, whatever the names in the lake are."""

import base64
import re
from html.parser import HTMLParser

import polars as pl
import pytest

from skymere.errors import FormatError, InvalidInputError, NoDataError, NotFoundError, StorageError
from skymere.lake import Lake
from skymere.viewer import gallery_sources, write_comparison, write_report
from skymere.viewer.report_html import Section, page, paragraph, table
from skymere.viewer.report_tables import bad_objects, band_counts, depth_table, product_counts, stage_times

VOID = {"meta", "img", "br", "hr", "link", "input"}
REFERS = ("src", "href", "action", "data", "poster", "srcset", "background", "formaction", "cite")


class Checked(HTMLParser):
    """Tags that are open, what is referred to, names of elements, and the words."""

    def __init__(self, text):
        super().__init__()
        self.open, self.refers, self.tags, self.names, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in REFERS:
                self.refers.append(value)
            if name == "id":
                self.names.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def checked(path):
    text = path.read_text(encoding="utf-8")
    found = Checked(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(found.tags)
    assert len(found.names) == len(set(found.names))
    for one in found.refers:
        assert one.startswith("data:image/png;base64,") or (one.startswith("#") and one[1:] in found.names), one[:80]
        if one.startswith("data:"):
            assert base64.b64decode(one.partition(",")[2], validate=True).startswith(b"\x89PNG")
    # Styles could fetch, too.
    assert not re.search(r"url\(|@import|expression\(", "".join(found.words))
    return found


@pytest.fixture(scope="module")
def report(lake, tmp_path_factory):
    return write_report(lake, tmp_path_factory.mktemp("report") / "report.html", n_sources=2)


def test_a_report_is_one_valid_file_that_refers_to_nothing_outside(report):
    found = checked(report)
    words = " ".join(found.words)
    for title in ("Counts", "Images", "Depths", "PSF", "Alignment", "Completeness", "Failures", "Times", "Gallery"):
        assert title in words
    assert found.tags.count("img") >= 7


def test_names_in_the_lake_are_shown_as_text(report, small):
    found = checked(report)
    assert sum(small.HOSTILE in one for one in found.words) >= 2
    assert "<script" not in report.read_text(encoding="utf-8")


def test_text_of_any_kind_is_escaped():
    hostile = "\"'><script>&\x00\x1b[31m"
    frame = pl.DataFrame({hostile: [hostile], "n": [1.23456789]})
    text = page(hostile, [Section(name="a", title=hostile, parts=[table(frame, hostile), paragraph(hostile)])])
    found = Checked(text)
    assert "script" not in found.tags
    assert text.isprintable() or not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    assert "1.235" in found.words
    assert sum("\"'><script>&" in one for one in found.words) >= 5


def test_the_same_state_gives_the_same_report(lake, report, tmp_path):
    again = write_report(Lake.open(lake.path), tmp_path / "again.html", n_sources=2)
    assert again.read_bytes() == report.read_bytes()


def test_numbers_are_those_of_the_tables(lake, small):
    counts = {row["product"]: row for row in product_counts(lake).iter_rows(named=True)}
    assert counts["redshift"] == {"product": "redshift", "rows": 2, "ok": 1, "not ok": 1, "tiles": 1, "runs": 1}
    assert counts["source"]["rows"] == lake.table("source").select(pl.len()).collect().item()
    assert "run" not in counts
    assert "note" not in counts
    bands = {row["product"]: row for row in band_counts(lake).iter_rows(named=True)}
    assert bands["flux"]["f125w"] == bands["flux"]["wide1"] == len(small.ids(lake))
    assert bands["flux"]["f140w"] is None
    assert bands["slit_spectrum"]["prism"] == 1
    depths = {(row["tile"], row["band"]): row for row in depth_table(lake).iter_rows(named=True)}
    assert set(depths) == {(tile, band) for tile in ("east", "west") for band in ("f125w", "f140w")} | {
        ("east", "wide1")
    }
    # One of the forced fluxes is below 10 sigma: its error of 0.2 uJy is 23.9 mag at 5 sigma.
    assert depths["east", "wide1"]["forced depth"] == pytest.approx(23.9)
    assert depths["east", "wide1"]["exptime"] is None
    times = stage_times(lake)
    assert {"make-source", "make-flux"} <= set(times["stage"])
    assert times.filter(stage="make-source")["tiles"].item() == 2
    assert bad_objects(lake).is_empty()


def test_a_report_of_a_release_or_a_run_shows_that_state(lake, small, tmp_path):
    old = Lake.open(lake.path, release="DR1")
    run = old.live_run("redshift", small.TILE)
    words = []
    for made in (
        write_report(old, tmp_path / "dr1.html", n_sources=1),
        write_report(lake, tmp_path / "run.html", run=run[:10], source_ids=small.ids(lake)[:1]),
    ):
        words.append(" ".join(checked(made).words))
        assert "z = 0.9800" in words[-1]
        assert "z = 1.0800" not in words[-1]
    assert "release DR1" in words[0]
    assert f"run {run}" in words[1]
    assert '"version": 1' in words[1]
    with pytest.raises(NotFoundError, match="run 'abc'"):
        write_report(lake, tmp_path / "no.html", run="abc")
    with pytest.raises(InvalidInputError, match="can only be read"):
        write_report(old, tmp_path / "no.html", run=run)


def test_completeness_is_that_of_the_injection(lake, tmp_path):
    bins = {
        "true_mag_low": [20.0, 22.0],
        "true_mag_high": [22.0, 24.0],
        "n": [50, 50],
        "n_found": [49, 20],
        "n_used": [0, 0],
    }
    part = {"completeness": [0.98, 0.4], "completeness_low": [0.95, 0.33], "completeness_high": [0.99, 0.47]}
    rows = pl.DataFrame({"population": ["all"] * 2, "quantity": ["completeness"] * 2, **bins, **part})
    rows.write_parquet(tmp_path / "summary.parquet")
    made = write_report(lake, tmp_path / "r.html", n_sources=0, injection=tmp_path)
    words = checked(made).words
    assert "Part of injected sources that was found" in words
    assert "0.98" in words
    with pytest.raises(NotFoundError, match=r"summary\.parquet"):
        write_report(lake, tmp_path / "no.html", injection=tmp_path / "nowhere")
    rows.drop("completeness").write_parquet(tmp_path / "summary.parquet")
    with pytest.raises(FormatError, match="it must have"):
        write_report(lake, tmp_path / "no.html", injection=tmp_path)
    (tmp_path / "summary.parquet").write_text("no table")
    with pytest.raises(FormatError, match="cannot be read"):
        write_report(lake, tmp_path / "no.html", injection=tmp_path)
    assert not (tmp_path / "no.html").exists()


def test_a_lake_with_little_has_a_short_report_and_an_empty_one_none(bare, small, tmp_path):
    words = " ".join(checked(write_report(bare, tmp_path / "bare.html")).words)
    for told in ("No mosaic was published", "No PSF was published", "No exposure was aligned", "There is no source"):
        assert told in words
    empty = small.survey.create(tmp_path / "lake")
    with pytest.raises(NoDataError, match="nothing was published"):
        write_report(empty, tmp_path / "no.html")
    with pytest.raises(InvalidInputError, match="n_sources: -1"):
        write_report(bare, tmp_path / "no.html", n_sources=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_report(bare, tmp_path / "file" / "no.html")


def test_the_gallery_has_the_best_spectra_and_the_brightest(lake, small):
    ids = small.ids(lake)
    assert gallery_sources(lake, 3)[0] == ids[0]
    assert len(set(gallery_sources(lake, 5))) == 5
    assert gallery_sources(lake, 0) == []
    mine = gallery_sources(lake, 100, tile=small.TILE)
    assert set(mine) == set(ids)


def test_a_comparison_shows_runs_rows_and_strips_of_what_changed(lake, small, tmp_path):
    told = write_comparison(lake, "DR1", "DR2", tmp_path / "c.html", n_sources=2)
    found = checked(tmp_path / "c.html")
    words = " ".join(found.words)
    for word in (
        "A = release DR1",
        "B = release DR2",
        "z = 0.9800",
        "z = 1.0800",
        "removed",
        "version",
    ):
        assert word in words, word
    assert found.tags.count("img") == 2
    assert small.ids(lake)[0] in told["source_id"]
    with pytest.raises(InvalidInputError, match="states must differ"):
        write_comparison(lake, "DR1", "DR1", tmp_path / "no.html")
    with pytest.raises(NotFoundError, match="123 is neither"):
        write_comparison(lake, "DR1", "latest", tmp_path / "no.html", source_ids=[123])
    assert not (tmp_path / "no.html").exists()


def test_states_that_are_the_same_have_nothing_to_compare(lake, tmp_path):
    # DR2 is the newest state.
    told = write_comparison(lake, "DR2", "latest", tmp_path / "c.html")
    assert told.is_empty()
    words = " ".join(checked(tmp_path / "c.html").words)
    assert "Both states show the same runs" in words
    assert "No source changed" in words
