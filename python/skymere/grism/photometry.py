"""Photometry that is fitted together with beams."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere.datamodels import ANGSTROM
from skymere.errors import InvalidInputError
from skymere.grism.problem import Photometry
from skymere.grism.template_bank import grizli_line
from skymere.spectra import Filter, IgmTransmission, TabulatedTemplate, TemplateSet, template_fluxes

__all__ = ["PhotometryInput", "photometry_of"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotometryInput:
    """Fluxes of a source in filters.

    Parameters
    ----------
    filters : sequence of Filter
        The filters.
    flux, err : array_like, float64, shape (n_filters,) [uJy]
        Fluxes and errors; those that are not finite, or whose error is not positive, do not count.
    sys_err : float
        Error relative to the flux that is added in quadrature.
    mw_ebv : float
        Colour excess of the Milky Way, if fluxes are not corrected [mag].

    Raises
    ------
    InvalidInputError
        When lengths differ or a value is not allowed.
    """

    filters: Sequence[Filter]
    flux: ArrayLike
    err: ArrayLike
    sys_err: float = 0.03
    mw_ebv: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.filters)
        for name in ("flux", "err"):
            object.__setattr__(self, name, as_floats(getattr(self, name), name, shape=(n,)))
        for name in ("sys_err", "mw_ebv"):
            if not 0 <= getattr(self, name) < np.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or more"
                raise InvalidInputError(msg)


def photometry_of(
    given: PhotometryInput | None, templates: TemplateSet, z: _Array, igm: IgmTransmission | None
) -> Photometry | None:
    """Return photometry with the flux of each template in each filter.

    Parameters
    ----------
    given : PhotometryInput or None
        The photometry.
    templates : TemplateSet
        The templates.
    z : ndarray, float64, shape (n_z,)
        Redshifts.
    igm : IgmTransmission, optional
        What absorbs continua.
    """
    if given is None:
        return None
    flux, err = np.asarray(given.flux), np.asarray(given.err)
    use = np.flatnonzero(np.isfinite(flux) & np.isfinite(err) & (err > 0))
    if not use.size:
        return None
    lines = []
    for one in templates.lines:
        wave, spectrum = grizli_line(one)
        lines.append(TabulatedTemplate(name=one.name, wave=wave * ANGSTROM, flux=spectrum))
    redshifts = np.ascontiguousarray(z)

    def drawn(parts: Sequence[TabulatedTemplate], absorbed: IgmTransmission | None) -> _Array:
        fluxes = template_fluxes(
            parts,
            filters=[given.filters[int(i)] for i in use],
            z_grid=redshifts,
            mw_ebv=given.mw_ebv,
            igm=None if absorbed is None else lambda wave, one: absorbed.transmission(wave, max(one, 0.0)),
        )
        return np.moveaxis(fluxes, 1, 2)

    design = [drawn(templates.continua, igm)] if templates.continua else []
    if lines:
        # Lines are fitted as they arrive; their points are their own.
        design += [drawn([one], None) for one in lines]
    joined = np.concatenate(design, axis=2) / (1.0 + redshifts[:, None, None])
    error = np.hypot(err[use], given.sys_err * flux[use])
    return Photometry(flux=flux[use], err=error, design=joined)
