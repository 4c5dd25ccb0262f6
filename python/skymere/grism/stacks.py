"""Spectra in two dimensions: beams drizzled to straight wavelengths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from skymere.datamodels import ANGSTROM, GrismStack
from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.extract import one_of_each_exposure, wave_limits
from skymere.grism.model_spectra import ModelSpectra, TemplateFactors, as_model, full_model
from skymere.grism.multibeam import MultiBeam
from skymere.instruments import config_names
from skymere.resample import DrizzleParams, Drizzler
from skymere.resample.drizzle import Kernel

__all__ = ["GRIZLI_STACKS", "StackParams", "drizzle_stacks"]

_Array = NDArray[np.float64]
_SIGMA_PER_FWHM = 1.0 / float(np.sqrt(8 * np.log(2)))
_REACH, _STEPS = 6.0, 97


@dataclass(frozen=True, kw_only=True)
class StackParams:
    """How spectra are stacked.

    Parameters
    ----------
    size : int
        Half of the rows.
    kernel : str
        Kernel of the drizzle.
    pixfrac : float
        Side of the drop [input pix].
    step_factor : float
        Width of a column in units of the step of the grism.
    pixel_rows : float
        Rows of the detector in a row.
    fcontam : float, optional
        Exponent of the weight beside contamination of the stack of all angles; that of the beams when not given.
        Stacks of one angle have none.
    model : str
        ``full``: continuum and lines of a fit; ``continuum``, as grizli by default.
    limits : tuple of float, optional
        First and last wavelength and step [um]; see `ExtractParams`.
    wavelengths : str
        ``light``: of the middle of the source's light; ``grizli``: as grizli 1.14.3: up to a pixel off, and with
        straight dispersion.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    size: int = 32
    kernel: Kernel = "point"
    pixfrac: float = 0.5
    step_factor: float = 1.0
    pixel_rows: float = 1.0
    fcontam: float | None = None
    model: Literal["full", "continuum"] = "full"
    limits: tuple[float, float, float] | None = None
    wavelengths: Literal["light", "grizli"] = "light"

    def __post_init__(self) -> None:
        DrizzleParams(kernel=self.kernel, pixfrac=self.pixfrac)
        if self.size < 1:
            msg = f"size: {self.size} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.limits is not None and not (0 < self.limits[0] < self.limits[1] and self.limits[2] > 0):
            msg = f"limits: {self.limits} is not allowed, it must be two rising wavelengths and a step [um]"
            raise InvalidInputError(msg)
        for name in ("step_factor", "pixel_rows"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for name, allowed in (("model", ("full", "continuum")), ("wavelengths", ("light", "grizli"))):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)


#: Wavelengths and model of grizli 1.14.3.
GRIZLI_STACKS = StackParams(model="continuum", wavelengths="grizli")


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """Columns and rows of a stack."""

    n_columns: int
    middle_column: int
    wave: float
    step: float

    @property
    def waves(self) -> _Array:
        return self.wave + self.step * (np.arange(self.n_columns, dtype=np.float64) - self.middle_column)


def _axes(beams: Sequence[BeamModel], params: StackParams) -> _Axes:
    low, high, step = wave_limits(beams, params.limits)
    step *= params.step_factor
    half = int(np.round((high - low) / step)) // 2
    return _Axes(n_columns=2 * half, middle_column=half, wave=0.5 * (low + high), step=step)


