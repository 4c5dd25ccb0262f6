"""Regions and edits of people as rows: who, when, why, where, what they did, and whether they were taken back."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.lake.changes import change_rows, check_words, retract
from skymere.lake.forms import table_dtypes
from skymere.lake.ledger import about_objects
from skymere.lake.sky import around
from skymere.regions import Region, region_from_numbers, to_sky
from skymere.segmentation import Edit, EditKind, EditOutcome, apply_edits

if TYPE_CHECKING:
    from skymere.lake.lake import Lake

__all__ = [
    "REPLAYED",
    "ROLES",
    "StoredEdit",
    "add_regions",
    "outcome_rows",
    "region_rows",
    "regions_from_rows",
    "replay_outcomes",
    "retract_edits",
    "stored_edits",
]

# What a role does to segments when a tile is detected again.
REPLAYED: Mapping[str, EditKind] = {
    "merge": "merge",
    "manual": "draw",
    "split": "split",
    "delete": "delete",
    "bad": "mask",
}
ROLES = (*REPLAYED, "mask_border", "mask_border_more", "mask_all", "sim")


@dataclass(frozen=True, kw_only=True)
class StoredEdit:
    """An edit of a lake that was not taken back.

    Parameters
    ----------
    edit : Edit
        What to do, and where on the sky; its name is that of the rows.
    tile : str
        Tile that its rows belong to.
    changed_run : str
        Run that added its rows.
    """

    edit: Edit
    tile: str
    changed_run: str


def add_regions(
    lake: "Lake",
    role: str,
    groups: Sequence[Sequence[Region]],
    *,
    author: str,
    reason: str,
    band: str = "",
    tile: str | None = None,
    is_strict: bool = False,
) -> pl.DataFrame:
    """Add regions to a lake.

    Parameters
    ----------
    lake : Lake
        The lake.
    role : str
        What they are for: ``merge``, ``manual``, ``split``, ``delete``, ``bad``, ``mask_border``, ``mask_border_more``,
        ``mask_all`` or ``sim``.
    groups : sequence of sequence of Region
        The regions of each edit.
    author, reason : str
        Who, and why.
    band : str, optional
        Band that they are meant for; empty for all.
    tile : str, optional
        Tile whose pixels regions of the frame ``image`` are in, and whose rows all become; else each edit belongs to
        the tile that owns the middle of its first region.
    is_strict : bool, optional
        Refuse edits that find nothing to act on in the segmentation of today, instead of keeping them for a later one.

    Returns
    -------
    polars.DataFrame
        The rows that were added, with what each edit does to the segmentation of today (``status, before, after``).

    Raises
    ------
    InvalidInputError
        When the role is another, author or reason are empty, a region in pixels has no tile, or the lake was opened at
        a release.
    NotFoundError
        When no tile owns a region, or there is no such tile.
    NoDataError
        When ``is_strict`` and an edit finds nothing to act on.
    ConflictError
        When others change the regions of the tile all the time.
    """
    if role not in ROLES:
        msg = f"role: {role!r} is not allowed, it must be one of {list(ROLES)}"
        raise InvalidInputError(msg)
    check_words(author=author, reason=reason)
    by_tile: dict[str, list[Edit]] = {}
    for group in groups:
        home, regions = _at_home(lake, group, tile)
        # Masks that no detection replays are checked by the same rules as those that one does.
        edit = Edit(kind=REPLAYED.get(role, "mask"), regions=regions, edit_id=secrets.token_hex(4), band=band)
        by_tile.setdefault(home, []).append(edit)
    words = {"role": role, "band": band, "author": author, "reason": reason}
    plans = {home: _planned(lake, home, edits, role, is_strict=is_strict) for home, edits in by_tile.items()}
    added = [change_rows(lake, "region", home, _Addition(plans[home], words), region_rows) for home in by_tile]
    return pl.concat(added) if added else region_rows(lake).head(0)


def retract_edits(lake: "Lake", edit_ids: Sequence[str], *, author: str, reason: str) -> pl.DataFrame:
    """Take edits back: their rows stay and say so, and replays go without them.

    Parameters
    ----------
    lake : Lake
        The lake.
    edit_ids : sequence of str
        Names of edits.
    author, reason : str
        Who, and why.

    Returns
    -------
    polars.DataFrame
        Their rows as they are now.

    Raises
    ------
    NotFoundError
        When there is no such edit, or it was taken back before.
    InvalidInputError
        When author or reason are empty, or the lake was opened at a release.
    """
    return retract(lake, "region", edit_ids, region_rows, author=author, reason=reason)


def region_rows(lake: "Lake", tile: str | None = None) -> pl.DataFrame:
    """Return the rows of ``region``, in the order in which they were made.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str, optional
        Only those of this tile.

    Notes
    -----
    Rows of before edits had names are edits of their own, called as their region.
    """
    table = lake.table("region")
    if tile is not None:
        table = table.filter(pl.col("tile") == tile)
    return (
        table.collect()
        .with_columns(
            edit_id=pl.when(pl.col("edit_id") == "").then("region_id").otherwise("edit_id"),
            changed_run=pl.when(pl.col("changed_run") == "").then("run_id").otherwise("changed_run"),
            is_retracted=pl.col("is_retracted").fill_null(value=False),
            sequence=pl.col("sequence").fill_null(0),
        )
        .sort("tile", "sequence", "region_id")
    )


def regions_from_rows(rows: pl.DataFrame) -> list[Region]:
    """Return the regions of rows of ``region``.

    Parameters
    ----------
    rows : polars.DataFrame
        From `region_rows`.
    """
    return [
        region_from_numbers(
            row["shape"], json.loads(row["params"]), frame=row["frame"], is_include=row["is_include"], text=row["text"]
        )
        for row in rows.iter_rows(named=True)
    ]


def stored_edits(lake: "Lake", tile: str) -> tuple[list[StoredEdit], list[dict[str, str]]]:
    """Return the edits that a detection of a tile replays, and what it lists among its inputs for them.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile; edits of its neighbours that reach into its image are replayed after its own.

    Returns
    -------
    list of StoredEdit
        In the order in which they were made.
    list of dict
        For each tile with edits the run that last added one or took one back; of a neighbour's, one that reaches here.
    """
    edits: list[StoredEdit] = []
    inputs: list[dict[str, str]] = []
    rows = region_rows(lake).filter(pl.col("role").is_in(list(REPLAYED)))
    for home in (tile, *_sorted_neighbours(lake, tile, rows)):
        mine = rows.filter(pl.col("tile") == home)
        if mine.is_empty():
            continue
        if home != tile:
            # Also those that were taken back, so that taking one back is seen; what does not reach here is not.
            reaching = _reaching(lake, tile, _edits_of(mine, home))
            mine = mine.filter(pl.col("edit_id").is_in([stored.edit.edit_id for stored in reaching]))
        found = _edits_of(mine.filter(~pl.col("is_retracted")), home)
        if home != tile and not found:
            continue
        edits += found
        last = mine.with_columns(changed=pl.max_horizontal("created", "retracted")).sort("changed", "changed_run")
        inputs.append({"uri": f"region/{home}", "run": last["changed_run"][-1]})
    return edits, inputs


def outcome_rows(outcomes: Sequence[EditOutcome]) -> pl.DataFrame:
    """Return outcomes as rows of ``run_item`` for `Run.publish`.

    Parameters
    ----------
    outcomes : sequence of EditOutcome
        From `skymere.segmentation.apply_edits`.
    """
    rows = [
        {
            "item": outcome.edit_id,
            "status": "ok" if outcome.status == "applied" else "rejected",
            "error_class": "" if outcome.status == "applied" else outcome.status,
            "message": json.dumps(asdict(outcome)),
            "seconds": None,
            "peak_memory": None,
        }
        for outcome in outcomes
    ]
    wanted = table_dtypes("run_item")
    return pl.DataFrame(rows, schema={name: wanted[name] for name in wanted if name not in ("run_id", "stage", "tile")})


def replay_outcomes(lake: "Lake", tile: str) -> list[EditOutcome]:
    """Return what came of each edit when the tile was last detected.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile.

    Raises
    ------
    NotFoundError
        When the tile has no segmentation.
    """
    run = lake.live_run("segmentation", tile)
    mine = pl.col("run_id") == run, pl.col("tile") == tile
    items = about_objects(lake.table("run_item")).filter(*mine).collect()
    trees = [json.loads(text) for text in items["message"] if text]
    return [
        EditOutcome(**{**tree, "before": tuple(tree["before"]), "after": tuple(tree["after"])})
        for tree in trees
        if "edit_id" in tree
    ]


@dataclass(frozen=True)
class _Addition:
    """New rows for a tile."""

    planned: list[tuple[Edit, dict[str, Any]]]
    words: Mapping[str, str]

    def params(self) -> dict[str, Any]:
        digest = hashlib.sha256(repr([edit for edit, _ in self.planned]).encode()).hexdigest()
        return {**self.words, "edits": [edit.edit_id for edit, _ in self.planned], "sha256": digest}

    def rows(self, old: pl.DataFrame, run_id: str, now: str) -> list[dict[str, Any]]:
        first = 1 + int(cast("int", old["sequence"].max() or 0))
        return [
            {
                **self.words,
                **outcome,
                "region_id": f"{edit.edit_id}-{k}",
                "edit_id": edit.edit_id,
                "sequence": first + i,
                "exposure_id": "",
                "shape": region.shape,
                "is_include": region.is_include,
                "frame": region.frame,
                "params": json.dumps(region.numbers),
                "text": region.text,
                "created": now,
                "is_retracted": False,
                "retracted_by": "",
                "retracted": "",
                "retracted_why": "",
                "changed_run": run_id,
            }
            for i, (edit, outcome) in enumerate(self.planned)
            for k, region in enumerate(edit.regions)
        ]

    def change(self, old: pl.DataFrame, run_id: str, now: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return all rows of the tile, and those that are new."""
        wanted = {name: dtype for name, dtype in table_dtypes("region").items() if name not in ("tile", "run_id")}
        new = pl.DataFrame(self.rows(old, run_id, now), schema=wanted)
        return pl.concat([old.select(list(wanted)), new]), new


