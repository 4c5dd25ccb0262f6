"""Exposures of one band drizzled to one mosaic."""

from collections.abc import Iterable
from dataclasses import asdict, replace

import numpy as np

from skymere.datamodels import Exposure, Mosaic, WeightKind
from skymere.errors import InvalidInputError
from skymere.resample.covariance import NoiseParams, predict_noise
from skymere.resample.drizzle import DrizzleParams, Drizzler
from skymere.resample.inputs import RATE, drizzle_input
from skymere.resample.reading import noise_correlation
from skymere.resample.sky_noise import measure_noise
from skymere.resample.weights import check_weight_kind
from skymere.wcs import Grid

__all__ = ["drizzle"]

_COUNTS = "electron"


def drizzle(
    exposures: Iterable[Exposure],
    grid: Grid,
    *,
    params: DrizzleParams | None = None,
    weight: WeightKind = "exposure_time",
    ignore: Iterable[str] = (),
    noise: NoiseParams | None = None,
) -> Mosaic:
    """Drizzle exposures of one band to a mosaic of rates.

    Parameters
    ----------
    exposures : iterable of Exposure
        All of one band and one kind of unit, taken one at a time; their ``sky`` is subtracted.
    grid : Grid
        The output.
    params : DrizzleParams, optional
        Kernel, pixfrac and fill value.
    weight : str, optional
        ``exposure_time``, ``inverse_variance`` of the background, or ``inverse_variance_with_sources``: EXP, IVM and
        ERR of AstroDrizzle.
    ignore : iterable of str, optional
        Names of DQ bits that count as good; all others mask.
    noise : NoiseParams, optional
        With it the mosaic has its noise covariance. It needs more passes, so ``exposures`` must be a list or another
        iterable that begins anew.

    Returns
    -------
    Mosaic
        Rates [electron / s], weights in seconds or (electron / s)^-2, variance of each pixel from the exposures'
        errors.

    Raises
    ------
    InvalidInputError
        When there is no exposure, they differ in band, unit or zero point, there is no such weight, or the exposures
        can be gone through only once but ``noise`` is given.

    Notes
    -----
    Inverse variances are those of the background, or with the sources' own noise, which gives bright cores little
    weight and so broadens stars; `skymere.datamodels.Mosaic.weight_kind` says which. Values are multiplied by the
    squared ratio of the grid's to the exposure's nominal scale (measured from the pixel map where the exposure has
    none), so that fluxes are conserved.

    References
    ----------
    .. [1] Fruchter & Hook 2002, PASP 114, 144.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.datamodels import Exposure
    >>> from skymere.resample import drizzle
    >>> from skymere.wcs import Grid
    >>> detector = Grid.tangent(150.0, 2.0, shape=(40, 40), scale_arcsec=0.12)
    >>> flat, good = np.ones(detector.shape, np.float32), np.zeros(detector.shape, np.uint32)
    >>> exposure = Exposure(
    ...     exposure_id="a", data=flat, error=flat, dq=good, wcs=detector.wcs, exptime=100.0, band="f140w"
    ... )
    >>> mosaic = drizzle([exposure], Grid.tangent(150.0, 2.0, shape=(90, 90), scale_arcsec=0.06))
    >>> round(float(mosaic.weight.sum(dtype=float)) / 100.0), round(float(np.nansum(mosaic.data)))
    (1600, 1600)
    """
    params = DrizzleParams() if params is None else params
    check_weight_kind(weight)
    ignore = tuple(ignore)
    if noise is not None and iter(exposures) is exposures:
        msg = "exposures: an iterator is not allowed with noise, it must be a list or another iterable that begins anew"
        raise InvalidInputError(msg)
    drizzler = Drizzler(grid.shape, params=params)
    first: Exposure | None = None
    ids: list[str] = []
    ratios: list[float] = []
    for exposure in exposures:
        first = exposure if first is None else first
        _check_alike(exposure, first)
        given = drizzle_input(exposure, grid, weight=weight, ignore=ignore)
        drizzler.add(**vars(given))
        ids.append(exposure.exposure_id)
        ratios.append(given.pixel_scale_ratio)
    if first is None:
        msg = "exposures: at least one exposure is needed"
        raise InvalidInputError(msg)
    image = drizzler.finish()
    mosaic = Mosaic(
        band=first.band,
        grid=grid,
        data=image.data,
        weight=image.weight,
        variance=image.variance if image.variance is not None else np.full_like(image.data, np.nan),
        context=image.context,
        exposure_ids=tuple(ids),
        unit=RATE,
        zero_point_ab=_rate_zero_point(first),
        weight_kind=weight,
        noise_correlation=noise_correlation(params.pixfrac, float(np.mean(ratios))),
        params={**asdict(params), "weight": weight, "ignore": list(ignore)},
    )
    if noise is None:
        return mosaic
    predicted = predict_noise(exposures, mosaic, params=noise)
    return replace(mosaic, noise=measure_noise(mosaic, predicted, params=noise) if noise.measure else predicted)


def _rate_zero_point(exposure: Exposure) -> float:
    """AB magnitude of one electron per second."""
    if exposure.unit == RATE:
        return exposure.zero_point_ab
    return float(exposure.zero_point_ab - 2.5 * np.log10(exposure.exptime))


def _check_alike(exposure: Exposure, first: Exposure) -> None:
    if exposure.unit not in (RATE, _COUNTS):
        msg = f"exposures: unit {exposure.unit!r} of {exposure.exposure_id} is not {RATE!r} or {_COUNTS!r}"
        raise InvalidInputError(msg)
    for what in ("band", "unit"):
        have, want = getattr(exposure, what), getattr(first, what)
        if have != want:
            msg = f"exposures: {what} {have!r} of {exposure.exposure_id} is not {want!r}, that of {first.exposure_id}"
            raise InvalidInputError(msg)
    have, want = _rate_zero_point(exposure), _rate_zero_point(first)
    if not np.isclose(have, want, rtol=0, atol=1e-4, equal_nan=True):
        msg = f"exposures: zero point {have} of {exposure.exposure_id} is not {want}, that of {first.exposure_id}"
        raise InvalidInputError(msg)
