"""Work on tiles and commit them in batches: python batcher.py LAKE N_TILES BATCH VERSION [STOP].

Each tile has a mask and a segmentation of the same task. With STOP the program ends without a goodbye just before its
STOP-th entry in a log (STOP > 0) or just after it (STOP < 0). A line is printed for each batch.
"""

import os
import sys

import numpy as np
import polars as pl

from skymere.lake import Lake
from skymere.lake.tables import Table


def make(lake, tile, version):
    """What a worker hands over for a tile; nothing when the tile is done."""
    work = {"stage": "detect", "tile": tile, "product": "segmentation", "inputs": [], "params": {"version": version}}
    with lake.run(**work, defer=True) as run:
        if run.already:
            return []
        with run.beside("mask") as its:
            if not its.already:
                its.write(f"{tile}/mask", np.full((8, 8), version, np.uint32))
                its.publish(its.frame([{"exposure_id": tile, "status": "ok", "n_cosmic_rays": version}]))
        run.write("label", np.full((8, 8), version, np.int32))
        items = pl.DataFrame({"item": [tile], "status": "ok", "error_class": "", "message": ""})
        run.publish(run.frame([{"status": "ok", "n_sources": version, "ny": 8, "nx": 8, "n_pixels": 64}]), items=items)
    return run.pendings


def tiles_of(n):
    return [f"t{k:03d}" for k in range(int(n))]


def stop_at(count):
    once, done = Table.commit, []

    def commit(table, *rest):
        done.append(table)
        if len(done) == count:
            os._exit(9)
        found = once(table, *rest)
        if len(done) == -count:
            os._exit(9)
        return found

    Table.commit = commit


def run_all(lake, n_tiles, batch, version):
    waiting = []
    for tile in tiles_of(n_tiles):
        waiting += make(lake, tile, int(version))
        if len({one.tile for one in waiting}) >= int(batch):
            lake.commit(waiting)
            print("batch", flush=True)
            waiting = []
    if waiting:
        lake.commit(waiting)
    print("done", flush=True)


if __name__ == "__main__":
    path, n_tiles, batch, version, *stop = sys.argv[1:]
    if stop:
        stop_at(int(stop[0]))
    run_all(Lake.open(path), n_tiles, batch, version)
