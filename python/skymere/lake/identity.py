"""Stable identifiers: a source keeps its number when its tile is detected again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.datamodels import Sliceable, windows_of
from skymere.errors import InvalidInputError
from skymere.lake.sky import healpix29

if TYPE_CHECKING:
    from skymere.lake.lake import Lake

__all__ = ["Identity", "identify", "inherit"]

NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identifiers of the sources of a tile.

    Parameters
    ----------
    source_id : ndarray, int64, shape (n,)
        In the order of the labels that were given.
    alias : polars.DataFrame
        Rows of the table ``alias`` for `Run.publish`.
    parent_run : str or None
        Run whose identifiers were inherited; None when the tile had none.
    """

    source_id: NDArray[np.int64]
    alias: pl.DataFrame
    parent_run: str | None


@dataclass(frozen=True)
class Fate:
    """What became of an old identifier; ``label`` is the new segment, 0 for none."""

    old_id: int
    kind: str
    label: int
    n_shared: int


def identify(
    lake: "Lake", tile: str, segmentation: Sliceable, *, labels: ArrayLike, ra: ArrayLike, dec: ArrayLike
) -> Identity:
    """Give identifiers to the sources of a tile; see `Lake.identify`."""
    wanted = as_array(labels, "labels", np.int32, shape=(None,)).astype(np.int32)
    shape = (wanted.size,)
    index = healpix29(
        as_array(ra, "ra", np.float64, shape=shape).astype(np.float64),
        as_array(dec, "dec", np.float64, shape=shape).astype(np.float64),
    )
    published = lake.table("source").filter(pl.col("tile") == tile)
    old = published.select("run_id", "segmentation_run", "label", "source_id").collect()
    inherited: dict[int, int] = {}
    fates: list[Fate] = []
    parent = None
    if old.height:
        parent = str(old["run_id"][0])
        before = lake.arrays("segmentation", tile, old["segmentation_run"][0])["label"]
        ids = dict(zip(old["label"].to_list(), old["source_id"].to_list(), strict=True))
        inherited, fates = inherit(before, ids, segmentation, set(wanted.tolist()))
    fresh = _free(lake, index, [label not in inherited for label in wanted.tolist()])
    source_id = np.array([inherited.get(k, f) for k, f in zip(wanted.tolist(), fresh, strict=True)], np.int64)
    by_label = dict(zip(wanted.tolist(), source_id.tolist(), strict=True))
    return Identity(source_id=source_id, alias=_alias(fates, by_label, parent), parent_run=parent)


def inherit(
    before: Sliceable, ids: Mapping[int, int], after: Sliceable, labels: set[int]
) -> tuple[dict[int, int], list[Fate]]:
    """Return which new label inherits which identifier, and what became of the other ones.

    A new segment inherits the identifier of the old one with which it shares most pixels. When several claim the
    same, the one that shares most has it and the others are split off. An old segment whose identifier nobody
    inherits was merged into the new one with which it shares most pixels, or has disappeared. Ties go to the smaller
    label.

    Parameters
    ----------
    before, after : array, int32, shape (ny, nx)
        Old and new segmentation on one grid; anything that gives a window when sliced.
    ids : mapping of int to int
        Identifier of each old label that was published.
    labels : set of int
        New labels that will be published.

    Raises
    ------
    InvalidInputError
        When the two segmentations differ in shape.
    """
    shared = _shared(before, after)
    shared = [(n, a, b) for n, a, b in shared if a in ids and b in labels]
    # Most pixels first, then the smaller labels: the first pair that names a label is its best.
    best_old: dict[int, tuple[int, int]] = {}
    best_new: dict[int, tuple[int, int]] = {}
    for n, a, b in sorted(shared, key=lambda pair: (-pair[0], pair[1], pair[2])):
        best_old.setdefault(b, (a, n))
        best_new.setdefault(a, (b, n))
    inherited: dict[int, int] = {}
    heirs: set[int] = set()
    fates = []
    for b, (a, n) in sorted(best_old.items(), key=lambda item: (-item[1][1], item[0])):
        if a in heirs:
            fates.append(Fate(ids[a], "split", b, n))
        else:
            heirs.add(a)
            inherited[b] = ids[a]
    for a in sorted(set(ids) - heirs):
        b, n = best_new.get(a, (0, 0))
        fates.append(Fate(ids[a], "merge" if b else "disappear", b, n))
    return inherited, fates


def _shared(before: Sliceable, after: Sliceable) -> list[tuple[int, int, int]]:
    """Return number of pixels, old label and new label of every pair that shares pixels."""
    if before.shape != after.shape:
        msg = f"segmentation: shape {after.shape} is not allowed, the tile was published with {before.shape}"
        raise InvalidInputError(msg)
    total: Counter[int] = Counter()
    for window in windows_of((before.shape[0], before.shape[1])):
        old, new = np.asarray(before[window.slices]), np.asarray(after[window.slices])
        both = (old > 0) & (new > 0)
        values, counts = np.unique(old[both].astype(np.int64) << 32 | new[both], return_counts=True)
        total.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return [(n, v >> 32, v & 0xFFFFFFFF) for v, n in sorted(total.items())]


def _free(lake: "Lake", index: NDArray[np.int64], fresh: list[bool]) -> list[int]:
    """Return an identifier for each source that needs one: its index, plus 1 until nobody has or had it."""
    wanted = index[np.array(fresh, bool)]
    taken: set[int] = set()
    if wanted.size:
        # A collision moves an identifier by no more than the number of sources.
        span = pl.col("id").is_between(int(wanted.min()), int(wanted.max()) + wanted.size)
        for table, column in (("source", "source_id"), ("alias", "old_id")):
            known = lake.table(table).select(id=pl.col(column)).filter(span).collect()
            taken.update(known["id"].to_list())
    ids = []
    for place, is_fresh in zip(index.tolist(), fresh, strict=True):
        chosen = place
        while is_fresh and chosen in taken:
            chosen += 1
        if is_fresh:
            taken.add(chosen)
        ids.append(chosen)
    return ids


def _alias(fates: list[Fate], by_label: Mapping[int, int], parent: str | None) -> pl.DataFrame:
    rows = [(f.old_id, by_label.get(f.label, NOBODY), f.kind, f.n_shared, parent or "") for f in fates]
    schema = {
        "old_id": pl.Int64(),
        "source_id": pl.Int64(),
        "kind": pl.String(),
        "n_shared": pl.Int64(),
        "parent_run": pl.String(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
