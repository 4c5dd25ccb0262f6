"""``plan.toml``: what to run, typed; an unknown key or a wrong value is an error that names file and key."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from skymere._params import build_params
from skymere.errors import InvalidInputError, NotFoundError
from skymere.io import ReadParams
from skymere.lake import LARGEST_PIX, SIZE_CLASSES, WIDTH_PIX, Gate
from skymere.mosaic import FindParams, FlagParams, OverrideParams, QualityParams, SkyParams
from skymere.pipeline.band_images import BandImage, check_bands, read_band_table
from skymere.pipeline.grism_plan import BeamsPlan, ContamPlan, MapsPlan
from skymere.pipeline.imaging_plan import AlignPlan, OutliersPlan, check_moved, flag_params
from skymere.pipeline.run_settings import RunPlan
from skymere.pipeline.slit_plan import RedshiftsPlan, SlitsPlan
from skymere.profiles import SceneParams
from skymere.psf import BuildParams, PsfLimits
from skymere.resample import DrizzleParams, NoiseParams
from skymere.segmentation import MeasureParams

__all__ = [
    "CutoutPlan",
    "DetectPlan",
    "ExternalPlan",
    "MosaicPlan",
    "PhotometryPlan",
    "Plan",
    "ProfilesPlan",
    "PsfPlan",
    "ReleasePlan",
    "SurveyPlan",
    "TilePlan",
    "read_plan",
]


@dataclass(frozen=True, kw_only=True)
class SurveyPlan:
    """Where things are; relative paths start at the folder of the plan.

    Parameters
    ----------
    exposures : tuple of str
        Files or glob patterns.
    lake : str
        Folder of the lake; made when it does not exist.
    pictures : str
        Folder for pictures.
    logs : str
        Folder for the logs of tasks, ``<stage>/<tile>.log``.
    block_pix : int
        Side of the blocks in which mosaics with more pixels than four of them are searched and measured, with the same
        results; in memory is a block of every band [pix].

    Raises
    ------
    InvalidInputError
        When the blocks have no side.
    """

    exposures: tuple[str, ...]
    lake: str = "lake"
    pictures: str = "pictures"
    logs: str = "logs"
    block_pix: int = 4096

    def __post_init__(self) -> None:
        if self.block_pix < 1:
            msg = f"block_pix: {self.block_pix} is not allowed, it must be at least 1 pixel"
            raise InvalidInputError(msg)

    def is_large(self, shape: tuple[int, int]) -> bool:
        """Whether an image is worked on block by block."""
        return shape[0] * shape[1] > 4 * self.block_pix**2


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """The tiles: their pixel grids.

    Parameters
    ----------
    kind : str
        ``named``: one tile that covers the exposures or has the grid of a reference image. ``healpix``: HEALPix cells,
        one tile for each that the exposures touch.
    name : str
        Name of the named tile.
    reference_image : str
        FITS file whose grid the named tile takes; empty = a grid of its own.
    scale_arcsec : float
        Pixel of the grid [arcsec].
    rotation_deg : float
        Position angle of the y axis of the named tile [deg].
    width_pix : int
        HEALPix tiles are the largest that are at most so wide and high [pix].

    Raises
    ------
    InvalidInputError
        When something is said about a named tile and the tiles are HEALPix cells.
    """

    kind: Literal["named", "healpix"] = "named"
    name: str = "field"
    reference_image: str = ""
    scale_arcsec: float = 0.08
    rotation_deg: float = 0.0
    width_pix: int = WIDTH_PIX

    def __post_init__(self) -> None:
        said = [key for key in ("name", "reference_image", "rotation_deg") if getattr(self, key) != _NAMED[key]]
        if self.kind == "healpix" and said:
            msg = f"{said[0]}: {getattr(self, said[0])!r} is not allowed with kind 'healpix', whose tiles are given"
            raise InvalidInputError(msg)


_NAMED = {"name": "field", "reference_image": "", "rotation_deg": 0.0}


@dataclass(frozen=True, kw_only=True)
class MosaicPlan:
    """The mosaic stage.

    Parameters
    ----------
    drizzle : DrizzleParams
        Kernel and pixfrac.
    quality : QualityParams
        Limits beyond which the weight of a mosaic is warned about; what was measured is stored with the mosaic.
    noise : NoiseParams
        Noise covariance.
    write_fits : bool
        Write ``<tile>_<band>_drz.fits`` beside the pictures too.
    """

    drizzle: DrizzleParams = field(default_factory=lambda: DrizzleParams(kernel="square", pixfrac=0.8))
    quality: QualityParams = field(default_factory=QualityParams)
    noise: NoiseParams = field(default_factory=NoiseParams)
    write_fits: bool = False


@dataclass(frozen=True, kw_only=True)
class PsfPlan:
    """The psf stage.

    Parameters
    ----------
    source : str
        PSF of the exposures: ``stars`` in them, ``grid`` (a STDPSF file), ``gaussian`` or ``moffat``, which are
        drizzled; or ``image``, that of the mosaics from FITS images; or ``none``.
    build : BuildParams
        How it is built from stars.
    path : str
        The file of a grid, or of an image, in which ``{band}`` stands for the band.
    extension : str
        That of an image in a file of several; ``{band}`` stands for the band.
    fwhm_arcsec, beta : float
        Width of a formula before the pixel, and the exponent of a Moffat profile.
    size_pix : int
        Side of the image, odd [pix of the mosaic].
    n_positions : int
        PSFs are drizzled at so many places along either axis of a mosaic.
    oversampling : float
        Pixels of an image per pixel of the mosaic; 0 = what its header says, else 1.
    has_pixel : bool
        Whether an image holds the pixel's response.
    limits : PsfLimits
        What an image must hold.

    Raises
    ------
    InvalidInputError
        When a value is not allowed, or a grid or an image has no file.
    """

    source: Literal["none", "stars", "grid", "gaussian", "moffat", "image"] = "none"
    build: BuildParams = field(default_factory=BuildParams)
    path: str = ""
    extension: str = ""
    fwhm_arcsec: float = 0.1
    beta: float = 3.0
    size_pix: int = 101
    n_positions: int = 1
    oversampling: float = 0.0
    has_pixel: bool = True
    limits: PsfLimits = field(default_factory=PsfLimits)

    def __post_init__(self) -> None:
        if self.source in {"grid", "image"} and not self.path:
            msg = f"path: is missing, the source {self.source!r} needs a file"
            raise InvalidInputError(msg)
        if not 0 <= self.oversampling < float("inf"):
            msg = f"oversampling: {self.oversampling} is not allowed, it must be positive, or 0"
            raise InvalidInputError(msg)
        if self.n_positions < 1 or self.size_pix < 3 or self.size_pix % 2 == 0:
            msg = (
                f"n_positions, size_pix: {self.n_positions}, {self.size_pix} are not allowed, "
                "they must be at least 1, and odd and at least 3"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class DetectPlan(FindParams):
    """The detect stage: the parameters of `skymere.mosaic.FindParams`, and two more.

    Parameters
    ----------
    bands : tuple of str
        Bands that are searched; empty = all.
    write_fits : bool
        Write ``<tile>/det_seg.fits``, ``det_cat.fits``, ``det_stack.fits`` and ``det_snr.fits`` beside the pictures,
        too.
    """

    bands: tuple[str, ...] = ()
    write_fits: bool = False


@dataclass(frozen=True, kw_only=True)
class ProfilesPlan:
    """The profiles stage, and the images of models that the models stage makes of them.

    Parameters
    ----------
    band : str
        Band whose mosaic is fitted, the sharpest; empty = none is.
    min_half_arcsec : float
        Least half side of the stamp of a source [arcsec].
    scene : SceneParams
        Stamps, groups and bounds; its ``min_half_pix`` is that of ``min_half_arcsec``.
    light_in_stamp : float
        Part of the light that the images of models hold.
    write_fits : bool
        Write ``<tile>/models/{id}.fits``, ``models_conv/{id}.fits`` and ``det_stack-sub.fits`` beside the pictures,
        too.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    band: str = ""
    min_half_arcsec: float = 1.5
    scene: SceneParams = field(default_factory=SceneParams)
    light_in_stamp: float = 0.99
    write_fits: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.min_half_arcsec < float("inf"):
            msg = f"min_half_arcsec: {self.min_half_arcsec} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not 0.5 <= self.light_in_stamp < 1:
            msg = f"light_in_stamp: {self.light_in_stamp} is not allowed, it must be at least 0.5 and below 1"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class ExternalPlan:
    """An image that stands for the model of a source.

    Parameters
    ----------
    source_id : int
        The source in the lake.
    path : str
        FITS image without any PSF, with a WCS; of any pixels.
    """

    source_id: int
    path: str


