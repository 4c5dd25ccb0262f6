"""From groups of exposures to spectra: grouping, resampling, combination, and all of it for a source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere.datamodels import Slitlet
from skymere.errors import InvalidInputError, NoDataError, NotFoundError, SkymereError
from skymere.io import read_slitlets
from skymere.slit.combine import CombineParams, SlitImage, combine_pixels
from skymere.slit.extract import ExtractParams, extract_spectrum, pixel_table_to_1d
from skymere.slit.grids import resolving_power, slit_edges, standard_grid
from skymere.slit.group import SlitGroup
from skymere.slit.lookup import LookupKind
from skymere.slit.pixel_table import RawNoise
from skymere.slit.section import cross_section
from skymere.slit.spectrum import CombinedSpectrum
from skymere.slit.trace import TracePriors
from skymere.slit.visits import GRATINGS, VisitRule, split_visit_groups
from skymere.slit.weights import pixel_weights

__all__ = [
    "SlitExtraction",
    "combine_grating_group",
    "drizzle_grating_group",
    "extract_spectra",
]

_MIN_PIXELS = 256


def _as_groups(groups: SlitGroup | Sequence[SlitGroup]) -> list[SlitGroup]:
    """Return groups that may be combined."""
    has = [groups] if isinstance(groups, SlitGroup) else list(groups)
    if not has:
        msg = "groups: none is not allowed, one or more are needed"
        raise InvalidInputError(msg)
    first = has[0]
    for one in has:
        for what, mine, its in (
            ("grating", first.grating, one.grating),
            ("filter", first.filter, one.filter),
            ("source", first.slits[0].source.source_id, one.slits[0].source.source_id),
            ("weight_type", first.meta["weight_type"], one.meta["weight_type"]),
        ):
            if mine != its:
                msg = f"groups: {what} {its!r} of {one.name} is not allowed, it is {mine!r} in {first.name}"
                raise InvalidInputError(msg)
        if one.meta["diffs"] and one.unp.N < 2:
            msg = f"groups: {one.name} has {one.N} exposures at one position, nothing can be subtracted; "
            msg += "diffs=False (and a sky) takes them as they are"
            raise NoDataError(msg)
        if not one.mask.any():
            msg = f"groups: {one.name} has no valid pixel"
            raise NoDataError(msg)
        if one.fit is None:
            msg = f"groups: {one.name} has no fit, call its fit_all_traces first"
            raise InvalidInputError(msg)
    return has


def _grid_of(group: SlitGroup, wave_grid: ArrayLike | None, wave_sample: float) -> NDArray[np.float64]:
    if wave_grid is not None:
        return as_floats(wave_grid, "wave_grid", shape=(None,))
    return standard_grid(group.grating, pack=group.pack, sample=wave_sample)


def _resolution(group: SlitGroup, grid: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the resolving power; None where there are no reference files, or these lack it."""
    try:
        return resolving_power(group.grating, grid, pack=group.pack)
    except NotFoundError:
        return None


def _pixels_of(groups: Sequence[SlitGroup], *, with_pathloss: bool) -> list[pl.DataFrame]:
    tables = [one.get_flat_diff_arrays(with_pathloss=with_pathloss) for one in groups]
    if not sum(table.height for table in tables):
        msg = f"groups: no pixel of {', '.join(one.name for one in groups)} is left"
        raise NoDataError(msg)
    return tables


def drizzle_grating_group(
    groups: SlitGroup | Sequence[SlitGroup],
    *,
    step: float = 1,
    with_pathloss: bool = True,
    wave_sample: float = 1.05,
    ny: int = 13,
    oversample: int = 16,
    pixfrac: float = 0.8,
    method: Literal["pseudo", "drizzle"] = "pseudo",
    wave_grid: ArrayLike | None = None,
) -> SlitImage:
    """Resample the pixels of groups of one grating on a grid of wavelength and distance from the trace.

    Parameters
    ----------
    groups : SlitGroup or sequence of them
        Groups of one source and grating, each with its fit.
    step : float [pix]
        Height of a row.
    with_pathloss : bool
        Correct for the light that the slit cuts off.
    wave_sample : float
        Points for each step of the standard grid.
    ny : int [pix]
        Half the height.
    oversample : int
        Shifts of `pseudo_drizzle`.
    pixfrac : float
        See `CombineParams`.
    method : str
        ``pseudo`` or ``drizzle``.
    wave_grid : array_like, float64, shape (n,), optional [um]
        Wavelengths; those of `standard_grid` when not given.

    Raises
    ------
    InvalidInputError
        When groups are of different sources or gratings, or one has no fit.
    NoDataError
        When there is nothing to subtract, or no pixel.
    """
    has = _as_groups(groups)
    return combine_pixels(
        _pixels_of(has, with_pathloss=with_pathloss),
        _grid_of(has[0], wave_grid, wave_sample),
        y_edges=slit_edges(ny, step=step),
        params=_combining(has[0], method, oversample, pixfrac),
    )


