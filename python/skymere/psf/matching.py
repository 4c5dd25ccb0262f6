"""Kernels that give a sharp image the PSF of a broader one."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.psf.axes import PixelAxes
from skymere.psf.convolution import Kernel, convolve, fast_length
from skymere.psf.resampling import density_at, resampled, with_pixel
from skymere.psf.sampled import Psf, measure_shape

__all__ = ["KernelCheck", "MatchParams", "MatchingKernel", "matching_kernel"]

# Pixels per FWHM of a PSF that is interpolated by quintics.
_PER_FWHM = 12.0
# Kernels of no given size are no larger, and PSFs are looked at so far from the source, or twice the kernel [pix].
_LARGEST = 1023
_LEAST_HALF = 256
# Rows or columns that are transformed at a time.
_LINES = 256


@dataclass(frozen=True, kw_only=True)
class MatchParams:
    """Parameters of `matching_kernel`.

    Parameters
    ----------
    regularisation : float
        Weight of the Laplacian that holds down waves which the sharp PSF has lost.
    cutoff : float
        The kernel has no waves beyond this part of the Nyquist frequency of the sharp band's pixels; up to 1.
    taper : float
        Part of the band up to the cutoff over which a cosine bell falls from 1 to 0; 1 is a Hanning window.
    size_pix : int or None
        Side of the kernel, odd [pix]; when None as large as the larger PSF, up to 1023. Memory and time grow with it
        and not with the PSFs: of these no more counts than twice the kernel, or 513 pixels.
    max_gain : float
        A kernel that would have to amplify a wave by more is an error: the target is not broader there.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    regularisation: float = 1e-5
    cutoff: float = 1.0
    taper: float = 0.3
    size_pix: int | None = None
    max_gain: float = 1.5

    def __post_init__(self) -> None:
        for name, low, high in (("regularisation", 0.0, np.inf), ("cutoff", 0.0, 1.0), ("taper", 0.0, 1.0)):
            value = getattr(self, name)
            if not (low <= value <= high) or (name == "cutoff" and value == 0):
                msg = f"{name}: {value} is not allowed, it must be from {low:g} to {high:g}"
                raise InvalidInputError(msg)
        if not self.max_gain >= 1:
            msg = f"max_gain: {self.max_gain} is not allowed, it must be at least 1"
            raise InvalidInputError(msg)
        if self.size_pix is not None and (self.size_pix < 3 or self.size_pix % 2 == 0):
            msg = f"size_pix: {self.size_pix} is not allowed, it must be odd and at least 3"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class KernelCheck:
    """How well a kernel does what it is for; both PSFs have the sum 1 here.

    Parameters
    ----------
    sum : float
        Of the kernel, before it was made 1: what was cut off at its border.
    max_residual : float
        Largest difference of psf * kernel and target, over the peak of the target.
    residual_light : float
        Sum of all absolute differences, over all light.
    max_enclosed_error : float
        Largest difference of the light of both within a circle, over all radii, over all light.
    power_above_band : float
        Part of the kernel's power in waves beyond the cutoff.
    max_gain : float
        Largest factor by which the kernel multiplies a wave.
    noise_factor : float
        White noise is so many times as large after the convolution, ``sqrt(sum K^2)``.
    """

    sum: float
    max_residual: float
    residual_light: float
    max_enclosed_error: float
    power_above_band: float
    max_gain: float
    noise_factor: float


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchingKernel(Kernel):
    """A kernel from one PSF to another.

    Parameters
    ----------
    data : ndarray, float64, shape (n, n)
        Values with the sum 1, on the pixels of the sharp band, the origin in the middle one.
    check : KernelCheck
        What it does to its PSF.
    """

    check: KernelCheck


