"""Errors of fluxes from other models of the same sources, as those of a Markov chain."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.photometry.models import Models, Parts, models_of, with_moffat_beta
from skymere.photometry.system import Scene, Solution, solve

__all__ = ["Alternatives", "alternative_errors", "alternatives_of"]

Alternatives = Mapping[int, Models]
"""For each ``source_id`` its alternative models, as models of their own."""

_FROM_MODEL = ("ra", "dec", "kind", "sersic_index", "moffat_beta", "r_eff", "ellipticity", "pa_sky")


def alternatives_of(given: Mapping[int, pl.DataFrame], table: pl.DataFrame) -> Alternatives:
    """Return checked alternatives; columns that a table of them has not are those of the model.

    Raises
    ------
    InvalidInputError
        When a source is not in the models or has components, there are no rows, or one cannot be drawn.
    """
    found = {}
    table = with_moffat_beta(table)
    for source_id, rows in given.items():
        own = table.filter(pl.col("source_id") == source_id)
        if own.height != 1:
            msg = (
                f"alternatives: source_id {source_id} is not allowed, it must have one row in models, not {own.height}"
            )
            raise InvalidInputError(msg)
        if not isinstance(rows, pl.DataFrame) or rows.height == 0:
            msg = f"alternatives: source_id {source_id} needs a table with at least one row"
            raise InvalidInputError(msg)
        named = with_moffat_beta(rows)
        missing = [name for name in _FROM_MODEL if name in own.columns and name not in named.columns]
        whole = named.with_columns(
            *(pl.lit(own[name][0], dtype=own[name].dtype).alias(name) for name in missing),
            source_id=pl.int_range(pl.len(), dtype=pl.Int64),
        )
        models = models_of(whole.drop("component", strict=False), frozenset())
        wrong = [text for text in models.message if text]
        if wrong:
            msg = f"alternatives: source_id {source_id} has a row that is not allowed: {wrong[0]}"
            raise InvalidInputError(msg)
        found[int(source_id)] = models
    return found


def alternative_errors(
    scene: Scene, solution: Solution, shift: NDArray[np.float64], alternatives: Alternatives
) -> NDArray[np.float64]:
    """Return the scatter of all fluxes over the alternative models [unit of the band].

    Notes
    -----
    Row k of all alternatives is fitted together, so that what a chain says of neighbours at once stays together; a
    shorter one begins again. Of longer ones rows are taken evenly. The shift is that of the models, with its columns.
    """
    rows = {int(i): row for row, i in enumerate(scene.models.source_id)}
    longest = max(len(models) for models in alternatives.values())
    n_fits = min(longest, scene.params.n_alternatives)
    fluxes = np.zeros((n_fits, len(scene.models)))
    for k in range(n_fits):
        at = round(k * (longest - 1) / max(n_fits - 1, 1))
        models = scene.models
        for source_id, others in alternatives.items():
            models = _with(models, rows[source_id], others, at % len(others))
        other = replace(scene, models=models)
        fluxes[k] = solve(other, other.draw(shift, has_moves=False), planes=solution.planes).flux
    if n_fits < 2:
        return np.zeros(len(scene.models))
    return np.asarray(fluxes.std(axis=0, ddof=1))


def _with(models: Models, row: int, others: Models, which: int) -> Models:
    """Return models of which a source has the shape and place of an alternative."""
    part, new = models.main[row], others.main[which]

    def put(old: NDArray[np.generic], values: NDArray[np.generic]) -> NDArray[np.generic]:
        out = old.astype(np.promote_types(old.dtype, values.dtype))
        out[part] = values[new]
        return out

    old = models.parts
    parts = Parts(
        owner=old.owner,
        light=old.light,
        **{
            name: put(getattr(old, name), getattr(others.parts, name))
            for name in ("ra", "dec", "kind", "shape", "shape_error")
        },  # type: ignore[arg-type]
    )
    return replace(models, parts=parts, message=list(models.message))
