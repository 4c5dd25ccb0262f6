"""Thumbnails from simulated exposures: fluxes, places, noise, PSF, labels, and what is said of exposures."""

import hashlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.mosaic.thumbnail_scene import (
    DEC,
    EXPTIME,
    RA,
    READ_NOISE,
    SKY,
    SQUARE,
    alone,
    centroid,
    fwhm,
    in_circle,
    make_scene,
    positions,
)

from skymere.datamodels import FLAM, SegmentationMap
from skymere.errors import InvalidInputError, NotFoundError
from skymere.mosaic import ExposureList, ThumbnailParams, thumbnails
from skymere.psf import MoffatPsf
from skymere.resample import Geometry, noise_correlation
from skymere.wcs import Grid


@pytest.fixture(scope="module")
def scene():
    return make_scene()


def test_fluxes_are_kept_and_stars_are_where_they_are_said_to_be(scene):
    single = alone(scene, 2.2)
    assert len(single) >= 2
    worst = [0.0, 0.0]
    for n in (52, 53):
        geometry = Geometry(kernel="square", pixfrac=0.8, pixscale=0.07695, size=n * 0.07695)
        made = sorted(thumbnails(scene.exposures, positions(scene), geometry=geometry), key=lambda one: one.row)
        for k in single:
            one = made[k]
            assert (one.row, one.source_id) == (k, 11 + k)
            assert (one.x, one.y) == pytest.approx(((n - 1) / 2, (n - 1) / 2), abs=1e-6)
            assert [band.band for band in one.bands] == ["f125w", "f160w"]
            for band in one.bands:
                # The light that a Moffat profile of beta 3 has beyond 1.1 arcsec, and its pixel, is known to 1e-3.
                radius = 1.1
                alpha = fwhm(band.band) / (2 * np.sqrt(2 ** (1 / 3) - 1))
                within = 1 - (1 + (radius / alpha) ** 2) ** -2
                flux = in_circle(band.data, one.x, one.y, radius / 0.07695)
                worst[0] = max(worst[0], abs(flux / (scene.flux(band.band)[k] * within) - 1))
                yy, xx = np.indices(band.shape)
                core = np.where(np.hypot(xx - one.x, yy - one.y) < radius / 0.07695, band.data, 0)
                x, y = centroid(core)
                worst[1] = max(worst[1], abs(x - one.x), abs(y - one.y))
    print(f"flux within {worst[0]:.4f}, centroid within {worst[1]:.4f} pixel")
    # Drops of 0.8 leave gaps, so that fluxes vary a little with the dithers (docs of resample).
    assert worst[0] < 0.01
    assert worst[1] < 0.02


@pytest.mark.parametrize(
    ("kernel", "pixfrac", "pixscale"),
    [("square", 0.8, 0.07695), ("square", 1.0, 0.1282500028610229), ("point", 0.2, 0.1)],
)
def test_the_rms_of_blank_sky_times_the_root_of_the_weight_is_one_over_r(kernel, pixfrac, pixscale):
    scene = make_scene(n_dithers=12, n_stars=1, mag=35.0)
    geometry = Geometry(kernel=kernel, pixfrac=pixfrac, pixscale=pixscale, size=18.0)
    r = noise_correlation(pixfrac, pixscale / 0.12825) if kernel == "square" else 1.0
    scaled, pixel, blocks = [], [], []
    for seed in range(4):
        for one in thumbnails(scene.noisy(np.random.default_rng([seed, 5])), [[RA, DEC]], geometry=geometry):
            for band in one.bands:
                used = band.weight > 0
                scaled.append((band.data * np.sqrt(band.weight))[used])
                pixel.append((band.data / np.sqrt(band.variance))[used])
                assert band.noise_correlation == pytest.approx(r, rel=0.03)
                side = 18
                n = band.shape[0] // side
                cut = slice(0, n * side)
                cells = (n, side, n, side)
                with np.errstate(divide="ignore"):
                    inverse = np.where(used, 1 / band.weight, 0.0)
                sums = np.where(used, band.data, 0.0)[cut, cut].reshape(cells).sum(axis=(1, 3))
                blocks.append((sums / np.sqrt(inverse[cut, cut].reshape(cells).sum(axis=(1, 3)))).ravel())
    rms, of_pixels, of_blocks = (float(np.std(np.concatenate(one))) for one in (scaled, pixel, blocks))
    n_blocks = sum(one.size for one in blocks)
    print(
        f"{kernel} {pixfrac} {pixscale}: rms {rms:.4f}, 1/R {1 / r:.4f}; pixel {of_pixels:.4f}; blocks {of_blocks:.3f}"
    )
    assert rms == pytest.approx(1 / r, rel=0.03)
    assert of_pixels == pytest.approx(1.0, rel=0.03)
    # Three times the scatter of an rms of so many blocks; a block is 17 drops wide, and its edge lowers its noise.
    assert of_blocks == pytest.approx(1.0, abs=3 / np.sqrt(2 * n_blocks) + 0.05)