@dataclass(frozen=True, kw_only=True)
class PhotometryPlan:
    """The photometry stage: fluxes with the shapes of the profiles stage.

    Parameters
    ----------
    bands : tuple of str
        Bands of mosaics that are measured, each as `BandImage` says by default; none when empty.
    images : tuple of BandImage
        Images that are measured, or mosaics of the lake (without a file) that need something else than the defaults.
    table : str
        File with more of them: a CSV with a line for each, or TOML.
    external : tuple of ExternalPlan
        Images that stand for the models of some sources.
    margin_arcsec : float
        Images are cut to the tile and so much around it [arcsec].

    Raises
    ------
    InvalidInputError
        When a band appears twice, an image has no PSF, or a value is not allowed.
    """

    bands: tuple[str, ...] = ()
    images: tuple[BandImage, ...] = ()
    table: str = ""
    external: tuple[ExternalPlan, ...] = ()
    margin_arcsec: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin_arcsec < float("inf"):
            msg = f"margin_arcsec: {self.margin_arcsec} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class CutoutPlan:
    """The cutouts stage.

    Parameters
    ----------
    size_pix : int
        Smallest size class [pix].
    largest_pix : int
        Largest stamp [pix]: a size class, or up to 4096. Sources that ask for more are cut short.
    lossless : bool
        Store without rounding.
    """

    size_pix: Literal[64, 128, 256, 512] = 64
    largest_pix: int = 1024
    lossless: bool = False

    def __post_init__(self) -> None:
        is_class = self.largest_pix in SIZE_CLASSES
        if self.largest_pix < self.size_pix or not (is_class or SIZE_CLASSES[-1] < self.largest_pix <= LARGEST_PIX):
            msg = (
                f"largest_pix: {self.largest_pix} is not allowed, it must be one of {SIZE_CLASSES} or up to "
                f"{LARGEST_PIX}, and not below size_pix {self.size_pix}"
            )
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class ReleasePlan:
    """The release stage.

    Parameters
    ----------
    name : str
        Name of the release.
    """

    name: str = "DR1"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole run; each section has the name of a stage, but `survey`, `tile` and `run`, which are for all of them.

    Parameters
    ----------
    survey, tile, ingest, align, background, outliers, mosaic, psf, detect, measure, profiles, photometry, cutouts, \
