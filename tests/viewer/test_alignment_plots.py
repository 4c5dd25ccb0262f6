"""Plots of an alignment are drawn without a display and show what they should."""

import numpy as np
import pytest
from matplotlib.image import imread

from skymere.align import AlignParams, FindParams, align
from skymere.datamodels import Exposure
from skymere.errors import NoDataError
from skymere.viewer import plot_alignment, plot_offsets
from skymere.wcs import Grid

SHAPE = (200, 220)


def exposures():
    """Two fields of round stars, the second half a pixel off."""
    rng = np.random.default_rng(3)
    y, x = np.indices(SHAPE)
    places = rng.uniform(15, 185, (40, 2))
    out = []
    for k in (0, 1):
        data = rng.normal(10.0, 1.0, SHAPE)
        for a, b in places + 0.5 * k:
            data += 300.0 * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.2**2)
        out.append(
            Exposure(
                exposure_id=f"e{k}",
                data=data,
                error=np.ones(SHAPE),
                dq=np.zeros(SHAPE, np.uint32),
                wcs=Grid.tangent(10.0, 5.0, shape=SHAPE, scale_arcsec=0.1).wcs,
                exptime=1.0,
                band="f606w",
            )
        )
    return out


@pytest.fixture(scope="module")
def aligned():
    return align(exposures(), params=AlignParams(find=FindParams(fwhm_pix=2.8)))


def test_residuals_and_vectors_are_drawn_and_are_the_same_every_time(aligned, tmp_path):
    first, second = (plot_alignment(aligned[1], tmp_path / f"{k}.png") for k in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    picture = imread(first)
    assert picture.shape[:2] == (600, 1300)
    is_blue = (picture[..., 2] > 0.5) & (picture[..., 0] < 0.3)
    assert is_blue[:, :700].sum() > 200
    assert is_blue[:, 760:].sum() > 100
    limited = plot_alignment(aligned[1], tmp_path / "3.png", limit_arcsec=1.0)
    assert limited.read_bytes() != first.read_bytes()


def test_the_histogram_of_offsets_has_its_peak_where_the_offset_is(aligned, tmp_path):
    places = [a.plane.of_pixels(a.parent, *a.sources.select("x", "y").to_numpy().T) for a in aligned]
    path = plot_offsets(*places, tmp_path / "offsets.png", radius_arcsec=0.75)
    picture = imread(path)
    is_peak = (picture[..., 0] > 0.95) & (picture[..., 1] > 0.85) & (picture[..., 2] < 0.3)
    assert is_peak.sum() > 100


def test_there_must_be_something_to_draw(aligned, tmp_path):
    with pytest.raises(NoDataError, match="e0"):
        plot_alignment(aligned[0], tmp_path / "no.png")
    with pytest.raises(NoDataError, match="0 and 3"):
        plot_offsets(np.empty((0, 2)), np.zeros((3, 2)), tmp_path / "no.png")
    assert not list(tmp_path.iterdir())
