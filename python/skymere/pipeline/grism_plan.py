"""Sections ``[contam]``, ``[beams]`` and ``[maps]`` of a plan, and ``[redshifts.grism]``."""

from dataclasses import dataclass, field
from pathlib import Path

from skymere.errors import InvalidInputError
from skymere.grism import (
    GRIZLI_BAD_PA,
    BeamCutParams,
    ExtractParams,
    FitParams,
    FrameParams,
    LineMapParams,
    RefineParams,
    StackParams,
    WidthParams,
)
from skymere.io import Pack, find_pack
from skymere.mosaic import named_psf, named_psf_file
from skymere.resample import Geometry
from skymere.resample.drizzle import Kernel

__all__ = ["BeamsPlan", "ContamPlan", "GrismFitPlan", "MapsPlan", "place_or_pack"]


@dataclass(frozen=True, kw_only=True)
class ContamPlan:
    """The contam stage: exposures of grisms to frames, with the light of all sources in them.

    Parameters
    ----------
    files : tuple of str
        Exposures of grisms: files, folders (all ``*.fits`` and ``*.fits.gz`` in them) or glob patterns; none are read
        when empty.
    direct : tuple of str
        Direct exposures (``_flt``, ``_flc``, ``_cal``, ``_rate``) and mosaics: files, folders or patterns; exposures
        and mosaics of the lake when empty.
    catalogue, segmentation : str
        Table with ``id, ra, dec`` and perhaps ``mag``, and labels with a WCS; sources and segmentation of the tile in
        which the exposures are when empty.
    conf : str
        Folder of configurations, or one; reference packs are looked in too.
    masters : tuple of str
        ``GRISM=FILE``: images of the sky of grisms.
    mag_band : str
        Band of the lake by whose magnitude orders of faint sources are left out; the first of the detection when empty.
    match_radius_arcsec : float
        A source of a catalogue that is given is the nearest one of the lake within this [arcsec]; one that has none
        gets an identifier from its place.
    is_refined : bool
        Whether spectra of the sources are fitted to the exposures; else all are flat.
    frame : FrameParams
        Pad, sky and operator.
    refine : RefineParams
        How spectra are fitted.

    Raises
    ------
    InvalidInputError
        When one of catalogue and segmentation is given without the other, or a value is not allowed.
    """

    files: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()
    catalogue: str = ""
    segmentation: str = ""
    conf: str = ""
    masters: tuple[str, ...] = ()
    mag_band: str = ""
    match_radius_arcsec: float = 0.3
    is_refined: bool = True
    frame: FrameParams = field(default_factory=FrameParams)
    refine: RefineParams = field(default_factory=RefineParams)

    def __post_init__(self) -> None:
        if bool(self.catalogue) != bool(self.segmentation):
            msg = f"catalogue, segmentation: {self.catalogue!r}, {self.segmentation!r} are not allowed, both or none"
            raise InvalidInputError(msg)
        if not 0 <= self.match_radius_arcsec < float("inf"):
            msg = f"match_radius_arcsec: {self.match_radius_arcsec} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)
        for one in self.masters:
            grism, sign, path = one.partition("=")
            if not grism or not sign or not path:
                msg = f"masters: {one!r} is not allowed, it must be GRISM=FILE"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class BeamsPlan:
    """The beams stage: beams of all sources, cut from frames or read from files.

    Parameters
    ----------
    is_on : bool
        Whether beams are cut from frames.
    files : tuple of str
        ``beams.fits`` of grizli or skymere that are taken into the lake, too: files, folders or patterns.
    conf : str
        Folder of configurations of such files, or one; that of ``[contam]`` when empty.
    match_radius_arcsec : float
        As in ``[contam]``, for sources of files [arcsec].
    actions : str
        Table of what is masked or left out, which becomes rows of ``beam_action``; its ``source_id`` are those of the
        lake.
    author, reason : str
        Who, and why, of actions that do not say it.
    cut : BeamCutParams
        Sizes, orders, and with ``cut.beam`` masks, weights and the operator of all beams.
    """

    is_on: bool = True
    files: tuple[str, ...] = ()
    conf: str = ""
    match_radius_arcsec: float = 0.3
    actions: str = ""
    author: str = "plan"
    reason: str = "actions of the plan"
    cut: BeamCutParams = field(default_factory=BeamCutParams)


