"""``skymere detect`` on files: what it writes, and how it says no."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import uniform_filter

from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.io import read_band, write_mosaic
from skymere.segmentation import SourceFlag
from skymere.wcs import Grid, fits_cards

SHAPE = (180, 200)
GRID = Grid.tangent(53.0, -27.0, shape=SHAPE, scale_arcsec=0.06)


def sky(seed: int) -> np.ndarray:
    y, x = np.indices(SHAPE)
    data = np.random.default_rng(seed).normal(0, 0.02, SHAPE)
    for cx, cy in ((40, 50), (120, 60), (70, 130), (160, 140)):
        data += 0.4 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.8**2))
    return data.astype(np.float32)


def image(path: Path, data: np.ndarray, *, wcs: bool = True, **keywords: object) -> Path:
    header = fits.Header(fits_cards(GRID.wcs)) if wcs else fits.Header()
    header.update(keywords)
    fits.PrimaryHDU(data, header).writeto(path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two bands with errors and with weights."""
    weight = np.full(SHAPE, 2500.0, np.float32)
    weight[:, :8] = 0
    return {
        "sci": image(tmp_path / "f125w.fits", sky(1), PHOTFLAM=2.2e-20, PHOTPLAM=12486.0),
        "rms": image(tmp_path / "f125w_rms.fits", np.full(SHAPE, 0.02, np.float32), wcs=False),
        "sci2": image(tmp_path / "f160w.fits", sky(2), PHOTFLAM=1.9e-20, PHOTPLAM=15369.0),
        "wht2": image(tmp_path / "f160w_wht.fits", weight, wcs=False),
    }


@pytest.mark.parametrize("choice", [(), ("--method", "peaks", "--image", "max_snr", "--threshold", "0.8")])
def test_all_files_are_written_and_agree(call, files, tmp_path, choice) -> None:
    out = tmp_path / "det"
    weights = ("--weight", tmp_path / "w1.fits", "--weight", files["wht2"])
    image(tmp_path / "w1.fits", np.full(SHAPE, 2500.0, np.float32), wcs=False)
    done = call("detect", files["sci"], files["sci2"], *weights, "-o", out, *choice)
    assert done.exit_code == 0, done.output
    names = {"det_seg.fits", "det_cat.fits", "det_stack.fits", "det_snr.fits", "sources.parquet", "sources.fits"}
    pictures = {"segments.png", "background_f125w.png", "background_f160w.png", "number_counts.png", "purity.png"}
    assert {p.name for p in out.iterdir()} == names | pictures
    with fits.open(out / "det_seg.fits") as seg, fits.open(out / "det_cat.fits") as cat:
        labels, table = seg[1].data, cat[1].data
        assert sorted(table["id"]) == sorted(np.unique(labels[labels > 0])) == [1, 2, 3, 4]
        assert list(table.names) == ["id", "area", "x", "y", "ra", "dec", "flux", "flux_err"]
        for row in table:
            assert labels[round(row["y"]), round(row["x"])] == row["id"]
            assert row["area"] == np.count_nonzero(labels == row["id"])
        x, y = WCS(seg[1].header).all_world2pix(table["ra"], table["dec"], 1)
        np.testing.assert_allclose(x, table["x"] + 1, atol=1e-4)
        np.testing.assert_allclose(y, table["y"] + 1, atol=1e-4)
        assert cat[1].columns["flux"].unit == "uJy"
    for name in ("det_stack.fits", "det_snr.fits"):
        with fits.open(out / name) as hdus:
            assert hdus[1].data.shape == SHAPE
    catalog = pl.read_parquet(out / "sources.parquet")
    assert {"flux_auto_f125w", "flux_auto_f160w"} <= set(catalog.columns)
    with fits.open(out / "sources.fits") as hdus:
        np.testing.assert_array_equal(hdus[1].data["label"], catalog["label"])
    again = call("detect", files["sci"], "-o", out)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("choice", [(), ("--image", "max_snr")])