slits, contam, beams, redshifts, maps, release, run
        Sections of the file.
    gates : tuple of Gate
        Rules that hold products instead of publishing them: ``[[gates]]``.
    folder : Path
        Folder of the file, to which its paths are relative.
    """

    survey: SurveyPlan
    tile: TilePlan = field(default_factory=TilePlan)
    ingest: OverrideParams = field(default_factory=OverrideParams)
    align: AlignPlan = field(default_factory=AlignPlan)
    background: SkyParams = field(default_factory=SkyParams)
    outliers: OutliersPlan = field(default_factory=OutliersPlan)
    mosaic: MosaicPlan = field(default_factory=MosaicPlan)
    psf: PsfPlan = field(default_factory=PsfPlan)
    detect: DetectPlan = field(default_factory=DetectPlan)
    measure: MeasureParams = field(default_factory=MeasureParams)
    profiles: ProfilesPlan = field(default_factory=ProfilesPlan)
    photometry: PhotometryPlan = field(default_factory=PhotometryPlan)
    cutouts: CutoutPlan = field(default_factory=CutoutPlan)
    slits: SlitsPlan = field(default_factory=SlitsPlan)
    contam: ContamPlan = field(default_factory=ContamPlan)
    beams: BeamsPlan = field(default_factory=BeamsPlan)
    redshifts: RedshiftsPlan = field(default_factory=RedshiftsPlan)
    maps: MapsPlan = field(default_factory=MapsPlan)
    release: ReleasePlan = field(default_factory=ReleasePlan)
    run: RunPlan = field(default_factory=RunPlan)
    gates: tuple[Gate, ...] = ()
    folder: Path = Path()

    def path(self, text: str) -> Path:
        """Return a path of the plan, made absolute."""
        return (self.folder / text).resolve()

    def read_params(self) -> ReadParams:
        """Return how exposures are read."""
        return self.ingest.read_params(self.folder)

    def flag_params(self) -> FlagParams:
        """Return how static masks, skies and cosmic rays are found.

        Raises
        ------
        InvalidInputError
            When the sections contradict each other.
        """
        return flag_params(self.outliers, self.background)

    def external_models(self) -> dict[int, Path]:
        """Return the files of models that people give, by source.

        Raises
        ------
        InvalidInputError
            When a source has two.
        NotFoundError
            When there is no such file.
        """
        found: dict[int, Path] = {}
        for one in self.photometry.external:
            path = self.path(one.path)
            if one.source_id in found:
                msg = f"photometry.external: source {one.source_id} has two models"
                raise InvalidInputError(msg)
            if not path.is_file():
                msg = f"photometry.external: {path}: no such file"
                raise NotFoundError(msg)
            found[one.source_id] = path
        return found

    def band_images(self) -> tuple[BandImage, ...]:
        """Return the images of the photometry stage, their files with absolute paths.

        Raises
        ------
        NotFoundError, FormatError
            When the table of bands is missing or none.
        InvalidInputError
            When a band appears twice, or an image has no PSF.
        """
        section = self.photometry
        images = [
            *(BandImage(band=band) for band in section.bands),
            *(one.below(self.folder) for one in section.images),
            *(read_band_table(self.path(section.table)) if section.table else ()),
        ]
        if images:
            check_bands(images, "photometry")
        for one in images:
            if one.image and not one.psf:
                msg = f"photometry: the image of band {one.band!r} has no PSF, it must have one"
                raise InvalidInputError(msg)
        return tuple(images)

    def exposure_files(self) -> list[Path]:
        """Return the files of all patterns, sorted, without repetition; a name without wildcard need not exist.

        Raises
        ------
        NotFoundError
            When a pattern matches nothing.
        """
        return sorted({path for pattern in self.survey.exposures for path in self.matching(pattern)})

    def matching(self, pattern: str) -> list[Path]:
        """Return the files that a pattern of exposures matches; a name without wildcard need not exist.

        Raises
        ------
        NotFoundError
            When a pattern matches nothing.
        """
        if not any(character in pattern for character in "*?["):
            return [self.path(pattern)]
        base, parts = (Path(pattern).anchor or str(self.folder)), Path(pattern).parts
        relative = str(Path(*parts[1:])) if Path(pattern).is_absolute() else pattern
        found = [path.resolve() for path in Path(base).glob(relative) if path.is_file()]
        if not found:
            msg = f"survey.exposures: {pattern!r} matches no file below {Path(base).resolve()}"
            raise NotFoundError(msg)
        return found


def read_plan(path: str | Path) -> Plan:
    """Read a plan.

    Parameters
    ----------
    path : path-like
        TOML file.

    Raises
    ------
    NotFoundError
        When there is no such file.
    InvalidInputError
        When it is not TOML, has an unknown key, or a value that is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such plan"
        raise NotFoundError(msg)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not TOML: {error}"
        raise InvalidInputError(msg) from error
    try:
        check_moved(table)
        plan: Plan = build_params(Plan, table, skip=("folder",))
        plan.flag_params()
    except InvalidInputError as error:
        msg = f"{path}: {error}"
        raise InvalidInputError(msg) from None
    return dataclasses.replace(plan, folder=path.parent.resolve())