@dataclass(frozen=True, kw_only=True)
class GrismFitPlan:
    """How redshifts and lines are fitted to beams.

    Parameters
    ----------
    templates : str
        Folder of templates (with a slash), or the name of a pack that has them; beams are not fitted when empty.
    fwhm_km_s : float
        Width of lines, full width at half maximum [km/s].
    lorentz, alf : bool
        Whether lines are Lorentzians, and whether there is an old population of the code alf among the continua; see
        `skymere.spectra.TemplateSet.load`.
    z_range : tuple of float
        Least and largest redshift.
    dz : tuple of float
        Steps in ln(1 + z) of the first grid, and of those around its peaks.
    is_refined : bool
        Whether single lines find the redshift within the peak of the groups of lines, whose ratios a source may not
        have; see `skymere.grism.refine_redshift`.
    has_igm : bool
        Whether matter between galaxies absorbs; its coefficients come from a pack.
    has_deviations : bool
        Whether lines of each orientation are compared with those of all others.
    bad_pa_threshold : float
        Orientations are left out whose reduced chi square of a polynomial is more than this times that of the best one
        of the grism; 0 keeps all.
    has_widths : bool
        Whether widths of lines are fitted.
    widths : WidthParams
        How; see `skymere.grism.fit_line_widths`.
    n_draws, seed : int
        Draws for equivalent widths, and their seed.
    params : FitParams
        How to fit; its ``fitter`` is that of both fits when it is given.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    templates: str = ""
    fwhm_km_s: float = 1200.0
    lorentz: bool = False
    alf: bool = False
    z_range: tuple[float, float] = (0.05, 3.4)
    dz: tuple[float, float] = (0.004, 0.0002)
    is_refined: bool = True
    has_igm: bool = False
    has_deviations: bool = True
    bad_pa_threshold: float = GRIZLI_BAD_PA
    has_widths: bool = False
    widths: WidthParams = field(default_factory=WidthParams)
    n_draws: int = 1000
    seed: int = 0
    params: FitParams = field(default_factory=lambda: FitParams(has_covariance=False))

    def __post_init__(self) -> None:
        if not -1 < self.z_range[0] < self.z_range[1] < float("inf"):
            msg = f"z_range: {self.z_range} is not allowed, it must be two redshifts above -1 that rise"
            raise InvalidInputError(msg)
        if self.bad_pa_threshold != 0 and not 1 <= self.bad_pa_threshold < float("inf"):
            msg = f"bad_pa_threshold: {self.bad_pa_threshold} is not allowed, it must be 0, or 1 or more"
            raise InvalidInputError(msg)
        if self.n_draws < 1 or self.seed < 0:
            msg = f"n_draws, seed: {self.n_draws}, {self.seed} are not allowed, the least are 1 and 0"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class MapsPlan:
    """The maps stage: line maps, direct images and labels on the same pixels, and extracted spectra.

    Parameters
    ----------
    is_on : bool
        Whether they are made.
    kernel, pixfrac, pixscale, size
        The geometry that everything around a source shares; see `skymere.resample.Geometry`.
    has_direct : bool
        Whether direct images come from the exposures of the lake; else from the beams.
    psf : str
        PSF of the exposures, which is drizzled with the same geometry for each filter: ``none``, or as in
        `skymere.mosaic.named_psf` ``stars`` of the exposures of the lake, ``gaussian:FWHM``, ``moffat:FWHM:BETA``
        [arcsec], ``grid:FILE`` or ``image:FILE`` with ``{band}`` for the filter.
    lines : LineMapParams
        Which lines, masks and units.
    extract : ExtractParams
        Spectra in one dimension.
    stack : StackParams
        Spectra in two dimensions.

    Raises
    ------
    InvalidInputError
        When the geometry or the PSF is not allowed.
    """

    is_on: bool = True
    kernel: Kernel = "point"
    pixfrac: float = 0.2
    pixscale: float = 0.1
    size: float = 8.0
    has_direct: bool = True
    psf: str = "none"
    lines: LineMapParams = field(default_factory=LineMapParams)
    extract: ExtractParams = field(default_factory=ExtractParams)
    stack: StackParams = field(default_factory=StackParams)

    def __post_init__(self) -> None:
        _ = self.geometry
        if self.has_psf and self.psf != "stars" and named_psf_file(self.psf, "") is None:
            # A formula, which is the same for all filters.
            named_psf(self.psf, "", where="psf")

    @property
    def has_psf(self) -> bool:
        """Whether PSFs are drizzled."""
        return self.psf != "none"

    @property
    def geometry(self) -> Geometry:
        """The geometry."""
        return Geometry(kernel=self.kernel, pixfrac=self.pixfrac, pixscale=self.pixscale, size=self.size)


def place_or_pack(text: str, folder: Path) -> Path | Pack:
    """Return a folder, whose name has a slash or is one that exists, or a reference pack.

    Parameters
    ----------
    text : str
        Folder, or name of a pack.
    folder : Path
        Where relative folders begin.

    Raises
    ------
    NotFoundError
        When there is no such pack.
    """
    path = (folder / text).resolve()
    return path if "/" in text or path.is_dir() else find_pack(text)
