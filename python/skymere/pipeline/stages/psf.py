"""psf: the PSF of every mosaic, drizzled as the mosaic was."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import StoredMosaic, Window, windows_of
from skymere.errors import SkymereError
from skymere.io import file_digest
from skymere.lake import Lake, Run, write_ragged
from skymere.pipeline.exposures import flagged_exposures
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import mosaic_rows, stored_mosaics, tiles_with_mosaics
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
    mosaics = stored_mosaics(lake, tile)
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
    plan: Plan, lake: Lake, tile: str, mosaic: StoredMosaic
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


def _positions(mosaic: StoredMosaic, n: int, margin: int) -> Iterator[tuple[float, float]]:
    """Return middles of pixels: n x n over the covered box, each the nearest one that is covered around."""
    box = _box_of(mosaic, margin) or _box_of(mosaic, None)
    if box is None:
        return
    (y0, y1), (x0, x1), among = box
    for part_y in (np.arange(n) + 0.5) / n:
        for part_x in (np.arange(n) + 0.5) / n:
            y, x = _nearest(mosaic, among, y0 + part_y * (y1 - y0), x0 + part_x * (x1 - x0))
            yield float(x), float(y)


def _inner(mosaic: StoredMosaic, window: Window, margin: int | None) -> NDArray[np.bool_]:
    """Return the pixels of a window that are covered, and, with a margin, those so far to all sides of them, too."""
    if margin is None:
        return np.asarray(mosaic.weight[window.slices]) > 0
    wide = window.widened(margin, mosaic.shape)
    covered = np.asarray(mosaic.weight[wide.slices]) > 0
    # Beyond the mosaic nothing is covered.
    beyond = [
        (max(margin - low, 0), max(high + margin - n, 0))
        for (low, high), n in zip((window.rows, window.columns), mosaic.shape, strict=True)
    ]
    padded = np.pad(covered, beyond)
    ny, nx = window.shape
    middle = padded[margin : margin + ny, margin : margin + nx]
    up, down = padded[2 * margin :, margin : margin + nx], padded[:ny, margin : margin + nx]
    right, left = padded[margin : margin + ny, 2 * margin :], padded[margin : margin + ny, :nx]
    return np.asarray(middle & up & down & right & left)


def _box_of(mosaic: StoredMosaic, margin: int | None) -> tuple[tuple[int, int], tuple[int, int], int | None] | None:
    """Return first and last row and column of the pixels of `_inner`; None when there is none."""
    low, high = np.array(mosaic.shape), np.array([-1, -1])
    for window in windows_of(mosaic.shape):
        inner = _inner(mosaic, window, margin)
        if inner.any():
            for axis, origin in enumerate(window.origin):
                along = np.flatnonzero(inner.any(axis=1 - axis)) + origin
                low[axis], high[axis] = min(low[axis], along[0]), max(high[axis], along[-1])
    if high[0] < 0:
        return None
    return (int(low[0]), int(high[0])), (int(low[1]), int(high[1])), margin


def _nearest(mosaic: StoredMosaic, margin: int | None, y: float, x: float) -> tuple[int, int]:
    """Return the pixel of `_inner` that is nearest to a place, of several the first one."""
    best = (np.inf, 0, 0)
    for window in windows_of(mosaic.shape):
        least = sum(
            max(low - at, at - (high - 1), 0.0) ** 2 for (low, high), at in ((window.rows, y), (window.columns, x))
        )
        if least > best[0]:
            continue
        rows, columns = np.nonzero(_inner(mosaic, window, margin))
        if len(rows):
            rows, columns = rows + window.rows[0], columns + window.columns[0]
            distance = (columns - x) ** 2 + (rows - y) ** 2
            k = int(np.argmin(distance))
            best = min(best, (float(distance[k]), int(rows[k]), int(columns[k])))
    return best[1], best[2]


def _drizzled(
    plan: Plan,
    lake: Lake,
    tile: str,
    mosaic: StoredMosaic,
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


def _described(plan: Plan, mosaic: StoredMosaic, psf: Psf | None, *, n_stars: int | None = None) -> dict[str, Any]:
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
