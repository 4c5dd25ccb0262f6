"""Sections ``[slits]`` and ``[redshifts]`` of a plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from skymere.errors import InvalidInputError
from skymere.io import Pack, build_pack, find_pack
from skymere.pipeline.grism_plan import GrismFitPlan
from skymere.spectra import RedshiftParams

__all__ = ["RedshiftsPlan", "SlitCombinePlan", "SlitFitPlan", "SlitGroupPlan", "SlitsPlan", "plan_pack", "without"]


@dataclass(frozen=True, kw_only=True)
class SlitGroupPlan:
    """How the exposures of a slit are corrected and flagged; see the arguments of `skymere.slit.SlitGroup`.

    Parameters
    ----------
    position_key : str
        What tells nods apart: ``y_index`` (rank of the dither), ``position_number`` or ``shutter_state``.
    diffs, grating_diffs : bool
        Whether the other nods are subtracted; whether they are for gratings, whatever ``diffs`` says.
    stuck_threshold : float
        A shutter with less than this part of the best one's signal over noise is stuck.
    undo_barshadow : int
        What becomes of the pipeline's bar shadow: 0 leaves it, 1 takes it back, 2 replaces it by that of the tables.
    min_bar : float or None
        Pixels that the bars leave less light are left out; None for none.
    bar_corr_mode : str
        Table of the bar shadow: ``wave`` depends on the wavelength, ``flat`` does not.
    num_shutters : int
        Open shutters: below 0 as the file says, 0 as many as nods.
    fix_prism_norm : bool
        Whether a slit of the prism is brought to the mean response.
    extended_threshold : float or None
        Threshold of the calibration of the extended range; None for none.
    with_sflat_correction : bool
        Whether the flat field of the shutters is used (prism, extended range).
    with_extra_dq : bool
        Whether the table of further bad pixels is used.
    dilate_failed_open : int
        By how many steps pixels of shutters stuck open are grown.
    pad_border : int
        By how many steps pixels without wavelength are grown.
    do_multiple_mask : bool
        Whether a pixel that is bad in most of three or more exposures is bad in all.
    undo_pathloss : int
        What becomes of the pipeline's path loss: 0 leaves it, 1 takes it back, 2 then corrects for a point source.
    trace_with_xpos : bool
        Whether the source's place across the slit shifts wavelengths.
    trace_from_yoffset : bool
        Whether traces follow the dithers.
    weight_type : str
        What weighs the pixels, see `skymere.slit.pixel_weights`.
    sky_file : str
        ``read`` looks for the sky of the visit in the pack; empty for none.
    flag_trace, flag_percentile, flag_profile, flag_hot_cold : bool
        Whether this search for outliers is done, with its own defaults.
    fit_shutter_offset : bool
        Whether the offset of the shutters is fitted.
    estimate_sky : bool
        Whether a sky is fitted to the pixels off the trace.
    """

    position_key: Literal["y_index", "position_number", "shutter_state"] = "y_index"
    diffs: bool = True
    grating_diffs: bool = True
    stuck_threshold: float = 0.3
    undo_barshadow: Literal[0, 1, 2] = 0
    min_bar: float | None = 0.4
    bar_corr_mode: Literal["wave", "flat"] = "wave"
    num_shutters: int = -1
    fix_prism_norm: bool = True
    extended_threshold: float | None = 0.01
    with_sflat_correction: bool = True
    with_extra_dq: bool = True
    dilate_failed_open: int = 1
    pad_border: int = 2
    do_multiple_mask: bool = True
    undo_pathloss: Literal[0, 1, 2] = 1
    trace_with_xpos: bool = False
    trace_from_yoffset: bool = False
    weight_type: Literal["ivm", "poisson", "exptime", "exptime_bar", "mask"] = "ivm"
    sky_file: str = "read"
    flag_trace: bool = True
    flag_percentile: bool = True
    flag_profile: bool = False
    flag_hot_cold: bool = False
    fit_shutter_offset: bool = False
    estimate_sky: bool = False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `SlitGroup`."""
        stages = {
            "flag_trace_kwargs": self.flag_trace,
            "flag_percentile_kwargs": self.flag_percentile,
            "flag_profile_kwargs": self.flag_profile,
            "hot_cold_kwargs": self.flag_hot_cold,
            "fit_shutter_offset_kwargs": self.fit_shutter_offset,
            "estimate_sky_kwargs": self.estimate_sky,
        }
        threshold = self.extended_threshold
        return {
            **{name: getattr(self, name) for name in _SAME},
            **{name: {} if is_on else None for name, is_on in stages.items()},
            "extended_calibration_kwargs": None if threshold is None else {"threshold": threshold},
            "sky_file": self.sky_file or None,
        }


