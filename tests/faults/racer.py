"""Publish a segmentation of each tile when the file GO appears: python racer.py LAKE VERSIONS GO.

VERSIONS is a number, or a range such as 2-7 of versions that are published one after the other.
"""

import importlib.util
import sys
import time
from pathlib import Path

from skymere.errors import ConflictError
from skymere.lake import Lake

spec = importlib.util.spec_from_file_location("survey", Path(__file__).parents[1] / "lake" / "survey.py")
survey = importlib.util.module_from_spec(spec)
spec.loader.exec_module(survey)


def main(path, versions, go):
    lake = Lake.open(path)
    print("ready", flush=True)
    while not Path(go).exists():
        time.sleep(0.001)
    first, _, last = versions.partition("-")
    for version in range(int(first), int(last or first) + 1):
        for tile in survey.TILES:
            try:
                print(tile, survey.publish(lake, "segmentation", tile, version), flush=True)
            except ConflictError:
                print(tile, "conflict", flush=True)


main(*sys.argv[1:])
