"""Exposures of one band drizzled to one mosaic."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Exposure, Mosaic, WeightKind, Window
from skymere.errors import InvalidInputError
from skymere.resample.covariance import NoiseParams
from skymere.resample.drizzle import DrizzleParams, Drizzler
from skymere.resample.inputs import RATE, DrizzleInput, drizzle_input, input_of_rows
from skymere.resample.noise_kernels import concentration_input, predict_noise
from skymere.resample.reach import ExposureReader, ExposureRows, Reach
from skymere.resample.reading import noise_correlation
from skymere.resample.sky_noise import measure_noise
from skymere.resample.weights import check_weight_kind
from skymere.wcs import Grid

__all__ = ["WindowedDrizzle", "drizzle"]

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
    members = _Members()
    for exposure in exposures:
        members.take(exposure)
        given = drizzle_input(exposure, grid, weight=weight, ignore=ignore)
        drizzler.add(**vars(given))
        members.ratios.append(given.pixel_scale_ratio)
    mosaic = members.mosaic(grid, drizzler, weight=weight, ignore=ignore)
    if noise is None:
        return mosaic
    predicted = predict_noise(exposures, mosaic, params=noise)
    return replace(mosaic, noise=measure_noise(mosaic, predicted, params=noise) if noise.measure else predicted)


class WindowedDrizzle:
    """A mosaic that is drizzled window by window, with the bits of `drizzle`; memory holds a window and some rows.

    Parameters
    ----------
    exposures : ExposureReader
        All of one band and one kind of unit. `look` reads each of them whole, a window the rows that touch it.
    grid : Grid
        The whole output.
    params, weight, ignore
        As in `drizzle`.

    Raises
    ------
    InvalidInputError
        When there is no such weight.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.datamodels import Exposure, windows_of
    >>> from skymere.resample import HeldExposures, WindowedDrizzle
    >>> from skymere.wcs import Grid
    >>> detector = Grid.tangent(150.0, 2.0, shape=(40, 40), scale_arcsec=0.12)
    >>> flat, good = np.ones(detector.shape, np.float32), np.zeros(detector.shape, np.uint32)
    >>> exposure = Exposure(
    ...     exposure_id="a", data=flat, error=flat, dq=good, wcs=detector.wcs, exptime=100.0, band="f140w"
    ... )
    >>> grid = Grid.tangent(150.0, 2.0, shape=(90, 90), scale_arcsec=0.06)
    >>> windowed = WindowedDrizzle(HeldExposures([exposure]), grid)
    >>> [one.exposure_id for one in windowed.look()]
    ['a']
    >>> round(sum(windowed.window(one).weight.sum(dtype=float) for one in windows_of(grid.shape, (32, 64))))
    160000
    """

    def __init__(
        self,
        exposures: ExposureReader,
        grid: Grid,
        *,
        params: DrizzleParams | None = None,
        weight: WeightKind = "exposure_time",
        ignore: Iterable[str] = (),
    ) -> None:
        check_weight_kind(weight)
        self.params = DrizzleParams() if params is None else params
        self.grid, self._weight, self._ignore = grid, weight, tuple(ignore)
        self.reach = Reach(exposures, grid, params=self.params)
        self._members = _Members()

    def look(self) -> Iterator[Exposure]:
        """Yield each exposure, whole; windows can be drizzled afterwards.

        Raises
        ------
        InvalidInputError
            When there is no exposure, or they differ in band, unit or zero point.
        """
        self._members = _Members()
        for exposure in self.reach.look():
            self._members.take(exposure)
            yield exposure
        self._members.ratios = self.reach.ratios
        self._members.check()

    def window(self, window: Window, *, on_part: Callable[[ExposureRows], None] | None = None) -> Mosaic:
        """Return a window of the mosaic.

        Parameters
        ----------
        window : Window
            Part of the grid.
        on_part : callable, optional
            Called with the rows of each exposure that touch the window.
        """
        drizzler = Drizzler(self.grid.shape, params=self.params, window=window.slices)
        for part in self.reach.parts(window):
            if part is None:
                drizzler.skip()
                continue
            drizzler.add(**vars(input_of_rows(part, weight=self._weight, ignore=self._ignore)))
            if on_part is not None:
                on_part(part)
        grid = self.grid.cutout(*window.origin, window.shape)
        return self._members.mosaic(grid, drizzler, weight=self._weight, ignore=self._ignore)

    def about(self) -> dict[str, Any]:
        """Return what is known of the mosaic beside its pixels: the other parameters of `Mosaic` and `StoredMosaic`."""
        return {
            "grid": self.grid,
            **self._members.about(self.params),
            "weight_kind": self._weight,
        }

    def inputs(self) -> Iterator[DrizzleInput]:
        """Yield what is drizzled of each exposure, whole."""
        for k in range(len(self.reach)):
            exposure = self.reach.exposures.read(k, slice(None))
            yield drizzle_input(exposure, self.grid, weight=self._weight, ignore=self._ignore)

    def concentration(self, window: Window) -> NDArray[np.float32]:
        """Return the concentration of the drops in a window, by which `NoiseClasses` divides the interior."""
        drizzler = Drizzler(self.grid.shape, params=self.params, context=False, window=window.slices)
        for part in self.reach.parts(window):
            if part is not None:
                given = input_of_rows(part, weight=self._weight, ignore=self._ignore)
                drizzler.add(**vars(concentration_input(given)))
        image = drizzler.finish()
        if image.variance is None:
            return np.zeros(window.shape, np.float32)
        return np.asarray(np.nan_to_num(image.variance) * image.weight)


class _Members:
    """What is known of a mosaic from its exposures, all of one kind."""

    def __init__(self) -> None:
        self._first: Exposure | None = None
        self._zero_point = float("nan")
        self.ids: list[str] = []
        self.ratios: list[float] = []

    def take(self, exposure: Exposure) -> None:
        """Note an exposure.

        Raises
        ------
        InvalidInputError
            When it differs from the first one.
        """
        if self._first is None:
            self._zero_point = _rate_zero_point(exposure)
            blank = {name: getattr(exposure, name)[:1, :1] for name in ("data", "error", "dq")}
            # Of the first exposure no pixels are kept.
            self._first = replace(exposure, **{name: plane.copy() for name, plane in blank.items()}, flags=None)
        _check_alike(exposure, self._first)
        self.ids.append(exposure.exposure_id)

    def check(self) -> Exposure:
        """Return the first exposure.

        Raises
        ------
        InvalidInputError
            When there is none.
        """
        if self._first is None:
            msg = "exposures: at least one exposure is needed"
            raise InvalidInputError(msg)
        return self._first

    def mosaic(self, grid: Grid, drizzler: Drizzler, *, weight: WeightKind, ignore: tuple[str, ...]) -> Mosaic:
        """Return what was drizzled of them, on the whole grid or a window of it."""
        image, params = drizzler.finish(), drizzler.params
        nothing = np.full_like(image.data, params.fillval) if image.variance is None else image.variance
        return Mosaic(
            grid=grid,
            data=image.data,
            weight=image.weight,
            variance=nothing,
            context=image.context,
            weight_kind=weight,
            params={**asdict(params), "weight": weight, "ignore": list(ignore)},
            **self.about(params),
        )

    def about(self, params: DrizzleParams) -> dict[str, Any]:
        """Return what they say about their mosaic."""
        return {
            "band": self.check().band,
            "exposure_ids": tuple(self.ids),
            "unit": RATE,
            "zero_point_ab": self._zero_point,
            "noise_correlation": noise_correlation(params.pixfrac, float(np.mean(self.ratios))),
        }


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
