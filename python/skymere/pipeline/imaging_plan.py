"""Sections ``[align]`` and ``[outliers]`` of a plan; ``[background]`` is `skymere.mosaic.SkyParams`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skymere.align import AlignParams
from skymere.errors import InvalidInputError
from skymere.mosaic import FlagParams, SkyParams
from skymere.outliers import CosmicRayParams, StaticMaskParams

__all__ = ["AlignPlan", "OutliersPlan", "check_moved", "flag_params"]


@dataclass(frozen=True, kw_only=True)
class AlignPlan(AlignParams):
    """The align stage: the parameters of `skymere.align.AlignParams`, and two more.

    Parameters
    ----------
    is_on : bool
        Whether exposures are aligned; they keep the coordinates of their headers otherwise.
    reference : str
        Catalogue with ``ra, dec`` [deg], or FITS image with coordinates, to which every exposure is aligned by itself.
        When empty, exposures that overlap are aligned to the first of them by name, or to one that people aligned.
    expand_reference : bool
        Sources of exposures that were aligned become references for those that overlap only them.
    keep_order : bool
        Take exposures by name, and not always that which has most sources in common with the reference.

    Raises
    ------
    InvalidInputError
        When a value is not allowed, or there is a reference and nothing is aligned.
    """

    is_on: bool = False
    reference: str = ""
    expand_reference: bool = True
    keep_order: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference and not self.is_on:
            msg = f"reference: {self.reference!r} is not allowed without is_on = true, exposures are not aligned"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class OutliersPlan:
    """The outliers stage.

    Parameters
    ----------
    ignore_dq : tuple of str
        Names of DQ bits that count as good.
    static : StaticMaskParams or None
        Thresholds of the static mask; None = no static mask.
    cosmic_rays : CosmicRayParams or None
        How cosmic rays are found; None = not at all.
    """

    ignore_dq: tuple[str, ...] = ()
    static: StaticMaskParams | None = field(default_factory=StaticMaskParams)
    cosmic_rays: CosmicRayParams | None = field(default_factory=CosmicRayParams)


def flag_params(outliers: OutliersPlan, background: SkyParams) -> FlagParams:
    """Return the parameters of both sections together.

    Raises
    ------
    InvalidInputError
        When they contradict each other.
    """
    try:
        return FlagParams(
            ignore_dq=outliers.ignore_dq, static=outliers.static, sky=background, cosmic_rays=outliers.cosmic_rays
        )
    except InvalidInputError as error:
        msg = f"in [background] and [outliers]: {error}"
        raise InvalidInputError(msg) from None


def check_moved(table: Mapping[str, Any]) -> None:
    """Raise when a plan has a key that older plans had elsewhere.

    Parameters
    ----------
    table : mapping
        The plan as it was read.

    Raises
    ------
    InvalidInputError
        When it has one; the message says where it is now.
    """
    outliers = table.get("outliers")
    if isinstance(outliers, Mapping) and "sky" in outliers:
        msg = "outliers.sky: moved to [background]; write [outliers.sky] as [background] and leave its keys as they are"
        raise InvalidInputError(msg)
