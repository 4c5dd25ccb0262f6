"""Rows of the lake as a VOTable."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skymere.lake.files import write_whole
from skymere.lake.votable import vounit

__all__ = ["write_votable"]


def write_votable(table: Any, path: Path, *, name: str, description: str, units: Mapping[str, str]) -> None:
    """Write an astropy table from `as_astropy`, whose columns have these units; the file appears whole or not at all.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    from astropy.io.votable import from_table, writeto
    from astropy.io.votable.exceptions import VOTableSpecWarning
    from astropy.units import UnitsWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VOTableSpecWarning)
        warnings.simplefilter("ignore", UnitsWarning)
        votable = from_table(table, table_id=name)
        votable.description = description
        for field in votable.get_first_table().fields:
            field.unit = vounit(units.get(field.name, "")) or None
            field.ucd = table[field.name].meta.get("ucd") or None
        with write_whole(path) as staged:
            writeto(votable, str(staged), tabledata_format="binary2")