_SAME = (
    "position_key",
    "diffs",
    "grating_diffs",
    "stuck_threshold",
    "undo_barshadow",
    "min_bar",
    "bar_corr_mode",
    "num_shutters",
    "fix_prism_norm",
    "with_sflat_correction",
    "with_extra_dq",
    "dilate_failed_open",
    "pad_border",
    "do_multiple_mask",
    "undo_pathloss",
    "trace_with_xpos",
    "trace_from_yoffset",
    "weight_type",
)


@dataclass(frozen=True, kw_only=True)
class SlitFitPlan:
    """How width and trace of a source are fitted; see `skymere.slit.extract_spectra`.

    Parameters
    ----------
    degree : int
        Degree of the trace's offset, ``offset_degree`` there.
    n_rounds : int
        ``trace_niter`` there.
    initial_sigma : float
        First width [0.1 pix].
    recenter_all : bool
        Whether every group is fitted; else the first one's width and trace hold for all.
    free_trace_offset : bool
        Whether every position is fitted by itself.
    """

    degree: int = 0
    n_rounds: int = 4
    initial_sigma: float = 7.0
    recenter_all: bool = False
    free_trace_offset: bool = False


@dataclass(frozen=True, kw_only=True)
class SlitCombinePlan:
    """How exposures are combined; see `skymere.slit.combine_grating_group`.

    Parameters
    ----------
    method : str
        How pixels come to the grid: ``pseudo`` (bins that are shifted) or ``drizzle``.
    extraction : str
        Spectrum of one dimension: ``optimal`` weighs by the profile, ``boxcar`` does not.
    step : float
        Height of a row [pix].
    with_pathloss : bool
        Whether the light that the slit cuts off is corrected for.
    wave_sample : float
        Points for each step of the standard grid of wavelengths.
    ny : int
        Half the height of the image [pix].
    oversample : int
        Shifts of the bins of ``pseudo``.
    pixfrac : float
        Side of the drops of ``drizzle`` over that of their pixels, or shift of the bins of ``pseudo``.
    y_range : tuple of float
        Distances from the trace that count in one dimension [pix].
    """

    method: Literal["pseudo", "drizzle"] = "pseudo"
    extraction: Literal["optimal", "boxcar"] = "optimal"
    step: float = 1.0
    with_pathloss: bool = True
    wave_sample: float = 1.05
    ny: int = 13
    oversample: int = 16
    pixfrac: float = 0.8
    y_range: tuple[float, float] = (-3.0, 3.0)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `combine_grating_group`."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class SlitsPlan:
    """The slits stage: exposures of slits to slitlets, tables of pixels and combined spectra.

    Parameters
    ----------
    files : tuple of str
        Files, folders (all ``*.fits`` and ``*.fits.gz`` in them) or glob patterns; none are read when empty.
    gratings : tuple of str
        Which gratings; all when empty.
    exclude : tuple of str
        Names of exposures that are left out.
    pack, pack_version : str
        Reference files: name of a pack and its version, the newest when empty; or the folder of a pack, with a slash.
    compat : str
        ``msaexp``: do what version 0.9.19 does; empty for the defaults.
    valid_frac_threshold : float
        A group with a smaller part of valid pixels is left out.
    match_radius_arcsec : float
        A source of a slit is the nearest one of the table ``source`` within this [arcsec]; one that has none gets an
        identifier from its place.
    batch : int
        Sources that are published together, at most about so many: memory holds one batch for each worker.
    n_workers : int
        Processes that work on batches at the same time; 0 for one on each core.
    group : SlitGroupPlan
        Corrections and flags.
    fit : SlitFitPlan
        Width and trace.
    combine : SlitCombinePlan
        Combination and extraction.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    files: tuple[str, ...] = ()
    gratings: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pack: str = "nirspec"
    pack_version: str = ""
    compat: Literal["", "msaexp"] = ""
    valid_frac_threshold: float = 0.1
    match_radius_arcsec: float = 0.3
    batch: int = 16
    n_workers: int = 1
    group: SlitGroupPlan = field(default_factory=SlitGroupPlan)
    fit: SlitFitPlan = field(default_factory=SlitFitPlan)
    combine: SlitCombinePlan = field(default_factory=SlitCombinePlan)

    def __post_init__(self) -> None:
        if self.batch < 1 or self.n_workers < 0:
            msg = f"batch, n_workers: {self.batch}, {self.n_workers} are not allowed, the least are 1 and 0"
            raise InvalidInputError(msg)
        if not 0 <= self.match_radius_arcsec < float("inf"):
            msg = f"match_radius_arcsec: {self.match_radius_arcsec} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `skymere.slit.extract_spectra` but files and pack."""
        return {
            "gratings": None,
            "valid_frac_threshold": self.valid_frac_threshold,
            "offset_degree": self.fit.degree,
            "trace_niter": self.fit.n_rounds,
            "initial_sigma": self.fit.initial_sigma,
            "recenter_all": self.fit.recenter_all,
            "free_trace_offset": self.fit.free_trace_offset,
            "drizzle_kws": self.combine.arguments(),
            "compat": self.compat or None,
            **self.group.arguments(),
        }


