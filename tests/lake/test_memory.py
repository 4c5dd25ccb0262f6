"""Writing holds a shard and a part in memory, however many stamps there are."""

import subprocess
import sys

import pytest

CHILD = """
import resource, sys
import numpy as np
from skymere.lake import Lake, NamedTile
from skymere.wcs import Grid

path, n = sys.argv[1], int(sys.argv[2])
lake = Lake.create(path, tiles=[NamedTile("t", Grid.tangent(10.0, 10.0, shape=(100, 100), scale_arcsec=0.1))])
part = np.random.default_rng(1).normal(size=(256, 128, 128)).astype(np.float32)
with lake.run(stage="s", tile="t", product="cutout", inputs=[], params={}) as run:
    run.write("px128/f140w/sci", (part for _ in range(n // 256)), n_rows=n, unit="s", lossy="quantise")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    """Peak memory [kB] of children that write 4352 and 8704 stamps."""
    folder = tmp_path_factory.mktemp("memory")

    def peak(n):
        command = [sys.executable, "-c", CHILD, str(folder / str(n)), str(n)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    return peak(4352), peak(8704)


def test_memory_does_not_grow_with_the_number_of_stamps(peaks):
    few, many = peaks
    raw = (8704 - 4352) * 128 * 128 * 4 / 1024
    assert many - few < raw / 4