def _planned(
    lake: "Lake", tile: str, edits: Sequence[Edit], role: str, *, is_strict: bool
) -> list[tuple[Edit, dict[str, Any]]]:
    """Return edits with what they do to the segmentation of today."""
    blank = {"before": "[]", "after": "[]", "source_ids": "[]", "labels_run": "", "status": "", "message": ""}
    run = lake.live_runs("segmentation").get(tile)
    if role not in REPLAYED or run is None:
        return [(edit, dict(blank)) for edit in edits]
    arrays = lake.arrays("segmentation", tile, run)
    detected = SegmentationMap(labels=arrays["label"][...], grid=arrays.grid("label"))
    replayed = {outcome.edit_id for outcome in replay_outcomes(lake, tile)}
    # Edits since the last detection come before: what they have merged is one segment.
    waiting = [stored.edit for stored in stored_edits(lake, tile)[0] if stored.edit.edit_id not in replayed]
    outcomes = apply_edits(detected, [*waiting, *edits])[1][len(waiting) :]
    named = lake.table("source").filter(pl.col("tile") == tile, pl.col("segmentation_run") == run)
    ids = dict(named.select("label", "source_id").collect().iter_rows())
    planned = []
    for edit, outcome in zip(edits, outcomes, strict=True):
        if is_strict and outcome.status != "applied":
            msg = f"{edit.kind} at {edit.regions[0].middle} in tile {tile!r}: {outcome.reason}"
            raise NoDataError(msg)
        known = [ids[label] for label in outcome.before if label in ids]
        found = {
            "before": json.dumps(outcome.before),
            "after": json.dumps(outcome.after),
            "source_ids": json.dumps(known),
            "labels_run": run,
            "status": outcome.status,
            "message": outcome.reason,
        }
        planned.append((edit, found))
    return planned


