"""Thumbnails of sizes of their own, of merged filters, with an oversampled PSF, and in several processes."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.mosaic.thumbnail_scene import (
    DEC,
    RA,
    SQUARE,
    alone,
    centroid,
    fwhm,
    in_circle,
    make_scene,
    positions,
)

from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError
from skymere.instruments import flam_of_zero_point
from skymere.io import read_thumbnail, write_thumbnail
from skymere.mosaic import ExposureList, ThumbnailParams, alike_filters, source_sizes, thumbnails
from skymere.psf import MoffatPsf
from skymere.resample import Geometry
from skymere.testing import BANDS
from skymere.wcs import Grid

BOTH = {"ir": ("f125w", "f160w")}


@pytest.fixture(scope="module")
def scene():
    return make_scene()


def in_order(made):
    return sorted(made, key=lambda one: one.row)


def test_sides_hold_the_segments_and_keep_their_limits():
    grid = Grid.tangent(RA, DEC, shape=(400, 400), scale_arcsec=0.1, rotation_deg=30.0)
    labels = np.zeros(grid.shape, np.int32)
    labels[190:210, 150:230] = 3
    labels[10:12, 10:12] = 4
    labels[0:399, 380:400] = 5
    x, y = np.array([180.0, 10.5, 390.0]), np.array([199.5, 10.5, 200.0])
    ra, dec = grid.sky(x, y)
    table = pl.DataFrame({"id": [3, 4, 5, 99], "ra": [*ra, RA], "dec": [*dec, DEC]})
    sides = source_sizes(table, segmentation=SegmentationMap(labels=labels, grid=grid))
    # Corners of the box, by astropy, in offsets to the north and the east.
    corner_ra, corner_dec = grid.sky(np.array([149.5, 229.5, 229.5, 149.5]), np.array([189.5, 189.5, 209.5, 209.5]))
    across = Grid.tangent(ra[0], dec[0], shape=(1, 1), scale_arcsec=1.0).pixels(corner_ra, corner_dec)
    assert sides[0] == pytest.approx(2 * np.abs(across).max(), rel=1e-9)
    assert sides.tolist()[1:] == [4.0, 15.0, 4.0]
    (one,) = thumbnails(
        make_scene(n_dithers=1).exposures,
        table[:1],
        geometry=Geometry(kernel="square", pixfrac=1.0, pixscale=0.1),
        segmentation=SegmentationMap(labels=labels, grid=grid),
        sizes=sides[:1],
    )
    # All of the segment is on it, within the pixels along its outline.
    area = np.count_nonzero(labels == 3)
    assert np.count_nonzero(one.segmentation == 3) == pytest.approx(area, abs=0.5 * (80 + 20) * 2)
    boxes = {"XMIN_IMAGE": [1, 5], "XMAX_IMAGE": [60, 5], "YMIN_IMAGE": [1, 5], "YMAX_IMAGE": [90, 5]}
    listed = pl.DataFrame({"ra": [RA, RA], "dec": [DEC, DEC], **boxes})
    assert source_sizes(listed, scale_arcsec=0.1, limits=(1.0, 20.0)).tolist() == pytest.approx([9.0, 1.0])


def test_thumbnails_differ_in_nothing_but_their_size(scene):
    table = positions(scene)[:3]
    sizes = np.array([3.1, 4.0, 2.5])
    asked = thumbnails(scene.exposures, table, geometry=SQUARE, sizes=sizes)
    made = in_order(asked)
    whole = in_order(thumbnails(scene.exposures, table, geometry=replace(SQUARE, size=6.0)))
    assert [one.geometry_sha256 for one in made] == [replace(SQUARE, size=size).digest for size in sizes]
    assert len({one.geometry_sha256 for one in made}) == 3
    assert [one.digest for one in asked.geometries()] == [one.geometry_sha256 for one in made]
    for one, large, size in zip(made, whole, sizes, strict=True):
        n = round(size / SQUARE.pixscale)
        assert one.grid.shape == (n, n)
        # Sizes of one parity share pixels.
        if (large.grid.shape[0] - n) % 2 == 0:
            edge = (large.grid.shape[0] - n) // 2
            inner = large["f160w"].data[edge : edge + n, edge : edge + n]
            np.testing.assert_allclose(one["f160w"].data, inner, rtol=2e-5, atol=1e-5 * np.nanmax(inner))
    assert any((large.grid.shape[0] - one.grid.shape[0]) % 2 == 0 for one, large in zip(made, whole, strict=True))


@pytest.mark.parametrize(("kernel", "pixfrac", "n_dithers", "n"), [("square", 0.8, 6, 3), ("point", 0.2, 2, 2)])
def test_an_oversampled_psf_is_smooth_centred_and_whole(kernel, pixfrac, n_dithers, n):
    scene = make_scene(n_dithers=n_dithers, n_stars=1)
    source = {band: MoffatPsf(fwhm_arcsec=fwhm(band), beta=3.0) for band in ("f125w", "f160w")}
    geometry = Geometry(kernel=kernel, pixfrac=pixfrac, pixscale=0.1, size=6.4)
    params = ThumbnailParams(psf_oversample=n)
    place = [[RA, DEC]]
    (one,) = thumbnails(scene.exposures, place, geometry=geometry, psf=source, params=params)
    (plain,) = thumbnails(scene.exposures, place, geometry=geometry, psf=source)
    for band in one.bands:
        np.testing.assert_array_equal(band.psf, plain[band.band].psf)
        fine = band.fine_psf
        assert fine.shape == tuple(n * side for side in band.shape)
        x, y = n * (one.x + 0.5) - 0.5, n * (one.y + 0.5) - 0.5
        found = centroid(fine)
        enclosed = in_circle(fine, x, y, 3.0 * n / 0.1)
        holes = float(np.mean(fine == 0))
        off = max(abs(found[0] - x), abs(found[1] - y)) / n
        print(f"{kernel} {band.band}: {off:.4f} pixel off, {enclosed:.4f} within 3 arcsec, {holes:.3f} of it empty")
        assert off < 0.02
        assert enclosed == pytest.approx(1.0, abs=0.01)
        assert holes == 0
        # Mean over pixels of the Moffat profile that the detector's pixel (0.128 arcsec) and the drop (pixfrac of it)
        # and the fine pixel widened: by quadrature on a grid of a quarter of a fine pixel, not by the drizzle.
        expected = widened_moffat(fwhm(band.band), pixfrac if kernel == "square" else 0.0, 0.1 / n, fine.shape[0])
        difference = np.abs(fine - expected).max() / expected.max()
        print(f"   {difference:.4f} of the peak from the profile")
        assert difference < 0.02


def widened_moffat(width, pixfrac, step, side, beta=3.0, angle=20.0):
    """A Moffat profile, box of the detector's pixel, box of the drop, and box of an output pixel, on output pixels."""
    alpha = width / (2 * np.sqrt(2 ** (1 / beta) - 1))
    part = 4
    n = side * part
    frequency = np.fft.fftfreq(n, step / part)
    u, v = np.meshgrid(frequency, frequency)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    along, across = c * u + s * v, -s * u + c * v
    detector = 0.1282500028610229
    boxes = np.sinc(along * detector) * np.sinc(across * detector)
    boxes *= np.sinc(along * detector * pixfrac) * np.sinc(across * detector * pixfrac)
    boxes *= np.sinc(u * step) * np.sinc(v * step)
    # Middle between pixels of the finest grid, as a source on the corner of four pixels has it.
    axis = (np.arange(n) - (n - 1) / 2) * step / part
    xx, yy = np.meshgrid(axis, axis)
    profile = (beta - 1) / (np.pi * alpha**2) * (1 + (xx**2 + yy**2) / alpha**2) ** -beta
    image = np.fft.ifft2(np.fft.fft2(profile) * boxes).real
    # Values at middles of output pixels: between the two inner ones of each four.
    cut = image.reshape(side, part, side, part)
    return cut[:, 1:3, :, 1:3].mean(axis=(1, 3)) * step**2


