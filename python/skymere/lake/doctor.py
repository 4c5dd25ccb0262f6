"""What is broken in a lake, and how to mend it."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl

from skymere.errors import ConflictError, FormatError, NotFoundError, SkymereError
from skymere.lake.files import put_if_absent
from skymere.lake.lake import Lake
from skymere.lake.layout import Layout
from skymere.lake.schemas import load_schema, products
from skymere.lake.stores import Place, at, matching

__all__ = ["Finding", "examine"]

State = Literal["ok", "note", "broken"]
_STALE_DAYS = 7.0
_OWN = {"lake.json", "schemas", "tables", "arrays", "releases"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    what : str
        What was looked at.
    state : {"ok", "note", "broken"}
        Whether it is as it should be; a note does no harm.
    message : str
        What was found.
    mend : str, optional
        How to mend it.
    """

    what: str
    state: State
    message: str
    mend: str = ""


def examine(path: str | Place, *, hashes: bool = False) -> list[Finding]:
    """Look at everything that can be broken in a lake.

    Parameters
    ----------
    path : str or Path
        The folder, or ``s3://bucket/prefix``.
    hashes : bool, optional
        Also read every file and compare it with its checksum.

    Returns
    -------
    list of Finding
        In the order in which things were looked at; one that is broken may hide those after it.

    Notes
    -----
    Nothing is changed; a file of a few bytes is written and removed to see whether the store can put a file only
    where there is none, on which atomic publication rests.
    """
    root = at(path)
    try:
        layout, _ = Layout.open(root)
        lake = Lake.open(root)
    except SkymereError as error:
        return [Finding(what="lake", state="broken", message=str(error), mend=_mend_opening(error))]
    found = [Finding(what="lake", state="ok", message=f"{root}, tiles {lake.tiles}")]
    for what, look in (
        ("store", _store(layout)),
        ("folder", _folder(layout)),
        ("schemas", _schemas(layout)),
        ("tables", _tables(lake)),
        ("files", _files(lake, hashes=hashes)),
        ("staging", _staging(layout)),
        ("runs", _runs(lake, layout)),
    ):
        wrong = list(look)
        found += wrong or [Finding(what=what, state="ok", message=_GOOD[what])]
    return found


_GOOD = {
    "store": "can put a file only where there is none",
    "folder": "holds nothing but the lake",
    "schemas": "every table has its schemas",
    "tables": "every table can be read",
    "files": "everything that rows and releases refer to is there",
    "staging": "no remains of old attempts",
    "runs": "every run that sealed arrays has finished",
}


def _mend_opening(error: SkymereError) -> str:
    if isinstance(error, NotFoundError):
        return "check the path; a new lake is made with: skymere lake init"
    if isinstance(error, FormatError) and "format_version" in str(error):
        return "pip install --upgrade skymere"
    if isinstance(error, FormatError):
        return "name the folder that has lake.json in it; if that file was lost, restore it from a copy of the lake"
    return "see whether the disk is there and can be read"


def _store(layout: Layout) -> Iterator[Finding]:
    probe = layout.root / f".probe-{uuid.uuid4().hex}"
    try:
        put_if_absent(probe, b"first")
        with contextlib.suppress(ConflictError):
            put_if_absent(probe, b"second")
        if probe.read_bytes() != b"first":
            mend = "move the lake to a local disk or another store; two publishers could overwrite each other here"
            message = "a file was put where there was one: no put-if-absent"
            yield Finding(what="store", state="broken", message=message, mend=mend)
    except (SkymereError, OSError) as error:
        mend = "see to permissions and free space, or move the lake to a disk with hard links; it can be read as it is"
        yield Finding(what="store", state="broken", message=f"a file cannot be put: {error}", mend=mend)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _folder(layout: Layout) -> Iterator[Finding]:
    others = sorted(entry.name for entry in layout.root.iterdir() if entry.name not in _OWN)
    if others:
        message = f"{', '.join(others)} in {layout.root} is no part of the lake"
        yield Finding(what="folder", state="note", message=message, mend="move it elsewhere")


