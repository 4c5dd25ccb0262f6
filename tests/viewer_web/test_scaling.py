"""From pixels to shades."""

import io

import matplotlib.image
import numpy as np
import pytest
from astropy.visualization import ZScaleInterval

from skymere.errors import InvalidInputError
from skymere.viewer.web.png import png_of_indices, png_of_rgba
from skymere.viewer.web.scaling import (
    LABEL_COLOURS,
    STRETCHES,
    Scaling,
    colour_of_labels,
    colour_picture,
    grey_picture,
    limits_of,
    zscale,
)


def decoded(png):
    return np.rint(matplotlib.image.imread(io.BytesIO(png), format="png") * 255).astype(np.uint8)


def test_pictures_come_back_as_they_were():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (13, 29, 4)).astype(np.uint8)
    assert (decoded(png_of_rgba(pixels)) == pixels).all()
    indices = rng.integers(0, 7, (13, 29)).astype(np.uint8)
    back = decoded(png_of_indices(indices, LABEL_COLOURS, opacity=np.array([0], np.uint8)))
    assert (back[..., :3] == LABEL_COLOURS[indices]).all()
    assert (back[..., 3] == np.where(indices > 0, 255, 0)).all()


def test_pictures_of_other_shapes_are_refused():
    with pytest.raises(InvalidInputError, match="must be \\(ny, nx, 4\\)"):
        png_of_rgba(np.zeros((3, 3), np.uint8))
    with pytest.raises(InvalidInputError, match="are not allowed"):
        png_of_indices(np.zeros((3, 3), np.uint8), np.zeros((300, 3), np.uint8))


@pytest.mark.parametrize("seed", range(6))
def test_zscale_is_that_of_astropy(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(10.0, 2.0, (200, 300))
    image[50:60, 50:60] += rng.lognormal(4.0, 1.0, (10, 10))
    assert zscale(image.ravel()) == pytest.approx(ZScaleInterval().get_limits(image), rel=1e-6)


@pytest.mark.parametrize("stretch", STRETCHES)
def test_every_stretch_goes_from_black_to_white_and_always_up(stretch):
    scaling = Scaling(low=-1.0, high=3.0, stretch=stretch)
    values = np.linspace(-2.0, 4.0, 200, dtype=np.float32)
    shade = scaling.shade(scaling.fraction(values))
    assert shade[values <= -1].max() == 0
    assert shade[values >= 3].min() == pytest.approx(1.0, abs=1e-6)
    assert (np.diff(shade) >= 0).all()
    assert scaling.shade(np.float32([0.25]))[0] >= 0.25 - 1e-6


def test_a_grey_picture_has_north_up_and_shows_nothing_where_there_is_nothing():
    values = np.array([[0.0, 1.0, np.nan], [2.0, np.inf, -1.0]], np.float32)
    back = decoded(grey_picture(values, Scaling(low=0.0, high=2.0, stretch="linear")))
    assert back[1, :2, 0].tolist() == [0, 128]
    assert back[0, 0].tolist() == [255, 255, 255, 255]
    assert back[..., 3].tolist() == [[255, 0, 255], [255, 255, 0]]
    inverted = decoded(grey_picture(values, Scaling(low=0.0, high=2.0, stretch="linear"), colour_map="inverted"))
    assert inverted[0, 0, :3].tolist() == [0, 0, 0]
    with pytest.raises(InvalidInputError, match="colour_map: 'jet' is not allowed"):
        grey_picture(values, Scaling(low=0.0, high=2.0), colour_map="jet")


def test_colours_keep_their_hue_when_they_are_bright_and_a_missing_band_is_none():
    bands = [np.array([[1.0, 100.0, 1.0, np.nan]], np.float32), np.array([[0.5, 50.0, np.nan, np.nan]], np.float32)]
    bands.append(np.array([[0.25, 25.0, 1.0, np.nan]], np.float32))
    back = decoded(colour_picture(bands, [Scaling(low=0.0, high=10.0)] * 3)).astype(float)
    faint, bright, missing, nothing = back[0]
    assert faint[1] / faint[0] == pytest.approx(0.5, abs=0.02)
    assert bright[1] / bright[0] == pytest.approx(0.5, abs=0.02)
    assert bright[0] == 255
    assert len(set(missing[:3])) == 1
    assert nothing[3] == 0
    with pytest.raises(InvalidInputError, match="three of one shape are needed"):
        colour_picture(bands[:2], [Scaling(low=0.0, high=10.0)] * 2)


def test_limits_suit_noise_with_sources_and_images_without_any_value():
    rng = np.random.default_rng(3)
    noise = rng.normal(5.0, 0.1, (300, 300)).astype(np.float32)
    noise[0] = np.nan
    found = limits_of(noise)
    assert found.sky == pytest.approx(5.0, abs=0.01)
    assert found.noise == pytest.approx(0.1, rel=0.02)
    assert all(low < high for low, high in found.choices.values())
    for values in (np.full((4, 4), np.nan, np.float32), np.ones((4, 4), np.float32)):
        assert all(low < high for low, high in limits_of(values).choices.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "low, high: 1.0, 1.0"),
        ({"low": 0.0, "high": float("nan")}, "low, high"),
        ({"low": 0.0, "high": 1.0, "stretch": "exp"}, "stretch: 'exp' is not allowed"),
        ({"low": 0.0, "high": 1.0, "softening": 0.0}, "softening: 0.0"),
    ],
)
def test_scalings_without_meaning_are_refused(words, message):
    with pytest.raises(InvalidInputError, match=message):
        Scaling(**words)


def test_a_label_has_one_colour_and_sky_has_none():
    labels = np.array([[0, 1, 7], [6, 12, 2_000_000_000]], np.int32)
    colours = colour_of_labels(labels)
    assert colours[0, 0] == 0
    assert colours[0, 1] == colours[0, 2]
    assert colours.max() < len(LABEL_COLOURS)
