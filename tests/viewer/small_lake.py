"""The small survey of the lake's tests with models, fluxes, spectra and redshifts, so that everything can be drawn."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from skymere.lake import load_schema, write_ragged
from skymere.wcs import Grid

TILE = "east"
HOSTILE = "<script>alert('x')</script><img src=http://x.example/a.png>"
Z = 0.98


def load_survey():
    """The module of tests/lake that makes a small survey."""
    if "survey" not in sys.modules:
        spec = importlib.util.spec_from_file_location("survey", Path(__file__).parents[1] / "lake" / "survey.py")
        sys.modules["survey"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["survey"])
    return sys.modules["survey"]


survey = load_survey()


def make(path):
    """A lake whose tile was made twice, with a release after each time; in DR2 sources moved, one was lost, z changed."""
    lake = survey.create(path)
    for version in (1, 2):
        # The other tile stays as it was.
        survey.publish_all(lake, version, tiles=survey.TILES if version == 1 else (TILE,))
        add_models(lake, version)
        add_spectra(lake, version)
        add_alignment(lake, version)
        lake.release(f"DR{version}")
    lake.record_failure(
        stage="profiles", tile="west", product="profile", inputs=[], params={"n": 9}, error=ValueError(HOSTILE)
    )
    return lake


def ids(lake):
    """Sources of the tile, by label."""
    rows = lake.table("source").sort("label").collect()
    return [one for one, tile in rows.select("source_id", "tile").iter_rows() if tile == TILE]


def run_of(lake, product, version, tile=TILE):
    inputs = [] if product == "wcs_solution" else [lake.reference("source", TILE)]
    return lake.run(stage=f"make-{product}", tile=tile, product=product, inputs=inputs, params={"version": version})


def publish_rows(lake, product, version, rows, planes=None, *, bands=(), tile=TILE):
    """Publish rows, and one array for each row in every ragged plane that is given by path."""
    schema = load_schema(product)
    with run_of(lake, product, version, tile) as run:
        groups = {}
        for name, arrays in (planes or {}).items():
            spec = schema.array(name)
            groups.setdefault(spec.beside(spec.offset), {})[name] = [one.astype(spec.dtype) for one in arrays]
        for some in groups.values():
            write_ragged(run, some, unit="electron / s")
        blank = survey.empty_row(product, bands)
        texts = {"params": "{}", "meta": "{}", "wcs": "{}", "lines": "[]", "beam_ids": "[]", "flags": 0}
        run.publish(
            survey.frame(product, [blank | {k: v for k, v in texts.items() if k in blank} | row for row in rows], bands)
        )


def add_models(lake, version):
    """Profiles in f140w, forced fluxes in f125w and in a coarse band that the lake has no image of, and a PSF."""
    mosaic = lake.arrays("mosaic", TILE)
    whole = lake.table("source").sort("label").collect()
    found = [row for row in whole.iter_rows(named=True) if row["tile"] == TILE]
    model = (lake.arrays("segmentation", TILE)["label"][...] > 0).astype(np.float32) * np.float32(0.9)
    with run_of(lake, "profile", version) as run:
        run.annotate("f140w", {"wcs": mosaic.attributes("f140w")["wcs"]})
        run.write("f140w/model", model, unit="electron / s")
        run.write("f140w/residual", mosaic["f140w/sci"][...] - model, unit="electron / s")
        run.write("covariance", np.zeros((1, 8, 8)))
        same = {"band": "f140w", "is_best": True, "status": "ok", "kind": "sersic", "attempt": 0, "start": "{}"}
        rows = [
            survey.empty_row("profile", **same, **{k: one[k] for k in ("source_id", "ra", "dec", "label")})
            for one in found
        ]
        run.publish(survey.frame("profile", rows))
    coarse = Grid.tangent(150.0018, 0.0, shape=(24, 32), scale_arcsec=0.5)
    with run_of(lake, "flux", version) as run:
        rows = []
        for band, cards, residual in (
            ("f125w", mosaic.attributes("f125w")["wcs"], mosaic["f125w/sci"][...] - model),
            ("wide1", coarse.cards(), np.random.default_rng(version).normal(0, 1, (24, 32)).astype(np.float32)),
        ):
            run.annotate(band, {"wcs": cards})
            run.write(f"{band}/residual", residual, unit="electron / s")
            run.write(f"{band}/source_id", np.array([one["source_id"] for one in found]))
            for k, one in enumerate(found):
                row = {"source_id": one["source_id"], "band": band, "method": "model", "status": "ok"}
                row |= {"ra": one["ra"], "dec": one["dec"], "flux": 0.1 if k == 0 else 3.0 + k, "flux_err": 0.2}
                rows.append(survey.empty_row("flux", **row))
        run.publish(survey.frame("flux", rows))
    y, x = np.mgrid[-10:11, -10:11]
    psf = {"psf_id": "east-f140w", "product": "mosaic", "band": "f140w", "kind": "drizzled", "status": "ok"}
    star = np.exp(-0.5 * (x**2 + y**2) / 2.0**2)
    publish_rows(lake, "psf", version, [psf | {"fwhm": 0.47, "psf_row": 0}], {"data": [star / star.sum()]})


def add_spectra(lake, version):
    """Of those that both versions have, the first source has beams and slits, the second was rejected."""
    whole = lake.table("source").sort("label").collect()
    first, second = [row for row in whole.iter_rows(named=True) if row["tile"] == TILE and row["label"] > 1][:2]
    place, other = ({k: one[k] for k in ("source_id", "ra", "dec")} for one in (first, second))
    rng = np.random.default_rng(version)
    wave = np.linspace(1.1, 1.7, 60)
    bump = 4.0 * np.exp(-0.5 * ((wave - 1.3) / 0.01) ** 2)
    image = np.outer(np.exp(-0.5 * (np.arange(-10, 10) / 2.0) ** 2), 1.0 + bump)
    noisy = image + rng.normal(0, 0.2, image.shape)
    flat = np.full(image.shape, 0.2)
    beam = place | {"grating": "g141", "band": "f160w", "order_name": "A", "order": 1, "ny": 20, "nx": 60}
    beams = [beam | {"beam_id": 7 + k, "exposure_id": f"grism{k}", "beam_row": k, "order_row": None} for k in (0, 1)]
    planes = {"sci": [noisy] * 2, "err": [flat] * 2, "contam": [0.1 * image] * 2, "model": [image] * 2}
    planes |= {"direct": [image[:, :20]] * 2, "seg": [image[:, :20] > 0.5] * 2, "trace_wavelength": [wave] * 2}
    publish_rows(lake, "beam", version, beams, planes)
    stack = place | {"stack_id": 5, "grating": "g141", "pa": None, "status": "ok", "stack_row": 0, "exptime": 100.0}
    arrays = {"sci": [noisy], "wht": [25.0 + 0 * flat], "wavelength": [wave]}
    publish_rows(lake, "stack", version, [stack], arrays)
    curve = {"wavelength": [wave], "flux": [1e-18 * (1.0 + bump)], "flux_err": [1e-19 + 0 * wave]}
    curve |= {"line": [1e-18 * bump], "continuum": [1e-18 + 0 * wave]}
    spectrum = place | {"spectrum_id": 6, "grating": "g141", "pa": None, "status": "ok", "spectrum_row": 0}
    publish_rows(lake, "spectrum", version, [spectrum], curve)
    slit = {
        "wavelength": [wave],
        "flux": [1.0 + bump],
        "flux_err": [0.1 + 0 * wave],
        "sci": [noisy],
        "wht": [25.0 + 0 * flat],
    }
    row = place | {"spectrum_id": 8, "grating": "prism", "band": "clear", "status": "ok", "spectrum_row": 0, "snr": 9.0}
    bad = other | {"spectrum_id": 9, "grating": "prism", "status": "rejected", "message": HOSTILE, "spectrum_row": None}
    publish_rows(lake, "slit_spectrum", version, [row, bad], slit)
    z = Z + 0.1 * (version - 1)
    fit = place | {"method": "grism", "status": "ok", "redshift": z, "redshift_err": 0.002, "redshift_row": None}
    lost = other | {"method": "slit", "status": "rejected", "message": HOSTILE, "redshift": None, "redshift_row": None}
    publish_rows(lake, "redshift", version, [fit, lost])
    grid = np.linspace(0.0, 3.0, 200)
    pdf = np.exp(-0.5 * ((grid - z) / 0.05) ** 2)
    publish_rows(
        lake, "pz", version, [place | {"method": "grism", "kind": "stack", "pz_row": 0}], {"z": [grid], "pdf": [pdf]}
    )
    lines = [
        place | {"method": "grism", "line": name, "redshift": z, "snr": snr, "flux": snr * 1e-17, "flux_err": 1e-17}
        for name, snr in (("Ha", 12.0), ("OIII", 1.0))
    ]
    publish_rows(lake, "line", version, [{k: v for k, v in one.items() if k not in ("ra", "dec")} for one in lines])
    maps = place | {"kind": "line", "name": "Ha", "status": "ok", "map_row": 0}
    publish_rows(
        lake, "line_map", version, [maps], {"line/sci": [noisy[:, :20]], "line/wht": [25.0 + 0 * flat[:, :20]]}
    )


def add_alignment(lake, version):
    rows = [
        {"exposure_id": f"exp{k}", "solution_id": f"s{k}", "status": "ok", "method": "catalogue", "is_active": True}
        | {"shift_x": 0.1 * k, "shift_y": -0.05 * k, "rmse": 0.004, "rms_x": 0.003, "rms_y": 0.002, "n_matches": 20 + k}
        for k in range(3)
    ]
    bad = {"exposure_id": "exp9", "solution_id": "s9", "status": "failed", "method": "header", "is_active": False}
    empty = dict.fromkeys(("shift_x", "shift_y", "shift_x_err", "shift_y_err", "rmse", "rms_x", "rms_y", "n_matches"))
    publish_rows(lake, "wcs_solution", version, [*rows, bad | empty | {"message": HOSTILE}], tile="align.exp0")
