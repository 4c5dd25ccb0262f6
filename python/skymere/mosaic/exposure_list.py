"""Lists of exposures: what is known of each without its pixels, and which of them look at a place."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Exposure
from skymere.errors import FormatError, InvalidInputError, NotFoundError, SkymereError
from skymere.io import ReadParams, chips_of, exposure_id, file_digest, read_exposure, read_table
from skymere.mosaic.footprints import footprint_area, outlines_overlap, separation_deg, shared_area
from skymere.wcs import Grid, mean_rotation, pixel_transform, pixels_to_sky, wcs_cards, wcs_from_cards

__all__ = ["ExposureList"]

_SCHEMA: dict[str, Any] = {
    "exposure_id": pl.String,
    "status": pl.String,
    "message": pl.String,
    "band": pl.String,
    "instrument": pl.String,
    "detector": pl.String,
    "group": pl.String,
    "ra": pl.Float64,
    "dec": pl.Float64,
    "pa": pl.Float64,
    "exptime": pl.Float64,
    "zero_point_ab": pl.Float64,
    "photplam": pl.Float64,
    "ny": pl.Int64,
    "nx": pl.Int64,
    "area_arcmin2": pl.Float64,
    "path": pl.String,
    "chip": pl.Int64,
    "sha256": pl.String,
    "wcs": pl.String,
    "wcs_sha256": pl.String,
    "footprint": pl.String,
}
_TEXTS = tuple(name for name, kind in _SCHEMA.items() if kind == pl.String)


class ExposureList(Sequence[Exposure]):
    """Exposures whose coordinates are known and whose pixels are read whenever they are asked for.

    Parameters
    ----------
    table : polars.DataFrame
        A row for each exposure, with the columns that the table ``exposure`` of a lake has; ``exposure_id``, ``band``,
        ``ny``, ``nx`` and ``wcs`` are needed.
    load : callable
        Takes a row as a mapping and returns its `Exposure`.

    Attributes
    ----------
    table : polars.DataFrame
        As it was given, bands in lower case; this is what Parquet files of lists hold.

    Raises
    ------
    InvalidInputError
        When a column is missing or a name is there twice.
    """

    def __init__(self, table: pl.DataFrame, load: Callable[[dict[str, Any]], Exposure]) -> None:
        missing = [name for name in ("exposure_id", "band", "ny", "nx", "wcs") if name not in table.columns]
        if missing:
            msg = f"table: columns {missing} are missing from {table.columns}"
            raise InvalidInputError(msg)
        twice = table.filter(pl.col("exposure_id").is_duplicated())["exposure_id"]
        if twice.len():
            msg = f"table: {twice[0]!r} is not allowed twice, names of exposures must differ"
            raise InvalidInputError(msg)
        lower = pl.col("band").str.to_lowercase()
        extra = [] if "status" in table.columns else [pl.lit("ok").alias("status")]
        self.table = table.with_columns(lower, *extra)
        self._load = load
        self._wcs: dict[int, Any] = {}

    @classmethod
    def of(cls, exposures: Iterable[Exposure]) -> Self:
        """Return the list of exposures that are in memory, or are read one at a time to look at their coordinates.

        Parameters
        ----------
        exposures : iterable of Exposure
            A sequence is asked again for each whose pixels are needed.
        """
        if isinstance(exposures, cls):
            return exposures
        held = exposures if isinstance(exposures, Sequence) else list(exposures)
        table = pl.DataFrame([_described(held[i]) for i in range(len(held))], schema=_SCHEMA)
        at = {name: i for i, name in enumerate(table["exposure_id"])}
        made = cls(table, _Held(held, at))
        if not isinstance(held, list | tuple):
            return made
        made._wcs = {i: one.wcs for i, one in enumerate(held)}
        return made

    @classmethod
    def from_files(
        cls,
        paths: Iterable[str | Path] | str | Path,
        *,
        known: "ExposureList | None" = None,
        params: ReadParams | None = None,
        prepare: Callable[[Exposure], Exposure] | None = None,
    ) -> Self:
        """Return the list of the exposures in files; every chip is one.

        Parameters
        ----------
        paths : path-like, or iterable of path-like
            Files, or folders of which every ``*_flt.fits, *_flc.fits, *_cal.fits, *_rate.fits`` counts.
        known : ExposureList, optional
            An older list; files whose content is the same are not read again.
        params : ReadParams, optional
            What the files do not say.
        prepare : callable, optional
            What is done to an exposure after it was read.

        Raises
        ------
        NotFoundError
            When there is no such file or folder, or no file in a folder.

        Notes
        -----
        A file that cannot be used is a row of the status ``failed`` with its message.
        """
        seen = {} if known is None else _by_file(known.table)
        rows: list[dict[str, Any]] = []
        for path in _files([paths] if isinstance(paths, str | Path) else paths):
            digest = file_digest(path)
            rows += seen.get((str(path), digest)) or _rows_of(path, digest, params or ReadParams())
        table = pl.DataFrame(rows, schema=_SCHEMA)
        return cls(table, _Reader(params or ReadParams(), prepare))

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        *,
        params: ReadParams | None = None,
        prepare: Callable[[Exposure], Exposure] | None = None,
    ) -> Self:
        """Return the list that `write` wrote.

        Parameters
        ----------
        path : path-like
            Parquet file.
        params, prepare
            As in `from_files`.

        Raises
        ------
        NotFoundError, FormatError
            When there is no such file, or it is no list.
        """
        table = read_table(path)
        missing = [name for name in ("path", "chip") if name not in table.columns]
        if missing:
            msg = f"{path}: columns {missing} are missing from {table.columns}, it is no list of exposures"
            raise FormatError(msg)
        return cls(table, _Reader(params or ReadParams(), prepare))

    def __len__(self) -> int:
        return self.table.height

    @overload
    def __getitem__(self, i: int) -> Exposure: ...
    @overload
    def __getitem__(self, i: slice) -> list[Exposure]: ...
    def __getitem__(self, i: int | slice) -> Exposure | list[Exposure]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return self._load(self.table.row(i, named=True))

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the exposures that can be used, sorted."""
        return tuple(self.table.filter(pl.col("status") == "ok")["band"].unique().sort().to_list())

    def wcs(self, i: int) -> Any:
        """Return the coordinates of an exposure without its pixels."""
        if i not in self._wcs:
            self._wcs[i] = wcs_from_cards(json.loads(self.table["wcs"][i]))
        return self._wcs[i]

    def areas(self) -> pl.DataFrame:
        """Return ``band, n_files, n_exposures, area_arcmin2``: what the files of each band cover, file by file.

        Notes
        -----
        The area of a file with two chips is the sum of theirs less what they share. Files of one band may share sky.
        """
        rows = []
        usable = self.table.filter(pl.col("status") == "ok")
        for (band,), part in sorted(usable.group_by("band")):
            groups = part.with_columns(pl.when(pl.col("group") == "").then("exposure_id").otherwise("group").alias("g"))
            area = sum(_area_of_file(one) for _, one in groups.group_by("g", maintain_order=True))
            n_files = groups["g"].n_unique()
            rows.append({"band": band, "n_files": n_files, "n_exposures": part.height, "area_arcmin2": area})
        return pl.DataFrame(
            rows, schema={"band": pl.String, "n_files": pl.Int64, "n_exposures": pl.Int64, "area_arcmin2": pl.Float64}
        )

    def write(self, path: str | Path) -> None:
        """Write the list as a Parquet file.

        Parameters
        ----------
        path : path-like
            The file.
        """
        self.table.write_parquet(path)

    def quads(self, i: int, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return outlines on the sky as pixels of an exposure.

        Parameters
        ----------
        i : int
            Which exposure.
        ra, dec : ndarray, float64, shape (n, 4) [deg]
            Corners of quadrangles no larger than a few arcmin.

        Returns
        -------
        ndarray, float64, shape (n, 4, 2) [pix]
            0-based ``x, y``; NaN where a corner is far from the exposure.
        """
        wcs = self.wcs(i)
        ny, nx = (int(self.table[name][i]) for name in ("ny", "nx"))
        middle = pixels_to_sky(wcs, np.array([(nx - 1) / 2.0]), np.array([(ny - 1) / 2.0]))
        ra0, dec0 = (float(v[0]) for v in middle)
        corner = pixels_to_sky(wcs, np.array([-0.5, nx - 0.5]), np.array([-0.5, ny - 0.5]))
        radius = float(separation_deg(ra0, dec0, *corner).max())
        out = np.full((*ra.shape, 2), np.nan)
        # Twice the half diagonal, and two arcmin for the outlines themselves.
        near = (separation_deg(ra0, dec0, ra, dec) < 2.0 * radius + 2.0 / 60.0).all(axis=1)
        if near.any():
            plane = Grid.tangent(ra0, dec0, shape=(1, 1), scale_arcsec=1.0)
            on_plane = plane.pixels(ra[near].ravel(), dec[near].ravel())
            x, y = pixel_transform(plane.wcs, wcs)(*on_plane)
            places = np.stack([x, y], axis=-1)
            # A gwcs knows nothing outside of its bounds.
            beyond = ~np.isfinite(places).all(axis=1)
            if beyond.any():
                places[beyond] = _continued(wcs, plane, (ny, nx), np.column_stack(on_plane)[beyond])
            out[near] = places.reshape(-1, 4, 2)
        return out

    def overlapping(self, i: int, quads: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which quadrangles share pixels with an exposure.

        Parameters
        ----------
        i : int
            Which exposure.
        quads : ndarray, float64, shape (n, 4, 2) [pix]
            From `quads`.
        """
        found = np.asarray(np.isfinite(quads).all(axis=(1, 2)))
        ny, nx = (int(self.table[name][i]) for name in ("ny", "nx"))
        found[found] = outlines_overlap(quads[found], (ny, nx))
        return found


class _Held:
    """Takes the exposure of a row from a sequence."""

    def __init__(self, exposures: Sequence[Exposure], at: Mapping[str, int]) -> None:
        self.exposures, self.at = exposures, dict(at)

    def __call__(self, row: dict[str, Any]) -> Exposure:
        return self.exposures[self.at[row["exposure_id"]]]


class _Reader:
    """Reads the exposure of a row from its file."""

    def __init__(self, params: ReadParams, prepare: Callable[[Exposure], Exposure] | None) -> None:
        self.params, self.prepare = params, prepare

    def __call__(self, row: dict[str, Any]) -> Exposure:
        chip = row["chip"]
        exposure = read_exposure(row["path"], chip=None if chip is None or chip < 0 else int(chip), params=self.params)
        return exposure if self.prepare is None else self.prepare(exposure)


def _files(paths: Iterable[str | Path]) -> list[Path]:
    found: list[Path] = []
    for one in paths:
        path = Path(one)
        if path.is_dir():
            kinds = ("flt", "flc", "cal", "rate")
            inside = sorted(file for kind in kinds for file in path.glob(f"*_{kind}.fits*"))
            if not inside:
                msg = f"{path}: has no file *_flt.fits, *_flc.fits, *_cal.fits or *_rate.fits"
                raise NotFoundError(msg)
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            msg = f"{path}: no such file or folder"
            raise NotFoundError(msg)
    return list(dict.fromkeys(found))


def _by_file(table: pl.DataFrame) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        found.setdefault((row["path"], row["sha256"]), []).append(row)
    return found


def _rows_of(path: Path, digest: str, params: ReadParams) -> list[dict[str, Any]]:
    try:
        rows = []
        for chip in chips_of(path, params=params):
            row = _described(read_exposure(path, chip=chip, params=params))
            rows.append(row | {"path": str(path), "chip": chip, "sha256": digest})
    except SkymereError as error:
        blank: dict[str, Any] = dict.fromkeys(_SCHEMA) | dict.fromkeys(_TEXTS, "")
        name = exposure_id(path)
        return [
            blank
            | {"exposure_id": name, "status": "failed", "message": str(error), "path": str(path), "sha256": digest}
        ]
    return rows


def _described(exposure: Exposure) -> dict[str, Any]:
    ny, nx = exposure.shape
    x, y = np.array([0.0, 1.0, 1.0, 0.0, 0.5]) * nx - 0.5, np.array([0.0, 0.0, 1.0, 1.0, 0.5]) * ny - 0.5
    ra, dec = pixels_to_sky(exposure.wcs, x, y)
    outline = " ".join(f"{value:.8f}" for value in np.column_stack([ra, dec])[:4].ravel())
    cards = json.dumps(wcs_cards(exposure.wcs), sort_keys=True)
    names = ("exposure_id", "band", "instrument", "detector", "group", "exptime", "path", "sha256")
    numbers = {name: getattr(exposure, name) for name in ("zero_point_ab", "photplam")}
    return {name: getattr(exposure, name) for name in names} | {
        "status": "rejected" if exposure.mask().all() else "ok",
        "message": "all pixels are bad" if exposure.mask().all() else "",
        "ra": float(ra[4]),
        "dec": float(dec[4]),
        "pa": mean_rotation([(exposure.wcs, exposure.shape)]),
        "ny": ny,
        "nx": nx,
        "area_arcmin2": footprint_area(exposure.wcs, exposure.shape),
        "chip": None,
        "wcs": cards,
        "wcs_sha256": hashlib.sha256(cards.encode()).hexdigest(),
        "footprint": f"POLYGON ICRS {outline}",
        **{name: float(value) if np.isfinite(value) else None for name, value in numbers.items()},
    }


def _continued(wcs: Any, plane: Grid, shape: tuple[int, int], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return pixels of points around an image, by a polynomial of third order through places in it."""
    ny, nx = shape
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, nx - 1, 9), np.linspace(0, ny - 1, 9)))
    inside = np.column_stack(plane.pixels(*pixels_to_sky(wcs, x, y)))
    scale = np.abs(inside).max()

    def powers(at: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = at.T / scale
        return np.stack([u**i * v**j for i in range(4) for j in range(4 - i)], axis=-1)

    terms, *_ = np.linalg.lstsq(powers(inside), np.column_stack([x, y]), rcond=None)
    return np.asarray(powers(points) @ terms)


def _area_of_file(chips: pl.DataFrame) -> float:
    total = float(chips["area_arcmin2"].sum())
    corners = [np.array(text.split()[2:], np.float64).reshape(-1, 2) for text in chips["footprint"]]
    for i, one in enumerate(corners):
        for other in corners[:i]:
            total -= shared_area(one, other)
    return total
