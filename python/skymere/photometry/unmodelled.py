"""Light that no model has: found on the residual, and added as points."""

import numpy as np
from numpy.typing import NDArray

from skymere.photometry.band import Band
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.models import Models, with_points
from skymere.photometry.near import Cells
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

    Parameters
    ----------
    models, band, psf, shift
        What was fitted.
    residual : ndarray, float32, shape (ny, nx)
        In units of the band.
    places : ndarray, float64, shape (n, 2)
        x, y of the sources that have a flux; NaN for others.
    threshold : float
        Of detections, in standard deviations.

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
    cells = Cells(places[:, 0], places[:, 1], psf.fwhm_pix)
    is_new = [not cells.within(px, py).size for px, py in zip(x.tolist(), y.tolist(), strict=True)]
    new = np.isfinite(x) & np.isfinite(y) & np.array(is_new, bool)
    x, y = x[new], y[new]
    # Models lie where the band's sources would be without its shift.
    east, north = shift.at(x, y, band.shape).T / 3600.0
    ra, dec = band.grid.sky(x, y)
    dec = dec - north
    ra = ra - east / np.cos(np.deg2rad(dec))
    return with_points(models, ra, dec)
