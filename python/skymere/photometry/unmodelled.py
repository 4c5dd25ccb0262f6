"""Light that no model has: found on the residual, and added as points."""

import numpy as np
from numpy.typing import NDArray

from skymere.photometry.band import Band
from skymere.photometry.models import Models, with_points
from skymere.photometry.near import Cells
from skymere.photometry.results import Shift
from skymere.photometry.system import Scene, Solution
from skymere.segmentation import DetectParams, MeasureImage, MeasureParams, detect, filtered_noise, measure

__all__ = ["with_unmodelled"]

# Where models show less than this part of a pixel's error the residual is noise, whatever the models are worth.
_BLANK_SIGMA = 1.0
# Fewer blank pixels do not say what the level of the sky is.
_LEAST_BLANK = 256


def with_unmodelled(
    scene: Scene,
    solution: Solution,
    residual: NDArray[np.float32],
    places: NDArray[np.float64],
    shift: Shift,
    threshold: float,
) -> Models:
    """Return models with a point for each detection on the residual that is no part of a source.

    Parameters
    ----------
    scene, solution, shift
        What was fitted.
    residual : ndarray, float32, shape (ny, nx)
        In units of the band.
    places : ndarray, float64, shape (n, 2)
        x, y of the sources that have a flux; NaN for others.
    threshold : float
        Of detections, in standard deviations of the filtered noise.

    Notes
    -----
    The level of the sky, and what correlated noise adds to that of independent pixels, are those where models show next
    to nothing: elsewhere too bright a model leaves negative pixels, and a field full of bad fits would hide everything
    in it. Within a full width of the PSF around a model's place the residual says more about the model than about
    another source: nothing is added there. New sources have numbers after the largest one.
    """
    models, band = scene.models, scene.band
    good = band.weight > 0
    error = np.divide(1.0, np.sqrt(band.weight), out=np.full(band.shape, np.nan, np.float32), where=good)
    is_blank = _blank(band, solution)
    # Light that is missing has made the sky too bright.
    level = np.float32(np.median(residual[is_blank])) if is_blank.sum() >= _LEAST_BLANK else np.float32(0)
    data = np.where(good, residual - level, np.float32(0))
    params = DetectParams(threshold=threshold, threshold_noise="filtered")
    noise = filtered_noise(data, error=error, mask=~is_blank, kernel=params.kernel) if is_blank.any() else np.nan
    factor = max(noise, 1.0) if np.isfinite(noise) else 1.0
    segmentation = detect(data, error=error * np.float32(factor), mask=~good, params=params)
    if segmentation.n_sources == 0:
        return models
    image = MeasureImage(data=data, error=error, mask=~good)
    table = measure(
        segmentation, {"band": image}, params=MeasureParams(aperture_diameters_pix=(), extended=False)
    ).table
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    cells = Cells(places[:, 0], places[:, 1], scene.psf.fwhm_pix)
    is_new = [not cells.within(px, py).size for px, py in zip(x.tolist(), y.tolist(), strict=True)]
    new = np.isfinite(x) & np.isfinite(y) & np.array(is_new, bool)
    x, y = x[new], y[new]
    # Models lie where the band's sources would be without its shift.
    east, north = shift.at(x, y, band.shape).T / 3600.0
    ra, dec = band.grid.sky(x, y)
    dec = dec - north
    ra = ra - east / np.cos(np.deg2rad(dec))
    return with_points(models, ra, dec)


def _blank(band: Band, solution: Solution) -> NDArray[np.bool_]:
    """Return pixels where models show next to nothing."""
    model = solution.templates.model(np.abs(solution.flux), [], None, np.zeros(0), 0, band.shape[0])
    return np.asarray((band.weight > 0) & (model * np.sqrt(band.weight) < _BLANK_SIGMA))
