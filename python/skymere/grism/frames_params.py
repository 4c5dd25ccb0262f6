"""Parameters of frames and of their sky."""

from dataclasses import dataclass, field

from skymere.errors import InvalidInputError
from skymere.grism.params import ContaminationParams

__all__ = ["FrameParams", "GrismSkyParams"]


@dataclass(frozen=True, kw_only=True)
class GrismSkyParams:
    """How the sky of an exposure of a grism is found.

    Parameters
    ----------
    is_on : bool
        Whether it is subtracted at all.
    degree : int
        Degree of the smooth model along x and y, where no image of the sky is given.
    source_sigma : float
        Pixels where sources are expected to be brighter than this many sigmas are left out.
    min_fraction : float
        As many of all pixels are kept at least: the limit is raised until so many are left.
    clip_sigma : float
        Pixels that are farther off are left out.
    columns : bool
        Whether levels of columns are subtracted too.
    min_column_pix : int
        A column with fewer pixels keeps its level.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    is_on: bool = True
    degree: int = 2
    source_sigma: float = 0.3
    min_fraction: float = 0.2
    clip_sigma: float = 3.0
    columns: bool = True
    min_column_pix: int = 20

    def __post_init__(self) -> None:
        for name, least in (("degree", 0), ("min_column_pix", 1)):
            if getattr(self, name) < least:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be {least} or more"
                raise InvalidInputError(msg)
        for name in ("source_sigma", "clip_sigma"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if not 0 < self.min_fraction < 1:
            msg = f"min_fraction: {self.min_fraction} is not allowed, it must be between 0 and 1"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class FrameParams:
    """How exposures of a grism become frames.

    Parameters
    ----------
    pad : tuple of int
        Rows and columns beyond the detector whose sources are seen, on every side.
    max_partner_arcsec : float
        A direct exposure whose middle is farther away is no partner [arcsec].
    use_partner_wcs : bool
        Whether coordinates are those of the direct partner.
    sky : GrismSkyParams
        How the sky is subtracted.
    contamination : ContaminationParams
        The operator, sizes and orders.
    mw_ebv : float
        Extinction of the Milky Way that beams state.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    pad: tuple[int, int] = (64, 256)
    max_partner_arcsec: float = 3.0
    use_partner_wcs: bool = True
    sky: GrismSkyParams = field(default_factory=GrismSkyParams)
    contamination: ContaminationParams = field(default_factory=ContaminationParams)
    mw_ebv: float = 0.0

    def __post_init__(self) -> None:
        if min(self.pad) < 0:
            msg = f"pad: {self.pad} is not allowed, it must be 0 or more"
            raise InvalidInputError(msg)
        if not self.max_partner_arcsec > 0:
            msg = f"max_partner_arcsec: {self.max_partner_arcsec} is not allowed, it must be positive"
            raise InvalidInputError(msg)
