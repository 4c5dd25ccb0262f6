"""Pictures are written, and the colours are those of the sources."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from skymere.errors import InvalidInputError
from skymere.viewer import (
    plot_comparison,
    plot_mask,
    plot_number_counts,
    plot_quality,
    plot_rgb,
    plot_sheet,
    plot_weight,
    rgb_image,
)

RNG = np.random.default_rng(1)
NOISE = [RNG.normal(0.0, 1.0, (60, 80)).astype(np.float32) for _ in range(3)]


def test_a_red_source_is_red_and_stays_red_when_it_saturates() -> None:
    images = [image.copy() for image in NOISE]
    images[0][30, 40], images[1][30, 40], images[2][30, 40] = 4000.0, 2000.0, 1000.0
    red, green, blue = rgb_image(images)[30, 40]
    assert red == pytest.approx(1.0)
    assert red > green > blue
    assert blue > 0.1


def test_a_blank_pixel_is_drawn_dark() -> None:
    images = [image.copy() for image in NOISE]
    for image in images:
        image[5, 5] = np.nan
    assert rgb_image(images)[5, 5].max() < 0.2


def test_a_pixel_that_one_band_lacks_is_grey_and_as_bright_as_the_others() -> None:
    images = [image.copy() for image in NOISE]
    for image in images:
        image[30, 40] = 40.0
    whole = rgb_image(images)[30, 40]
    images[2][30, 40] = np.nan
    holed = rgb_image(images)[30, 40]
    assert holed[0] == holed[1] == holed[2]
    assert holed[0] == pytest.approx(whole.mean(), rel=0.1)


def test_colours_need_three_images_of_one_shape() -> None:
    with pytest.raises(InvalidInputError, match="three of one shape"):
        rgb_image(NOISE[:2])


@pytest.mark.parametrize("n_bands", [1, 2, 3])
def test_every_picture_is_a_png(tmp_path: Path, n_bands: int) -> None:
    labels = np.zeros((60, 80), np.int32)
    labels[20:30, 20:40] = 1
    table = pl.DataFrame({"flux_auto_a": [1.0, 5.0, -1.0, None]})
    truth = pl.DataFrame({"mag_a": [22.0, 23.0]})
    paths = [
        plot_rgb(NOISE[:n_bands], tmp_path / "rgb.png", labels=labels, title="x"),
        plot_weight({"a": np.abs(NOISE[0])}, tmp_path / "weight.png"),
        plot_mask(NOISE[0], labels > 0, tmp_path / "mask.png"),
        plot_sheet([NOISE[:n_bands]] * 3, ["1", "2", "3"], tmp_path / "sheet.png"),
        plot_number_counts(table, ["a"], tmp_path / "counts.png", area_arcmin2=1.0, truth=truth),
    ]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_colour_picture_has_the_height_and_brightness_that_are_asked_for(tmp_path: Path) -> None:
    square = [image[:60, :60] + np.float32(4.0) for image in NOISE]
    shown = []
    for scale in (1.0, 3.0):
        path = plot_rgb(
            square, tmp_path / f"{scale}.png", title="a title that is long " * 4, scale=scale, height_pix=360
        )
        shown.append(imread(path))
    assert {image.shape[0] for image in shown} == {360}
    assert shown[1].mean() > shown[0].mean()
    # Nothing of the title is cut off: the outermost columns above the picture are white.
    assert (shown[0][:20, [0, -1], :3] > 0.99).all()
    with pytest.raises(InvalidInputError, match="scale, height_pix: 0"):
        plot_rgb(square, tmp_path / "x.png", scale=0.0)


def test_quality_and_comparisons_are_drawn(tmp_path: Path) -> None:
    quality = {
        "verdict": "ok",
        "weight_scatter": 0.2,
        "n_holes": 0,
        "n_black": 3,
        "n_enclosed": 4800,
        "n_sources": 12,
        "rejected_fraction": 0.01,
        "excess": 0.001,
        "excess_err": 0.002,
        "coincidence": 0.0,
        "reasons": {"cosmic_ray": 0.01},
    }
    weight, rejected = np.abs(NOISE[0]), np.zeros((60, 80), np.float32)
    for path in (
        plot_quality(weight, rejected, quality, tmp_path / "q.png", title="f160w"),
        plot_quality(weight * 0, rejected, quality | {"excess": None, "coincidence": None}, tmp_path / "none.png"),
        plot_comparison(NOISE[:2], ("default", "optimised"), tmp_path / "c.png"),
        plot_comparison([NOISE[0], NOISE[1][:30]], ("a", "b"), tmp_path / "d.png", same_stretch=False),
    ):
        assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidInputError, match="shapes"):
        plot_comparison([NOISE[0], NOISE[1][:30]], ("a", "b"), tmp_path / "e.png")
