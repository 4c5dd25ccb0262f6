"""What is worked on block by block does not grow with the mosaic."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import zarr
import skymere
from skymere.datamodels import StoredMosaic
from skymere.mosaic import FindParams, find_sources_blocks
from skymere.wcs import Grid

skymere.set_num_threads(1)
planes = {p.name: zarr.open_array(p, mode="r") for p in Path(sys.argv[1]).iterdir()}
mosaic = StoredMosaic(
    band="r", grid=Grid.tangent(10.0, 0.0, shape=planes["data"].shape, scale_arcsec=0.06), exposure_ids=("a",),
    zero_point_ab=25.0, **planes,
)
found = find_sources_blocks([mosaic], side=%d, params=FindParams(image="%s"))
table = found.measure().table
status = Path("/proc/self/status").read_text().splitlines()
print(table.height, next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def write_mosaic(folder: Path, ny: int, nx: int) -> int:
    """Write a field with a source in every 64 x 64 pixels, strip by strip; returns their number."""
    shapes = dict.fromkeys(("data", "weight", "variance"), (ny, nx)) | {"context": (1, ny, nx)}
    planes = {
        name: zarr.create_array(
            store=folder / name,
            shape=shape,
            chunks=(*shape[:-2], 256, 256),
            dtype="int32" if name == "context" else "float32",
        )
        for name, shape in shapes.items()
    }
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:64, :64]
    star = 40.0 * np.exp(-((x - 30.3) ** 2 + (y - 33.1) ** 2) / (2 * 2.5**2))
    for y0 in range(0, ny, 256):
        rows = slice(y0, y0 + 256)
        planes["data"][rows] = (rng.normal(0, 1, (256, nx)) + np.tile(star, (4, nx // 64))).astype(np.float32)
        planes["weight"][rows] = planes["variance"][rows] = np.ones((256, nx), np.float32)
        planes["context"][:, rows] = np.ones((1, 256, nx), np.int32)
    return (ny // 64) * (nx // 64)


def peak_mb(folder: Path, ny: int, nx: int, side: int, image: str) -> float:
    """Peak memory of a fresh process that finds and measures all sources of a mosaic [MB]."""
    n = write_mosaic(folder, ny, nx)
    script = [sys.executable, "-c", SCRIPT % (side, image), folder]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, kilobytes = (int(word) for word in done.stdout.split())
    # Of 10^7 pixels of noise one may be above the threshold, too.
    assert n <= found <= 1.001 * n
    return kilobytes / 1024


# A pass over one band holds more than 60 bytes for each pixel. Runs, pixels above the extent and the table take some 2 at
# this density; small images have small samples of the sky besides, whose noise is measured on up to 4 million pixels.
@pytest.mark.parametrize(
    ("n", "side", "image", "most"),
    [(512, 256, "stack", 24.0), pytest.param(2048, 512, "chi_square", 4.0, marks=pytest.mark.validate)],
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_mosaic_eight_times_as_large_needs_hardly_more_memory(
    tmp_path: Path, n: int, side: int, image: str, most: float
) -> None:
    small = peak_mb(tmp_path / "small", n, n, side, image)
    large = peak_mb(tmp_path / "large", n, 8 * n, side, image)
    more = (large - small) * 1024**2 / (7 * n * n)
    print(f"{n} x {n}: {small:.0f} MB; {n} x {8 * n}: {large:.0f} MB: {more:.1f} bytes for each pixel more")
    assert more < most
