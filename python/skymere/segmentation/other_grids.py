"""Photometry of the sources of a segmentation in a band of other pixels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere._rust import segmentation as _rust
from skymere.datamodels import SegmentationMap
from skymere.segmentation.on_grid import labels_on_grid, local_map
from skymere.segmentation.planes import Parts, SourceFlag
from skymere.wcs import Grid

__all__ = ["measure_other_grid"]


def measure_other_grid(
    segmentation: SegmentationMap, found: Mapping[str, Any], parts: Parts, grid: Grid, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the columns of a band whose pixels are not those of the segmentation.

    Parameters
    ----------
    segmentation : SegmentationMap
        With a grid.
    found : mapping of str to ndarray
        ``label, x, y, a, b, theta`` [rad] and ``kron_radius`` on the pixels of the segmentation.
    parts : Parts
        The band.
    grid : Grid
        Its pixels.
    params : mapping of str to object
        ``aperture_radii`` [pix of the segmentation] and the other parameters of the kernel `measure`.

    Returns
    -------
    dict of str to ndarray
        As the kernel `measure` has them for a band, without the fluxes of profiles and the noise of shapes. Segments
        that own no pixel here have NaN for ``flux_iso`` and ``peak``.
    """
    assert segmentation.grid is not None
    labels = labels_on_grid(segmentation, grid)
    there = local_map(found["x"], found["y"], segmentation.grid, grid)
    a, b, theta = there.ellipses(found["a"], found["b"], found["theta"])
    radius = found["kron_radius"]
    shapes = np.column_stack([there.x, there.y, a, b, theta, radius])
    columns = _isophotal(labels, found["label"], shapes, parts, params)
    apertures = {"flux_auto": (radius * a, radius * b, theta)}
    for k, r in enumerate(params["aperture_radii"], start=1):
        circle = r * there.scale
        apertures[f"flux_aper{k}"] = (circle, circle, np.zeros_like(circle))
    incomplete = np.zeros(len(shapes), bool)
    for name, axes in apertures.items():
        rows = np.column_stack([there.x, there.y, *axes])
        sums, missing = _sums(labels, found["label"], rows, parts, params["neighbours"])
        columns |= {name: sums[0], f"{name}_err": sums[1]}
        incomplete |= missing
    peak, flags = columns.pop("peak"), columns.pop("flags")
    flags[incomplete] |= SourceFlag.APERTURE_INCOMPLETE.value
    return {**columns, "peak": peak, "flags": flags}


def _sums(
    labels: NDArray[np.int32], owner: NDArray[np.int32], rows: NDArray[np.float64], parts: Parts, neighbours: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return fluxes and errors in apertures, and which of these miss a part."""
    sums, missing = np.full((2, len(rows)), np.nan), np.ones(len(rows), bool)
    known = np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)
    mine, owners = np.ascontiguousarray(rows[known]), np.ascontiguousarray(owner[known], np.int32)
    flux, error, _, _, lost = _rust.sum_apertures(parts, labels, mine, owners, neighbours=neighbours)
    sums[:, known] = np.stack([flux, error]) * parts.scale
    missing[known] = ~np.isfinite(flux) | (lost > 0)
    return sums, missing


def _isophotal(
    labels: NDArray[np.int32],
    owner: NDArray[np.int32],
    shapes: NDArray[np.float64],
    parts: Parts,
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """Return flux, error, peak and flags of the pixels of each segment."""
    n = len(owner)
    columns: dict[str, Any] = {name: np.full(n, np.nan) for name in ("flux_iso", "flux_iso_err", "peak")}
    columns["flags"] = np.zeros(n, np.int32)
    here = np.isin(owner, labels)
    if here.any():
        only = {**params, "aperture_radii": [], "is_extended": False}
        measured = _rust.measure(labels, parts, None, [parts], np.ascontiguousarray(shapes[here]), None, **only)[
            "bands"
        ][0]
        for name in ("flux_iso", "flux_iso_err", "peak"):
            columns[name][here] = measured[name]
        kept = (SourceFlag.BAD_PIXELS | SourceFlag.SATURATED).value
        columns["flags"][here] = measured["flags"].astype(np.int32) & kept
    return columns
