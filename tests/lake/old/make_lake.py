"""Make a tiny lake with every product of the skymere that runs this, as a witness for later ones:

    git archive COMMIT python schemas | tar -x -C THERE    (and its _rust.abi3.so in THERE/python/skymere)
    PYTHONPATH=THERE/python python make_lake.py NAME.tar.xz

All numbers are made up from their places, so that a later skymere knows what it must find. Two tiles; one of them was
published again after release R1, with one more band.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from skymere.lake import Lake, NamedTile, load_schema, products
from skymere.wcs import Grid

TILES = ("one", "two")
BESIDE = ("alias", "run", "run_item")
FILLED_IN = {"tile", "run_id", "stage", "_healpix_29"}
BANDS = {1: ("f140w",), 2: ("f125w", "f140w")}
UNIT = "electron / s"
PLACES = {"band": "f140w", "exposure": "exp1", "level": 1, "line": "Ha"}
KINDS = {
    "boolean": pl.Boolean,
    "short": pl.Int16,
    "int": pl.Int32,
    "long": pl.Int64,
    "float": pl.Float32,
    "double": pl.Float64,
    "string": pl.String,
    "text": pl.String,
}


def grid(tile):
    return Grid.tangent(10.0 + TILES.index(tile), 0.0, shape=(8, 8), scale_arcsec=1.0)


def value(column, place, row, version):
    """Return a value that depends on everything; nullable columns have holes."""
    if column.is_text:
        return f"{column.name[:1]}{row}"
    if column.nullable and (place + row) % 3 == 0:
        return None
    number = place + 10 * row + 100 * version
    return {"boolean": bool(row), "float": number / 4, "double": number / 3}.get(column.datatype, number)


def rows(schema, tile, version, **known):
    """Return the rows of a tile."""
    columns = schema.expand(BANDS[version] if any(column.is_pattern for column in schema.columns) else ())
    n_rows = 1 if set(schema.primary_key) <= FILLED_IN else 2
    first = 2 * TILES.index(tile)
    found = {c.name: [value(c, k, first + i, version) for i in range(n_rows)] for k, c in enumerate(columns)}
    if schema.is_positional:
        ra, dec = grid(tile).sky(np.array([2.0, 5.0]), np.array([3.0, 4.0]))
        found |= {"ra": ra[:n_rows].tolist(), "dec": dec[:n_rows].tolist()}
    found |= {name: [it] * n_rows for name, it in known.items() if name in found}
    kinds = {column.name: KINDS[column.datatype] for column in columns if column.name not in FILLED_IN}
    return pl.DataFrame({name: found[name] for name in kinds}, schema=kinds)


def arrays(schema, version):
    """Yield path and values of each array of a tile."""
    ragged = [(spec, getattr(spec, "offset", None), getattr(spec, "shape", None)) for spec in schema.arrays]
    edges = {spec.beside(offset) for spec, offset, _ in ragged if offset}
    shapes = {spec.beside(shape) for spec, _, shape in ragged if shape}
    for k, (spec, offset, _) in enumerate(ragged):
        # The exponents of rounding are written by themselves; large stamps are only larger.
        if spec.path.endswith("/qexp") or spec.path.startswith(("px256", "px512")):
            continue
        path = spec.path.format(**PLACES)
        if spec.path in edges:
            yield path, np.array([0, 12, 24], spec.dtype)
        elif spec.path in shapes:
            yield path, np.array([[3, 4], [3, 4]], spec.dtype)
        else:
            side = int(path[2:].partition("/")[0]) if path.startswith("px") else 8
            lengths = {"plane": 1, **{name: side for name in spec.dims if name[0] in "yx"}}
            shape = [24 if offset and i == 0 else lengths.get(name, 2) for i, name in enumerate(spec.dims)]
            numbers = (np.arange(np.prod(shape)) % 31 + k + 100 * version).astype(spec.dtype)
            if numbers.dtype.kind == "f":
                numbers[1] = np.nan
            yield path, numbers.reshape(shape)


def publish(lake, tile, version):
    for product in sorted(set(products()) - set(BESIDE), key=lambda name: (name == "source", name)):
        schema = load_schema(product)
        units = {spec.path.format(**PLACES): spec.unit for spec in schema.arrays}
        work = {"stage": f"make_{product}", "tile": tile, "product": product}
        with lake.run(**work, inputs=[], params={"n": version}, code_version="old") as run:
            run.annotate("", {"wcs": grid(tile).cards()}) if schema.arrays else None
            for path, values in arrays(schema, version):
                run.write(path, values, unit=UNIT if units[path] is None else None)
            beside = {}
            known = {}
            if product == "source":
                known["segmentation_run"] = lake.live_run("segmentation", tile)
                beside["alias"] = rows(load_schema("alias"), tile, version)
                beside["items"] = rows(load_schema("run_item"), tile, version)
            run.publish(rows(schema, tile, version, **known), **beside)


def make(path):
    lake = Lake.create(path, tiles=[NamedTile(tile, grid(tile)) for tile in TILES])
    for tile in TILES:
        publish(lake, tile, 1)
    lake.release("R1")
    publish(lake, "one", 2)
    return {"newest": lake.content_hash(), "R1": Lake.open(path, "R1").content_hash()}


def main(name):
    with tempfile.TemporaryDirectory() as folder:
        hashes = make(Path(folder, "lake"))
        with tarfile.open(name, "w:xz", preset=9) as tar:
            tar.add(Path(folder, "lake"), "lake")
    Path(name.removesuffix(".tar.xz") + ".json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
