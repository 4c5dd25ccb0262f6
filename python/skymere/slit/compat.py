"""Named parameters that make the functions of this package do what msaexp 0.9.19 does."""

from dataclasses import replace
from typing import Literal

from skymere.errors import InvalidInputError
from skymere.outliers import HotColdParams, PercentileOutlierParams, StackOutlierParams
from skymere.slit.all_traces import AllTracesParams
from skymere.slit.group_params import SlitGroupParams
from skymere.slit.nods import NodParams
from skymere.slit.pixel_table import PixelTableParams
from skymere.slit.section import SectionParams

__all__ = ["compat_group", "compat_nods", "compat_pixels", "compat_traces"]

Peer = Literal["msaexp"]

_PRESETS = {
    "msaexp": SlitGroupParams(
        frame="first",
        every_kind_is_point=True,
        bar_threshold=0.8,
        nods=NodParams(negative_mask="positive", negative_count="counted", single_variances=True),
        traces=AllTracesParams(likelihood="reference", reference=2),
        pixels=PixelTableParams(profile_of="group"),
        poisson="data",
        degree_rule="interpolate",
        errors="rows",
        path_loss="table",
        bar_variance=False,
        percentile=PercentileOutlierParams(mode="global", dilate=3),
        stack=StackOutlierParams(threshold=(-10.0, 10.0), trim_multiples=True),
        hot_cold=HotColdParams(count_from="positions"),
        section=SectionParams(weights="pixels", trim=2),
        minimizer_words=("method", "tol", "verbose"),
        spline_clip=1e-4,
        sky_variance=False,
    )
}


def compat_group(compat: Peer = "msaexp") -> SlitGroupParams:
    """Return what a peer's group of exposures does where the default does something else.

    Parameters
    ----------
    compat : str
        ``msaexp``: version 0.9.19.

    Raises
    ------
    InvalidInputError
        When the name is not known.
    """
    if compat not in _PRESETS:
        msg = f"compat: {compat!r} is not allowed, it must be 'msaexp'"
        raise InvalidInputError(msg)
    return _PRESETS[compat]


def compat_nods(compat: Peer = "msaexp") -> NodParams:
    """Return how a peer subtracts nods.

    Parameters
    ----------
    compat : str
        See `compat_group`.
    """
    return compat_group(compat).nods


def compat_pixels(compat: Peer = "msaexp") -> PixelTableParams:
    """Return what a peer puts into its table of pixels.

    Parameters
    ----------
    compat : str
        See `compat_group`.
    """
    return compat_group(compat).pixels


def compat_traces(compat: Peer = "msaexp", *, reference: int | None = 2) -> AllTracesParams:
    """Return how a peer fits the traces of all nods.

    Parameters
    ----------
    compat : str
        See `compat_group`.
    reference : int, optional
        Position that is fitted for all; every position by itself when None.
    """
    likelihood: Literal["each", "reference"] = "each" if reference is None else "reference"
    return replace(compat_group(compat).traces, likelihood=likelihood, reference=reference)
