"""A deep field of galaxies and stars: the truth of a simulated survey."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

__all__ = ["BANDS", "SceneParams", "draw_scene"]

# AB zero point of one electron / s and pivot wavelength [um] of the simulated filters (WFC3/IR, STScI tables).
BANDS = {"f105w": (26.269, 1.0552), "f125w": (26.230, 1.2486), "f160w": (25.946, 1.5369)}


@dataclass(frozen=True, kw_only=True)
class SceneParams:
    """What a simulated field holds.

    Parameters
    ----------
    n_galaxies, n_stars : int
        Numbers of sources.
    bright_mag, faint_mag : float
        Limits of the magnitudes, AB in the reddest band.
    count_slope : float
        Slope of log10(counts) with magnitude for galaxies; 0.3 is that of deep H-band counts.
    radius_arcsec : float
        Sources lie within a square of this half side.
    """

    n_galaxies: int = 450
    n_stars: int = 25
    bright_mag: float = 18.5
    faint_mag: float = 27.0
    count_slope: float = 0.3
    radius_arcsec: float = 70.0

    def __post_init__(self) -> None:
        if not self.bright_mag < self.faint_mag:
            msg = f"bright_mag: {self.bright_mag} is not allowed, it must be below faint_mag = {self.faint_mag}"
            raise InvalidInputError(msg)
        if min(self.n_galaxies, self.n_stars) < 0 or not self.radius_arcsec > 0:
            msg = "n_galaxies, n_stars: must not be negative, and radius_arcsec must be positive"
            raise InvalidInputError(msg)


def draw_scene(
    ra: float,
    dec: float,
    *,
    params: SceneParams | None = None,
    seed: int = 1,
    bands: Mapping[str, tuple[float, float]] = BANDS,
) -> pl.DataFrame:
    """Draw the sources of a field.

    Parameters
    ----------
    ra, dec : float
        Centre, ICRS [deg].
    params : SceneParams, optional
        What the field holds.
    seed : int, optional
        Seed of the random numbers.
    bands : mapping of str to (float, float), optional
        AB zero point and pivot wavelength [um] of the filters that have magnitudes.

    Returns
    -------
    polars.DataFrame
        One row per source: ``truth_id, kind, ra, dec`` [deg], ``r_half_arcsec`` (0 for stars), ``sersic_n, axis_ratio,
        pa_deg`` (north through east) and ``mag_{band}, flux_{band}`` [AB, uJy] for every band.

    Notes
    -----
    Magnitudes follow 10^(slope m); half-light radii are log-normal around 0.35 arcsec at 22 mag, shrinking by 0.08 dex
    per magnitude; spectra are power laws of slope beta with mean -1 in f_nu.
    """
    params = params or SceneParams()
    rng = np.random.default_rng([seed, 0])
    n = params.n_galaxies + params.n_stars
    is_star = np.arange(n) >= params.n_galaxies
    mag = _magnitudes(rng, n, params)
    mag[is_star] = rng.uniform(params.bright_mag, 24.0, params.n_stars)
    offset = rng.uniform(-params.radius_arcsec, params.radius_arcsec, (2, n)) / 3600.0
    size = 10.0 ** (rng.normal(np.log10(0.35) - 0.08 * (mag - 22.0), 0.15))
    beta = np.where(is_star, rng.normal(-0.5, 0.3, n), rng.normal(1.0, 0.7, n))
    reddest = max(bands.values(), key=lambda band: band[1])[1]
    columns: dict[str, NDArray[np.generic]] = {
        "truth_id": np.arange(1, n + 1),
        "kind": np.where(is_star, "star", "galaxy"),
        "ra": ra + offset[0] / np.cos(np.deg2rad(dec)),
        "dec": dec + offset[1],
        "r_half_arcsec": np.where(is_star, 0.0, np.clip(size, 0.06, 1.5)),
        "sersic_n": np.where(rng.uniform(size=n) < 0.8, 1.0, 4.0),
        "axis_ratio": np.where(is_star, 1.0, rng.uniform(0.25, 1.0, n)),
        "pa_deg": rng.uniform(0.0, 180.0, n),
    }
    for band, (_, pivot) in bands.items():
        band_mag = mag - 2.5 * beta * np.log10(pivot / reddest)
        columns |= {f"mag_{band}": band_mag, f"flux_{band}": 10.0 ** (-0.4 * (band_mag - 23.9))}
    return pl.DataFrame(columns)


def _magnitudes(rng: np.random.Generator, n: int, params: SceneParams) -> NDArray[np.float64]:
    """Invert the cumulative counts N(< m) of 10^(slope m) between the two limits."""
    low, high = (10.0 ** (params.count_slope * m) for m in (params.bright_mag, params.faint_mag))
    return np.asarray(np.log10(rng.uniform(low, high, n)) / params.count_slope)
