"""Edits of profiles by people, replayed on the fit of a tile."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError
from skymere.profiles import Component, RefitEdit, SceneFit, choose, refit
from skymere.psf import Psf, PsfGrid
from skymere.regions import mask_from_regions, parse_regions
from skymere.wcs import map_ellipses, pixel_jacobian

__all__ = ["apply_edit", "mask_of_edit"]

# Parameters on the sky, and what the fit calls them.
_NAMES = {"r_eff": "r_eff_pix", "pa_sky": "pa", "moffat_beta": "beta"}


def apply_edit(
    fit: SceneFit,
    edit: Mapping[str, Any],
    *,
    mosaic: Mosaic,
    data: NDArray[np.float32],
    error: NDArray[np.float32],
    labels: NDArray[np.int32],
    label_of: Mapping[int, int],
    psf: Psf | PsfGrid,
) -> SceneFit:
    """Return a fit after one more edit.

    Parameters
    ----------
    fit : SceneFit
        The attempts before.
    edit : mapping
        A row of ``profile_edit``.
    mosaic : Mosaic
        The image that is fitted.
    data, error : ndarray, float32, shape (ny, nx)
        Its pixels without the background, and their errors.
    labels : ndarray, int32, shape (ny, nx)
        The segments.
    label_of : mapping of int to int
        Labels of the sources of today.
    psf : Psf or PsfGrid
        Its PSF.

    Raises
    ------
    InvalidInputError
        When the source, a neighbour or an attempt is not there, or a value is not allowed.
    """
    label = _label(label_of, edit["source_id"])
    if edit["action"] == "choose":
        return choose(fit, label, edit["from_attempt"])
    words = _in_pixels(edit, mosaic, fit, label)
    parts = json.loads(edit["components"]) if edit["components"] else None
    asked = RefitEdit(
        label=label,
        kind=edit["kind"] or None,
        start=words["start"] or None,
        bounds=words["bounds"] or None,
        fixed=words["fixed"] or None,
        components=None if parts is None else [_component(one, mosaic, fit, label) for one in parts],
        neighbours=[_label(label_of, one) for one in json.loads(edit["neighbours"])] if edit["neighbours"] else None,
        mask=mask_of_edit(edit, mosaic),
        attempt=edit["from_attempt"],
    )
    return refit(fit, data, error, labels=labels, psf=psf, edits=[asked])


def mask_of_edit(edit: Mapping[str, Any], mosaic: Mosaic) -> NDArray[np.bool_] | None:
    """Return the pixels that an edit masks; None when it masks none.

    Parameters
    ----------
    edit : mapping
        A row of ``profile_edit``.
    mosaic : Mosaic
        The image.
    """
    if not edit["mask_regions"]:
        return None
    return mask_from_regions(parse_regions(edit["mask_regions"], name=f"edit {edit['edit_id']}"), mosaic.grid).mask


def _label(label_of: Mapping[int, int], source_id: int) -> int:
    if source_id not in label_of:
        msg = f"source_id: {source_id} is not a source of the tile today"
        raise InvalidInputError(msg)
    return label_of[source_id]


def _component(one: Mapping[str, Any], mosaic: Mosaic, fit: SceneFit, label: int) -> Component:
    given = {name: json.dumps(one.get(name, default)) for name, default in _BLANK.items()}
    words = _in_pixels(given, mosaic, fit, label)
    return Component(kind=one.get("kind", "sersic"), centre_of=one.get("centre_of"), **words)


_BLANK: dict[str, Any] = {"start": {}, "bounds": {}, "fixed": []}


def _in_pixels(edit: Mapping[str, Any], mosaic: Mosaic, fit: SceneFit, label: int) -> dict[str, Any]:
    """Return start values, bounds and fixed parameters of the sky on the pixels, and in the unit, of the image."""
    start, bounds, fixed = (json.loads(edit[name]) for name in ("start", "bounds", "fixed"))
    best = fit.table.filter(pl.col("label") == label, pl.col("is_best")).row(0, named=True)
    x, y = (
        best[name] if np.isfinite(best[name]) else float(np.mean(np.nonzero(fit.labels == label)[axis]))
        for name, axis in (("x", 1), ("y", 0))
    )
    ra, dec = mosaic.grid.sky(np.array([x]), np.array([y]))
    if ("ra" in start) != ("dec" in start):
        msg = "start: ra and dec are not allowed alone, both say where the centre is"
        raise InvalidInputError(msg)
    if "ra" in start:
        px, py = mosaic.grid.pixels(np.array([start.pop("ra")]), np.array([start.pop("dec")]))
        start |= {"x": float(px[0]), "y": float(py[0])}
    local = pixel_jacobian(mosaic.grid, ra, dec)
    scale = float(np.sqrt(np.abs(np.linalg.det(local[0]))))
    # A needle to the north says how angles turn.
    _, _, turned = map_ellipses(local, np.ones(1), np.full(1, 0.5), np.full(1, np.pi / 2))
    turn = float(np.rad2deg(turned[0])) - 90.0
    handed = -1.0 if np.linalg.det(local[0]) > 0 else 1.0

    def value(name: str, given: float) -> float:
        if name == "flux":
            return given / mosaic.microjansky_per_unit
        if name == "r_eff":
            return given * scale
        return (handed * given + turn + 90.0) % 180.0 - 90.0 if name == "pa_sky" else given

    def pair(name: str, given: tuple[float, float]) -> tuple[float, float]:
        low, high = value(name, given[0]), value(name, given[1])
        if name != "pa_sky":
            return low, high
        low, high = (high, low) if handed < 0 else (low, high)
        return (low, high) if low <= high else (low - 180.0, high)

    return {
        "start": {_NAMES.get(name, name): value(name, one) for name, one in start.items()},
        "bounds": {_NAMES.get(name, name): pair(name, tuple(one)) for name, one in bounds.items()},
        "fixed": [_NAMES.get(name, name) for name in fixed],
    }
