"""Tables of bands, the files that they name, and what is measured of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import write_image
from skymere.photometry import PhotometryParams
from skymere.pipeline import BandImage, BandRegions, image_to_measure, read_band_image, read_band_table, regions_beside
from skymere.regions import Circle
from skymere.wcs import Grid

GRID = Grid.tangent(150.0, 2.0, shape=(80, 90), scale_arcsec=0.5)
NOISE, SLOPE = 0.3, 0.05


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of one band: white noise with a gradient, and a PSF."""
    rng = np.random.default_rng(3)
    _, x = np.mgrid[:80, :90]
    data = rng.normal(0.0, NOISE, GRID.shape) + SLOPE * x
    write_image(data.astype(np.float32), tmp_path / "irac.fits", wcs=GRID.wcs, keywords={"ZPAB": 23.9, "BUNIT": "uJy"})
    y, x = np.mgrid[-15:16, -15:16]
    psf = np.exp(-(x**2 + y**2) / 8.0) / (8.0 * np.pi)
    fits.PrimaryHDU(psf.astype(np.float32)).writeto(tmp_path / "irac_psf.fits")
    return tmp_path


def test_a_csv_has_a_line_for_each_band(folder: Path) -> None:
    table = folder / "bands.csv"
    table.write_text(
        "# what we have\n"
        "band, image, psf, psf_oversampling, photometry.shift.method, photometry.shift.anchors, zero_point_ab\n"
        'irac1, irac.fits, irac_psf.fits, 1, anchors, "[12, 7]", 23.9\n'
        "irac2, irac.fits, irac_psf.fits, , , ,\n"
    )
    first, second = read_band_table(table)
    assert first.image == str(folder / "irac.fits")
    assert first.psf == str(folder / "irac_psf.fits")
    assert first.photometry.shift.method == "anchors"
    assert first.photometry.shift.anchors == (12, 7)
    assert first.zero_point_ab == 23.9
    assert second.photometry.shift.method == "none"
    assert np.isnan(second.zero_point_ab)


def test_toml_says_the_same(folder: Path) -> None:
    table = folder / "bands.toml"
    table.write_text('[[images]]\nband = "irac1"\nimage = "irac.fits"\nphotometry.noise.n_positions = 15\n')
    (one,) = read_band_table(table)
    assert one.photometry.noise.n_positions == 15
    assert one.image == str(folder / "irac.fits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("band,imge\na,b\n", r"image 1: unknown key imge; allowed are band, image"),
        ("band,psf_oversampling\na,many\n", r"image 1: psf_oversampling: 'many' is not allowed"),
        ("band\na\na\n", r"\['a'\] appear twice"),
        ("band\n", "there is none"),
        ("band,photometry.shift.method\na,best\n", r"photometry\.shift\.method: 'best' is not allowed"),
        ("band,rms,weight\na,b.fits,c.fits\n", "are not allowed together"),
        ("band,background\na,flat\n", "it must be 'none' or 'running_median' or 'boxcar_mean'"),
    ],
)
def test_errors_name_the_file_the_line_and_what_is_allowed(folder: Path, text: str, message: str) -> None:
    table = folder / "bands.csv"
    table.write_text(text)
    with pytest.raises(InvalidInputError, match=message) as caught:
        read_band_table(table)
    assert str(table) in str(caught.value)


