"""Differences, traces and pixels of a group of exposures, with the arguments that msaexp's users know."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, DTypeLike, NDArray

from skymere.errors import InvalidInputError
from skymere.io import read_psf_fwhm
from skymere.slit.all_traces import SlitTraces, fit_all_traces, fit_params_by_sn, get_trace_sn
from skymere.slit.frames import SlitFrames, set_trace_coeffs
from skymere.slit.group_state import SlitGroupState
from skymere.slit.lookup import LookupKind, lookup_profile
from skymere.slit.nods import NodDifference, make_diff_image
from skymere.slit.pixel_table import RawNoise, get_flat_diff_arrays, raw_noise
from skymere.slit.profile import GaussianProfile, Profile, TableProfile
from skymere.slit.trace import TraceFit, TraceParams, TracePriors, fit_single_trace
from skymere.slit.transmission import slit_transmission

__all__ = ["SlitGroupFits"]

_TENTHS = 10.0  # msaexp's widths are tenths of a pixel
_NO_BOUNDS = (-np.inf, np.inf)
_SLIT_ARCSEC = 0.2

Fits = Mapping[Any, Mapping[str, Any]]


class SlitGroupFits(SlitGroupState):
    """What is measured on a group: differences of nods, width and trace of the source, the table of pixels."""

    lookup_prf: Profile | LookupKind | None
    fit: dict[Any, dict[str, Any]] | None = None
    traces: SlitTraces | None = None
    priors: TracePriors = TracePriors()

    def profile(self) -> Profile:
        """Return the profile of a source across the trace: ``lookup_prf``, or a Gaussian with the PSF's width."""
        if self.lookup_prf is None:
            table = self.pack.read("nirspec_psf_fwhm.csv", read_psf_fwhm)
            self.lookup_prf = GaussianProfile(wave=table["wave"].to_numpy(), fwhm_pix=table["fwhm_pix"].to_numpy())
        elif isinstance(self.lookup_prf, str):
            slit = self.slits[0].place.slit_name if self.IS_FIXED_SLIT else ""
            self.lookup_prf = lookup_profile(
                self.pack, grating=self.grating, filter_name=self.filter, slit=slit, kind=self.lookup_prf
            )
        return self.lookup_prf

    def set_trace_coeffs(self, degree: int = 2) -> None:
        """Fit a polynomial to the traces of the files, and take back what was fitted since.

        Parameters
        ----------
        degree : int
            Degree of the polynomials.
        """
        self.base_coeffs, self.trace_coeffs = set_trace_coeffs(self.xtr, self.ytr, n_columns=self.sh[1], degree=degree)
        self.update_trace_from_coeffs()

    def difference(self, exp: Any = 1) -> NodDifference:
        """Return the mean of a position less that of the others.

        Parameters
        ----------
        exp : int or str
            The position, one of ``unp.values``.
        """
        return make_diff_image(self.frames(), position=self.unp.number(exp), params=self.nods())

    def make_diff_image(self, exp: Any = 1, *, separate: bool = False) -> tuple[Any, ...]:
        """Return the mean of a position less that of the others, in the form of msaexp.

        Parameters
        ----------
        exp : int or str
            The position, one of ``unp.values``.
        separate : bool
            Give pairs of the two means instead of their difference.

        Returns
        -------
        ipos, ineg : ndarray, bool, shape (n,)
            Exposures that were averaged and subtracted.
        diff, bdiff : ndarray, float64, shape (ny * nx,) [uJy]
            Difference of the data and of the sky that had been subtracted; pairs when ``separate``.
        vdiff, wdiff : ndarray, float64, shape (ny * nx,) [uJy2]
            Variance, and that of the read-out; pairs when ``separate``.

        Raises
        ------
        InvalidInputError
            When there is no such position.
        """
        made = self.difference(exp)
        pairs = [
            (one.ravel(), other.ravel())
            for one, other in (
                (made.positive, made.negative),
                (made.positive_sky, made.negative_sky),
                (made.positive_variance, made.negative_variance),
                (made.positive_read_variance, made.negative_read_variance),
            )
        ]
        if separate:
            return made.is_positive, made.is_negative, *pairs
        signs = (-1, -1, 1, 1)
        return made.is_positive, made.is_negative, *(a + s * b for (a, b), s in zip(pairs, signs, strict=True))

    def _check_fit_words(self, method: str, words: Mapping[str, Any]) -> None:
        """Raise an error for arguments that are neither known nor those of a peer's minimiser."""
        unknown = sorted(set(words) - set(self.params.minimizer_words))
        if not unknown:
            return
        msg = f"{method}() got an unexpected keyword argument {unknown[0]!r}; it knows {', '.join(_FIT_DEFAULTS)}"
        if unknown[0] in _PEER_WORDS:
            msg += f". Minima are found with exact derivatives: {unknown[0]} is for compat='msaexp' alone"
        raise TypeError(msg)

    def _trace_params(
        self, *, degree: int, start: NDArray[np.float64] | None, fix_sigma: float, **asked: Any
    ) -> tuple[TraceParams, NDArray[np.float64]]:
        """Return parameters and start in pixels of a fit asked for in tenths of pixels."""
        is_fixed = fix_sigma > 0
        if start is not None:
            # A given start says the degree, as its length does in msaexp.
            degree = start.size - (1 if is_fixed else 2)
        if degree < 0:
            msg = f"x0: {start} is not allowed, it must be a width (unless fix_sigma is given) and one or more offsets"
            raise InvalidInputError(msg)
        offsets = np.zeros(degree + 1) if start is None else start[-(degree + 1) :]
        size = fix_sigma if is_fixed else asked["initial_sigma"] if start is None else float(start[0])
        size_bounds = trace_bounds = _NO_BOUNDS
        if asked["with_bounds"]:
            low, high = asked["sigma_bounds"]
            size_bounds, trace_bounds = (low / _TENTHS, high / _TENTHS), asked["trace_bounds"]
        params = TraceParams(
            degree=degree,
            initial_size=size / _TENTHS,
            fix_size=fix_sigma / _TENTHS if is_fixed else None,
            force_positive=asked["force_positive"],
            priors=self.priors,
            size_bounds=size_bounds,
            trace_bounds=(trace_bounds[0], trace_bounds[1]),
            tolerance=_FIT_DEFAULTS["tol"] if "tol" in self.params.minimizer_words else asked["tol"],
        )
        return params, np.concatenate([[size / _TENTHS], offsets])

    def fit_single_trace(
        self,
        x0: ArrayLike | None = None,
        *,
        initial_sigma: float = 3.0,
        exp: Any = 1,
        force_positive: bool = True,
        tol: float = 1e-10,
        evaluate: bool = False,
        degree: int = 2,
        sigma_bounds: tuple[float, float] = (1, 20),
        trace_bounds: tuple[float, float] = (-1, 1),
        fix_sigma: float = -1,
        with_bounds: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Fit the width of the source and the offset of its trace to one difference of nods.

        Parameters
        ----------
        x0 : array_like, float64, shape (degree + 2,), optional
            Start: width [pix / 10] unless ``fix_sigma`` is given, and offsets [pix]; its length says the degree.
        initial_sigma : float [pix / 10]
            Width at the start.
        exp : int or str
            The position, one of ``unp.values``.
        force_positive : bool
            Only the positive part of the difference's profile counts.
        tol : float
            Gain in chi2 of the next step that ends the fit, unless it is one of ``params.minimizer_words``.
        evaluate : bool
            Do not fit.
        degree : int
            Degree of the polynomial of offsets.
        sigma_bounds, trace_bounds : tuple of float [pix / 10, pix]
            Bounds of the width and of every offset.
        fix_sigma : float [pix / 10]
            The width, when positive.
        with_bounds : bool
            Use the bounds.
        **kwargs
            Those of ``params.minimizer_words`` have no effect: ``method``, ``tol`` and ``verbose`` are Powell's with
            ``compat="msaexp"``, and minima are found with exact derivatives.

        Returns
        -------
        dict
            ``theta``, ``sigma`` [pix], ``trace_coeffs`` [pix], ``chi2_init``, ``chi2_fit`` (half the usual chi2),
            ``ipos``, ``ineg``, ``diff``, ``vdiff``, ``wdiff``, of every column ``snum``, ``svnum``, ``sden``, the model
            ``smod`` (ny, nx), ``force_positive``; and ``result``, the `TraceFit` with the covariance.

        Raises
        ------
        TypeError
            When an argument is not known.
        InvalidInputError
            When an argument is not allowed.
        NoDataError
            When no pixel is left.
        """
        self._check_fit_words("fit_single_trace", kwargs)
        start = None if x0 is None else np.atleast_1d(np.asarray(x0, dtype=float))
        params, begin = self._trace_params(
            degree=degree,
            start=start,
            fix_sigma=fix_sigma,
            initial_sigma=initial_sigma,
            force_positive=force_positive,
            sigma_bounds=sigma_bounds,
            trace_bounds=trace_bounds,
            with_bounds=with_bounds,
            tol=tol,
        )
        frames, number = self.frames(), self.unp.number(exp)
        made = make_diff_image(frames, position=number, params=self.nods())
        fit = fit_single_trace(
            frames,
            position=number,
            profile=self.profile(),
            params=params,
            nods=made,
            start=begin,
            evaluate=evaluate,
        )
        return _as_dict(fit, made, has_width=not fix_sigma > 0)

    def fit_all_traces(
        self, niter: int = 3, dchi_threshold: float = -25, ref_exp: Any = 2, **kwargs: Any
    ) -> dict[Any, dict[str, Any]]:
        """Fit width and trace of the source in all nods, and move the traces there.

        Parameters
        ----------
        niter : int
            Rounds, where positions are fitted one after the other.
        dchi_threshold : float
            Change of the objective above which a position by itself keeps its trace.
        ref_exp : int, str or None
            Position that is fitted for all with ``params.traces.likelihood="reference"``. None: every position by
            itself. Otherwise all exposures are fitted together, and it has no effect.
        **kwargs
            Arguments of ``fit_single_trace`` but ``exp``.

        Returns
        -------
        dict
            As ``fit_single_trace``, of every position. ``traces`` keeps the product with the joint covariance.

        Raises
        ------
        TypeError
            When an argument is not known.
        InvalidInputError
            When an argument is not allowed.
        NoDataError
            When no pixel is left.
        """
        self._check_fit_words("fit_all_traces", {name: kwargs[name] for name in kwargs if name not in _FIT_DEFAULTS})
        asked = _FIT_DEFAULTS | {name: kwargs[name] for name in kwargs if name in _FIT_DEFAULTS}
        x0 = asked.pop("x0")
        start = None if x0 is None else np.atleast_1d(np.asarray(x0, dtype=float))
        evaluate, fix_sigma = asked.pop("evaluate"), asked.pop("fix_sigma")
        params, begin = self._trace_params(degree=asked.pop("degree"), start=start, fix_sigma=fix_sigma, **asked)
        frames, unp = self.frames(), self.unp
        if evaluate:
            traces = self._evaluated(frames, params, begin)
        else:
            how = self.params.traces
            if ref_exp is None:
                how = replace(how, likelihood="each", reference=None)
            elif how.likelihood == "reference":
                how = replace(how, reference=unp.number(ref_exp))
            how = replace(how, n_rounds=niter, min_gain=-dchi_threshold)
            traces = fit_all_traces(
                frames, profile=self.profile(), params=params, traces=how, nods=self.nods(), start=begin
            )
        moved = traces.frames
        fits = {
            value: _as_dict(
                traces.fits[unp.number(value)], traces.differences[unp.number(value)], has_width=not fix_sigma > 0
            )
            for value in unp
        }
        assert moved.trace_coeffs is not None
        self.trace_coeffs = np.array(moved.trace_coeffs)
        self.traces, self.fit = traces, fits
        self.update_trace_from_coeffs()
        return fits

    def _evaluated(self, frames: SlitFrames, params: TraceParams, start: NDArray[np.float64]) -> SlitTraces:
        """Return traces that are where they are said to be."""
        moved = frames.with_trace(start[1:])
        free = replace(params, fix_size=None)
        made = {p: make_diff_image(frames, position=p, params=self.nods()) for p in frames.positions}
        fits = {
            p: fit_single_trace(
                moved, position=p, profile=self.profile(), params=free, nods=one, start=start, evaluate=True
            )
            for p, one in made.items()
        }
        return SlitTraces(frames=moved, fits=fits, differences=made, joint=None, params=params)

    def get_trace_sn(
        self,
        exposure_position: Any = "auto",
        theta: Sequence[float] = (4.0, 0.0),
        *,
        force_positive: bool = True,
    ) -> dict[str, Any]:
        """Return the amplitudes of a fixed profile, and ``sn``, the signal over noise of every column.

        Parameters
        ----------
        exposure_position : int or str
            The position; ``auto`` is ``calc_reference_exposure``.
        theta : sequence of float
            Width [pix / 10] and offset of the trace [pix].
        force_positive : bool
            Only the positive part of the difference's profile counts.

        Returns
        -------
        dict
            As ``fit_single_trace``, and ``sn``.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        """
        exp = self.calc_reference_exposure if exposure_position == "auto" else exposure_position
        frames, number = self.frames(), self.unp.number(exp)
        params = TraceParams(degree=0, force_positive=force_positive, priors=self.priors)
        made = make_diff_image(frames, position=number, params=self.nods())
        fit = get_trace_sn(
            frames,
            profile=self.profile(),
            position=number,
            size=theta[0] / _TENTHS,
            offset=theta[1],
            params=params,
            nods=made,
        )
        return _as_dict(fit, made, has_width=True) | {"sn": fit.sn}

    def fit_params_by_sn(
        self,
        sn_percentile: float = 80,
        sigma_threshold: float = 5,
        degree_sn: Sequence[Sequence[float]] = ((-1000,), (0,)),
        **kwargs: Any,
    ) -> tuple[NDArray[np.float64], float, bool, int]:
        """Return what the signal of the source allows to fit.

        Parameters
        ----------
        sn_percentile : float
            Percentile of the signal over noise of the columns.
        sigma_threshold : float
            Value of it below which the width is not to be fitted.
        degree_sn : pair of sequences
            Thresholds, and the degree that holds below each.
        **kwargs
            Arguments of ``get_trace_sn``.

        Returns
        -------
        sn : ndarray, float64, shape (nx,)
            Signal over noise of every column.
        sn_value : float
            Its percentile.
        fix_sigma : bool
            Whether the width is not to be fitted.
        degree : int
            Degree of the trace.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        """
        sn = self.get_trace_sn(**kwargs)["sn"]
        choice = fit_params_by_sn(
            sn,
            sn_percentile=sn_percentile,
            sigma_threshold=sigma_threshold,
            degree_sn=degree_sn,
            degree_rule=self.params.degree_rule,
        )
        return sn, choice.sn_value, choice.fix_sigma, choice.degree

    def path_loss(self, fit: Fits | None = None) -> NDArray[np.float64]:
        """Return the part of the light that passes the slit, relative to a point in its middle.

        Parameters
        ----------
        fit : mapping, optional
            As ``fit_all_traces`` gives it; the last one when not given.

        Returns
        -------
        ndarray, float64, shape (n, ny * nx)
            1 without a fit, or where it is not to be corrected (``params.path_loss``).
        """
        has = self.fit if fit is None else fit
        out = np.ones(self.wave.shape)
        profile = self.profile()
        is_asked = isinstance(profile, TableProfile)
        if self.params.path_loss == "undone":
            is_asked = self.meta["undo_pathloss"] == 1 and not self.is_background
            is_asked = is_asked and not (isinstance(profile, TableProfile) and profile.transmission is None)
        if has is None or not is_asked:
            return out
        for i, (key, one) in enumerate(zip(self.unp.keys, self.slits, strict=True)):
            x = one.source.x_position
            known = np.isfinite(self.wave[i])
            out[i, known] = slit_transmission(
                profile,
                self.wave[i, known],
                size=has[key]["sigma"],
                x=x if np.isfinite(x) else 0.0,
                slit_width_pix=_SLIT_ARCSEC / self.slit_pixel_scale,
            )
        return out

    def get_flat_diff_arrays(
        self,
        *,
        apply_mask: bool = True,
        fit: Fits | None = None,
        with_pathloss: bool = False,
        float_dtype: DTypeLike = float,
    ) -> pl.DataFrame:
        """Return every pixel of every exposure, less the mean of the other nods, as a row.

        Parameters
        ----------
        apply_mask : bool
            Valid pixels alone; otherwise a column ``mask`` says which are.
        fit : mapping, optional
            As ``fit_all_traces`` gives it; the last one when not given, a profile of 1 without any.
        with_pathloss : bool
            Fill ``pathloss`` from the fitted width and the source's place in the slit.
        float_dtype : dtype
            float32 or float64.

        Returns
        -------
        polars.DataFrame
            As `skymere.slit.get_flat_diff_arrays`, with ``dwave_dx``, ``yshutter``, ``bar`` and ``normalization``.

        Raises
        ------
        InvalidInputError
            When a fit is missing.
        """
        has = self.fit if fit is None else fit
        shape = (self.N, *self.sh)
        columns = {
            "dwave_dx": self.dwave_dx.reshape(shape),
            "yshutter": self.fixed_yshutter.reshape(shape),
            "bar": np.asarray(self.bar, np.float64).reshape(shape),
            "normalization": self.normalization.reshape(shape),
        }
        table = get_flat_diff_arrays(
            self.frames(),
            exptime=self.exptime,
            fits=None if has is None else {self.unp.number(key): one["result"] for key, one in has.items()},
            profile=None if has is None else self.profile(),
            columns=columns,
            pathloss=self.path_loss(has).reshape(shape) if with_pathloss else None,
            nods=self.nods(),
            params=replace(self.params.pixels, apply_mask=apply_mask),
        )
        if np.dtype(float_dtype) == np.float32:
            return table.with_columns(pl.col(pl.Float64).cast(pl.Float32))
        return table

    def raw_noise(self) -> RawNoise:
        """Return the raw pixels behind the rows of ``get_flat_diff_arrays``, with the errors of a fitted sky."""
        frames, sky = self.frames(), self.sky_noise()
        if sky is None:
            return raw_noise(frames, nods=self.nods())
        # What the sky adds follows from the fit, and is not a variance of single pixels.
        bare = np.asarray((self.var_rnoise + self.var_poisson) * self._variance_factor(), np.float64)
        return raw_noise(replace(frames, variance=bare.reshape(frames.shape)), nods=self.nods(), sky=sky)


_PEER_WORDS = ("method", "verbose")
_FIT_DEFAULTS: dict[str, Any] = {
    "x0": None,
    "initial_sigma": 3.0,
    "force_positive": True,
    "evaluate": False,
    "degree": 2,
    "sigma_bounds": (1, 20),
    "trace_bounds": (-1, 1),
    "fix_sigma": -1,
    "with_bounds": True,
    "tol": 1e-10,
}


def _as_dict(fit: TraceFit, made: NodDifference, *, has_width: bool) -> dict[str, Any]:
    """Return a fit with the names and units of msaexp."""
    model = np.where(np.isfinite(fit.profile), fit.profile, 0.0) * np.nan_to_num(fit.flux)
    width = [fit.size * _TENTHS] if has_width else []
    return {
        "theta": np.array([*width, *fit.trace_coeffs]),
        "sigma": fit.size,
        "trace_coeffs": fit.trace_coeffs,
        "chi2_init": fit.chi2_start,
        "chi2_fit": fit.chi2,
        "ipos": made.is_positive,
        "ineg": made.is_negative,
        "diff": made.difference.ravel(),
        "vdiff": made.variance.ravel(),
        "wdiff": made.read_variance.ravel(),
        "snum": fit.snum,
        "svnum": fit.svnum,
        "sden": fit.sden,
        "smod": model,
        "force_positive": fit.force_positive,
        "result": fit,
    }
