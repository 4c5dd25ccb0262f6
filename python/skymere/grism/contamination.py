"""Whole frames: all orders of all sources."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_floats, as_image
from skymere._rust import grism as _grism
from skymere.datamodels import ANGSTROM, GrismConfig
from skymere.errors import InvalidInputError
from skymere.grism.params import ContaminationParams

__all__ = ["contamination_model", "frame_sources"]

# Segments that reach no more than this into the frame's rows from above or below are left out.
_BORDER = 5
_EDGE = 2
_LEAST_SIZE = 4


def contamination_model(
    direct: ArrayLike,
    segmentation: ArrayLike,
    catalog: pl.DataFrame,
    config: GrismConfig,
    *,
    photflam: float,
    pad: tuple[int, int] = (64, 256),
    spectra: Mapping[int, tuple[ArrayLike, ArrayLike]] | None = None,
    params: ContaminationParams | None = None,
) -> NDArray[np.float32]:
    """Return what a grism makes of a frame: all orders of all sources.

    Parameters
    ----------
    direct : array_like, float32, shape (ny, nx) [e/s]
        The frame without grism, on the grid of the grism exposure.
    segmentation : array_like, int32, shape (ny, nx)
        Labels of the sources.
    catalog : DataFrame
        Columns ``id``, each once, and ``mag`` (AB, which orders are drawn depends on it: all without one), and perhaps
        ``x`` and ``y`` (0-based, without the pad [pix]), the places of the sources; else these are the centroids of
        the segments, as for a source whose place is missing or NaN.
    config : GrismConfig
        The grism.
    photflam : float [erg/s/cm2/A per e/s]
        Of the direct frame.
    pad : tuple of int, optional
        Rows and columns by which the frame is padded on every side.
    spectra : mapping of int to (array_like, array_like), optional
        Wavelengths [um] and flux densities of the whole source [erg/s/cm2/A] by id; others have the flux of the direct
        image at all wavelengths.
    params : ContaminationParams, optional
        The operator, sizes, and which orders.

    Returns
    -------
    ndarray, float32, shape (ny, nx) [e/s]
        The frame; as `direct` without pad, or with it when ``params.is_padded``.

    Raises
    ------
    InvalidInputError
        When shapes differ, a column is missing, an id is there twice or missing, or an order is unknown.

    Notes
    -----
    Sources are drawn in parallel and added in the order of the catalogue, so that results do not depend on the number
    of threads. A source without light in its segment, or whose segment touches the edge of the padded frame, is not
    drawn.
    """
    params = ContaminationParams() if params is None else params
    image = as_image(direct, "direct")
    labels = np.asarray(
        as_array(segmentation, "segmentation", np.int32, shape=(image.shape[0], image.shape[1])), np.int32
    )
    for name in ("id", "mag"):
        if name not in catalog.columns:
            msg = f"catalog: column {name!r} is missing, it has {catalog.columns}"
            raise InvalidInputError(msg)
    if not (photflam > 0 and np.isfinite(photflam)):
        msg = f"photflam: {photflam} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    unknown = set(params.orders) - set(config.orders)
    if unknown:
        msg = f"orders: {sorted(unknown)} are not allowed, {config.name} has {sorted(config.orders)}"
        raise InvalidInputError(msg)
    image = image * np.float32(photflam)
    if not params.is_padded:
        around = ((pad[0], pad[0]), (pad[1], pad[1]))
        image, labels = np.pad(image, around), np.pad(labels, around)
    names = [name for name in config.orders if not params.orders or name in params.orders]
    sources = frame_sources(image, labels, catalog, config, names, pad=pad, spectra=spectra or {}, params=params)
    compiled = [config.orders[name].compiled for name in names]
    frame = _grism.render_frame(image, labels, compiled, sources, params.operator).astype(np.float32)
    if params.is_padded:
        return np.asarray(frame, np.float32)
    ny, nx = frame.shape
    return np.ascontiguousarray(frame[pad[0] : ny - pad[0], pad[1] : nx - pad[1]])


def frame_sources(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    catalog: pl.DataFrame,
    config: GrismConfig,
    names: list[str],
    *,
    pad: tuple[int, int],
    spectra: Mapping[int, tuple[ArrayLike, ArrayLike]],
    params: ContaminationParams,
) -> list[dict[str, Any]]:
    """Return every source that is drawn as the kernel takes it, in the order of the catalogue."""
    bad = catalog.filter(pl.col("id").is_duplicated() | pl.col("id").is_null())["id"].unique(maintain_order=True)
    if len(bad):
        msg = f"catalog: the ids {bad.to_list()[:5]} are not allowed, each source must have one of its own"
        raise InvalidInputError(msg)
    has_place = {"x", "y"} <= set(catalog.columns)
    segments = _segments(image, labels)
    out = []
    for row in catalog.iter_rows(named=True):
        segment = segments.get(int(row["id"]))
        if segment is None:
            continue
        (y0, y1, x0, x1), (x, y), total = segment
        ny, nx = image.shape
        if y1 < pad[0] - _BORDER or y0 > ny - pad[0] + _BORDER or y0 == 0 or x0 == 0 or y1 == ny - 1 or x1 == nx - 1:
            continue
        if has_place and _is_finite(row["x"]) and _is_finite(row["y"]):
            x, y = row["x"] + pad[1], row["y"] + pad[0]
        size = max(int(np.ceil(max(x - x0, x1 - x, y - y0, y1 - y))) + params.margin, params.min_size)
        size = min(size, params.max_size) if params.max_size else size
        column, line = round(x) + 1, round(y) + 1
        size = min(size, int(x) - _EDGE, int(y) - _EDGE, nx - column, ny - line)
        if size < _LEAST_SIZE:
            continue
        place = {
            "x": x + 1 - pad[1],
            "y": y + 1 - pad[0],
            "wheel": params.fwcpos,
            "x_shift": 0.0,
            "y_shift": 0.0,
        }
        # A source without a magnitude is taken for a bright one: all of its orders are drawn.
        mag = row["mag"] if _is_finite(row["mag"]) else -np.inf
        drawn = [config.orders[name].x_shift if mag <= config.orders[name].faintest_mag else None for name in names]
        spectrum = None
        if int(row["id"]) in spectra:
            wave, flux = (as_floats(part, "spectra", shape=(None,)) for part in spectra[int(row["id"])])
            spectrum = ((wave / ANGSTROM, flux), 1.0 / total)
        out.append(
            {
                "label": int(row["id"]),
                "window": [line - size, column - size, 2 * size],
                "place": place,
                "orders": drawn,
                "spectrum": spectrum,
            }
        )
    return out


def _is_finite(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


_Segment = tuple[tuple[int, int, int, int], tuple[float, float], float]


def _segments(image: NDArray[np.float32], labels: NDArray[np.int32]) -> dict[int, _Segment]:
    """Return the limits (first and last row and column), the centroid and the light of every segment that has any."""
    y, x = np.nonzero(labels)
    mine = labels[y, x]
    ids, index = np.unique(mine, return_inverse=True)
    n = ids.size
    light = image[y, x].astype(np.float64)
    positive = np.maximum(light, 0.0)
    sums = np.bincount(index, positive, minlength=n)
    total = np.bincount(index, light, minlength=n)
    limits = [np.full(n, 2**31), np.full(n, -1), np.full(n, 2**31), np.full(n, -1)]
    for ufunc, out, values in zip((np.minimum, np.maximum, np.minimum, np.maximum), limits, (y, y, x, x), strict=True):
        ufunc.at(out, index, values)
    good = (sums > 0) & (total != 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        cx = np.bincount(index, positive * x, minlength=n) / sums
        cy = np.bincount(index, positive * y, minlength=n) / sums
    return {
        int(ids[i]): (
            (int(limits[0][i]), int(limits[1][i]), int(limits[2][i]), int(limits[3][i])),
            (float(cx[i]), float(cy[i])),
            float(total[i]),
        )
        for i in np.flatnonzero(good)
    }
