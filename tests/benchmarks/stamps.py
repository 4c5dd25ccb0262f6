"""A lake of many stamps, made by a script: python stamps.py LAKE N.

Each source has sci, wht and seg of 128 x 128 in three bands. The noise is that of 512 stamps, scaled anew for each source, so
that making it costs little; its sigma lies anywhere between two powers of two.
"""

import sys
import time

import numpy as np

from skymere.lake import Lake, NamedTile
from skymere.wcs import Grid

BANDS = ("f115w", "f150w", "f200w")
SIDE = 128
PART = 512


def sky(rng, n, side=SIDE):
    """Stamps with noise of sigma 1 and a source of a peak of 3 to 100 sigma, ``(n, side, side)``."""
    y, x = np.mgrid[-side // 2 : side // 2, -side // 2 : side // 2]
    noise = rng.standard_normal((n, side, side), dtype=np.float32)
    # Drizzled pixels are correlated with their neighbours.
    noise = noise + 0.25 * (np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2))
    peaks = 10 ** rng.uniform(0.5, 2.0, n)
    radii = rng.uniform(2.0, 8.0, n)
    profile = np.exp(-np.hypot(x, y)[None] / radii[:, None, None]) * peaks[:, None, None]
    return (noise / noise.std() + profile).astype(np.float32)


def parts(seed, n):
    """Yield stamps of n sources."""
    base = sky(np.random.default_rng(1), PART)
    rng = np.random.default_rng(seed)
    for first in range(0, n, PART):
        count = min(PART, n - first)
        scale = 10 ** rng.uniform(-2.5, -1.5, count).astype(np.float32)
        yield rng.permutation(base)[:count] * scale[:, None, None]


def weights(n):
    """Yield weights: exposure times with a step."""
    one = np.full((PART, SIDE, SIDE), 1200.0, np.float32)
    one[:, :, 40:] = 2400.0
    one *= np.random.default_rng(2).uniform(0.97, 1.0, one.shape).astype(np.float32)
    for first in range(0, n, PART):
        yield one[: min(PART, n - first)]


def labels(n):
    """Yield segmentations: the source and a neighbour."""
    y, x = np.mgrid[-SIDE // 2 : SIDE // 2, -SIDE // 2 : SIDE // 2]
    shape = np.where(np.hypot(x, y) < 12, 1, 0) + np.where(np.hypot(x - 40, y + 20) < 9, 2, 0)
    for first in range(0, n, PART):
        count = min(PART, n - first)
        name = np.arange(first, first + count, dtype=np.int32)[:, None, None]
        yield np.where(shape > 0, shape.astype(np.int32) + name, 0).astype(np.int32)


def make(path, n):
    """Publish n sources and return the lake."""
    grid = Grid.tangent(150.0, 2.0, shape=(50_000, 50_000), scale_arcsec=0.03)
    lake = Lake.create(path, tiles=[NamedTile("field", grid)])
    rng = np.random.default_rng(3)
    x, y = rng.uniform(100, 49_900, (2, n))
    ra, dec = grid.sky(x, y)
    with lake.run(stage="bench", tile="field", product="cutout", inputs=[], params={"n": n}) as run:
        ids = np.arange(1, n + 1)
        run.write("source_id", ids)
        for band in BANDS:
            here = f"px{SIDE}/{band}"
            run.annotate(here, {"wcs": grid.cards()})
            run.write(f"{here}/sci", parts(BANDS.index(band), n), n_rows=n, unit="nJy", lossy="quantise")
            run.write(f"{here}/wht", weights(n), n_rows=n, unit="s", lossy="weight7")
            run.write(f"{here}/origin", np.stack([y, x], axis=1).astype(np.int32) - SIDE // 2)
        run.write(f"px{SIDE}/seg", labels(n), n_rows=n)
        row = {"size_class": SIDE, "wanted_pix": SIDE}
        places = zip(ids.tolist(), ra.tolist(), dec.tolist(), strict=True)
        rows = [row | {"source_id": i, "ra": a, "dec": d, "cutout_row": i - 1} for i, a, d in places]
        run.publish(run.frame(rows).drop("tile", "run_id", "_healpix_29", strict=False))
    return lake


if __name__ == "__main__":
    begin = time.perf_counter()
    make(sys.argv[1], int(sys.argv[2]))
    print(f"{time.perf_counter() - begin:.0f} s")
