"""The exercise of the drizzle course, as examples/seed_exercise.py does it."""

import importlib.util
from pathlib import Path

import pytest

from skymere.io import read_mosaic

EXAMPLE = Path(__file__).parents[2] / "examples" / "seed_exercise.py"


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, dict[str, float]]:
    spec = importlib.util.spec_from_file_location("seed_exercise", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("seed")
    return folder, module.run(folder)


def test_the_misaligned_visit_is_found_and_corrected(done) -> None:
    _, numbers = done
    assert numbers["n_aligned"] == 12
    assert numbers["shift_of_visit_2_pix"] == pytest.approx(10.0, abs=0.3)


def test_the_optimised_product_is_sharper_and_has_the_same_fluxes(done) -> None:
    _, numbers = done
    assert numbers["n_stars"] >= 5
    assert numbers["fwhm_optimised"] < 0.9 * numbers["fwhm_default"]
    assert numbers["flux_ratio"] == pytest.approx(1.0, abs=0.005)
    assert numbers["scale_arcsec"] == pytest.approx(0.06, rel=1e-12)
    assert abs(numbers["rotation_deg"]) < 1e-6


def test_both_filters_share_one_grid_and_everything_is_kept(done) -> None:
    folder, _ = done
    first, second = (read_mosaic(folder / f"{name}_drz.fits") for name in ("optimised", "second"))
    assert (first.band, second.band) == ("f160w", "f125w")
    assert first.shape == second.shape
    assert first.grid.cards() == second.grid.cards()
    assert first.params["quality"]["verdict"] == second.params["quality"]["verdict"] == "ok"
    names = {"comparison.png", "cores.png", "weights.png", "shifts.csv", "log.json", "default_drz.fits"}
    assert names <= {path.name for path in folder.iterdir()}
    assert read_mosaic(folder / "unaligned_drz.fits").params["quality"]["verdict"] == "over-rejected"
