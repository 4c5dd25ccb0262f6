"""Formulas fitted to PSFs that are images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.errors import FitError, InvalidInputError, NoDataError
from skymere.psf.axes import PixelAxes
from skymere.psf.models import GaussianMixturePsf, GaussianPsf, MoffatPsf
from skymere.psf.sampled import Psf, measure_shape, pixel_nodes

__all__ = ["PsfFit", "fit_gaussian_mixture", "fit_moffat"]

_MAX_STEPS = 200
# A fit has converged when a step makes chi2 less by no more than this part, twice.
_TOLERANCE = 1e-9
# Values are float32: chi2 below this part of the sum of their squares is rounding.
_ROUNDING = 1e-16
# Pixels are integrated to a few millionths of the peak: chi2 below this part of the sum of squares holds no light.
_EXACT = 1e-11
# A Gaussian that makes chi2 less by no more than this part is another one once more.
_LEAST_GAIN = 1e-6
# Parameters so near to a bound are at it.
_AT_BOUND = 1e-9
# Axis ratios stay above this, as narrower Gaussians would fall between the nodes of a pixel.
_LEAST_RATIO = 0.1


@dataclass(frozen=True, kw_only=True)
class PsfFit:
    """A formula, and how far the PSF that it was fitted to is from it.

    Parameters
    ----------
    model : MoffatPsf or GaussianMixturePsf
        The formula, of flux 1.
    x, y : float
        Its centre [pix of the image].
    flux : float
        Its light, out to infinity, where the sum of the image is ``enclosed``.
    max_residual : float
        Largest difference of image and formula, over the peak of the image.
    residual_light : float
        Sum of all absolute differences, over the sum of the image.
    problems : tuple of str
        Bounds that were hit and Gaussians that were left out, in words; empty when there are none.
    """

    model: MoffatPsf | GaussianMixturePsf
    x: float
    y: float
    flux: float
    max_residual: float
    residual_light: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Image:
    """The pixels of a PSF [pix of the band], and the nodes in which they are integrated."""

    value: NDArray[np.float64]
    sigma: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    steps: NDArray[np.float64]
    weights: NDArray[np.float64]
    fwhm: float
    half: float


def fit_moffat(psf: Psf, *, scale_arcsec: float, pa_deg: float = 0.0, is_flipped: bool = False) -> PsfFit:
    """Fit a Moffat profile to a PSF.

    Parameters
    ----------
    psf : Psf
        Image; with ``has_pixel`` the profile is integrated over the band's pixels before it is compared.
    scale_arcsec : float
        Side of a pixel of the band [arcsec].
    pa_deg, is_flipped
        How the pixels of the band lie on the sky; see `PixelAxes`.

    Raises
    ------
    InvalidInputError
        When a pixel is not finite, or a number is not allowed.
    NoDataError
        When there is no peak.
    FitError
        When the fit does not converge.

    Notes
    -----
    Least squares, weighted with ``error`` where the PSF has it, by Levenberg-Marquardt [1]_ over centre, FWHM,
    ellipticity and beta from 1.05 to 101; the flux is linear and solved for. A parameter stays at a bound while the
    slope points beyond it: a Gaussian has the beta of 101, and ``problems`` says so.

    References
    ----------
    .. [1] Marquardt 1963, J. SIAM 11, 431.

    Examples
    --------
    >>> from skymere.psf import MoffatPsf, fit_moffat, sample_psf
    >>> psf = sample_psf(MoffatPsf(fwhm_arcsec=0.2, beta=3.0), scale_arcsec=0.05, shape=(61, 61))
    >>> fit = fit_moffat(psf, scale_arcsec=0.05)
    >>> round(fit.model.fwhm_arcsec, 4), round(fit.model.beta, 3), fit.max_residual < 1e-4
    (0.2, 3.0, True)
    """
    axes = PixelAxes(scale_arcsec=scale_arcsec, pa_deg=pa_deg, is_flipped=is_flipped)
    image = _image_of(psf)

    def columns(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return _drawn(_moffat(theta), image, theta[0], theta[1])[:, None]

    limits = _limits(image, 1, moffat=True)
    best, chi2 = np.empty(0), np.inf
    # From one start, fits of wide wings or of none may end in a wrong minimum.
    for beta in (2.0, 3.5, 10.0):
        start = np.array([0.0, 0.0, np.log(image.fwhm), 0.0, 0.0, np.log(beta - 1.0)])
        theta, found = _levenberg(columns, image, start, limits=limits)
        if found < chi2:
            best, chi2 = theta, found
    amplitude = _amplitudes(columns(best), image)
    model = _moffat(best)
    on_sky = MoffatPsf(**_on_sky(model, axes), beta=model.beta)
    hit = _bounds_hit(best, limits, scale_arcsec)
    return _fit_of(on_sky, columns(best) @ amplitude, psf, image, best, float(amplitude.sum()), hit)


def fit_gaussian_mixture(
    psf: Psf, n: int, *, scale_arcsec: float, pa_deg: float = 0.0, is_flipped: bool = False
) -> PsfFit:
    """Fit a sum of Gaussians to a PSF.

    Parameters
    ----------
    psf : Psf
        Image; with ``has_pixel`` the Gaussians are integrated over the band's pixels before they are compared.
    n : int
        How many, from 1 to 8; those that take no light, or are another one once more, are left out, and ``problems``
        says so.
    scale_arcsec : float
        Side of a pixel of the band [arcsec].
    pa_deg, is_flipped
        How the pixels of the band lie on the sky; see `PixelAxes`.

    Raises
    ------
    InvalidInputError
        When a pixel is not finite, or a number is not allowed.
    NoDataError
        When there is no peak.
    FitError
        When the fit does not converge.

    Notes
    -----
    Least squares as in `fit_moffat`, over one centre and the FWHM and ellipticity of each; the fluxes are linear and
    solved for, none of them negative. Gaussians are added one by one: each starts from the best fit without it.

    References
    ----------
    Hogg & Lang 2013, PASP 125, 719.

    Examples
    --------
    >>> from skymere.psf import MoffatPsf, fit_gaussian_mixture, sample_psf
    >>> psf = sample_psf(MoffatPsf(fwhm_arcsec=0.2, beta=3.0), scale_arcsec=0.05, shape=(41, 41))
    >>> fit = fit_gaussian_mixture(psf, 3, scale_arcsec=0.05)
    >>> len(fit.model.components), fit.max_residual < 0.01
    (3, True)
    """
    if not 1 <= n <= 8:
        msg = f"n: {n} is not allowed, it must be from 1 to 8"
        raise InvalidInputError(msg)
    axes = PixelAxes(scale_arcsec=scale_arcsec, pa_deg=pa_deg, is_flipped=is_flipped)
    image = _image_of(psf)

    def columns(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = [_drawn(one, image, theta[0], theta[1]) for one in _gaussians(theta)]
        return np.stack(parts, axis=1)

    theta = np.array([0.0, 0.0, np.log(image.fwhm), 0.0, 0.0])
    light = float(np.sum((image.value / image.sigma) ** 2))
    theta, least = _levenberg(columns, image, theta, limits=_limits(image, 1))
    problems: list[str] = []
    for k in range(1, n):
        if least <= _EXACT * light:
            break
        widest = theta[2::3].max()
        best, chi2 = np.empty(0), np.inf
        # The next one holds the wings, or sharpens the core.
        for width in (widest + np.log(2.2), theta[2::3].min() - np.log(1.5)):
            start, limits = np.r_[theta, width, 0.0, 0.0], _limits(image, k + 1)
            found, now = _levenberg(columns, image, np.clip(start, *limits), limits=limits)
            if now < chi2:
                best, chi2 = found, now
        if chi2 > (1 - _LEAST_GAIN) * least:
            break
        theta, least = best, chi2
    amplitudes = _amplitudes(columns(theta), image)
    flux = float(amplitudes.sum())
    kept = [(a / flux, one) for a, one in zip(amplitudes, _gaussians(theta), strict=True) if a > 0]
    kept.sort(key=lambda part: part[1].fwhm_arcsec)
    if len(kept) < n:
        problems.append(
            f"n: {len(kept)} of {n} Gaussians are the PSF, more would be the same once more or take no light"
        )
    problems += _bounds_hit(theta, _limits(image, len(theta) // 3), scale_arcsec)
    model = GaussianMixturePsf(
        components=tuple(GaussianPsf(**_on_sky(one, axes)) for _, one in kept),
        fractions=tuple(float(f) for f, _ in kept),
    )
    return _fit_of(model, columns(theta) @ amplitudes, psf, image, theta, flux, problems)


def _image_of(psf: Psf) -> _Image:
    n_bad = int(np.count_nonzero(~np.isfinite(psf.data)))
    if n_bad:
        msg = f"psf: {n_bad} of {psf.data.size} pixels are not finite, a PSF needs all"
        raise InvalidInputError(msg)
    total = float(psf.data.sum(dtype=float))
    if not total > 0:
        msg = f"psf: a sum of {total:g} is not allowed, it must be positive"
        raise NoDataError(msg)
    shape = measure_shape(psf.data)
    s = psf.oversampling
    yy, xx = np.indices(psf.shape, dtype=np.float64)
    # The broader the PSF, the fewer nodes it needs for 1e-6 of its peak.
    width = shape.fwhm / s
    steps, weights = pixel_nodes(4 if width > 2.5 else 6 if width > 1.5 else 10) if psf.has_pixel else pixel_nodes(1)
    sigma = np.ones(psf.data.size)
    if psf.error is not None:
        sigma = psf.error.astype(np.float64).ravel() * s**2
        sigma = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.inf)
    value = psf.data.astype(np.float64).ravel() * (s**2 * psf.enclosed / total)
    return _Image(
        value=value,
        sigma=sigma / np.median(sigma[np.isfinite(sigma)]) if np.isfinite(sigma).any() else np.ones(psf.data.size),
        x=((xx - shape.x) / s).ravel(),
        y=((yy - shape.y) / s).ravel(),
        steps=steps,
        weights=weights,
        fwhm=width,
        half=max(psf.shape) / 2 / s,
    )


def _limits(image: _Image, n: int, *, moffat: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest parameters of n ellipses."""
    round_ = -np.log(_LEAST_RATIO) / np.sqrt(2)
    low = [-image.fwhm, -image.fwhm] + n * [np.log(0.3 * image.fwhm), -round_, -round_]
    high = [image.fwhm, image.fwhm] + n * [np.log(4 * image.half), round_, round_]
    extra = ([np.log(0.05)], [np.log(100.0)]) if moffat else ([], [])
    return np.array(low + extra[0]), np.array(high + extra[1])


