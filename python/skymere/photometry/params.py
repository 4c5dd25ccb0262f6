"""Parameters of forced photometry."""

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Literal

from skymere.errors import InvalidInputError

__all__ = ["NoiseParams", "PhotometryParams", "ShiftParams"]


# Fewer values have no standard deviation to speak of.
LEAST_PLACES = 3


def _check(*, name: str, value: object, allowed: bool, rule: str) -> None:
    if not allowed:
        msg = f"{name}: {value} is not allowed, it must be {rule}"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class ShiftParams:
    """How the band is shifted against the models.

    Parameters
    ----------
    method : str
        ``none``; ``joint`` (fluxes and a smooth field of shifts of all sources together); ``anchors`` (one shift from
        the sources within ``radius_arcsec`` around the first of ``anchors``); ``ranked`` (the mean of the ``n_anchors``
        best anchors, see `rank_anchors`); or ``grid`` (the best of a grid of shifts for an anchor, refined).
    shift_arcsec : tuple of float
        Shift to begin with, to the east and to the north, or the shift itself for ``none`` [arcsec].
    degree : int
        Degree of the polynomial field of ``joint``; 0 for one shift.
    anchors : tuple of int
        ``source_id`` of the anchor and, if wanted, of sources that are fitted with it; others within the radius are
        added. For ``grid`` without anchors the best ranked one is taken.
    radius_arcsec : float
        Radius of what is fitted around an anchor [arcsec].
    n_anchors : int
        Anchors of ``ranked``.
    step_arcsec, max_arcsec : float
        Step and half side of the grid of ``grid``; the last also limits how far any method may go [arcsec].
    min_snr : float
        Sources with less flux over its error tell nothing about the shift; the best place of a fainter anchor on a grid
        is a peak of the noise, and is refused.
    max_iterations : int
        Steps of the Gauss-Newton method.
    tolerance_pix : float
        Steps below this end the search [pix of the band].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    method: Literal["none", "joint", "anchors", "ranked", "grid"] = "none"
    shift_arcsec: tuple[float, float] = (0.0, 0.0)
    degree: int = 0
    anchors: tuple[int, ...] = ()
    radius_arcsec: float = 2.0
    n_anchors: int = 5
    step_arcsec: float = 0.03
    max_arcsec: float = 0.5
    min_snr: float = 5.0
    max_iterations: int = 8
    tolerance_pix: float = 1e-3

    def __post_init__(self) -> None:
        methods = ("none", "joint", "anchors", "ranked", "grid")
        _check(name="method", value=self.method, allowed=self.method in methods, rule=f"one of {', '.join(methods)}")
        _check(name="degree", value=self.degree, allowed=0 <= self.degree <= 4, rule="from 0 to 4")
        for name in ("radius_arcsec", "step_arcsec", "max_arcsec", "tolerance_pix", "min_snr"):
            _check(name=name, value=getattr(self, name), allowed=0 < getattr(self, name) < inf, rule="positive")
        start = self.shift_arcsec
        is_allowed = len(start) == 2 and all(isfinite(v) for v in start)
        _check(name="shift_arcsec", value=start, allowed=is_allowed, rule="two finite numbers")
        is_allowed = len(set(self.anchors)) == len(self.anchors)
        _check(name="anchors", value=self.anchors, allowed=is_allowed, rule="each source_id once")
        for name in ("n_anchors", "max_iterations"):
            _check(name=name, value=getattr(self, name), allowed=getattr(self, name) >= 1, rule="at least 1")
        has_anchors = self.method != "anchors" or len(self.anchors) > 0
        _check(
            name="anchors", value=self.anchors, allowed=has_anchors, rule="at least one source_id for method anchors"
        )


@dataclass(frozen=True, kw_only=True)
class NoiseParams:
    """How the noise is measured at blank places of the residual.

    Parameters
    ----------
    n_positions : int
        Number of blank places; the error of the error is about 1 / sqrt(2 n). 0 for none.
    positions : tuple of (float, float), optional
        ``ra, dec`` of blank places [deg], instead of those that are proposed.
    radius_arcsec : float, optional
        Radius of the patches [arcsec]; two full widths of the PSF when not given.
    around : tuple of float, optional
        ``ra, dec`` of a region of interest [deg]: patches are added there, and only sources within their radius get an
        error, all from the same patches. When not given they are added at every source itself.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    n_positions: int = 0
    positions: tuple[tuple[float, float], ...] = ()
    radius_arcsec: float | None = None
    around: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        rule = f"none or at least {LEAST_PLACES}, fewer have no scatter"
        is_allowed = self.n_positions == 0 or self.n_positions >= LEAST_PLACES
        _check(name="n_positions", value=self.n_positions, allowed=is_allowed, rule=rule)
        is_allowed = not self.positions or len(self.positions) >= LEAST_PLACES
        _check(name="positions", value=self.positions, allowed=is_allowed, rule=rule)
        for name, places in (("positions", self.positions), ("around", (self.around,) if self.around else ())):
            is_allowed = all(len(one) == 2 and all(isfinite(v) for v in one) for one in places)
            _check(name=name, value=getattr(self, name), allowed=is_allowed, rule="pairs of finite ra, dec")
        is_allowed = self.radius_arcsec is None or 0 < self.radius_arcsec < inf
        _check(name="radius_arcsec", value=self.radius_arcsec, allowed=is_allowed, rule="positive")