def test_blocks_give_the_files_of_one_pass(call, files, tmp_path, choice) -> None:
    image(tmp_path / "w1.fits", np.full(SHAPE, 2500.0, np.float32), wcs=False)
    given = (files["sci"], files["sci2"], "--weight", tmp_path / "w1.fits", "--weight", files["wht2"], *choice)
    (tmp_path / "f125w-bad.reg").write_text("image\ncircle(41,51,4)\n")
    for name, more in (("whole", ("--no-pictures",)), ("blocks", ("--block-size", "70"))):
        done = call("detect", *given, "-o", tmp_path / name, *more)
        assert done.exit_code == 0, done.output
    assert "4 sources in 200 x 180 pixels, in blocks of 70" in done.output
    assert "f125w-bad.reg" in done.output
    assert {p.name for p in (tmp_path / "blocks").iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}
    for name in ("det_seg.fits", "det_stack.fits", "det_snr.fits", "det_cat.fits", "sources.fits"):
        with fits.open(tmp_path / "blocks" / name) as found, fits.open(tmp_path / "whole" / name) as expected:
            assert fits.FITSDiff(found, expected).identical, name
    found, expected = (pl.read_parquet(tmp_path / name / "sources.parquet") for name in ("blocks", "whole"))
    assert found.equals(expected)


def test_pictures_are_replaced_only_when_asked_and_do_not_hinder_blocks(call, files, tmp_path) -> None:
    out = tmp_path / "det"
    out.mkdir()
    picture = out / "background_f125w.png"
    picture.write_bytes(b"mine")
    command = ("detect", files["sci"], "--rms", files["rms"], "-o", out)
    refused = call(*command)
    assert refused.exit_code == 1
    assert "background_f125w.png: is there already" in refused.output.replace("\n", "")
    assert [path.name for path in out.iterdir()] == [picture.name]
    done = call(*command, "--block-size", 60)
    assert done.exit_code == 0, done.output
    assert picture.read_bytes() == b"mine"


def test_blocks_say_no_as_one_pass_does(call, files, tmp_path) -> None:
    gone = call("detect", files["sci"], tmp_path / "f105w.fits", "-o", tmp_path / "a", "--block-size", "50")
    assert gone.exit_code == 1
    assert "f105w.fits" in gone.stderr
    negative = image(tmp_path / "negative.fits", np.full(SHAPE, -1.0, np.float32), wcs=False)
    refused = call("detect", files["sci"], "--rms", negative, "-o", tmp_path / "b", "--block-size", "50")
    assert refused.exit_code == 1
    assert "negative values are not allowed" in refused.stderr
    other = image(tmp_path / "other.fits", np.ones((5, 5), np.float32), wcs=False)
    refused = call("detect", files["sci"], "--rms", other, "-o", tmp_path / "b", "--block-size", "50")
    assert refused.exit_code == 1
    assert "other.fits" in refused.stderr


def test_knobs_are_shown_and_set(call, files) -> None:
    shown = call("detect", files["sci"], "--dry-run", "--method", "peaks", "--set", "peaks.conv_fwhm_arcsec=0.3")
    assert shown.exit_code == 0
    for line in ("peaks.conv_fwhm_arcsec", "0.3  (given)", "peaks.deblend_threshold_arcsec", "peaks.min_snr"):
        assert line in shown.output


def test_a_missing_band_is_an_error_or_said(call, files, tmp_path) -> None:
    gone = tmp_path / "f105w.fits"
    stopped = call("detect", files["sci"], gone, "-o", tmp_path / "a", "--no-pictures")
    assert stopped.exit_code == 1
    assert "f105w.fits" in stopped.stderr
    assert not (tmp_path / "a" / "det_seg.fits").exists()
    went_on = call("detect", files["sci"], gone, "-o", tmp_path / "b", "--no-pictures", "--skip-unusable")
    assert went_on.exit_code == 0, went_on.output
    assert "not used" in went_on.output
    assert "f105w.fits" in went_on.output


