"""The pages in a browser: a headless Chromium that may speak to the loopback and to nobody else.

Screenshots are kept in the folder that SKYMERE_SHOTS names, to be looked at. Where there is no Chromium the tests are
skipped, unless SKYMERE_NEEDS_BROWSER is set.
"""

import json
import os
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from skymere.lake import note_rows, region_rows

CHROMIUM = Path(os.environ.get("SKYMERE_CHROMIUM", "/usr/bin/chromium"))
LOOPBACK = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/")
SECONDS = 60.0


def without_browser(reason):
    if os.environ.get("SKYMERE_NEEDS_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without_browser("playwright is not installed: pip install playwright")
    if not CHROMIUM.exists():
        without_browser(f"{CHROMIUM} is not there: apt-get install chromium, or name it in SKYMERE_CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Tab:
    """A page of the browser, with everything that went wrong in it."""

    def __init__(self, browser, server, shots):
        self.server, self.shots = server, shots
        self.problems, self.outside, self.held = [], [], {}
        self.page = browser.new_page(viewport={"width": 1400, "height": 900})
        self.page.route(re.compile(".*"), self.let_through)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self.heard)
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))

    def let_through(self, route):
        url = route.request.url
        if LOOPBACK.match(url):
            time.sleep(next((seconds for end, seconds in self.held.items() if url.endswith(end)), 0.0))
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()

    def hold(self, end, seconds):
        """Let requests whose address ends so wait."""
        self.held[end] = seconds

    def heard(self, message):
        # A refusal of the server is told in the page; the console only repeats its status.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def open(self, path="/"):
        self.page.goto(self.server.address + path)
        return self

    def until(self, condition, what):
        """Wait for a condition of this side; the page forbids scripts that are made from texts."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            self.page.wait_for_timeout(50)
        pytest.fail(f"{what}: not within {SECONDS} s; {self.page.url}; {self.problems}")

    def pictured(self):
        self.until(lambda: self.marks("skymere-first-picture"), "the first picture")
        self.until(lambda: "sources in view" in self.text("section.left"), "the sources in view")
        return self

    def marks(self, name):
        return self.page.evaluate(
            "name => performance.getEntriesByName(name).map(e => [e.startTime, e.duration])", name
        )

    def text(self, selector):
        return self.page.locator(selector).first.inner_text()

    def query(self):
        return {name: values[0] for name, values in parse_qs(urlsplit(self.page.url).query).items()}

    def canvas(self, x, y):
        """Place on the screen of a place of the image, in pixels of the image."""
        box = self.page.locator("canvas.sky").bounding_box()
        now = {name: float(self.query()[name]) for name in ("x", "y", "zoom")}
        return (
            box["x"] + box["width"] / 2 + (x - now["x"]) * now["zoom"],
            box["y"] + box["height"] / 2 - (y - now["y"]) * now["zoom"],
        )

    def settled(self):
        """Wait until the address follows what is shown."""
        self.page.wait_for_timeout(600)
        self.until(lambda: "zoom" in self.query(), "an address with the place")
        return self

    def shoot(self, name):
        self.page.screenshot(path=self.shots / f"{name}.png")


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    folder = Path(os.environ.get("SKYMERE_SHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def tab(browser, page, shots):
    """A tab over a lake that is only read."""
    yield from watched(Tab(browser, page, shots))


@pytest.fixture
def open_tab(browser, open_page, shots):
    """A tab over a lake that may be edited."""
    yield from watched(Tab(browser, open_page, shots))


def watched(tab):
    yield tab
    title = tab.page.title()
    tab.page.close()
    assert tab.outside == []
    assert tab.problems == []
    assert title != "hit"


def test_a_lake_opens_with_its_picture_its_sources_and_its_catalogue(tab):
    tab.open().pictured().settled()
    assert "60 sources in view" in tab.text("section.left")
    tab.until(lambda: "60 of 60 rows" in tab.text("#count"), "the rows")
    assert tab.page.locator(".table-space .row").count() > 5
    assert tab.query()["bands"] == "f160w,f125w,f105w"
    tab.shoot("explore")


def test_the_image_is_panned_and_zoomed_and_the_address_says_where(tab):
    tab.open().pictured().settled()
    before = tab.query()
    mouse = tab.page.mouse
    mouse.move(400, 500)
    mouse.down()
    mouse.move(300, 440, steps=5)
    mouse.up()
    moved = tab.settled().query()
    scale = float(before["zoom"])
    assert float(moved["x"]) - float(before["x"]) == pytest.approx(100 / scale, abs=1.0)
    assert float(moved["y"]) - float(before["y"]) == pytest.approx(-60 / scale, abs=1.0)
    requests = []
    tab.page.on("request", lambda request: requests.append(request.url))
    mouse.wheel(0, 300)
    tab.until(lambda: any(re.search(r"/tile/field/\w+/1/", url) for url in requests), "tiles of half the resolution")
    assert float(tab.settled().query()["zoom"]) == pytest.approx(scale / 2, rel=0.01)
    for _ in range(5):
        mouse.wheel(0, -300)
        tab.page.wait_for_timeout(50)
    zoomed = tab.settled().query()
    assert float(zoomed["zoom"]) == pytest.approx(16 * scale, rel=0.01)
    tab.until(lambda: tab.page.get_by_label("segments").is_enabled(), "the segments")
    tab.page.get_by_label("segments").check()
    tab.until(lambda: any("/segments/" in url for url in requests), "outlines of segments")
    tab.page.wait_for_timeout(500)
    tab.shoot("zoomed_with_segments")


def test_bands_stretches_limits_and_overlays_are_chosen(tab):
    tab.open().pictured()
    tab.page.get_by_label("One band or colour").select_option("one band")
    tab.page.get_by_label("band", exact=True).select_option("f105w")
    tab.page.get_by_label("Stretch").select_option("log")
    tab.page.get_by_label("Limits").select_option("99.9 %")
    tab.page.get_by_label("Colours").select_option("viridis")
    for name in ("exposures", "beams", "slits"):
        tab.page.get_by_label(name).check()
    tab.settled()
    wanted = {"bands": "f105w", "stretch": "log", "limits": "99.9 %", "map": "viridis"}
    tab.until(lambda: wanted.items() <= tab.query().items(), "the choices in the address")
    assert tab.query()["layers"] == "sources,exposures,beams,slits"
    tab.page.wait_for_timeout(800)
    tab.shoot("one_band_with_overlays")


def test_a_filter_holds_for_table_image_and_plot_and_a_wrong_one_says_where(tab):
    tab.open().pictured()
    tab.until(lambda: "60 of 60 rows" in tab.text("#count"), "the rows")
    box = tab.page.get_by_label("Filter")
    box.fill("label <= 10 and mag_auto_f160w < 30")
    tab.until(lambda: "10 of 60 rows" in tab.text("#count"), "the filtered rows")
    tab.until(lambda: "10 sources in view" in tab.text("section.left"), "the filtered sources")
    box.fill("label <= 10 and system('rm') = 1")
    tab.until(lambda: "'system' at character 17" in tab.text(".problem"), "the place of the error")
    tab.shoot("wrong_filter")
    box.fill("label > 55")
    tab.until(lambda: "5 of 60 rows" in tab.text("#count"), "the rows of a right filter")
    assert tab.text(".problem") == ""
    tab.page.locator(".table-head [data-column=label]").click()
    tab.page.locator(".table-head [data-column=label]").click()
    tab.until(
        lambda: tab.page.locator(".row .cell:nth-child(4)").all_inner_texts() == ["60", "59", "58", "57", "56"],
        "the order",
    )


def test_a_box_in_the_plot_becomes_a_filter(tab):
    tab.open().pictured()
    tab.until(lambda: "60 of 60 rows" in tab.text("#count"), "the rows")
    tab.page.wait_for_timeout(800)
    box = tab.page.locator("canvas.scatter").bounding_box()
    mouse = tab.page.mouse
    mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 10)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.9, steps=4)
    mouse.up()
    filtered = tab.until(lambda: tab.page.get_by_label("Filter").input_value(), "a filter")
    assert re.fullmatch(
        r"mag_auto_f160w >= \S+ and mag_auto_f160w <= \S+ and r_half >= \S+ and r_half <= \S+", filtered
    )
    tab.until(lambda: "60 of 60" not in tab.text("#count"), "the filtered rows")


def test_a_source_is_chosen_on_the_image_in_the_table_and_has_a_page(tab, shown, small):
    source = small.where_label(shown, 1)
    tab.open(f"/image?tile=field&x={source['x']:.0f}&y={source['y']:.0f}&zoom=4").pictured().settled()
    tab.page.mouse.click(*tab.canvas(source["x"], source["y"]))
    tab.until(lambda: str(source["source_id"]) in tab.text(".chosen-source"), "the chosen source")
    tab.until(lambda: tab.page.locator(".row.chosen").count() == 1, "its row")
    assert str(source["source_id"]) in tab.text(".row.chosen")
    tab.shoot("chosen_source")
    tab.page.get_by_text("open its page").click()
    tab.until(lambda: "Provenance" in tab.text("main"), "the page of the source")
    assert urlsplit(tab.page.url).path == f"/source/{source['source_id']}"
    for title in ("Cutouts", "Profile", "Forced photometry", "Emission-line maps", "Measurements"):
        assert title in tab.text("main")
    tab.page.go_back()
    tab.until(lambda: tab.page.locator("canvas.sky").count() == 1, "the image again")


def test_the_image_does_not_write_its_address_over_that_of_the_page_opened_after_it(tab, shown, small):
    source = small.where_label(shown, 1)
    tab.open(f"/image?tile=field&x={source['x']:.0f}&y={source['y']:.0f}&source={source['source_id']}").pictured()
    tab.page.get_by_text("open its page").wait_for()
    tab.hold("/source.js", 1.0)
    tab.page.mouse.wheel(0, 300)
    tab.page.get_by_text("open its page").click()
    tab.until(lambda: "Provenance" in tab.text("main"), "the page of the source")
    assert urlsplit(tab.page.url).path == f"/source/{source['source_id']}"


def test_the_page_of_a_source_has_an_address_of_its_own(tab, shown, small):
    source = small.where_label(shown, 1)
    tab.page.set_viewport_size({"width": 1400, "height": 3200})
    tab.open(f"/source/{source['source_id']}")
    tab.until(lambda: tab.page.locator("svg.plot").count() == 4, "four plots")
    tab.until(
        lambda: tab.page.evaluate("() => [...document.images].every(i => i.complete && i.naturalWidth)"), "the pictures"
    )
    tab.page.locator("summary").get_by_text("where it comes from").click()
    tab.until(lambda: "source/field" in tab.text("main"), "the provenance")
    tab.shoot("source_page")


def test_a_source_without_beams_has_a_page_without_a_word_about_them(tab, shown):
    with_beams = shown.table("beam").collect()["source_id"].to_list()
    bare = next(one for one in shown.table("source").collect()["source_id"].to_list() if one not in with_beams)
    tab.open(f"/source/{bare}")
    tab.until(lambda: "Provenance" in tab.text("main"), "the page of the source")
    assert "null" not in tab.page.locator(".source").evaluate(
        "node => [...node.childNodes].map((one) => one.nodeValue)"
    )
    assert "Left out of its beams" not in tab.text("main")


def test_lines_and_probabilities_are_whole_and_wild_ends_are_not(tab):
    tab.open("/image").pictured()
    highest = """async (plot) => {
        const { curvesPlot } = await import("/static/plot.js");
        const path = curvesPlot(plot).querySelector("path").getAttribute("d");
        return [...path.matchAll(/[ML]([-0-9.]+) ([-0-9.]+)/g)].map((found) => Number(found[2]));
    }"""
    top = 12.0
    flux, error = [1.0] * 200, [0.1] * 200
    flux[100], flux[199], error[199] = 30.0, 900.0, 900.0
    words = {"title": "t", "x_label": "x", "y_label": "y", "marks": []}
    curve = {"label": "flux", "style": "steps", "x": list(range(200)), "y": flux, "error": error}
    ys = tab.page.evaluate(highest, {**words, "curves": [curve]})
    assert top < ys[100] < top + 40.0
    assert ys[199] == top
    ys = tab.page.evaluate(highest, {**words, "curves": [{**curve, "style": "line", "error": None}]})
    assert min(ys) == ys[199] > top


def test_an_address_brings_back_what_was_shown(tab):
    path = "/image?tile=field&x=300.0&y=250.0&zoom=2.000&bands=f125w&stretch=sqrt&layers=segments&where=label+%3C+9&sort=label"
    tab.open(path)
    tab.until(lambda: tab.marks("skymere-first-picture"), "the first picture")
    tab.until(lambda: "8 of 60 rows" in tab.text("#count"), "the filtered rows")
    now = tab.settled().query()
    assert {name: now[name] for name in ("x", "y", "zoom", "bands", "stretch", "layers", "where", "sort")} == {
        "x": "300.0", "y": "250.0", "zoom": "2.000", "bands": "f125w", "stretch": "sqrt",
        "layers": "segments", "where": "label < 9", "sort": "label",
    }  # fmt: skip
    assert tab.page.get_by_label("Filter").input_value() == "label < 9"


def test_a_merge_is_drawn_saved_and_undone(open_tab, own, small):
    first, second = (small.where_label(own, label) for label in (1, 2))
    tab = open_tab.open(f"/image?tile=field&x={first['x']:.0f}&y={first['y']:.0f}&zoom=6").pictured().settled()
    tab.page.get_by_label("Tool").select_option("merge")
    for source in (first, second):
        tab.page.mouse.click(*tab.canvas(source["x"], source["y"]))
    tab.until(lambda: tab.text("#marks") == "2 marked", "two marks")
    tab.page.get_by_label("Reason").fill("one clumpy galaxy")
    tab.page.get_by_text("save", exact=True).click()
    tab.until(lambda: "merge: saved as" in tab.text("#toast"), "the answer")
    rows = region_rows(own)
    assert rows.select("role", "status", "before", "author", "reason").unique().rows() == [
        ("merge", "applied", "[1, 2]", "Ada", "one clumpy galaxy")
    ]
    tab.page.wait_for_timeout(500)
    tab.shoot("merge")
    tab.page.locator("#toast button").click()
    tab.until(lambda: "taken back" in tab.text("#toast"), "the undo")
    assert region_rows(own)["is_retracted"].all()
    tab.page.locator("#tabs").get_by_text("Edits").click()
    tab.until(lambda: "one clumpy galaxy" in tab.text("main"), "the list of edits")
    assert "taken back" in tab.text("main")
    tab.shoot("edits")


def test_a_source_is_drawn_by_a_circle_and_taken_back_in_the_list(open_tab, own):
    tab = open_tab.open("/image?tile=field&x=300&y=300&zoom=3").pictured().settled()
    tab.page.get_by_label("Tool").select_option("draw")
    mouse = tab.page.mouse
    mouse.move(*tab.canvas(300, 300))
    mouse.down()
    mouse.move(*tab.canvas(320, 300), steps=4)
    mouse.up()
    tab.until(lambda: tab.text("#marks") == "1 marked", "the circle")
    tab.page.get_by_label("Reason").fill("seen in IRAC only")
    tab.page.get_by_text("save", exact=True).click()
    tab.until(lambda: "draw: saved" in tab.text("#toast"), "the answer")
    row = region_rows(own).row(0, named=True)
    assert (row["role"], row["shape"]) == ("manual", "circle")
    assert json.loads(row["params"])[2] == pytest.approx(2.0, abs=0.1)
    tab.page.locator("#tabs").get_by_text("Edits").click()
    tab.page.locator("main").get_by_role("button", name="undo").click()
    tab.until(lambda: "taken back" in tab.text("table"), "the undo")
    assert region_rows(own)["is_retracted"].all()


def test_a_source_is_drawn_by_its_corners(open_tab, own):
    tab = open_tab.open("/image?tile=field&x=300&y=300&zoom=3").pictured().settled()
    tab.page.get_by_label("Tool").select_option("draw")
    save = tab.page.get_by_text("save", exact=True)
    corners = [(290, 290), (320, 295), (310, 325)]
    for k, corner in enumerate(corners):
        tab.page.mouse.click(*tab.canvas(*corner))
        tab.until(lambda: tab.text("#marks") == "1 marked", "the corner")
        # Two corners are no polygon.
        assert save.is_enabled() == (k == 2)
    tab.page.mouse.click(*tab.canvas(*corners[0]))
    tab.shoot("polygon")
    tab.page.get_by_label("Reason").fill("two arms")
    save.click()
    tab.until(lambda: "draw: saved" in tab.text("#toast"), "the answer")
    row = region_rows(own).row(0, named=True)
    assert (row["role"], row["shape"]) == ("manual", "polygon")
    found = np.array(json.loads(row["params"])).reshape(-1, 2)
    x, y = own.tiles["field"].grid.pixels(found[:, 0], found[:, 1])
    np.testing.assert_allclose(np.column_stack([x, y]), corners, atol=0.5)


def test_runs_are_listed_with_what_failed(tab):
    tab.open("/runs")
    tab.until(lambda: "profiles" in tab.text("main"), "the stages")
    # Of an exception, which has a hostile text.
    assert "ValueError" in tab.text("main")
    tab.shoot("runs")


def test_words_of_a_lake_are_shown_as_they_are_and_never_run(open_tab, own, small):
    small.add_hostile_note(own)
    source = small.sources(own)["source_id"][0]
    tab = open_tab.open(f"/source/{source}")
    tab.until(lambda: small.HOSTILE in tab.text(".notes"), "the note as text")
    assert "<b>Eve</b>" in tab.text(".notes")
    tab.page.get_by_label("Kind of note").select_option("flag")
    tab.page.get_by_label("Name of the flag").fill("<i>star</i>")
    tab.page.get_by_role("button", name="add").click()
    tab.until(lambda: "flag <i>star</i>" in tab.text(".notes"), "the flag as text")
    tab.page.locator(".notes li").filter(has_text="star").get_by_role("button").click()
    tab.until(lambda: "star" not in tab.text(".notes"), "the flag withdrawn")
    assert note_rows(own)["is_withdrawn"].to_list() == [False, True]
    tab.page.locator("#tabs").get_by_text("Runs").click()
    tab.until(lambda: "The latest" in tab.text("main"), "the page of runs")
    assert small.HOSTILE in tab.text("main")
    assert tab.page.locator("main img, main script, main b").count() == 0
    tab.shoot("runs")


def test_places_are_found_and_what_is_nowhere_is_said(tab, shown, small):
    source = small.where_label(shown, 20)
    tab.open().pictured()
    search = tab.page.get_by_label("Find a source or a position")
    search.fill(f"{source['ra']:.6f} {source['dec']:.6f}")
    search.press("Enter")
    tab.until(lambda: abs(float(tab.query().get("x", -1)) - source["x"]) < 1, "the place")
    search.fill("10 80")
    search.press("Enter")
    tab.until(lambda: "no image of the lake shows" in tab.text("#toast"), "the answer")


def test_without_its_token_the_page_is_not_shown_and_with_it_the_address_is_clean(browser, shown, serve, shots):
    token = "a-token-of-24-characters"
    with serve(shown, token=token) as server:
        tab = Tab(browser, server, shots)
        tab.open()
        assert "?token=" in tab.text("body")
        tab.open(f"/?token={token}").pictured().settled()
        assert "token" not in tab.page.url
        tab.page.close()
        assert tab.outside == []
        assert tab.problems == []
