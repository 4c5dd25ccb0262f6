"""Step 7: flagged exposures of one band to one mosaic."""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from skymere.datamodels import Exposure, Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.resample import DrizzleParams, Drizzler, noise_correlation
from skymere.wcs import Grid, pixel_map

__all__ = ["combine_exposures"]


def combine_exposures(
    exposures: Iterable[Exposure],
    grid: Grid,
    *,
    params: DrizzleParams | None = None,
    ignore_dq: Iterable[str] = (),
) -> Mosaic:
    """Drizzle exposures of one band to a grid, one at a time, weighted by exposure time.

    Parameters
    ----------
    exposures : iterable of Exposure
        With ``sky`` and flags; a generator keeps only one of them in memory.
    grid : Grid
        Where to.
    params : DrizzleParams, optional
        Kernel and pixfrac.
    ignore_dq : iterable of str, optional
        DQ bits that count as good.

    Returns
    -------
    Mosaic
        Sky subtracted, in electron / s per grid pixel.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or bands, units or zero points are mixed.
    NoDataError
        When no exposure has a good pixel on the grid.

    Notes
    -----
    Values are scaled by (grid scale / native scale)^2, so that point sources keep their flux in flat-fielded images
    whose pixels differ in area. Weights are exposure times; the variance is that of ``error``, sources included.
    """
    p = params or DrizzleParams()
    ignored = tuple(ignore_dq)
    drizzler = Drizzler(grid.shape, params=p)
    first: Exposure | None = None
    exposure_ids: list[str] = []
    ratio = float("nan")
    for exposure in exposures:
        first = first or exposure
        if not _fits(first, exposure):
            described = [f"{e.exposure_id} ({e.band}, {e.unit}, AB {e.zero_point_ab})" for e in (exposure, first)]
            msg = f"exposures: {described[0]} does not combine with {described[1]}"
            raise InvalidInputError(msg)
        good = ~exposure.mask(ignore=ignored)
        ratio = grid.scale_arcsec / exposure.native_scale_arcsec
        drizzler.add(
            exposure.data - np.float32(exposure.sky),
            pixel_map(exposure.wcs, grid.wcs, exposure.shape),
            weight=good.astype(np.float32) * np.float32(exposure.exptime),
            variance=exposure.variance,
            value_scale=ratio**2,
            pixel_scale_ratio=ratio,
        )
        exposure_ids.append(exposure.exposure_id)
    if first is None:
        msg = "exposures: at least one is needed"
        raise InvalidInputError(msg)
    result = drizzler.finish()
    if not (result.weight > 0).any():
        msg = f"exposures: none of {exposure_ids} has a good pixel on the grid of shape {grid.shape}"
        raise NoDataError(msg)
    return Mosaic(
        band=first.band,
        grid=grid,
        data=result.data,
        weight=result.weight,
        variance=result.variance,
        context=result.context,
        exposure_ids=tuple(exposure_ids),
        unit=first.unit,
        zero_point_ab=first.zero_point_ab,
        weight_kind="exposure_time",
        noise_correlation=noise_correlation(p.pixfrac, ratio),
        params=asdict(p) | {"weight": "exptime", "ignore_dq": list(ignored)},
    )


def _fits(first: Exposure, other: Exposure) -> bool:
    same_zero_point = np.isclose(first.zero_point_ab, other.zero_point_ab, rtol=0.0, atol=1e-3, equal_nan=True)
    return first.band == other.band and first.unit == other.unit and bool(same_zero_point)