def _combining(group: SlitGroup, method: Any, oversample: int, pixfrac: float) -> CombineParams:
    return CombineParams(
        method=method,
        weight_type=group.meta["weight_type"],
        poisson=group.params.poisson,
        oversample=oversample,
        pixfrac=pixfrac,
    )


def combine_grating_group(
    groups: SlitGroup | Sequence[SlitGroup],
    *,
    step: float = 1,
    with_pathloss: bool = True,
    wave_sample: float = 1.05,
    ny: int = 13,
    oversample: int = 16,
    pixfrac: float = 0.8,
    method: Literal["pseudo", "drizzle"] = "pseudo",
    wave_grid: ArrayLike | None = None,
    y_range: tuple[float, float] = (-3.0, 3.0),
    extraction: Literal["optimal", "boxcar"] = "optimal",
    share: Literal["centre", "overlap"] = "centre",
) -> CombinedSpectrum:
    """Combine groups of one grating into a spectrum of one and two dimensions.

    Parameters
    ----------
    groups : SlitGroup or sequence of them
        Groups of one source and grating, each with its fit.
    step, with_pathloss, wave_sample, ny, oversample, pixfrac, method, wave_grid
        See `drizzle_grating_group`.
    y_range : tuple of float [pix]
        Distances from the trace that count in one dimension.
    extraction : str
        ``optimal`` or ``boxcar``.
    share : str
        In one dimension a pixel belongs to the bin of its ``centre``, or is shared by ``overlap``, a drop of
        ``pixfrac`` of its width. The columns of ``table`` beside flux, error, number of pixels and ``wave_mean`` are of
        the centres.

    Returns
    -------
    CombinedSpectrum
        The spectrum.

    Raises
    ------
    InvalidInputError
        When groups are of different sources or gratings, or one has no fit.
    NoDataError
        When there is nothing to subtract, or no pixel.

    Notes
    -----
    Fluxes are those of `extract_spectrum` with ``params.errors="raw"``, whose covariance follows every raw pixel, and a
    sky that was fitted to them; with ``rows`` those of `pixel_table_to_1d`, whose errors take the rows as independent.
    The two have the same fluxes for one group or weights that do not follow the data.
    """
    has = _as_groups(groups)
    first = has[0]
    grid = _grid_of(first, wave_grid, wave_sample)
    tables = _pixels_of(has, with_pathloss=with_pathloss)
    image = combine_pixels(
        tables, grid, y_edges=slit_edges(ny, step=step), params=_combining(first, method, oversample, pixfrac)
    )
    pixels = _numbered(tables, [one.N for one in has])
    weight_type, poisson = first.meta["weight_type"], first.params.poisson
    weight = pixel_weights(pixels, weight_type=weight_type, poisson=poisson, wave_grid=grid)
    table = pixel_table_to_1d(pixels, grid, weight=weight, y_range=y_range)
    if first.params.errors == "raw" or extraction == "boxcar" or share == "overlap":
        params = ExtractParams(
            method=extraction, share=share, pixfrac=pixfrac, y_range=y_range, weight_type=weight_type, poisson=poisson
        )
        noises: list[RawNoise] = [one.raw_noise() for one in has]
        made = extract_spectrum(tables, noises, grid, params=params)
        flux, covariance, n_pixels = made.flux, made.covariance, made.n_pixels
        table = table.with_columns(flux=flux, err=made.err, npix=n_pixels, wave_mean=made.wave_mean)
        table = table.with_columns(wave_spread=made.wave_spread)
    else:
        flux, n_pixels = table["flux"].to_numpy(), table["npix"].to_numpy()
        covariance = np.nan_to_num(table["err"].to_numpy()[:, None]) ** 2
    if not np.isfinite(flux).any():
        low, high = y_range
        msg = f"y_range: no pixel of {first.name} is between {low} and {high} pixels from the trace"
        raise NoDataError(msg)
    if (power := _resolution(first, grid)) is not None:
        table = table.with_columns(resolution=power)
    return CombinedSpectrum(
        wave=grid,
        wave_mean=table["wave_mean"].to_numpy(),
        wave_spread=table["wave_spread"].to_numpy(),
        flux=flux,
        covariance=covariance,
        n_pixels=n_pixels,
        table=table,
        image=image,
        section=cross_section(image, params=first.params.section),
        slits=pl.concat([one.slit_metadata() for one in has], how="diagonal_relaxed"),
        pixels=pixels,
        meta=_meta(has, method=method, with_pathloss=with_pathloss, y_range=y_range),
    )


