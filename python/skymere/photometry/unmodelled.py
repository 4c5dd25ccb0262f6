"""Light that no model has: found on the residual, and added as points."""

import numpy as np
from numpy.typing import NDArray

from skymere.photometry.band import Band
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.models import Models
from skymere.photometry.results import Shift
from skymere.segmentation import DetectParams, MeasureImage, MeasureParams, detect, measure

__all__ = ["with_unmodelled"]


def with_unmodelled(
    models: Models,
    band: Band,
    psf: EffectivePsf,
    residual: NDArray[np.float32],
    places: NDArray[np.float64],
    shift: Shift,
    threshold: float,
) -> Models:
    """Return models with a point for each detection on the residual that is no part of a source.

    Notes
    -----
    Within a full width of the PSF around a model's place the residual says more about the model than about another
    source: nothing is added there. New sources have numbers after the largest one.
    """
    good = band.weight > 0
    error = np.divide(1.0, np.sqrt(band.weight), out=np.full(band.shape, np.nan, np.float32), where=good)
    data = np.where(good, residual, np.float32(0))
    segmentation = detect(data, error=error, mask=~good, params=DetectParams(threshold=threshold))
    if segmentation.n_sources == 0:
        return models
    image = MeasureImage(data=data, error=error, mask=~good)
    table = measure(
        segmentation, {"band": image}, params=MeasureParams(aperture_diameters_pix=(), extended=False)
    ).table
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    known = places[np.isfinite(places).all(axis=1)]
    distance = np.hypot(x[:, None] - known[None, :, 0], y[:, None] - known[None, :, 1])
    new = np.isfinite(x) & np.isfinite(y) & (distance.min(axis=1, initial=np.inf) > psf.fwhm_pix)
    x, y = x[new], y[new]
    # Models lie where the band's sources would be without its shift.
    east, north = shift.at(x, y, band.shape).T / 3600.0
    ra, dec = band.grid.sky(x, y)
    dec = dec - north
    ra = ra - east / np.cos(np.deg2rad(dec))
    return Models(
        source_id=np.concatenate([models.source_id, models.source_id.max() + 1 + np.arange(x.size)]),
        ra=np.concatenate([models.ra, ra]),
        dec=np.concatenate([models.dec, dec]),
        kind=np.concatenate([models.kind, np.full(x.size, "point")]),
        shape=np.concatenate([models.shape, np.full((x.size, 4), np.nan)]),
        shape_error=np.concatenate([models.shape_error, np.full((x.size, 4), np.nan)]),
        message=[*models.message, *[""] * x.size],
    )