def _at_home(lake: "Lake", group: Sequence[Region], tile: str | None) -> tuple[str, tuple[Region, ...]]:
    """Return the tile of an edit, and its regions on the sky."""
    if tile is not None:
        grid = lake.tiles[tile].grid
        return tile, tuple(to_sky(region, grid) for region in group)
    in_pixels = [region for region in group if region.frame == "image"]
    if in_pixels or not group:
        msg = "regions: pixels alone do not say where on the sky; name the tile whose pixels they are"
        raise InvalidInputError(msg)
    ra, dec = group[0].middle
    near = np.column_stack([values.ravel() for values in around(np.array([ra]), np.array([dec]), 1e-3)])
    place = np.array([ra]), np.array([dec])
    for name in sorted(lake.tiles.touching(near)):
        if lake.tiles[name].owns(*place)[0]:
            return name, tuple(group)
    msg = f"region: no tile of the lake owns ra {ra}, dec {dec}"
    raise NotFoundError(msg)


def _edits_of(rows: pl.DataFrame, tile: str) -> list[StoredEdit]:
    found = []
    for (edit_id,), mine in rows.group_by("edit_id", maintain_order=True):
        regions = tuple(regions_from_rows(mine))
        first = mine.row(0, named=True)
        edit = Edit(kind=REPLAYED[first["role"]], regions=regions, edit_id=str(edit_id), band=first["band"])
        found.append(StoredEdit(edit=edit, tile=tile, changed_run=first["changed_run"]))
    return found


def _sorted_neighbours(lake: "Lake", tile: str, rows: pl.DataFrame) -> list[str]:
    return sorted(set(rows["tile"]) & set(lake.tiles.neighbours(tile)))


def _reaching(lake: "Lake", tile: str, edits: Sequence[StoredEdit]) -> list[StoredEdit]:
    """Return the edits that reach into the image of a tile."""
    grid = lake.tiles[tile].grid
    blank = SegmentationMap(labels=np.zeros(grid.shape, np.int32), grid=grid)
    _, outcomes = apply_edits(blank, [stored.edit for stored in edits])
    return [stored for stored, outcome in zip(edits, outcomes, strict=True) if outcome.status != "outside"]
