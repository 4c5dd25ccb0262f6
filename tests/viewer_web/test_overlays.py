"""What lies over an image, in its pixels."""

import io

import matplotlib.image
import numpy as np
import pytest

from skymere.lake import add_regions
from skymere.regions import Annulus, Box, Circle, Ellipse, Point, Polygon, mask_from_region
from skymere.viewer.web.outlines import outline_of_beam, outlines_of_region, outlines_of_slitlet
from skymere.wcs import Grid


@pytest.fixture(scope="module")
def image(page):
    return page.json("/api/image/field")


def overlay(page, image, kind, box=(0, 0, 1400, 1200), **more):
    query = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)) | more
    return page.json(f"/api/overlay/{kind}/field/{image['run']}/f160w", query)


def test_an_image_says_what_the_page_needs_to_draw_it(page, image, small):
    assert (image["nx"], image["ny"], image["n_levels"], image["tile_pix"]) == (1400, 1200, 2, 256)
    assert [one["band"] for one in image["bands"]] == list(small.BANDS)
    plane = image["tangent"]
    dx, dy = 100.0 - plane["pixel"][0], 900.0 - plane["pixel"][1]
    ra, dec = small.grid().sky(np.array([100.0]), np.array([900.0]))
    xi = plane["matrix"][0][0] * dx + plane["matrix"][0][1] * dy
    eta = plane["matrix"][1][0] * dx + plane["matrix"][1][1] * dy
    # Near the pole of the projection a tangent plane is flat.
    assert plane["sky"][0] + xi / np.cos(np.radians(dec[0])) == pytest.approx(ra[0], abs=1e-5)
    assert plane["sky"][1] + eta == pytest.approx(dec[0], abs=1e-5)


def test_sources_of_a_window_are_where_the_catalogue_has_them(page, image, small):
    x, y, size, _ = small.truth()
    box = (300, 200, 1000, 900)
    told = overlay(page, image, "sources", box)
    inside = (x >= 300) & (x <= 1000) & (y >= 200) & (y <= 900)
    assert told["n"] == inside.sum() > 10
    assert sorted(told["x"]) == pytest.approx(sorted(x[inside]), abs=1e-6)
    assert sorted(told["a"]) == pytest.approx(sorted(2.5 * size[inside]), rel=1e-5)
    assert overlay(page, image, "sources", where="label = 3")["n"] == 1


def test_more_sources_than_can_be_drawn_are_the_brightest(page, image, shown, monkeypatch):
    monkeypatch.setattr("skymere.viewer.web.overlays.MOST_SOURCES", 7)
    told = overlay(page, image, "sources")
    brightest = shown.table("source").sort("flux_auto_f105w", descending=True).head(7).collect()
    assert told["n"] == 60
    assert sorted(told["source_id"]) == sorted(str(one) for one in brightest["source_id"])


def test_exposures_beams_and_slits_have_outlines(page, image):
    assert overlay(page, image, "exposures")["n"] == 2
    beams = overlay(page, image, "beams")
    assert beams["n"] == 1
    assert len(beams["outlines"][0]["x"]) == 4
    slits = overlay(page, image, "slits")
    assert slits["n"] == 3
    assert "onerror" in slits["outlines"][0]["text"]


def test_a_beam_begins_at_its_source_and_has_its_size():
    grid = Grid.tangent(150.0, 2.0, shape=(21, 21), scale_arcsec=0.13)
    row = {"direct_wcs": __import__("json").dumps(grid.cards()), "x0": 100, "y0": 40, "nx": 50, "ny": 8}
    outline = outline_of_beam(row | {"x_source": 90.0, "y_source": 44.0})
    x, y = grid.pixels(*outline.T)
    assert x == pytest.approx([19.5, 69.5, 69.5, 19.5], abs=1e-6)
    assert y == pytest.approx([5.5, 5.5, 13.5, 13.5], abs=1e-6)
    assert outline_of_beam(row | {"direct_wcs": "{}"}) is None


def test_shutters_stand_along_the_position_angle():
    row = {"ra": 150.0, "dec": 2.0, "pa": 30.0, "shutter_state": "1x1", "x_position": 0.0, "y_position": 0.0}
    below, own, above = (outline.mean(axis=0) for outline in outlines_of_slitlet(row))
    assert own == pytest.approx([150.0, 2.0], abs=1e-9)
    step = (above - own) * 3600.0 * [np.cos(np.radians(2.0)), 1.0]
    assert np.hypot(*step) == pytest.approx(0.529, rel=1e-4)
    assert np.degrees(np.arctan2(step[0], step[1])) == pytest.approx(30.0, abs=1e-3)
    assert below + above == pytest.approx(2 * own, abs=1e-9)
    assert len(outlines_of_slitlet(row | {"pa": None})) == 1
    assert outlines_of_slitlet(row | {"ra": None}) == []


@pytest.mark.parametrize(
    "region",
    [
        Circle(centre=(150.1, 2.2), radius=4.0),
        Ellipse(centre=(150.1, 2.2), semi_axes=(6.0, 2.0), angle_deg=25.0),
        Box(centre=(150.1, 2.2), size=(9.0, 3.0), angle_deg=70.0),
        Polygon(vertices=((150.1, 2.2), (150.102, 2.2), (150.101, 2.203))),
    ],
)
def test_an_outline_encloses_the_pixels_of_its_region(region, small):
    grid = Grid.tangent(150.1, 2.2, shape=(301, 301), scale_arcsec=0.1, rotation_deg=20.0)
    (outline,) = outlines_of_region(region)
    again = Polygon(vertices=tuple(map(tuple, outline.tolist())))
    first, second = (np.asarray(mask_from_region(one, grid)) for one in (region, again))
    assert first.sum() > 300
    assert (first ^ second).sum() < 0.02 * first.sum()


