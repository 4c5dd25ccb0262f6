"""Lakes as large as those of the figures for the pages: a mosaic of 20,000 x 20,000 pixels, and a million sources."""

import json

import numpy as np
import polars as pl

from skymere.lake import Lake, NamedTile, load_schema, table_dtypes
from skymere.wcs import Grid

SIDE = 20_000
SCALE = 0.06
BANDS = ("f115w", "f200w")
_PERIOD = 4096


def grid(ra=150.1, side=SIDE):
    return Grid.tangent(ra, 2.2, shape=(side, side), scale_arcsec=SCALE)


def make_mosaic_lake(path, *, n_sources=100_000, side=SIDE, seed=1):
    """A lake of one tile: a mosaic of one band with its levels, and its sources."""
    lake = Lake.create(path, tiles=[NamedTile("wide", grid(side=side))])
    publish_mosaic(lake, side, seed)
    publish_sources(lake, "wide", n_sources, seed)
    return lake


def make_catalogue_lake(path, *, n_tiles=4, n_rows=250_000):
    """A lake with nothing but sources."""
    centres = [150.1 + 0.4 * k for k in range(n_tiles)]
    lake = Lake.create(path, tiles=[NamedTile(f"t{k}", grid(ra)) for k, ra in enumerate(centres)])
    for k in range(n_tiles):
        publish_sources(lake, f"t{k}", n_rows, seed=k)
    return lake


def publish_mosaic(lake, side, seed):
    """Noise with sources that come again every 4096 pixels, so that every level is made from one cell."""
    rng = np.random.default_rng(seed)
    cell = rng.normal(0.0, 0.01, (_PERIOD, _PERIOD)).astype(np.float32)
    yy, xx = np.mgrid[-12:13, -12:13]
    for y, x, flux, size in zip(
        *rng.integers(12, _PERIOD - 13, (2, 4000)), rng.lognormal(0, 1, 4000), rng.uniform(1, 4, 4000), strict=True
    ):
        cell[y - 12 : y + 13, x - 12 : x + 13] += (0.1 * flux * np.exp(-0.5 * (yy**2 + xx**2) / size**2)).astype(
            np.float32
        )
    levels = [cell]
    while max(-(-side // 2 ** (len(levels) - 1)), 1) > 512:
        before = levels[-1]
        levels.append(before.reshape(before.shape[0] // 2, 2, before.shape[1] // 2, 2).mean(axis=(1, 3)))
    with lake.run(stage="bench", tile="wide", product="mosaic", inputs=[], params={"seed": seed}) as run:
        run.annotate("f200w", {"wcs": grid(side=side).cards()})
        for level, part in enumerate(levels):
            n = -(-side // 2**level)
            name = "f200w/sci" if level == 0 else f"f200w/level{level}"
            run.write(name, repeated(part, n), n_rows=n, unit="uJy")
        kinds = table_dtypes("mosaic")
        blank = {pl.String(): "", pl.Float64(): 0.0, pl.Float32(): 0.0, pl.Boolean(): False}
        row = {
            name: blank.get(kind, 0) for name, kind in kinds.items() if name not in ("tile", "run_id", "_healpix_29")
        }
        row |= {"band": "f200w", "status": "ok", "ny": side, "nx": side, "scale_arcsec": SCALE, "unit": "uJy"}
        row |= {
            "ra": 150.1,
            "dec": 2.2,
            "exposure_ids": "[]",
            "params": "{}",
            "wcs": json.dumps(grid(side=side).cards()),
        }
        run.publish(pl.DataFrame([row], schema={name: kinds[name] for name in row}))


def repeated(part, n):
    """Yield an image of n x n pixels, as many rows at a time as the cell has."""
    wide = np.tile(part, (1, -(-n // part.shape[1])))[:, :n]
    for first in range(0, n, len(part)):
        yield np.ascontiguousarray(wide[: min(len(part), n - first)])


def publish_sources(lake, tile, n, seed):
    rng = np.random.default_rng([seed, 2])
    kinds = table_dtypes("source", BANDS)
    shape = lake.tiles[tile].grid.shape
    x, y = rng.uniform(0, shape[1] - 1, n), rng.uniform(0, shape[0] - 1, n)
    ra, dec = lake.tiles[tile].grid.sky(x, y)
    columns = {}
    for column in load_schema("source").expand(BANDS):
        kind = kinds[column.name]
        if column.name in ("tile", "run_id", "_healpix_29"):
            continue
        if kind == pl.String:
            columns[column.name] = ["0" * 16] * n
        elif kind.is_integer():
            columns[column.name] = rng.integers(0, 100, n)
        else:
            columns[column.name] = rng.lognormal(0.0, 1.5, n)
    columns |= {"source_id": np.arange(n) + ((seed + 1) << 32), "ra": ra, "dec": dec, "x": x, "y": y}
    columns |= {
        "label": np.arange(1, n + 1),
        "a": rng.uniform(1, 4, n),
        "b": rng.uniform(1, 3, n),
        "kron_radius": np.full(n, 2.5),
    }
    columns |= {f"mag_auto_{band}": rng.normal(26.0, 1.5, n) for band in BANDS}
    frame = pl.DataFrame(columns, schema={name: kinds[name] for name in columns})
    with lake.run(stage="bench", tile=tile, product="source", inputs=[], params={"seed": seed}) as run:
        run.publish(frame)
