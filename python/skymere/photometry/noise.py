"""Errors from the noise of blank places."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.photometry.band import Band
from skymere.photometry.blank import blank_places
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.params import LEAST_PLACES, PhotometryParams
from skymere.photometry.system import Solution, powers_of

__all__ = ["Simulation", "simulate"]

# Patches reach so many full widths of the PSF.
_REACH_FWHM = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """What noise of blank places adds to each flux [unit of the image]."""

    flux: NDArray[np.float32]
    positions: NDArray[np.float64]
    """``(n, 2)`` x, y [pix]."""
    warning: str

    @property
    def n_used(self) -> NDArray[np.int32]:
        """Places that each source could use."""
        return np.asarray(np.isfinite(self.flux).sum(axis=1), np.int32)

    @property
    def error(self) -> NDArray[np.float64]:
        """Standard deviation over the places; NaN where there are too few."""
        enough = self.n_used >= LEAST_PLACES
        error = np.full(enough.size, np.nan)
        if enough.any():
            error[enough] = np.nanstd(self.flux[enough].astype(np.float64), axis=1, ddof=1)
        return error


def simulate(
    band: Band,
    psf: EffectivePsf,
    solution: Solution,
    residual: NDArray[np.float32],
    places: NDArray[np.float64],
    params: PhotometryParams,
) -> Simulation:
    """Move patches of the residual, in units of its error, to each source by whole pixels, and measure what they add.

    Parameters
    ----------
    band, psf, solution, params
        The band, and what was measured.
    residual : ndarray, float32, shape (ny, nx)
        In units of the band.
    places : ndarray, float64, shape (n, 2)
        x, y of the sources.
    """
    noise, warning = params.noise, ""
    radius = _REACH_FWHM * psf.fwhm_pix
    if noise.radius_arcsec is not None:
        radius = noise.radius_arcsec / band.grid.scale_arcsec
    with np.errstate(invalid="ignore"):
        in_errors = np.where(band.weight > 0, residual * np.sqrt(band.weight), np.float32(np.nan))
    if noise.positions:
        positions = _on_image(band, "positions", noise.positions)
    else:
        positions, is_tight = blank_places(band, psf, solution, in_errors, noise.n_positions, radius)
        if len(positions) < noise.n_positions:
            warning = f"noise: {len(positions)} blank places were found, fewer than {noise.n_positions}"
        elif is_tight:
            warning = "noise: blank places share more than a fifth of their area, up to a half"
    centres = places
    if noise.around is not None:
        centres = np.broadcast_to(_on_image(band, "around", (noise.around,)), places.shape)
    powers, inverse = powers_of(params.background_degree), solution.inverse
    square = solution.noise_factor**2
    flux = solution.templates.simulate(
        inverse.variance / square,
        inverse.pairs / square,
        np.ascontiguousarray(inverse.border / square).ravel(),
        powers,
        solution.stacked,
        np.ascontiguousarray(in_errors, np.float32),
        band.weight,
        list(map(tuple, np.nan_to_num(centres))),
        list(map(tuple, positions)),
        float(radius),
    )
    with np.errstate(invalid="ignore"):
        flux[~(np.hypot(*(places - centres).T) <= radius)] = np.nan
    return Simulation(flux=flux, positions=positions, warning=warning)


def _on_image(band: Band, name: str, sky: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Return pixels of places on the sky.

    Raises
    ------
    InvalidInputError
        When one is not on the image.
    """
    ra, dec = np.array(sky, np.float64).reshape(-1, 2).T
    positions = np.stack(band.grid.pixels(ra, dec), axis=-1)
    last = np.array([band.shape[1], band.shape[0]]) - 0.5
    for place, there in zip(sky, positions, strict=True):
        if not ((there >= -0.5) & (there <= last)).all():
            msg = f"{name}: {place} is not allowed, it must be on the image; its pixel is {there}"
            raise InvalidInputError(msg)
    return positions
