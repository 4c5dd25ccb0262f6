"""Publishing many tiles: one by one, and in batches that one publisher commits."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.benchmark

SIZES = (1, 8, 64)


@pytest.fixture(scope="module")
def survey():
    spec = importlib.util.spec_from_file_location("survey", Path(__file__).parents[1] / "lake" / "survey.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(lake, tile):
    with lake.run(stage="detect", tile=tile, product="segmentation", inputs=[], params={}, defer=True) as run:
        run.write("label", np.ones((8, 8), np.int32))
        run.publish(run.frame([{"status": "ok", "n_sources": 1, "n_pixels": 64, "ny": 8, "nx": 8}]))
    return run.pendings


def test_batches_of_commits(survey, tmp_path):
    n_tiles = 192
    tiles = [f"t{k:03d}" for k in range(n_tiles)]
    rates = {}
    for size in SIZES:
        lake = survey.create(tmp_path / f"lake{size}")
        begin = time.perf_counter()
        pendings = [one for tile in tiles for one in make(lake, tile)]
        made = time.perf_counter()
        for k in range(0, n_tiles, size):
            assert set(lake.commit(pendings[k : k + size])) == {"published"}
        done = time.perf_counter()
        rates[size] = n_tiles / (done - made)
        print(
            f"\nbatches of {size}: {rates[size]:.1f} tiles/s, {1e3 / rates[size]:.1f} ms a tile"
            f" (before the commit {1e3 * (made - begin) / n_tiles:.1f} ms: arrays, rows, fsync)",
            end="",
        )
        assert len(lake.live_runs("segmentation")) == n_tiles
    print()
    assert rates[64] > 4 * rates[1]
