"""Profiles drawn on pixels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._rust import profiles as _rust
from skymere.errors import InvalidInputError
from skymere.profiles.component import Component, asked_rows, names_of
from skymere.profiles.response import response_of
from skymere.psf import Psf

__all__ = ["draw_rows", "render", "render_sersic"]


def render_sersic(
    shape: tuple[int, int],
    *,
    x: ArrayLike,
    y: ArrayLike,
    flux: ArrayLike,
    re: ArrayLike,
    n: ArrayLike,
    q: ArrayLike = 1.0,
    pa: ArrayLike = 0.0,
    psf: Psf | ArrayLike | None = None,
    psf_has_pixel: bool = True,
) -> NDArray[np.float64]:
    """Draw the sum of Sersic profiles, integrated over the pixels or behind a PSF.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.
    x, y : array_like, float64, shape (n_sources,), or float [pix]
        Centres, 0-based; behind a PSF they must lie on the image.
    flux : array_like, float64, shape (n_sources,), or float
        All of the light, out to infinity.
    re : array_like, float64, shape (n_sources,), or float [pix]
        Semi-major axis of the ellipse that holds half of the light.
    n : array_like, float64, shape (n_sources,), or float
        Sersic index, from 0.1 to 10.
    q : array_like, float64, shape (n_sources,), or float, optional
        Minor over major axis.
    pa : array_like, float64, shape (n_sources,), or float [deg], optional
        Angle of the major axis, counter-clockwise from +y of the image.
    psf : Psf or array_like, float64, shape (py, px), optional
        Point-spread function; an array has the pixels of the image, its source in the middle and a sum that is the part
        of the light that it holds.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel, so that a model in a pixel is the profile convolved with the PSF
        at its centre. If not, it is integrated over the pixel, too; a `skymere.psf.Psf` says so itself.

    Returns
    -------
    ndarray, float64, shape (ny, nx) [unit of the fluxes]
        Light in each pixel.

    Raises
    ------
    InvalidInputError
        When the shape is empty, lengths differ or a value is not allowed; the source is named by its place.

    Notes
    -----
    ``I(r) = I_e exp(-b_n ((r / re)^(1/n) - 1))`` on ellipses. By Green's theorem the light in a pixel near the centre
    is an integral along its edges of the light within a radius, so that cusps need no sub-pixels.

    Behind a PSF a profile is the inverse transform of its own transform, a function of the elliptical frequency alone,
    times that of the PSF. Between its own pixels the PSF is what its Fourier transform says, so it should have a full
    width of 2.6 of its pixels or more; then models are those of GalSim within 1e-3 of the peak and within 1e-4 of the
    flux on the stamp. An oversampled `skymere.psf.Psf` is used as it is where its oversampling is a whole number.

    References
    ----------
    Sersic 1968, Atlas de Galaxias Australes. Ciotti & Bertin 1999, A&A 352, 447, eqs. 1 to 4. Rowe et al. 2015,
    Astron. Comput. 10, 121, sect. 6.

    Examples
    --------
    >>> from skymere.profiles import render_sersic
    >>> image = render_sersic((101, 101), x=50.2, y=49.7, flux=3.0, re=4.0, n=1.0, q=0.5, pa=30.0)
    >>> round(float(image.sum()), 4)
    3.0
    """
    given = {"x": x, "y": y, "flux": flux, "re": re, "n": n, "q": q, "pa": pa}
    columns = {name: np.atleast_1d(np.asarray(values, np.float64)) for name, values in given.items()}
    lengths = {c.shape for c in columns.values()} - {(1,)}
    if len(lengths) > 1 or any(len(each) > 1 for each in lengths):
        msg = f"x, y, flux, re, n, q, pa: shapes {sorted(lengths)} are not allowed, they must be one length"
        raise InvalidInputError(msg)
    columns = {"family": np.zeros(1)} | columns
    rows = np.column_stack(np.broadcast_arrays(*columns.values()))
    # The angle of the kernels runs from x towards y.
    rows[:, 7] = np.deg2rad(rows[:, 7] + 90.0)
    return draw_rows(rows, shape, psf, psf_has_pixel=psf_has_pixel)


def _check_shape(shape: tuple[int, int]) -> None:
    if len(shape) != 2 or min(shape) < 1:
        msg = f"shape: {shape} is not allowed, it must be two positive numbers"
        raise InvalidInputError(msg)


def draw_rows(
    rows: NDArray[np.float64], shape: tuple[int, int], psf: Psf | ArrayLike | None, *, psf_has_pixel: bool
) -> NDArray[np.float64]:
    """Return an image of sources that are rows of the kernel."""
    _check_shape(shape)
    rows, size = np.ascontiguousarray(rows), (int(shape[0]), int(shape[1]))
    if psf is None:
        return _rust.render_integrated(rows, size)
    return _rust.render_convolved(rows, response_of(psf, has_pixel=psf_has_pixel).keywords(), size)


def render(
    shape: tuple[int, int],
    components: Sequence[Component],
    *,
    psf: Psf | ArrayLike | None = None,
    psf_has_pixel: bool = True,
) -> NDArray[np.float64]:
    """Draw the sum of components, integrated over the pixels or behind a PSF.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.
    components : sequence of Component
        What is drawn: every parameter is a ``start``; ``ellipticity`` and ``pa`` are 0 when absent, and skies are
        levels in the middle of the image with their slopes. Points need a PSF.
    psf : Psf or array_like, float64, shape (py, px), optional
        Point-spread function, as in `render_sersic`.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel.

    Returns
    -------
    ndarray, float64, shape (ny, nx) [unit of the fluxes]
        Light in each pixel.

    Raises
    ------
    InvalidInputError
        When the shape is empty, a parameter is missing or a value is not allowed.

    Notes
    -----
    As `render_sersic`; the transform of a Moffat profile is
    ``2 (a k / 2)^(beta - 1) K_(beta - 1)(a k) / Gamma(beta - 1)``.

    Examples
    --------
    >>> from skymere.profiles import Component, render
    >>> disc = {"x": 50.2, "y": 49.7, "flux": 3.0, "r_eff_pix": 4.0, "ellipticity": 0.5, "pa": 30.0}
    >>> sky = Component(kind="sky", start={"sky": 0.1})
    >>> image = render((101, 101), [Component(kind="exponential", start=disc), sky])
    >>> round(float(image.sum() - 0.1 * image.size), 4)
    3.0
    """
    _check_shape(shape)
    sources: list[Component] = []
    owners: dict[int, dict[str, float]] = {}
    for i, one in enumerate(components):
        if one.centre_of is not None and not (one.centre_of in owners and "x" in owners[one.centre_of]):
            msg = f"centre_of: {one.centre_of} of number {i} is not allowed, it must be a source before it"
            raise InvalidInputError(msg)
        shared = {} if one.centre_of is None else {name: owners[one.centre_of][name] for name in ("x", "y")}
        start = {"ellipticity": 0.0, "pa": 0.0, "sky_slope_x": 0.0, "sky_slope_y": 0.0} | shared | dict(one.start)
        missing = [name for name in one.names if name not in start]
        if missing:
            msg = f"components: {', '.join(missing)} of number {i} is missing, all of what is drawn must be given"
            raise InvalidInputError(msg)
        owners[i] = start
        if not one.is_sky:
            sources.append(Component(kind=one.kind, start={name: start[name] for name in names_of(one.kind)}))
    if psf is None and any(one.kind == "point" for one in sources):
        msg = "components: a point is not allowed without a psf"
        raise InvalidInputError(msg)
    image = np.zeros(shape)
    if sources:
        rows = np.array([[family, *given] for family, _, _, given, _ in asked_rows(sources, {}, 1.0)])
        points = np.array([one.kind == "point" for one in sources])
        rows[points, 4:] = (0.0, 2.0, 1.0, 0.0)
        image = draw_rows(rows, shape, psf, psf_has_pixel=psf_has_pixel)
    y, x = np.indices(shape)
    for i, one in enumerate(components):
        if one.is_sky:
            sky = owners[i]
            image += sky["sky"] + sky["sky_slope_x"] * (x - (shape[1] - 1) / 2)
            image += sky["sky_slope_y"] * (y - (shape[0] - 1) / 2)
    return image
