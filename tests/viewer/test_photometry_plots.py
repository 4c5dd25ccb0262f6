"""Pages about models and fluxes are drawn without a display and show what they should."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from skymere.viewer import plot_gallery, plot_models, plot_photometry

SHAPE = (60, 80)


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """An image on a high sky, with a star, and what its model leaves."""
    rng = np.random.default_rng(1)
    y, x = np.indices(SHAPE)
    noise = rng.normal(0.0, 1.0, SHAPE)
    star = 400.0 * np.exp(-0.5 * ((x - 50) ** 2 + (y - 20) ** 2) / 2.0**2)
    return (noise + star + 100.0).astype(np.float32), noise.astype(np.float32)


def table(n: int) -> pl.DataFrame:
    rng = np.random.default_rng(2)
    return pl.DataFrame(
        {
            "source_id": np.arange(n),
            "status": ["ok"] * (n - 1) + ["rejected"],
            "x": rng.uniform(0, 80, n),
            "y": rng.uniform(0, 60, n),
            "flux": rng.uniform(1, 100, n),
            "flux_err": np.ones(n),
            "err_formal": np.ones(n),
            "err_sim": rng.uniform(0.8, 1.2, n),
            "chi2": rng.chisquare(30, n),
            "n_pix": np.full(n, 30),
            "dipole": np.where(np.arange(n) == 3, 9.0, 1.0),
        }
    )


def has_colour(picture: np.ndarray, *, red: bool) -> bool:
    """Whether anything is drawn that is no grey, reddish or bluish."""
    r, b = picture[..., 0], picture[..., 2]
    return bool(((r - b > 0.3) if red else (b - r > 0.3)).any())


def test_a_page_marks_dipoles_and_places_and_is_the_same_every_time(tmp_path: Path, images) -> None:
    image, residual = images
    paths = [
        plot_photometry(
            image, residual, table(12), tmp_path / f"{i}.png", noise_places=[(10, 10), (70, 50)], noise_radius_pix=5.0
        )
        for i in range(2)
    ]
    first, second = (imread(path) for path in paths)
    assert np.array_equal(first, second)
    top = first[: first.shape[0] // 2, first.shape[1] // 2 :]
    assert has_colour(top, red=True)
    assert has_colour(top, red=False)
    # The sky of the image is dark grey, whatever its level.
    left = first[: first.shape[0] // 2, : first.shape[1] // 2, 0]
    assert 0.1 < np.median(left[60:-60, 60:-60]) < 0.5


def test_a_page_needs_no_noise_no_errors_and_no_sources(tmp_path: Path, images) -> None:
    image, residual = images
    nothing = table(2).head(0)
    assert imread(plot_photometry(image, residual, nothing, tmp_path / "none.png")).size
    few = table(3).with_columns(pl.lit(None, pl.Float64).alias("err_sim"))
    blank = np.full(SHAPE, np.nan, np.float32)
    assert imread(plot_photometry(image, blank, few, tmp_path / "few.png", error=np.ones(SHAPE, np.float32))).size


def test_models_and_galleries_have_three_panels_each(tmp_path: Path, images) -> None:
    image, residual = images
    picture = imread(plot_models(image, residual, tmp_path / "models.png", title="field"))
    assert picture.shape[1] > 3 * picture.shape[0]
    one = imread(plot_gallery({"a": (image, image, residual)}, tmp_path / "one.png"))
    two = imread(plot_gallery({"a": (image, image, residual), "b": (image, image, residual)}, tmp_path / "two.png"))
    assert two.shape[0] > 1.5 * one.shape[0]