def _bounds_hit(
    theta: NDArray[np.float64], limits: tuple[NDArray[np.float64], NDArray[np.float64]], scale_arcsec: float
) -> list[str]:
    """Return which parameters are at the bounds of `_limits`, in words."""
    at = (theta <= limits[0] + _AT_BOUND) | (theta >= limits[1] - _AT_BOUND)
    hit = [
        f"{name}: it is at its bound, a FWHM from the brightest place"
        for name, one in zip("xy", at, strict=False)
        if one
    ]
    for k in range(2, len(theta) - 2, 3):
        ellipse = _ellipse(theta[k : k + 3])
        if at[k]:
            hit.append(f"fwhm_arcsec: {ellipse['fwhm_arcsec'] * scale_arcsec:.3g} is at its bound")
        if at[k + 1 : k + 3].any():
            hit.append(f"axis_ratio: {ellipse['axis_ratio']:.3g} is at its bound")
    if (len(theta) - 2) % 3 and at[-1]:
        hit.append(f"beta: {1.0 + np.exp(theta[-1]):.4g} is at its bound{', a Gaussian' if theta[-1] > 0 else ''}")
    return hit


def _ellipse(theta: NDArray[np.float64]) -> dict[str, float]:
    """Return width, axis ratio and angle of ``(log fwhm, e1, e2)``: ``q = exp(-|e|)`` is smooth where it is round."""
    width, e1, e2 = theta
    return {
        "fwhm_arcsec": float(np.exp(width)),
        "axis_ratio": float(np.exp(-np.hypot(e1, e2))),
        "pa_deg": float(np.rad2deg(np.arctan2(e2, e1)) / 2),
    }