def test_region_files_beside_an_image_mask_that_image_and_others_what_they_name(call, files, tmp_path) -> None:
    """Sources 1 and 2 are bad in f125w only, 3 in f160w only, 4 in both."""
    two = (files["sci"], files["sci2"], "--no-pictures", "--image", "chi_square")
    # LTV1 = -100: physical x is 100 more; regions of images are 1-based.
    with fits.open(files["sci"], mode="update") as hdus:
        hdus[0].header["LTV1"] = -100.0
    (tmp_path / "f125w-bad.reg").write_text("physical\ncircle(141,51,4)\nimage\nbox(121,61,7,7,0)\n")
    (tmp_path / "_bad.reg").write_text("image\ncircle(71,131,4)\n")
    (tmp_path / "star.reg").write_text("image\ncircle(161,141,12)\ncircle(900,900,3)\n")

    def detected(name: str, *more: str) -> tuple[str, pl.DataFrame]:
        done = call("detect", *two, "-o", tmp_path / name, *more)
        assert done.exit_code == 0, done.output
        table = pl.read_parquet(tmp_path / name / "sources.parquet").with_columns((pl.col("x", "y") / 10).round() * 10)
        return done.output, table.sort("x")

    bad = SourceFlag.BAD_PIXELS.value
    told, masked = detected("a", "--mask", str(tmp_path / "star.reg"))
    for words in ("f125w-bad.reg, star.reg", "_bad.reg, star.reg", "1 of 2 regions hold no pixel of"):
        assert words in told
    assert masked.select("x", "y").rows() == [(40.0, 50.0), (70.0, 130.0), (120.0, 60.0)]
    assert (masked["flags_f125w"] & bad).to_list() == [bad, 0, bad]
    assert (masked["flags_f160w"] & bad).to_list() == [0, bad, 0]
    told, free = detected("b", "--no-find-masks", "--mask", f"f160w={tmp_path / 'star.reg'}")
    assert "bad.reg" not in told
    assert free.height == 4
    assert (free["flags_f125w"] & bad).to_list() == [0, 0, 0, 0]
    assert (free["flags_f160w"] & bad).to_list() == [0, 0, 0, bad]
    for word, message in (("f999=star.reg", "'f999' is not a band"), ("gone.reg", "there is no such file")):
        done = call("detect", *two, "-o", tmp_path / "c", "--mask", word)
        assert done.exit_code == 1
        assert message in done.stderr


def test_levels_of_saturation_flag_their_band(call, files, tmp_path) -> None:
    two = (files["sci"], files["sci2"], "--no-pictures", "-o", tmp_path / "a")
    assert call("detect", *two, "--saturation", "0.2", "--saturation", "9").exit_code == 0
    table = pl.read_parquet(tmp_path / "a" / "sources.parquet")
    saturated = SourceFlag.SATURATED.value
    assert (table["flags"] & saturated).to_list() == (table["flags_f125w"] & saturated).to_list() == [saturated] * 4
    assert (table["flags_f160w"] & saturated).sum() == 0


