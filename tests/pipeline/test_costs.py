"""What work costs, learnt from ledgers whose truth is known, and kept in files."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.errors import FormatError, NoDataError, NotFoundError
from skymere.lake import Lake, NamedTile
from skymere.pipeline import CostModel, fit_costs, read_costs
from skymere.pipeline.costs import COST_SCHEMA, fit_line
from skymere.pipeline.task_sizes import FieldSizes
from skymere.wcs import Grid

CORNERS = "POLYGON ICRS 150.0 2.0 150.001 2.0 150.001 2.001 150.0 2.001"


class KnownMeter:
    """Says that a task took half a second and two microseconds a pixel, on one core."""

    pixels = 0

    @property
    def seconds(self) -> float:
        return 0.5 + 2e-6 * self.pixels

    @property
    def cpu_seconds(self) -> float:
        return 0.25 + 3e-6 * self.pixels

    bytes_read = None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose ledger is known: twelve exposures from 100 to 1300 pixels wide; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "lake"
    lake = Lake.create(folder, tiles=[NamedTile("field", Grid.tangent(150.0, 2.0, scale_arcsec=0.1, shape=(8, 8)))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skymere.lake.run.Meter", KnownMeter)
        for k in range(12):
            nx = 100 * (k + 1)
            KnownMeter.pixels = 1000 * nx
            with lake.run(stage="ingest", tile=f"e{k:02d}", product="exposure", inputs=[], params={}) as run:
                row = {"exposure_id": run.tile, "status": "ok", "band": "f160w", "ny": 1000, "nx": nx}
                place = {"ra": 150.0, "dec": 2.0, "footprint": CORNERS, "wcs_sha256": "0" * 64}
                run.publish(run.frame([row | place]))
    return folder


def row_of(model: CostModel, stage: str, quantity: str) -> dict[str, object]:
    return model.stages.filter(pl.col("stage") == stage, pl.col("quantity") == quantity).row(0, named=True)


def test_the_coefficients_of_a_known_ledger_are_found(made: Path) -> None:
    model = fit_costs([made])
    seconds, cpu = row_of(model, "ingest", "seconds"), row_of(model, "ingest", "cpu_seconds")
    assert (seconds["constant"], seconds["per_exposure_pixels"]) == pytest.approx((0.5, 2e-6), rel=1e-6)
    assert (cpu["constant"], cpu["per_exposure_pixels"]) == pytest.approx((0.25, 3e-6), rel=1e-6)
    assert seconds["n_tasks"] == 12
    assert model.of("ingest", "seconds", {"exposure_pixels": 4e6}) == {"": pytest.approx(8.5)}
    # Each exposure is an entry of the log of its table, and one of that of runs; the first of each makes the table.
    assert 2.0 <= model.yields["commits_per_product"] <= 2.5
    assert set(model.of("ingest", "array_bytes", {"exposure_pixels": 1e6})) == {"exposure"}


def test_of_an_exposure_half_beside_a_tile_half_of_the_pixels_overlap(tmp_path: Path) -> None:
    grid = Grid.tangent(150.0, 60.0, scale_arcsec=0.1, shape=(600, 600))
    lake = Lake.create(tmp_path / "lake", tiles=[NamedTile("field", grid)])

    def outline(x0: float, x1: float) -> np.ndarray:
        return np.column_stack(grid.sky(np.array([x0, x1, x1, x0]), np.array([100.0, 100.0, 300.0, 300.0])))

    outlines = {"on": outline(100, 300), "half": outline(500, 699), "off": outline(800, 1000)}
    pixels = {"on": 1000, "half": 2000, "off": 4000, "somewhere": 8000}
    sizes = FieldSizes(lake=lake, exposures=pixels, mosaics={}, outlines=outlines)

    def of(stage: str, *names: str) -> dict[str, float]:
        return sizes.of(stage, "field.f160w", [{"uri": f"exposure/{name}"} for name in names], {})

    assert of("outliers", "on")["overlap_pixels"] == pytest.approx(1000, rel=0.05)
    assert of("outliers", "half")["overlap_pixels"] == pytest.approx(1000, rel=0.05)
    assert of("outliers", "off")["overlap_pixels"] == 0.0
    # Without corners all of it counts.
    assert of("outliers", "somewhere")["overlap_pixels"] == 8000
    assert of("background", "half", "off") == {"exposure_pixels": 6000}


def test_two_lakes_teach_more_than_one(made: Path) -> None:
    assert row_of(fit_costs([made, made]), "ingest", "seconds")["n_tasks"] == 24


def test_several_sizes_are_told_apart_in_spite_of_noise_and_busy_moments() -> None:
    random = np.random.default_rng(7)
    sizes = {"sources": random.uniform(10, 500, 60), "tile_pixels": random.uniform(1e5, 4e6, 60)}
    values = (3.0 + 0.04 * sizes["sources"] + 5e-6 * sizes["tile_pixels"]) * random.normal(1.0, 0.05, 60)
    values[::12] *= 4.0
    terms, scatter = fit_line(values, sizes)
    assert terms["sources"] == pytest.approx(0.04, rel=0.1)
    assert terms["tile_pixels"] == pytest.approx(5e-6, rel=0.1)
    assert terms["constant"] == pytest.approx(3.0, rel=0.35)
    assert 0.03 < scatter < 0.1


def test_no_cost_is_negative_and_a_size_that_does_nothing_has_none() -> None:
    random = np.random.default_rng(8)
    sizes = {"sources": random.uniform(10, 500, 40), "tile_pixels": random.uniform(1e5, 4e6, 40)}
    terms, _ = fit_line(2e-6 * sizes["tile_pixels"] * random.normal(1.0, 0.02, 40), sizes)
    assert terms == {"tile_pixels": pytest.approx(2e-6, rel=0.02)}
    falling, _ = fit_line(10.0 - 0.01 * sizes["sources"], {"sources": sizes["sources"]})
    assert list(falling) == ["constant"]


def test_tiles_of_one_size_cost_by_their_pixels_and_have_a_number_of_files() -> None:
    sizes = {"band_pixels": np.full(9, 1e6)}
    assert fit_line(np.full(9, 4.0), sizes)[0] == {"band_pixels": pytest.approx(4e-6)}
    assert fit_line(np.full(9, 4.0), sizes, prefers_constant=True)[0] == {"constant": pytest.approx(4.0)}
    assert fit_line(np.zeros(9), sizes)[0] == {}


def test_a_lake_in_which_nothing_was_run_teaches_nothing(tmp_path: Path) -> None:
    Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1, width_pix=800)
    with pytest.raises(NoDataError, match="have no run of a stage"):
        fit_costs([tmp_path / "lake"])


def test_costs_go_to_a_file_and_back(made: Path, tmp_path: Path) -> None:
    model = fit_costs([made])
    read = read_costs(model.save(tmp_path / "costs.json"))
    assert read.stages.equals(model.stages)
    assert read.stages.schema == pl.Schema(COST_SCHEMA)
    assert (read.yields, read.about) == (model.yields, model.about)
    with pytest.raises(NotFoundError, match="no such file"):
        read_costs(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something"}, "format: 'something' is not allowed, it must be 'skymere costs 1'"),
        ({"stages": [{"stage": "ingest", "per_star": 1.0}]}, "'per_star' is not known"),
        ({"stages": [{"stage": "ingest", "constant": -1.0}]}, r"stages\[0\].constant: -1.0 is not allowed"),
        ({"stages": [{"constant": 1.0}]}, "is not a model of costs"),
        ({"yields": {"sources_per_arcmin2": "many"}}, "yields.sources_per_arcmin2: 'many' is not allowed"),
        ({"about": 3}, "is not a model of costs"),
    ],
)
def test_a_file_that_holds_no_costs_is_refused_with_what_is_wrong(
    made: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = fit_costs([made]).save(tmp_path / "costs.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FormatError, match=message):
        read_costs(path)
    path.write_text("{")
    with pytest.raises(FormatError, match="is not a model of costs"):
        read_costs(path)
