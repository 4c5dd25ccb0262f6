"""A lake beside the lake: the same tables, files that share their bytes, and mosaics of its own."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, StorageError
from skymere.lake import ArrayGroup, Lake
from skymere.pipeline.products import mosaic_rows

__all__ = ["copy_lake", "publish_mosaics"]

# What no stage after the mosaics reads; it is most of a lake.
_LEFT_OUT = ("exposure", "mask", "cutout", "slitlet", "pixel_table", "grism_frame", "beam", "line_map")
Change = Callable[[str, dict[str, NDArray[Any]]], None]


def copy_lake(lake: Lake, folder: Path, *, left_out: tuple[str, ...] = _LEFT_OUT) -> Lake:
    """Return a copy of a lake in a new folder; what is published there does not touch the first one.

    Parameters
    ----------
    lake : Lake
        The lake, in a folder.
    folder : Path
        New folder.
    left_out : tuple of str, optional
        Products whose arrays the copy need not have.

    Raises
    ------
    InvalidInputError
        When the lake is in an object store.
    StorageError
        When the copy cannot be written.

    Notes
    -----
    Rows and arrays of a lake are files that are never changed once they are written, so that the copy takes links to
    them; only what a lake writes anew (the manifests, whose age counts, and logs) is copied.
    """
    if not isinstance(lake.path, Path):
        msg = f"lake: {lake.path} is not a folder; fake sources are put into copies of lakes in folders"
        raise InvalidInputError(msg)
    root = lake.path
    try:
        for place, folders, files in os.walk(root):
            here = Path(place).relative_to(root)
            if here == Path("arrays"):
                folders[:] = [name for name in folders if name not in left_out]
            (folder / here).mkdir(parents=True, exist_ok=True)
            for name in files:
                _take(Path(place) / name, folder / here / name)
    except OSError as error:
        msg = f"{folder}: the lake cannot be copied there: {error.strerror}"
        raise StorageError(msg) from error
    return Lake.open(folder)


def _take(old: Path, new: Path) -> None:
    if old.suffix != ".json":
        try:
            os.link(old, new)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        else:
            return
    shutil.copyfile(old, new)


def publish_mosaics(lake: Lake, scratch: Lake, tile: str, change: Change, *, params: Mapping[str, Any]) -> None:
    """Publish the mosaics of a tile of a lake, changed, in a copy of it.

    Parameters
    ----------
    lake, scratch : Lake
        The lake, and its copy.
    tile : str
        The tile.
    change : callable
        Changes the planes (``sci``, ``wht``, ``var``) of a band, in place; gets the band and them.
    params : mapping
        What makes these mosaics different, JSON.
    """
    arrays = lake.arrays("mosaic", tile)
    reference = lake.reference("mosaic", tile)
    with scratch.run(stage="inject", tile=tile, product="mosaic", inputs=[reference], params=params) as run:
        for group in ("", *sorted({path.rpartition("/")[0] for path in arrays})):
            run.annotate(group, _own_attributes(arrays, group))
        for band in mosaic_rows(lake, tile)["band"].to_list():
            planes = {name: np.array(arrays[f"{band}/{name}"][...]) for name in ("sci", "wht", "var")}
            change(band, planes)
            for name, values in planes.items():
                run.write(f"{band}/{name}", values, unit=arrays[f"{band}/{name}"].unit)
            for path in arrays:
                where, _, name = path.rpartition("/")
                if where == band and name not in planes and not name.startswith("level"):
                    kept = {k: v for k, v in arrays[path].attributes.items() if k in ("classes", "params")}
                    run.write(path, arrays[path][...], unit=arrays[path].unit or None, attributes=kept)
        rows = lake.table("mosaic").collect()
        rows = rows.filter(rows["tile"] == tile).drop("run_id", "_healpix_29", strict=False)
        run.publish(run.fit(rows))


def _own_attributes(arrays: ArrayGroup, group: str) -> dict[str, Any]:
    return {key: value for key, value in arrays.attributes(group).items() if key in ("wcs", "quality", "dq_bits")}