def test_pulls_of_aperture_fluxes_of_bright_stars_are_one_with_the_weight_of_all_noise():
    scene = make_scene(n_stars=4, mag=20.0)
    single = alone(scene, 1.2)
    truth = {one.row: one for one in thumbnails(scene.exposures, positions(scene), geometry=SQUARE)}
    pulls, of_background = [], []
    for seed in range(60):
        noisy = scene.noisy(np.random.default_rng([seed, 9]))
        for one in thumbnails(noisy, positions(scene)[single], geometry=SQUARE):
            for band in one.bands:
                radius = 8.0
                with np.errstate(divide="ignore"):
                    variance = in_circle(1 / band.weight, one.x, one.y, radius)
                known = truth[single[one.row]][band.band]
                offset = in_circle(band.data - known.data, one.x, one.y, radius)
                pulls.append(offset / np.sqrt(variance))
    for one in thumbnails(
        scene.exposures, positions(scene)[single], geometry=SQUARE, params=ThumbnailParams(weight="inverse_variance")
    ):
        assert {band.weight_kind for band in one.bands} == {"inverse_variance"}
        of_background += [float(band.weight.max() / band.weight[int(one.y), int(one.x)]) for band in one.bands]
    print(f"{len(pulls)} pulls: {np.mean(pulls):.3f} +- {np.std(pulls):.3f}")
    # Of so many pulls the scatter is known to 4 %, and part of the correlation reaches out of a circle of 8 pixels.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.12)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(len(pulls))
    # Sources do not show in the weight of the background.
    assert max(of_background) < 1.5


def test_the_weight_of_the_background_is_the_inverse_of_read_noise_and_sky():
    scene = make_scene(n_stars=1, mag=35.0)
    (one,) = thumbnails(
        scene.exposures, [[RA, DEC]], geometry=SQUARE, params=ThumbnailParams(weight="inverse_variance")
    )
    band = one["f160w"]
    per_pixel = (SKY * EXPTIME + READ_NOISE**2) / EXPTIME**2
    ratio = 0.07695 / 0.1282500028610229
    # N exposures share s^2 of a detector's pixel.
    expected = 6 / (per_pixel * ratio**2)
    assert np.median(band.weight) == pytest.approx(expected, rel=0.03)


def test_the_psf_is_that_of_the_star_in_the_thumbnail_and_centred_on_it(scene):
    source = {band: MoffatPsf(fwhm_arcsec=fwhm(band), beta=3.0) for band in ("f125w", "f160w")}
    geometry = Geometry(kernel="square", pixfrac=0.8, pixscale=0.07695, size=6.0)
    worst = 0.0
    for k in alone(scene, 2.2)[:2]:
        (one,) = thumbnails(scene.exposures, positions(scene)[[k]], geometry=geometry, psf=source)
        for band in one.bands:
            assert band.psf.shape == band.data.shape
            assert in_circle(band.psf, one.x, one.y, 3.0 / 0.07695) == pytest.approx(1.0, abs=0.01)
            x, y = centroid(band.psf)
            assert max(abs(x - one.x), abs(y - one.y)) < 0.02
            yy, xx = np.indices(band.shape)
            near = np.hypot(xx - one.x, yy - one.y) < 12
            model = band.psf * scene.flux(band.band)[k]
            worst = max(worst, float(np.abs(band.data - model)[near].max() / band.data.max()))
    print(f"star minus PSF: {worst:.4f} of the peak")
    assert worst < 0.02


