"""Exposures of one source in one grating: read, corrected, and ready to be fitted and combined."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from skymere._arrays import as_floats
from skymere.datamodels import Slitlet, SlitTables
from skymere.errors import InvalidInputError
from skymere.instruments import NOD_ARCSEC
from skymere.io import Pack, read_slit_tables, read_slitlet
from skymere.slit.bad_pixels import BadPixelParams, multiple_exposure_mask
from skymere.slit.compat import Peer, compat_group
from skymere.slit.cutouts import check_group
from skymere.slit.group_flags import SlitGroupFlags
from skymere.slit.group_params import SlitGroupParams
from skymere.slit.group_plots import SlitGroupPlots
from skymere.slit.group_sky import SlitGroupSky
from skymere.slit.hot_pixels import HotPixelParams
from skymere.slit.lookup import LookupKind
from skymere.slit.metadata import slit_info
from skymere.slit.params import PrepareParams
from skymere.slit.preparation import prepare_slitlets
from skymere.slit.profile import Profile
from skymere.slit.weights import WeightType

__all__ = ["SlitGroup"]

Words = Mapping[str, Any] | None
_DEFAULTS: Mapping[str, Any] = MappingProxyType({})  # a stage as it is
_MIN_PIXELS = 100
_POSITION_KEYS = ("y_index", "position_number", "shutter_state")


class SlitGroup(SlitGroupPlots, SlitGroupSky, SlitGroupFlags):
    """The exposures of one source in one grating.

    Arrays have the shape (n, ny * nx) and the names of msaexp's class: ``sci``, ``var_rnoise``, ``var_poisson``,
    ``var_sky``, ``var_total`` [uJy, uJy2], ``dq``, ``flags`` (why a pixel is not used, `SLIT_FLAG_BITS`), ``mask`` and
    ``bkg_mask`` (True = valid), ``wave`` [um], ``dwave_dx`` [um / pix], ``xslit``, ``ypix``, ``yslit``, ``yslit_orig``,
    ``yshutter`` [pix], ``slit_frame_y``, ``bar``, ``orig_bar``, ``phot_corr``, ``pathloss_corr``, ``normalization``;
    ``xtr``, ``ytr``, ``wtr`` of shape (n, nx); ``base_coeffs``, ``trace_coeffs``; the table ``info``; the dictionary
    ``meta``, with ``meta["status"]`` saying of each stage whether it was done; ``fit`` of the last `fit_all_traces`;
    ``figures``, what methods drew that were called with ``make_plot=True``, by their names.

    Parameters
    ----------
    files : sequence of path-like or Slitlet
        Exposures; they are sorted by the exposure's name, so their order changes nothing.
    name : str
        Label.
    compat : str, optional
        ``msaexp``: the parameters of `compat_group`, which follow version 0.9.19.
    params : SlitGroupParams, optional
        The same one by one; not with ``compat``.
    tables : SlitTables, optional
        Reference tables; those of ``pack`` when not given.
    pack : Pack, optional
        Reference files; `skymere.io.find_pack("nirspec")` when not given and one is needed.
    slit : str or int, optional
        Which slit of files with several; see `read_slitlet`.
    position_key : str
        What tells nods apart: ``y_index`` (rank of the dither rounded to 0.1 arcsec), ``position_number`` or
        ``shutter_state``. Slits of sky switch to ``manual_position``.
    diffs, grating_diffs : bool
        Subtract the other nods; do so for gratings whatever ``diffs`` says.
    stuck_threshold : float
        See ``mask_stuck_closed_shutters``.
    hot_cold_kwargs, flag_trace_kwargs, flag_percentile_kwargs, flag_profile_kwargs, estimate_sky_kwargs, \
