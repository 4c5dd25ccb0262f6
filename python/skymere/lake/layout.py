"""Where everything is: the only place that knows the names of a lake's files."""

import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError
from skymere.lake.files import check_put_if_absent, put_if_absent, storage
from skymere.lake.schemas import Schema
from skymere.lake.sky import DEEP
from skymere.lake.stores import Place, matching

__all__ = ["FORMAT_VERSION", "Layout", "TableFile", "check_name"]

FORMAT = "skymere-lake"
FORMAT_VERSION = 1
PARTITION_ORDER = 6
# In the place of the run, which is always 16 hexadecimal digits.
MERGED = "merged"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(kind: str, value: str) -> str:
    """Return a name that can stand in a path of the lake.

    Raises
    ------
    InvalidInputError
        When it cannot.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        rule = "1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        msg = f"{kind}: {value!r} is not allowed, it must be {rule}"
        raise InvalidInputError(msg)
    return value


@dataclass(frozen=True)
class TableFile:
    """Whose rows a Parquet file holds, as its path says; ``shared`` is the path of a file of several tiles."""

    folder: str
    tile: str
    run: str
    attempt: str
    shared: str = ""

    @classmethod
    def parse(cls, path: str) -> "TableFile":
        """Return the parts of a path inside a dataset."""
        folder, _, name = path.rpartition("/")
        tile, run, attempt, _ = name.rsplit(".", 3)
        return cls(folder, tile, run, attempt)

    @property
    def bare(self) -> "TableFile":
        """Tile, run and attempt alone, the same for all files of an attempt."""
        return TableFile("", self.tile, self.run, self.attempt)

    @property
    def is_merged(self) -> bool:
        """Whether this is a file of several tiles, which its footer names."""
        return self.run == MERGED

    @property
    def empty_at(self) -> int:
        """Index of order 29 of the first place in the sky that the folder is for; 0 when it is for a tile."""
        pixel = self.folder.rpartition("Npix=")[2]
        return int(pixel) * 4 ** (DEEP - PARTITION_ORDER) if pixel.isdigit() else 0

    def of_another_attempt(self) -> "TableFile":
        """Return a name that no file has yet, for the rows of the same tile and run."""
        return TableFile(self.folder, self.tile, self.run, uuid.uuid4().hex[:8])

    @property
    def path(self) -> str:
        """Path inside the dataset."""
        return self.shared or f"{self.folder}/{self.tile}.{self.run}.{self.attempt}.parquet"


@dataclass(frozen=True)
class Layout:
    """The paths of one lake."""

    root: Place

    @classmethod
    def create(cls, root: Place, config: Mapping[str, Any]) -> "Layout":
        """Make the folder of a lake; ``lake.json`` comes last and makes it one.

        Raises
        ------
        ConflictError
            When there is a lake already.
        InvalidInputError
            When the folder holds something else.
        StorageError
            When it cannot be written.
        """
        layout = cls(root)
        with storage(root):
            if layout.config_path.exists():
                msg = f"{root} is a lake already; open it, or choose another folder"
                raise ConflictError(msg)
            if root.exists() and (not root.is_dir() or any(root.iterdir())):
                msg = f"{root} is not a lake and not an empty folder; a lake can only be made in a new or empty folder"
                raise InvalidInputError(msg)
            if isinstance(root, Path):
                root.mkdir(parents=True, exist_ok=True)
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "uuid": str(uuid.uuid4())}
        text = json.dumps({**head, "partition_order": PARTITION_ORDER, **config}, indent=1)
        put_if_absent(layout.config_path, text.encode())
        check_put_if_absent(layout.config_path)
        return layout

    @classmethod
    def open(cls, root: Place) -> tuple["Layout", dict[str, Any]]:
        """Return the layout and the configuration of an existing lake.

        Raises
        ------
        NotFoundError
            When the folder does not exist.
        FormatError
            When it is not a lake, or one of a newer skymere.
        """
        layout = cls(root)
        with storage(root):
            there, is_lake = root.is_dir(), layout.config_path.is_file()
        if not there:
            msg = f"{root}: there is no such folder"
            raise NotFoundError(msg)
        if not is_lake:
            msg = f"{root} is not a lake: it has no lake.json"
            raise FormatError(msg)
        try:
            with storage(layout.config_path):
                config = json.loads(layout.config_path.read_bytes())
            found, version = config["format"], config["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{layout.config_path} is not the lake.json of a lake: {error}"
            raise FormatError(msg) from error
        if found != FORMAT or not isinstance(version, int):
            msg = f"{layout.config_path}: format {found!r} version {version!r} is not a lake, it must be {FORMAT!r}"
            raise FormatError(msg)
        if version > FORMAT_VERSION:
            msg = (
                f"{root}: format_version {version} is not allowed, this skymere reads up to {FORMAT_VERSION}; update it"
            )
            raise FormatError(msg)
        return layout, config

    @property
    def config_path(self) -> Place:
        """``lake.json``."""
        return self.root / "lake.json"

    @property
    def staging(self) -> Path:
        """Where attempts write arrays before they are sealed: on a disk, also when the lake is not."""
        if not isinstance(self.root, Path):
            lake = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
            return Path(tempfile.gettempdir()) / f"skymere-{os.getuid()}" / lake
        return self.root / "arrays" / ".staging"

    @property
    def trash(self) -> Place:
        """Where garbage is moved to before it is removed."""
        return self.root / "arrays" / ".trash"

    @property
    def releases(self) -> Place:
        """Folder of the release pins."""
        return self.root / "releases"

    @property
    def schemas(self) -> Place:
        """Folder of the schema versions that were used here."""
        return self.root / "schemas"

    def schema(self, schema: Schema) -> Place:
        """Return the place of the lake's copy of a schema."""
        return self.schemas / f"{schema.product}-{schema.version_text}.yaml"

    def kept(self, product: str, major: int) -> list[Place]:
        """Return the lake's copies of the schemas of a major version."""
        return matching(self.schemas, f"{product}-{major}.*.yaml")

    def dataset(self, schema: Schema) -> Place:
        """Return the folder of the Delta table of a schema's major version."""
        return self.root / "tables" / schema.product / f"v{schema.version[0]}" / "dataset"

    def arrays(self, product: str, tile: str, run: str) -> Place:
        """Return the group of one product, tile and run."""
        return self.root / "arrays" / product / tile / f"{run}.zarr"

    def datasets(self, product: str = "*") -> list[tuple[str, int, Place]]:
        """Return product, major version and folder of every table that is there, of one product or of all."""
        found = matching(self.root / "tables", f"{product}/v*/dataset")
        return [(path.parts[-3], int(path.parts[-2][1:]), path) for path in found]

    def groups(self) -> list[Place]:
        """Return the folders of all arrays that are in their place."""
        return matching(self.root / "arrays", "[!.]*/*/*.zarr")

    def release(self, name: str) -> Place:
        """Return the pin of a release."""
        return self.releases / f"{name}.json"


def sky_folder(pixel: int) -> str:
    """Return the HATS folder of a pixel of the partition order."""
    return f"Norder={PARTITION_ORDER}/Dir={pixel // 10000 * 10000}/Npix={pixel}"


def part_folder(tile: str) -> str:
    """Return the folder of a tile's rows that have no place in the sky."""
    return f"part={tile}"