def _moffat(theta: NDArray[np.float64]) -> MoffatPsf:
    return MoffatPsf(**_ellipse(theta[2:5]), beta=float(1.0 + np.exp(theta[5])))


def _gaussians(theta: NDArray[np.float64]) -> list[GaussianPsf]:
    return [GaussianPsf(**_ellipse(one)) for one in theta[2:].reshape(-1, 3)]


def _on_sky(model: MoffatPsf | GaussianPsf, axes: PixelAxes) -> dict[str, float]:
    """Return width, axis ratio and angle on the sky of an ellipse in pixels, its angle from +y towards -x."""
    angle = np.deg2rad(model.pa_deg)
    east, north = axes.matrix @ np.array([-np.sin(angle), np.cos(angle)])
    return {
        "fwhm_arcsec": model.fwhm_arcsec * axes.scale_arcsec,
        "axis_ratio": model.axis_ratio,
        "pa_deg": float(np.rad2deg(np.arctan2(east, north)) % 180.0),
    }


def _drawn(model: MoffatPsf | GaussianPsf, image: _Image, x: float, y: float) -> NDArray[np.float64]:
    """Return what pixels show of a formula in pixels, of flux 1, at a place."""
    dx, dy = image.x - x, image.y - y
    out = np.zeros(dx.shape)
    for i, step_y in enumerate(image.steps):
        for j, step_x in enumerate(image.steps):
            out += image.weights[i, j] * model.sky_density(-(dx + step_x), dy + step_y)
    return out


