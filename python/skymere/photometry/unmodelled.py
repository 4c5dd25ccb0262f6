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
    What correlated noise adds to that of independent pixels is measured where models show next to nothing: elsewhere
    too bright a model leaves negative pixels, and a field full of bad fits would hide everything in it. Within a full
    width of the PSF around a model's place the residual says more about the model than about another source: nothing is
    added there. New sources have numbers after the largest one.
    """
    models, band = scene.models, scene.band
    good = band.weight > 0
    error = np.divide(1.0, np.sqrt(band.weight), out=np.full(band.shape, np.nan, np.float32), where=good)
    data = np.where(good, residual, np.float32(0))
    params = DetectParams(threshold=threshold, threshold_noise="filtered")
    factor = _noise_factor(band, solution, data, error, params)
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


def _noise_factor(
    band: Band, solution: Solution, data: NDArray[np.float32], error: NDArray[np.float32], params: DetectParams
) -> float:
    """Return the noise of the filtered residual over that of independent pixels, 1 at least or where few are blank."""
    model = solution.templates.model(np.abs(solution.flux), [], None, np.zeros(0), 0, band.shape[0])
    is_blank = (band.weight > 0) & (model * np.sqrt(band.weight) < _BLANK_SIGMA)
    if not is_blank.any():
        return 1.0
    found = filtered_noise(data, error=error, mask=~is_blank, kernel=params.kernel)
    return max(found, 1.0) if np.isfinite(found) else 1.0
