"""From chi square along redshift to p(z), its percentiles and its risk."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RedshiftPdf", "find_peaks", "log_grid", "make_pdf"]

_Array = NDArray[np.float64]

_PERCENTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
_LEAST_PDF = 1e-40
_FINE_STEP = 1e-4
# Points between two of a grid that is finer than that.
_N_BETWEEN = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class RedshiftPdf:
    """p(z) of chi square.

    Parameters
    ----------
    pdf : ndarray, float64, shape (n,)
        The density; its trapezoidal integral is 1.
    percentiles : tuple of float
        2.5, 16, 50, 84 and 97.5 per cent of it are below them.
    z_map : float
        The highest point, of a parabola.
    risk : ndarray, float64, shape (n,)
        Expected loss of each redshift.
    z_risk, min_risk : float
        Where it is least, and how large there.
    """

    pdf: _Array
    percentiles: tuple[float, ...]
    z_map: float
    risk: _Array
    z_risk: float
    min_risk: float


def log_grid(low: float, high: float, step: float) -> _Array:
    """Return redshifts evenly spaced in ln(1 + z), without the last.

    Parameters
    ----------
    low, high : float
        Where they begin and end.
    step : float
        In ln(1 + z).
    """
    return np.asarray(np.exp(np.arange(np.log1p(low), np.log1p(high), step)) - 1.0, np.float64)


def find_peaks(signal: _Array, *, threshold: float, min_distance: int) -> list[int]:
    """Return the peaks of a signal, the highest first.

    Parameters
    ----------
    signal : ndarray, float64, shape (n,)
        The signal.
    threshold : float
        Least height over the whole range of the signal.
    min_distance : int
        A peak hides lower ones nearer than that.
    """
    limit = threshold * (signal.max() - signal.min()) + signal.min()
    rises = np.flatnonzero(np.diff(signal) != 0)
    # Flat tops count at their middle.
    edges = np.concatenate([[-1], rises, [signal.size - 1]])
    found = []
    for a, b in zip(edges[:-1] + 1, edges[1:], strict=True):
        is_top = a > 0 and b < signal.size - 1 and signal[a - 1] < signal[a] and signal[b + 1] < signal[b]
        if is_top and signal[a] >= limit:
            found.append(int(a + b) // 2)
    kept: list[int] = []
    for i in sorted(found, key=lambda i: -signal[i]):
        if all(abs(i - other) >= min_distance for other in kept):
            kept.append(i)
    return kept


def make_pdf(
    z: _Array, loss: _Array, *, scale: float = 1.0, prior: tuple[_Array, _Array] | None = None, gamma: float = 0.15
) -> RedshiftPdf:
    """Return p(z) ~ prior exp(-loss / (2 scale)).

    Parameters
    ----------
    z : ndarray, float64, shape (n,)
        Redshifts, rising.
    loss : ndarray, float64, shape (n,)
        Chi square.
    scale : float, optional
        What it is divided by.
    prior : tuple of ndarray, optional
        Redshifts and densities.
    gamma : float, optional
        Width of the loss function ``1 - 1 / (1 + (dz / (1 + z) / gamma)^2)``.

    References
    ----------
    Tanaka et al. 2018, PASJ 70, S9, eq. 7 (risk). Akima 1970, J. ACM 17, 589 (interpolation of ln p).
    """
    log_p = -0.5 * (loss - loss.min()) / scale
    if prior is not None:
        with np.errstate(divide="ignore"):
            log_p = log_p + np.log(np.interp(z, prior[0], prior[1], left=0.0, right=0.0))
        if not np.isfinite(log_p).any():
            # No redshift of the grid is possible: nothing is known.
            log_p = np.zeros_like(z)
    if z.size == 1:
        nothing = np.full(1, np.nan)
        one = float(z[0])
        return RedshiftPdf(
            pdf=nothing, percentiles=(np.nan,) * 5, z_map=one, risk=nothing, z_risk=one, min_risk=float("nan")
        )
    pdf = np.exp(log_p - log_p.max())
    pdf /= np.trapezoid(pdf, z)
    fine = _fine(z)
    curve = np.exp(_akima(z, np.log(np.maximum(pdf, _LEAST_PDF)), fine))
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (curve[1:] + curve[:-1]) * np.diff(fine))])
    percentiles = tuple(float(np.interp(q, cumulative / cumulative[-1], fine)) for q in _PERCENTILES)
    steps = np.gradient(z)
    steps[[0, -1]] = 0.5 * np.array([z[1] - z[0], z[-1] - z[-2]])
    # Only what has a probability adds to the risk.
    likely = pdf * steps > 1e-15
    risk = _loss((z[:, None] - z[likely]) / (1 + z[likely]), gamma) @ (pdf * steps)[likely]
    z_risk = _vertex(z, -risk)
    min_risk = float(_loss((z_risk - z[likely]) / (1 + z[likely]), gamma) @ (pdf * steps)[likely])
    return RedshiftPdf(
        pdf=pdf, percentiles=percentiles, z_map=_vertex(z, pdf), risk=risk, z_risk=z_risk, min_risk=min_risk
    )


def _fine(z: _Array) -> _Array:
    """Redshifts between those of a grid, at most 1e-4 (1 + z) apart."""
    n = np.maximum(np.ceil(np.diff(np.log1p(z)) / _FINE_STEP).astype(int), _N_BETWEEN)
    first = np.repeat(z[:-1], n)
    part = np.arange(first.size) - np.repeat(np.cumsum(n) - n, n)
    return np.append(first + part / np.repeat(n, n) * np.repeat(np.diff(z), n), z[-1])


def _loss(dz: _Array, gamma: float) -> _Array:
    return 1.0 - 1.0 / (1.0 + (dz / gamma) ** 2)


def _vertex(x: _Array, y: _Array) -> float:
    """Place of the highest point, by the parabola through it and its neighbours."""
    i = int(np.argmax(y))
    if i in (0, x.size - 1):
        return float(x[i])
    u, v = x[i - 1 : i + 2] - x[i], y[i - 1 : i + 2] - y[i]
    curve = (v[0] / u[0] - v[2] / u[2]) / (u[0] - u[2])
    slope = v[0] / u[0] - curve * u[0]
    return float(x[i] - 0.5 * slope / curve) if curve < 0 else float(x[i])


def _akima(x: _Array, y: _Array, at: _Array) -> _Array:
    if x.size < 5:
        return np.asarray(np.interp(at, x, y), np.float64)
    m = np.diff(y) / np.diff(x)
    m = np.concatenate([[3 * m[0] - 2 * m[1], 2 * m[0] - m[1]], m, [2 * m[-1] - m[-2], 3 * m[-1] - 2 * m[-2]]])
    left, right = np.abs(m[1:-2] - m[:-3]), np.abs(m[3:] - m[2:-1])
    total = right + left
    even = total <= 1e-9 * max(float(total.max()), 1e-300)
    t = np.where(even, 0.5 * (m[1:-2] + m[2:-1]), (right * m[1:-2] + left * m[2:-1]) / np.where(even, 1.0, total))
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, x.size - 2)
    h, d = np.diff(x)[i], at - x[i]
    slope = (np.diff(y) / np.diff(x))[i]
    c = (3 * slope - 2 * t[i] - t[i + 1]) / h
    b = (t[i] + t[i + 1] - 2 * slope) / h**2
    return np.asarray(y[i] + d * (t[i] + d * (c + d * b)), np.float64)
