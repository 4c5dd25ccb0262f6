"""Spectra in one dimension: optimal extraction of beams."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import ANGSTROM, GrismSpectrum
from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.model_spectra import ModelSpectra, TemplateFactors, as_model, full_model
from skymere.grism.multibeam import MultiBeam
from skymere.instruments import GRISM_LIMITS

__all__ = ["GRIZLI_EXTRACTION", "ExtractParams", "extract_beam", "extract_images", "oned_spectrum", "wave_bins"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ExtractParams:
    """How spectra are extracted.

    Parameters
    ----------
    bin_factor : float
        Width of the bins in units of the step of the grism.
    spacing : str
        ``linear`` or ``log`` in wavelength.
    limits : tuple of float, optional
        First and last wavelength and step [um], instead of those of `skymere.instruments.GRISM_LIMITS`; of a grism that
        is not in it, those of its sensitivity above 2 % of the peak, and of its pixels.
    wavelengths : str
        ``light``: of the middle of the source's light in each column (`BeamModel.wave_of_light`); ``grizli``: as grizli
        1.14.3, which is up to a pixel off.
    errors : str
        ``propagated``: the error of the weighted mean; ``weights``: as grizli, from the weights themselves, which is
        too large where weights are lowered beside contamination.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    bin_factor: float = 1.0
    spacing: Literal["linear", "log"] = "linear"
    limits: tuple[float, float, float] | None = None
    wavelengths: Literal["light", "grizli"] = "light"
    errors: Literal["propagated", "weights"] = "propagated"

    def __post_init__(self) -> None:
        if not self.bin_factor > 0:
            msg = f"bin_factor: {self.bin_factor} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        for name, allowed in (
            ("spacing", ("linear", "log")),
            ("wavelengths", ("light", "grizli")),
            ("errors", ("propagated", "weights")),
        ):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
        if self.limits is not None and not (0 < self.limits[0] < self.limits[1] and self.limits[2] > 0):
            msg = f"limits: {self.limits} is not allowed, it must be two rising wavelengths and a step [um]"
            raise InvalidInputError(msg)


#: Wavelengths and errors of grizli 1.14.3.
GRIZLI_EXTRACTION = ExtractParams(wavelengths="grizli", errors="weights")


def wave_bins(beams: Sequence[BeamModel], params: ExtractParams) -> _Array:
    """Return the borders of the bins of wavelength of beams of one grism.

    Parameters
    ----------
    beams : sequence of BeamModel
        Beams of one grism.
    params : ExtractParams
        Limits, step and spacing.

    Returns
    -------
    ndarray, float64, shape (n + 1,) [um]
        Borders in rising order.
    """
    low, high, step = wave_limits(beams, params.limits)
    step *= params.bin_factor
    if params.spacing == "linear":
        # As grizli, which counts in Angstrom: the last border is the first one above the limit.
        borders: _Array = np.arange(1e4 * low, 1e4 * high + 1e4 * step, 1e4 * step) * 1e-4
        return borders
    logarithmic: _Array = np.exp(np.arange(np.log(low), np.log(high + step), step / (0.5 * (low + high))))
    return logarithmic


def wave_limits(beams: Sequence[BeamModel], limits: tuple[float, float, float] | None) -> tuple[float, float, float]:
    """Return first and last wavelength and step [um] of beams of one grism, those that are given if any."""
    known = GRISM_LIMITS.get(beams[0].grism_name) if limits is None else limits
    return _seen(beams[0]) if known is None else known


def _seen(beam: BeamModel) -> tuple[float, float, float]:
    """Return limits of the sensitivity, and the step of the pixels [um]."""
    order = beam.order
    good = order.wavelength[order.sensitivity > 0.02 * order.sensitivity.max()] * 1e-4
    return float(good[0]), float(good[-1]), float(np.median(np.abs(np.diff(beam.wave))))


def _profile(beam: BeamModel) -> _Array:
    """Return the profile across the trace: the part of its column that each pixel has."""
    light = np.maximum(beam.flat, 0.0)
    total = light.sum(axis=0)
    profile: _Array = np.divide(light, total, out=np.zeros_like(light), where=total > 0)
    return profile


