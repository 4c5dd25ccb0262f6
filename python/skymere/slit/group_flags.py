"""Outliers of a group of exposures, with the arguments that msaexp's users know."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.outliers import (
    SLIT_OUTLIER_BITS,
    ProfileOutlierParams,
    SlitOutliers,
    TraceOutlierParams,
    flag_2d_outliers,
    flag_from_profile,
    flag_hot_cold_pixels,
    flag_percentile_outliers,
    flag_trace_outliers,
)
from skymere.slit.diagnostics import plot_outliers
from skymere.slit.group_fits import Fits
from skymere.slit.group_state import SlitGroupState
from skymere.slit.weights import limited_variance

__all__ = ["SlitGroupFlags"]

_Mask = NDArray[np.bool_]


class SlitGroupFlags(SlitGroupState):
    """The flaggers: each leaves pixels out of ``mask``, and ``flags`` says which one did and why."""

    def _use(self, found: SlitOutliers) -> _Mask:
        """Leave out what a flagger found; returns it, shape (n, ny * nx)."""
        flags = np.broadcast_to(found.flags, self.mask.shape)
        for name, bit in SLIT_OUTLIER_BITS.items():
            bad = (flags & np.uint32(bit)) != 0
            if bad.any():
                self.flag_pixels(name, bad)
        return np.asarray(flags != 0)

    def _draw(self, name: str, found: SlitOutliers, *, against: Literal["wavelength", "yslit"]) -> None:
        """Keep a picture of what a flagger found among the pixels that are valid now, before they are left out."""
        flags = np.broadcast_to(found.flags, self.mask.shape)
        self.figures[name] = plot_outliers(
            replace(found, flags=flags),
            self.data,
            self.wave,
            self.yslit,
            valid=self.mask,
            against=against,
            title=f"{self.name}, {name}",
        )

    def flag_from_profile(
        self, *, grow: float = 2, nfilt: int = -32, require_multiple: bool = True, make_plot: bool = False
    ) -> SlitOutliers:
        """Flag pixels that are too high or too low for the profile across the trace.

        Parameters
        ----------
        grow, nfilt, require_multiple
            See `ProfileOutlierParams`.
        make_plot : bool
            Keep a picture in ``figures``; see `plot_outliers`.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        """
        params = ProfileOutlierParams(grow=grow, nfilt=nfilt, require_multiple=require_multiple)
        found = flag_from_profile(self.data, self.var_total, self.yslit, valid=self.mask, params=params)
        if make_plot:
            self._draw("flag_from_profile", found, against="yslit")
        self._use(found)
        return found

    def flag_2d_outliers(
        self,
        tfit: Fits | None = None,
        *,
        filter_size: int = 5,
        threshold: tuple[float, float] | None = None,
        with_mask: bool = False,
        trim_multiples: bool | None = None,
        dilate_structure: bool = True,
        in_place: bool = True,
        make_plot: bool = False,
    ) -> _Mask:
        """Flag pixels of the detector at which the median of the exposures sticks out.

        Parameters
        ----------
        tfit : mapping, optional
            As ``fit_all_traces`` gives it: what it leaves over is taken instead of the data.
        filter_size, with_mask : int, bool
            See `StackOutlierParams`.
        threshold : tuple of float, optional [sigma]
            Least and greatest residual; that of ``params.stack`` when not given.
        trim_multiples : bool, optional
            The same.
        dilate_structure : bool
            Grow outliers by their four neighbours.
        in_place : bool
            Leave them out.
        make_plot : bool
            Keep a picture in ``figures``; see `plot_outliers`.

        Returns
        -------
        ndarray, bool, shape (ny * nx,)
            True = no outlier.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        """
        params = replace(
            self.params.stack, filter_size=filter_size, with_mask=with_mask, dilate=1 if dilate_structure else 0
        )
        if threshold is not None:
            params = replace(params, threshold=(threshold[0], threshold[1]))
        if trim_multiples is not None:
            params = replace(params, trim_multiples=trim_multiples)
        if tfit is None:
            data, variance, wave, valid = self.sci, self.var_total, self.wave, self.mask
        else:
            fits = list(tfit.values())
            data = np.stack([one["diff"] - one["smod"].ravel() for one in fits])
            variance = np.stack([one["vdiff"] for one in fits])
            wave = np.repeat(self.wave[:1], len(fits), axis=0)
            valid = np.isfinite(data) & (variance > 0)
            data = np.where(valid, data, np.nan)
        found = flag_2d_outliers(data, variance, wave, valid=valid, shape=self.sh, params=params)
        bad = np.asarray(found.flags[0] != 0)
        found = replace(found, flags=found.flags[:1])
        if make_plot:
            self._draw("flag_2d_outliers", found, against="wavelength")
        if in_place:
            self._use(found)
        return ~bad

    def flag_hot_cold_pixels(
        self,
        *,
        cold_percentile: float = -0.1,
        hot_percentile: float = 1.5,
        absolute: bool = True,
        min_nexp: int = -1,
        dilate: int | None = None,
    ) -> tuple[int, int, NDArray[np.int64]]:
        """Return pixels of the detector that are low or high in several exposures; nothing is left out.

        Parameters
        ----------
        cold_percentile, hot_percentile, absolute, min_nexp
            See `HotColdParams`.
        dilate : int, optional
            How many times they grow.

        Returns
        -------
        ncold, nhot : int
            Their numbers.
        flag : ndarray, int64, shape (ny * nx,)
            1 for cold, 2 for hot.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        """
        params = replace(
            self.params.hot_cold,
            cold_percentile=cold_percentile,
            hot_percentile=hot_percentile,
            absolute=absolute,
            min_nexp=min_nexp,
            dilate=dilate or 0,
        )
        found = flag_hot_cold_pixels(self.data, valid=self.mask, n_positions=self.unp.N, shape=self.sh, params=params)
        bits = [(found.flags[0] & np.uint32(SLIT_OUTLIER_BITS[name])) != 0 for name in ("cold_pixel", "hot_exposures")]
        return int(bits[0].sum()), int(bits[1].sum()), np.asarray(bits[0] + 2 * bits[1].astype(np.int64))

    def _use_hot_cold(self, **kwargs: Any) -> None:
        cold, hot, flag = self.flag_hot_cold_pixels(**kwargs)
        self.flag_pixels("cold_pixel", np.asarray((flag & 1) != 0))
        self.flag_pixels("hot_exposures", np.asarray((flag & 2) != 0))
        self.meta |= {"nhot": hot, "ncold": cold}

    def flag_percentile_outliers(
        self,
        *,
        plevels: Sequence[float] | None = None,
        scale: float | None = None,
        yslit: Sequence[float] | None = None,
        dilate: int | None = None,
        update: bool = True,
        make_plot: bool = False,
    ) -> tuple[_Mask, float]:
        """Flag single pixels that no source explains.

        Parameters
        ----------
        plevels : sequence of float, optional
            Two levels of the trace's pixels from which a third is extrapolated. With ``plevels``, ``scale`` or
            ``yslit`` one level holds for all wavelengths, as in msaexp, otherwise ``params.percentile`` says the mode.
        scale, yslit : float, pair of float, optional
            See `PercentileOutlierParams`.
        dilate : int, optional
            Side of the box by which outliers grow, 1 for none.
        update : bool
            Leave them out.
        make_plot : bool
            Keep a picture in ``figures``; see `plot_outliers`.

        Returns
        -------
        outlier : ndarray, bool, shape (n, ny * nx)
            True = outlier.
        high_level : float [uJy]
            The level; NaN where there is none.

        Notes
        -----
        Locally, a pixel's variance of photons is at most that of its neighbours, `limited_variance`: an outlier raises
        its own.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        """
        params = self.params.percentile
        if plevels is not None or scale is not None or yslit is not None:
            params = replace(params, mode="global")
        if plevels is not None:
            params = replace(params, plevels=_of_length("plevels", plevels, 3))
        if scale is not None:
            params = replace(params, scale=scale)
        if yslit is not None:
            params = replace(params, yslit=_of_length("yslit", yslit, 2))
        if dilate is not None:
            params = replace(params, dilate=dilate)
        variance = self.var_total
        if params.mode == "local":
            shape = (self.N, *self.sh)
            photons = np.asarray(self.var_poisson, np.float64)
            limited = limited_variance(photons.reshape(shape), self.mask.reshape(shape)).reshape(photons.shape)
            # Of the data, which have the shadow of the bars again where that is taken out.
            variance = (variance - photons + limited) * self._variance_factor()
        found = flag_percentile_outliers(
            self.data, variance, self.wave, self.yslit, valid=self.mask, shape=self.sh, params=params
        )
        if make_plot:
            self._draw("flag_percentile_outliers", found, against="wavelength")
        if update:
            self.meta["percentile_outliers"] = int((found.mask & self.mask).sum())
            self._use(found)
        return found.mask, float(found.limits.get("high", np.nan))

    def flag_trace_outliers(
        self,
        *,
        yslit: Sequence[float] = (-2.0, 2.0),
        filter_size: int = -2,
        threshold: float = 1.5,
        make_plot: bool = False,
    ) -> _Mask | None:
        """Flag pixels beside the trace that are brighter than the trace at their wavelength.

        Parameters
        ----------
        yslit : pair of float [pix]
            Where the trace is.
        filter_size, threshold : int, float
            See `TraceOutlierParams`.
        make_plot : bool
            Keep a picture in ``figures``; see `plot_outliers`.

        Returns
        -------
        ndarray, bool, shape (n, ny * nx), or None
            True = outlier; None with fewer than 100 pixels in the trace.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        """
        params = TraceOutlierParams(yslit=_of_length("yslit", yslit, 2), filter_size=filter_size, threshold=threshold)
        found = flag_trace_outliers(self.data, self.var_total, self.wave, self.yslit, valid=self.mask, params=params)
        if found.status != "ok":
            return None
        if make_plot:
            self._draw("flag_trace_outliers", found, against="wavelength")
        return self._use(found)


def _of_length(name: str, values: Sequence[float], n: int) -> Any:
    if len(values) != n:
        msg = f"{name}: {values} is not allowed, it must be {n} numbers"
        raise InvalidInputError(msg)
    return tuple(float(value) for value in values)
