"""Work on tiles and hand over what waits for its commit: python maker.py LAKE GO VERSION TILE...

Each line of the output is what a tile has pending, pickled, in hexadecimal digits.
"""

import importlib.util
import pickle
import sys
import time
from pathlib import Path

from skymere.lake import Lake

spec = importlib.util.spec_from_file_location("batcher", Path(__file__).with_name("batcher.py"))
batcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(batcher)


def main(path, go, version, *tiles):
    lake = Lake.open(path)
    print("ready", flush=True)
    while not Path(go).exists():
        time.sleep(0.001)
    for tile in tiles:
        print(pickle.dumps(batcher.make(lake, tile, int(version))).hex(), flush=True)


main(*sys.argv[1:])
