"""A small survey in a lake: every product, deterministic; also a program that can be killed.

    python survey.py LAKE VERSION [PRODUCT STEP]

publishes every product of a tile (or those that SURVEY_PRODUCTS names), and ends without a goodbye at one step of one
product.
"""

import json
import os
import sys

import numpy as np
import polars as pl

from skymere.errors import NotFoundError
from skymere.lake import Lake, NamedTile, load_schema, products, pyramid, table_dtypes, write_ragged
from skymere.wcs import Grid

SHAPE = (96, 128)
TILES = ("east", "west")
BANDS = ("f125w", "f140w")
PRODUCTS = ("exposure", "mask", "mosaic", "segmentation", "source", "cutout")
# Tables that are written beside others.
BESIDE = ("run", "run_item", "alias")
OTHERS = tuple(name for name in products() if name not in (*PRODUCTS, *BESIDE))


def grid(tile):
    # The tiles touch: east ends at the right ascension where west begins.
    ra = {"east": 150.0 + 64 / 36000, "west": 150.0 - 64 / 36000}[tile]
    return Grid.tangent(ra, 0.0, shape=SHAPE, scale_arcsec=0.1)


def create(path):
    return Lake.create(path, tiles=[NamedTile(tile, grid(tile)) for tile in TILES])


