"""AstroDrizzle's seven steps in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from skymere.datamodels import Exposure, Mosaic, WeightKind
from skymere.errors import InvalidInputError, NoDataError
from skymere.mosaic.flagging import FlagParams, flag_exposures
from skymere.resample import DrizzleParams, drizzle
from skymere.wcs import Grid

__all__ = ["MosaicParams", "drizzle_exposures"]


@dataclass(frozen=True, kw_only=True)
class MosaicParams:
    """Parameters of `drizzle_exposures`.

    Parameters
    ----------
    flag : FlagParams
        Steps 1 to 6.
    drizzle : DrizzleParams
        Step 7.
    weight : str
        ``exposure_time``, ``inverse_variance`` or ``inverse_variance_with_sources``; see `skymere.resample.drizzle`.

    Raises
    ------
    InvalidInputError
        When there is no such weight.
    """

    flag: FlagParams = field(default_factory=FlagParams)
    drizzle: DrizzleParams = field(default_factory=lambda: DrizzleParams(kernel="square", pixfrac=0.8))
    weight: WeightKind = "exposure_time"

    def __post_init__(self) -> None:
        if self.weight not in get_args(WeightKind):
            msg = f"weight: {self.weight!r} is not allowed, it must be one of {', '.join(get_args(WeightKind))}"
            raise InvalidInputError(msg)


def drizzle_exposures(
    exposures: Sequence[Exposure], grid: Grid, *, params: MosaicParams | None = None
) -> tuple[Mosaic, list[Exposure]]:
    """Make a mosaic of the aligned exposures of one band.

    1 static mask, 2 sky, 3 separate drizzle, 4 median, 5 blot, 6 cosmic rays, 7 final drizzle.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band; they stay unchanged.
    grid : Grid
        Pixel grid of the mosaic.
    params : MosaicParams, optional
        Parameters of the steps.

    Returns
    -------
    Mosaic
        The mosaic.
    list of Exposure
        The exposures with their sky and flags.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or they do not combine.
    NoDataError
        When no good pixel is left.
    """
    p = params or MosaicParams()
    flagged = flag_exposures(exposures, params=p.flag)
    mosaic = drizzle(flagged, grid, params=p.drizzle, weight=p.weight, ignore=p.flag.ignore_dq)
    if not mosaic.covered.any():
        msg = f"exposures: none of {list(mosaic.exposure_ids)} has a good pixel on the grid of shape {grid.shape}"
        raise NoDataError(msg)
    return mosaic, flagged