def matching_kernel(
    psf: Psf,
    target: Psf,
    *,
    axes: PixelAxes | None = None,
    target_axes: PixelAxes | None = None,
    params: MatchParams | None = None,
) -> MatchingKernel:
    """Return the kernel that turns a PSF into a broader one.

    Parameters
    ----------
    psf : Psf
        Of the sharp band.
    target : Psf
        Of the broad band.
    axes, target_axes : PixelAxes, optional
        How the pixels of both bands lie on the sky; none when they are the same pixels.
    params : MatchParams, optional
        Regularisation, window and size.

    Returns
    -------
    MatchingKernel
        To convolve images of the sharp band with, on their own pixels, by `convolve`; with its check.

    Raises
    ------
    InvalidInputError
        When the target is sharper than the PSF, a PSF has pixels that are not finite or no light, only one of both
        axes is given, or the size is not allowed.

    Notes
    -----
    With the Fourier transforms P and T of both PSFs with their pixels [1]_::

        K = W P* T / (|P|^2 + mu |L|^2),    L = 4 - 2 cos(2 pi u) - 2 cos(2 pi v)

    at frequencies u, v up to half a cycle per pixel of the sharp band, ``mu`` the regularisation, L the transform of
    pypher's discrete Laplacian, and W a cosine bell, ``(1 + cos(pi (k - k_L) / (k_H - k_L))) / 2`` from 1 at
    ``k_L = (1 - taper) k_H`` to 0 at ``k_H``, the cutoff; [2]_ has it with ``k_L = 0.7 k_H``, as it is here by default,
    and [3]_, the Hanning window, with ``k_L = 0``. Both take the ratio T / P and neither regularises it; [1]_ has no
    window. P and T are sampled as finely as the image of the sharp PSF is, and so is the check: what the kernel, on the
    band's pixels, makes of a star between pixels.

    References
    ----------
    .. [1] Boucaud et al. 2016, A&A 596, A63 (the Wiener filter with a Laplacian, as in their code pypher).
    .. [2] Aniano et al. 2011, PASP 123, 1218 (the low-pass filter f of their kernels).
    .. [3] Gordon et al. 2008, ApJ 682, 336 (kernels from ratios of transforms in a Hanning window).

    Examples
    --------
    >>> from skymere.psf import GaussianPsf, matching_kernel, sample_psf
    >>> sharp, broad = (sample_psf(GaussianPsf(fwhm_arcsec=w), scale_arcsec=0.03, shape=(61, 61)) for w in (0.1, 0.2))
    >>> kernel = matching_kernel(sharp, broad)
    >>> kernel.data.shape, kernel.check.max_residual < 1e-3
    ((61, 61), True)
    """
    p = params or MatchParams()
    if (axes is None) != (target_axes is None):
        msg = "axes, target_axes: only one of them is given, both or none are needed"
        raise InvalidInputError(msg)
    to_target = np.eye(2)
    if axes is not None and target_axes is not None:
        to_target = np.linalg.inv(target_axes.matrix) @ axes.matrix
    scale = float(np.sqrt(abs(np.linalg.det(to_target))))
    for one, name in ((psf, "psf"), (target, "target")):
        _require_light(one, name)
    reach = max(max(psf.shape) / psf.oversampling, max(target.shape) / target.oversampling / scale) / 2
    # The last pixels end there.
    largest = max(int(np.ceil(reach - 0.5)), 1)
    size = p.size_pix or min(2 * largest + 1, _LARGEST)
    half = min(largest, max(size - 1, _LEAST_HALF))
    lights = [float(one.data.sum(dtype=float)) for one in (psf, target)]
    # Pixels in the corners of the window may lie on a diagonal of the target.
    psf, target = _near(psf, half + 0.5), _near(target, (half + 0.5) * np.sqrt(2) * scale)
    psf, target = with_pixel(psf), with_pixel(target)
    _require_broader(psf, target, scale)

    s = max(1, int(np.ceil(psf.oversampling)))
    offsets = np.arange(-half * s, half * s + 1) / s
    sharp, broad = density_at(psf, offsets, offsets), _target_on(target, offsets, to_target)
    # Light on the raster, of all there is; all of it where nothing was cut off.
    shares = [
        min(float(image.sum()) / s**2 * area / light, 1.0) if half < largest else 1.0
        for image, area, light in zip((sharp, broad), (1.0, scale**2), lights, strict=True)
    ]
    sharp, broad = (_unit(image) * share for image, share in zip((sharp, broad), shares, strict=True))

    m = fast_length(2 * (2 * half + 1))
    if size > m - 1:
        msg = f"size_pix: {size} is not allowed, PSFs of {2 * half + 1} pixels give a kernel of at most {m - 1}"
        raise InvalidInputError(msg)
    spectrum = _ratio(_baseband(sharp, m, s), _baseband(broad, m, s), p)
    full = np.fft.fftshift(np.fft.irfft2(spectrum, (m, m)))
    first = m // 2 - size // 2
    data = full[first : first + size, first : first + size]
    total = float(data.sum())
    if not total > 0:
        msg = f"size_pix: {size} is not allowed, the kernel has a sum of {total:g} within it, it must be positive"
        raise InvalidInputError(msg)
    data = np.ascontiguousarray(data / total)
    gain = _gain(spectrum)
    if gain > p.max_gain:
        msg = (
            f"target: it is not broader than psf everywhere, the kernel amplifies a wave {gain:.2f} times, at most "
            f"{p.max_gain:g} are allowed (max_gain)"
        )
        raise InvalidInputError(msg)
    return MatchingKernel(data=data, check=_checked(data, sharp, broad, s=s, total=total, gain=gain, cutoff=p.cutoff))


