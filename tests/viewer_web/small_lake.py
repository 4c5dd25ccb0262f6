"""A lake of one tile with three bands, 60 sources and everything that the pages show, made in seconds."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from skymere.lake import Lake, NamedTile, load_schema, pyramid, write_ragged
from skymere.wcs import Grid

SHAPE = (1200, 1400)
SCALE = 0.1
BANDS = ("f105w", "f125w", "f160w")
N_SOURCES = 60
TILE = "field"
HOSTILE = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"


def load_survey():
    """The module of the lake's tests with blank rows of any product."""
    name = "lake_survey_rows"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "lake" / "survey.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def grid():
    return Grid.tangent(150.1, 2.2, shape=SHAPE, scale_arcsec=SCALE, rotation_deg=20.0)


def truth():
    """Places, sizes and fluxes of the sources; the first two touch each other."""
    rng = np.random.default_rng(7)
    x, y = rng.uniform(60, SHAPE[1] - 60, N_SOURCES), rng.uniform(60, SHAPE[0] - 60, N_SOURCES)
    x[:2], y[:2] = (700.0, 716.0), (600.0, 604.0)
    return x, y, rng.uniform(3.0, 6.0, N_SOURCES), rng.lognormal(1.0, 0.8, N_SOURCES)


def pixels():
    """Image of unit fluxes and segmentation."""
    x, y, size, flux = truth()
    image, labels = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.int32)
    for k in range(N_SOURCES):
        half = int(6 * size[k])
        rows, columns = slice(int(y[k]) - half, int(y[k]) + half), slice(int(x[k]) - half, int(x[k]) + half)
        yy, xx = np.mgrid[rows, columns]
        square = ((yy - y[k]) ** 2 + (xx - x[k]) ** 2) / size[k] ** 2
        image[rows, columns] += flux[k] * np.exp(-0.5 * square)
        inside = (square < 9) & (labels[rows, columns] == 0)
        labels[rows, columns][inside] = k + 1
    return image, labels


def make(path):
    """Make the lake."""
    lake = Lake.create(path, tiles=[NamedTile(TILE, grid())])
    image, labels = pixels()
    publish_exposures(lake)
    publish_mosaic(lake, image)
    publish_segmentation(lake, labels)
    publish_sources(lake, labels)
    publish_cutouts(lake)
    publish_models(lake, image)
    publish_spectra(lake)
    lake.record_failure(
        stage="profiles", tile=TILE, product="profile", inputs=[], params={"n": 9}, error=ValueError(HOSTILE)
    )
    return lake


def run_of(lake, product, tile=TILE, stage=None):
    return lake.run(stage=stage or f"make-{product}", tile=tile, product=product, inputs=[], params={})


def publish_exposures(lake):
    survey = load_survey()
    for k, offset in enumerate((-2e-3, 2e-3)):
        outline = " ".join(f"{ra + offset:.8f} {dec:.8f}" for ra, dec in grid().corners())
        name = f"exp{k}"
        with run_of(lake, "exposure", name) as run:
            row = survey.empty_row(
                "exposure", exposure_id=name, status="ok", band="f160w", footprint=f"POLYGON ICRS {outline}"
            )
            run.annotate("", {"wcs": grid().cards()})
            for plane, dtype in (("sci", np.float32), ("err", np.float32), ("dq", np.uint32)):
                run.write(plane, np.zeros((8, 8), dtype), unit="" if plane == "dq" else "electron / s")
            run.publish(survey.frame("exposure", [row]))


def publish_mosaic(lake, image):
    survey = load_survey()
    rows = []
    with run_of(lake, "mosaic") as run:
        for k, band in enumerate(BANDS):
            noise = np.random.default_rng(k).normal(0.0, 0.05, SHAPE)
            sci = (image * (1.0 + 0.3 * k) + noise).astype(np.float32)
            sci[:, :20] = np.nan
            wht = np.where(np.isfinite(sci), 400.0, 0.0).astype(np.float32)
            run.annotate(band, {"wcs": grid().cards()})
            run.write(f"{band}/sci", sci, unit="uJy")
            run.write(f"{band}/wht", wht, unit="s")
            run.write(f"{band}/ctx", (wht > 0).astype(np.int32)[None] * 3)
            for level, small in enumerate(pyramid(sci, wht), 1):
                run.write(f"{band}/level{level}", small, unit="uJy")
            names = json.dumps(["exp0", "exp1"])
            row = survey.empty_row(
                "mosaic", band=band, status="ok", ny=SHAPE[0], nx=SHAPE[1], scale_arcsec=SCALE, unit="uJy", params="{}"
            )
            rows.append(row | {"exposure_ids": names, "ra": 150.1, "dec": 2.2, "n_exposures": 2})
        run.publish(survey.frame("mosaic", rows))


