"""Step 2: the sky level of every exposure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from skymere.background import PedestalParams, estimate_pedestal
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError

__all__ = ["SkyParams", "subtractable_sky"]


@dataclass(frozen=True, kw_only=True)
class SkyParams:
    """Parameters of `subtractable_sky`.

    Parameters
    ----------
    method : str
        ``localmin``: every exposure its own level; ``globalmin``: the lowest level of all for each; ``none``: 0.
    pedestal : PedestalParams
        Clipping of the level.
    """

    method: Literal["localmin", "globalmin", "none"] = "localmin"
    pedestal: PedestalParams = field(default_factory=PedestalParams)

    def __post_init__(self) -> None:
        if self.method not in ("localmin", "globalmin", "none"):
            msg = f"method: {self.method!r} is not allowed, it must be 'localmin', 'globalmin' or 'none'"
            raise InvalidInputError(msg)


def subtractable_sky(
    exposures: Sequence[Exposure], *, params: SkyParams | None = None, ignore_dq: Iterable[str] = ()
) -> list[float]:
    """Return the sky to be subtracted from each exposure [unit of the exposures].

    Parameters
    ----------
    exposures : sequence of Exposure
        In rates, so that levels of different exposure times compare.
    params : SkyParams, optional
        Method and clipping.
    ignore_dq : iterable of str, optional
        DQ bits that count as good.

    Raises
    ------
    NoDataError
        When an exposure has no good pixel.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 4.2.3. AstroDrizzle compares levels before and stores them
    after unit conversion; here both are rates.
    """
    p = params or SkyParams()
    if p.method == "none":
        return [0.0] * len(exposures)
    ignored = tuple(ignore_dq)
    levels = [
        estimate_pedestal(exposure.data, mask=exposure.mask(ignore=ignored), params=p.pedestal).level
        for exposure in exposures
    ]
    return levels if p.method == "localmin" else [min(levels)] * len(levels)
