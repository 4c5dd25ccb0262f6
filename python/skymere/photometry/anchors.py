"""Sources that say where a band lies: which, and what each of them says."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.photometry.band import Band
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.external import ExternalModels
from skymere.photometry.models import Models
from skymere.photometry.params import PhotometryParams

__all__ = ["AnchorScene", "anchor_scene", "rank_anchors"]

# More S/N does not make a better anchor: what is left then is how well the model fits.
_ENOUGH_SNR = 100.0
# Models that reach into the circle of an anchor: so many full widths of the PSF around it.
_REACH_FWHM = 2.0
# Index of an elliptical galaxy: higher ones are not better.
_ELLIPTICAL = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class AnchorScene:
    """A circle around an anchor, with all models that reach into it."""

    band: Band
    models: Models
    psf: EffectivePsf
    external: ExternalModels
    params: PhotometryParams
    anchors: tuple[int, ...]


def anchor_scene(
    anchors: tuple[int, ...],
    models: Models,
    band: Band,
    psf: EffectivePsf,
    external: ExternalModels,
    params: PhotometryParams,
) -> AnchorScene:
    """Return the circle around the first of some anchors, with its models: those, and others that are near.

    Raises
    ------
    InvalidInputError
        When an anchor is not one of the models, or no pixel around the first one can be used.
    """
    rows = []
    for source_id in anchors:
        found = np.flatnonzero(models.source_id == source_id)
        if not found.size or models.message[int(found[0])]:
            msg = f"anchors: {source_id} is not allowed, it must be the source_id of a model that can be drawn"
            raise InvalidInputError(msg)
        rows.append(int(found[0]))
    x, y = band.grid.pixels(models.ra, models.dec)
    radius = params.shift.radius_arcsec / band.grid.scale_arcsec
    distance = np.hypot(x - x[rows[0]], y - y[rows[0]])
    near = set(np.flatnonzero(distance < radius + _REACH_FWHM * psf.fwhm_pix).tolist())
    chosen = np.array([*rows, *sorted(near - set(rows))], np.int64)
    (ny, nx), reach = band.shape, int(np.ceil(radius)) + 1
    # A place on the other side of the sky has no pixel: it is as far from the image as any.
    cx, cy = (round(float(p[rows[0]])) if np.isfinite(p[rows[0]]) else -2 * reach for p in (x, y))
    box = max(cy - reach, 0), min(cy + reach + 1, ny), max(cx - reach, 0), min(cx + reach + 1, nx)
    if box[0] >= box[1] or box[2] >= box[3]:
        msg = f"anchors: {anchors[0]} is not allowed, it must lie on the image; its pixel is x = {cx}, y = {cy}"
        raise InvalidInputError(msg)
    part = band.cut(*box)
    py, px = np.mgrid[box[0] : box[1], box[2] : box[3]]
    inside = np.hypot(px - x[rows[0]], py - y[rows[0]]) <= radius
    part = replace(part, weight=np.where(inside, part.weight, np.float32(0)))
    if not (part.weight > 0).any():
        msg = f"anchors: {anchors[0]} is not allowed, no pixel within {params.shift.radius_arcsec} arcsec can be used"
        raise InvalidInputError(msg)
    alone = replace(
        params,
        background_degree=0,
        block_rows=None,
        is_non_negative=False,
        shift=replace(params.shift, degree=0),
    )
    return AnchorScene(
        band=part,
        models=models.take(chosen),
        psf=psf.moved(box[0], box[2]),
        external=external,
        params=alone,
        anchors=anchors,
    )


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
    ellipticity, the index over 4, up to 1, and ``1 / (1 + r_eff / FWHM)``. Points (stars move, have spikes and
    saturate), external models, sources of less than ``min_snr`` and those with saturated or masked pixels within a
    full width of their place are none.
    """
    x, y = band.grid.pixels(models.ra, models.dec)
    fwhm = psf.fwhm_pix * band.grid.scale_arcsec
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.nan_to_num(flux / error)
    allowed = ~np.isin(models.kind, ("point", "external")) & (snr > params.shift.min_snr)
    allowed &= np.array([not text for text in models.message], bool)
    radius = params.shift.radius_arcsec / band.grid.scale_arcsec
    score = np.full(len(models), -np.inf)
    usable = (band.weight > 0) & ~band.saturated
    for i in np.flatnonzero(allowed):
        near = np.hypot(x - x[i], y - y[i]) < radius
        isolation = flux[i] / np.sum(np.abs(flux[near]))
        reach = int(np.ceil(psf.fwhm_pix))
        cy, cx = round(float(y[i])), round(float(x[i]))
        core = usable[max(cy - reach, 0) : cy + reach + 1, max(cx - reach, 0) : cx + reach + 1]
        if core.size < (2 * reach + 1) ** 2 or not core.all():
            continue
        r_eff, n, ellipticity, _ = models.shape[i]
        compact = 1 / (1 + r_eff / fwhm)
        score[i] = min(snr[i], _ENOUGH_SNR) * isolation * (1 - ellipticity) * min(n / _ELLIPTICAL, 1.0) * compact
    order = np.argsort(-score, kind="stable")
    return np.asarray(order[np.isfinite(score[order])], np.int64)
