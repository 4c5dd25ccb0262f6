"""psf: the PSF of every mosaic, drizzled as the mosaic was."""

import hashlib
import json
import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skymere.datamodels import Mosaic
from skymere.errors import SkymereError
from skymere.io import file_digest
from skymere.lake import Lake, Run, write_ragged
from skymere.pipeline.exposures import flagged_exposures
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, mosaic_rows, tiles_with_mosaics
from skymere.pipeline.task import Stage, Task, as_params
from skymere.psf import GaussianPsf, MoffatPsf, Psf, PsfGrid, build_psf, drizzle_psf, read_psf, read_psf_grid

__all__ = ["STAGE"]

FLAGS = {"has_pixel": 1}
_KINDS = {"stars": "stars", "gaussian": "theory", "moffat": "theory", "grid": "theory", "image": "image"}


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with mosaics; none when the plan asks for no PSF."""
    if plan.psf.source == "none":
        return []
    return [
        Task(
            tile=tile,
            inputs=[lake.reference("mosaic", tile), *_files(plan, mosaic_rows(lake, tile)["band"].to_list())],
            params={"psf": as_params(plan.psf), "drizzle": as_params(plan.mosaic.drizzle)},
            work=partial(_work, plan, lake, tile),
        )
        for tile in tiles_with_mosaics(lake)
    ]


def _files(plan: Plan, bands: Iterable[str]) -> list[dict[str, str]]:
    """Return the files of PSFs of bands; a missing image of one band does not keep the others from theirs."""
    if plan.psf.source == "grid":
        paths = {plan.path(plan.psf.path)}
    elif plan.psf.source == "image":
        paths = {path for path in (_image(plan, band) for band in bands) if path.is_file()}
    else:
        return []
    return [{"uri": path.name, "sha256": file_digest(path)} for path in sorted(paths)]


def _image(plan: Plan, band: str) -> Path:
    return plan.path(plan.psf.path.replace("{band}", band))


def _work(plan: Plan, lake: Lake, tile: str, run: Run) -> None:
    rows: list[dict[str, Any]] = []
    stamps: list[Psf] = []
    mosaics = load_mosaics(lake, tile)
    run.count(n_pixels=len(mosaics) * math.prod(lake.tiles[tile].grid.shape))
    for mosaic in mosaics:
        try:
            n_stars = None
            if plan.psf.source == "image":
                found = [_given(plan, mosaic.band)]
            else:
                source, n_stars = _source(plan, lake, tile, mosaic)
                places = _positions(mosaic, plan.psf.n_positions, plan.psf.size_pix // 4)
                found = [_drizzled(plan, lake, tile, mosaic, source, x, y) for x, y in places]
        except SkymereError as error:
            run.warn(f"{mosaic.band}: {error}")
            rows.append(_described(plan, mosaic, None) | {"status": "failed", "message": str(error)})
            continue
        for psf in found:
            rows.append(_described(plan, mosaic, psf, n_stars=n_stars) | {"psf_row": len(stamps)})
            stamps.append(psf)
    for i, row in enumerate(rows):
        row["psf_id"] = f"{tile}-{row['band']}-{i}"
        row["product_id"] = f"{tile}-{row['band']}"
    if stamps:
        write_ragged(run, {"data": [psf.data for psf in stamps]})
    run.annotate("", {"flags": FLAGS})
    run.publish(run.frame(rows))


def _given(plan: Plan, band: str) -> Psf:
    p = plan.psf
    return read_psf(
        _image(plan, band),
        extension=p.extension.replace("{band}", band),
        oversampling=p.oversampling or None,
        has_pixel=p.has_pixel,
        limits=p.limits,
    )


def _source(
    plan: Plan, lake: Lake, tile: str, mosaic: Mosaic
) -> tuple[Psf | PsfGrid | GaussianPsf | MoffatPsf, int | None]:
    """Return the PSF of the exposures of a mosaic, and the stars that it was made of."""
    p = plan.psf
    if p.source == "gaussian":
        return GaussianPsf(fwhm_arcsec=p.fwhm_arcsec), None
    if p.source == "moffat":
        return MoffatPsf(fwhm_arcsec=p.fwhm_arcsec, beta=p.beta), None
    if p.source == "grid":
        return read_psf_grid(plan.path(p.path), mosaic.band), None
    psf, fit = build_psf(flagged_exposures(lake, tile, mosaic.band, mosaic.exposure_ids), params=p.build)
    return psf, fit.table.height


def _positions(mosaic: Mosaic, n: int, margin: int) -> Iterable[tuple[float, float]]:
    """Return middles of pixels: n x n over the covered box, each the nearest one that is covered around."""
    covered = mosaic.covered
    inner = covered.copy()
    inner[:margin], inner[-margin:], inner[:, :margin], inner[:, -margin:] = (False,) * 4
    for step in (-margin, margin):
        inner &= np.roll(covered, step, axis=0) & np.roll(covered, step, axis=1)
    y, x = np.nonzero(inner if inner.any() else covered)
    for part_y in (np.arange(n) + 0.5) / n:
        for part_x in (np.arange(n) + 0.5) / n:
            wanted_x = x.min() + part_x * (x.max() - x.min())
            wanted_y = y.min() + part_y * (y.max() - y.min())
            nearest = int(np.argmin((x - wanted_x) ** 2 + (y - wanted_y) ** 2))
            yield float(x[nearest]), float(y[nearest])


def _drizzled(
    plan: Plan,
    lake: Lake,
    tile: str,
    mosaic: Mosaic,
    source: Psf | PsfGrid | GaussianPsf | MoffatPsf,
    x: float,
    y: float,
) -> Psf:
    ra, dec = mosaic.grid.sky(np.array([x]), np.array([y]))
    return drizzle_psf(
        flagged_exposures(lake, tile, mosaic.band, mosaic.exposure_ids),
        mosaic.grid,
        float(ra[0]),
        float(dec[0]),
        source=source,
        size_pix=plan.psf.size_pix,
        params=plan.mosaic.drizzle,
        weight=mosaic.weight_kind,
        ignore=plan.outliers.ignore_dq,
        use_masks=False,
    )


def _described(plan: Plan, mosaic: Mosaic, psf: Psf | None, *, n_stars: int | None = None) -> dict[str, Any]:
    has_pixel = psf is None or psf.has_pixel
    about = {"psf": as_params(plan.psf), "from": _KINDS[plan.psf.source], "psf_has_pixel": has_pixel}
    if psf is not None and psf.position is None:
        about["source_at"] = [psf.x, psf.y]
    geometry = json.dumps([mosaic.grid.cards(), list(mosaic.shape)], sort_keys=True)
    row: dict[str, Any] = {
        "product": "mosaic",
        "band": mosaic.band,
        "kind": "image" if plan.psf.source == "image" else "drizzled",
        "status": "ok",
        "oversampling": 1.0,
        "pixel_scale_arcsec": mosaic.grid.scale_arcsec,
        "ny": 0,
        "nx": 0,
        "geometry_sha256": hashlib.sha256(geometry.encode()).hexdigest(),
        "params": json.dumps(about, sort_keys=True),
        "flags": FLAGS["has_pixel"] if has_pixel else 0,
        "n_stars": n_stars,
    }
    if psf is None:
        return row
    shape = psf.measure()
    scale = mosaic.grid.scale_arcsec / psf.oversampling
    row |= {
        "oversampling": psf.oversampling,
        "pixel_scale_arcsec": scale,
        "ny": psf.shape[0],
        "nx": psf.shape[1],
        "sum": float(psf.data.sum(dtype=float)),
        "x_centroid": shape.x,
        "y_centroid": shape.y,
        "fwhm": shape.fwhm * scale,
        "ellipticity": shape.ellipticity,
        "enclosed": psf.enclosed,
    }
    if psf.position is None:
        return row
    x0, y0 = psf.position
    ra, dec = mosaic.grid.sky(np.array([x0 + psf.x]), np.array([y0 + psf.y]))
    window = mosaic.grid.cutout(int(y0), int(x0), psf.shape)
    return row | {
        "x": x0 + psf.x,
        "y": y0 + psf.y,
        "ra": float(ra[0]),
        "dec": float(dec[0]),
        "wcs": json.dumps(window.cards(), sort_keys=True),
    }


STAGE = Stage(name="psf", reads=("exposure", "wcs_solution", "mask", "mosaic"), writes=("psf",), tasks=tasks)