_ORDER = ("prism", "g395m", "g235m", "g140m", "g395h", "g235h", "g140h")


@dataclass(frozen=True, kw_only=True)
class RedshiftsPlan:
    """The redshifts stage: redshift, p(z) and lines of every source with a combined spectrum of slits.

    Parameters
    ----------
    is_on : bool
        Whether redshifts are fitted.
    gratings : tuple of str
        The spectrum that is fitted is that of the first of these that a source has.
    z_range : tuple of float
        Least and largest redshift.
    n_splines : int
        Splines of the continuum.
    pack, pack_version : str
        Reference files with ``jwst_nirspec_<grating>_disp.fits``, from which the resolution comes; as in ``[slits]``.
    n_workers : int
        Threads that fit sources at the same time; 0 for one on each core.
    params : RedshiftParams
        How spectra of slits are fitted.
    grism : GrismFitPlan
        How beams of slitless spectra are fitted.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    is_on: bool = True
    gratings: tuple[str, ...] = _ORDER
    z_range: tuple[float, float] = (0.2, 10.0)
    n_splines: int = 27
    pack: str = "nirspec"
    pack_version: str = ""
    n_workers: int = 1
    params: RedshiftParams = field(default_factory=RedshiftParams)
    grism: GrismFitPlan = field(default_factory=GrismFitPlan)

    def __post_init__(self) -> None:
        if self.n_workers < 0 or self.n_splines < 4:
            msg = f"n_workers, n_splines: {self.n_workers}, {self.n_splines} are not allowed, the least are 0 and 4"
            raise InvalidInputError(msg)
        if not -1 < self.z_range[0] < self.z_range[1] < float("inf"):
            msg = f"z_range: {self.z_range} is not allowed, it must be two redshifts above -1 that rise"
            raise InvalidInputError(msg)


def without(params: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return parameters but those that change no result."""
    return {name: value for name, value in params.items() if name not in names}


def plan_pack(section: SlitsPlan | RedshiftsPlan, folder: Path = Path()) -> Pack:
    """Return the reference files that a section names.

    Parameters
    ----------
    section : SlitsPlan or RedshiftsPlan
        The section.
    folder : Path, optional
        Where the folder of a pack begins.

    Raises
    ------
    NotFoundError, FormatError
        When there is no such pack, or its files are not those of its manifest.
    """
    if "/" in section.pack:
        return build_pack((folder / section.pack).resolve())
    return find_pack(section.pack, version=section.pack_version or None)
