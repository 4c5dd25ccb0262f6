"""``skymere view``: it listens where it was told to, says where, and wants a token from those who come from elsewhere."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.lake import Lake, NamedTile
from skymere.wcs import Grid

pytest.importorskip("uvicorn", reason="the extra 'viewer' is not installed")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A lake without anything in it."""
    path = tmp_path_factory.mktemp("view") / "lake"
    Lake.create(path, tiles=[NamedTile("field", Grid.tangent(150.0, 2.0, shape=(64, 64), scale_arcsec=0.1))])
    return path


@contextlib.contextmanager
def started(*arguments):
    """Start the command; yield the address that it prints."""
    command = [sys.executable, "-u", "-m", "skymere", "view", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        line = process.stdout.readline()
        yield re.search(r"http://\S+", line).group()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def status(address):
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_lake_is_shown_on_the_loopback_until_it_is_interrupted(empty):
    with started(empty, "--port", 0) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert b"<title>skymere</title>" in status(address)[1]
        assert status(address + "api/lake")[0] == 200
        assert status(address + "api/tables") == (200, b"[]")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address)


def test_who_comes_from_elsewhere_needs_the_token_that_is_printed(empty):
    with started(empty, "--port", 0, "--host", "0.0.0.0") as address:
        found = re.fullmatch(r"http://0\.0\.0\.0:(\d+)/\?token=(\S{20,})", address)
        local = f"http://127.0.0.1:{found[1]}/api/lake"
        assert status(local)[0] == 401
        request = urllib.request.Request(local, headers={"authorization": f"Bearer {found[2]}"})
        assert status(request)[0] == 200


def test_a_port_that_is_taken_is_named(empty):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["view", str(empty), "--port", port])
    assert result.exit_code == 1
    assert f"host, port: 127.0.0.1:{port} cannot be listened on" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "port: 70000 is not allowed, it must be from 0 to 65535"),
        (["--port", "0", "--token", "short"], "token: 5 characters are not allowed"),
        (["--port", "0", "--host", "no.such.host.example"], "host, port: no.such.host.example:0 cannot be listened on"),
        (["--port", "0", "--release", "DR9"], "release: 'DR9' does not exist"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(empty, options, message):
    result = CliRunner().invoke(app, ["view", str(empty), *options])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
