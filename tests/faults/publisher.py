"""Publish tiles when the file GO appears: python publisher.py LAKE GO TILE...

Each line of the output is a tile and what its publication answered.
"""

import sys
import time
from pathlib import Path

import numpy as np

from skymere.errors import ConflictError
from skymere.lake import Lake


def publish(lake, tile):
    work = {"stage": "detect", "tile": tile, "product": "segmentation"}
    with lake.run(**work, inputs=[], params={}) as run:
        if run.already:
            return "already"
        run.write("label", np.full((8, 8), int(tile[1:]) + 1, np.int32))
        return run.publish(run.frame([{"status": "ok", "n_sources": 1, "n_pixels": 64, "ny": 8, "nx": 8}]))


def main(path, go, *tiles):
    lake = Lake.open(path)
    print("ready", flush=True)
    while not Path(go).exists():
        time.sleep(0.001)
    for tile in tiles:
        try:
            print(tile, publish(lake, tile), flush=True)
        except ConflictError:
            print(tile, "conflict", flush=True)


main(*sys.argv[1:])