@dataclass(frozen=True, kw_only=True)
class PhotometryParams:
    """Parameters of `forced_photometry`.

    Parameters
    ----------
    background_degree : int
        Degree of the polynomial sky that is fitted together with the sources; 0 for a constant, -1 for none.
    is_non_negative : bool
        Whether fluxes below 0 become 0 and the others are those that are best then.
    light_in_stamp : float
        Part of each model's light that its stamp holds, unless ``max_stamp_pix`` is reached.
    max_stamp_pix : int
        Largest half side of a stamp [pix of the band].
    block_rows : int, optional
        Rows of the image that are added to the equations at a time; all when not given. The result is the same.
    unmodelled_sigma : float, optional
        Sources of the residual above so many sigma are added as points, and everything is fitted again; none when not
        given.
    max_searches : int
        So often at most the residual is searched, each time with what was found before in the fit; the search ends when
        nothing is new.
    has_shape_errors : bool
        Whether errors hold what the errors of the models' shapes give, where these are known. Without it errors of
        bright sources are several times too small.
    n_alternatives : int
        So many of the alternative models of `forced_photometry` are fitted, evenly from all that are given.
    noise_rms : float, optional
        1 sigma of every pixel, instead of what the image says [unit of the image].
    shift : ShiftParams
        How the band is shifted against the models.
    noise : NoiseParams
        How the noise is measured at blank places.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    background_degree: int = 0
    is_non_negative: bool = False
    light_in_stamp: float = 0.99
    max_stamp_pix: int = 200
    block_rows: int | None = None
    unmodelled_sigma: float | None = None
    max_searches: int = 1
    has_shape_errors: bool = True
    n_alternatives: int = 32
    noise_rms: float | None = None
    shift: ShiftParams = field(default_factory=ShiftParams)
    noise: NoiseParams = field(default_factory=NoiseParams)

    def __post_init__(self) -> None:
        degree, light = self.background_degree, self.light_in_stamp
        _check(name="background_degree", value=degree, allowed=-1 <= degree <= 6, rule="from -1 to 6")
        _check(name="light_in_stamp", value=light, allowed=0.5 <= light < 1, rule="at least 0.5 and below 1")
        _check(name="max_stamp_pix", value=self.max_stamp_pix, allowed=self.max_stamp_pix >= 3, rule="at least 3")
        is_allowed = self.block_rows is None or self.block_rows >= 1
        _check(name="block_rows", value=self.block_rows, allowed=is_allowed, rule="at least 1")
        _check(name="max_searches", value=self.max_searches, allowed=self.max_searches >= 1, rule="at least 1")
        is_allowed = self.n_alternatives >= LEAST_PLACES
        _check(name="n_alternatives", value=self.n_alternatives, allowed=is_allowed, rule=f"at least {LEAST_PLACES}")
        is_allowed = self.noise_rms is None or 0 < self.noise_rms < inf
        _check(name="noise_rms", value=self.noise_rms, allowed=is_allowed, rule="positive")
        sigma = self.unmodelled_sigma
        _check(name="unmodelled_sigma", value=sigma, allowed=sigma is None or sigma > 0, rule="positive")
