"""Deep fields of galaxies and stars on one pixel grid with known signal-to-noise ratios, to score detection."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

__all__ = ["DeepField", "DeepFieldParams", "draw_deep_field"]


@dataclass(frozen=True, kw_only=True)
class DeepFieldParams:
    """What a deep field holds.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)``.
    scale_arcsec : float
        Pixel [arcsec].
    n_sources : int
        Galaxies and stars per 4096 x 4096 pixels.
    star_fraction : float
        Fraction of the sources that are stars.
    count_slope : float
        Slope of log10(counts) with magnitude.
    bright_sn, faint_sn : float
        Limits of the signal-to-noise ratio of a point source.
    psf_fwhm_pix : float
        FWHM of the Moffat PSF, the pixel included [pix].
    n_stamps : int
        Number of different galaxies; they are used again with other fluxes and mirrored.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    shape: tuple[int, int] = (4096, 4096)
    scale_arcsec: float = 0.08
    n_sources: int = 40_000
    star_fraction: float = 0.03
    count_slope: float = 0.3
    bright_sn: float = 5000.0
    faint_sn: float = 1.5
    psf_fwhm_pix: float = 2.25
    n_stamps: int = 1500

    def __post_init__(self) -> None:
        if not 0 < self.faint_sn < self.bright_sn:
            msg = f"faint_sn: {self.faint_sn} is not allowed, it must be positive and below bright_sn {self.bright_sn}"
            raise InvalidInputError(msg)
        if self.n_stamps < 1 or not 0 <= self.star_fraction <= 1:
            msg = (
                f"n_stamps, star_fraction: {self.n_stamps}, {self.star_fraction} are not allowed, there must be a "
                "stamp, and the fraction lies between 0 and 1"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class DeepField:
    """A simulated deep field.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx)
        Sky-subtracted image, white noise of 1 sigma = 1 included.
    truth : polars.DataFrame
        ``x, y`` [pix, 0-based], ``flux``, ``sn`` (of the best possible filter, ``flux sqrt(sum p^2)`` with the
        pixels p of the source's image of sum 1) and ``is_star``.
    scale_arcsec : float
        Pixel [arcsec].
    """

    data: NDArray[np.float32]
    truth: pl.DataFrame
    scale_arcsec: float


def draw_deep_field(*, params: DeepFieldParams | None = None, seed: int = 1) -> DeepField:
    """Draw a field of galaxies and stars with white noise of 1 sigma = 1.

    Parameters
    ----------
    params : DeepFieldParams, optional
        What the field holds.
    seed : int, optional
        Seed of the random numbers.

    Notes
    -----
    GalSim (Rowe et al. 2015) draws ``n_stamps`` galaxies of a median half-light radius of 0.2 arcsec at 5 sigma that
    grows with flux as in `draw_scene`, Sersic n = 1 (0.8) or 4, at random phases within a pixel. Each source takes one
    of the stamps for its flux, mirrored at random.
    """
    params = params or DeepFieldParams()
    rng = np.random.default_rng([seed, 31])
    stamps = _stamps(params, rng)
    n = round(params.n_sources * params.shape[0] * params.shape[1] / 4096**2)
    # N(> f) ~ f^-slope': 10^(s m) with m = -2.5 log f.
    power = -2.5 * params.count_slope
    low, high = params.faint_sn**power, params.bright_sn**power
    point_sn = rng.uniform(high, low, n) ** (1.0 / power)
    is_star = rng.uniform(size=n) < params.star_fraction
    flux = point_sn / stamps[0].sn
    image = rng.normal(0.0, 1.0, params.shape).astype(np.float32)
    column, row = rng.integers(0, params.shape[1], n), rng.integers(0, params.shape[0], n)
    order = _sizes_in_order(stamps, point_sn, rng)
    x, y, sn = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        stamp = stamps[0] if is_star[i] else stamps[order[i]]
        flips = slice(None, None, rng.choice((1, -1))), slice(None, None, rng.choice((1, -1)))
        _add(image, flux[i] * stamp.pixels[flips], row[i], column[i])
        x[i] = column[i] + stamp.dx * (flips[1].step or 1)
        y[i] = row[i] + stamp.dy * (flips[0].step or 1)
        sn[i] = flux[i] * stamp.sn
    truth = pl.DataFrame({"x": x, "y": y, "flux": flux, "sn": sn, "is_star": is_star})
    return DeepField(data=image, truth=truth, scale_arcsec=params.scale_arcsec)


@dataclass(frozen=True)
class _Stamp:
    """A source of flux 1: pixels, offset of its centre from the middle pixel, and S/N for noise of 1."""

    pixels: NDArray[np.float32]
    dx: float
    dy: float
    sn: float
    size: float


def _stamps(params: DeepFieldParams, rng: np.random.Generator) -> list[_Stamp]:
    """Return the star, and galaxies by increasing size relative to the median at their flux."""
    import galsim

    psf = galsim.Moffat(beta=3.0, fwhm=params.psf_fwhm_pix)
    found = [_draw(psf, 0.0, 0.0, 61, 0.0)]
    for relative in np.sort(rng.normal(0.0, 0.25, params.n_stamps)):
        sersic_n = 1.0 if rng.uniform() < 0.8 else 4.0
        radius = 0.2 / params.scale_arcsec * 10.0**relative
        profile = galsim.Sersic(n=sersic_n, half_light_radius=radius, trunc=8 * radius)
        q = rng.uniform(0.25, 1.0)
        shape = galsim.Shear(q=q, beta=rng.uniform(0.0, 180.0) * galsim.degrees)
        dx, dy = rng.uniform(-0.5, 0.5, 2)
        side = 2 * int(6 + 8 * radius / np.sqrt(q)) + 1
        found.append(_draw(galsim.Convolve(profile.shear(shape), psf), dx, dy, min(side, 161), relative))
    return found


def _draw(profile: "object", dx: float, dy: float, side: int, relative: float) -> _Stamp:
    # The PSF holds the pixel already.
    image = profile.shift(dx, dy).drawImage(nx=side, ny=side, scale=1.0, method="no_pixel")  # type: ignore[attr-defined]
    pixels = np.asarray(image.array, np.float64)
    return _Stamp(pixels.astype(np.float32), dx, dy, float(np.sqrt((pixels**2).sum())), relative)


def _sizes_in_order(stamps: list[_Stamp], point_sn: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a galaxy stamp for each source: larger ones for brighter sources, 0.08 dex per magnitude."""
    wanted = rng.normal(0.2 * np.log10(point_sn / 5.0), 0.15)
    sizes = np.array([stamp.size for stamp in stamps[1:]])
    near = np.searchsorted(sizes, wanted) + rng.integers(-3, 4, len(wanted))
    return np.asarray(1 + np.clip(near, 0, len(sizes) - 1), np.int64)


def _add(image: NDArray[np.float32], stamp: NDArray[np.float32], row: int, column: int) -> None:
    half = stamp.shape[0] // 2
    y0, x0 = row - half, column - half
    ya, yb = max(y0, 0), min(y0 + stamp.shape[0], image.shape[0])
    xa, xb = max(x0, 0), min(x0 + stamp.shape[1], image.shape[1])
    image[ya:yb, xa:xb] += stamp[ya - y0 : yb - y0, xa - x0 : xb - x0]
