"""Rows of the lake as a VOTable."""

import warnings
from pathlib import Path
from typing import Any

from skymere.lake.files import write_whole

__all__ = ["write_votable"]


def write_votable(table: Any, path: Path, *, name: str, description: str) -> None:
    """Write an astropy table from `as_astropy`; the file appears whole or not at all.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    from astropy.io.votable import from_table, writeto
    from astropy.io.votable.exceptions import VOTableSpecWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VOTableSpecWarning)
        votable = from_table(table, table_id=name)
        votable.description = description
        for field in votable.get_first_table().fields:
            field.ucd = table[field.name].meta.get("ucd") or None
        with write_whole(path) as staged:
            writeto(votable, str(staged), tabledata_format="binary2")