def test_chunks_and_repeats_give_the_same_bits_and_read_each_exposure_once(scene):
    counts = {}

    class Counted(list):
        def __getitem__(self, i):
            counts[i] = counts.get(i, 0) + 1
            return super().__getitem__(i)

    listed = ExposureList.of(scene.exposures)
    source = MoffatPsf(fwhm_arcsec=0.16, beta=3.0)
    table = positions(scene)
    whole = {one.row: one for one in thumbnails(listed, table, geometry=SQUARE, psf=source)}
    held = Counted(scene.exposures)
    counting = ExposureList(
        listed.table, lambda row: held[listed.table["exposure_id"].to_list().index(row["exposure_id"])]
    )
    again = {one.row: one for one in thumbnails(counting, table, geometry=SQUARE, psf=source)}
    assert counts == dict.fromkeys(range(len(scene.exposures)), 1)
    little = ThumbnailParams(memory_mb=0.7)
    parts = {one.row: one for one in thumbnails(listed, table, geometry=SQUARE, psf=source, params=little)}
    assert len(list(thumbnails(listed, table, geometry=SQUARE, params=little)._chunks())) > 1
    for k, one in whole.items():
        for other in (again[k], parts[k]):
            for mine, theirs in zip(one.bands, other.bands, strict=True):
                for plane in ("data", "weight", "variance", "psf"):
                    np.testing.assert_array_equal(getattr(mine, plane), getattr(theirs, plane))
            assert one.exposures.equals(other.exposures)


def test_inputs_stay_as_they_are(scene):
    def digest():
        planes = (plane for one in scene.exposures for plane in (one.data, one.error, one.dq))
        return hashlib.sha256(b"".join(plane.tobytes() for plane in planes)).hexdigest()

    before = digest()
    list(thumbnails(scene.exposures, positions(scene), geometry=SQUARE, psf=MoffatPsf(fwhm_arcsec=0.16, beta=3.0)))
    assert digest() == before


def test_exposures_that_overlap_but_were_left_out_are_listed_with_the_reason(scene):
    some = list(scene.exposures)
    some[0] = replace(some[0], dq=np.ones(some[0].shape, np.uint32))
    part = np.zeros(some[1].shape, np.uint32)
    part[60:170, 60:180] = 1
    some[1] = replace(some[1], dq=part)
    known = ExposureList.of(scene.exposures).table
    asked = thumbnails(some[:4], [[RA, DEC]], geometry=SQUARE, filters=["F125W"], known=known)
    (one,) = asked
    said = {
        name: (used, why) for name, used, why in one.exposures.select("exposure_id", "is_used", "reason").iter_rows()
    }
    assert said["f125w0"] == (False, "rejected: all pixels are bad")
    assert said["f125w1"] == (False, "all of its pixels there are bad")
    assert said["f125w2"] == said["f125w3"] == (True, "")
    assert said["f125w4"] == said["f160w5"] == (False, "it was not given")
    assert len(said) == 12
    assert one.rows()[0]["n_exposures"] == 2
    assert one.rows()[0]["n_left_out"] == 4
    assert one["f125w"].coverage == 1
    # One filter makes a thumbnail of one filter, and says so.
    assert [row["n_bands"] for row in one.rows()] == [1]
    (every,) = thumbnails(scene.exposures, [[RA, DEC]], geometry=SQUARE, filters=["f125w"])
    assert set(every.exposures.filter(~pl.col("is_used"))["reason"]) == {"its filter was not asked for"}
    with pytest.raises(NotFoundError, match="'f160w' is not there"):
        every["f160w"]


