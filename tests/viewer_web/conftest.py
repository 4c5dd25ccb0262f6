import contextlib
import importlib.util
import json
import shutil
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'viewer' is not installed")

from skymere.lake import Lake


def load_small_lake():
    if "small_lake" not in sys.modules:
        spec = importlib.util.spec_from_file_location("small_lake", Path(__file__).with_name("small_lake.py"))
        sys.modules["small_lake"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["small_lake"])
    return sys.modules["small_lake"]


@pytest.fixture(scope="session")
def small():
    """The module that makes a lake for the pages."""
    return load_small_lake()


@pytest.fixture(scope="session")
def shown(small, tmp_path_factory):
    """A lake with everything that the pages show, for reading only."""
    return small.make(tmp_path_factory.mktemp("shown") / "lake")


@pytest.fixture
def own(shown, tmp_path):
    """A copy of it to write into."""
    shutil.copytree(shown.path, tmp_path / "lake")
    return Lake.open(tmp_path / "lake")


class Page:
    """A server of the pages, and how to ask it."""

    def __init__(self, port):
        self.port = port
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, path, query=None, *, data=None, headers=None, method=None):
        """Return status, headers and body."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        body = None if data is None else json.dumps(data).encode()
        given = {"content-type": "application/json"} if data is not None else {}
        request = urllib.request.Request(self.address + path, body, {**given, **(headers or {})}, method=method)
        try:
            with urllib.request.build_opener(NoRedirect).open(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path, query=None, **more):
        status, _, body = self.ask(path, query, **more)
        assert status == 200, body
        return json.loads(body)

    def refusal(self, path, query=None, **more):
        status, _, body = self.ask(path, query, **more)
        return status, json.loads(body)["error"]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


@contextlib.contextmanager
def serving(lake, **params):
    """Serve a lake on a free port of the loopback."""
    import uvicorn

    from skymere.viewer.web import build_app

    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(128)
        config = uvicorn.Config(build_app(lake, **params), log_level="warning", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Page(door.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="session")
def serve():
    """``with serve(lake, **params) as page``."""
    return serving


@pytest.fixture(scope="module")
def page(shown):
    """The pages over a lake that is only read."""
    with serving(shown, can_edit=False) as page:
        yield page


@pytest.fixture
def open_page(own):
    """The pages over a lake that may be edited."""
    with serving(own, author="Ada") as page:
        yield page