def test_an_oversampled_psf_is_written_as_such_and_comes_back(scene, tmp_path):
    params = ThumbnailParams(psf_oversample=2)
    source = MoffatPsf(fwhm_arcsec=0.16, beta=3.0)
    (one,) = thumbnails(scene.exposures[:2], [[RA, DEC]], geometry=SQUARE, psf=source, params=params)
    write_thumbnail(one, tmp_path / "a.thumb.fits")
    from astropy.io import fits

    with fits.open(tmp_path / "a.thumb.fits") as hdus:
        header = hdus["PSFOVER", "F125W"].header
        assert header["OVERSAMP"] == 2
        assert header["PIXASEC"] == pytest.approx(SQUARE.pixscale / 2)
        assert header["NAXIS1"] == 2 * hdus["SCI", "F125W"].header["NAXIS1"]
        # The position is where the header says that it is: middle of the pixels.
        grid = Grid.from_cards({k: header[k] for k in header if k and k not in ("EXTNAME", "EXTVER")}, (104, 104))
        x, y = grid.pixels(np.array([RA]), np.array([DEC]))
        assert (x[0], y[0]) == pytest.approx((2 * one.x + 0.5, 2 * one.y + 0.5), abs=1e-6)
    back = read_thumbnail(tmp_path / "a.thumb.fits")["f125w"]
    assert back.psf_oversample == 2
    np.testing.assert_array_equal(back.fine_psf, one["f125w"].fine_psf)