def labels(tile, version):
    """Nine squares; each version moves them by a pixel and loses one more."""
    image = np.zeros(SHAPE, np.int32)
    for k in range(version, 10):
        y, x = 8 + 28 * ((k - 1) // 3), 10 + 40 * ((k - 1) % 3)
        image[y + version : y + version + 8, x : x + 9] = k
    return image


def image(tile, band, version):
    seed = [TILES.index(tile), BANDS.index(band), version]
    noise = np.random.default_rng(seed).normal(0.0, 0.01, SHAPE)
    noise[:3] = np.nan
    return (noise + (labels(tile, version) > 0)).astype(np.float32)


def frame(product, rows, bands=()):
    schema = table_dtypes(product, bands)
    given = [name for name in schema if name in rows[0]] if rows else []
    return pl.DataFrame(rows, schema={name: schema[name] for name in given}, orient="row")


def empty_row(product, bands=(), **values):
    blank = {pl.String(): "", pl.Float64(): 1.5, pl.Float32(): 2.5, pl.Boolean(): False}
    names = table_dtypes(product, bands)
    skip = ("tile", "run_id", "_healpix_29")
    return {n: blank.get(kind, 3) for n, kind in names.items() if n not in skip} | values


def rows_of(product, n=3, bands=BANDS[1:]):
    """A few rows of any product, on the sky of tile east."""
    bands = bands if any(c.is_pattern for c in load_schema(product).columns) else ()
    kinds = table_dtypes(product, bands)
    skip = {"tile", "run_id", "_healpix_29"}
    rows = []
    for k in range(n):
        row = empty_row(product, bands)
        row |= {name: k for name in load_schema(product).primary_key if name not in skip and kinds[name].is_integer()}
        row |= {
            name: f"n{k}" for name in load_schema(product).primary_key if name not in skip and kinds[name] == pl.String
        }
        if "_healpix_29" in kinds:
            row |= {"ra": 150.0017 + 1e-4 * k, "dec": 1e-4 * k}
        rows.append(row)
    return frame(product, rows, bands)


def publish_exposure(lake, tile, version, run):
    ny, nx = SHAPE
    run.annotate("", {"wcs": grid(tile).cards(), "dq_bits": {"hot": 16}})
    run.write("sci", image(tile, "f140w", version), dims=("y", "x"), unit="electron / s")
    run.write("err", np.full(SHAPE, 0.01, np.float32), unit="electron / s")
    run.write("dq", np.zeros(SHAPE, np.uint32), unit="")
    row = empty_row("exposure", exposure_id=f"{tile}-exp", status="ok", unit="electron / s", ny=ny, nx=nx)
    return run.publish(frame("exposure", [row]))


def publish_mask(lake, tile, version, run):
    mask = (image(tile, "f140w", version) > 0.02).astype(np.uint32)
    run.write(f"{tile}-exp/mask", mask, attributes={"mask_bits": {"cosmic_ray": 1}})
    row = empty_row("mask", exposure_id=f"{tile}-exp", status="ok", n_cosmic_rays=int(mask.sum()))
    items = pl.DataFrame([empty_row("run_item", item=f"{tile}-exp", status="ok")]).drop("stage")
    return run.publish(frame("mask", [row]), items=items)


def publish_mosaic(lake, tile, version, run):
    rows = []
    for band in BANDS:
        sci = image(tile, band, version)
        wht = np.where(np.isfinite(sci), 100.0, 0.0).astype(np.float32)
        run.annotate(band, {"wcs": grid(tile).cards()})
        run.write(f"{band}/sci", sci, dims=("y", "x"), unit="electron / s")
        run.write(f"{band}/wht", wht, unit="s")
        run.write(f"{band}/var", np.full(SHAPE, 1e-4, np.float32), unit="(electron / s)^2")
        run.write(f"{band}/ctx", (wht > 0).astype(np.int32)[None], dims=("plane", "y", "x"))
        for level, small in enumerate(pyramid(sci, wht, smallest=32), 1):
            run.write(f"{band}/level{level}", small, unit="electron / s")
        names = json.dumps([f"{tile}-exp"])
        rows.append(empty_row("mosaic", band=band, status="ok", exposure_ids=names, params="{}"))
    return run.publish(frame("mosaic", rows))


def publish_segmentation(lake, tile, version, run):
    found = labels(tile, version)
    run.annotate("", {"wcs": grid(tile).cards()})
    run.write("label", found)
    row = empty_row("segmentation", status="ok", n_sources=int(found.max()), n_pixels=int((found > 0).sum()))
    return run.publish(frame("segmentation", [row]))


def centres(tile, version):
    found = labels(tile, version)
    names = np.unique(found[found > 0])
    where = [np.argwhere(found == k).mean(axis=0) for k in names]
    y, x = np.array(where).T
    ra, dec = grid(tile).sky(x, y)
    return names, x, y, ra, dec


def publish_source(lake, tile, version, run):
    names, x, y, ra, dec = centres(tile, version)
    who = lake.identify(tile, labels(tile, version), labels=names, ra=ra, dec=dec)
    bands = BANDS[: 1 + version % 2]
    segmentation = lake.live_run("segmentation", tile)
    rows = [
        empty_row(
            "source",
            bands,
            source_id=int(i),
            ra=a,
            dec=d,
            x=u,
            y=v,
            label=int(k),
            segmentation_run=segmentation,
            flags=0,
        )
        for i, a, d, u, v, k in zip(who.source_id, ra, dec, x, y, names, strict=True)
    ]
    return run.publish(frame("source", rows, bands), alias=who.alias, parent_run=who.parent_run)


def publish_cutout(lake, tile, version, run):
    sources = lake.table("source").filter(pl.col("tile") == tile).sort("source_id").collect()
    size = np.where(sources["label"].to_numpy() % 2, 64, 128)
    rows = []
    run.write("source_id", sources["source_id"].to_numpy())
    mosaic = lake.arrays("mosaic", tile)
    seg = np.pad(lake.arrays("segmentation", tile)["label"][...], 64)
    for side in (64, 128):
        mine = sources.filter(pl.Series(size == side))
        half = side // 2
        origin = np.stack([mine["y"].round().to_numpy(), mine["x"].round().to_numpy()], axis=1).astype(np.int32) - half
        cut = [np.s_[y + 64 : y + 64 + side, x + 64 : x + 64 + side] for y, x in origin.tolist()]
        for band in BANDS:
            sci = np.pad(mosaic[f"{band}/sci"][...], 64, constant_values=np.nan)
            wht = np.pad(mosaic[f"{band}/wht"][...], 64)
            here = f"px{side}/{band}"
            run.annotate(here, {"wcs": mosaic.attributes(band)["wcs"]})
            run.write(f"{here}/sci", np.array([sci[c] for c in cut]), unit="electron / s", lossy="quantise")
            run.write(f"{here}/wht", np.array([wht[c] for c in cut]), unit="s", lossy="weight7")
            run.write(f"{here}/origin", origin)
        run.write(f"px{side}/seg", np.array([seg[c] for c in cut]))
        rows += [
            {"source_id": s["source_id"], "ra": s["ra"], "dec": s["dec"], "size_class": side, "cutout_row": n}
            | {"wanted_pix": side}
            for n, s in enumerate(mine.iter_rows(named=True))
        ]
    return run.publish(frame("cutout", rows))


def publish_other(lake, tile, version, run):
    """A product of any other kind: rows and numbers in each array that the version decides."""
    n = 2 + version
    rng = np.random.default_rng(version)
    schema = load_schema(run.product)
    indices = {s.beside(name) for s in schema.arrays if s.offset for name in (s.offset, s.shape) if name}
    ragged = {}
    for spec in schema.arrays:
        path = spec.path.format(band=BANDS[0], exposure=f"{tile}-exp", level=1, line="Ha")
        if spec.offset:
            axes = schema.array(spec.beside(spec.shape)).chunk[1] if spec.shape else 1
            parts = [np.full((4 + k,) * axes, rng.integers(0, 100)).astype(spec.dtype) for k in range(n)]
            ragged.setdefault(spec.beside(spec.offset), {})[path] = parts
        elif spec.path not in indices and not path.endswith("/qexp"):
            shape = [length if "axis" in dim else n for dim, length in zip(spec.dims, spec.chunk, strict=True)]
            run.write(path, rng.integers(0, 100, shape).astype(spec.dtype), unit="s" if spec.unit is None else None)
    for planes in ragged.values():
        write_ragged(run, planes, unit="s")
    return run.publish(rows_of(run.product, n))


def key_of(product, tile):
    return f"{tile}-exp" if product == "exposure" else tile


def publish(lake, product, tile="east", version=1, on_event=None):
    """Publish one product of a tile: published or already."""
    before = {"source": "segmentation", "cutout": "source"}.get(product)
    inputs = [lake.reference(before, tile)] if before else []
    with lake.run(
        stage=f"make-{product}",
        tile=key_of(product, tile),
        product=product,
        inputs=inputs,
        params={"version": version},
        on_event=on_event,
    ) as run:
        if run.already:
            return "already"
        return globals().get(f"publish_{product}", publish_other)(lake, tile, version, run)


def publish_all(lake, version=1, on_event=lambda *_: None, tiles=TILES, products=PRODUCTS):
    return [
        publish(lake, product, tile, version, lambda step, product=product: on_event(product, step))
        for tile in tiles
        for product in products
    ]


def main(arguments):
    path, version, *place = arguments
    try:
        lake = Lake.open(path)
    except NotFoundError:
        lake = create(path)

    def on_event(product, step):
        print(product, step, flush=True)
        if [product, step] == place:
            os._exit(9)

    if place and place[0] in OTHERS:
        publish(lake, place[0], version=int(version), on_event=lambda step: on_event(place[0], step))
    else:
        chosen = os.environ.get("SURVEY_PRODUCTS", ",".join(PRODUCTS)).split(",")
        publish_all(lake, int(version), on_event, tiles=TILES[:1], products=chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