def _schemas(layout: Layout) -> Iterator[Finding]:
    shipped = set(products())
    for product, major, dataset in layout.datasets():
        if not layout.kept(product, major):
            message = f"{dataset} has no schema in {layout.schemas}"
            mend = "import the catalogue again, or restore the file from a copy of the lake"
            if product in shipped:
                mend = f"publish anything to {product}, which writes the copy, or restore it from a copy of the lake"
            yield Finding(what="schemas", state="broken", message=message, mend=mend)
        newest = load_schema(product).version[0] if product in shipped else major
        if major > newest:
            message = f"{dataset} has version {major} of {product}, this skymere knows up to {newest}"
            yield Finding(what="schemas", state="broken", message=message, mend="pip install --upgrade skymere")
    for path in matching(layout.schemas, "*.yaml"):
        product, _, version = path.stem.rpartition("-")
        with contextlib.suppress(NotFoundError):
            if product in shipped and load_schema(product, version).text != path.read_text(encoding="utf-8"):
                message = f"{path} is not the {product}/{version} that was released"
                mend = f"put the one of skymere in its place: skymere/_schemas/{path.name}"
                yield Finding(what="schemas", state="broken", message=message, mend=mend)


def _tables(lake: Lake) -> Iterator[Finding]:
    try:
        names = lake.names()
    except SkymereError as error:
        mend = "restore the file from a copy of the lake"
        yield Finding(what="tables", state="broken", message=str(error), mend=mend)
        return
    for name in names:
        try:
            lake.table(name).select(pl.len()).collect()
        except (SkymereError, pl.exceptions.PolarsError, OSError) as error:
            message = f"{name}: {str(error).splitlines()[0]}"
            mend = "publish its tiles again; older versions and releases may still be whole"
            yield Finding(what="tables", state="broken", message=message, mend=mend)


def _files(lake: Lake, *, hashes: bool) -> Iterator[Finding]:
    try:
        for fault in lake.fsck(hashes=hashes):
            # What is wrong and how to mend it stand in one sentence there.
            wrong, _, mend = fault.message.partition("; ")
            yield Finding(what="files", state="broken", message=f"{fault.kind}: {fault.path}: {wrong}", mend=mend)
    except SkymereError as error:
        yield Finding(what="files", state="broken", message=str(error), mend="mend what stands above first")


def _staging(layout: Layout) -> Iterator[Finding]:
    before = time.time() - _STALE_DAYS * 86400.0
    for folder in (layout.staging, layout.trash):
        old = [path for path in folder.glob("*") if path.stat().st_mtime < before]
        if old:
            message = f"{len(old)} attempts in {folder} ended more than {_STALE_DAYS:g} days ago"
            mend = f"skymere lake gc {layout.root} --remove"
            yield Finding(what="staging", state="note", message=message, mend=mend)


def _runs(lake: Lake, layout: Layout) -> Iterator[Finding]:
    """Say which runs sealed arrays without publishing rows."""
    try:
        known = set(lake.table("run").select("tile", "run_id").collect().iter_rows())
        known |= set(lake.held().select("tile", "run_id").iter_rows())
        live = {(tile, run) for name in lake.names() for tile, run in lake.live_runs(name).items()}
    except (SkymereError, pl.exceptions.PolarsError, OSError):
        # Tables that cannot be read were reported as such.
        return
    for group in layout.groups():
        product, tile = group.parts[-3:-1]
        if not {(tile, group.stem)} & (known | live):
            message = f"run {group.stem} of {product} for tile {tile!r} sealed its arrays and published no rows"
            mend = "run the task again, which goes on from there, or leave them to: skymere lake gc"
            yield Finding(what="runs", state="note", message=message, mend=mend)
