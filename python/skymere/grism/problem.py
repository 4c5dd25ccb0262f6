"""Beams, compressed for fits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._rust import grism as _grism
from skymere.errors import NoDataError
from skymere.grism.fit_params import Errors, FitParams, Fitter
from skymere.grism.multibeam import MultiBeam
from skymere.grism.template_bank import TemplateBank

__all__ = ["BeamProblem", "Photometry", "Scan"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """Fits at redshifts; backgrounds come before templates.

    Parameters
    ----------
    z : ndarray, float64, shape (n,)
        Redshifts.
    loss, chi2 : ndarray, float64, shape (n,)
        Sum of Huber's loss, and of squared residuals over their errors.
    coefficients : ndarray, float64, shape (n, N + n_templates)
        Backgrounds and factors.
    is_free : ndarray, bool, shape (n, N + n_templates)
        Which are present and not at a bound.
    covariance : ndarray, float64, shape (n, n_templates, n_templates)
        Of the factors that are free; empty unless asked for.
    background_variance : ndarray, float64, shape (n, N)
        Of the backgrounds.
    bound_variance : ndarray, float64, shape (n, n_templates)
        Of factors at a bound, if they left it.
    violation : ndarray, float64, shape (n,)
        What the conditions of Karush, Kuhn and Tucker forbid, over the largest slope.
    """

    z: _Array
    loss: _Array
    chi2: _Array
    coefficients: _Array
    is_free: NDArray[np.bool_]
    covariance: _Array
    background_variance: _Array
    bound_variance: _Array
    violation: _Array

    @classmethod
    def joined(cls, scans: "list[Scan]") -> "Scan":
        """Return several, sorted by redshift.

        Parameters
        ----------
        scans : list of Scan
            With the same templates.
        """
        if len(scans) == 1:
            return scans[0]
        order = np.argsort(np.concatenate([one.z for one in scans]), kind="stable")
        fields = {name: np.concatenate([getattr(one, name) for one in scans])[order] for name in cls.__annotations__}
        return cls(**fields)


@dataclass(frozen=True, kw_only=True, eq=False)
class Photometry:
    """Measurements beside the beams.

    Parameters
    ----------
    flux, err : ndarray, float64, shape (n_filters,)
        Fluxes and errors.
    design : ndarray, float64, shape (n_z, n_filters, n_templates)
        Flux of each template in each filter.
    """

    flux: _Array
    err: _Array
    design: _Array

    @property
    def words(self) -> tuple[list[float], _Array]:
        """In units of the errors, as the kernel takes it."""
        return list(self.flux / self.err), np.ascontiguousarray(self.design / self.err[:, None])


class BeamProblem:
    """The fitted pixels of all beams, compressed.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    errors : str, optional
        As in `FitParams`.

    Raises
    ------
    NoDataError
        When no pixel is fitted.

    Notes
    -----
    Per list of columns, ``Q R = sqrt(W) [A, B, d]`` with the weights ``W``, the operator ``A``, the backgrounds ``B``
    of its beams and the data ``d``. For templates with light ``T``, ``|sqrt(W) (A T a + B b - d)|^2`` is
    ``|R_A T a + R_B b - R_d|^2``, where ``R_A`` is a band as wide as the source.
    """

    def __init__(self, multibeam: MultiBeam, *, errors: Errors = "sandwich") -> None:
        self.multibeam = multibeam
        words: list[Any] = []
        self.noise = np.zeros(multibeam.N)
        for i, one in enumerate(multibeam.beams):
            fitted = np.ascontiguousarray(one.fit_mask & (one.ivar > 0) & (one.weight > 0))
            ivar, weight = one.ivar[fitted], one.weight[fitted]
            is_plain = errors == "weights"
            words.append(
                {
                    "disperser": one.disperser,
                    "at": one.at,
                    "total": one.total_flux,
                    "fitted": fitted,
                    "data": one.cleaned[fitted].astype(np.float64),
                    "ivar": ivar * weight if is_plain else ivar,
                    "weight": np.ones_like(weight) if is_plain else weight,
                }
            )
            self.noise[i] = 1.0 / np.sqrt(np.median(ivar)) if ivar.size else 0.0
        self.n_pixels = sum(int(word["fitted"].sum()) for word in words)
        if not self.n_pixels:
            msg = f"multibeam: source {multibeam.source_id} has no pixel that can be fitted"
            raise NoDataError(msg)
        self.kernel = _grism.Fit(words)

    def scan(
        self,
        bank: TemplateBank,
        z: ArrayLike,
        *,
        params: FitParams,
        fitter: Fitter,
        photometry: Photometry | None = None,
        has_covariance: bool = False,
        is_loose: bool = False,
    ) -> Scan:
        """Fit templates at redshifts.

        Parameters
        ----------
        bank : TemplateBank
            The templates.
        z : array_like, float64, shape (n,)
            Redshifts.
        params : FitParams
            How to fit.
        fitter : str
            Its ``fitter`` where that is not given.
        photometry : Photometry, optional
            More measurements.
        has_covariance : bool, optional
            Whether covariances are wanted.
        is_loose : bool, optional
            Whether backgrounds have no bounds.
        """
        redshifts = np.ascontiguousarray(np.atleast_1d(np.asarray(z, np.float64)))
        n = len(bank.names)
        lower, upper = np.zeros(n), np.full(n, np.inf)
        if fitter == "lstsq":
            lower[:] = -np.inf
        elif fitter == "bounded":
            lower[bank.is_line], upper[bank.is_line] = params.line_bounds
        background = None
        if params.fit_background:
            if is_loose:
                limits = np.full(self.noise.size, -np.inf), np.full(self.noise.size, np.inf)
            elif params.background_bounds is not None:
                limits = tuple(np.full(self.noise.size, value) for value in params.background_bounds)  # type: ignore[assignment]
            else:
                limit = params.background_sigma * self.noise
                limits = -limit, limit
            background = [list(limits[0]), list(limits[1])]
        found = self.kernel.scan(
            bank.kernel,
            redshifts,
            bounds=[list(lower), list(upper)],
            background=background,
            huber=params.huber_delta,
            has_covariance=has_covariance,
            extra=None if photometry is None else photometry.words,
        )
        loss, chi2, coefficients, is_free, covariance, background_variance, bound_variance, violation = found
        return Scan(
            z=redshifts,
            loss=loss,
            chi2=chi2,
            coefficients=coefficients,
            is_free=is_free,
            covariance=covariance,
            background_variance=background_variance,
            bound_variance=bound_variance,
            violation=violation,
        )
