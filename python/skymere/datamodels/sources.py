"""The sources of a field, one row each."""

from dataclasses import dataclass

import polars as pl

from skymere.errors import InvalidInputError

__all__ = ["SourceCatalog"]

_REQUIRED = ("label", "x", "y")


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceCatalog:
    """The sources of a field, one row each.

    Parameters
    ----------
    table : polars.DataFrame
        At least ``label``, ``x``, ``y``; columns that end in a band's name belong to that band.
    bands : tuple of str
        The bands that were measured.

    Raises
    ------
    InvalidInputError
        When a column is missing or a label stands twice.
    """

    table: pl.DataFrame
    bands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in _REQUIRED if name not in self.table.columns]
        if missing:
            msg = f"table: columns {missing} are missing from {self.table.columns}"
            raise InvalidInputError(msg)
        if self.table["label"].n_unique() != self.table.height:
            msg = "table: a label stands in more than one row"
            raise InvalidInputError(msg)

    @property
    def n_sources(self) -> int:
        """Number of rows."""
        return self.table.height