set_background_spectra_kwargs, fit_shutter_offset_kwargs : mapping, optional
        Arguments of these stages: `flag_hot_cold_pixels` (three or more exposures), ``flag_trace_outliers``,
        ``flag_percentile_outliers``, ``flag_from_profile``, ``estimate_sky`` (after which the two of the trace are done
        again), ``set_background_spectra`` (where all exposures have a file), ``fit_shutter_offset``. None for none.
    flag_2d_kwargs : mapping, optional
        Arguments of ``flag_2d_outliers``, which `extract_spectra` calls after the fit.
    bad_shutter_names : sequence of int, optional
        Shutters (-1, 0, 1) to leave out; None finds them (prism).
    dilate_failed_open : bool or int
        By how many steps pixels of shutters stuck open are grown; True = 1.
    num_shutters : int
        Open shutters: below 0 as the file says, 0 as many as nods.
    undo_barshadow : bool or int
        False (0): as the pipeline left it; True (1): ``data`` are multiplied by ``bar``; 2: replaced by that of the
        tables.
    min_bar : float, optional
        Pixels with less light are left out.
    bar_corr_mode : str
        ``wave`` or ``flat``.
    fix_prism_norm : bool
        Bring a slit of the prism to the mean response.
    extended_calibration_kwargs : mapping, optional
        ``threshold`` of `extended_calibration`; None for none.
    with_sflat_correction, with_extra_dq : bool
        Flat field of the shutters (prism, extended range); table of further bad pixels.
    slit_hotpix_kwargs : mapping, optional
        Fields of `HotPixelParams`; None for none.
    sky_arrays : pair of array_like, optional
        Wavelength [um] and flux [uJy] of the sky.
    sky_file : str or path-like, optional
        A table of the sky; ``read`` looks for that of the visit in the pack, None for none.
    global_sky_df : int
        Freedom of a fitted sky where a global one exists.
    do_multiple_mask : bool
        With three or more exposures a pixel that is bad in ``2 floor(n / 3)`` of them is bad in all.
    undo_pathloss : bool or int
        False leaves the pipeline's path loss, True takes it back, 2 then corrects for a point source.
    trace_with_xpos, trace_with_ypos : bool
        Shift wavelengths by the source's place across the slit; move the trace by that along it.
    trace_from_yoffset : bool
        Traces follow the dithers.
    with_fs_offset : bool
        Fixed slits: move the trace of each file by its dither from the median and one pixel.
    shutter_offset : float
        Offset of the shutter coordinate [pix].
    nod_offset : float, optional
        Distance of nods [pix]; 0.529 arcsec when not given.
    pad_border : int
        By how many steps pixels without wavelength are grown.
    weight_type : str
        ``ivm``, ``poisson``, ``exptime``, ``exptime_bar`` or ``mask``; see `pixel_weights`.
    reference_exposure : int or str
        The position that others follow; ``auto`` is that nearest to the median.
    lookup_prf : GaussianProfile, TableProfile or str, optional
        The profile of a point; ``merged`` or ``by_grating`` takes that table of the pack, see `lookup_profile`; a
        Gaussian with the PSF's width when not given.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed, or exposures are of different sources, gratings or detectors.
            When a file, table or pack is missing; the message names it.
    FormatError, StorageError
        When a file is something else.
    NoOverlapError
        When the cutouts have no pixel in common.

    Notes
    -----
    With no valid pixel the group is there, and ``meta["status"]["data"]`` is ``no_data``.
    """

    def __init__(
        self,
        files: Sequence[str | Path | Slitlet],
        name: str,
        *,
        compat: Peer | None = None,
        params: SlitGroupParams | None = None,
        tables: SlitTables | None = None,
        pack: Pack | None = None,
        slit: str | int | None = None,
        position_key: str = "y_index",
        diffs: bool = True,
        grating_diffs: bool = True,
        stuck_threshold: float = 0.3,
        hot_cold_kwargs: Words = None,
        bad_shutter_names: Sequence[int] | None = None,
        dilate_failed_open: bool | int = True,
        num_shutters: int = -1,
        undo_barshadow: bool | int = 2,
        min_bar: float | None = 0.4,
        bar_corr_mode: Any = "wave",
        fix_prism_norm: bool = True,
        extended_calibration_kwargs: Words = MappingProxyType({"threshold": 0.01}),
        with_sflat_correction: bool = True,
        with_extra_dq: bool = True,
        slit_hotpix_kwargs: Words = _DEFAULTS,
        sky_arrays: tuple[ArrayLike, ArrayLike] | None = None,
        sky_file: str | Path | None = "read",
        set_background_spectra_kwargs: Words = _DEFAULTS,
        global_sky_df: int = 7,
        estimate_sky_kwargs: Words = None,
        flag_profile_kwargs: Words = None,
        do_multiple_mask: bool = True,
        flag_trace_kwargs: Words = _DEFAULTS,
        flag_2d_kwargs: Words = None,
        flag_percentile_kwargs: Words = _DEFAULTS,
        undo_pathloss: bool | int = True,
        trace_with_xpos: bool = False,
        trace_with_ypos: bool = False,
        trace_from_yoffset: bool = True,
        with_fs_offset: bool = False,
        fit_shutter_offset_kwargs: Words = None,
        shutter_offset: float = 0.0,
        nod_offset: float | None = None,
        pad_border: int = 2,
        weight_type: WeightType = "ivm",
        reference_exposure: Any = "auto",
        lookup_prf: Profile | LookupKind | None = None,
    ) -> None:
        self.name = name
        if compat is not None and params is not None:
            msg = "params: it is not allowed together with compat, which is a set of params"
            raise InvalidInputError(msg)
        self.params = compat_group(compat) if compat is not None else params or SlitGroupParams()
        _check_word("weight_type", weight_type, get_args(WeightType))
        _check_word("position_key", position_key, _POSITION_KEYS)
        if isinstance(lookup_prf, str):
            _check_word("lookup_prf", lookup_prf, get_args(LookupKind))
        self.prepare = PrepareParams(
            frame=self.params.frame,
            undo_barshadow=int(undo_barshadow),  # type: ignore[arg-type]
            bar_corr_mode=bar_corr_mode,
            num_shutters=num_shutters,
            bar_threshold=self.params.bar_threshold,
            min_bar=min_bar,
            undo_pathloss=int(undo_pathloss),  # type: ignore[arg-type]
            every_kind_is_point=self.params.every_kind_is_point,
            fix_prism_norm=fix_prism_norm,
            extended_threshold=_threshold(extended_calibration_kwargs),
            with_sflat_correction=with_sflat_correction,
            with_extra_dq=with_extra_dq,
            bad_pixels=BadPixelParams(dilate_failed_open=int(dilate_failed_open), pad_border=pad_border),
            hot_pixels=None if slit_hotpix_kwargs is None else _build("slit_hotpix_kwargs", slit_hotpix_kwargs),
            bad_shutter_names=None if bad_shutter_names is None else tuple(bad_shutter_names),
            stuck_threshold=stuck_threshold,
            trace_with_xpos=trace_with_xpos,
            trace_with_ypos=trace_with_ypos,
            trace_from_yoffset=trace_from_yoffset,
            with_fs_offset=with_fs_offset,
            shutter_offset=shutter_offset,
        )
        asked: dict[str, Words] = {
            "flag_hot_cold_pixels": hot_cold_kwargs,
            "flag_trace_outliers": flag_trace_kwargs,
            "flag_percentile_outliers": flag_percentile_kwargs,
            "estimate_sky": estimate_sky_kwargs,
            "flag_from_profile": flag_profile_kwargs,
            "set_background_spectra": set_background_spectra_kwargs,
            "fit_shutter_offset": fit_shutter_offset_kwargs,
            "flag_2d_outliers": flag_2d_kwargs,
        }
        for method, words in asked.items():
            _check_words(method, words)
        self._pack, self.lookup_prf = pack, lookup_prf
        self.sky_arrays = None if sky_arrays is None else _as_sky(sky_arrays)
        slits = [one if isinstance(one, Slitlet) else read_slitlet(one, slit=slit) for one in files]
        self.slits = sorted(slits, key=lambda one: (one.exposure.exposure_id, one.path))
        check_group(self.slits)
        self.files = [one.path or one.exposure.exposure_id for one in self.slits]
        self.shapes = [one.shape for one in self.slits]
        self._tables_are_given = tables is not None
        self.tables = self._read_tables() if tables is None else tables
        is_grating = self.grating.upper().startswith("G")
        self.meta = {
            "diffs": diffs or (is_grating and grating_diffs),
            "grating_diffs": grating_diffs,
            "trace_with_xpos": trace_with_xpos,
            "trace_with_ypos": trace_with_ypos,
            "trace_from_yoffset": trace_from_yoffset,
            "stuck_threshold": stuck_threshold,
            "bad_shutter_names": None if bad_shutter_names is None else list(bad_shutter_names),
            "dilate_failed_open": dilate_failed_open,
            "bar_corr_mode": bar_corr_mode,
            "fix_prism_norm": fix_prism_norm,
            "nod_offset": nod_offset,
            "undo_pathloss": int(undo_pathloss),
            "reference_exposure": reference_exposure,
            "pad_border": pad_border,
            "position_key": position_key,
            "has_sky_arrays": sky_arrays is not None,
            "weight_type": weight_type,
            "sky_file": "N/A",
            "global_sky_df": global_sky_df,
            "with_fs_offset": with_fs_offset,
            "with_sflat_correction": with_sflat_correction,
            "with_extra_dq": with_extra_dq,
            "status": {},
        }
        self.parse_data()
        if reference_exposure != "auto":
            _check_word("reference_exposure", reference_exposure, tuple(self.unp.values))
        if sky_file is not None and sky_arrays is None:
            self.get_global_sky(sky_file)
        self.flag_2d_kwargs = flag_2d_kwargs
        self._flag(asked, do_multiple_mask=do_multiple_mask)
        self.meta["status"]["data"] = "ok" if self.mask.any() else "no_data"

    def _flag(self, asked: Mapping[str, Words], *, do_multiple_mask: bool) -> None:
        """Do the stages that were asked for, in msaexp's order."""

        def do(method: str, *, again: bool = False) -> None:
            words = asked[method]
            if words is not None:
                self._stage(f"{method} again" if again else method, lambda: getattr(self, method)(**words))

        def flag_light(*, again: bool) -> None:
            if self.mask.sum() > _MIN_PIXELS and self.meta["position_key"] != "manual_position":
                do("flag_trace_outliers", again=again)
            if self.mask.sum() > _MIN_PIXELS:
                do("flag_percentile_outliers", again=again)

        hot_cold = asked["flag_hot_cold_pixels"]
        if hot_cold is not None and self.N > 2:
            self._stage("flag_hot_cold_pixels", lambda: self._use_hot_cold(**hot_cold))
        flag_light(again=False)
        do("estimate_sky")
        if self.meta["status"].get("estimate_sky") == "ok":
            flag_light(again=True)
        do("flag_from_profile")
        if do_multiple_mask:
            bad = ~self.mask.reshape(self.N, *self.sh)
            self.flag_pixels("multiple", multiple_exposure_mask(bad).ravel())
        do("set_background_spectra")
        do("fit_shutter_offset")

    def flag_stack(self, fit: Mapping[Any, Any]) -> None:
        """Do ``flag_2d_outliers`` as the constructor was asked to, with three exposures or more.

        Parameters
        ----------
        fit : mapping
            What ``fit_all_traces`` returned.
        """
        words = self.flag_2d_kwargs
        if words is not None and self.N > 2:
            self._stage("flag_2d_outliers", lambda: self.flag_2d_outliers(fit, **words))

    def _read_tables(self) -> SlitTables:
        first = self.slits[0]
        parts: tuple[str, ...] = ("bad_pixels",) if self.prepare.with_extra_dq else ()
        if not first.is_fixed_slit and self.prepare.undo_barshadow == 2:
            parts += ("bars",)
        if self.prepare.fix_prism_norm:
            parts += ("normalization",)
        if any(one.has_extended_calibration for one in self.slits):
            parts += ("sensitivity",) if self.prepare.extended_threshold is not None else ()
            parts += ("flats",) if self.prepare.with_sflat_correction else ()
        exposure = first.exposure
        return read_slit_tables(
            self.pack,
            grating=exposure.grating,
            filter_name=exposure.filter,
            detector=exposure.detector,
            parts=parts,
        )

    def parse_metadata(self) -> pl.DataFrame:
        """Return what the files say, a row for each exposure."""
        return slit_info(self.slits)

    def parse_data(self) -> None:
        """Correct the exposures anew, as the constructor asked; what was flagged, fitted or changed since is gone."""
        self._take_arrays(prepare_slitlets(self.slits, tables=self.tables, params=self.prepare))
        self.info = self.parse_metadata()
        self.fit, self.traces = None, None
        self.sky_data, self.figures, self.failed_stages = None, {}, {}
        meta, asked = self.meta, self.prepare
        meta |= {
            "shutter_offset": asked.shutter_offset,
            "num_shutters": asked.num_shutters,
            "undo_barshadow": asked.undo_barshadow,
            "min_bar": asked.min_bar,
            "wrapped_barshadow": False,
            "own_barshadow": False,
            "nhot": 0,
            "ncold": 0,
            "percentile_outliers": 0,
            "status": {name: told for name, told in meta["status"].items() if name == "get_global_sky"},
        }
        if meta["nod_offset"] is None:
            meta["nod_offset"] = NOD_ARCSEC / self.slit_pixel_scale
        if self.is_background:
            offsets = self.info["y_offset"].to_numpy()
            steps = (offsets - offsets[0]) / self.slit_pixel_scale
            if self.N == 2:
                steps = steps - steps.mean()
            texts = [f"{int(step * 10) / 10:.1f}" for step in steps]
            self.info = self.info.with_columns(pl.Series("manual_position", texts))
            meta["position_key"] = "manual_position"
        done = self.arrays.applied[self.arrays.frame]
        meta |= {
            "slit_pixel_scale": self.slit_pixel_scale,
            "slit_shutter_scale": self.slit_shutter_scale,
            "bad_shutter_names": list(done.stuck_shutters),
            "removed_pathloss": done.pathloss_removed,
        }
        if self.IS_FIXED_SLIT:
            meta |= {"num_shutters": 0, "undo_barshadow": 0, "min_bar": None}
        elif done.bar_shadow == "replaced":
            self._take_shadow(done)


