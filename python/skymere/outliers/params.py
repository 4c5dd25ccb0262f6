"""Parameters of the search for cosmic rays in dithered exposures."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from skymere.errors import InvalidInputError
from skymere.outliers.combine import CombineParams
from skymere.resample import BlotParams, DrizzleParams

__all__ = ["CosmicRayParams", "SecondPassParams"]


def _check_limits(snr: tuple[float, float], scale: tuple[float, float], core_scale: float) -> None:
    for name, pair in (("snr", snr), ("scale", scale)):
        if len(pair) != 2 or min(pair) < 0:
            msg = f"{name}: {pair} is not allowed, it must be two numbers that are not negative"
            raise InvalidInputError(msg)
    if not core_scale >= 0:
        msg = f"core_scale: {core_scale} is not allowed, it must not be negative"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class SecondPassParams:
    """The second comparison, with what all exposures show together without the pixels that the first has found.

    Parameters
    ----------
    snr, scale, core_scale
        Limits, as those of `CosmicRayParams`.
    pixel_scale : float
        Side of the model's pixels over that of the first model's. Smaller ones show the cores of stars better, larger
        ones have less noise.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    snr: tuple[float, float] = (4.0, 3.4)
    scale: tuple[float, float] = (0.9, 0.5)
    core_scale: float = 0.8
    pixel_scale: float = 0.7

    def __post_init__(self) -> None:
        _check_limits(self.snr, self.scale, self.core_scale)
        if not 0 < self.pixel_scale < float("inf"):
            msg = f"pixel_scale: {self.pixel_scale} is not allowed, it must be positive"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class CosmicRayParams(CombineParams):
    """Parameters of `flag_cosmic_rays`.

    The defaults are AstroDrizzle's, but for ``core_scale`` and ``second``; its scheme is
    ``CosmicRayParams(core_scale=0, second=None)``.

    Parameters
    ----------
    combine, minmed, n_low, n_high, lower, upper
        How the model is combined from the single drizzles; see `CombineParams`.
    snr : tuple of float
        Thresholds of a seed and of a pixel beside one [sigma].
    scale : tuple of float
        How much of the model's steepness is added to them.
    core_scale : float
        How much of the steepness beyond three times the noise is added to both. It spares the cores of undersampled
        stars, which the model shows too faint; 0 gives AstroDrizzle's limits.
    second : SecondPassParams or None
        What is found is left out, and all exposures are compared again with what they then show together, which has
        less noise and is not biased low as a minmed is; None = one comparison, as AstroDrizzle.
    noise : str
        ``model``: from the model's counts and the read noise, as AstroDrizzle; ``error``: the exposure's own error
        array, as stcal (which has no ``core_scale``). The error of a pixel that was hit holds the hit.
    grow : int
        Side of the box by which flagged pixels are grown [pix]; 1 = not at all.
    cte_grow : int
        Length of the tails that flagged pixels leave behind them in the read-out [pix].
    cte_direction : int
        Direction of the tails: 1 towards higher rows (an amplifier at row 0), -1 towards lower ones.
    drizzle : DrizzleParams
        Kernel and pixfrac of the single drizzles.
    blot : BlotParams
        Interpolation of the model.
    scale_arcsec : float, optional
        Pixel of the single drizzles; the detector's own when None, since a finer one costs completeness.
    rotation_deg : float
        Position angle of the y axis of the single drizzles [deg].
    min_weight_fraction : float
        Pixels of a single drizzle whose weight is below this fraction of its mean weight are not used.
    memory_mb : float
        Single drizzles that need more are kept in a nameless file and combined in blocks of rows of this size [MB].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    snr: tuple[float, float] = (3.5, 3.0)
    scale: tuple[float, float] = (1.2, 0.7)
    core_scale: float = 2.0
    second: SecondPassParams | None = field(default_factory=SecondPassParams)
    noise: Literal["model", "error"] = "model"
    grow: int = 1
    cte_grow: int = 0
    cte_direction: Literal[1, -1] = 1
    drizzle: DrizzleParams = field(default_factory=lambda: DrizzleParams(kernel="turbo", pixfrac=1.0))
    blot: BlotParams = field(default_factory=lambda: BlotParams(interpolation="poly5"))
    scale_arcsec: float | None = None
    rotation_deg: float = 0.0
    min_weight_fraction: float = 0.3
    memory_mb: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_limits(self.snr, self.scale, self.core_scale)
        if self.noise not in ("model", "error"):
            msg = f"noise: {self.noise!r} is not allowed, it must be 'model' or 'error'"
            raise InvalidInputError(msg)
        if self.grow < 1:
            msg = f"grow: {self.grow} is not allowed, it must be at least 1"
            raise InvalidInputError(msg)
        if self.cte_grow < 0 or self.cte_direction not in (1, -1):
            msg = (
                f"cte_grow, cte_direction: {self.cte_grow}, {self.cte_direction} are not allowed, "
                "the length must not be negative and the direction 1 or -1"
            )
            raise InvalidInputError(msg)
        if not 0 <= self.min_weight_fraction < 1:
            msg = f"min_weight_fraction: {self.min_weight_fraction} is not allowed, it must be in [0, 1)"
            raise InvalidInputError(msg)
        for name in ("memory_mb", "scale_arcsec"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)

    @property
    def last(self) -> Self:
        """Parameters of the last comparison: those of the second one, where there is one."""
        if self.second is None:
            return self
        limits = {name: getattr(self.second, name) for name in ("snr", "scale", "core_scale")}
        return replace(self, **limits, second=None)
