"""Sources that say where a band lies: which, and what each of them says."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.photometry.band import Band
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.models import Models
from skymere.photometry.near import Cells
from skymere.photometry.params import PhotometryParams
from skymere.photometry.system import Scene, scene_of

__all__ = ["AnchorScene", "anchor_scene", "rank_anchors"]

# More S/N does not make a better anchor: what is left then is how well the model fits.
_ENOUGH_SNR = 100.0
# Index of an elliptical galaxy: higher ones are not better.
_ELLIPTICAL = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class AnchorScene:
    """A circle around an anchor, with all models whose templates reach into it, the anchors first."""

    scene: Scene
    anchors: tuple[int, ...]
    window: tuple[int, int, int, int]
    """First row, row after the last one, first column and column after the last one."""


def anchor_scene(anchors: tuple[int, ...], whole: Scene, shift: NDArray[np.float64]) -> AnchorScene:
    """Return the circle around the first of some anchors, with its models: those, and others that reach into it.

    Parameters
    ----------
    anchors : tuple of int
        ``source_id``.
    whole : Scene
        The band.
    shift : ndarray, float64, shape (n, 2)
        Of the models, to the east and north [arcsec].

    Raises
    ------
    InvalidInputError
        When an anchor is not one of the models, or no pixel around the first one can be used.
    """
    models, band, params = whole.models, whole.band, whole.params
    rows = []
    for source_id in anchors:
        found = np.flatnonzero(models.source_id == source_id)
        if not found.size or models.message[int(found[0])]:
            msg = f"anchors: {source_id} is not allowed, it must be the source_id of a model that can be drawn"
            raise InvalidInputError(msg)
        rows.append(int(found[0]))
    x, y = (float(p[0]) for p in band.grid.pixels(models.ra[rows[:1]], models.dec[rows[:1]]))
    radius = params.shift.radius_arcsec / band.grid.scale_arcsec
    (ny, nx), reach = band.shape, int(np.ceil(radius)) + 1
    # A place on the other side of the sky has no pixel: it is as far from the image as any.
    cx, cy = (round(p) if np.isfinite(p) else -2 * reach for p in (x, y))
    box = max(cy - reach, 0), min(cy + reach + 1, ny), max(cx - reach, 0), min(cx + reach + 1, nx)
    if box[0] >= box[1] or box[2] >= box[3]:
        msg = f"anchors: {anchors[0]} is not allowed, it must lie on the image; its pixel is x = {cx}, y = {cy}"
        raise InvalidInputError(msg)
    part = band.cut(*box)
    py, px = np.mgrid[box[0] : box[1], box[2] : box[3]]
    part = replace(part, weight=np.where(np.hypot(px - x, py - y) <= radius, part.weight, np.float32(0)))
    if not (part.weight > 0).any():
        msg = f"anchors: {anchors[0]} is not allowed, no pixel within {params.shift.radius_arcsec} arcsec can be used"
        raise InvalidInputError(msg)
    near = set(_reaching(whole, shift, x, y, radius).tolist())
    chosen = np.array([*rows, *sorted(near - set(rows))], np.int64)
    alone = replace(
        params,
        background_degree=0,
        block_rows=None,
        is_non_negative=False,
        shift=replace(params.shift, degree=0),
    )
    scene = scene_of(models.take(chosen), part, whole.psf.moved(box[0], box[2]), whole.external, alone)
    return AnchorScene(scene=scene, anchors=anchors, window=box)


def _reaching(whole: Scene, shift: NDArray[np.float64], x: float, y: float, radius: float) -> NDArray[np.int64]:
    """Return the models whose templates overlap a circle."""
    windows = np.array(whole.drawer.windows(whole.rows(shift)), np.int64).reshape(-1, 4)
    owners = whole.models.parts.owner
    made = whole.external.stamps(whole.models, whole.band, whole.psf, whole.params, shift)
    if made.given:
        windows = np.concatenate([windows, np.array(made.windows, np.int64)])
        owners = np.concatenate([owners, np.array(made.given, np.int64)])
    y0, x0, ny, nx = windows.T
    beside = [
        np.maximum(np.maximum(first - middle, middle - (first + n - 1)), 0.0)
        for first, n, middle in ((x0, nx, x), (y0, ny, y))
    ]
    return np.unique(owners[(ny > 0) & (np.hypot(*beside) <= radius)])


def rank_anchors(
    models: Models,
    flux: NDArray[np.float64],
    error: NDArray[np.float64],
    band: Band,
    psf: EffectivePsf,
    params: PhotometryParams,
) -> NDArray[np.int64]:
    """Return the rows of sources that may be anchors, the best first.

    Notes
    -----
    The score is the product of the S/N, up to 100, the part that the source has of all light within the radius, 1 -
    ellipticity, the index (1 for a Moffat profile) over 4, up to 1, and ``1 / (1 + r_eff / FWHM)``. Points (stars move,
    have spikes and saturate), external models, sources of less than ``min_snr`` and those with saturated or masked
    pixels within a full width of their place are none.
    """
    x, y = band.grid.pixels(models.ra, models.dec)
    fwhm = psf.fwhm_pix * band.grid.scale_arcsec
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.nan_to_num(flux / error)
    allowed = ~np.isin(models.kind, ("point", "external")) & (snr > params.shift.min_snr) & models.is_drawn
    radius = params.shift.radius_arcsec / band.grid.scale_arcsec
    score = np.full(len(models), -np.inf)
    cells = Cells(x, y, radius)
    shape = models.shape
    usable = (band.weight > 0) & ~band.saturated
    for i in np.flatnonzero(allowed):
        isolation = flux[i] / np.sum(np.abs(flux[cells.within(float(x[i]), float(y[i]))]))
        reach = int(np.ceil(psf.fwhm_pix))
        cy, cx = round(float(y[i])), round(float(x[i]))
        core = usable[max(cy - reach, 0) : cy + reach + 1, max(cx - reach, 0) : cx + reach + 1]
        if core.size < (2 * reach + 1) ** 2 or not core.all():
            continue
        r_eff, n, ellipticity, _ = shape[i]
        if models.kind[i] == "moffat":
            n = 1.0
        compact = 1 / (1 + r_eff / fwhm)
        score[i] = min(snr[i], _ENOUGH_SNR) * isolation * (1 - ellipticity) * min(n / _ELLIPTICAL, 1.0) * compact
    order = np.argsort(-score, kind="stable")
    return np.asarray(order[np.isfinite(score[order])], np.int64)
