"""What a survey of 10^5 exposures and 10^8 sources costs: ``python tests/benchmarks/scale_pilot.py FOLDER``.

A pilot is simulated and run in FOLDER, if that was not done yet, with one thread for each of two processes; its costs go
to FOLDER/costs.json. What they say of the survey of docs/scale.md is printed. Every task of the survey has the sizes that
its stage has there (`Survey`).
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "flow"))
from simulated_survey import Size, simulate

from skymere.lake.schemas import load_schema
from skymere.pipeline import CostModel, RunPlan, fit_costs, read_plan, run_plan

PILOT = Size(
    ra=53.16,
    dec=-27.78,
    bands=("f105w", "f125w", "f160w"),
    side=800,
    step_arcsec=8.0,
    width_pix=600,
    n_galaxies=600,
    n_stars=60,
    radius_arcsec=48.0,
    n_slits=12,
    grism_shape=(700, 900),
    grism_angles_deg=(90.0, 0.0),
)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A survey in numbers: detectors of 4096 pixels a side, four dithers in four bands, a band of low resolution."""

    n_exposures: float = 1e5
    n_sources: float = 1e8
    pixels: float = 4096.0**2
    pixel_arcsec: float = 0.11
    n_bands: int = 4
    n_dithers: int = 4
    tile_pixels: float = 4096.0**2
    # Part of a tile's image that the tile owns.
    owned: float = 0.8
    n_slits: float = 1e5
    # Every hundredth source has beams in four exposures of a grism.
    with_beams: float = 0.01
    n_grism_exposures: float = 4e3

    @property
    def n_tiles(self) -> float:
        seen = self.n_exposures / (self.n_bands * self.n_dithers) * self.pixels
        return seen / (self.tile_pixels * self.owned)

    def tasks(self) -> Iterator[tuple[str, float, Mapping[str, float]]]:
        """Yield stages with how many tasks they have, and the sizes of each."""
        tiles, bands = self.n_tiles, self.n_bands
        sources = self.n_sources / tiles
        in_tile = self.n_dithers * self.pixels / self.owned
        band = {"band_pixels": bands * self.tile_pixels, "seen_pixels": bands * self.tile_pixels}
        beams = self.n_sources * self.with_beams / tiles
        yield "ingest", self.n_exposures, {"exposure_pixels": self.pixels}
        yield "background", tiles * bands, {"exposure_pixels": in_tile}
        yield "outliers", tiles * bands, {"overlap_pixels": in_tile, "tile_pixels": self.tile_pixels}
        yield "mosaic", tiles, {"overlap_pixels": bands * in_tile, **band}
        yield "psf", tiles, band
        yield "detect", tiles, band
        yield "measure", tiles, {"sources": sources, **band}
        yield "profiles", tiles, {"sources": sources, "tile_pixels": self.tile_pixels}
        yield "models", tiles, {"sources": sources, "tile_pixels": self.tile_pixels}
        yield "photometry", tiles, {"fluxes": bands * sources, "tile_pixels": self.tile_pixels}
        yield "cutouts", tiles, {"stamps": bands * sources}
        yield "slits", self.n_slits / 16, {"slits": 16 * 3.0}
        yield "contam", tiles, {"frame_pixels": 4 * self.n_grism_exposures * self.pixels / tiles, "sources": sources}
        yield "beams", tiles, {"beams": 4 * beams}
        yield "redshifts", tiles, {"beams": 4 * beams, "slit_spectra": self.n_slits / tiles}
        yield "maps", tiles, {"beams": 4 * beams, "grism_sources": beams}


def most_files(product: str, array_bytes: float, survey: Survey) -> float:
    """Return how many files a product of a tile can have at most.

    Tiles of the pilot have so few sources that most shards are begun and not filled, and files seem to grow with sources.
    A product has the arrays of its schema, each with its description, one shard that is not full, and full ones of 64
    MiB before compression, which is a factor of 8 or less.
    """
    paths = [spec.path for spec in load_schema(product).arrays]
    n_arrays = sum((survey.n_bands if "{band}" in path else 1) * (4 if "{level}" in path else 1) for path in paths)
    return 2 + 2 * n_arrays + 8 * array_bytes / 2**26


def table(costs: CostModel, survey: Survey) -> pl.DataFrame:
    """Core hours, terabytes and files of each stage."""
    rows = []
    for stage, n, sizes in survey.tasks():
        sums = {
            name: n * sum(sum(costs.of(stage, part, sizes).values()) for part in parts)
            for name, parts in {
                "core_hours": ("cpu_seconds",),
                "tb": ("array_bytes", "table_bytes"),
            }.items()
        }
        files = costs.of(stage, "n_files", sizes)
        stored = costs.of(stage, "array_bytes", sizes)
        sums["files"] = n * sum(
            min(one, most_files(name, stored.get(name, 0.0), survey)) for name, one in files.items()
        )
        rows.append({"stage": stage, "tasks": n, "seconds_each": sums["core_hours"] / n, **sums})
    return pl.DataFrame(rows).with_columns(pl.col("core_hours") / 3600, pl.col("tb") / 1e12)


def main(folder: Path) -> None:
    """Run the pilot and print the table."""
    plan = folder / "plan.toml"
    if not plan.exists():
        simulate(folder, PILOT)
    run = RunPlan(executor="processes", n_workers=2)
    report = run_plan(replace(read_plan(plan), run=run))
    print(f"{len(report.failures)} failures, {sum(stage.n_done for stage in report.stages)} tasks done now")
    costs = fit_costs([folder / "lake"])
    costs.save(folder / "costs.json")
    survey = Survey()
    found = table(costs, survey)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=140, float_precision=3):
        print(costs.stages.select("stage", "product", "quantity", "^(constant|per_.*)$", "scatter", "n_tasks"))
        print(found, found.sum())
    print(dict(costs.yields), dict(costs.about), f"{survey.n_tiles:.0f} tiles")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
