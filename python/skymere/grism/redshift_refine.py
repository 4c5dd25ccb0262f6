"""Redshifts of free line ratios, beside the peak that complexes of lines have found."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.photometry import PhotometryInput
from skymere.grism.redshift import RedshiftFit, fit_redshift
from skymere.grism.template_bank import as_template_set
from skymere.spectra import IgmTransmission, TemplateSet

__all__ = ["refine_redshift"]

_Array = NDArray[np.float64]
# p(z) at the ends of its range over its maximum, above which it is not within the range: that 2 sigma away from it.
_ENDS = 0.135


def refine_redshift(
    multibeam: MultiBeam,
    fit: RedshiftFit,
    *,
    templates: TemplateSet | str | Path,
    half_width: float = 0.005,
    dz: float = 0.0001,
    params: FitParams | None = None,
    igm: IgmTransmission | None = None,
    photometry: PhotometryInput | None = None,
    prior: tuple[_Array, _Array] | None = None,
) -> RedshiftFit:
    """Fit single lines to the beams of a source around the redshift that was found with complexes.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    fit : RedshiftFit
        Of `fit_redshift` with complexes of lines.
    templates : TemplateSet or path-like
        What the source may be made of. A folder means `TemplateSet.load` of it with single lines.
    half_width : float, optional
        How far from the redshift of ``fit`` to either side, in ln(1 + z).
    dz : float, optional
        Step in ln(1 + z).
    params : FitParams, optional
        How to fit.
    igm : IgmTransmission, optional
        What absorbs continua blueward of 1216 (1 + z) Angstrom.
    photometry : PhotometryInput, optional
        Photometry that is fitted together with the beams.
    prior : tuple of ndarray, optional
        Redshifts and their density.

    Returns
    -------
    RedshiftFit
        On the redshifts around that of ``fit``. ``fit`` itself when it has no redshift, is of a star, or when p(z) of
        single lines is not within that range: their redshift would be anywhere in it, with an error that is too small.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    Complexes have the ratios of their lines, and one wavelength for doublets: where the ratios of a source are others,
    the redshift is off by some 2e-4 (1 + z). Single lines alone would mistake one line for another, so they are fitted
    within the peak of the complexes only.
    """
    if not 0 < dz < half_width < 1:
        msg = f"half_width, dz: {half_width}, {dz} are not allowed, they must be between 0 and 1, the step the smaller"
        raise InvalidInputError(msg)
    if not np.isfinite(fit.z_map) or fit.templates.is_stellar:
        return fit
    refined = fit_redshift(
        multibeam,
        templates=as_template_set(templates, line_complexes=False),
        z_range=(fit.z_map, dz, max(round(half_width / dz), 1)),
        params=params or fit.params,
        igm=igm,
        photometry=photometry,
        prior=prior,
    )
    is_within = refined.status == "ok" and max(refined.pdf[0], refined.pdf[-1]) < _ENDS * refined.pdf.max()
    return refined if is_within else fit