def _require_light(psf: Psf, name: str) -> None:
    n_bad = int(np.count_nonzero(~np.isfinite(psf.data)))
    if n_bad:
        msg = f"{name}: {n_bad} of {psf.data.size} pixels are not finite, a PSF needs all"
        raise InvalidInputError(msg)
    total = float(psf.data.sum(dtype=float))
    if not total > 0:
        msg = f"{name}: a sum of {total:g} is not allowed, it must be positive"
        raise InvalidInputError(msg)


def _near(psf: Psf, half: float) -> Psf:
    """Return the part of a PSF within so many pixels of the band of the source, along rows and columns."""
    (y0, y1), (x0, x1) = (
        (max(int(np.ceil(middle - half * psf.oversampling)), 0), min(int(middle + half * psf.oversampling) + 1, n))
        for middle, n in zip((psf.y, psf.x), psf.shape, strict=True)
    )
    data = psf.data[y0:y1, x0:x1]
    return psf if data.shape == psf.shape else replace(psf, data=data, x=psf.x - x0, y=psf.y - y0, error=None)


def _fwhm(psf: Psf, name: str) -> float:
    """Full width at half maximum [pix of the band]."""
    try:
        return measure_shape(psf.data, x=psf.x, y=psf.y).fwhm / psf.oversampling
    except NoDataError as error:
        msg = f"{name}: no PSF: {error}"
        raise InvalidInputError(msg) from error


def _require_broader(psf: Psf, target: Psf, scale: float) -> None:
    mine, wanted = _fwhm(psf, "psf"), _fwhm(target, "target") / scale
    if wanted < mine:
        msg = (
            f"target: its FWHM of {wanted:.3f} pixels of the band of psf is not allowed, psf has {mine:.3f}; exchange "
            "them, or match both to a broader one"
        )
        raise InvalidInputError(msg)