def test_a_plan_lists_exactly_the_exposures_that_share_sky(scene):
    rng = np.random.default_rng(8)
    places = np.column_stack([RA + rng.uniform(-25, 25, 40) / 3600, DEC + rng.uniform(-25, 25, 40) / 3600])
    for geometry in (SQUARE, replace(SQUARE, rotation_deg=40.0)):
        planned = thumbnails(scene.exposures, places, geometry=geometry).plan()
        listed = set(planned.select("row", "exposure_id").iter_rows())
        expected = set()
        for k, (ra, dec) in enumerate(places):
            grid = geometry.grid(ra, dec)
            ny, nx = grid.shape
            # Points as dense as the pixels, edges included.
            x, y = np.meshgrid(np.linspace(-0.499, nx - 0.501, 2 * nx), np.linspace(-0.499, ny - 0.501, 2 * ny))
            sky = grid.sky(x.ravel(), y.ravel())
            for one in scene.exposures:
                u, v = one.wcs.all_world2pix(*sky, 0)
                if ((u > -0.5) & (v > -0.5) & (u < one.shape[1] - 0.5) & (v < one.shape[0] - 0.5)).any():
                    expected.add((k, one.exposure_id))
        n = len(expected)
        assert 0 < n < 40 * 12
        # A corner that reaches over an edge by less than half a pixel falls between those points.
        assert expected <= listed
        assert len(listed) - n <= 2


def test_the_coverage_says_what_part_has_data_and_the_status_where_there_is_nothing(scene):
    corner = np.array(scene.exposures[0].wcs.all_pix2world([[0.0, 110.0]], 0))
    far = [[RA + 1.0, DEC]]
    edge, nowhere = sorted(
        thumbnails(scene.exposures, np.concatenate([corner, far]), geometry=SQUARE), key=lambda one: one.row
    )
    assert 0.2 < edge["f125w"].coverage < 0.95
    assert edge["f125w"].coverage == pytest.approx(np.mean(np.isfinite(edge["f125w"].data)))
    assert edge.is_partly_covered
    assert edge.rows()[0]["is_partly_covered"]
    assert (edge["f125w"].weight[np.isnan(edge["f125w"].data)] == 0).all()
    assert (nowhere.status, nowhere.message) == ("no_overlap", "no exposure overlaps")
    assert nowhere.bands == ()
    assert len(nowhere.rows()) == 1


def test_one_exposure_that_fails_does_not_stop_the_others(scene):
    listed = ExposureList.of(scene.exposures)

    def load(row):
        if row["exposure_id"] == "f125w3":
            msg = "f125w3: truncated"
            raise NotFoundError(msg)
        return next(one for one in scene.exposures if one.exposure_id == row["exposure_id"])

    (one,) = thumbnails(ExposureList(listed.table, load), [[RA, DEC]], geometry=SQUARE)
    assert one.status == "ok"
    left = one.exposures.filter(~pl.col("is_used"))
    assert left.select("exposure_id", "reason").rows() == [("f125w3", "f125w3: truncated")]
    # A PSF that one band lacks leaves that band out, with the reason.
    (one,) = thumbnails(
        scene.exposures, [[RA, DEC]], geometry=SQUARE, psf={"f125w": MoffatPsf(fwhm_arcsec=0.2, beta=3)}
    )
    assert [band.band for band in one.bands] == ["f125w"]
    assert one.exposures.filter(pl.col("band") == "f160w")["reason"].str.starts_with("psf: there is none").all()


def test_the_sky_is_subtracted_and_a_median_can_be_added_again(scene):
    bare = [replace(one, sky=0.0) for one in scene.exposures]
    levels = {}
    for sky in ("auto", "none"):
        (one,) = thumbnails(bare, [[RA, DEC]], geometry=SQUARE, params=ThumbnailParams(sky=sky))
        levels[sky] = float(np.median(one["f125w"].data))
        assert one.exposures["sky"][0] == pytest.approx(SKY if sky == "auto" else 0.0, abs=0.01)
    ratio = (0.07695 / 0.1282500028610229) ** 2
    assert levels["none"] - levels["auto"] == pytest.approx(SKY * ratio, rel=0.01)
    (given,) = thumbnails(scene.exposures, [[RA, DEC]], geometry=SQUARE)
    params = ThumbnailParams(subtract_median=True)
    (flat,) = thumbnails(scene.exposures, [[RA, DEC]], geometry=SQUARE, params=params)
    assert np.median(flat["f125w"].data) == pytest.approx(0.0, abs=1e-6)
    assert flat["f125w"].median == pytest.approx(float(np.median(given["f125w"].data)))
    np.testing.assert_allclose(flat["f125w"].with_level().data, given["f125w"].data, rtol=0, atol=1e-6)
    assert flat["f125w"].with_level().median == 0


