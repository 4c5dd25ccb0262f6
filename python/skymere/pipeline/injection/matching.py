"""Which source, if any, is a fake one."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.testing import match_sources

__all__ = ["STATUS", "match_fakes"]

STATUS = ("found", "blended", "missed")


def match_fakes(
    fakes: pl.DataFrame,
    known: pl.DataFrame,
    sources: pl.DataFrame,
    *,
    label: NDArray[np.int32],
    radius_arcsec: float,
) -> pl.DataFrame:
    """Return what became of fake sources.

    Parameters
    ----------
    fakes : polars.DataFrame
        With ``ra, dec`` [deg].
    known : polars.DataFrame
        Sources that were there before; one that is nearer to a source takes it.
    sources : polars.DataFrame
        Sources with the fakes in, with ``ra, dec``.
    label : ndarray, int32, shape (n,)
        Segment, with the fakes in, of the pixel of each fake source.
    radius_arcsec : float
        Largest distance.

    Returns
    -------
    polars.DataFrame
        ``status`` (``found``: a source is nearest to the fake one and the other way round; ``blended``: another one's
        segment covers its place; ``missed``) and ``row``, that of the source or null.
    """
    every = pl.concat([fakes.select("ra", "dec"), known.select("ra", "dec")])
    i, j = match_sources(every, sources, radius_arcsec=radius_arcsec)
    row = np.full(fakes.height, -1)
    is_fake = i < fakes.height
    row[i[is_fake]] = j[is_fake]
    status = np.where(row >= 0, "found", np.where(label > 0, "blended", "missed"))
    return pl.DataFrame({"status": status, "row": pl.Series(row, dtype=pl.Int64)}).with_columns(
        row=pl.when(pl.col("row") >= 0).then("row")
    )