def _numbered(tables: Sequence[pl.DataFrame], counts: Sequence[int]) -> pl.DataFrame:
    """Return one table whose exposures are numbered through all groups."""
    starts = np.cumsum([0, *counts[:-1]])
    moved = [
        table.with_columns(pl.col("exposure_index") + int(start)) for table, start in zip(tables, starts, strict=True)
    ]
    return pl.concat(moved, how="diagonal")


def _meta(groups: Sequence[SlitGroup], **asked: Any) -> dict[str, tuple[Any, str]]:
    """Return what was done as cards of a header."""
    first = groups[0]
    head = first.slits[0]
    unique = {s.exposure.exposure_id.rsplit("_nrs", 1)[0]: s.exposure.exptime for g in groups for s in g.slits}
    meta: dict[str, tuple[Any, str]] = {
        "GRATING": (first.grating, "Grating"),
        "FILTER": (first.filter, "Filter"),
        "SRCNAME": (head.source.name, "Source name"),
        "SOURCEID": (head.source.source_id, "Source number"),
        "SRCRA": (head.source.ra, "[deg] Source position"),
        "SRCDEC": (head.source.dec, "[deg] Source position"),
        "EXPTIME": (sum(unique.values()), "[s] Exposure time"),
        "NCOMBINE": (sum(g.N for g in groups), "Exposures"),
        "METHOD": (asked["method"], "Resampling"),
        "WITHPATH": (asked["with_pathloss"], "Internal path loss correction"),
        "YMIN1D": (asked["y_range"][0], "[pix] Start of 1D extraction"),
        "YMAX1D": (asked["y_range"][1], "[pix] End of 1D extraction"),
        "CALCREF": (str(first.calc_reference_exposure), "Derived reference exposure"),
        "YPIXTRA": (first.source_ypixel_position, "[pix] Planned source from the middle"),
        "YPIXSCL": (first.slit_pixel_scale, "[arcsec] Cross dispersion pixel scale"),
        "PACK": (first.tables.pack, "Reference files"),
        "PACKSUM": (first.tables.digest, "Their sha256"),
    }
    for key, value in first.meta.items():
        if isinstance(value, bool | int | float | str):
            meta[key.upper()] = (value, first.meta_comment.get(key, ""))
    meta["NBADSHUT"] = (len(first.meta["bad_shutter_names"]), "Number of flagged bad shutters")
    number = n_stages = 0
    for group in groups:
        for key, value in group.meta["status"].items():
            meta[f"STATUS{n_stages:02d}"] = (f"{key}: {value}", "")
            n_stages += 1
        for one in group.slits:
            meta[f"SFILE{number:03d}"] = ((one.path or one.exposure.exposure_id).rpartition("/")[2], "")
            number += 1
    k = 0
    for group in groups:
        for exp, fit in (group.fit or {}).items():
            meta[f"EGROUP{k}"] = (str(exp), "Exposure group name")
            meta[f"SIGMA{k}"] = (float(fit["sigma"]), "[pix] Profile width")
            for j, value in enumerate(fit["trace_coeffs"]):
                meta[f"OFFC{k}_{j}"] = (float(value), "[pix] Trace offset coefficient")
            k += 1
    if k:
        meta["SIGMA"] = (meta["SIGMA0"][0], "[pix] Profile width")
    return meta


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitExtraction:
    """The spectra of a source.

    Parameters
    ----------
    spectra : dict of str to CombinedSpectrum
        By grating and filter: ``prism-clear``.
    groups : dict of str to SlitGroup
        The groups that were read, with their fits.
    status : polars.DataFrame
        A row for each group: ``group``, ``grating``, ``status`` (``ok``, or why it is not in a spectrum), ``message``,
        ``n_exposures``, ``n_positions``, ``n_valid``, ``sn``.
    members : dict of str to tuple of str
        The groups that each spectrum was made of, in the order in which its table of pixels counts their exposures.
    """

    spectra: dict[str, CombinedSpectrum]
    groups: dict[str, SlitGroup] = field(repr=False)
    status: pl.DataFrame
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)


