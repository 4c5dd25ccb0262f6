"""Fluxes of templates in filters on a grid of redshifts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere._rust import spectra as _rust
from skymere.errors import InvalidInputError
from skymere.spectra.extinction import milky_way_extinction
from skymere.spectra.filters import UJY_PER_FLAMBDA, Filter
from skymere.spectra.templates import TabulatedTemplate

__all__ = ["Transmission", "template_fluxes"]

_Array = NDArray[np.float64]
Transmission = Callable[[_Array, float], _Array]
"""What arrives at observed wavelengths [um] of the light of a source at a redshift."""

# Beyond this at rest [um] nothing between galaxies absorbs.
_LAST_ABSORBED = 0.2
# Edges of the Lyman series are sharp: points closely around them, and steps of 0.5 Angstrom between.
_LYMAN_LIMIT, _N_LYMAN = 0.0911753, 40
_EDGE, _FINE = 1e-6, 5e-5
# Between points of a filter that are this close in ln(wave), extinction is straight to 1e-5.
_EXTINCTION_STEP = 0.005
# A flux is a parabola through three colour excesses that far apart to 1e-3 in the ultraviolet.
_EBV_STEP = 0.05


def template_fluxes(
    templates: Sequence[TabulatedTemplate],
    *,
    filters: Sequence[Filter],
    z_grid: _Array,
    mw_ebv: float = 0.0,
    igm: Transmission | None = None,
) -> _Array:
    """Return the flux densities of templates in filters.

    Parameters
    ----------
    templates : sequence of TabulatedTemplate
        Spectra at rest, f_lambda.
    filters : sequence of Filter
        The filters.
    z_grid : ndarray, float64, shape (n_z,)
        Redshifts.
    mw_ebv : float, optional
        Colour excess of the Milky Way's dust [mag].
    igm : callable, optional
        ``igm(wave, z)``: the part of the light of a source at redshift ``z`` that arrives at observed wavelengths [um];
        all of it when not given.

    Returns
    -------
    ndarray, float64, shape (n_z, n_templates, n_filters) [uJy]
        For an observed f_lambda of ``template(wave / (1 + z))`` erg/s/cm2/Angstrom.

    Raises
    ------
    InvalidInputError
        When a template is not a `TabulatedTemplate`, or the transmission has another shape.

    Notes
    -----
    ``int f_lambda T 10^(-0.4 A) wave dwave / (c int T dwave / wave)``, exact for templates and filters that are
    straight between their points. With ``igm``, templates get points around the edges of the Lyman series.

    References
    ----------
    Bessell & Murphy 2012, PASP 124, 140, eq. A12.
    """
    for one in templates:
        if not isinstance(one, TabulatedTemplate):
            msg = f"templates: {type(one).__name__} is not allowed, all must be TabulatedTemplate"
            raise InvalidInputError(msg)
    if not templates or not filters:
        msg = f"templates, filters: {len(templates)} and {len(filters)} are not allowed, at least one of each is needed"
        raise InvalidInputError(msg)
    rest = _points(templates, has_igm=igm is not None)
    flux = np.stack([np.interp(rest, one.wave, one.flux, left=0.0, right=0.0) for one in templates])
    cut = np.zeros((len(z_grid), 0))
    if igm is not None:
        absorbed = rest[rest < _LAST_ABSORBED]
        cut = np.stack([_transmission(igm, absorbed, float(z)) for z in z_grid])
    found = _rust.band_fluxes(
        rest,
        np.ascontiguousarray(flux),
        transmission=np.ascontiguousarray(cut),
        filters=[_reddened(one, mw_ebv) for one in filters],
        redshifts=np.ascontiguousarray(z_grid),
    )
    return found * UJY_PER_FLAMBDA


def _points(templates: Sequence[TabulatedTemplate], *, has_igm: bool) -> _Array:
    """Wavelengths at rest of all templates together."""
    rest = np.unique(np.concatenate([one.wave for one in templates]))
    if has_igm:
        lines = np.append(_LYMAN_LIMIT / (1 - 1 / np.arange(2.0, _N_LYMAN) ** 2), _LYMAN_LIMIT)
        edges = np.concatenate([lines * (1 - _EDGE), lines * (1 + _EDGE)])
        fine = np.concatenate([edges, np.arange(0.088, 0.125, _FINE)])
        rest = np.union1d(rest, fine[(fine > rest[0]) & (fine < rest[-1])])
    return rest


def _transmission(igm: Transmission, rest: _Array, z: float) -> _Array:
    values = np.asarray(igm(rest * (1 + z), z), np.float64)
    if values.shape != rest.shape:
        msg = f"igm: shape {values.shape} is not allowed, it must give {rest.shape}, one value for each wavelength"
        raise InvalidInputError(msg)
    return values


def _reddened(one: Filter, mw_ebv: float) -> tuple[_Array, _Array, float]:
    """Points of a filter behind dust, and what the integral is divided by."""
    if mw_ebv == 0:
        return one.wave, one.counted, one.norm
    wave, counted = one.refined(_EXTINCTION_STEP)
    return wave, counted * 10 ** (-0.4 * mw_ebv * milky_way_extinction(wave)), one.norm


@dataclass(frozen=True, kw_only=True, eq=False)
class ExcessNodes:
    """Colour excesses at which fluxes are computed; those between are parabolas through three of them."""

    ebv: _Array

    @classmethod
    def covering(cls, mw_ebv: _Array) -> "ExcessNodes":
        low, high = (float(f(mw_ebv)) for f in (np.min, np.max)) if mw_ebv.size else (0.0, 0.0)
        if low == high:
            return cls(ebv=np.array([low]))
        return cls(ebv=np.linspace(low, high, max(3, int(np.ceil((high - low) / _EBV_STEP)) + 1)))

    def factors(self, mw_ebv: _Array) -> _Array:
        """Factor of each node for each object, by Lagrange's formula."""
        n = self.ebv.size
        out = np.zeros((mw_ebv.size, n))
        if n == 1:
            out[:] = 1.0
            return out
        step = self.ebv[1] - self.ebv[0]
        at = (mw_ebv - self.ebv[0]) / step
        middle = np.clip(np.rint(at).astype(int), 1, n - 2)
        t, rows = at - middle, np.arange(mw_ebv.size)
        for shift, factor in ((-1, t * (t - 1) / 2), (0, 1 - t * t), (1, t * (t + 1) / 2)):
            out[rows, middle + shift] = factor
        return out
