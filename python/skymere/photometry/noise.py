"""Errors from the noise of blank places."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.photometry.band import Band
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.params import NoiseParams, PhotometryParams
from skymere.photometry.system import Solution, powers_of
from skymere.regions import Circle
from skymere.segmentation import BlankParams, blank_apertures

__all__ = ["Simulation", "simulate"]

# Patches reach so many full widths of the PSF.
_REACH_FWHM = 2.0
# Blank is where the models show less than this part of a pixel's error; it is relaxed until there are places enough.
_BLANK_SIGMA = (0.2, 0.5, 1.0, 2.0, 4.0)
# Distance of two places over that of patches that touch: a fifth of overlap, and a half, are allowed when needed.
_PACKING = (1.0, 0.8, 0.5)
_LEAST_PLACES = 3


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
        enough = self.n_used >= _LEAST_PLACES
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

    Raises
    ------
    InvalidInputError
        When a given position is outside of the image.
    """
    noise, warning = params.noise, ""
    radius = _REACH_FWHM * psf.fwhm_pix
    if noise.radius_arcsec is not None:
        radius = noise.radius_arcsec / band.grid.scale_arcsec
    if noise.positions:
        positions = _given(band, noise)
    else:
        positions = _proposed(band, solution, params, radius)
        if len(positions) < noise.n_positions:
            warning = f"noise: {len(positions)} blank places were found, fewer than {noise.n_positions}"
    with np.errstate(invalid="ignore"):
        in_errors = np.where(band.weight > 0, residual * np.sqrt(band.weight), np.float32(np.nan))
    powers, inverse = powers_of(params.background_degree), solution.inverse
    square = solution.noise_factor**2
    flux = solution.templates.simulate(
        inverse.variance / square,
        inverse.pairs / square,
        np.ascontiguousarray(inverse.border[:, : len(powers)] / square).ravel(),
        powers,
        None,
        np.ascontiguousarray(in_errors, np.float32),
        band.weight,
        list(map(tuple, np.nan_to_num(places))),
        list(map(tuple, positions)),
        float(radius),
    )
    return Simulation(flux=flux, positions=positions, warning=warning)


def _given(band: Band, noise: NoiseParams) -> NDArray[np.float64]:
    sky = np.array(noise.positions, np.float64).reshape(-1, 2)
    positions = np.stack(band.grid.pixels(sky[:, 0], sky[:, 1]), axis=-1)
    last = np.array([band.shape[1], band.shape[0]]) - 0.5
    for place, there in zip(noise.positions, positions, strict=True):
        if not ((there >= -0.5) & (there <= last)).all():
            msg = f"positions: {place} is not allowed, it must be on the image; its pixel is {there}"
            raise InvalidInputError(msg)
    return positions


def _proposed(band: Band, solution: Solution, params: PhotometryParams, radius: float) -> NDArray[np.float64]:
    """Return places far from all models, farthest first; the threshold and the packing are relaxed step by step."""
    ny = band.shape[0]
    model = solution.templates.model(np.abs(solution.flux), [], None, np.zeros(0), 0, ny)
    signal = model * np.sqrt(band.weight)
    best: list[tuple[float, float]] = []
    for sigma in _BLANK_SIGMA:
        for packing in _PACKING:
            blank = BlankParams(radius_pix=radius * packing, gap_pix=0.0, n_apertures=params.noise.n_positions)
            try:
                found = blank_apertures((signal > sigma).astype(np.int32), mask=band.weight <= 0, params=blank)
            except NoDataError:
                continue
            places = [region.centre for region in found if isinstance(region, Circle)]
            if len(places) > len(best):
                best = places
            if len(best) >= params.noise.n_positions:
                return np.array(best, np.float64)
    return np.array(best, np.float64).reshape(-1, 2)
