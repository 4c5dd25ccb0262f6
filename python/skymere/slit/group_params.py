"""What a group of exposures leaves to its user: how nods are subtracted, traces fitted, pixels weighted."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from skymere.errors import InvalidInputError
from skymere.outliers import HotColdParams, PercentileOutlierParams, StackOutlierParams
from skymere.slit.all_traces import AllTracesParams, DegreeRule
from skymere.slit.nods import NodParams
from skymere.slit.pixel_table import PixelTableParams
from skymere.slit.section import SectionParams
from skymere.slit.weights import PoissonVariance

__all__ = ["SlitGroupParams"]

ErrorsOf = Literal["raw", "rows"]
PathLossOf = Literal["undone", "table"]


@dataclass(frozen=True, kw_only=True)
class SlitGroupParams:
    """Named parameters of the functions behind `SlitGroup`, beside its own arguments.

    Parameters
    ----------
    frame : str
        The exposure whose shutters and trace the others follow; see `PrepareParams`.
    every_kind_is_point : bool
        See `PrepareParams`.
    bar_threshold : float or None
        See `PrepareParams`.
    nods : NodParams
        How nods are subtracted; ``subtract`` follows the argument ``diffs``.
    traces : AllTracesParams
        How traces are fitted; ``n_rounds``, ``min_gain`` and ``reference`` follow the arguments of
        ``fit_all_traces``.
    pixels : PixelTableParams
        What the rows of the table of pixels hold; ``apply_mask`` follows the argument of ``get_flat_diff_arrays``.
    poisson : str
        Variances of ``weight_type="poisson"``; see `pixel_weights`.
    degree_rule : str
        How the degree of a trace follows from the signal; see `fit_params_by_sn`.
    errors : str
        ``raw``: errors of a combined spectrum follow every raw pixel; ``rows``: rows of the table count as independent.
    path_loss : str
        ``undone``: the loss of the fitted width and the place in the slit is corrected where the pipeline's correction
        was taken back, so that none is made twice; ``table``: with a tabulated profile only, whatever was taken back.
    bar_variance : bool
        While the bar shadow is taken out of the data, take it out of their variances, too.
    percentile : PercentileOutlierParams
        Of ``flag_percentile_outliers``, where its arguments do not say otherwise.
    stack : StackOutlierParams
        Of ``flag_2d_outliers``.
    hot_cold : HotColdParams
        Of ``flag_hot_cold_pixels``.
    section : SectionParams
        Mean flux along the slit.
    minimizer_words : tuple of str
        Arguments of ``fit_single_trace`` and ``fit_all_traces`` that are for a peer's minimiser and are taken without
        effect; any other that is not known is a TypeError.
    spline_clip : float
        See `SkyParams`.
    sky_variance : bool
        The variance of a fitted sky counts.

    Raises
    ------
    InvalidInputError
        When a name is not known.
    """

    frame: str = "reference"
    every_kind_is_point: bool = False
    bar_threshold: float | None = None
    nods: NodParams = field(default_factory=NodParams)
    traces: AllTracesParams = field(default_factory=AllTracesParams)
    pixels: PixelTableParams = field(default_factory=PixelTableParams)
    poisson: PoissonVariance = "model"
    degree_rule: DegreeRule = "threshold"
    errors: ErrorsOf = "raw"
    path_loss: PathLossOf = "undone"
    bar_variance: bool = True
    percentile: PercentileOutlierParams = field(default_factory=PercentileOutlierParams)
    stack: StackOutlierParams = field(default_factory=StackOutlierParams)
    hot_cold: HotColdParams = field(default_factory=HotColdParams)
    section: SectionParams = field(default_factory=SectionParams)
    minimizer_words: tuple[str, ...] = ()
    spline_clip: float = 0.0
    sky_variance: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (("errors", get_args(ErrorsOf)), ("path_loss", get_args(PathLossOf))):
            if getattr(self, name) not in allowed:
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be one of {', '.join(allowed)}"
                raise InvalidInputError(msg)