def test_exposures_of_other_zero_points_and_units_are_brought_to_the_first(scene):
    first, *rest = scene.exposures[:6]
    counts = [replace(one, data=one.data * EXPTIME, error=one.error * EXPTIME, sky=SKY * EXPTIME) for one in rest[:2]]
    counts = [
        replace(one, unit="electron", zero_point_ab=one.zero_point_ab + 2.5 * np.log10(EXPTIME)) for one in counts
    ]
    dim = [
        replace(
            one,
            data=one.data / 2,
            error=one.error / 2,
            sky=SKY / 2,
            zero_point_ab=one.zero_point_ab - 2.5 * np.log10(2),
        )
        for one in rest[2:]
    ]
    (mixed,) = thumbnails([first, *counts, *dim], [[RA, DEC]], geometry=SQUARE)
    (alike,) = thumbnails([first, *rest], [[RA, DEC]], geometry=SQUARE)
    for plane in ("data", "weight", "variance"):
        mine, theirs = getattr(mixed["f125w"], plane), getattr(alike["f125w"], plane)
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-5 * np.nanmax(np.abs(theirs)))


def test_fluxes_come_in_f_lambda_and_f_nu_with_the_photometry_of_header_or_table(scene):
    (one,) = thumbnails(scene.exposures, [[RA, DEC]], geometry=SQUARE)
    band = one["f160w"]
    assert band.photometry_from == "header"
    flam = band.in_flam()
    assert flam.unit == FLAM
    np.testing.assert_allclose(flam.data, band.data * band.photflam * 1e20, rtol=1e-6)
    np.testing.assert_allclose(flam.data * np.sqrt(flam.weight), band.data * np.sqrt(band.weight), rtol=1e-5, atol=1e-6)
    # An AB magnitude from f_nu is the one of the zero point; -2.408 is rounded to 5e-4.
    jansky = band.fnu_jy()
    expected = 10 ** (-0.4 * (band.zero_point_ab - 8.9)) * band.data
    np.testing.assert_allclose(jansky, expected, rtol=1e-3, atol=0)
    np.testing.assert_allclose(flam.fnu_jy(), jansky, rtol=1e-6)
    round_trip = jansky / (band.photplam**2 / 2.99792458e18 * 1e23) / band.photflam
    np.testing.assert_allclose(round_trip, band.data.astype(float), rtol=1e-9)
    silent = [replace(e, photplam=np.nan, zero_point_ab=np.nan) for e in scene.exposures]
    (one,) = thumbnails(silent, [[RA, DEC]], geometry=SQUARE)
    assert (one["f160w"].photometry_from, one["f160w"].photplam) == ("table", 15369.18)
    assert one["f160w"].photflam == 1.92756e-20
    strange = [replace(e, band="f161w") for e in silent[:6]]
    (one,) = thumbnails(strange, [[RA, DEC]], geometry=SQUARE)
    assert one["f161w"].photometry_from == ""
    with pytest.raises(InvalidInputError, match="'f161w' is not known"):
        one["f161w"].in_flam()


def test_labels_are_those_of_the_catalogue_with_the_target_first(scene):
    grid = Grid.tangent(RA, DEC, shape=(400, 400), scale_arcsec=0.05, rotation_deg=10.0)
    x, y = grid.pixels(scene.stars["ra"].to_numpy(), scene.stars["dec"].to_numpy())
    labels = np.zeros(grid.shape, np.int32)
    yy, xx = np.indices(grid.shape)
    for k in range(len(x)):
        labels[np.hypot(xx - x[k], yy - y[k]) < 12] = 11 + k
    segmentation = SegmentationMap(labels=labels, grid=grid)
    geometry = Geometry(kernel="square", pixfrac=1.0, pixscale=0.2, size=6.0)
    for one in thumbnails(scene.exposures, positions(scene), geometry=geometry, segmentation=segmentation):
        assert set(np.unique(one.segmentation)) <= {0, *range(11, 11 + len(x))}
        assert one.segmentation[int(one.y + 0.5), int(one.x + 0.5)] == one.source_id
        area = np.count_nonzero(labels == one.source_id) * 0.05**2
        # Whatever the target touches is the target's: half a pixel more along its outline.
        most = np.pi * (0.6 + 0.15) ** 2
        assert 0.9 * area < np.count_nonzero(one.segmentation == one.source_id) * 0.2**2 < 1.1 * most