def extract_beam(beam: BeamModel, data: NDArray[Any] | None = None) -> tuple[_Array, _Array, _Array]:
    """Return the optimally weighted sum of each column of a beam.

    Parameters
    ----------
    beam : BeamModel
        The beam.
    data : ndarray, float, shape (ny, nx) [e/s], optional
        What is extracted; the data without contamination when not given.

    Returns
    -------
    ndarray, float64, shape (nx,) [um]
        Mean wavelength of the source's light in each column.
    ndarray, float64, shape (nx,) [e/s]
        Light of the column; NaN where no pixel counts.
    ndarray, float64, shape (nx,) [e/s]
        1 sigma.

    Raises
    ------
    InvalidInputError
        When the shape of the data is another.

    Notes
    -----
    ``f = sum P w D / sum P^2 w`` with the profile P of the model, which sums to 1, and the weights w of the fit.

    References
    ----------
    Horne 1986, PASP 98, 609, equations 8 and 9.
    """
    image = beam.cleaned if data is None else np.asarray(data, np.float64)
    if image.shape != beam.shape:
        msg = f"data: shape {image.shape} is not allowed, it must be {beam.shape}"
        raise InvalidInputError(msg)
    profile, weight = _profile(beam), beam.ivar * beam.weight
    image = np.where(weight > 0, image, 0.0)
    below = (profile**2 * weight).sum(axis=0)
    factor = np.where(weight > 0, beam.weight, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        flux = np.where(below > 0, (profile * weight * image).sum(axis=0) / below, np.nan)
        err = np.where(below > 0, np.sqrt((profile**2 * weight * factor).sum(axis=0)) / below, np.nan)
    return beam.wave_of_light, flux, err


def extract_images(
    multibeam: MultiBeam, images: Sequence[NDArray[Any]], *, params: ExtractParams | None = None
) -> dict[str, _Array]:
    """Return the extraction of any images of the beams, as of models, in the bins of `oned_spectrum`.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    images : sequence of ndarray, float, shape (ny, nx) [e/s]
        One for each beam.
    params : ExtractParams, optional
        Bins.

    Returns
    -------
    dict of str to ndarray, float64, shape (n_bins,) [e/s]
        By grism; NaN where a bin has no pixel.

    Raises
    ------
    InvalidInputError
        When there are not as many images as beams, or one has another shape.
    """
    params = ExtractParams() if params is None else params
    if len(images) != multibeam.N:
        msg = f"images: {len(images)} are not allowed, there are {multibeam.N} beams"
        raise InvalidInputError(msg)
    for one, image in zip(multibeam.beams, images, strict=True):
        if np.shape(image) != one.shape:
            msg = f"images: shape {np.shape(image)} is not allowed for {one.beam.label}, it must be {one.shape}"
            raise InvalidInputError(msg)
    return {
        grism: _Bins([multibeam.beams[i] for i in members], params).mean([images[i] for i in members])
        for grism, members in _by_grism(multibeam).items()
    }


def _by_grism(multibeam: MultiBeam) -> dict[str, list[int]]:
    return {
        grism: [i for i, one in enumerate(multibeam.beams) if one.grism_name == grism] for grism in multibeam.grisms
    }


def one_of_each_exposure(beams: Iterable[BeamModel]) -> list[BeamModel]:
    """Return a beam of each exposure, which has one for every order.

    Parameters
    ----------
    beams : iterable of BeamModel
        The beams; one that does not name its exposure has one of its own.
    """
    return list({one.beam.parent or i: one for i, one in enumerate(beams)}.values())


class _Bins:
    """Pixels of the beams of one grism in bins of wavelength, with the weights of an optimal extraction."""

    def __init__(self, beams: Sequence[BeamModel], params: ExtractParams) -> None:
        self.beams = beams
        self.borders = wave_bins(beams, params)
        n = self.n = self.borders.size - 1
        waves = [
            one.grizli_columns[1] * ANGSTROM if params.wavelengths == "grizli" else one.wave_of_light for one in beams
        ]
        at = [np.searchsorted(1e4 * self.borders, 1e4 * wave, side="right") - 1 for wave in waves]
        self.used, index, profile, weight, factor = [], [], [], [], []
        for one, column in zip(beams, at, strict=True):
            used = one.fit_mask & ((column >= 0) & (column < n))[None, :]
            self.used.append(used)
            index.append(np.broadcast_to(column, one.shape)[used])
            profile.append(_profile(one)[used])
            weight.append((one.ivar * one.weight)[used])
            factor.append(one.weight[used])
        self.index = np.concatenate(index)
        p, w, f = (np.concatenate(values) for values in (profile, weight, factor))
        self.gain = p * w
        self.npix = np.bincount(self.index, minlength=n)
        below = np.bincount(self.index, p * p * w, n)
        noise = np.bincount(self.index, p * p * w * (f if params.errors == "propagated" else 1.0), n)
        self.is_filled = (self.npix > 0) & (below > 0)
        self.below = np.where(self.is_filled, below, np.nan)
        self.err = np.sqrt(noise) / self.below

    def mean(self, images: Sequence[NDArray[Any]]) -> _Array:
        """Return ``sum P w D / sum P^2 w`` of each bin."""
        values = np.concatenate([np.asarray(image)[used] for image, used in zip(images, self.used, strict=True)])
        return np.asarray(np.bincount(self.index, self.gain * values, self.n) / self.below)


def oned_spectrum(
    multibeam: MultiBeam, *, fit: ModelSpectra | TemplateFactors | None = None, params: ExtractParams | None = None
) -> Mapping[str, GrismSpectrum]:
    """Extract a spectrum of each grism from all of its beams.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    fit : ModelSpectra or TemplateFactors, optional
        A fit, whose backgrounds are subtracted and whose models are extracted, too.
    params : ExtractParams, optional
        Bins, wavelengths, errors.

    Returns
    -------
    mapping of str to GrismSpectrum
        By grism.

    Raises
    ------
    InvalidInputError
        When the fit has backgrounds of other beams.

    Notes
    -----
    In each bin, of the fitted pixels of all beams in it, ``f = sum P w D / sum P^2 w`` with the profile P of the model
    across the trace and the weights w of the fit; ``var = sum P^2 w^2 v / (sum P^2 w)^2``. The same extraction of the
    model of a flat spectrum is ``flat``, and ``flam = flux / flat``.

    References
    ----------
    Horne 1986, PASP 98, 609, equations 8 and 9.
    """
    params = ExtractParams() if params is None else params
    fit = None if fit is None else as_model(fit)
    backgrounds = _backgrounds(multibeam, fit)
    out = {}
    for grism, members in _by_grism(multibeam).items():
        beams = [multibeam.beams[i] for i in members]
        bins = _Bins(beams, params)
        flux = bins.mean([multibeam.beams[i].cleaned - backgrounds[i] for i in members])
        flat = bins.mean([one.flat for one in beams])
        has_flat = np.where(flat > 0, flat, np.nan)
        columns = {
            "wave": 0.5 * (bins.borders[1:] + bins.borders[:-1]),
            "wave_low": bins.borders[:-1],
            "wave_high": bins.borders[1:],
            "flux": flux,
            "err": bins.err,
            "npix": bins.npix,
            "flat": flat,
            "contam": bins.mean([one.contam for one in beams]),
            "flam": flux / has_flat,
            "flam_err": bins.err / has_flat,
        }
        if fit is not None:
            models = [full_model(one, fit) for one in beams]
            columns["line"] = bins.mean([continuum + lines for continuum, lines in models])
            columns["cont"] = bins.mean([continuum for continuum, _ in models])
        angles, exposures = multibeam.angles[members], one_of_each_exposure(beams)
        out[grism] = GrismSpectrum(
            grism=grism,
            table=pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None)),
            exptime=float(sum(one.beam.exptime for one in exposures)),
            n_exposures=len(exposures),
            n_angles=len(set(np.round(angles[np.isfinite(angles)]).tolist())),
            files=tuple(one.beam.parent for one in exposures),
        )
    return out


def _backgrounds(multibeam: MultiBeam, fit: ModelSpectra | None) -> Sequence[float]:
    if fit is None or len(fit.backgrounds) == 0:
        return (0.0,) * multibeam.N
    if len(fit.backgrounds) != multibeam.N:
        msg = f"fit: {len(fit.backgrounds)} backgrounds are not allowed, there are {multibeam.N} beams"
        raise InvalidInputError(msg)
    return fit.backgrounds