def publish_segmentation(lake, labels):
    survey = load_survey()
    with run_of(lake, "segmentation") as run:
        run.annotate("", {"wcs": grid().cards()})
        run.write("label", labels)
        run.publish(survey.frame("segmentation", [survey.empty_row("segmentation", status="ok", n_sources=N_SOURCES)]))


def publish_sources(lake, labels):
    survey = load_survey()
    x, y, size, flux = truth()
    ra, dec = grid().sky(x, y)
    names = np.arange(1, N_SOURCES + 1)
    who = lake.identify(TILE, labels, labels=names, ra=ra, dec=dec)
    segmentation = lake.live_run("segmentation", TILE)
    rows = []
    for k in range(N_SOURCES):
        row = survey.empty_row("source", BANDS, source_id=int(who.source_id[k]), ra=ra[k], dec=dec[k], x=x[k], y=y[k])
        row |= {"label": k + 1, "segmentation_run": segmentation, "a": size[k], "b": size[k] * 0.7, "theta": 30.0}
        row |= {"kron_radius": 2.5, "r_half": size[k] * 1.2, "flags": 0, "area": int((labels == k + 1).sum())}
        for i, band in enumerate(BANDS):
            total = flux[k] * (1.0 + 0.3 * i)
            row |= {
                f"flux_auto_{band}": total,
                f"flux_auto_err_{band}": 0.1,
                f"mag_auto_{band}": 23.9 - 2.5 * np.log10(total),
            }
        rows.append(row)
    with run_of(lake, "source") as run:
        run.publish(survey.frame("source", rows, BANDS), alias=who.alias, parent_run=who.parent_run)


def sources(lake):
    return lake.table("source").sort("label").collect()


def publish_cutouts(lake):
    survey = load_survey()
    found = lake.table("source").sort("source_id").collect()
    mosaic = lake.arrays("mosaic", TILE)
    labels = np.pad(lake.arrays("segmentation", TILE)["label"][...], 64)
    origin = np.stack([found["y"].round().to_numpy(), found["x"].round().to_numpy()], axis=1).astype(np.int32) - 32
    cut = [np.s_[y + 64 : y + 128, x + 64 : x + 128] for y, x in origin.tolist()]
    with run_of(lake, "cutout") as run:
        run.write("source_id", found["source_id"].to_numpy())
        for band in BANDS:
            run.annotate(f"px64/{band}", {"wcs": grid().cards()})
            for plane, fill in (("sci", np.nan), ("wht", 0.0)):
                image = np.pad(mosaic[f"{band}/{plane}"][...], 64, constant_values=fill)
                lossy = "quantise" if plane == "sci" else "weight7"
                run.write(f"px64/{band}/{plane}", np.array([image[c] for c in cut]), unit="uJy", lossy=lossy)
            run.write(f"px64/{band}/origin", origin)
        run.write("px64/seg", np.array([labels[c] for c in cut]))
        rows = [
            {
                "source_id": s["source_id"],
                "ra": s["ra"],
                "dec": s["dec"],
                "size_class": 64,
                "cutout_row": n,
                "wanted_pix": 64,
            }
            for n, s in enumerate(found.iter_rows(named=True))
        ]
        run.publish(survey.frame("cutout", rows))


def publish_models(lake, image):
    """Profiles and forced fluxes whose models are the truth."""
    survey = load_survey()
    mosaic = lake.arrays("mosaic", TILE)
    found = sources(lake)
    with run_of(lake, "profile") as run:
        run.annotate("f160w", {"wcs": grid().cards()})
        model = image * np.float32(1.6)
        run.write("f160w/model", model, unit="uJy")
        run.write("f160w/residual", mosaic["f160w/sci"][...] - model, unit="uJy")
        run.write("covariance", np.zeros((1, 8, 8)))
        same = {"band": "f160w", "is_best": True, "status": "ok", "kind": "sersic", "attempt": 0, "start": "{}"}
        rows = [
            survey.empty_row(
                "profile", **same, **{name: s[name] for name in ("source_id", "ra", "dec", "x", "y", "label")}
            )
            | {"flux": s["flux_auto_f160w"], "flux_err": 0.1}
            for s in found.iter_rows(named=True)
        ]
        run.publish(survey.frame("profile", rows))
    with run_of(lake, "flux") as run:
        run.annotate("f105w", {"wcs": grid().cards()})
        run.write("f105w/residual", mosaic["f105w/sci"][...] - image, unit="uJy")
        run.write("f105w/source_id", found["source_id"].to_numpy())
        rows = [
            survey.empty_row(
                "flux", source_id=s["source_id"], band="f105w", method="model", status="ok", flux=1.0, flux_err=0.1
            )
            for s in found.iter_rows(named=True)
        ]
        run.publish(survey.frame("flux", rows))


