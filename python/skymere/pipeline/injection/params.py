"""What is injected, and how it is counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from skymere.errors import InvalidInputError

__all__ = ["STRETCHES", "InjectParams", "Stretch"]

Stretch = Literal["detect", "profiles", "photometry", "beams", "slits"]
STRETCHES: tuple[Stretch, ...] = ("detect", "profiles", "photometry", "beams", "slits")


@dataclass(frozen=True, kw_only=True)
class InjectParams:
    """What is injected into which stretch of the pipeline.

    Parameters
    ----------
    through : str
        Last stage that the fake sources go through: ``detect`` (with the measurement), ``profiles``, ``photometry``,
        ``beams`` (to redshifts and lines of slitless spectra) or ``slits`` (from exposures of slits to redshifts and
        lines).
    n : int
        Number of fake sources; as many copies of the data are made as it takes.
    n_per_tile : int
        Most fake sources in one copy of a tile; 0 = as many as the grid of places has.
    spacing_arcsec : float
        Step of the grid of places [arcsec]; places are moved from it by up to a quarter of a step along each axis, so
        that two fake sources are half a step apart at least.
    mag : (float, float)
        Limits of the magnitudes, AB in ``band``, or of a continuum that is flat in f_nu for spectra; uniform.
    size_arcsec : (float, float)
        Limits of the half-light radii along the major axis, of Gaussians behind slits [arcsec]; uniform in the
        logarithm. Beams have the shapes of their hosts.
    sersic_index, axis_ratio : (float, float)
        Limits of the Sersic indices, uniform in the logarithm, and of the axis ratios, uniform.
    band : str
        Band of the magnitudes; empty = that of the profiles, else the last one by name.
    colours : mapping of str to float
        Magnitude in a band minus that in ``band``; 0 for bands that are not named.
    bands, tiles : tuple of str
        Bands whose fluxes are compared, and tiles that are used; empty = all.
    match_arcsec : float
        A source within this distance of a fake one may be it [arcsec].
    redshift : (float, float)
        Limits of the redshifts of fake spectra; uniform.
    line_flux : (float, float)
        Limits of the flux of H alpha [1e-17 erg / s / cm2], of which other lines have fixed parts; uniform in the
        logarithm.
    n_mag_bins, n_size_bins : int
        Bins of the summary.
    seed : int
        Number of the experiment: another one draws other sources.
    n_workers : int
        Processes.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    through: Stretch = "detect"
    n: int = 200
    n_per_tile: int = 0
    spacing_arcsec: float = 5.0
    mag: tuple[float, float] = (20.0, 27.0)
    size_arcsec: tuple[float, float] = (0.05, 0.8)
    sersic_index: tuple[float, float] = (0.5, 4.0)
    axis_ratio: tuple[float, float] = (0.2, 1.0)
    band: str = ""
    colours: Mapping[str, float] = field(default_factory=dict)
    bands: tuple[str, ...] = ()
    tiles: tuple[str, ...] = ()
    match_arcsec: float = 0.3
    redshift: tuple[float, float] = (0.7, 2.2)
    line_flux: tuple[float, float] = (1.0, 30.0)
    n_mag_bins: int = 7
    n_size_bins: int = 2
    seed: int = 1
    n_workers: int = 1

    def __post_init__(self) -> None:
        if self.through not in STRETCHES:
            msg = f"through: {self.through!r} is not allowed, it must be one of {', '.join(STRETCHES)}"
            raise InvalidInputError(msg)
        for name, least in (("n", 1), ("n_per_tile", 0), ("n_mag_bins", 1), ("n_size_bins", 1), ("n_workers", 1)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be at least {least}"
                raise InvalidInputError(msg)
        if self.seed < 0:
            msg = f"seed: {self.seed} is not allowed, it must not be negative"
            raise InvalidInputError(msg)
        for name in ("spacing_arcsec", "match_arcsec"):
            if not 0 < getattr(self, name) < np.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        allowed: dict[str, tuple[float, float]] = {
            "mag": (-np.inf, np.inf),
            "size_arcsec": (1e-4, 60.0),
            "sersic_index": (0.1, 10.0),
            "axis_ratio": (0.01, 1.0),
            "redshift": (0.0, 20.0),
            "line_flux": (1e-6, 1e6),
        }
        self._check_limits(allowed)
        for name in ("bands", "tiles"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "colours", dict(self.colours))
        wrong = [band for band, value in self.colours.items() if not np.isfinite(value)]
        if wrong:
            msg = f"colours: {wrong[0]}={self.colours[wrong[0]]} is not allowed, it must be finite"
            raise InvalidInputError(msg)

    def _check_limits(self, allowed: Mapping[str, tuple[float, float]]) -> None:
        for name, (least, most) in allowed.items():
            limits = tuple(float(v) for v in getattr(self, name))
            if len(limits) != 2 or not (np.isfinite(limits).all() and least <= limits[0] <= limits[1] <= most):
                rule = f"two increasing numbers from {least:g} to {most:g}"
                msg = f"{name}: {limits} is not allowed, it must be {rule}"
                raise InvalidInputError(msg)
            object.__setattr__(self, name, limits)
