"""``full.fits`` of grizli as rows of ``redshift``, ``pz``, ``line`` and ``line_map``."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError, SkymereError
from skymere.grism import redshift_cdf
from skymere.io import FullFile, open_fits, read_full_file
from skymere.lake import Lake, RaggedSpill, Run
from skymere.lake.ragged import read_ragged
from skymere.pipeline.grism_fit_rows import METHOD
from skymere.pipeline.grizli_names import EXPOSURE_COLUMNS, REDSHIFT_COLUMNS
from skymere.pipeline.importing.objects import STAGE, ImportedObject, Outcomes, inputs_of, publish_objects
from skymere.pipeline.items import items_frame
from skymere.pipeline.map_rows import MapWriter, bare_row
from skymere.pipeline.redshift_rows import FittedRows, blank_row, finite, pz_row
from skymere.pipeline.stages.redshifts import with_bands

__all__ = ["import_full_files"]


def import_full_files(lake: Lake, tile: str, objects: Sequence[ImportedObject]) -> list[dict[str, Any]]:
    """Publish redshifts, lines and maps of files; what a tile has of other objects stays.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        The tile that owns the objects.
    objects : sequence of ImportedObject
        Files with their sources.

    Returns
    -------
    list of dict
        ``file``, ``product``, ``tile``, ``status`` and ``message`` of each file.
    """
    outcomes = Outcomes(tile)
    unit = _contam_unit(lake, tile) or _first_unit(objects)
    fits: list[tuple[ImportedObject, FittedRows]] = []
    with ExitStack() as stack:
        writer: MapWriter | None = None
        for one in objects:
            try:
                outcomes.check(one)
                full = read_full_file(one.file.path)
                unit = _agreed_unit(unit, full, one.file.path)
                if writer is None:
                    writer = stack.enter_context(MapWriter(contam_unit=unit or "electron / s", has_psf=True))
                beams_known = full.maps.beams["exptime"]
                exptime = float(beams_known.sum()) if beams_known.len() and not beams_known.has_nulls() else None
                labels = {one.label: one.source_id}
                writer.add(one.source, full.maps, full.thumbnail, labels=labels, exptime=exptime)
                fits.append((one, _fitted(one, full)))
            except SkymereError as error:
                outcomes.add(one, error)
            else:
                z = "no redshift" if not math.isfinite(full.maps.z) else f"z = {full.maps.z:.4f}"
                outcomes.add(
                    one, None, f"source {one.source_id}: {z}, maps of {' '.join(full.maps.names) or 'no line'}"
                )
        if writer is None:
            return outcomes.told
        done = {one.source_id for one, _ in fits}
        writer.keep(lake, tile, done)
        publish_objects(lake, tile, "line_map", objects, outcomes, writer)
    _publish_fits(lake, tile, fits, outcomes)
    return outcomes.told


def _contam_unit(lake: Lake, tile: str) -> str | None:
    """Return the unit of the light of other sources in the maps of a tile; None when it has none."""
    if tile not in lake.live_runs("line_map"):
        return None
    arrays = lake.arrays("line_map", tile)
    return arrays["line/contam"].unit if "line/contam" in arrays else None


def _first_unit(objects: Sequence[ImportedObject]) -> str | None:
    """Return the unit in the first file that has it."""
    for one in objects:
        with suppress(SkymereError), open_fits(one.file.path) as hdus:
            for hdu in hdus:
                if hdu.name == "CONTAM":
                    return _unit_of("erg" in str(hdu.header.get("BUNIT", "")))
    return None


def _unit_of(is_flux: bool) -> str:  # noqa: FBT001
    return "10**-17 erg s-1 cm-2" if is_flux else "electron / s"


def _agreed_unit(before: str | None, full: FullFile, path: Path) -> str | None:
    """Return the unit of all maps of a tile.

    Raises
    ------
    InvalidInputError
        When maps of a file have another one than those before.
    """
    for one in full.maps.lines:
        its = _unit_of("erg" in one.contam_unit)
        if before is not None and its != before:
            msg = (
                f"{path}: its light of other sources is in {its}, that of the tile's other maps in {before}; "
                "files of both kinds go into lakes of their own"
            )
            raise InvalidInputError(msg)
        before = its
    return before


def _fitted(one: ImportedObject, full: FullFile) -> FittedRows:
    """Return what the lake gets of the fit in a file."""
    columns, maps = full.columns, full.maps
    row = blank_row(one.source, METHOD, digest=one.file.sha256, n_beams=maps.beams.height)
    row |= {name: finite(columns.get(key)) for name, key in REDSHIFT_COLUMNS.items()}
    dof, low, high = row["dof"], row["z16"], row["z84"]
    low2, high2 = row["z02"], row["z97"]
    width = None if low is None or high is None else (high - low) / 2
    z = finite(maps.z) if math.isfinite(maps.z) else row["z_map"]
    lines = full.lines["line"].to_list() if full.lines.height else []
    row |= {
        "status": "rejected" if z is None else "ok",
        "message": "the file says no redshift" if z is None else "",
        "dof": None if dof is None else int(dof),
        "redshift": z,
        "redshift_err": width,
        "z_width1": width,
        "z_width2": None if low2 is None or high2 is None else (high2 - low2) / 4,
        "deviant_line": str(columns.get("dlineid") or "")[:16],
        "deviant_snr": finite(columns.get("dlinesn")),
        "n_lines": len(lines),
        "lines": json.dumps(lines),
        "coefficients": json.dumps(full.coefficients["name"].to_list() if full.coefficients.height else []),
        "line_width_reason": "not fitted",
    }
    for start, key in EXPOSURE_COLUMNS.items():
        for name, value in columns.items():
            if name.startswith(key) and value is not None:
                row[start + name.removeprefix(key)] = value if start == "exptime_" else int(value)
    z_grid, chi2, pdf = (
        full.redshifts[name].to_numpy() if full.redshifts.height else np.zeros(0) for name in ("z", "chi2", "pdf")
    )
    coefficients = full.coefficients
    template = {
        f"template_{name}": full.template[key].to_numpy().astype(np.float64) if full.template.height else np.zeros(0)
        for name, key in (("wavelength", "wave"), ("continuum", "continuum"), ("full", "full"))
    }
    numbers = {
        "coefficient": _numbers(coefficients, "value"),
        "coefficient_err": _numbers(coefficients, "error"),
        "covariance": np.zeros((0, 0)) if full.covariance is None else np.ascontiguousarray(full.covariance),
        **template,
    }
    has_curve = z_grid.size > 1
    return FittedRows(
        redshift=row,
        numbers=numbers,
        pz=pz_row(one.source, METHOD, z_grid, pdf, n_coefficients=coefficients.height) if has_curve else {},
        density={"z": z_grid, "chi2": chi2, "pdf": pdf, "risk": np.full(z_grid.shape, np.nan)} if has_curve else {},
        lines=_line_rows(one, full, z, template),
    )


def _numbers(coefficients: pl.DataFrame, name: str) -> Any:
    if not coefficients.height:
        return np.zeros(0)
    return coefficients[name].fill_null(float("nan")).to_numpy().astype(np.float64)


def _line_rows(
    one: ImportedObject, full: FullFile, z: float | None, template: Mapping[str, Any]
) -> list[dict[str, Any]]:
    rest = {line.line: line.wave_rest for line in full.maps.lines}
    grisms = full.maps.beams["grism"].unique().to_list()
    wave, continuum = template["template_wavelength"], template["template_continuum"]
    rows = []
    for line in full.lines.iter_rows(named=True):
        at_rest = finite(rest.get(line["line"]))
        seen = None if at_rest is None or z is None else at_rest * (1 + z)
        flux, err = finite(line["flux"]), finite(line["flux_err"])
        has_continuum = seen is not None and wave.size > 1
        rows.append(
            {
                "source_id": one.source_id,
                "line": line["line"][:16],
                "method": METHOD,
                "grating": grisms[0].lower()[:16] if len(grisms) == 1 else "",
                "redshift": z,
                "wavelength_rest": at_rest,
                "wavelength": seen,
                "flux": flux,
                "flux_err": err,
                "snr": flux / err if flux is not None and err else None,
                **{name: finite(line.get(name)) for name in ("ew16", "ew50", "ew84", "ewhw")},
                "continuum": float(np.interp(seen, wave, continuum)) if has_continuum and seen is not None else None,
                "width_reason": "not fitted",
                "is_complex": False,
                "flags": 0,
            }
        )
    return rows


_REDSHIFT_PLANES = (
    "coefficient",
    "coefficient_err",
    "covariance",
    "template_wavelength",
    "template_continuum",
    "template_full",
)
_PZ_PLANES = ("z", "chi2", "pdf", "risk")


def _publish_fits(lake: Lake, tile: str, fits: Sequence[tuple[ImportedObject, FittedRows]], outcomes: Outcomes) -> None:
    """Publish redshifts, their densities and lines, with those that the tile has of other sources and methods."""
    new = {one.source_id for one, _ in fits}
    with (
        _Rows(lake, tile, "redshift", _REDSHIFT_PLANES, new) as redshifts,
        _Rows(lake, tile, "pz", _PZ_PLANES, new) as densities,
    ):
        for _, fit in fits:
            redshifts.add(fit.redshift, fit.numbers)
            if fit.pz:
                densities.add(fit.pz, fit.density)
        mine = pl.col("source_id").is_in(sorted(new)) & (pl.col("method") == METHOD)
        before = lake.table("line").filter(pl.col("tile") == tile, ~mine).collect()
        lines = [bare_row(row) for row in before.iter_rows(named=True)] + [row for _, fit in fits for row in fit.lines]
        inputs = inputs_of(lake, tile, "redshift", [one for one, _ in fits])
        with lake.run(stage=STAGE, tile=tile, product="redshift", inputs=inputs, params={}) as run:
            if run.already:
                return
            with run.beside("pz") as its:
                if not its.already:
                    densities.write(its)
                    its.publish(its.frame(densities.rows))
            with run.beside("line") as its:
                if not its.already:
                    its.publish(its.frame(lines))
            redshifts.write(run)
            run.publish(with_bands(run, redshifts.rows), items=items_frame(outcomes.items))


class _Rows:
    """Rows of a tile with their arrays: those that it has, and new ones."""

    def __init__(self, lake: Lake, tile: str, product: str, planes: Sequence[str], new: set[int]) -> None:
        self.product, self._planes, self._column = product, planes, f"{product}_row"
        self._spill = RaggedSpill(product)
        self.rows: list[dict[str, Any]] = []
        self._levels: list[Any] = []
        mine = pl.col("source_id").is_in(sorted(new)) & (pl.col("method") == METHOD)
        self._lake, self._before = lake, lake.table(product).filter(pl.col("tile") == tile, ~mine).collect()

    def __enter__(self) -> Self:
        self._spill.__enter__()
        has_arrays = self._before.filter(pl.col(self._column).is_not_null())
        kept = read_ragged(self._lake, self.product, has_arrays, row=self._column) if has_arrays.height else ()
        for row, arrays in zip(has_arrays.iter_rows(named=True), kept, strict=True):
            self.add(bare_row(row), arrays)
        without = self._before.filter(pl.col(self._column).is_null())
        self.rows += [bare_row(row) for row in without.iter_rows(named=True)]
        return self

    def __exit__(self, *error: object) -> None:
        self._spill.__exit__(None, None, None)

    def add(self, row: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Add a row with its arrays; those that older ones lack are empty or unknown."""
        unknown = {
            "covariance": np.zeros((0, 0)),
            "risk": np.full(np.shape(arrays.get("z", ())), np.nan),
        }
        self.rows.append({**row, self._column: len(self._spill)})
        if self.product == "pz":
            self._levels.append(redshift_cdf(arrays["z"], arrays["pdf"]))
        self._spill.add({name: arrays[name] if name in arrays else unknown[name] for name in self._planes})

    def write(self, run: Run) -> None:
        """Write the arrays into a run."""
        there = [row for row in self.rows if row[self._column] is not None]
        run.write("source_id", np.array([row["source_id"] for row in there], np.int64))
        self._spill.write(run)
        if self._levels:
            run.write("cdf_z", np.stack(self._levels))