def drizzle_stacks(
    multibeam: MultiBeam, *, fit: ModelSpectra | TemplateFactors | None = None, params: StackParams | None = None
) -> tuple[GrismStack, ...]:
    """Drizzle the spectra of each grism to straight wavelengths: for each angle, and all together.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    fit : ModelSpectra or TemplateFactors, optional
        A fit, whose backgrounds are subtracted and whose model is drizzled; else the model is that of a flat spectrum
        of 1 erg/s/cm2/A.
    params : StackParams, optional
        Pixels, kernel, wavelengths.

    Returns
    -------
    tuple of GrismStack
        Of each grism those of its angles, then that of all.

    Raises
    ------
    InvalidInputError
        When the fit has backgrounds of other beams.

    Notes
    -----
    Values are means: light per pixel of the detector. The weight is ``W / q`` with the sum W of the weights and the
    weighted mean q of their factor beside contamination: the inverse variance of areas that are large compared to a
    drop.
    """
    params = StackParams() if params is None else params
    fit = None if fit is None else as_model(fit)
    backgrounds = tuple(fit.backgrounds) if fit is not None and len(fit.backgrounds) else (0.0,) * multibeam.N
    if len(backgrounds) != multibeam.N:
        msg = f"fit: {len(backgrounds)} backgrounds are not allowed, there are {multibeam.N} beams"
        raise InvalidInputError(msg)
    out: list[GrismStack] = []
    for grism, by_angle in multibeam.PA.items():
        everything = [i for members in by_angle.values() for i in members]
        axes = _axes([multibeam.beams[i] for i in everything], params)
        prepared = {i: _prepared(multibeam.beams[i], backgrounds[i], fit, axes, params) for i in everything}
        for angle, members in sorted(by_angle.items()):
            out.append(_stack(grism, angle, [prepared[i] for i in members], axes, fit, replace(params, fcontam=0.0)))
        out.append(_stack(grism, None, [prepared[i] for i in everything], axes, fit, params))
    return tuple(out)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Beam:
    beam: BeamModel
    pixmap: _Array
    clean: NDArray[Any]
    model: _Array
    line: _Array


def _prepared(beam: BeamModel, background: float, fit: ModelSpectra | None, axes: _Axes, params: StackParams) -> _Beam:
    model = beam.flat
    if fit is not None:
        continuum, lines = full_model(beam, fit)
        model = continuum + lines if params.model == "full" else continuum
    sigma = axes.step * _SIGMA_PER_FWHM
    wave = axes.wave + sigma * np.linspace(-_REACH, _REACH, _STEPS)
    shape = np.exp(-0.5 * ((wave - axes.wave) / sigma) ** 2) / (sigma / ANGSTROM * np.sqrt(2 * np.pi))
    return _Beam(
        beam=beam,
        pixmap=_grizli_pixmap(beam, axes, params) if params.wavelengths == "grizli" else _pixmap(beam, axes, params),
        clean=beam.cleaned - background,
        model=model,
        line=beam.compute_model(wave, shape),
    )


def _pixmap(beam: BeamModel, axes: _Axes, params: StackParams) -> _Array:
    """Return places in the stack: columns by the wavelength of the light, rows from its trace."""
    y = np.arange(beam.shape[0])[:, None] - beam.trace_of_light[None, :]
    x = (beam.wave_of_light - axes.wave) / axes.step + axes.middle_column
    return np.stack(np.broadcast_arrays(x[None, :], y / params.pixel_rows + params.size), axis=-1)


def _grizli_pixmap(beam: BeamModel, axes: _Axes, params: StackParams) -> _Array:
    """Return places in the stack as grizli has them.

    Its WCS has the terms of second order of wavelength and trace as if they were of pixels, and the middle of the
    cutout less the offset of the source for its place.
    """
    (ny, nx), (x_center, y_center) = beam.shape, beam.beam.center_offset
    offset = np.arange(beam.order.first, beam.order.end, dtype=np.float64)
    trace, wave = beam.order.compiled.trace(beam.place, offset)
    k = np.arange(offset.size, dtype=np.float64)
    along, across = (_parabola(k, values) for values in (wave * ANGSTROM, trace))
    y, x = np.mgrid[:ny, :nx].astype(np.float64)
    u, v = x + 1 - (ny / 2 - x_center), y + 1 - (ny / 2 - y_center)
    bent = u + along[2] * u**2
    row = -trace[0] - (trace[1] - trace[0]) * bent + v + (across[2] if across[1] != 0 else 0.0) * u**2
    column = (wave[0] * ANGSTROM + along[1] * bent - axes.wave) / axes.step + axes.middle_column
    return np.stack([column, row / params.pixel_rows + params.size], axis=-1)


