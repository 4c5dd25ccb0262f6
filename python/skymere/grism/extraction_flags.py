"""Outliers of beams: pixels that no other beam of the same grism and orientation shows."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.multibeam import MultiBeam
from skymere.grism.scores_actions import BEAM_ACTION_BIT
from skymere.resample import BlotParams, blot

__all__ = ["DrizzledFlagParams", "flag_with_drizzled"]


@dataclass(frozen=True, kw_only=True)
class DrizzledFlagParams:
    """Limits of `flag_with_drizzled`.

    Parameters
    ----------
    n_sigma : float
        A pixel that is farther off the others is an outlier.
    slope_factor : float
        Times the difference of the stack to its neighbours, which is added to the error: sub-pixel phases differ.
    min_others : int
        Least number of other beams.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    n_sigma: float = 6.0
    slope_factor: float = 0.7
    min_others: int = 2

    def __post_init__(self) -> None:
        if not self.n_sigma > 0 or not self.slope_factor >= 0 or self.min_others < 2:
            msg = (
                f"n_sigma, slope_factor, min_others: {self.n_sigma}, {self.slope_factor}, {self.min_others} are not "
                "allowed, they must be positive, 0 or more, and 2 or more"
            )
            raise InvalidInputError(msg)


def flag_with_drizzled(
    multibeam: MultiBeam, *, params: DrizzledFlagParams | None = None
) -> tuple[MultiBeam, list[NDArray[np.bool_]]]:
    """Return beams without outliers, found by comparing each to the stack of all others of its orientation.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    params : DrizzledFlagParams, optional
        Limits.

    Returns
    -------
    MultiBeam
        Outliers have the bit `BEAM_ACTION_BIT`.
    list of ndarray, bool
        The outliers of each beam, True = outlier.

    Notes
    -----
    The data of the other beams without contamination are sampled, linearly, at the wavelength and the distance from
    the trace of every pixel; the stack is their median.
    """
    params = DrizzledFlagParams() if params is None else params
    found: list[NDArray[np.bool_]] = [np.zeros(one.shape, bool) for one in multibeam.beams]
    for angles in multibeam.PA.values():
        for numbers in angles.values():
            for i in numbers:
                others = [multibeam.beams[j] for j in numbers if j != i]
                if len(others) >= params.min_others:
                    found[i] = _outliers(multibeam.beams[i], others, params)
    models = []
    for one, bad in zip(multibeam.beams, found, strict=True):
        if not bad.any():
            models.append(one)
            continue
        dq = np.where(bad, one.beam.dq | np.uint32(BEAM_ACTION_BIT), one.beam.dq).astype(np.uint32)
        models.append(one.with_beam(replace(one.beam, dq=dq)))
    n_bad = sum(int(bad.sum()) for bad in found)
    return MultiBeam(models, records=[*multibeam.records, f"{n_bad} outliers off the stack"]), found


def _outliers(one: BeamModel, others: list[BeamModel], params: DrizzledFlagParams) -> NDArray[np.bool_]:
    ny, nx = one.shape
    rows = np.arange(ny)[:, None] - one.trace_of_light
    values, errors = [], []
    linear = BlotParams(interpolation="linear", fillval=float("nan"))
    for other in others:
        order = np.argsort(other.wave_of_light)
        x = np.interp(one.wave_of_light, other.wave_of_light[order], order.astype(float), left=np.nan, right=np.nan)
        trace = np.interp(np.nan_to_num(x), np.arange(other.shape[1]), other.trace_of_light)
        y = rows + trace
        pixmap = np.stack(np.broadcast_arrays(x, y), axis=-1)
        hidden = np.where(other.mask, np.float32(np.nan), np.float32(1))
        values.append(blot(other.cleaned * hidden, pixmap, params=linear))
        errors.append(blot(other.beam.err * hidden, pixmap, params=linear))
    stacked, spread = np.stack(values).astype(np.float64), np.stack(errors).astype(np.float64)
    n = np.isfinite(stacked).sum(axis=0)
    enough = n >= params.min_others
    fill = np.where(enough, stacked, 0.0)
    middle = np.nanmedian(fill, axis=0)
    error = np.sqrt(np.nanmean(np.where(enough, spread, 0.0) ** 2, axis=0) / np.maximum(n, 1))
    padded = np.pad(middle, 1, mode="edge")
    shifts = [padded[1 + j : 1 + j + ny, 1 + i : 1 + i + nx] for j, i in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    slope = np.max([np.abs(shifted - middle) for shifted in shifts], axis=0)
    limit = params.n_sigma * np.sqrt(one.beam.err.astype(np.float64) ** 2 + error**2) + params.slope_factor * slope
    return np.asarray(enough & ~one.mask & (np.abs(one.cleaned - middle) > limit), bool)