def _target_on(target: Psf, offsets: NDArray[np.float64], to_target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the target at places on the pixels of the sharp band."""
    if np.allclose(to_target, np.diag(np.diag(to_target)), rtol=0, atol=1e-9):
        return density_at(target, offsets * to_target[0, 0], offsets * to_target[1, 1])
    finer = int(np.ceil(_PER_FWHM / (_fwhm(target, "target") * target.oversampling)))
    # Turned places are no raster: they are interpolated in an image that is fine enough for quintics.
    fine = resampled(target, target.oversampling * finer) if finer > 1 else target
    x, y = np.tensordot(to_target, np.stack(np.meshgrid(offsets, offsets)), axes=1)
    return fine.density(x, y)


def _unit(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(image / image.sum())


def _baseband(image: NDArray[np.float64], m: int, s: int) -> NDArray[np.complex128]:
    """Return the transform of an image, of s pixels per pixel of the band, at the m frequencies up to its Nyquist.

    They are those of `numpy.fft.rfft2`; no more lines than a few are held at s times as many.
    """
    n, half = m * s, image.shape[0] // 2
    columns = np.arange(m // 2 + 1)
    rows = np.r_[: (m + 1) // 2, n - m // 2 : n]
    some = np.empty((image.shape[0], columns.size), np.complex128)
    for first in range(0, len(image), _LINES):
        lines = slice(first, first + _LINES)
        some[lines] = np.fft.rfft(image[lines], n, axis=1)[:, : columns.size]
    out = np.empty((m, columns.size), np.complex128)
    for first in range(0, columns.size, _LINES):
        lines = slice(first, first + _LINES)
        out[:, lines] = np.fft.fft(some[:, lines], n, axis=0)[rows]
    # The origin is the middle pixel.
    turn = 2j * np.pi * half / n
    return np.asarray(out * np.exp(turn * rows)[:, None] * np.exp(turn * columns))


def _ratio(sharp: NDArray[np.complex128], broad: NDArray[np.complex128], p: MatchParams) -> NDArray[np.complex128]:
    """Return the windowed and regularised ratio of two transforms."""
    v, u = np.fft.fftfreq(len(sharp))[:, None], np.fft.rfftfreq(len(sharp))
    laplacian = 4 - 2 * np.cos(2 * np.pi * u) - 2 * np.cos(2 * np.pi * v)
    denominator = np.abs(sharp) ** 2 + p.regularisation * laplacian**2
    ratio = np.conj(sharp) * broad / np.maximum(denominator, np.finfo(float).tiny)
    return np.asarray(ratio * _window(2 * np.hypot(u, v), p))


def _window(radius: NDArray[np.float64], p: MatchParams) -> NDArray[np.float64]:
    """Return the cosine bell at radii in units of the Nyquist frequency."""
    flat = (1 - p.taper) * p.cutoff
    part = np.clip((radius - flat) / max(p.cutoff - flat, np.finfo(float).tiny), 0.0, 1.0)
    return np.where(radius < p.cutoff, (1 + np.cos(np.pi * part)) / 2, 0.0)


def _gain(spectrum: NDArray[np.complex128]) -> float:
    return float(np.abs(spectrum).max())


def _checked(
    data: NDArray[np.float64],
    sharp: NDArray[np.float64],
    broad: NDArray[np.float64],
    *,
    s: int,
    total: float,
    gain: float,
    cutoff: float,
) -> KernelCheck:
    rest = -broad
    # A kernel on the band's pixels sees every s-th pixel only.
    for i, j in np.ndindex(s, s):
        rest[i::s, j::s] += convolve(sharp[i::s, j::s], data)
    y, x = np.ogrid[: len(rest), : len(rest)]
    radius2 = (y - len(rest) // 2) ** 2 + (x - len(rest) // 2) ** 2
    growth = np.cumsum(np.bincount(radius2.ravel(), rest.ravel()))
    n = fast_length(2 * len(data))
    power = np.abs(np.fft.rfft2(data, (n, n))) ** 2
    # The other half of the frequencies mirrors this one.
    power[:, 1 : n // 2] *= 2
    beyond = 2 * np.hypot(np.fft.rfftfreq(n), np.fft.fftfreq(n)[:, None]) > cutoff
    return KernelCheck(
        sum=total,
        max_residual=float(np.abs(rest).max() / broad.max()),
        residual_light=float(np.abs(rest).sum()),
        max_enclosed_error=float(np.abs(growth).max()),
        power_above_band=float(power[beyond].sum() / power.sum()),
        max_gain=gain,
        noise_factor=float(np.sqrt((data**2).sum())),
    )