def test_a_missing_or_broken_table_is_named(folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.csv: no such table of bands"):
        read_band_table(folder / "none.csv")
    broken = folder / "bands.csv"
    broken.write_text("band\na,b,c\n")
    with pytest.raises(FormatError, match=r"bands\.csv: neither CSV nor TOML: more cells than columns"):
        read_band_table(broken)


def test_regions_beside_an_image_have_the_names_of_the_pipeline(folder: Path) -> None:
    circle = 'icrs\ncircle(150.0,2.0,3")\n'
    for name in ("irac-bad.reg", "irac-sim.reg", "mask_border.reg", "mask_border_more.reg", "mask_all.reg"):
        (folder / name).write_text(circle)
    image = BandImage(band="irac1", image=str(folder / "irac.fits"), psf=str(folder / "irac_psf.fits"))
    found = {key: [path.name for path in paths] for key, paths in regions_beside(image).items()}
    assert found == {
        "bad": ["irac-bad.reg"],
        "border": ["mask_border.reg"],
        "large_scale": ["mask_all.reg"],
        "blank": ["irac-sim.reg"],
    }
    more = BandImage(band="irac1", image=image.image, has_more_border_masks=True)
    assert regions_beside(more)["border"][0].name == "mask_border_more.reg"
    # A file of the image's own wins over both (B3.6).
    (folder / "irac-mask-border.reg").write_text(circle)
    assert [path.name for path in regions_beside(more)["border"]] == ["irac-mask-border.reg"]
    mosaic, psf, regions = read_band_image(image)
    assert mosaic.zero_point_ab == 23.9
    assert psf.data.sum() == pytest.approx(1.0, abs=1e-3)
    assert [one.middle for one in regions.blank] == [(150.0, 2.0)]


def test_errors_are_the_scatter_of_the_sky_unless_they_are_given(folder: Path) -> None:
    image = BandImage(band="irac1", image=str(folder / "irac.fits"), psf=str(folder / "irac_psf.fits"))
    mosaic, _, _ = read_band_image(image)
    level = replace(mosaic, data=mosaic.data - np.float32(SLOPE) * np.arange(90, dtype=np.float32))
    measured, _ = image_to_measure(level, image, BandRegions())
    assert np.median(measured.error) == pytest.approx(NOISE, rel=0.1)
    by_eye = BandImage(band="irac1", photometry=PhotometryParams(noise_rms=0.7))
    assert np.unique(image_to_measure(mosaic, by_eye, BandRegions())[0].error).tolist() == pytest.approx([0.7])
    rms = folder / "rms.fits"
    write_image(np.full(GRID.shape, 0.5, np.float32), rms, wcs=GRID.wcs)
    given = BandImage(band="irac1", image=image.image, psf=image.psf, rms=str(rms))
    with_rms, _, _ = read_band_image(given)
    assert np.unique(image_to_measure(with_rms, given, BandRegions())[0].error).tolist() == pytest.approx([0.5])


@pytest.mark.parametrize("method", ["running_median", "boxcar_mean"])
def test_a_large_scale_background_is_taken_away_and_does_not_see_masked_sources(folder: Path, method: str) -> None:
    image = BandImage(band="irac1", image=str(folder / "irac.fits"), psf=str(folder / "irac_psf.fits"))
    mosaic, _, _ = read_band_image(image)
    data = mosaic.data.copy()
    data[30:40, 40:50] += 100.0
    bright = replace(mosaic, data=data)
    source = Circle(centre=tuple(float(v[0]) for v in GRID.sky(np.array([44.5]), np.array([34.5]))), radius=4.5)
    asked = replace(image, background=method, background_box_arcsec=10.0)
    plain, _ = image_to_measure(bright, asked, BandRegions())
    hidden, _ = image_to_measure(bright, asked, BandRegions(large_scale=(source,)))
    inner = np.s_[15:-15, 15:-15]
    sky = np.ones(GRID.shape, bool)
    sky[25:45, 35:55] = False
    x = np.broadcast_to(np.arange(90), GRID.shape)
    slope = np.polyfit(x[inner][sky[inner]], np.asarray(hidden.data)[inner][sky[inner]], 1)[0]
    assert abs(slope) < 0.1 * SLOPE
    light = [float(np.asarray(one.data)[28:42, 38:52].sum()) for one in (plain, hidden)]
    assert light[1] == pytest.approx(1e4, rel=0.005)
    # A median hardly sees a source that fills a quarter of the box; a mean does.
    assert light[0] < (0.95e4 if method == "boxcar_mean" else light[1])
    assert np.array_equal(bright.data, data)


def test_blank_circles_are_the_places_of_the_noise(folder: Path) -> None:
    image = BandImage(band="irac1", image=str(folder / "irac.fits"), psf=str(folder / "irac_psf.fits"))
    mosaic, _, _ = read_band_image(image)
    blank = tuple(Circle(centre=(150.0 + 0.001 * i, 2.0), radius=2.5) for i in range(3))
    _, params = image_to_measure(mosaic, image, BandRegions(blank=blank))
    assert params.noise.positions == tuple(one.middle for one in blank)
    assert params.noise.radius_arcsec == 2.5


def test_pixels_that_were_not_searched_do_not_count_unless_asked_for(folder: Path) -> None:
    image = BandImage(band="irac1", image=str(folder / "irac.fits"), psf=str(folder / "irac_psf.fits"))
    mosaic, _, _ = read_band_image(image)
    searched = np.zeros(mosaic.shape, bool)
    searched[20:60, 10:50] = True
    measured, _ = image_to_measure(mosaic, image, BandRegions(), searched=searched)
    assert not (~measured.mask & ~searched).any()
    assert (~measured.mask & searched).any()
    every = replace(image, has_unsearched_pixels=True)
    whole, _ = image_to_measure(mosaic, every, BandRegions(), searched=searched)
    assert (~whole.mask & ~searched).any()
