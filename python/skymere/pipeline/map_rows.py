"""Rows and arrays of the products ``line_map``, ``spectrum`` and ``stack``."""

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import GrismSpectrum, GrismStack, LineMaps, Thumbnail
from skymere.lake import Lake, RaggedSpill, Run
from skymere.lake.ragged import read_ragged
from skymere.pipeline.redshift_rows import finite
from skymere.pipeline.slit_units import stable_id
from skymere.wcs import wcs_cards

__all__ = ["MapWriter", "SpectrumWriter", "StackWriter", "bare_row"]

_MAP_UNIT = "10**-17 erg s-1 cm-2"
_LIGHT, _WEIGHT = "electron / s", "s2 / electron2"
_FLAT = "electron cm2 Angstrom / erg"
_GROUPS = ("line", "direct", "seg")


class _Writer(ABC):
    """Objects that are added one by one, on disk until they are published together."""

    product = ""

    def __init__(self, spills: Mapping[str, RaggedSpill]) -> None:
        self._spills = dict(spills)
        self._rows: list[dict[str, Any]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for spill in self._spills.values():
            self._stack.enter_context(spill)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def publish(self, run: Run, *, items: pl.DataFrame | None = None) -> None:
        """Make these the rows of a tile.

        Parameters
        ----------
        run : Run
            A run of the product.
        items : polars.DataFrame, optional
            Rows of ``run_item``.
        """
        for spill in self._spills.values():
            spill.write(run)
        for path, values in self._identifiers().items():
            run.write(path, values)
        run.publish(run.frame(self._rows).drop("_healpix_29"), items=items)

    def keep(self, lake: Lake, tile: str, without: Collection[int]) -> None:
        """Add what a tile has of other sources.

        Parameters
        ----------
        lake : Lake
            The lake.
        tile : str
            The tile.
        without : collection of int
            Sources that are left out.
        """
        its = pl.col("tile") == tile, ~pl.col("source_id").is_in(sorted(without))
        rows = lake.table(self.product).filter(*its).collect()
        column = f"{'map' if self.product == 'line_map' else self.product}_row"
        for name, part in self._by_group(rows.filter(pl.col(column).is_not_null())):
            group = f"{name}/" if name else ""
            kept = read_ragged(lake, self.product, part, row=column, group=group)
            for row, planes in zip(part.iter_rows(named=True), kept, strict=True):
                self._rows.append(bare_row(row) | {column: len(self._spills[name])})
                self._spills[name].add({group + plane: array for plane, array in planes.items()})
        self._rows += [bare_row(row) for row in rows.filter(pl.col(column).is_null()).iter_rows(named=True)]

    def _by_group(self, rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield rows by the group that their arrays are in."""
        yield "", rows

    @abstractmethod
    def _identifiers(self) -> dict[str, NDArray[np.int64]]:
        """Return the arrays that name the objects, by path."""


def bare_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without what a run fills in.

    Parameters
    ----------
    row : mapping
        A row of a table of the lake.
    """
    return {name: value for name, value in row.items() if name not in ("tile", "run_id", "_healpix_29")}


class MapWriter(_Writer):
    """Line maps, direct images and labels of sources.

    Parameters
    ----------
    contam_unit : str
        FITS unit of the light of other sources.
    has_psf : bool
        Whether direct images may have a PSF.
    """

    product = "line_map"

    def __init__(self, *, contam_unit: str = _MAP_UNIT, has_psf: bool = False) -> None:
        self._groups = (*_GROUPS, "psf") if has_psf else _GROUPS
        units = {"line/contam": contam_unit, "direct/sci": _LIGHT, "direct/wht": _WEIGHT}
        super().__init__({name: RaggedSpill("line_map", units=units) for name in self._groups})

    def add(
        self,
        source: Mapping[str, Any],
        maps: LineMaps,
        thumbnail: Thumbnail | None,
        *,
        labels: Mapping[int, int],
        exptime: float | None,
    ) -> None:
        """Add the images of a source, all on one grid.

        Parameters
        ----------
        source : mapping
            ``source_id``, ``ra`` and ``dec``.
        maps : LineMaps
            Its line maps.
        thumbnail : Thumbnail or None
            Its direct images.
        labels : mapping of int to int
            Sources of the lake by label; a label that is none of them becomes negative.
        exptime : float or None
            Of all beams [s].
        """
        ny, nx = maps.grid.shape
        common = {
            "source_id": source["source_id"],
            "ra": source["ra"],
            "dec": source["dec"],
            "status": "ok",
            "message": "",
            "redshift": finite(maps.z),
            "kernel": maps.kernel,
            "pixfrac": finite(maps.pixfrac),
            "pixel_scale_arcsec": maps.grid.scale_arcsec,
            "ny": ny,
            "nx": nx,
            "wcs": json.dumps(wcs_cards(maps.grid.wcs), sort_keys=True),
            "geometry_sha256": maps.geometry_sha256,
            "flags": 0,
        }
        for one in maps.lines:
            about = {
                "kind": "line",
                "name": one.line[:16],
                "wavelength_rest": one.wave_rest,
                "wavelength": one.wave,
                "unit": _MAP_UNIT,
                "weight_kind": one.weight_kind,
                "noise_correlation": finite(one.noise_correlation),
                "coverage": finite(one.coverage),
                "n_beams": one.n_beams,
                "exptime": exptime,
            }
            planes = {"sci": one.data, "wht": one.weight, "continuum": one.continuum, "contam": one.contam}
            self._put("line", common | about, planes)
        for band in () if thumbnail is None else thumbnail.bands:
            about = {
                "kind": "direct",
                "name": band.band[:16],
                "wavelength": finite(band.photplam * 1e-4),
                "unit": band.unit[:32],
                "photflam": finite(band.photflam),
                "weight_kind": band.weight_kind,
                "noise_correlation": finite(band.noise_correlation),
                "coverage": finite(band.coverage),
            }
            self._put("direct", common | about, {"sci": band.data, "wht": band.weight})
            if band.psf is not None and "psf" in self._groups:
                psf = {"kind": "psf", "unit": "", "weight_kind": "", "photflam": None, "noise_correlation": None}
                self._put("psf", common | about | psf, {"sci": band.psf})
        if maps.segmentation is not None:
            there = np.unique(maps.segmentation)
            known = np.array([0 if one == 0 else labels.get(int(one), -int(one)) for one in there], np.int64)
            image = known[np.searchsorted(there, maps.segmentation)]
            self._put("seg", common | {"kind": "seg", "name": "", "weight_kind": ""}, {"label": image})

    def fail(self, source: Mapping[str, Any], message: str, digest: str, pixscale: float) -> None:
        """Add a source without images.

        Parameters
        ----------
        source : mapping
            ``source_id``, ``ra`` and ``dec``.
        message : str
            Why.
        digest : str
            Of the geometry.
        pixscale : float
            Its pixel [arcsec].
        """
        self._rows.append(
            {
                "source_id": source["source_id"],
                "ra": source["ra"],
                "dec": source["dec"],
                "kind": "line",
                "name": "",
                "status": "failed",
                "message": message,
                "pixel_scale_arcsec": pixscale,
                "ny": 0,
                "nx": 0,
                "geometry_sha256": digest,
                "wcs": "{}",
                "flags": 0,
            }
        )

    def _by_group(self, rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        for group in self._groups:
            if (part := rows.filter(pl.col("kind") == group)).height:
                yield group, part

    def _put(self, group: str, row: dict[str, Any], planes: Mapping[str, NDArray[Any]]) -> None:
        self._rows.append(row | {"map_row": len(self._spills[group])})
        self._spills[group].add({f"{group}/{name}": plane for name, plane in planes.items()})

    def _identifiers(self) -> dict[str, NDArray[np.int64]]:
        drawn = [(row["kind"], row["source_id"]) for row in self._rows if row.get("map_row") is not None]
        return {
            f"{group}/source_id": np.array([one for kind, one in drawn if kind == group], np.int64)
            for group in self._groups
        }


class SpectrumWriter(_Writer):
    """Spectra in one dimension."""

    product = "spectrum"

    def __init__(self) -> None:
        super().__init__({"": RaggedSpill("spectrum", units={"flat": _FLAT})})

    def add(self, source: Mapping[str, Any], spectrum: GrismSpectrum, beam_ids: Sequence[int]) -> None:
        """Add the spectrum of a source in a grism.

        Parameters
        ----------
        source : mapping
            ``source_id``, ``ra`` and ``dec``.
        spectrum : GrismSpectrum
            The spectrum, extracted with a fit.
        beam_ids : sequence of int
            Its beams.
        """
        table = spectrum.table.with_columns(pl.selectors.float().fill_null(float("nan")))
        names = ("wave", "flam", "flam_err", "flat", "line", "cont", "contam")
        wave, flux, err, flat, whole, continuum, contam = (table[name].to_numpy().astype(np.float64) for name in names)
        per_flux = np.where(flat > 0, flat, np.nan)
        good = np.isfinite(flux) & (err > 0)
        grism = spectrum.grism.lower()
        row = {
            "source_id": source["source_id"],
            "spectrum_id": stable_id("spectrum", str(source["source_id"]), grism),
            "ra": source["ra"],
            "dec": source["dec"],
            "grating": grism[:16],
            "status": "ok",
            "message": "",
            "n_beams": len(beam_ids),
            "beam_ids": json.dumps(list(beam_ids)),
            "exptime": finite(spectrum.exptime),
            "n_wavelength": wave.size,
            "wavelength_min": float(wave[good][0]) if good.any() else None,
            "wavelength_max": float(wave[good][-1]) if good.any() else None,
            "snr": float(np.median(flux[good] / err[good])) if good.any() else None,
            "method": "optimal",
            "flags": 0,
            "spectrum_row": len(self._rows),
        }
        self._rows.append(row)
        self._spills[""].add(
            {
                "wavelength": wave,
                "flux": flux.astype(np.float32),
                "flux_err": err.astype(np.float32),
                "line": ((whole - continuum) / per_flux).astype(np.float32),
                "continuum": (continuum / per_flux).astype(np.float32),
                "contam": (contam / per_flux).astype(np.float32),
                "flat": flat.astype(np.float32),
                "npix": table["npix"].to_numpy().astype(np.int32),
            }
        )

    def _identifiers(self) -> dict[str, NDArray[np.int64]]:
        return {name: np.array([row[name] for row in self._rows], np.int64) for name in ("spectrum_id", "source_id")}


class StackWriter(_Writer):
    """Spectra in two dimensions."""

    product = "stack"

    def __init__(self) -> None:
        units = {"sci": _LIGHT, "wht": _WEIGHT, "contam": _LIGHT, "model": _LIGHT}
        super().__init__({"": RaggedSpill("stack", units=units)})

    def add(self, source: Mapping[str, Any], stack: GrismStack, beam_ids: Sequence[int]) -> None:
        """Add a stack of a source.

        Parameters
        ----------
        source : mapping
            ``source_id``, ``ra`` and ``dec``.
        stack : GrismStack
            The stack.
        beam_ids : sequence of int
            Its beams.
        """
        ny, nx = stack.sci.shape
        grism = stack.grism.lower()
        angle = "all" if stack.angle is None else f"{stack.angle:.3f}"
        row = {
            "source_id": source["source_id"],
            "stack_id": stable_id("stack", str(source["source_id"]), grism, angle),
            "ra": source["ra"],
            "dec": source["dec"],
            "grating": grism[:16],
            "status": "ok",
            "message": "",
            "pa": stack.angle,
            "n_beams": len(beam_ids),
            "beam_ids": json.dumps(list(beam_ids)),
            "exptime": finite(stack.exptime),
            "ny": ny,
            "nx": nx,
            "wavelength_step": float(stack.wave[1] - stack.wave[0]) if nx > 1 else None,
            "kernel": stack.drizzle_kernel[:16],
            "pixfrac": finite(stack.pixfrac),
            "flags": 0,
            "stack_row": len(self._rows),
        }
        self._rows.append(row)
        self._spills[""].add(
            {
                "sci": stack.sci,
                "wht": stack.weight,
                "contam": stack.contam,
                "model": stack.model,
                "wavelength": stack.wave,
                "stack_kernel": stack.kernel,
            }
        )

    def _identifiers(self) -> dict[str, NDArray[np.int64]]:
        return {name: np.array([row[name] for row in self._rows], np.int64) for name in ("stack_id", "source_id")}