def extract_spectra(
    files: Sequence[str | Path | Slitlet],
    *,
    gratings: Sequence[str] | None = GRATINGS,
    exclude: Sequence[str] = (),
    rules: Sequence[VisitRule] = (),
    valid_frac_threshold: float = 0.1,
    sort_by_sn: bool = False,
    mask_cross_dispersion: tuple[float, float] | None = None,
    cross_dispersion_mask_type: Literal["trace", "fixed", "bkg"] = "trace",
    trace_niter: int = 4,
    offset_degree: int = 0,
    recenter_all: bool = False,
    free_trace_offset: bool = False,
    initial_sigma: float = 7,
    fit_type: int = 1,
    initial_theta: Sequence[float] | None = None,
    fix_params: bool = False,
    input_fix_sigma: float | None = None,
    fit_params_kwargs: Mapping[str, Any] | None = None,
    drizzle_kws: Mapping[str, Any] | None = None,
    trace_with_ypos: bool | Literal["auto"] = "auto",
    trace_from_yoffset: bool = False,
    undo_barshadow: bool | int = False,
    lookup_prf_type: LookupKind | None = None,
    **kwargs: Any,
) -> SlitExtraction:
    """Read, group, fit and combine all exposures of a source.

    Parameters
    ----------
    files : sequence of path-like or Slitlet
        Exposures of one source.
    gratings, exclude, rules
        See `split_visit_groups`.
    valid_frac_threshold : float
        A group with a smaller part of valid pixels is left out.
    sort_by_sn : bool
        The group with the most signal is fitted first; otherwise that of the reddest grating and largest cutout, the
        prism before all.
    mask_cross_dispersion : tuple of float, optional [pix]
        Distances from the trace that are left out.
    cross_dispersion_mask_type : str
        ``trace``: of each exposure; ``fixed``: of the first exposure, so that it does not follow the nods; ``bkg``:
        msaexp's mask of what the subtracted nods are divided by.
    trace_niter, offset_degree, initial_sigma : int, int, float
        See ``fit_all_traces``.
    recenter_all : bool
        Fit every group; otherwise the first one's width and trace hold for all.
    free_trace_offset : bool
        Fit every position by itself.
    fit_type : int
        0: only the positive part of the differences counts.
    initial_theta : sequence of float, optional
        Width [pix / 10] and offset [pix]: the start, and the middle of what is known before the fit.
    fix_params : bool
        Keep ``initial_theta``.
    input_fix_sigma : float, optional [pix / 10]
        The width; a negative one: every group its own.
    fit_params_kwargs : mapping, optional
        Arguments of ``fit_params_by_sn``, which then says the degree, and that a faint source is not fitted.
    drizzle_kws : mapping, optional
        Arguments of `combine_grating_group`.
    trace_with_ypos, trace_from_yoffset, undo_barshadow
        See `SlitGroup`; ``auto``: unless the slit holds sky alone.
    lookup_prf_type : str, optional
        ``merged`` or ``by_grating``: the tabulated profile of the grating, as msaexp's default is; see
        `lookup_profile`. A Gaussian, or ``lookup_prf`` among the further arguments, when not given.
    **kwargs
        Further arguments of `SlitGroup`.

    Returns
    -------
    SlitExtraction
        Spectra, groups, and a status of each group.

    Raises
    ------
    InvalidInputError
        When there is no file, or an argument is not allowed.
    NotFoundError
        When reference files are missing.
    TypeError
        When an argument is not known.

    Notes
    -----
    A group that cannot be read, fitted or combined is a row of ``status``; the others go on.
    """
    slits, rows = _read_all(files)
    found = split_visit_groups(slits, gratings=gratings, exclude=exclude, rules=rules)
    if not found:
        told = "".join(f"; {row['message']}" for row in rows.values())
        msg = f"files: none of {len(files)} is of the gratings {list(gratings or ())}{told}"
        raise InvalidInputError(msg)
    groups: dict[str, SlitGroup] = {}
    for key, slits in found.items():
        rows[key] = {"group": key, "grating": "-".join(key.split("-")[-2:]), "status": "ok", "message": ""}
        is_sky = all(one.is_background for one in slits)
        words = {
            "trace_with_ypos": not is_sky if trace_with_ypos == "auto" else trace_with_ypos,
            "trace_from_yoffset": trace_from_yoffset,
            "undo_barshadow": undo_barshadow,
            **({} if lookup_prf_type is None else {"lookup_prf": lookup_prf_type}),
            **kwargs,
        }
        try:
            groups[key] = SlitGroup(slits, key, **words)
        except NotFoundError:
            raise
        except SkymereError as error:
            rows[key] |= {"status": "failed", "message": str(error)}
            continue
        if mask_cross_dispersion is not None:
            _mask_rows(groups[key], mask_cross_dispersion, cross_dispersion_mask_type)
        rows[key] |= _looked_at(groups[key], valid_frac_threshold)
    good = [key for key in groups if rows[key]["status"] == "ok"]
    if sort_by_sn:
        good.sort(key=lambda key: np.nan_to_num(rows[key]["sn"], nan=-1.0), reverse=True)
    else:
        good.sort(key=lambda key: (rows[key]["grating"], groups[key].sh[1]), reverse=True)
    asked = _FitRound(
        niter=trace_niter,
        degree=offset_degree,
        initial_sigma=initial_sigma,
        force_positive=fit_type == 0,
        theta=None if initial_theta is None else tuple(initial_theta),
        fix_params=fix_params,
        fix_sigma=-1.0 if input_fix_sigma is None else float(input_fix_sigma),
        shares_sigma=input_fix_sigma is None or input_fix_sigma >= 0,
        recenter_all=recenter_all,
        free=free_trace_offset,
    )
    if fit_params_kwargs is not None and good:
        asked = asked.for_signal(groups[good[0]], fit_params_kwargs)
    fitted = _fit_groups({key: groups[key] for key in good}, asked, rows)
    spectra = _combine_gratings({key: groups[key] for key in fitted}, drizzle_kws or {}, rows)
    made_of = {name: tuple(key for key in fitted if rows[key]["grating"] == name) for name in spectra}
    status = pl.DataFrame(list(rows.values()), schema=STATUS_SCHEMA)
    return SlitExtraction(spectra=spectra, groups=groups, status=status, members=made_of)