def test_rings_points_and_pixels_have_outlines_or_none():
    assert len(list(outlines_of_region(Annulus(centre=(150.0, 2.0), radii=(1.0, 2.0))))) == 2
    assert len(list(outlines_of_region(Point(centre=(150.0, 2.0))))) == 1
    assert list(outlines_of_region(Circle(centre=(5.0, 5.0), radius=2.0, frame="image"))) == []


def test_regions_are_shown_with_their_words_until_they_are_taken_back(own, serve, small):
    add_regions(own, "bad", [[Circle(centre=(150.1, 2.2), radius=2.0)]], author="Ada", reason=small.HOSTILE)
    with serve(own) as page:
        told = overlay(page, page.json("/api/image/field"), "regions")
    assert told["n"] == 1
    assert small.HOSTILE in told["outlines"][0]["text"]
    x = np.array(told["outlines"][0]["x"])
    assert (x.max() - x.min()) / 2 == pytest.approx(20.0, rel=0.01)


def test_a_pixel_says_what_is_there(page, image, small, shown):
    x, y, _, _ = small.truth()
    source = small.where_label(shown, 5)
    told = page.json(f"/api/at/field/{image['run']}/f160w", {"x": x[4], "y": y[4]})
    assert (told["label"], told["source_id"]) == (5, str(source["source_id"]))
    assert (told["ra"], told["dec"]) == pytest.approx((source["ra"], source["dec"]), abs=1e-8)
    assert set(told["values"]) == set(small.BANDS)
    outside = page.json(f"/api/at/field/{image['run']}/f160w", {"x": -500, "y": 0})
    assert "values" not in outside


def test_outlines_of_segments_go_on_across_tiles_and_levels(page, image, shown):
    labels = shown.arrays("segmentation", "field")["label"][...]
    for level in (0, 1):
        seen = labels[:: 1 << level, :: 1 << level]
        edge = np.zeros(seen.shape, bool)
        edge[1:] |= seen[1:] != seen[:-1]
        edge[:-1] |= seen[1:] != seen[:-1]
        edge[:, 1:] |= seen[:, 1:] != seen[:, :-1]
        edge[:, :-1] |= seen[:, 1:] != seen[:, :-1]
        rows = []
        for y in range(-(-seen.shape[0] // 256)):
            row = []
            for x in range(-(-seen.shape[1] // 256)):
                status, _, body = page.ask(f"/segments/field/{image['segmentation']}/{level}/{x}/{y}.png")
                assert status == 200
                row.append(matplotlib.image.imread(io.BytesIO(body), format="png")[::-1, :, 3] > 0)
            rows.append(np.concatenate(row, axis=1))
        assert (np.concatenate(rows) == (edge & (seen > 0))).all()


def test_places_and_sources_are_found(page, shown, small):
    source = small.where_label(shown, 9)
    for text in (str(source["source_id"]), f"{source['ra']} {source['dec']}", f"{source['ra']}, {source['dec']}"):
        found = page.json("/api/find", {"text": text})
        assert (found["tile"], found["x"], found["y"]) == pytest.approx(("field", source["x"], source["y"]), abs=1e-3)
    sexagesimal = page.json("/api/find", {"text": "10:00:24.0 +2:12:00"})
    assert (sexagesimal["ra"], sexagesimal["dec"]) == pytest.approx((150.1, 2.2), abs=1e-9)
    assert page.refusal("/api/find", {"text": "10 80"})[0] == 404
    assert page.refusal("/api/find", {"text": "5"})[0] == 404
    for text in ("", "galaxy", "1 95", "nan nan", "1 2 3 4 5 6 7"):
        assert page.refusal("/api/find", {"text": text})[0] == 400


def test_tiles_of_pictures_are_kept_by_the_browser_and_wrong_ones_refused(page, image):
    path = f"/tile/field/{image['run']}/0/1/1.png"
    status, headers, body = page.ask(path, {"band": "f160w", "low": "-0.1", "high": "2"})
    assert (status, headers["content-type"]) == (200, "image/png")
    assert "immutable" in headers["cache-control"]
    assert matplotlib.image.imread(io.BytesIO(body), format="png").shape[:2] == (256, 256)
    colour = page.ask(path, {"band": "f160w,f125w,f105w", "low": "0,0,0", "high": "2,2,2"})[2]
    assert matplotlib.image.imread(io.BytesIO(colour), format="png").shape == (256, 256, 4)
    for query in (
        {},
        {"band": "f160w"},
        {"band": "f160w,f125w", "low": "0,0", "high": "1,1"},
        {"band": "f160w", "low": "x", "high": "1"},
    ):
        assert page.ask(path, query)[0] == 400
    good = {"band": "f160w", "low": "0", "high": "1"}
    assert page.ask(path.replace("/0/1/1", "/9/0/0"), good)[0] == 400
    assert page.ask(path.replace(image["run"], "0" * 16), good)[0] == 404
    assert page.ask(path.replace("field", ".."), good)[0] in (400, 404)
    assert page.ask(f"/tile/%2e%2e/{image['run']}/0/0/0.png", good)[0] in (400, 404)