def test_images_of_other_pixels_are_measured_in_the_same_run(call, tmp_path) -> None:
    """Pixels of 0.06 and of 0.6 arcsec: the sky of four sources, and a brighter one on pixels that are turned."""
    coarse = Grid.tangent(53.0, -27.0, shape=(70, 76), scale_arcsec=0.6, rotation_deg=40.0)
    shape = (180 * 2, 200 * 2)
    fine = Grid.tangent(53.0, -27.0, shape=shape, scale_arcsec=0.06)
    rng = np.random.default_rng(4)
    (y, x), (v, u) = np.indices(shape), np.indices((700, 760))
    places = [(80, 100), (240, 120), (140, 260), (320, 280)]
    data = rng.normal(0, 0.02, shape)
    ra, dec = coarse.sky((u.ravel() - 4.5) / 10, (v.ravel() - 4.5) / 10)
    dense_x, dense_y = (p.reshape(u.shape) for p in fine.pixels(ra, dec))
    dense = np.zeros(u.shape)
    for cx, cy in places:
        data += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 6.0**2))
        dense += 2 * np.exp(-((dense_x - cx) ** 2 + (dense_y - cy) ** 2) / (2 * 6.0**2))
    irac = 7.0 + dense.reshape(70, 10, 76, 10).sum(axis=(1, 3)) + rng.normal(0, 2.0, (70, 76))
    names = {"f814w": (data, fine), "irac1": (irac, coarse)}
    for name, (pixels, grid) in names.items():
        header = fits.Header(fits_cards(grid.wcs))
        fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(tmp_path / f"{name}.fits")
    run = ("detect", tmp_path / "f814w.fits", "--also", tmp_path / "irac1.fits", "--no-pictures")
    circles = ("--zero-point", "25.0", "--zero-point", "25.0")
    done = call(*run, *circles, "-o", tmp_path / "a", "--threshold", "10")
    assert done.exit_code == 0, done.output
    assert "measured" in done.output
    table = pl.read_parquet(tmp_path / "a" / "sources.parquet")
    assert table.height == 4
    # Twice as bright; in Kron apertures coarse pixels blur by a fifth of the width.
    ratio = table["flux_auto_irac1"] / table["flux_auto_f814w"]
    error = ratio * (table["flux_auto_err_irac1"] / table["flux_auto_irac1"])
    assert (abs(ratio - 2.0) < 3 * error + 0.15).all(), ratio
    # The noise of 2.0 in each coarse pixel of the Kron aperture, those at its edge in part.
    area = np.pi * table["a"] * table["b"] * table["kron_radius"] ** 2 / 100
    expected = 2.0 * area.sqrt() * 10 ** (-0.4 * (25.0 - 23.9))
    assert (table["flux_auto_err_irac1"] / expected).is_between(0.75, 1.05).all()
    with fits.open(tmp_path / "a" / "sources.fits") as hdus:
        assert "flux_auto_irac1" in hdus[1].columns.names
    (tmp_path / "irac1-bad.reg").write_text(f'icrs\ncircle({table["ra"][0]}, {table["dec"][0]}, 1.3")\n')
    masked = call(*run, "-o", tmp_path / "b", "--threshold", "10")
    assert "irac1-bad.reg" in masked.output
    flags = pl.read_parquet(tmp_path / "b" / "sources.parquet").select("flags_f814w", "flags_irac1").row(0)
    assert [bool(f & SourceFlag.BAD_PIXELS.value) for f in flags] == [False, True]
    same = call(*run, "--band", "a", "--band", "a", "-o", tmp_path / "c")
    assert same.exit_code == 1
    assert "need different names" in same.stderr


def test_pixels_that_are_bad_count_what_the_pixel_opposite_counts(call, files, tmp_path) -> None:
    one = (files["sci"], "--rms", files["rms"], "--no-pictures")
    assert call("detect", *one, "-o", tmp_path / "a").exit_code == 0
    # Left of the centre of the source at (40, 50); without stand-ins a third of the light would be gone.
    (tmp_path / "f125w_bad.reg").write_text("image\nbox(38,51,3,5,0)\n")
    assert call("detect", *one, "-o", tmp_path / "b").exit_code == 0
    before, after = (pl.read_parquet(tmp_path / k / "sources.parquet").sort("x").row(0, named=True) for k in "ab")
    assert after["area"] < before["area"]
    assert after["flux_aper2_f125w"] == pytest.approx(before["flux_aper2_f125w"], rel=0.12)
    assert after["flux_aper2_err_f125w"] > before["flux_aper2_err_f125w"]


