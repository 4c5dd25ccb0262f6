"""Objects in files of grizli: their sources, and how it went for each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skymere.errors import FormatError, InvalidInputError, SkymereError
from skymere.io import open_fits
from skymere.lake import Lake
from skymere.pipeline.importing.kinds import ForeignFile
from skymere.pipeline.items import item_row, items_frame
from skymere.pipeline.map_rows import MapWriter, SpectrumWriter, StackWriter
from skymere.pipeline.slit_units import short_name, source_ids

__all__ = ["STAGE", "ImportedObject", "Outcomes", "inputs_of", "objects_of", "publish_objects"]

STAGE = "import"


@dataclass(frozen=True, kw_only=True)
class ImportedObject:
    """A file with its source."""

    file: ForeignFile
    source_id: int
    ra: float
    dec: float
    label: int

    @property
    def source(self) -> dict[str, Any]:
        """What writers of rows take."""
        return {"source_id": self.source_id, "ra": self.ra, "dec": self.dec}


def objects_of(lake: Lake, files: Sequence[ForeignFile], radius_arcsec: float) -> list[ImportedObject | dict[str, Any]]:
    """Return files with their sources, or what is wrong with them."""
    faults: list[dict[str, Any]] = []
    seen: dict[str, tuple[ForeignFile, float, float, int]] = {}
    for one in files:
        try:
            seen[str(one.path)] = (one, *_place(one.path))
        except SkymereError as error:
            faults.append(one.told("", "failed", str(error)))
    # Files of one object say the same place.
    places = {_key(ra, dec): (ra, dec) for _, ra, dec, _ in seen.values()}
    ids = source_ids(lake, places, radius_arcsec)
    return [
        *(
            ImportedObject(file=one, source_id=ids[_key(ra, dec)], ra=ra, dec=dec, label=label)
            for one, ra, dec, label in seen.values()
        ),
        *faults,
    ]


def _key(ra: float, dec: float) -> str:
    return f"{ra:.6f} {dec:.6f}"


def _place(path: Path) -> tuple[float, float, int]:
    with open_fits(path) as hdus:
        header = hdus[0].header
        try:
            ra, dec, label = float(header["RA"]), float(header["DEC"]), int(header["ID"])
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{path}: its header must say ID, RA and DEC of its source: {error}"
            raise FormatError(msg) from error
    if not (math.isfinite(ra) and abs(dec) <= 90.0):
        msg = f"{path}: the place RA {ra}, DEC {dec} is not allowed, it must be one in the sky [deg]"
        raise FormatError(msg)
    return ra % 360.0, dec, label


def inputs_of(lake: Lake, tile: str, product: str, objects: Sequence[ImportedObject]) -> list[dict[str, str]]:
    """Return what goes into a product of a tile: files, and what the tile had before.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile, product : str
        What is published.
    objects : sequence of ImportedObject
        Files with their sources.
    """
    live = lake.live_runs(product).get(tile)
    before = [{"uri": f"{product}/{tile}", "run": live}] if live else []
    return [*({"uri": one.file.path.name, "sha256": one.file.sha256} for one in objects), *before]


class Outcomes:
    """How it went for each file of a tile."""

    def __init__(self, tile: str) -> None:
        self._tile = tile
        self._seen: set[tuple[int, str]] = set()
        self.told: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []

    def check(self, one: ImportedObject, what: str = "") -> None:
        """Refuse a second file of a source.

        Raises
        ------
        InvalidInputError
            When there was one.
        """
        if (one.source_id, what) in self._seen:
            msg = f"{one.file.path}: another file is of source {one.source_id}, too"
            raise InvalidInputError(msg)
        self._seen.add((one.source_id, what))

    def add(self, one: ImportedObject, fault: SkymereError | None, message: str = "") -> None:
        """Take down how it went.

        Parameters
        ----------
        one : ImportedObject
            The file with its source.
        fault : SkymereError or None
            What is wrong with it.
        message : str
            What was done.
        """
        status = "ok" if fault is None else "failed"
        text = message if fault is None else f"{fault}"
        self.told.append(one.file.told(self._tile, status, text))
        kind = "" if fault is None else type(fault).__name__
        names = {row["item"] for row in self.items}
        path = one.file.path
        # Files of several folders may have one name.
        item = short_name(path.name if short_name(path.name) not in names else str(path))
        self.items.append(item_row(item, status, text, error=kind))


def publish_objects(
    lake: Lake,
    tile: str,
    product: str,
    objects: Sequence[ImportedObject],
    outcomes: Outcomes,
    writer: MapWriter | SpectrumWriter | StackWriter,
) -> None:
    """Publish what a writer has as a product of a tile.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile, product : str
        What is published.
    objects : sequence of ImportedObject
        Files with their sources.
    outcomes : Outcomes
        How it went for each.
    writer : MapWriter, SpectrumWriter or StackWriter
        All rows of the tile.
    """
    inputs = inputs_of(lake, tile, product, objects)
    with lake.run(stage=STAGE, tile=tile, product=product, inputs=inputs, params={}) as run:
        if not run.already:
            writer.publish(run, items=items_frame(outcomes.items))