def test_all_planes_share_the_pixels_of_a_given_wcs_bit_for_bit_in_every_filter(scene):
    grid = Grid.tangent(RA, DEC, shape=(41, 37), scale_arcsec=0.1, rotation_deg=75.0)
    geometry = Geometry(kernel="point", pixfrac=0.2, wcs=grid)
    (one,) = thumbnails(scene.exposures, [[RA, DEC]], geometry=geometry, psf=MoffatPsf(fwhm_arcsec=0.16, beta=3))
    assert one.grid.cards() == grid.cards()
    assert {plane.shape for band in one.bands for plane in (band.data, band.weight, band.psf)} == {(41, 37)}
    assert one.geometry_sha256 == geometry.digest


def test_bad_input_is_named(scene):
    one = scene.exposures[:1]
    for call, message in (
        (lambda: thumbnails(one, [[RA, 95.0]], geometry=SQUARE), "positions: 40.0, 95.0 in row 0"),
        (lambda: thumbnails(one, pl.DataFrame({"ra": [1.0]}), geometry=SQUARE), r"columns \['dec'\] are missing"),
        (lambda: thumbnails(one, [[RA, DEC]], geometry=SQUARE, filters=["f999w"]), r"filters: \['f999w'\]"),
        (lambda: thumbnails([], [[RA, DEC]], geometry=SQUARE), "filters: "),
        (lambda: thumbnails(one * 2, [[RA, DEC]], geometry=SQUARE), "'f125w0' is not allowed twice"),
        (lambda: ThumbnailParams(sky="mean"), "sky: 'mean'"),
        (lambda: ThumbnailParams(weight="time"), "weight: 'time'"),
        (lambda: ThumbnailParams(memory_mb=0), "memory_mb: 0"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            call()
    bare = SegmentationMap(labels=np.zeros((5, 5), np.int32))
    with pytest.raises(InvalidInputError, match="no grid"):
        thumbnails(one, [[RA, DEC]], geometry=SQUARE, segmentation=bare)


def test_saturated_pixels_count_when_their_bit_is_ignored(scene):
    dq = np.zeros(scene.exposures[0].shape, np.uint32)
    dq[100:130, 100:140] = 1
    flagged = [replace(one, dq=dq, dq_bits={"saturated": 1, "hot": 2}) for one in scene.exposures[:1]]
    (without,) = thumbnails(flagged, [[RA, DEC]], geometry=SQUARE)
    (with_them,) = thumbnails(flagged, [[RA, DEC]], geometry=SQUARE, params=ThumbnailParams(ignore_dq=("saturated",)))
    assert without["f125w"].coverage < 0.9
    assert with_them["f125w"].coverage == 1
    (unknown,) = thumbnails(flagged, [[RA, DEC]], geometry=SQUARE, params=ThumbnailParams(ignore_dq=("bright",)))
    assert unknown.status == "no_overlap"
    assert "'bright' is not a DQ bit" in unknown.exposures["reason"][0]


def test_grism_exposures_are_no_images(scene):
    mixed = [*scene.exposures[:2], replace(scene.exposures[2], band="g141")]
    (one,) = thumbnails(mixed, [[RA, DEC]], geometry=SQUARE)
    assert [band.band for band in one.bands] == ["f125w"]
    left = one.exposures.filter(~pl.col("is_used"))
    assert left.select("exposure_id", "reason").rows() == [("f125w2", "it is no image but shows spectra")]
    with pytest.raises(InvalidInputError, match=r"filters: \['g141'\]"):
        thumbnails(mixed, [[RA, DEC]], geometry=SQUARE, filters=["G141"])
