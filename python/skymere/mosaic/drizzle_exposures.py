"""AstroDrizzle's seven steps in one call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from skymere.datamodels import Exposure, Mosaic, WeightKind
from skymere.errors import InvalidInputError, NoDataError, NoOverlapError
from skymere.mosaic.flagging import Flagged, FlagParams, iter_flagged
from skymere.mosaic.quality import QualityParams, measure_quality
from skymere.mosaic.rejection import RejectionMap
from skymere.resample import DrizzleParams, drizzle
from skymere.wcs import Grid

__all__ = ["MosaicParams", "drizzle_exposures", "drizzle_stream"]


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
    quality : QualityParams or None
        Limits of the quality that is stored with the mosaic; None = it is not measured.

    Raises
    ------
    InvalidInputError
        When there is no such weight, or it needs absolute skies and these are only matched.
    """

    flag: FlagParams = field(default_factory=FlagParams)
    drizzle: DrizzleParams = field(default_factory=lambda: DrizzleParams(kernel="square", pixfrac=0.8))
    weight: WeightKind = "exposure_time"
    quality: QualityParams | None = field(default_factory=QualityParams)

    def __post_init__(self) -> None:
        if self.weight not in get_args(WeightKind):
            msg = f"weight: {self.weight!r} is not allowed, it must be one of {', '.join(get_args(WeightKind))}"
            raise InvalidInputError(msg)
        if self.weight == "inverse_variance" and self.flag.sky.method == "match":
            msg = (
                "weight: 'inverse_variance' is not allowed together with flag.sky.method 'match', because relative "
                "skies do not tell the noise; use 'globalmin+match', or the weight 'exposure_time'"
            )
            raise InvalidInputError(msg)


def drizzle_exposures(
    exposures: Sequence[Exposure],
    grid: Grid,
    *,
    params: MosaicParams | None = None,
    separate_grid: Grid | None = None,
    groups: Mapping[str, str] | None = None,
) -> tuple[Mosaic, list[Exposure]]:
    """Make a mosaic of the aligned exposures of one band.

    1 static mask, 2 sky, 3 separate drizzle, 4 median, 5 blot, 6 cosmic rays, 7 final drizzle.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band; they stay unchanged.
    grid : Grid
        Pixel grid of the mosaic; for a second filter that of the first one's mosaic.
    params : MosaicParams, optional
        Parameters of the steps.
    separate_grid : Grid, optional
        Pixels of the single drizzles of step 3; the detector's own when not given.
    groups : mapping of str to str, optional
        Group of an exposure, such as the chips of one camera, which get one sky.

    Returns
    -------
    Mosaic
        The mosaic; ``params["quality"]`` says what its weight is like, see `MosaicQuality`.
    list of Exposure
        The exposures with their sky and flags.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or they do not combine.
    NoOverlapError
        When no exposure reaches the grid.
    NoDataError
        When no good pixel is left.
    """
    flagged: list[Exposure] = []
    mosaic = drizzle_stream(
        exposures,
        grid,
        params=params,
        separate_grid=separate_grid,
        groups=groups,
        on_flagged=lambda one: flagged.append(one.exposure),
    )
    return mosaic, flagged


def drizzle_stream(
    exposures: Sequence[Exposure],
    grid: Grid,
    *,
    params: MosaicParams | None = None,
    separate_grid: Grid | None = None,
    groups: Mapping[str, str] | None = None,
    on_flagged: Callable[[Flagged], None] | None = None,
    rejection: RejectionMap | None = None,
) -> Mosaic:
    """Make the mosaic of `drizzle_exposures` with memory that does not grow with the number of exposures.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band, each asked for in every step; `ExposureFiles` reads them from their files then.
    grid, params, separate_grid, groups
        As in `drizzle_exposures`.
    on_flagged : callable, optional
        Called with every flagged exposure (and its model) on its way to the final drizzle.
    rejection : RejectionMap, optional
        An empty one, to be looked at afterwards; of the same grid and parameters.

    Returns
    -------
    Mosaic
        The same bits as those of `drizzle_exposures`.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or they do not combine.
    NoOverlapError
        When no exposure reaches the grid.
    NoDataError
        When no good pixel is left.
    """
    p = params or MosaicParams()
    seen = rejection or RejectionMap(grid, params=p.drizzle, ignore=p.flag.ignore_dq)

    def passing() -> Iterator[Exposure]:
        for one in iter_flagged(exposures, params=p.flag, separate_grid=separate_grid, groups=groups):
            if on_flagged is not None:
                on_flagged(one)
            seen.add(one.exposure)
            yield one.exposure

    mosaic = drizzle(passing(), grid, params=p.drizzle, weight=p.weight, ignore=p.flag.ignore_dq)
    if not mosaic.covered.any():
        names = list(mosaic.exposure_ids)
        if not seen.full_weight().any():
            msg = f"exposures: none of {names} lies on the grid of shape {grid.shape}: {grid.outline()}"
            raise NoOverlapError(msg)
        msg = f"exposures: none of {names} has a good pixel on the grid of shape {grid.shape}"
        raise NoDataError(msg)
    if p.quality is None:
        return mosaic
    quality = measure_quality(mosaic, seen, params=p.quality)
    return replace(mosaic, params={**mosaic.params, "quality": quality.as_json()})
