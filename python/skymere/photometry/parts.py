"""Components of sources that have fluxes of their own."""

from collections.abc import Collection

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError

__all__ = ["components_as_sources"]


def components_as_sources(models: pl.DataFrame, *, source_ids: Collection[int] | None = None) -> pl.DataFrame:
    """Return models in which each component is a source, so that a band gives each its own flux: bulge and disc, say.

    Parameters
    ----------
    models : polars.DataFrame
        As `forced_photometry` takes them, with ``source_id`` and ``component``.
    source_ids : collection of int, optional
        Sources whose components become sources; all when not given.

    Returns
    -------
    polars.DataFrame
        The same rows. The first component of a source keeps its ``source_id``, others have numbers after the largest
        one; ``part_of`` is the ``source_id`` that each row had. Without ``component`` when all became sources.

    Raises
    ------
    InvalidInputError
        When a column is missing, or there is no such source.

    Notes
    -----
    A source of one shape in all bands has one flux, and its components the ratio of the image that they were fitted to.
    A source whose colour changes with the place in it, such as a red bulge in a blue disc, has a ratio of its own in
    each band. Components of much the same shape share their light badly: their errors are large and anticorrelated,
    and `ForcedPhotometry.sum_of` gives their sum with the error that it has.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.photometry import components_as_sources
    >>> models = pl.DataFrame({"source_id": [4, 4, 7], "component": [0, 1, 0]})
    >>> components_as_sources(models).rows()
    [(4, 4), (8, 4), (7, 7)]
    """
    missing = [name for name in ("source_id", "component") if name not in models.columns]
    if missing:
        msg = f"models: columns {', '.join(missing)} are missing; there are {', '.join(models.columns) or 'none'}"
        raise InvalidInputError(msg)
    ids = models["source_id"].to_numpy().astype(np.int64)
    wanted = np.unique(ids) if source_ids is None else np.array(sorted(source_ids), np.int64)
    unknown = np.setdiff1d(wanted, ids)
    if unknown.size:
        msg = f"source_ids: {unknown[0]} is not in models"
        raise InvalidInputError(msg)
    is_first = np.zeros(ids.size, bool)
    is_first[np.unique(ids, return_index=True)[1]] = True
    is_new = np.isin(ids, wanted) & ~is_first
    own = ids.copy()
    own[is_new] = ids.max(initial=0) + 1 + np.arange(is_new.sum())
    table = models.with_columns(source_id=pl.Series(own, dtype=pl.Int64), part_of=pl.Series(ids, dtype=pl.Int64))
    return table.drop("component") if source_ids is None else table
