"""Forward modelling with spectra and images of one's own: in two dimensions, and extracted to one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import FitError, InvalidInputError
from skymere.grism.extract import ExtractParams, extract_images, oned_spectrum
from skymere.grism.multibeam import MultiBeam

__all__ = ["Component", "ComponentFit", "fit_components", "forward_images", "forward_spectrum"]

_Array = NDArray[np.float64]
# Smallest part of a component, relative to the largest singular value, that is told from the others.
_LEAST = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """A spectrum, and where its light comes from.

    Parameters
    ----------
    name : str
        What results call it.
    wavelength : array_like, float64, shape (n,) [um]
        In rising order.
    flux : array_like, float64, shape (n,) [erg/s/cm2/A]
        Flux densities, straight between wavelengths and zero outside.
    images : sequence of array_like, float32, optional
        One image of the light for each beam, on the pixels of its direct image; the direct images when not given.
    """

    name: str
    wavelength: ArrayLike
    flux: ArrayLike
    images: Sequence[ArrayLike] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ComponentFit:
    """Factors of components.

    Parameters
    ----------
    names : tuple of str
        The components.
    coefficients, errors : ndarray, float64, shape (n,)
        Their factors, and 1 sigma.
    covariance : ndarray, float64, shape (n, n)
        Covariance of the factors.
    backgrounds : ndarray, float64, shape (N,) [e/s]
        Of every beam, NaN for one without a pixel; empty where none was fitted.
    chi2 : float
        Weighted sum of squares.
    n_data : int
        Pixels, or bins, that were used.
    """

    names: tuple[str, ...]
    coefficients: _Array
    errors: _Array
    covariance: _Array
    backgrounds: _Array
    chi2: float
    n_data: int


def forward_images(multibeam: MultiBeam, component: Component) -> list[_Array]:
    """Return the image of a component in every beam.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    component : Component
        Spectrum and images.

    Returns
    -------
    list of ndarray, float64, shape (ny, nx) [e/s]
        One for each beam.

    Raises
    ------
    InvalidInputError
        When there are not as many images as beams, or one has another shape.
    """
    images: Sequence[ArrayLike | None] = component.images or [None] * multibeam.N
    if len(images) != multibeam.N:
        msg = f"images: {len(images)} of {component.name!r} are not allowed, there are {multibeam.N} beams"
        raise InvalidInputError(msg)
    return [
        one.compute_model(component.wavelength, component.flux, image=image)
        for one, image in zip(multibeam.beams, images, strict=True)
    ]


def forward_spectrum(
    multibeam: MultiBeam, component: Component, *, params: ExtractParams | None = None
) -> dict[str, _Array]:
    """Return what `oned_spectrum` would extract of a component.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    component : Component
        Spectrum and images.
    params : ExtractParams, optional
        Bins.

    Returns
    -------
    dict of str to ndarray, float64, shape (n_bins,) [e/s]
        By grism; NaN where a bin has no pixel.

    Raises
    ------
    InvalidInputError
        When there are not as many images as beams, or one has another shape.

    Notes
    -----
    Its lines have the shape of the object's own light, as the extracted spectrum has them.
    """
    return extract_images(multibeam, forward_images(multibeam, component), params=params)


def fit_components(
    multibeam: MultiBeam,
    components: Sequence[Component],
    *,
    extracted: bool = False,
    background: bool = False,
    params: ExtractParams | None = None,
) -> ComponentFit:
    """Fit factors of components to the beams, or to the extracted spectra.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    components : sequence of Component
        Spectra and images.
    extracted : bool, optional
        Whether spectra in one dimension are fitted, not pixels.
    background : bool, optional
        Whether each beam has a background; of pixels only.
    params : ExtractParams, optional
        Bins of extracted spectra.

    Returns
    -------
    ComponentFit
        Factors with their covariance.

    Raises
    ------
    InvalidInputError
        When there is no component, two have one name, or images do not fit.
    FitError
        When components cannot be told apart, or no pixel is left.

    Notes
    -----
    ``x = (A'WA)^-1 A'Wd`` with the weights W of the fit, which are less than inverse variances beside contamination;
    ``cov = (A'WA)^-1 A'W V W A (A'WA)^-1`` with the variances V.
    """
    names = tuple(one.name for one in components)
    if not names or len(set(names)) != len(names):
        msg = f"components: {list(names)} are not allowed, there must be one or more of different names"
        raise InvalidInputError(msg)
    if extracted and background:
        msg = "background: it is not allowed with extracted=True, an extraction has none"
        raise InvalidInputError(msg)
    if extracted:
        design, data, weight, variance = _extracted(multibeam, components, params)
    else:
        design, data, weight, variance = _pixels(multibeam, components, background=background)
    root = np.sqrt(weight)
    size = np.sqrt(np.einsum("ij,i->j", design**2, weight))
    n = len(names)
    if not data.size or not np.all(size[:n] > 0):
        dark = [name for name, value in zip(names, size, strict=False) if not value > 0]
        msg = f"components: {dark or list(names)} have no light in the {data.size} pixels that are used"
        raise FitError(msg)
    # A beam without a pixel has no background.
    is_seen = size > 0
    design, size = design[:, is_seen], size[is_seen]
    scaled = design / size * root[:, None]
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    if values[-1] < _LEAST * values[0]:
        msg = f"components: {list(names)} cannot be told apart"
        raise FitError(msg)
    inverse = (right.T / values) @ left.T
    found = inverse @ (root * data)
    spread = inverse * (root * np.sqrt(variance))
    covariance = (spread @ spread.T) / np.outer(size, size)
    backgrounds = np.full(is_seen.size - n, np.nan)
    backgrounds[is_seen[n:]] = (found / size)[n:]
    return ComponentFit(
        names=names,
        coefficients=(found / size)[:n],
        errors=np.sqrt(np.diag(covariance))[:n],
        covariance=covariance[:n, :n],
        backgrounds=backgrounds,
        chi2=float(np.sum(weight * (data - design @ (found / size)) ** 2)),
        n_data=int(data.size),
    )


def _pixels(
    multibeam: MultiBeam, components: Sequence[Component], *, background: bool
) -> tuple[_Array, _Array, _Array, _Array]:
    images = [forward_images(multibeam, one) for one in components]
    design, data, ivar, factor = [], [], [], []
    for i, one in enumerate(multibeam.beams):
        used = one.fit_mask & (one.ivar > 0)
        columns: list[NDArray[Any]] = [mine[i][used] for mine in images]
        if background:
            columns += [np.full(int(used.sum()), float(i == k)) for k in range(multibeam.N)]
        design.append(np.stack(columns, axis=1))
        data.append(one.cleaned[used])
        ivar.append(one.ivar[used])
        factor.append(one.weight[used])
    weight = np.concatenate(ivar) * np.concatenate(factor)
    return np.concatenate(design), np.concatenate(data).astype(np.float64), weight, 1.0 / np.concatenate(ivar)


def _extracted(
    multibeam: MultiBeam, components: Sequence[Component], params: ExtractParams | None
) -> tuple[_Array, _Array, _Array, _Array]:
    models = [forward_spectrum(multibeam, one, params=params) for one in components]
    design, data, error = [], [], []
    for grism, spectrum in oned_spectrum(multibeam, params=params).items():
        flux, err = (spectrum.table[name].to_numpy().astype(np.float64) for name in ("flux", "err"))
        used = np.isfinite(flux) & (err > 0)
        design.append(np.stack([mine[grism][used] for mine in models], axis=1))
        data.append(flux[used])
        error.append(err[used])
    variance = np.concatenate(error) ** 2
    return np.concatenate(design), np.concatenate(data), 1.0 / variance, variance
