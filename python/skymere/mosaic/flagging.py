"""Steps 1 to 6: static mask, sky and cosmic rays of the exposures of one band."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.mosaic.sky import SkyParams, subtractable_sky
from skymere.outliers import CosmicRayParams, StaticMaskParams, flag_cosmic_rays, static_masks

__all__ = ["FlagParams", "flag_exposures"]


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
    """

    ignore_dq: tuple[str, ...] = ()
    static: StaticMaskParams | None = field(default_factory=StaticMaskParams)
    sky: SkyParams = field(default_factory=SkyParams)
    cosmic_rays: CosmicRayParams | None = field(default_factory=CosmicRayParams)


def flag_exposures(exposures: Sequence[Exposure], *, params: FlagParams | None = None) -> list[Exposure]:
    """Return the exposures of one band with their sky and with static and cosmic-ray flags; the inputs stay unchanged.

    Parameters
    ----------
    exposures : sequence of Exposure
        Aligned exposures of one band.
    params : FlagParams, optional
        Parameters of the steps.

    Raises
    ------
    InvalidInputError
        When there is no exposure, or they are of several bands.
    NoDataError
        When an exposure has no good pixel.
    """
    p = params or FlagParams()
    bands = sorted({exposure.band for exposure in exposures})
    if len(bands) != 1:
        msg = f"exposures: bands {bands} are not allowed, all must be of one band"
        raise InvalidInputError(msg)
    flagged = list(exposures)
    if p.static is not None:
        masks = static_masks(flagged, params=p.static)
        flagged = [e.flagged("static", masks[e.exposure_id]) for e in flagged]
    skies = subtractable_sky(flagged, params=p.sky, ignore_dq=p.ignore_dq)
    flagged = [replace(e, sky=sky) for e, sky in zip(flagged, skies, strict=True)]
    if p.cosmic_rays is not None:
        bad = [e.mask(ignore=p.ignore_dq) for e in flagged]
        hits = flag_cosmic_rays(flagged, masks=bad, params=p.cosmic_rays)
        flagged = [e.flagged("cosmic_ray", hit) for e, hit in zip(flagged, hits, strict=True)]
    return flagged