def _read_all(files: Sequence[str | Path | Slitlet]) -> tuple[list[Slitlet], dict[str, dict[str, Any]]]:
    """Return the slits of files, and a row for each file that cannot be read.

    Raises
    ------
    SkymereError
        When none can be read.
    """
    slits: list[Slitlet] = []
    rows: dict[str, dict[str, Any]] = {}
    last: SkymereError | None = None
    for file in files:
        try:
            slits += [file] if isinstance(file, Slitlet) else read_slitlets(file)
        except SkymereError as error:
            last = error
            rows[str(file)] = {"group": str(file), "grating": "", "status": "failed", "message": str(error)}
    if last is not None and not slits:
        raise last
    return slits, rows


STATUS_SCHEMA = {
    "group": pl.String,
    "grating": pl.String,
    "status": pl.String,
    "message": pl.String,
    "n_exposures": pl.Int64,
    "n_positions": pl.Int64,
    "n_valid": pl.Int64,
    "sn": pl.Float64,
}


def _mask_rows(group: SlitGroup, limits: tuple[float, float], kind: str) -> None:
    places = {"trace": group.yslit, "bkg": group.yslit, "fixed": group.yshutter}
    if kind not in places:
        msg = f"cross_dispersion_mask_type: {kind!r} is not allowed, it must be one of {', '.join(places)}"
        raise InvalidInputError(msg)
    inside = (places[kind] > limits[0]) & (places[kind] < limits[1])
    group.bkg_mask &= ~inside
    if kind != "bkg":
        group.flag_pixels("excluded", inside)