def test_merged_filters_have_one_zero_point_and_inverse_variances(scene):
    k = alone(scene, 2.2)[0]
    place = positions(scene)[[k]]
    (apart,) = thumbnails(scene.exposures, place, geometry=SQUARE)
    (one,) = thumbnails(scene.exposures, place, geometry=SQUARE, merged=BOTH)
    (band,) = one.bands
    assert (band.band, band.filters) == ("ir", ("f125w", "f160w"))
    zero = BANDS["f125w"][0]
    assert band.zero_point_ab == zero
    assert set(one.exposures.filter("is_used")["band"]) == {"f125w", "f160w"}
    assert one.rows()[0]["n_exposures"] == 12
    # Weights of both, brought to one zero point, add up; the data are their weighted mean.
    factor = 10.0 ** (0.4 * (zero - BANDS["f160w"][0]))
    first, second = apart["f125w"], apart["f160w"]
    background = ThumbnailParams(weight="inverse_variance")
    (only,) = thumbnails(scene.exposures, place, geometry=SQUARE, params=background)
    (all_of,) = thumbnails(scene.exposures, place, geometry=SQUARE, params=background, merged=BOTH)
    w1, w2 = only["f125w"].weight, only["f160w"].weight / factor**2
    np.testing.assert_allclose(all_of["ir"].weight, w1 + w2, rtol=1e-4)
    expected = (w1 * first.data + w2 * second.data * factor) / (w1 + w2)
    np.testing.assert_allclose(band.data, expected, rtol=1e-4, atol=1e-5 * np.nanmax(expected))
    # Stars of one AB magnitude in both filters have it in the merged band as well.
    flux = in_circle(band.data, one.x, one.y, 1.1 / 0.07695)
    in_first = in_circle(first.data, one.x, one.y, 1.1 / 0.07695)
    assert flux == pytest.approx(in_first, rel=0.03)
    pivots = [BANDS[name][1] * 1e4 for name in ("f125w", "f160w")]
    assert pivots[0] < band.photplam < pivots[1]
    assert band.photflam == pytest.approx(flam_of_zero_point(zero, band.photplam))


def test_pulls_of_merged_bands_are_one():
    scene = make_scene(n_stars=1, mag=21.0)
    place = scene.stars.select("ra", "dec")
    (truth,) = thumbnails(scene.exposures, place, geometry=SQUARE, merged=BOTH)
    pulls = []
    for seed in range(150):
        (one,) = thumbnails(scene.noisy(np.random.default_rng([seed, 21])), place, geometry=SQUARE, merged=BOTH)
        band = one["ir"]
        for dx, dy in ((0, 0), (-14, 12), (14, -12)):
            with np.errstate(divide="ignore"):
                variance = in_circle(1 / band.weight, one.x + dx, one.y + dy, 8.0)
            offset = in_circle(band.data - truth["ir"].data, one.x + dx, one.y + dy, 8.0)
            pulls.append(offset / np.sqrt(variance))
    print(f"{len(pulls)} pulls: {np.mean(pulls):.3f} +- {np.std(pulls):.3f}")
    # Of 450 pulls the scatter is known to 3.3 %, the mean to 0.047; errors from counts bias it by a part of a sigma.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
    assert abs(np.mean(pulls)) < 0.2


def test_alike_filters_are_of_one_camera_and_near_in_wavelength(scene):
    listed = ExposureList.of(scene.exposures)
    assert dict(alike_filters(listed, tolerance=0.3)) == {"f125w+f160w": ("f125w", "f160w")}
    assert dict(alike_filters(listed, tolerance=0.1)) == {}
    other = [replace(one, detector="UVIS") if one.band == "f160w" else one for one in scene.exposures]
    assert dict(alike_filters(ExposureList.of(other), tolerance=0.3)) == {}
    with pytest.raises(InvalidInputError, match="tolerance: 0"):
        alike_filters(listed, tolerance=0.0)


def test_an_exposure_without_a_zero_point_is_not_merged(scene):
    silent = replace(
        scene.exposures[7], zero_point_ab=np.nan, photplam=np.nan, instrument="", detector="", band="f161w"
    )
    (one,) = thumbnails([*scene.exposures[:2], silent], [[RA, DEC]], geometry=SQUARE, merged={"ir": ["f125w", "f161w"]})
    assert one["ir"].filters == ("f125w",)
    left = one.exposures.filter(~pl.col("is_used"))
    assert left["reason"].to_list() == ["its zero point is not known, so that it cannot be merged with other filters"]