def _parabola(k: _Array, values: _Array) -> _Array:
    """Return three coefficients; numpy leaves out those that are 0."""
    found = Polynomial.fit(k, values, deg=2).convert().coef
    return np.pad(found, (0, 3 - found.size))


def _stack(
    grism: str, angle: float | None, beams: list[_Beam], axes: _Axes, fit: ModelSpectra | None, params: StackParams
) -> GrismStack:
    shape = (2 * params.size, axes.n_columns)
    drizzle = DrizzleParams(kernel=params.kernel, pixfrac=params.pixfrac, fillval=0.0)
    planes = {
        name: Drizzler(shape, params=drizzle, context=False) for name in ("sci", "contam", "model", "factor", "line")
    }
    fcontam = beams[0].beam.params.fcontam if params.fcontam is None else params.fcontam
    for one in beams:
        beam = one.beam
        factor = np.exp(-fcontam * np.abs(beam.contam) * np.sqrt(beam.ivar))
        weight = (beam.ivar * factor).astype(np.float32)
        # A kernel is wanted of bad pixels, too.
        filled = np.where(weight > 0, weight, np.median(weight[weight > 0]) if (weight > 0).any() else np.float32(1))
        for name, values in (
            ("sci", np.where(weight > 0, one.clean, 0)),
            ("contam", beam.contam),
            ("model", one.model),
            ("factor", factor),
            ("line", one.line),
        ):
            planes[name].add(
                np.asarray(values, np.float32),
                one.pixmap,
                weight=filled if name == "line" else weight,
                pixel_scale_ratio=None if params.kernel not in ("square", "point") else 1.0,
            )
    made = {name: plane.finish() for name, plane in planes.items()}
    sci, factor_image = made["sci"], made["factor"].data
    has_data = (sci.weight > 0) & (factor_image > 0)
    weight = np.divide(sci.weight, factor_image, out=np.zeros_like(sci.weight), where=has_data)
    first = axes.middle_column - params.size
    exposures = one_of_each_exposure(one.beam for one in beams)
    # Light per pixel of the detector becomes light per pixel of the stack along rows.
    rows = np.float32(params.pixel_rows)
    return GrismStack(
        grism=grism,
        angle=angle,
        sci=sci.data * rows,
        weight=weight / rows**2,
        contam=made["contam"].data * rows,
        model=made["model"].data * rows,
        kernel=_window(made["line"].data * rows, first, 2 * params.size),
        wave=axes.waves,
        middle=float(params.size),
        pixel_rows=params.pixel_rows,
        exptime=float(sum(one.beam.exptime for one in exposures)),
        files=tuple(one.beam.parent for one in exposures),
        z=float("nan") if fit is None else float(fit.z),
        pixfrac=params.pixfrac,
        drizzle_kernel=params.kernel,
        fcontam=float(fcontam),
        config=_config_name(beams[0].beam),
        native_step=float(np.median(np.abs(np.diff(beams[0].beam.wave)))),
    )


def _config_name(one: BeamModel) -> str:
    """Return the configuration that the file names, or the first one of the instrument."""
    beam = one.beam
    if beam.config_name:
        return PurePosixPath(beam.config_name).name
    grism, blocking = (beam.grism, beam.direct_filter) if beam.instrument == "WFC3" else (beam.grism, beam.pupil)
    names = config_names(beam.instrument, grism, blocking, module=beam.module or "A", chip=beam.chip)
    return names[0] if names else ""


def _window(image: NDArray[np.float32], first: int, n: int) -> NDArray[np.float32]:
    """Return columns of an image, which are 0 beyond it."""
    padded = np.pad(image, ((0, 0), (n, n)))
    return np.ascontiguousarray(padded[:, first + n : first + 2 * n])
