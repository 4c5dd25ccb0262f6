"""Steps 1 to 6: static mask, sky and cosmic rays of the exposures of one band."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.mosaic.sky import SkyParams, subtractable_sky
from skymere.outliers import (
    CosmicRayParams,
    CosmicRays,
    StaticMaskParams,
    iter_cosmic_rays,
    static_masks,
)
from skymere.wcs import Grid

__all__ = ["FlagParams", "Flagged", "flag_exposures", "flag_static", "iter_flagged"]


@dataclass(frozen=True, kw_only=True)
class FlagParams:
    """Parameters of `flag_exposures`.

    Parameters
    ----------
    ignore_dq : tuple of str
        Names of DQ bits that count as good.
    static : StaticMaskParams or None
        Thresholds of the static mask; None = no static mask.
    sky : SkyParams
        How the sky is found.
    cosmic_rays : CosmicRayParams or None
        How cosmic rays are found; None = not at all.

    Raises
    ------
    InvalidInputError
        When the sky is matched only and cosmic rays are to be found: relative skies have no noise.
    """

    ignore_dq: tuple[str, ...] = ()
    static: StaticMaskParams | None = field(default_factory=StaticMaskParams)
    sky: SkyParams = field(default_factory=SkyParams)
    cosmic_rays: CosmicRayParams | None = field(default_factory=CosmicRayParams)

    def __post_init__(self) -> None:
        if self.sky.method == "match" and self.cosmic_rays is not None:
            msg = (
                "sky.method: 'match' is not allowed together with cosmic_rays, because relative skies do not tell the "
                "noise; use 'globalmin+match', or leave cosmic_rays out"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flagged:
    """An exposure after steps 1 to 6.

    Parameters
    ----------
    exposure : Exposure
        With its sky and flags.
    cosmic_rays : CosmicRays or None
        What was found, and the model that it was found with; None where the step was left out.
    """

    exposure: Exposure
    cosmic_rays: CosmicRays | None

    def cleaned(self) -> Exposure:
        """Return a copy of the exposure in which the pixels that were hit have the value of the model."""
        return self.exposure if self.cosmic_rays is None else self.cosmic_rays.cleaned(self.exposure)


def flag_static(exposures: Sequence[Exposure], *, params: StaticMaskParams | None) -> Sequence[Exposure]:
    """Return exposures with the flags of the static mask (step 1), which are set whenever one of them is asked for.

    Parameters
    ----------
    exposures : sequence of Exposure
        Exposures of one band; each is asked for once here, and may be read from a file then.
    params : StaticMaskParams or None
        Thresholds; None = no static mask.
    """
    return _Prepared(exposures, None if params is None else static_masks(exposures, params=params), None)


def flag_exposures(
    exposures: Sequence[Exposure],
    *,
    params: FlagParams | None = None,
    separate_grid: Grid | None = None,
    groups: Mapping[str, str] | None = None,
) -> list[Exposure]:
    """Return the exposures of one band with their sky and with static and cosmic-ray flags; the inputs stay unchanged.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band.
    params : FlagParams, optional
        Parameters of the steps.
    separate_grid : Grid, optional
        Pixels of the single drizzles; the detector's own, or what the parameters say, when not given.
    groups : mapping of str to str, optional
        Group of an exposure, such as the chips of one camera, which get one sky.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or they are of several bands.
    NoDataError
        When an exposure has no good pixel.
    """
    found = iter_flagged(exposures, params=params, separate_grid=separate_grid, groups=groups)
    return [flagged.exposure for flagged in found]


def iter_flagged(
    exposures: Sequence[Exposure],
    *,
    params: FlagParams | None = None,
    separate_grid: Grid | None = None,
    groups: Mapping[str, str] | None = None,
    skies: Sequence[float] | None = None,
) -> Iterator[Flagged]:
    """Yield what `flag_exposures` returns, one exposure at a time, so that memory does not grow with their number.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band. Each is asked for in every step and may be read from a file then; see
        `ExposureFiles`.
    params, separate_grid, groups
        As in `flag_exposures`.
    skies : sequence of float, optional
        Sky of each exposure [unit of the exposures]; it is found as ``params.sky`` says when not given.

    Raises
    ------
    InvalidInputError
        When there is no exposure, they are of several bands, or there is one sky too few.
    NoDataError
        When an exposure has no good pixel.
    """
    p = params or FlagParams()
    bands = sorted({exposure.band for exposure in exposures})
    if len(bands) != 1:
        msg = f"exposures: bands {bands} are not allowed, all must be of one band"
        raise InvalidInputError(msg)
    if skies is not None and len(skies) != len(exposures):
        msg = f"skies: {len(skies)} values are not allowed, there are {len(exposures)} exposures"
        raise InvalidInputError(msg)
    masks = None if p.static is None else static_masks(exposures, params=p.static)
    if skies is None:
        unlevelled = _Prepared(exposures, masks, None)
        skies = subtractable_sky(unlevelled, params=p.sky, ignore_dq=p.ignore_dq, groups=groups)
    ready = _Prepared(exposures, masks, skies)
    if p.cosmic_rays is None:
        yield from (Flagged(exposure=exposure, cosmic_rays=None) for exposure in ready)
        return
    found = iter_cosmic_rays(ready, grid=separate_grid, ignore=p.ignore_dq, params=p.cosmic_rays)
    for exposure, hits in zip(ready, found, strict=True):
        yield Flagged(exposure=exposure.flagged("cosmic_ray", hits.mask), cosmic_rays=hits)


class _Prepared(Sequence[Exposure]):
    """Exposures with static flags and sky, made when they are asked for."""

    def __init__(
        self,
        exposures: Sequence[Exposure],
        masks: Mapping[str, NDArray[np.bool_]] | None,
        skies: Sequence[float] | None,
    ) -> None:
        self._exposures, self._masks, self._skies = exposures, masks, skies

    def __len__(self) -> int:
        return len(self._exposures)

    @overload
    def __getitem__(self, i: int) -> Exposure: ...
    @overload
    def __getitem__(self, i: slice) -> "list[Exposure]": ...
    def __getitem__(self, i: int | slice) -> "Exposure | list[Exposure]":
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        exposure = self._exposures[i]
        if self._masks is not None:
            exposure = exposure.flagged("static", self._masks[exposure.exposure_id])
        return exposure if self._skies is None else replace(exposure, sky=self._skies[i])