def _check_word(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        msg = f"{name}: {value!r} is not allowed, it must be one of {', '.join(map(str, allowed))}"
        raise InvalidInputError(msg)


def _check_words(method: str, words: Words) -> None:
    """Raise when a method does not know an argument, before anything is done."""
    known = inspect.signature(getattr(SlitGroup, method)).parameters
    if unknown := sorted(set(words or {}) - set(known)):
        msg = f"{method}() got an unexpected keyword argument {unknown[0]!r}; it knows {', '.join(list(known)[1:])}"
        raise TypeError(msg)


def _as_sky(arrays: tuple[ArrayLike, ArrayLike]) -> tuple[Any, Any]:
    wave = as_floats(arrays[0], "sky_arrays", shape=(None,))
    if wave.size < 2 or not (np.diff(wave) > 0).all():
        msg = "sky_arrays: two or more wavelengths that grow are needed"
        raise InvalidInputError(msg)
    return wave, as_floats(arrays[1], "sky_arrays", shape=wave.shape)


def _threshold(kwargs: Mapping[str, float] | None) -> float | None:
    if kwargs is None:
        return None
    if unknown := sorted(set(kwargs) - {"threshold"}):
        msg = f"extended_calibration_kwargs: {unknown} are not allowed, it may hold threshold"
        raise InvalidInputError(msg)
    return kwargs.get("threshold", 0.01)


def _build(name: str, kwargs: Mapping[str, Any]) -> HotPixelParams:
    allowed = [field.name for field in fields(HotPixelParams)]
    if unknown := sorted(set(kwargs) - set(allowed)):
        msg = f"{name}: {unknown} are not allowed, it may hold {', '.join(allowed)}"
        raise InvalidInputError(msg)
    return HotPixelParams(**kwargs)
