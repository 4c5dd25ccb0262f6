"""What waits for its commit: everything that a publisher must know of a product that an attempt has written."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from skymere.errors import FormatError, NotFoundError
from skymere.lake.layout import Layout, TableFile
from skymere.lake.schemas import Column, Schema, load_schema, parse_schema, products

__all__ = ["FileFacts", "Pending", "Staged"]


@dataclass(frozen=True)
class FileFacts:
    """What the log says about a file, so that whoever commits it need not read it.

    Parameters
    ----------
    path : str
        Place inside the dataset.
    size : int
        Bytes.
    sha256 : str
        Digest of the content.
    stats : str
        What lets a reader skip it, JSON.
    """

    path: str
    size: int
    sha256: str
    stats: str


@dataclass(frozen=True)
class Staged:
    """Rows of an attempt in one table, written and compared with the schema, which no log names yet.

    Parameters
    ----------
    table : str
        Product of the table.
    schema_version : str
        ``x.y.z``.
    bands : tuple of str
        Bands that the columns speak of.
    files : tuple of FileFacts
        The files.
    """

    table: str
    schema_version: str
    bands: tuple[str, ...]
    files: tuple[FileFacts, ...]

    def schema(self, layout: Layout) -> Schema:
        """Return the schema of the rows: the one that skymere ships, or the lake's copy.

        Raises
        ------
        NotFoundError
            When there is neither.
        """
        if self.table in products():
            return load_schema(self.table, self.schema_version)
        for copy in layout.kept(self.table, int(self.schema_version.partition(".")[0])):
            found = parse_schema(copy.read_text(encoding="utf-8"), str(copy))
            if found.version_text == self.schema_version:
                return found
        msg = f"schema {self.table}/{self.schema_version}: the lake has no copy of it in {layout.schemas}"
        raise NotFoundError(msg)

    def columns(self, layout: Layout) -> tuple[Column, ...]:
        """Return the columns of the rows."""
        return self.schema(layout).expand(self.bands)


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A product of a tile that is written whole, sealed and checked, and that nobody sees before its commit.

    It can be pickled and committed by any process that opens the lake; see `Lake.commit`.

    Parameters
    ----------
    product, stage, tile : str
        What, and where.
    run : str
        Id of the run.
    attempt : str
        Which attempt of the run wrote it.
    task : str
        What the products of one piece of work have in common: they are committed in the order of their publication,
        held together, and none of them when one before it conflicts.
    place : int
        Which of them it is, from 0.
    sequence : int
        Number of this publication of the tile; a conflict when the tile has got that far without it.
    rows : Staged
        Its rows.
    beside : tuple of Staged
        Rows of ``run_item``, ``alias`` and ``run``.
    hold : str
        Why it is not to be committed until somebody accepts it; empty when nothing is wrong.
    gates : str
        Digest of the gates that looked at the task; empty without gates.
    """

    product: str
    stage: str
    tile: str
    run: str
    attempt: str
    task: str
    place: int
    sequence: int
    rows: Staged
    beside: tuple[Staged, ...]
    hold: str = ""
    gates: str = ""

    @property
    def file(self) -> TableFile:
        """Tile, run and attempt, as files are named after them."""
        return TableFile("", self.tile, self.run, self.attempt)

    def to_json(self) -> str:
        """Return everything as text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Pending":
        """Return what `to_json` wrote.

        Raises
        ------
        FormatError
            When it is something else.
        """
        try:
            tree = json.loads(text)
            return cls(**{**tree, "rows": _staged(tree["rows"]), "beside": tuple(map(_staged, tree["beside"]))})
        except (ValueError, KeyError, TypeError) as error:
            msg = f"run_item: column detail: not what a product that is held has there: {error!r}"
            raise FormatError(msg) from error


def _staged(tree: Mapping[str, Any]) -> Staged:
    files = tuple(FileFacts(**one) for one in tree["files"])
    return Staged(tree["table"], tree["schema_version"], tuple(tree["bands"]), files)
