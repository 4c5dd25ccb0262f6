"""Maps of emission lines: spectra drizzled at the wavelength of a line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import ANGSTROM, BEAM_COLUMNS, LINE_UNIT, SKIPPED_COLUMNS, LineMap, LineMaps
from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.model_spectra import ModelSpectra, TemplateFactors, as_model, within
from skymere.grism.multibeam import MultiBeam
from skymere.grism.on_sky import BeamOnSky, beams_on_sky, segmentation_of
from skymere.resample import DrizzledImage, Drizzler, Geometry
from skymere.wcs import Grid

__all__ = ["GRIZLI_LINE_MAPS", "LineMapParams", "line_maps"]

_Image = NDArray[np.float64]
_Planes = dict[str, Drizzler]


@dataclass(frozen=True, kw_only=True)
class LineMapParams:
    """How line maps are made.

    Parameters
    ----------
    min_snr : float
        Lines with a flux of more than this many sigmas have a map; infinity: none but those of ``always``.
    always : tuple of str
        Lines that have a map in any case, where a beam covers them and their flux has an error.
    mask_ratio : float
        Pixels where a line is brighter than this times the line of the map do not count in that map; infinity: all
        count.
    main_member_of : tuple of str
        Blends of which only the strongest member is shown: the others are subtracted with the ratio of the template.
    mask_contam_snr : float
        Pixels of a map with contamination of more than this many sigmas have weight 0; their data stay.
    min_sensitivity : float
        Beams whose sensitivity at the line is less than this part of its peak do not count.
    contam : str
        ``flux``: CONTAM in the unit of the map; ``detector``: in e/s, not divided by the sensitivity, as grizli has it.
    weight : str
        ``inverse_variance``, or ``combination``: the sum of the weights with which beams were combined, as grizli has
        it, which are lower beside contamination.
    calibration : str
        ``line``: the sensitivity averaged over the line, the area of pixels at the source, and the mean wavelength of a
        blend; ``grizli``: that of the pixel of the line, the nominal area, and the wavelength of the first member.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    min_snr: float = 4.0
    always: tuple[str, ...] = ("Ha+NII", "Ha", "OIII", "Hb", "OII")
    mask_ratio: float = 3.0
    main_member_of: tuple[str, ...] = ("OIII",)
    mask_contam_snr: float = np.inf
    min_sensitivity: float = 0.02
    contam: Literal["flux", "detector"] = "flux"
    weight: Literal["inverse_variance", "combination"] = "inverse_variance"
    calibration: Literal["line", "grizli"] = "line"

    def __post_init__(self) -> None:
        if np.isnan(self.min_snr):
            msg = f"min_snr: {self.min_snr} is not allowed, it must be a number"
            raise InvalidInputError(msg)
        for name in ("mask_ratio", "mask_contam_snr"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if not self.min_sensitivity >= 0:
            msg = f"min_sensitivity: {self.min_sensitivity} is not allowed, it must be 0 or more"
            raise InvalidInputError(msg)
        for name, allowed in (
            ("contam", ("flux", "detector")),
            ("weight", ("inverse_variance", "combination")),
            ("calibration", ("line", "grizli")),
        ):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
        for name in ("always", "main_member_of"):
            if isinstance(getattr(self, name), str):
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be a list of names"
                raise InvalidInputError(msg)


#: Units and weights of grizli 1.14.3.
GRIZLI_LINE_MAPS = LineMapParams(min_sensitivity=0.0, contam="detector", weight="combination", calibration="grizli")


def line_maps(
    multibeam: MultiBeam,
    fit: ModelSpectra | TemplateFactors,
    *,
    geometry: Geometry,
    params: LineMapParams | None = None,
) -> LineMaps:
    """Drizzle maps of the lines of a fit.

    Parameters
    ----------
    multibeam : MultiBeam
        Beams with coordinates of the sky.
    fit : ModelSpectra or TemplateFactors
        Redshift, continuum, fluxes of lines and backgrounds: of `fit_templates`, or a `FittedModel`.
    geometry : Geometry
        Pixels, kernel and drop: those of thumbnails and PSF of the same object.
    params : LineMapParams, optional
        Which lines, masks and units.

    Returns
    -------
    LineMaps
        A map for each line, the segmentation, and lines without a map with the reason.

    Raises
    ------
    InvalidInputError
        When a beam has no coordinates, the fit has backgrounds of other beams, or a line of it has no width.

    Notes
    -----
    Light of wavelength w is moved on the detector by (d(w), t(w)), so pixels of the spectrum are drizzled with the WCS
    of the direct image, moved by these at the line's wavelength. What is drizzled, from each beam, is
    ``(SCI - contam - background - continuum - other lines) a / S`` with the sensitivity S of the line
    [e/s per 1e-17 erg/s/cm2] and the area a of an output pixel in pixels of the detector, such that the sum over the
    source is the flux. Other lines are those that the fit finds to be positive.

    Pixels count with ``w = f S^2 / (a^2 v)``, v their variance with systematic error and f the factor beside
    contamination. The weight of the map is ``W / q``, with W the sum of the weights and q the weighted mean of f: an
    inverse variance also where f is below 1. In blank sky the rms of ``data sqrt(weight)`` is 1 / R.
    """
    params = LineMapParams() if params is None else params
    fit = as_model(fit)
    if len(fit.backgrounds) not in (0, multibeam.N):
        msg = f"fit: {len(fit.backgrounds)} backgrounds are not allowed, there are {multibeam.N} beams"
        raise InvalidInputError(msg)
    grid, placed = beams_on_sky(multibeam, geometry)
    backgrounds = tuple(fit.backgrounds) or (0.0,) * multibeam.N
    prepared = [_Prepared(one, fit, level, params) for one, level in zip(placed, backgrounds, strict=True)]
    maps, skipped = [], []
    for name, (flux, error) in fit.line_fluxes.items():
        reason = _not_wanted(name, flux, error, params)
        made = None if reason else _map(name, prepared, fit, grid, geometry, params)
        if isinstance(made, LineMap):
            maps.append(made)
        else:
            skipped.append({"line": name, "reason": reason or "no beam covers it with enough sensitivity"})
    ra, dec = multibeam.position
    return LineMaps(
        source_id=multibeam.source_id,
        ra=ra,
        dec=dec,
        z=float(fit.z),
        grid=grid,
        lines=tuple(maps),
        segmentation=segmentation_of(placed, multibeam.source_id),
        kernel=geometry.kernel,
        pixfrac=float(geometry.pixfrac),
        geometry_sha256=geometry.digest,
        beams=beam_table(multibeam),
        skipped=pl.DataFrame(skipped, schema=dict(SKIPPED_COLUMNS)),
        status="ok" if maps else "no_lines",
    )


def beam_table(multibeam: MultiBeam) -> pl.DataFrame:
    """Return the table of beams, with the columns of `skymere.datamodels.BEAM_COLUMNS`."""
    rows = [
        {
            "file": one.beam.parent,
            "grism": one.grism_name,
            "order": one.beam.order,
            "angle": float(angle),
            "exptime": one.beam.exptime,
        }
        for one, angle in zip(multibeam.beams, multibeam.angles, strict=True)
    ]
    return pl.DataFrame(rows, schema=dict(BEAM_COLUMNS))


def _not_wanted(name: str, flux: float, error: float, params: LineMapParams) -> str:
    """Return why a line has no map; empty when it has."""
    if error == 0:
        return "its flux has no error: the fit could not tell it"
    if name in params.always:
        return ""
    if not np.isfinite(error):
        return "the error of its flux is not known"
    if not flux > params.min_snr * error:
        return f"its flux of {flux / error:.1f} sigma is not above {params.min_snr:g}"
    return ""


class _Prepared:
    """A beam with the models of its continuum and of all of its lines, which all maps share."""

    def __init__(self, sky: BeamOnSky, fit: ModelSpectra, background: float, params: LineMapParams) -> None:
        self.sky, self.params = sky, params
        beam = self.beam = sky.beam
        low, high = np.sort(beam.wave)[[0, -1]]
        self.continuum = beam.compute_model(*within(fit.continuum_spectrum(), low, high))
        self.lines: dict[str, _Image] = {}
        self.units: dict[str, float] = {}
        self.members: dict[str, _Image] = {}
        for name, (flux, _) in fit.line_fluxes.items():
            wave, shape = fit.line_shape(name)
            if wave[-1] < low or wave[0] > high:
                continue
            self.units[name] = _light_of(beam, _main_shape(fit, name, params))
            if flux > 0:
                self.lines[name] = beam.compute_model(wave, shape * flux)
            others = _other_members(fit, name, params)
            if others and np.isfinite(flux):
                parts = [fit.line_shape(name, k) for k in others]
                self.members[name] = np.sum([beam.compute_model(w, s * flux) for w, s in parts], axis=0)
        self.all_lines = np.sum(list(self.lines.values()), axis=0) if self.lines else np.zeros(beam.shape)
        self.clean = beam.cleaned - background - self.continuum - self.all_lines
        self.is_contaminated = bool(beam.contam.any()) and beam.params.fcontam > 0

    def of_line(self, name: str) -> tuple[_Image, list[str]]:
        """Return what is left for the map of a line, and what else was subtracted."""
        left = self.clean + self.lines[name] if name in self.lines else self.clean
        if name in self.members:
            left = left - self.members[name]
        return left, [other for other in self.lines if other != name]

    def masked(self, name: str, window: tuple[slice, slice]) -> NDArray[np.bool_] | None:
        """Return pixels of a window where another line rules."""
        mine = self.lines.get(name)
        others = [one[window] for other, one in self.lines.items() if other != name]
        if mine is None or not others or not np.isfinite(self.params.mask_ratio):
            return None
        brightest = np.max(others, axis=0)
        own = mine[window]
        # The models of splines swing around zero beside the source.
        floor = 1e-3 * own.max(initial=0.0)
        return np.asarray((brightest > self.params.mask_ratio * own) & (own > floor))


def _other_members(fit: ModelSpectra, name: str, params: LineMapParams) -> list[int]:
    """Return the members of a blend that are subtracted from its map."""
    line = fit.line(name)
    if name not in params.main_member_of or len(line.wave) == 1:
        return []
    main = line.wave.index(line.main)
    return [k for k in range(len(line.wave)) if k != main]


def _shown(fit: ModelSpectra, name: str, params: LineMapParams) -> tuple[float, float]:
    """Return the wavelength at rest of a map [um] and the part of the line's flux that it shows."""
    line = fit.line(name)
    if _other_members(fit, name, params):
        return line.main, line.parts[line.wave.index(line.main)]
    if params.calibration == "grizli":
        return line.wave[0], 1.0
    return float(np.dot(line.wave, line.parts)), 1.0


def _main_shape(fit: ModelSpectra, name: str, params: LineMapParams) -> tuple[_Image, _Image, float]:
    """Return the shape of what a map shows, and its integral."""
    line = fit.line(name)
    if _other_members(fit, name, params):
        main = line.wave.index(line.main)
        return *fit.line_shape(name, main), line.parts[main]
    return *fit.line_shape(name), 1.0


def _light_of(beam: BeamModel, shape: tuple[_Image, _Image, float]) -> float:
    """Return the light of 1e-17 erg/s/cm2 in a line [e/s]."""
    wave, density, part = shape
    return float(beam.light(wave, density * (LINE_UNIT / part)).sum())


def _light_of_pixel(beam: BeamModel, wave: float) -> float:
    """Return the light of 1e-17 erg/s/cm2 at a wavelength as grizli takes it: of the pixel of that wavelength."""
    columns = beam.grizli_columns[1]
    order = np.argsort(columns)
    at, integral = columns[order], beam.sensitivity_at(columns)[order]
    step = np.interp(wave / ANGSTROM, at[1:], np.diff(at))
    return float(np.interp(wave / ANGSTROM, at, integral, left=0.0, right=0.0) / step * LINE_UNIT)


def _map(
    name: str, beams: list[_Prepared], fit: ModelSpectra, grid: Grid, geometry: Geometry, params: LineMapParams
) -> LineMap | None:
    """Return the map of a line; None when no beam has anything of it."""
    rest, share = _shown(fit, name, params)
    wave = rest * (1 + fit.z)
    wanted = ("data", "continuum", "contam", "factor", *(["detector"] if params.contam == "detector" else []))
    planes: _Planes = {key: Drizzler(grid.shape, params=geometry.drizzle, context=False) for key in wanted}
    inside, n_beams = np.zeros(grid.shape, bool), 0
    subtracted: dict[str, None] = {}
    for one in beams:
        used = _add(one, name, wave, planes, params)
        if used is not None:
            inside |= used
            subtracted |= dict.fromkeys(one.of_line(name)[1])
            n_beams += 1
    if n_beams == 0:
        return None
    for other in _other_members(fit, name, params):
        subtracted[f"{name}-{fit.line(name).wave[other] / ANGSTROM:.0f}"] = None
    found = {key: one.finish() for key, one in planes.items()}
    flux, error = fit.line_fluxes[name]
    return _finished(
        found,
        params,
        {
            "line": name,
            "wave_rest": rest,
            "wave": wave,
            "flux": flux,
            "flux_err": error,
            "share": share,
            "footprint": float(inside.mean()),
            "n_beams": n_beams,
            "subtracted": tuple(subtracted),
        },
    )


def _add(one: _Prepared, name: str, wave: float, planes: _Planes, params: LineMapParams) -> NDArray[np.bool_] | None:
    """Add a beam to the planes of a map; return the pixels that lie within its cutout, None when it has no light."""
    sky, beam = one.sky, one.beam
    shift = sky.shift(wave)
    if shift is None or name not in one.units:
        return None
    is_grizli = params.calibration == "grizli"
    sensitivity = _light_of_pixel(beam, wave) if is_grizli else one.units[name]
    window = sky.window(shift, beam.shape)
    least = params.min_sensitivity * float(beam.order.sensitivity.max()) * LINE_UNIT
    if window is None or not sensitivity > least:
        return None
    ratio = sky.nominal_ratio if is_grizli else sky.local_ratio
    scale = ratio**2 / sensitivity
    pixmap = sky.pixmap(window, shift)
    ivar, factor = beam.ivar[window], beam.weight[window]
    weight = ivar * factor / scale**2
    masked = one.masked(name, window)
    if masked is not None:
        weight = np.where(masked, 0.0, weight)
    weight = np.where(np.isfinite(weight), weight, 0.0).astype(np.float32)
    with np.errstate(divide="ignore"):
        variance = np.where(ivar > 0, 1.0 / ivar, 0.0).astype(np.float32)

    def add(plane: str, values: NDArray[np.generic], value_scale: float, noise: NDArray[np.float32] | None) -> None:
        planes[plane].add(
            np.asarray(values, np.float32),
            pixmap,
            weight=weight,
            variance=noise,
            value_scale=value_scale,
            pixel_scale_ratio=ratio,
        )

    left, _ = one.of_line(name)
    add("data", np.where(weight > 0, left[window], 0), scale, variance)
    add("continuum", one.continuum[window], scale, None)
    add("contam", beam.contam[window], scale, None)
    if "detector" in planes:
        add("detector", beam.contam[window], ratio**2, None)
    add("factor", factor, 1.0, None)
    return sky.inside(shift, beam.shape)


def _finished(found: Mapping[str, DrizzledImage], params: LineMapParams, about: dict[str, Any]) -> LineMap:
    """Return the map of what was drizzled."""
    image, continuum, contam, factor = (found[key] for key in ("data", "continuum", "contam", "factor"))
    assert image.variance is not None
    covered = (image.weight > 0) & np.isfinite(image.data)
    zero = np.zeros_like(image.weight)
    inverse = np.divide(image.weight, factor.data, out=zero.copy(), where=covered & (factor.data > 0))
    spread = np.divide(1.0, inverse * image.variance, out=np.full(zero.shape, np.nan), where=covered & (inverse > 0))
    weight = np.where(covered, image.weight, 0) if params.weight == "combination" else inverse
    if np.isfinite(params.mask_contam_snr):
        high = np.abs(contam.data) * np.sqrt(inverse) > params.mask_contam_snr
        weight = np.where(high, 0, weight)
    shown = found.get("detector", contam)
    return LineMap(
        data=np.where(covered, image.data, np.float32(0)),
        continuum=np.where(covered, continuum.data, np.float32(0)),
        contam=np.where(covered, shown.data, np.float32(0)),
        weight=np.asarray(weight, np.float32),
        variance=np.where(covered, image.variance, np.float32(np.nan)),
        contam_unit="electron / s" if params.contam == "detector" else "1e-17 erg / (s cm2)",
        weight_kind=params.weight,
        noise_correlation=float(np.sqrt(np.nanmedian(spread))) if np.isfinite(spread).any() else float("nan"),
        coverage=float(covered.mean()),
        **about,
    )
