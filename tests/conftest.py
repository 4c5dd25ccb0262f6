"""Fixtures that every test may use."""

import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data and reference results; the test is skipped where it is absent."""
    path = Path(os.environ.get("SKYMERE_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real data are not in {path}; name their folder in SKYMERE_DATA")
    return path


@pytest.fixture(scope="session")
def s3():
    """Start an S3 emulator; return a function that makes a bucket and returns its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    reach = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    names = (f"bucket{n}" for n in itertools.count())

    def bucket() -> str:
        name = next(names)
        request = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
        for _ in range(200):
            try:
                urllib.request.urlopen(request).close()
            except OSError:
                time.sleep(0.1)
            else:
                return f"s3://{name}"
        raise TimeoutError(endpoint)

    before = {key: os.environ.get(key) for key in reach}
    os.environ.update(reach)
    try:
        yield bucket
    finally:
        server.terminate()
        server.wait()
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