def _looked_at(group: SlitGroup, least: float) -> dict[str, Any]:
    """Return the row of a group: what it has, and why it cannot be in a spectrum."""
    n_valid = int(group.mask.sum())
    row = {"n_exposures": group.N, "n_positions": group.unp.N, "n_valid": n_valid}
    if n_valid < _MIN_PIXELS:
        return row | {"status": "no_data", "message": f"{n_valid} valid pixels, {_MIN_PIXELS} are needed"}
    if group.meta["diffs"] and group.unp.N < 2:
        message = f"{group.N} exposures at one position, nothing to subtract"
        return row | {"status": "one_position", "message": message}
    if group.meta["diffs"] and n_valid / group.mask.size < least:
        return row | {"status": "no_data", "message": f"{n_valid / group.mask.size:.3f} of the pixels are valid"}
    try:
        return row | {"sn": group.fit_params_by_sn()[1]}
    except SkymereError as error:
        return row | {"status": "failed", "message": str(error)}


def _combine_gratings(
    groups: Mapping[str, SlitGroup], words: Mapping[str, Any], rows: dict[str, dict[str, Any]]
) -> dict[str, CombinedSpectrum]:
    """Combine the groups of each grating; what cannot be combined is said in their rows."""
    spectra = {}
    for name in dict.fromkeys(rows[key]["grating"] for key in groups):
        members = [key for key in groups if rows[key]["grating"] == name]
        try:
            spectra[name] = combine_grating_group([groups[key] for key in members], **words)
        except SkymereError as error:
            for key in members:
                rows[key] |= {"status": "failed", "message": str(error)}
    return spectra


@dataclass(frozen=True, kw_only=True)
class _FitRound:
    """How the groups of a source are fitted one after the other."""

    niter: int
    degree: int
    initial_sigma: float
    force_positive: bool
    theta: tuple[float, ...] | None
    fix_params: bool
    fix_sigma: float
    shares_sigma: bool
    recenter_all: bool
    free: bool

    def for_signal(self, group: SlitGroup, words: Mapping[str, Any]) -> Self:
        """Return what the signal of a group allows: a faint source keeps its width and place."""
        _, _, is_faint, degree = group.fit_params_by_sn(**words)
        if not is_faint:
            return replace(self, degree=degree)
        theta = self.theta or (self.initial_sigma, 0.0)
        return replace(self, degree=degree, recenter_all=False, fix_params=True, theta=theta)


def _fit_groups(groups: Mapping[str, SlitGroup], asked: _FitRound, rows: dict[str, dict[str, Any]]) -> list[str]:
    """Fit groups, the first one's width and trace holding for the others unless all are fitted; return those fitted."""
    fitted: list[str] = []
    solution: dict[str, Any] = {}
    for key, group in groups.items():
        if asked.theta is not None:
            group.priors = TracePriors(size=asked.theta[0] / 10, centre=asked.theta[-1])
        x0 = asked.theta[1:] if asked.theta is not None and asked.fix_sigma > 0 else asked.theta
        words = {"x0": x0, "fix_sigma": asked.fix_sigma, "evaluate": asked.fix_params}
        try:
            fit = group.fit_all_traces(
                niter=asked.niter,
                ref_exp=None if asked.free else group.calc_reference_exposure,
                force_positive=asked.force_positive,
                degree=asked.degree,
                initial_sigma=asked.initial_sigma,
                with_bounds=False,
                **(words | solution),
            )
        except SkymereError as error:
            rows[key] |= {"status": "failed", "message": str(error)}
            continue
        group.flag_stack(fit)
        if group.failed_stages:
            rows[key] |= {"message": "; ".join(f"{name}: {why}" for name, why in group.failed_stages.items())}
        if not fitted:
            first = fit[group.unp.values[0]]
            width = 10 * first["sigma"]
            solution = {"evaluate": not asked.recenter_all}
            if asked.shares_sigma or not asked.recenter_all:
                solution |= {"fix_sigma": width, "x0": first["trace_coeffs"]}
            else:
                solution |= {"fix_sigma": -1.0, "x0": [width, *first["trace_coeffs"]]}
        fitted.append(key)
    return fitted
