"""All that a lake knows of one source."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import NotFoundError, SkymereError
from skymere.viewer.web.answers import plain
from skymere.viewer.web.reading import LakeReader
from skymere.viewer.web.source_plots import plots_of_redshift, plots_of_spectra, sed_plot
from skymere.viewer.web.stamps import Stamp, Stamps

__all__ = ["SourcePage"]

_LEAST_PIX, _MOST_PIX = 48, 256
_SLIT_PLANES = ("sci", "background", "profile", "wht")
# Tables whose rows are shown as pictures or words of their own.
_NOT_MEASURED = ("note", "beam_action", "run_item", "cutout", "pz", "pixel_table")
_MOST_MEASURED = 60
_MOST_BEAMS = 24
# Tables that say where a source is, the best first.
_HOMES = ("source", "slit_spectrum", "slitlet", "beam")


class SourcePage:
    """The pages of single sources.

    Parameters
    ----------
    reader : LakeReader
        The lake.
    stamps : Stamps
        Its small pictures.
    """

    def __init__(self, reader: LakeReader, stamps: Stamps) -> None:
        self._reader = reader
        self._stamps = stamps

    def facts(self, source_id: int) -> dict[str, Any]:
        """Return everything about a source but where it comes from.

        Parameters
        ----------
        source_id : int
            The source.

        Returns
        -------
        dict
            ``source``: its row; ``pictures``: groups of small pictures; ``plots``; ``measurements``: rows of all tables
            with value, error, unit and meaning; ``notes``, ``beam_actions``; ``problems``: what could not be read, for
            a broken product is no reason to show nothing.

        Raises
        ------
        NotFoundError
            When no table has it.
        """
        row = self._row(source_id)
        problems: list[str] = []
        pictures = []
        for title, stamps in self._groups(source_id, row):
            try:
                shown = list(stamps)
            except SkymereError as error:
                problems.append(f"{title}: {error}")
            else:
                if shown:
                    pictures.append({"title": title, "stamps": shown})
        plots: list[dict[str, Any]] = []
        for make in (sed_plot, plots_of_spectra, plots_of_redshift):
            try:
                made = make(self._reader, source_id)
            except SkymereError as error:
                problems.append(str(error))
            else:
                plots += made if isinstance(made, list) else [made] if made else []
        return {
            "source": plain({**row, "source_id": str(source_id)}),
            "pictures": pictures,
            "plots": plots,
            "measurements": list(self._measurements(source_id)),
            "notes": self._decided("note", source_id),
            "beam_actions": self._decided("beam_action", source_id),
            "problems": problems,
        }

    def provenance(self, source_id: int) -> dict[str, Any]:
        """Return the tree of runs and files below a source as lines, and the exposures that saw its place.

        Raises
        ------
        NotFoundError
            When it is not in ``source``.
        """
        tree = self._reader.lake.provenance("source", source_id)
        runs = [
            {
                "uri": node.uri,
                "run": node.run,
                "stage": node.stage,
                "code": node.code_version,
                "finished": node.finished,
                "sha256": node.sha256,
                "arrays": node.arrays,
            }
            for node in tree.walk()
        ]
        told: dict[str, Any] = plain(
            {"runs": runs, "covering": tree.covering, "exposures": tree.exposures, "text": str(tree)}
        )
        return told

    def _row(self, source_id: int) -> dict[str, Any]:
        others = (name for name in self._reader.lake.names() if name not in _HOMES)
        for product in (*_HOMES, *others):
            rows = self._rows(product, source_id)
            if rows.height:
                found = rows.row(0, named=True)
                return {name: found.get(name) for name in ("ra", "dec", "tile", "label")} | {"table": product}
        msg = f"source_id: no table of the lake has {source_id}"
        raise NotFoundError(msg)

    def _rows(self, product: str, source_id: int) -> pl.DataFrame:
        if not self._reader.runs(product):
            return pl.DataFrame()
        table = self._reader.lake.table(product)
        if "source_id" not in table.collect_schema():
            return pl.DataFrame()
        return table.filter(pl.col("source_id") == source_id).collect()

    def _groups(self, source_id: int, row: dict[str, Any]) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
        yield "Cutouts", self._cutouts(source_id)
        yield "Profile", self._profile(source_id)
        yield "Forced photometry", self._forced(source_id, row)
        for beam in self._beam_rows(source_id).iter_rows(named=True):
            title = f"Beam {beam['grating']} {beam['exposure_id']}, order {beam['order']}, PA {beam['pa']:.1f}"
            yield title, self._beam(beam)
        yield "Emission-line maps", self._line_maps(source_id)
        for spectrum in self._placed("slit_spectrum", source_id, "spectrum_row").iter_rows(named=True):
            yield f"Slit {spectrum['grating']} {spectrum['group_id']}", self._slit(spectrum)
        yield "Slitlets, one exposure each", self._slitlets(source_id)

    def _cutouts(self, source_id: int) -> Iterator[dict[str, Any]]:
        for row in self._rows("cutout", source_id).iter_rows(named=True):
            arrays = self._reader.group("cutout", row["tile"], row["run_id"])
            group = f"px{row['size_class']}" if row["size_class"] else "large"
            place = {"product": "cutout", "tile": row["tile"], "run": row["run_id"], "row": row["cutout_row"]}
            bands = sorted({path.split("/")[1] for path in arrays if path.startswith(group) and path.endswith("/sci")})
            for band in bands:
                for plane in ("sci", "wht"):
                    if f"{group}/{band}/{plane}" in arrays:
                        title = band if plane == "sci" else f"{band} weight"
                        yield self._stamps.described(Stamp(**place, paths=(f"{group}/{band}/{plane}",)), title)
            if f"{group}/seg" in arrays:
                yield self._stamps.described(Stamp(**place, paths=(f"{group}/seg",)), "segments")

    def _profile(self, source_id: int) -> Iterator[dict[str, Any]]:
        best = self._rows("profile", source_id)
        for fit in (
            best.filter(pl.col("is_best"), pl.col("x").is_not_null()).iter_rows(named=True) if best.height else ()
        ):
            arrays = self._reader.group("profile", fit["tile"], fit["run_id"])
            mosaic_run = self._reader.runs("mosaic").get(fit["tile"], "")
            if f"{fit['band']}/model" not in arrays:
                continue
            window = self._window(source_id, float(fit["x"]), float(fit["y"]))
            place = {"tile": fit["tile"], "window": window}
            residual = Stamp(product="profile", run=fit["run_id"], paths=(f"{fit['band']}/residual",), **place)
            image = Stamp(product="mosaic", run=mosaic_run, paths=(f"{fit['band']}/sci",), **place)
            scaling = self._stamps.scaling(image) if mosaic_run else self._stamps.scaling(residual)
            if mosaic_run:
                yield self._stamps.described(image, fit["band"], like=scaling)
            model = Stamp(product="profile", run=fit["run_id"], paths=(f"{fit['band']}/model",), **place)
            yield self._stamps.described(model, f"{fit['band']} models", like=scaling)
            yield self._stamps.described(residual, f"{fit['band']} residual", like=scaling)

    def _forced(self, source_id: int, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if row["ra"] is None or row["dec"] is None or not self._reader.runs("flux"):
            return
        fluxes = self._rows("flux", source_id).filter(pl.col("status") == "ok").sort("band")
        for flux in fluxes.iter_rows(named=True):
            path = f"{flux['band']}/residual"
            arrays = self._reader.group("flux", flux["tile"], flux["run_id"])
            if path not in arrays:
                continue
            grid = arrays.grid(path)
            x, y = (float(one[0]) for one in grid.pixels(np.array([row["ra"]]), np.array([row["dec"]])))
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            side = max(16, round(self._side(source_id) * self._scale(row["tile"]) / grid.scale_arcsec))
            window = (round(y) - side // 2, round(x) - side // 2, side, side)
            yield from self._fitted(flux, path, window)

    def _fitted(self, flux: dict[str, Any], path: str, window: tuple[int, int, int, int]) -> Iterator[dict[str, Any]]:
        """Yield image, model and residual of a band; the residual alone where the lake does not hold its image."""
        tile, band = flux["tile"], flux["band"]
        residual = Stamp(product="flux", tile=tile, run=flux["run_id"], paths=(path,), window=window)
        run = self._reader.runs("mosaic").get(tile, "")
        shape = self._reader.group("flux", tile, flux["run_id"])[path].shape
        mosaic = self._reader.group("mosaic", tile, run) if run else {}
        if f"{band}/sci" not in mosaic or mosaic[f"{band}/sci"].shape != shape:
            yield self._stamps.described(residual, f"{band} residual")
            return
        image = Stamp(product="mosaic", tile=tile, run=run, paths=(f"{band}/sci",), window=window)
        scaling = self._stamps.scaling(image)
        yield self._stamps.described(image, band, like=scaling)
        model = replace(image, less=("flux", flux["run_id"], path))
        yield self._stamps.described(model, f"{band} models and background", like=scaling)
        yield self._stamps.described(residual, f"{band} residual", like=scaling)

    def _beam_rows(self, source_id: int) -> pl.DataFrame:
        rows = self._rows("beam", source_id)
        return rows.sort("grating", "pa", "exposure_id", "order").head(_MOST_BEAMS) if rows.height else rows

    def _beam(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        arrays = self._reader.group("beam", row["tile"], row["run_id"])
        place = {"product": "beam", "tile": row["tile"], "run": row["run_id"], "row": row["beam_row"]}
        place["known"] = "err" if "err" in arrays else ""
        scaling = self._stamps.scaling(Stamp(**place, paths=("sci",)))
        shown = {"observed": ("sci",), "contamination": ("contam",), "model": ("model",)}
        planes = {title: paths for title, paths in shown.items() if paths[0] in arrays}
        rest = tuple(path for path in ("sci", "contam", "model") if path in arrays)
        for title, paths in {**planes, "residual": rest}.items():
            yield self._stamps.described(Stamp(**place, paths=paths), title, like=scaling)

    def _line_maps(self, source_id: int) -> Iterator[dict[str, Any]]:
        kinds = {"direct": "direct/sci", "line": "line/sci", "seg": "seg/label"}
        for row in self._placed("line_map", source_id, "map_row").sort("kind", "name").iter_rows(named=True):
            if row["kind"] in kinds:
                place = {"product": "line_map", "tile": row["tile"], "run": row["run_id"], "row": row["map_row"]}
                yield self._stamps.described(Stamp(**place, paths=(kinds[row["kind"]],)), row["name"] or "segments")

    def _slit(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        arrays = self._reader.group("slit_spectrum", row["tile"], row["run_id"])
        place = {"product": "slit_spectrum", "tile": row["tile"], "run": row["run_id"], "row": row["spectrum_row"]}
        for plane in _SLIT_PLANES:
            if plane in arrays:
                title = {"sci": "combined", "wht": "weight"}.get(plane, plane)
                yield self._stamps.described(Stamp(**place, paths=(plane,)), title)

    def _slitlets(self, source_id: int) -> Iterator[dict[str, Any]]:
        rows = self._placed("slitlet", source_id, "slitlet_row")
        for row in rows.sort("grating", "exposure_id").head(_MOST_BEAMS).iter_rows(named=True) if rows.height else ():
            place = {"product": "slitlet", "tile": row["tile"], "run": row["run_id"], "row": row["slitlet_row"]}
            yield self._stamps.described(Stamp(**place, paths=("sci", "sky")), f"{row['exposure_id']} less sky")

    def _placed(self, product: str, source_id: int, row: str) -> pl.DataFrame:
        """Return the rows of a source that have pixels."""
        if not self._reader.runs(product):
            return self._reader.lake.table(product).head(0).collect()
        mine = pl.col("source_id") == source_id, pl.col("status") == "ok", pl.col(row).is_not_null()
        return self._reader.lake.table(product).filter(*mine).collect()

    def _side(self, source_id: int) -> int:
        """Return the side of the stamps of a source on the grid of its tile [pix]."""
        rows = self._rows("cutout", source_id)
        wanted = int(rows["wanted_pix"][0]) if rows.height else _LEAST_PIX
        return min(max(wanted, _LEAST_PIX), _MOST_PIX)

    def _window(self, source_id: int, x: float, y: float) -> tuple[int, int, int, int]:
        side = self._side(source_id)
        return round(y) - side // 2, round(x) - side // 2, side, side

    def _scale(self, tile: str) -> float:
        return float(self._reader.lake.tiles[tile].grid.scale_arcsec)

    def _measurements(self, source_id: int) -> Iterator[dict[str, Any]]:
        """Yield each number that a table has of the source, its error beside it."""
        for product in self._reader.lake.names():
            if product in _NOT_MEASURED or not self._reader.runs(product):
                continue
            dtypes = self._reader.lake.table(product).collect_schema()
            if "source_id" not in dtypes:
                continue
            schema = self._reader.lake.schema(product)
            columns = {column.name: column for column in schema.expand(schema.bands(dtypes.names()))}
            for row in self._rows(product, source_id).head(_MOST_MEASURED).iter_rows(named=True):
                key = [str(row[name]) for name in schema.primary_key if name not in ("source_id", "run_id", "tile")]
                for name, value in row.items():
                    if value is None or name in ("source_id", "_healpix_29", "wcs", "meta", "params", "direct_wcs"):
                        continue
                    if name not in columns or _is_error_of(name, row):
                        continue
                    yield {
                        "table": product,
                        "key": " ".join(key),
                        "name": name,
                        "value": plain(value),
                        "error": plain(row.get(_error_name(name))),
                        "unit": columns[name].unit or "",
                        "description": columns[name].description,
                    }

    def _decided(self, product: str, source_id: int) -> list[dict[str, Any]]:
        rows = self._rows(product, source_id)
        shown: list[dict[str, Any]] = plain(rows.to_dicts())
        return shown


def _error_name(name: str) -> str:
    """Return the column with the error of another: ``flux_err``, and ``flux_auto_err_f160w`` for a band."""
    stem, _, band = name.rpartition("_")
    return f"{name}_err" if not (stem and (stem.startswith(("flux_", "mag_")))) else f"{stem}_err_{band}"


def _is_error_of(name: str, row: dict[str, Any]) -> bool:
    return any(_error_name(other) == name for other in row if other != name)
