"""The mean flux of a combined spectrum along the slit."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.slit.combine import SlitImage

__all__ = ["SectionParams", "cross_section"]

SectionWeights = Literal["variance", "pixels"]


@dataclass(frozen=True, kw_only=True)
class SectionParams:
    """Parameters of `cross_section`.

    Parameters
    ----------
    min_sn : float
        Columns whose optimal flux has less signal over noise do not count; 1 where too few are left.
    min_columns : int
        How few.
    weights : str
        ``variance``: means are weighted by inverse variances, so a column counts for what it knows; ``pixels``: by the
        sums of the weights of the pixels, as in msaexp.
    trim : int
        How many columns beside one without a flux do not count.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    min_sn: float = 3.0
    min_columns: int = 10
    weights: SectionWeights = "variance"
    trim: int = 0

    def __post_init__(self) -> None:
        if self.weights not in get_args(SectionWeights):
            msg = f"weights: {self.weights!r} is not allowed, it must be one of {', '.join(get_args(SectionWeights))}"
            raise InvalidInputError(msg)
        if self.trim < 0:
            msg = f"trim: {self.trim} is not allowed, it must not be negative"
            raise InvalidInputError(msg)


def cross_section(image: SlitImage, *, params: SectionParams | None = None) -> pl.DataFrame:
    """Return the mean flux along the slit, and what the profile makes of it.

    Parameters
    ----------
    image : SlitImage
        A combined spectrum.
    params : SectionParams, optional
        Columns and weights.

    Returns
    -------
    polars.DataFrame
        ``pix``, distance from the trace [pix], ``profile`` and ``pfit`` [uJy]: means over wavelength of the fluxes, and
        of the profile times the optimal flux of its column.

    Raises
    ------
    InvalidInputError
        When the weights of the pixels are asked for and not known.
    """
    asked = params or SectionParams()
    if asked.weights == "pixels" and image.den is None:
        msg = "image: den is None, which is not allowed with weights='pixels'"
        raise InvalidInputError(msg)
    sci, p = np.nan_to_num(image.sci), np.nan_to_num(image.profile)
    weight = np.where(np.isfinite(image.sci), image.wht, 0.0)
    on_trace = np.where(p > 0, weight, 0.0)
    number, squares = (on_trace * sci * p).sum(axis=0), (on_trace * p**2).sum(axis=0)
    flux = np.divide(number, squares, out=np.zeros_like(number), where=squares > 0)
    sn = np.where(_far_from(squares > 0, asked.trim), flux * np.sqrt(squares), 0.0)
    chosen = sn > asked.min_sn
    if chosen.sum() < asked.min_columns:
        chosen = sn > 1.0
    if asked.weights == "pixels" and image.den is not None:
        weight = np.where(np.isfinite(image.sci), image.den, 0.0)
    weight = weight * chosen
    total = weight.sum(axis=1)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = (weight * values).sum(axis=1)
        return np.asarray(np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0), np.float64)

    middle = 0.5 * (image.y_edges[1:] + image.y_edges[:-1])
    return pl.DataFrame({"pix": middle, "profile": mean(sci), "pfit": mean(p * flux)})


def _far_from(has_flux: NDArray[np.bool_], trim: int) -> NDArray[np.bool_]:
    """Return columns with a flux that are more than ``trim`` from one without and from the ends."""
    for _ in range(trim):
        padded = np.pad(has_flux, 1)
        has_flux = has_flux & padded[:-2] & padded[2:]
    return has_flux
