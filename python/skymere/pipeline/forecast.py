"""A lake as it would be: what stages find when those before them have done their work, known from headers alone."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from skymere.errors import NoDataError, SkymereError
from skymere.io import ExposureHead, exposure_id, read_grid, read_heads
from skymere.lake import ArrayGroup, Lake, NamedTile
from skymere.pipeline.exposures import place_of, usable_exposures
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task
from skymere.pipeline.tile_groups import TileGroup, tile_groups
from skymere.wcs import Grid, wcs_cards

__all__ = ["Forecast", "lake_to_explain"]


class Forecast(Lake):
    """A lake that shows what tasks will publish, and writes nothing.

    Its runs are those that tasks will have: a run's name is the digest of what is read, so it is known before the work
    is done. Its rows are those of exposures, masks and mosaics as headers and footprints tell them, and the present
    ones of everything else.

    Attributes
    ----------
    changed : dict of (str, str) to str
        Product and tile that will be made anew, and the stage that will make them.
    unseen : dict of str to set of str
        Tiles by product of whose rows nothing is known before they are made.
    """

    changed: dict[tuple[str, str], str]
    unseen: dict[str, set[str]]

    @classmethod
    def of(cls, lake: Lake, plan: Plan) -> "Forecast":
        """Return a forecast that shows what a lake shows."""
        made = cls(lake._layout, lake.tiles, pinned=lake.pinned, pins=lake._pins)  # noqa: SLF001
        made._plan, made._will_show, made._foreseen, made._known_groups = plan, {}, {}, {}
        made.changed, made.unseen = {}, {}
        return made

    _plan: Plan
    _will_show: dict[str, dict[str, str]]
    _foreseen: dict[str, dict[str, pl.DataFrame]]
    _known_groups: dict[int, list[TileGroup]]

    @cached_property
    def _files(self) -> dict[str, Path]:
        """File of each exposure, by the name that all its chips begin with."""
        return {exposure_id(path): path for path in self._plan.exposure_files()}

    def live_runs(self, product: str) -> dict[str, str]:
        """Return the run that each tile of a product will show."""
        return super().live_runs(product) | self._will_show.get(product, {})

    def table(self, name: str, version: int | None = None, schema: int | None = None) -> pl.LazyFrame:
        """Return a table with the rows that are known before they are made in the place of those of their tiles."""
        present, mine = super().table(name, version=version, schema=schema), self._foreseen.get(name)
        if not mine:
            return present
        kept = present.filter(~pl.col("tile").is_in(list(mine)))
        return pl.concat([kept, *(frame.lazy() for frame in mine.values())], how="diagonal_relaxed")

    def arrays(self, product: str, tile: str, run: str | None = None) -> ArrayGroup:
        """Return the present arrays of a product and a tile."""
        return super().arrays(product, tile, run or super().live_runs(product).get(tile))

    def run_of(self, stage: Stage, task: Task, product: str | None = None) -> str:
        """Return the run that a task will have, or that of another product that it writes."""
        more = {} if product is None else {"product": product}
        params = {**task.params, **more}
        return self.run(
            stage=stage.name, tile=task.tile, product=product or stage.writes[0], inputs=task.inputs, params=params
        ).id

    def publish(self, stage: Stage, task: Task) -> None:
        """Show what a task will publish."""
        for product in stage.writes:
            run = self.run_of(stage, task, None if product == stage.writes[0] else product)
            is_new = task.tile not in super().live_runs(product)
            self._will_show.setdefault(product, {})[task.tile] = run
            self.changed[product, task.tile] = stage.name
            rows = _ROWS[product](self, task.tile) if product in _ROWS else None
            if rows is not None:
                named = [row | {"run_id": run, "tile": task.tile} for row in rows]
                self._foreseen.setdefault(product, {})[task.tile] = pl.DataFrame(named, schema_overrides=_TEXTS)
            elif is_new:
                self.unseen.setdefault(product, set()).add(task.tile)

    def exposure_rows(self, tile: str) -> list[dict[str, Any]]:
        """Return the row of an exposure as its headers tell it; nothing of it when they cannot be read."""
        path = self._files.get(tile) or self._files.get(tile.rpartition("_chip")[0])
        if path is None:
            return []
        try:
            heads = read_heads(path, params=self._plan.read_params())
        except SkymereError as error:
            return [{"exposure_id": tile, "status": "failed", "message": str(error)}]
        return [_described(head, path) for head in heads if head.exposure_id == tile]

    def group_rows(self, group: str) -> list[dict[str, Any]]:
        """Return the rows of skies, or of masks, of the exposures of a band that touch a tile."""
        groups = {one.name: one for one in self._groups()}
        if group not in groups:
            return []
        described = {"status": "ok", "message": "", "band": groups[group].band}
        return [described | {"exposure_id": name} for name in groups[group].names]

    def mosaic_rows(self, tile: str) -> list[dict[str, Any]]:
        """Return the rows of the mosaics of a tile: one for each band of the exposures on its image."""
        groups = [one for one in self._groups() if one.tile == tile]
        described = {"status": "ok", "message": ""}
        return [described | {"band": one.band, "exposure_ids": json.dumps(one.names)} for one in groups]

    def _groups(self) -> list[TileGroup]:
        """Return the groups of all tiles; only new exposures and new coordinates make others."""
        n_changes = sum(len(self._will_show.get(product, {})) for product in ("exposure", "wcs_solution"))
        if n_changes not in self._known_groups:
            self._known_groups = {n_changes: tile_groups(self, usable_exposures(self))}
        return self._known_groups[n_changes]

    def profile_rows(self, tile: str) -> list[dict[str, Any]] | None:
        """Return a row that says that a tile has profiles; None when it has some now."""
        return None if tile in super().live_runs("profile") else [{"status": "ok", "is_best": True}]


_TEXTS = {"run_id": pl.String, "tile": pl.String}
_ROWS: Mapping[str, Callable[[Forecast, str], list[dict[str, Any]] | None]] = MappingProxyType(
    {
        "exposure": Forecast.exposure_rows,
        "sky": Forecast.group_rows,
        "mask": Forecast.group_rows,
        "mosaic": Forecast.mosaic_rows,
        "profile": Forecast.profile_rows,
    }
)


def _described(head: ExposureHead, path: Path) -> dict[str, Any]:
    ny, nx = head.shape
    cards = json.dumps(wcs_cards(head.wcs), sort_keys=True)
    return {
        "exposure_id": head.exposure_id,
        "status": "ok",
        "message": "",
        "band": head.band,
        "instrument": head.instrument,
        "detector": head.detector,
        "exptime": head.exptime,
        "ny": ny,
        "nx": nx,
        "path": str(path),
        "wcs": cards,
        "wcs_sha256": hashlib.sha256(cards.encode()).hexdigest(),
        **place_of(head.wcs, head.shape),
    }


@contextmanager
def lake_to_explain(plan: Plan) -> Iterator[Lake]:
    """Give the lake of a plan; where there is none, an empty one in a folder that is removed afterwards.

    Parameters
    ----------
    plan : Plan
        The plan.

    Raises
    ------
    NoDataError
        When there is none, and no exposure says where its tile would be.
    SkymereError
        When what is there is no lake.
    """
    path = plan.path(plan.survey.lake)
    if (path / "lake.json").exists():
        yield Lake.open(path)
        return
    with tempfile.TemporaryDirectory(prefix="skymere-explain-") as folder:
        place, tile = Path(folder) / "lake", plan.tile
        if tile.kind == "healpix":
            yield Lake.create(place, tiles="healpix", scale_arcsec=tile.scale_arcsec, width_pix=tile.width_pix)
        else:
            yield Lake.create(place, tiles=[NamedTile(tile.name, _tile_grid(plan))])


def _tile_grid(plan: Plan) -> Grid:
    if plan.tile.reference_image:
        return read_grid(plan.path(plan.tile.reference_image))
    footprints, errors, params = [], [], plan.read_params()
    for path in plan.exposure_files():
        try:
            footprints += [(head.wcs, head.shape) for head in read_heads(path, params=params)]
        except SkymereError as error:
            errors.append(str(error))
    if not footprints:
        msg = f"survey.exposures: none can be read: {'; '.join(errors)}"
        raise NoDataError(msg)
    return Grid.covering(footprints, scale_arcsec=plan.tile.scale_arcsec, rotation_deg=plan.tile.rotation_deg)