def _amplitudes(columns: NDArray[np.float64], image: _Image) -> NDArray[np.float64]:
    """Return the fluxes of least squares; those that would be negative are 0."""
    design, value = columns / image.sigma[:, None], image.value / image.sigma
    kept = np.ones(design.shape[1], bool)
    out = np.zeros(design.shape[1])
    while kept.any():
        found = np.linalg.lstsq(design[:, kept], value, rcond=None)[0]
        if (found > 0).all():
            out[kept] = found
            break
        kept[np.flatnonzero(kept)[int(np.argmin(found))]] = False
    return out


def _levenberg(
    columns: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    image: _Image,
    start: NDArray[np.float64],
    *,
    limits: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], float]:
    """Return the parameters of least squares, within limits, and chi2."""

    def rest(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = columns(theta)
        return (drawn @ _amplitudes(drawn, image) - image.value) / image.sigma

    theta, damping, small = start, 1e-3, 0
    now = rest(theta)
    chi2 = float(now @ now)
    rounding = _ROUNDING * float(np.sum((image.value / image.sigma) ** 2))
    slopes = _slopes(rest, theta, now, limits[1])
    for _ in range(_MAX_STEPS):
        downhill = -slopes.T @ now
        # What would leave its bounds stays, or the others would step as if it could.
        free = ~(((theta <= limits[0]) & (downhill < 0)) | ((theta >= limits[1]) & (downhill > 0)))
        if not free.any():
            return theta, chi2
        normal = slopes[:, free].T @ slopes[:, free]
        scale = np.diag(normal) + 1e-12 * np.trace(normal)
        step = np.zeros(len(theta))
        step[free] = np.linalg.solve(normal + damping * np.diag(scale), downhill[free])
        trial = np.clip(theta + np.clip(step, -1.0, 1.0), *limits)
        then = rest(trial)
        chi2_then = float(then @ then)
        if chi2_then < chi2:
            gain = chi2 - chi2_then
            small = small + 1 if gain < _TOLERANCE * chi2 + rounding else 0
            theta, now, chi2, damping = trial, then, chi2_then, damping / 5
            if small == 2:
                return theta, chi2
            slopes = _slopes(rest, theta, now, limits[1])
        else:
            damping *= 4
            if damping > 1e12:
                # No direction goes down any more.
                return theta, chi2
    msg = f"psf: the fit did not converge in {_MAX_STEPS} steps, chi2 is {chi2:g}"
    raise FitError(msg)


def _slopes(
    rest: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    theta: NDArray[np.float64],
    now: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the derivatives by finite differences, inwards at the upper limits."""
    out = np.empty((len(now), len(theta)))
    for i in range(len(theta)):
        h = 1e-6 if theta[i] + 1e-6 <= upper[i] else -1e-6
        moved = theta.copy()
        moved[i] += h
        out[:, i] = (rest(moved) - now) / h
    return out


def _fit_of(
    model: MoffatPsf | GaussianMixturePsf,
    drawn: NDArray[np.float64],
    psf: Psf,
    image: _Image,
    theta: NDArray[np.float64],
    flux: float,
    problems: list[str],
) -> PsfFit:
    off = np.abs(drawn - image.value)
    shape = measure_shape(psf.data)
    return PsfFit(
        model=model,
        x=shape.x + float(theta[0]) * psf.oversampling,
        y=shape.y + float(theta[1]) * psf.oversampling,
        flux=flux,
        max_residual=float(off.max() / image.value.max()),
        residual_light=float(off.sum() / image.value.sum()),
        problems=tuple(problems),
    )
