"""All that a lake knows of one source."""

import io
import json
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import polars as pl
import pytest

from skymere.lake import load_schema, products
from skymere.viewer.web.reading import LakeReader
from skymere.viewer.web.source_page import SourcePage
from skymere.viewer.web.source_plots import lines_of
from skymere.viewer.web.stamps import Stamp, Stamps


@pytest.fixture(scope="module")
def facts(page, shown, small):
    return page.json(f"/api/source/{small.where_label(shown, 1)['source_id']}")


def test_the_page_has_pictures_of_all_that_the_lake_holds(facts):
    groups = {group["title"]: [stamp["title"] for stamp in group["stamps"]] for group in facts["pictures"]}
    assert groups["Cutouts"] == ["f105w", "f105w weight", "f125w", "f125w weight", "f160w", "f160w weight", "segments"]
    assert groups["Profile"] == ["f160w", "f160w models", "f160w residual"]
    assert groups["Forced photometry"] == ["f105w", "f105w models and background", "f105w residual"]
    assert groups["Beam g141 grism0, order 3, PA 0.0"] == ["observed", "contamination", "model", "residual"]
    assert groups["Emission-line maps"] == ["Ha"]
    assert groups["Slit prism one"] == ["combined", "background", "profile", "weight"]
    assert groups["Slitlets, one exposure each"] == ["slit0 less sky"]
    assert facts["problems"] == []


def test_the_page_has_curves_with_the_lines_where_they_were_found(facts):
    plots = {plot["title"]: plot for plot in facts["plots"]}
    assert set(plots) == {"Fluxes", "Spectrum g141 (grism)", "Spectrum prism (slit)", "Redshift (grism, stack)"}
    spectrum = plots["Spectrum g141 (grism)"]
    assert [curve["label"] for curve in spectrum["curves"]] == ["flux", "model"]
    assert spectrum["curves"][0]["y"] == pytest.approx(spectrum["curves"][1]["y"], rel=1e-5)
    assert spectrum["marks"] == [{"x": 1.3, "text": "Ha 12.0"}]
    assert plots["Redshift (grism, stack)"]["marks"] == [{"x": 0.98, "text": "z = 0.9800"}]
    kron = next(curve for curve in plots["Fluxes"]["curves"] if curve["label"] == "Kron ellipse")
    assert kron["names"] == ["f105w", "f125w", "f160w"]
    assert kron["x"] == pytest.approx([1.055, 1.249, 1.537], abs=0.01)


def test_lines_that_are_not_seen_are_not_named_in_the_spectrum():
    lines = pl.DataFrame(
        {
            "source_id": [1, 1, 1, 1, 2],
            "method": ["slit", "slit", "slit", "grism", "slit"],
            "line": ["Ha", "Hb", "OI", "Ha", "Ha"],
            "wavelength": [2.0, 1.5, 1.9, 2.0, 2.0],
            "snr": [30.0, -4.0, 2.9, 9.0, 9.0],
        }
    )
    reader = SimpleNamespace(lake=SimpleNamespace(table=lambda _: lines.lazy()))
    assert lines_of(reader, 1, "slit") == [{"x": 2.0, "text": "Ha 30.0"}]


def test_pixels_of_a_beam_without_an_error_are_nothing(shown, small):
    beam = shown.table("beam").collect().row(0, named=True)
    place = {"product": "beam", "tile": beam["tile"], "run": beam["run_id"], "row": beam["beam_row"]}
    stamps = Stamps(LakeReader(shown))
    stamps._plane, read = lambda stamp, path: _half(read(stamp, path), path), stamps._plane
    pixels = stamps.pixels(Stamp(**place, paths=("sci",), known="err"))
    half = pixels.shape[1] // 2
    assert np.isnan(pixels[:, :half]).all()
    assert np.isfinite(pixels[:, half:]).all()
    assert "known=err" in Stamp(**place, paths=("sci",), known="err").address()