def publish_spectra(lake):
    """One source with beams, spectra, p(z), lines, maps and slits."""
    source = sources(lake).row(0, named=True)
    place = {name: source[name] for name in ("source_id", "ra", "dec")}
    direct = Grid.tangent(place["ra"], place["dec"], shape=(20, 20), scale_arcsec=0.13)
    beam = {
        "status": "ok",
        "grating": "g141",
        "direct_wcs": json.dumps(direct.cards()),
        "x0": 0,
        "y0": 0,
        "nx": 60,
        "ny": 20,
    }
    beam |= {"x_source": 9.5, "y_source": 9.5, "exposure_id": "grism0", "band": "f160w", "photplam": 1.5, "pa": 0.0}
    wavelength = np.linspace(1.1, 1.7, 120)
    bump = 1.0 + 5.0 * np.exp(-0.5 * ((wavelength - 1.3) / 0.01) ** 2)
    curve = {"wavelength": wavelength, "flux": bump, "flux_err": np.full(120, 0.2), "continuum": np.ones(120)}
    curve |= {"line": bump - 1.0}
    z = np.linspace(0.0, 3.0, 300)
    stamp = np.add.outer(np.arange(20.0), np.arange(60.0))
    image = dict.fromkeys(("sci", "contam", "model", "wht", "background", "profile", "sky", "err"), stamp)
    publish_row(lake, "beam", place | beam, image, beam_row=0)
    publish_row(lake, "spectrum", place | {"status": "ok", "grating": "g141", "pa": None}, curve, spectrum_row=0)
    publish_row(lake, "redshift", place | {"status": "ok", "method": "grism", "redshift": 0.98}, {}, tile=TILE)
    publish_row(
        lake,
        "pz",
        place | {"method": "grism", "kind": "stack"},
        {"z": z, "pdf": np.exp(-0.5 * ((z - 0.98) / 0.02) ** 2)},
        pz_row=0,
    )
    publish_row(lake, "line", place | {"method": "grism", "line": "Ha", "wavelength": 1.3, "snr": 12.0}, {})
    line_map = place | {"kind": "line", "name": "Ha", "status": "ok", "wcs": "{}"}
    publish_row(lake, "line_map", line_map, {"line/sci": stamp[:, :20], "line/wht": stamp[:, :20]}, map_row=0)
    slit = place | {
        "status": "ok",
        "grating": "prism",
        "group_id": "one",
        "exposure_id": "slit0",
        "is_background": False,
    }
    slit |= {"source_name": HOSTILE[:64], "pa": 30.0, "shutter_state": "1x1"}
    publish_row(
        lake,
        "slit_spectrum",
        slit,
        curve | dict.fromkeys(("sci", "wht", "profile", "background"), stamp),
        spectrum_row=0,
    )
    publish_row(lake, "slitlet", slit, image, slitlet_row=0)


def publish_row(lake, product, values, planes, *, tile=TILE, **row):
    """Publish a product with one row and those of its ragged planes that are given."""
    survey = load_survey()
    schema = load_schema(product)
    with run_of(lake, product, tile) as run:
        groups = {}
        for spec in schema.arrays:
            if spec.offset and spec.path in planes:
                axes = schema.array(spec.beside(spec.shape)).chunk[1] if spec.shape else 1
                if planes[spec.path].ndim == axes:
                    groups.setdefault(spec.beside(spec.offset), {})[spec.path] = [planes[spec.path].astype(spec.dtype)]
        for some in groups.values():
            write_ragged(run, some, unit="uJy")
        given = {"params": "{}", "meta": "{}", "wcs": "{}", "flags": 0} | values | row
        known = {name: value for name, value in given.items() if name in survey.empty_row(product)}
        run.publish(survey.frame(product, [survey.empty_row(product) | known]))


def add_hostile_note(lake):
    """A note whose words are markup."""
    from skymere.lake import add_note

    return add_note(lake, int(sources(lake)["source_id"][0]), author="<b>Eve</b>", comment=HOSTILE)


def where_label(lake, label):
    return sources(lake).filter(pl.col("label") == label).row(0, named=True)
