"""Beams against all other beams of their source: scores by wavelength, and what should be masked."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.multibeam import MultiBeam
from skymere.grism.scores_actions import BeamAction

__all__ = ["ScoreParams", "score_beams", "suggest_masks"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ScoreParams:
    """How beams are compared.

    Parameters
    ----------
    bin_pixels : float
        Width of a bin, in columns of the grism.
    model_error : float
        Error of the comparison relative to the flux of the others: the source looks different at each angle.
    max_score : float
        A bin that is farther off than so many sigmas is suspicious.
    spike_score : float
        A single bin must be farther off than this where there are more than ``few_beams``: it averages out.
    few_beams : int
        As many beams are few.
    min_bins : int
        A beam with so large a part of its bins suspicious, in per cent of them, is left out as a whole.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    bin_pixels: float = 4.0
    model_error: float = 0.15
    max_score: float = 5.0
    spike_score: float = 10.0
    few_beams: int = 4
    min_bins: float = 50.0

    def __post_init__(self) -> None:
        for name in ("bin_pixels", "max_score", "spike_score", "min_bins"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if not self.model_error >= 0:
            msg = f"model_error: {self.model_error} is not allowed, it must be 0 or more"
            raise InvalidInputError(msg)


def score_beams(multibeam: MultiBeam, *, params: ScoreParams | None = None) -> pl.DataFrame:
    """Return how far each beam is off all others of its grism, bin by bin of wavelength.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams of a source.
    params : ScoreParams, optional
        Width of bins, and the error of the comparison.

    Returns
    -------
    DataFrame
        ``beam`` (its number), ``exposure_id, grating, order, wavelength_min, wavelength_max`` [um], ``flux, flux_err``
        (of the beam), ``others, others_err`` (of all others) [erg/s/cm2/A] and ``score``, which is null where no other
        beam has a pixel.

    Notes
    -----
    In a bin the flux of a beam is ``f = sum(w d m) / sum(w m^2)`` over its pixels, with the data d without
    contamination, the model m of a flat spectrum and the inverse variances w. The others' is the mean of theirs,
    weighted, with the largest deviation left out where there are three or more, so that one bad beam does not spoil the
    score of the good ones; the score is ``(f - f_o) / sqrt(s^2 + s_o^2 + (e f_o)^2)``.
    """
    params = ScoreParams() if params is None else params
    rows = []
    for grism, numbers in _by_grism(multibeam).items():
        edges = _edges([multibeam.beams[i] for i in numbers], params.bin_pixels)
        if edges.size < 2:
            continue
        flux, err = (
            np.stack(part) for part in zip(*(_binned(multibeam.beams[i], edges) for i in numbers), strict=True)
        )
        for k, i in enumerate(numbers):
            others, others_err = _others(flux, err, k)
            with np.errstate(invalid="ignore"):
                spread = np.sqrt(err[k] ** 2 + others_err**2 + (params.model_error * others) ** 2)
                score = (flux[k] - others) / spread
            beam = multibeam.beams[i].beam
            rows.append(
                pl.DataFrame(
                    {
                        "beam": np.full(edges.size - 1, i),
                        "exposure_id": [beam.parent] * (edges.size - 1),
                        "grating": [grism.lower()] * (edges.size - 1),
                        "order": [beam.order] * (edges.size - 1),
                        "wavelength_min": edges[:-1],
                        "wavelength_max": edges[1:],
                        "flux": flux[k],
                        "flux_err": err[k],
                        "others": others,
                        "others_err": others_err,
                        "score": score,
                    }
                )
            )
    return pl.concat(rows).fill_nan(None) if rows else pl.DataFrame()


def _by_grism(multibeam: MultiBeam) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, one in enumerate(multibeam.beams):
        name = one.beam.pupil if one.beam.instrument == "NIRCAM" else one.beam.grism
        found.setdefault(name, []).append(i)
    return found


def _edges(beams: list[BeamModel], pixels: float) -> _Array:
    """Return borders of bins over all wavelengths at which a beam is sensitive [um]."""
    lows, highs, steps = [], [], []
    for one in beams:
        there = one.wave[one.sensitivity > one.params.min_sens * max(one.sensitivity.max(), 1e-300)]
        if there.size > 1:
            lows.append(there.min())
            highs.append(there.max())
            steps.append(float(np.median(np.abs(np.diff(there)))))
    if not lows:
        return np.zeros(0)
    return np.arange(min(lows), max(highs), pixels * float(np.median(steps)))


def _binned(one: BeamModel, edges: _Array) -> tuple[_Array, _Array]:
    """Return flux and error in bins, NaN where there is no pixel."""
    mask = one.fit_mask
    weight = np.where(mask, one.ivar, 0.0)
    columns = np.digitize(one.wave, edges) - 1
    inside = (columns >= 0) & (columns < edges.size - 1)
    n = edges.size - 1
    top = np.bincount(columns[inside], (weight * one.cleaned * one.flat).sum(axis=0)[inside], minlength=n)
    low = np.bincount(columns[inside], (weight * one.flat**2).sum(axis=0)[inside], minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(low > 0, top / low, np.nan), np.where(low > 0, low**-0.5, np.nan)


def _others(flux: _Array, err: _Array, k: int) -> tuple[_Array, _Array]:
    """Return the weighted mean of all rows but one in every column, without the worst of three or more."""
    keep = np.arange(len(flux)) != k
    values, weight = flux[keep], np.where(np.isfinite(flux[keep]), err[keep] ** -2.0, 0.0)
    values = np.nan_to_num(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        many = (weight > 0).sum(axis=0) >= 3
        if many.any():
            total = weight.sum(axis=0)
            # Off the mean of the others of the others.
            rest = ((weight * values).sum(axis=0) - weight * values) / (total - weight)
            off = np.where(weight > 0, np.abs(values - rest) * np.sqrt(weight), -1.0)
            worst = off.argmax(axis=0)
            columns = np.flatnonzero(many)
            weight[worst[columns], columns] = 0.0
        total = weight.sum(axis=0)
        mean = np.where(total > 0, (weight * values).sum(axis=0) / total, np.nan)
        return mean, np.where(total > 0, total**-0.5, np.nan)


def suggest_masks(
    multibeam: MultiBeam, scores: pl.DataFrame, *, params: ScoreParams | None = None, author: str = "skymere"
) -> list[BeamAction]:
    """Return what should be left out of beams.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    scores : DataFrame
        As `score_beams` gives it.
    params : ScoreParams, optional
        Limits.
    author : str, optional
        Who decides.

    Returns
    -------
    list of BeamAction
        Ranges of wavelengths that are to be masked, and beams that are to be left out.

    Notes
    -----
    With two beams of a grism none can be told to be wrong but by its excess: contamination adds light, so that the
    brighter one is named. Single bins are named beyond ``spike_score`` only where there are more than ``few_beams``.
    """
    params = ScoreParams() if params is None else params
    actions: list[BeamAction] = []
    if scores.is_empty():
        return actions
    for (i,), rows in scores.sort("beam", "wavelength_min").group_by("beam", maintain_order=True):
        table = rows.drop_nulls("score")
        if table.is_empty():
            continue
        score = table["score"].to_numpy()
        n_beams = scores.filter(pl.col("grating") == table["grating"][0])["beam"].n_unique()
        bad = (score if n_beams == 2 else np.abs(score)) > params.max_score
        if bad.mean() * 100 >= params.min_bins:
            reason = f"{bad.mean():.0%} of its bins are off the other beams"
            actions.append(_action(multibeam, int(i), "omit", None, reason, author))
            continue
        low, high = table["wavelength_min"].to_numpy(), table["wavelength_max"].to_numpy()
        for first, last in _runs(bad):
            most = float(score[first : last + 1][np.abs(score[first : last + 1]).argmax()])
            is_spike = first == last and n_beams > params.few_beams
            if is_spike and abs(most) < params.spike_score:
                continue
            reason = f"{most:+.1f} sigma off the other beams"
            span = float(low[first]), float(high[last])
            actions.append(_action(multibeam, int(i), "mask", span, reason, author))
    return actions


def _runs(bad: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.diff(np.concatenate([[0], bad.astype(np.int8), [0]]))
    return [(int(a), int(b) - 1) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)]


def _action(
    multibeam: MultiBeam, i: int, action: str, span: tuple[float, float] | None, reason: str, author: str
) -> BeamAction:
    beam = multibeam.beams[i].beam
    return BeamAction(
        source_id=beam.source_id,
        exposure_id=beam.parent,
        grating=(beam.pupil if beam.instrument == "NIRCAM" else beam.grism).lower(),
        order=beam.order,
        action=action,  # type: ignore[arg-type]
        wavelength_min=None if span is None else span[0],
        wavelength_max=None if span is None else span[1],
        reason=reason,
        author=author,
    )