def _half(plane, path):
    known = np.ones_like(plane) if path == "err" else plane
    return np.where(np.arange(plane.shape[1]) < plane.shape[1] // 2, np.zeros_like(plane), known)


def test_every_measurement_has_its_unit_and_its_error(facts, shown, small):
    source = small.where_label(shown, 1)
    rows = {(row["table"], row["name"]): row for row in facts["measurements"]}
    flux = rows["source", "flux_auto_f160w"]
    assert (flux["value"], flux["error"], flux["unit"]) == (
        pytest.approx(source["flux_auto_f160w"]),
        pytest.approx(0.1),
        "uJy",
    )
    assert ("source", "flux_auto_err_f160w") not in rows
    assert (rows["profile", "flux"]["error"], rows["profile", "flux"]["unit"]) == (0.1, "uJy")
    assert rows["source", "ra"]["description"] == "ICRS"
    assert {"beam", "flux", "line", "redshift", "slitlet", "spectrum"} <= {table for table, _ in rows}


def test_every_picture_can_be_asked_for(page, facts):
    for group in facts["pictures"]:
        for stamp in group["stamps"]:
            status, headers, body = page.ask(stamp["url"])
            assert (status, headers["content-type"]) == (200, "image/png"), stamp
            assert matplotlib.image.imread(io.BytesIO(body), format="png").shape[:2] == (stamp["ny"], stamp["nx"])


def test_models_are_images_less_what_is_left(shown, small):
    stamps = Stamps(LakeReader(shown))
    window = (590, 690, 40, 50)
    runs = {product: shown.live_run(product, "field") for product in ("mosaic", "flux")}
    image = Stamp(product="mosaic", tile="field", run=runs["mosaic"], paths=("f105w/sci",), window=window)
    less = Stamp(**{**image.__dict__, "less": ("flux", runs["flux"], "f105w/residual")})
    truth = small.pixels()[0][590:630, 690:740]
    assert np.allclose(stamps.pixels(less), truth, atol=1e-5)


def test_what_lies_beyond_the_border_is_nothing(shown):
    stamps = Stamps(LakeReader(shown))
    run = shown.live_run("mosaic", "field")
    whole = shown.mosaic("field", "f105w")[...]
    for window in ((-10, -5, 30, 40), (1190, 1380, 30, 40), (5000, 0, 4, 4), (-50, 20, 40, 40)):
        seen = stamps.pixels(Stamp(product="mosaic", tile="field", run=run, paths=("f105w/sci",), window=window))
        y0, x0, ny, nx = window
        padded = np.pad(whole, 5000, constant_values=np.nan)[y0 + 5000 : y0 + 5000 + ny, x0 + 5000 : x0 + 5000 + nx]
        assert np.array_equal(seen, padded, equal_nan=True)


def test_the_tree_of_a_source_goes_down_to_its_exposures(page, shown, small):
    tree = page.json(f"/api/provenance/{small.where_label(shown, 1)['source_id']}")
    assert tree["runs"][0]["uri"] == "source/field"
    assert tree["text"].startswith("source/field")


def test_sources_and_pictures_that_are_not_there_are_refused(page, shown):
    assert page.refusal("/api/source/5") == (404, "source_id: no table of the lake has 5")
    run = shown.live_run("cutout", "field")
    good = f"/stamp/cutout/field/{run}.png"
    assert page.ask(good, {"path": "px64/f160w/sci", "row": 3})[0] == 200
    for query in (
        {"path": "px64/f160w/sci"},
        {"row": 3},
        {"path": "px64/f160w/sci", "row": 99},
        {"path": "px64/f160w/sci", "row": "x"},
        {"path": "px64/f160w/sci,px64/seg,source_id", "row": 3},
        {"path": "../../../etc/passwd", "row": 3},
        {"path": "px64/f160w/sci", "window": "0,0,9,9"},
        {"path": "px64/f160w/sci", "window": "0,0,9"},
        {"path": "px64/f160w/sci", "window": "nan,0,9,9"},
        {"path": "px64/f160w/sci", "window": "0,0,inf,9"},
        {"path": "px64/f160w/sci", "window": f"{10**23},0,9,9"},
        {"path": "px64/f160w/sci", "row": 3, "low": "5", "high": "1"},
        {"path": "px64/f160w/sci", "row": 3, "less": "flux"},
    ):
        assert page.ask(good, query)[0] in (400, 404, 422), query
    assert page.ask(f"/stamp/secret/field/{run}.png", {"path": "sci", "row": 3})[0] == 404
    window = f"/stamp/mosaic/field/{shown.live_run('mosaic', 'field')}.png"
    assert page.ask(window, {"path": "f160w/sci", "window": "0,0,100000,100000"})[0] == 400


def test_any_product_of_any_source_is_shown_or_named_as_a_problem(small, tmp_path):
    """Random rows and arrays in every product: the page may not understand them, but it is there."""
    survey = small.load_survey()
    lake = survey.create(tmp_path / "lake")
    asked = [name for name in survey.OTHERS if any(one.name == "source_id" for one in load_schema(name).columns)]
    survey.publish_all(lake, tiles=("east",), products=(*survey.PRODUCTS, *asked))
    reader = LakeReader(lake)
    page = SourcePage(reader, Stamps(reader))
    held = {
        product
        for product in products()
        if lake.live_runs(product) and "source_id" in lake.table(product).collect_schema()
    }
    assert {"beam", "slitlet", "spectrum", "pz", "flux", "profile"} <= held
    for source in (0, 1, 3):
        told = page.facts(source)
        assert told["measurements"]
        json.dumps(told)
