"""Who may ask, and what answers say to the browser about themselves."""

import http.client

import pytest

from skymere.errors import InvalidInputError
from skymere.viewer.web import build_app
from skymere.viewer.web.access import MOST_BYTES, is_loopback

TOKEN = "a-token-of-24-characters"


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.168.0.3", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_only_this_machine_is_the_loopback(host, is_one):
    assert is_loopback(host) == is_one


def test_without_a_token_names_of_other_machines_are_not_answered(page):
    # A name of somebody else that points to this machine (DNS rebinding).
    assert page.ask("/api/lake", headers={"host": f"evil.example:{page.port}"})[0] == 403
    for host in ("localhost", f"127.0.0.1:{page.port}", "[::1]:80"):
        assert page.ask("/api/lake", headers={"host": host})[0] == 200


def test_every_answer_forbids_scripts_from_elsewhere_and_other_pages_around_it(page):
    for path in ("/", "/static/main.js", "/api/lake", "/api/nothing", "/source/5"):
        headers = page.ask(path)[1]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_names_nothing_outside_its_server(page):
    folder = ("main", "dom", "api", "image", "explore", "table", "plot", "source", "lists")
    texts = [
        page.ask("/")[2],
        page.ask("/static/style.css")[2],
        *(page.ask(f"/static/{name}.js")[2] for name in folder),
    ]
    for text in texts:
        found = text.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"http://" not in found
        assert b"https://" not in found
        for sink in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval(", b"new Function"):
            assert sink not in found


def test_files_outside_the_page_are_not_served(page):
    for path in ("/static/..%2Fapp.py", "/static/%2e%2e/app.py", "/static/nothing.js", "/static/", "/static/app.py"):
        assert page.ask(path)[0] == 404


def test_a_token_is_asked_for_once_and_leaves_the_address(shown, serve):
    with serve(shown, token=TOKEN) as page:
        assert page.ask("/api/lake")[0] == 401
        assert page.ask("/api/lake", {"token": TOKEN[:-1] + "x"})[0] == 401
        status, headers, _ = page.ask("/image", {"token": TOKEN, "tile": "field"})
        assert status == 303
        assert headers["location"] == "/image?tile=field"
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        kept = {"cookie": cookie.partition(";")[0]}
        # With a token it does not matter under which name the machine is known.
        assert page.ask("/api/lake", headers={**kept, "host": "archive.example"})[0] == 200
        assert page.ask("/api/lake", headers={"authorization": f"Bearer {TOKEN}"})[0] == 200
        assert page.ask("/api/lake", headers={"cookie": "skymere_token=wrong"})[0] == 401
        assert page.ask("/api/lake", headers={"cookie": "skymere_token"})[0] == 401


def test_a_token_that_can_be_guessed_is_refused(shown):
    for token in ("short", "with a space in the middle", "ümläutümläutümläut"):
        with pytest.raises(InvalidInputError, match=r"token: .* characters are not allowed"):
            build_app(shown, token=token)


def test_changes_are_taken_from_pages_of_this_server_only(open_page):
    note = {"source_id": "1", "kind": "comment", "comment": "x"}
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"origin": f"http://127.0.0.1:{open_page.port + 1}"},
    ):
        assert open_page.ask("/api/change/note", data=note, headers=headers)[0] == 403
    assert open_page.ask("/api/change/note", data=note, headers={"content-type": "text/plain"})[0] == 415
    own = {"origin": open_page.address, "sec-fetch-site": "same-origin"}
    assert open_page.refusal("/api/change/note", data=note, headers=own) == (
        404,
        "source_id: 1 is not in source, slit_spectrum, slitlet",
    )


def test_a_change_that_is_too_long_or_no_json_is_refused(open_page):
    connection = http.client.HTTPConnection("127.0.0.1", open_page.port, timeout=20)
    for body, status in (
        (b"x" * (MOST_BYTES + 1), 413),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
    ):
        try:
            connection.request("POST", "/api/change/note", body, {"content-type": "application/json"})
            answer = connection.getresponse()
        except ConnectionError:
            assert status == 413
        else:
            assert answer.status == status
        connection.close()
    assert (
        open_page.ask(
            "/api/change/note", method="DELETE", headers={"content-type": "application/json", "content-length": "0"}
        )[0]
        == 405
    )


def test_what_a_release_or_a_lake_for_reading_holds_is_not_changed(page, own, serve):
    refusal = page.refusal("/api/change/note", data={"source_id": "1"})
    assert refusal == (400, "the lake is shown for reading only")
    own.release("DR1")
    with serve(type(own).open(own.path, "DR1")) as released:
        told = released.json("/api/lake")
        assert (told["release"], told["can_edit"]) == ("DR1", False)
        assert released.refusal("/api/change/edit", data={})[0] == 400