def test_two_workers_give_the_same_bits_and_order_as_one(scene):
    source = MoffatPsf(fwhm_arcsec=0.16, beta=3.0)
    table = positions(scene)
    grid = Grid.tangent(RA, DEC, shape=(200, 200), scale_arcsec=0.1, rotation_deg=12.3456789)
    labels = SegmentationMap(labels=np.arange(40000, dtype=np.int32).reshape(200, 200) % 50, grid=grid)
    options = {"geometry": SQUARE, "psf": source, "segmentation": labels, "sizes": np.linspace(2.0, 5.0, table.height)}
    options["params"] = ThumbnailParams(psf_oversample=2, memory_mb=20.0)
    alone_made = list(thumbnails(scene.exposures[::3], table, **options))
    made = list(thumbnails(scene.exposures[::3], table, **options, n_workers=2))
    assert [one.row for one in made] == [one.row for one in alone_made]
    for one, other in zip(made, alone_made, strict=True):
        assert one.grid.cards() == other.grid.cards()
        assert (one.x, one.y, one.geometry_sha256) == (other.x, other.y, other.geometry_sha256)
        np.testing.assert_array_equal(one.segmentation, other.segmentation)
        assert one.exposures.equals(other.exposures)
        for band, same in zip(one.bands, other.bands, strict=True):
            for plane in ("data", "weight", "variance", "psf", "fine_psf"):
                assert getattr(band, plane).tobytes() == getattr(same, plane).tobytes()


def test_parts_are_no_larger_than_the_memory_that_is_given(scene):
    table = pl.concat([positions(scene)] * 40)
    little = ThumbnailParams(memory_mb=4.0)
    for n_workers in (1, 2):
        asked = thumbnails(scene.exposures, table, geometry=SQUARE, params=little, n_workers=n_workers)
        parts = list(asked._chunks())
        assert sorted(np.concatenate([part.rows for part in parts]).tolist()) == list(range(table.height))
        held = 1 if n_workers == 1 else n_workers + 1
        assert all(asked._maker.memory(part).sum() * held <= 4.0e6 for part in parts)


def test_bad_input_is_named(scene):
    some = scene.exposures[:1]
    place = [[RA, DEC]]
    box = pl.DataFrame({"ra": [RA], "dec": [DEC], "x_min": [0], "x_max": [1], "y_min": [0], "y_max": [1]})
    for call, message in (
        (lambda: thumbnails(some, place, geometry=SQUARE, sizes=[-1.0]), "sizes: -1.0 in row 0"),
        (lambda: thumbnails(some, place, geometry=SQUARE, sizes=[1.0, 2.0]), "sizes: shape"),
        (lambda: thumbnails(some, place, geometry=SQUARE, n_workers=0), "n_workers: 0"),
        (lambda: ThumbnailParams(psf_oversample=0), "psf_oversample: 0"),
        (lambda: ThumbnailParams(psf_oversample=2.5), "psf_oversample: 2.5"),
        (
            lambda: list(thumbnails(some, place, geometry=SQUARE, psf=lambda _: None, n_workers=2)),
            "n_workers: 2 is not allowed, what is given cannot be sent",
        ),
        (
            lambda: thumbnails(scene.exposures, place, geometry=SQUARE, merged={"a": ["f125w"], "b": ["F125W"]}),
            "merged: 'f125w' is not allowed in two groups",
        ),
        (
            lambda: thumbnails(scene.exposures, place, geometry=SQUARE, merged={"f160w": ["f125w"]}),
            "merged: 'f160w' is not allowed, it is the name of a filter",
        ),
        (lambda: thumbnails(some, place, geometry=SQUARE, merged={"a": []}), "a group needs a name and filters"),
        (lambda: source_sizes(place), "positions: no bounding boxes"),
        (lambda: source_sizes(box), "scale_arcsec: None"),
        (lambda: source_sizes(box, scale_arcsec=0.1, limits=(5.0, 4.0)), "limits: "),
    ):
        with pytest.raises(InvalidInputError, match=message):
            call()
    fixed = Geometry(wcs=Grid.tangent(RA, DEC, shape=(20, 20), scale_arcsec=0.1))
    with pytest.raises(InvalidInputError, match="sizes: are not allowed with a geometry of given pixels"):
        thumbnails(some, place, geometry=fixed, sizes=[4.0])