@pytest.mark.parametrize("knows_its_noise", [True, False])
def test_errors_have_the_noise_covariance_of_the_file_or_one_factor(call, tmp_path, knows_its_noise: bool) -> None:
    """Noise is white in the left half and smoothed by 3 x 3 in the right one, of equal variance."""
    shape, sigma = (200, 400), 0.02
    rng = np.random.default_rng(3)
    white, smooth = rng.normal(0, sigma, (2, *shape))
    smooth = 3 * uniform_filter(smooth, 3, mode="wrap")
    data = np.where(np.arange(400) < 200, white, smooth)
    y, x = np.indices(shape)
    places = [(50 + 100 * i, 50 + 100 * j) for i in range(4) for j in range(2)]
    for cx, cy in places:
        data += 0.5 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.8**2))
    triangle = np.convolve(np.ones(3), np.ones(3)) / 3
    kernels = np.zeros((2, 5, 5))
    kernels[0, 2, 2] = 1
    kernels[1] = np.outer(triangle, triangle)
    classes = np.repeat(np.arange(2, dtype=np.uint8), 200)[None].repeat(200, axis=0)
    noise = NoiseCovariance(kernels=kernels, class_map=classes, classes=("white", "smooth"))
    ones = np.ones(shape, np.float32)
    mosaic = Mosaic(
        band="f160w",
        grid=Grid.tangent(53.0, -27.0, shape=shape, scale_arcsec=0.06),
        data=data.astype(np.float32),
        weight=ones,
        variance=ones * np.float32(sigma**2),
        context=np.ones((1, *shape), np.int32),
        exposure_ids=("a",),
        zero_point_ab=25.9,
        noise=noise if knows_its_noise else None,
    )
    write_mosaic(mosaic, tmp_path / "f160w_drz.fits")
    done = call("detect", tmp_path / "f160w_drz.fits", "-o", tmp_path / "det", "--no-pictures", "--threshold", "20")
    assert done.exit_code == 0, done.output
    table = pl.read_parquet(tmp_path / "det" / "sources.parquet").sort("x")
    assert table.height == 8
    blocks = ("-o", tmp_path / "blocks", "--threshold", "20", "--block-size", "70")
    assert call("detect", tmp_path / "f160w_drz.fits", *blocks).exit_code == 0
    assert pl.read_parquet(tmp_path / "blocks" / "sources.parquet").sort("x").equals(table)
    refused = call("detect", tmp_path / "f160w_drz.fits", *blocks, "--saturation", "1", "--overwrite")
    assert "--also, --saturation: they are not allowed block by block" in refused.stderr
    errors = table["flux_aper2_err_f160w"].to_numpy() / (sigma * mosaic.microjansky_per_unit)
    # Independent pixels in a circle of 10 pixels, with their overlaps squared.
    at = (np.arange(13 * 20) + 0.5) / 20 - 6.5
    overlap = (np.hypot(at, at[:, None]) < 5).reshape(13, 20, 13, 20).mean(axis=(1, 3))
    independent = np.sqrt(np.sum(overlap**2))
    if knows_its_noise:
        factor = noise.aperture_factor(5.0, y=100.0, x=300.0)[0]
        assert factor > 2
        np.testing.assert_allclose(errors[:4], independent, rtol=0.005)
        np.testing.assert_allclose(errors[4:], factor * independent, rtol=0.005)
    else:
        assert errors.max() < 1.05 * errors.min()
        assert 1.3 * independent < errors[0] < 2.2 * independent


def test_bad_input_is_one_clear_line(call, files, tmp_path) -> None:
    ones = np.ones(SHAPE, np.float32)
    bad = {
        "shape": (image(tmp_path / "s.fits", ones[1:], wcs=False), "shape (179, 200) is not allowed"),
        "negative": (image(tmp_path / "n.fits", -ones, wcs=False), "negative values are not allowed"),
    }
    for path, message in bad.values():
        done = call("detect", files["sci"], "--rms", path, "-o", tmp_path / "x")
        assert done.exit_code == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    zero = image(tmp_path / "z.fits", 0 * ones, wcs=False)
    blank = image(tmp_path / "b.fits", ones * np.nan)
    bare = image(tmp_path / "bare.fits", ones, wcs=False)
    for arguments, message in (
        ((files["sci"], "--weight", zero), "no pixel has a positive weight"),
        ((blank,), "none of its 36000 pixels is finite"),
        ((bare,), "WCS"),
        ((files["sci"], "--weight", zero, "--rms", files["rms"]), "not allowed together"),
        ((files["sci"], "--band", "a", "--band", "b"), "2 values for 1 files"),
        ((files["sci"], "--image", "median"), "median"),
    ):
        done = call("detect", *arguments, "-o", tmp_path / "x")
        assert done.exit_code == 1
        assert message in done.stderr, done.stderr


def test_an_image_with_errors_has_the_zero_point_of_its_header(files) -> None:
    band = read_band(files["sci"], rms=files["rms"])
    assert band.band == "f125w"
    assert band.zero_point_ab == pytest.approx(26.25, abs=0.05)
    np.testing.assert_allclose(band.weight, 2500.0, rtol=1e-5)
    assert read_band(files["sci"], zero_point_ab=25.0, band="j").zero_point_ab == 25.0
