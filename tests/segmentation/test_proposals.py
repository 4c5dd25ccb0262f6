"""Regions that a program proposes: borders, stars with their spikes, and blank sky."""

import numpy as np
import pytest

import skymere
from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError, NoDataError
from skymere.regions import mask_from_region, mask_from_regions, parse_regions, read_regions, write_regions
from skymere.segmentation import (
    BlankParams,
    StarParams,
    blank_apertures,
    border_regions,
    distance_to,
    star_regions,
)
from skymere.wcs import Grid

GRID = Grid.tangent(150.0, 2.0, shape=(300, 400), scale_arcsec=0.06, rotation_deg=25.0)


def turned_footprint() -> np.ndarray:
    """A rectangle turned by 25 degrees with a hole in the middle, inside a larger image."""
    y, x = np.mgrid[:300, :400]
    u = (x - 200) * np.cos(0.43) + (y - 150) * np.sin(0.43)
    v = (y - 150) * np.cos(0.43) - (x - 200) * np.sin(0.43)
    return (abs(u) < 140) & (abs(v) < 90) & (np.hypot(x - 210, y - 140) > 15)


def test_distances_are_those_of_scipy_for_any_number_of_threads() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = np.random.default_rng(3).random((211, 317)) < 0.003
    expected = ndimage.distance_transform_edt(~mask).astype(np.float32)
    before = skymere.get_num_threads()
    try:
        for n in (1, 2):
            skymere.set_num_threads(n)
            assert np.array_equal(distance_to(mask), expected)
    finally:
        skymere.set_num_threads(before)
    assert np.isinf(distance_to(np.zeros((4, 5), bool))).all()


@pytest.mark.parametrize("margin", [0.0, 10.0])
def test_borders_hold_all_that_is_not_covered_with_its_margin_and_little_else(margin: float) -> None:
    covered = turned_footprint()
    regions = border_regions(covered, margin_pix=margin)
    mask = mask_from_regions(regions, covered.shape).mask
    framed = np.pad(~covered, 20, constant_values=True)
    wanted = (distance_to(framed) <= margin)[20:-20, 20:-20]
    outline = np.count_nonzero(wanted & (distance_to(~wanted) <= 1.5))
    if margin:
        assert not (wanted & ~mask).any()
    assert np.count_nonzero(wanted != mask) < 1.5 * outline
    # The outside and the hole.
    assert len(regions) == 2
    assert sum(len(region.vertices) for region in regions) < 120


def test_borders_on_the_sky_cover_the_same_pixels_and_survive_a_file(tmp_path) -> None:
    covered = turned_footprint()
    on_sky = border_regions(covered, grid=GRID)
    assert {region.frame for region in on_sky} == {"icrs"}
    here = mask_from_regions(border_regions(covered), covered.shape).mask
    assert np.count_nonzero(mask_from_regions(on_sky, GRID).mask != here) < 30
    assert read_regions(write_regions(on_sky, tmp_path / "mask_border.reg")) == on_sky


def test_an_image_that_is_covered_everywhere_has_its_edges_masked() -> None:
    mask = mask_from_regions(border_regions(np.ones((50, 60), bool), margin_pix=5.0), (50, 60)).mask
    assert mask[:5].all()
    assert mask[:, -5:].all()
    assert not mask[8:-8, 8:-8].any()
    assert border_regions(np.ones((50, 60), bool), margin_pix=0.0) == []


def test_small_holes_are_left_alone() -> None:
    covered = np.ones((50, 60), bool)
    covered[20:24, 30:34] = False
    assert border_regions(covered, margin_pix=0.0) == []
    assert len(border_regions(covered, margin_pix=0.0, min_area=16)) == 1


def star_field(angles_deg: tuple[float, ...], seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A saturated star with spikes, galaxies around it, and noise of 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:301, :301].astype(float)
    u, v = x - 150.3, y - 149.8
    r = np.hypot(u, v)
    image = 4e4 / (1 + (r / 3) ** 2) ** 1.7
    for angle in np.deg2rad(angles_deg):
        along, across = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        image += np.where(along > 0, 800 * np.exp(-along / 30) * np.exp(-0.5 * (across / 1.5) ** 2), 0.0)
    for gx, gy in rng.uniform(20, 280, (25, 2)):
        image += 40 * np.exp(-0.5 * np.hypot(x - gx, y - gy) ** 2 / 4)
    saturated = image > 5000
    return (np.minimum(image, 5000) + rng.normal(0, 1, image.shape)).astype(np.float32), saturated


@pytest.mark.parametrize("angles", [(45.0, 135.0, 225.0, 315.0), (10.0, 70.0, 130.0, 190.0, 250.0, 310.0), ()])
def test_the_halo_and_every_spike_of_a_star_are_found_and_nothing_else(angles: tuple[float, ...]) -> None:
    image, saturated = star_field(angles)
    halo, *spikes = star_regions(image, error=1.0, saturated=saturated)
    assert halo.centre == pytest.approx((150.3, 149.8), abs=0.5)
    # Where 4e4 (1 + r^2 / 9)^-1.7 falls to 1: 67 pixels.
    assert halo.radius == pytest.approx(67, abs=10)
    found = sorted(np.rad2deg(np.arctan2(s.centre[1] - 149.8, s.centre[0] - 150.3)) % 360 for s in spikes)
    assert found == pytest.approx(sorted(angles), abs=3.0)
    # 800 exp(-r / 30) falls to 3 sigma at 168 pixels, beyond the image along the axes.
    for spike in spikes:
        assert 110 < spike.size[0] < 190
    assert [region.text for region in (halo, *spikes)] == ["halo", *["spike"] * len(angles)]


def test_two_spikes_with_a_gap_between_them_are_one_along_one_of_them() -> None:
    image, saturated = star_field((100.0, 110.0))
    _, *spikes = star_regions(image, error=1.0, saturated=saturated)
    angles = [spike.angle_deg for spike in spikes]
    assert len(angles) == 1
    assert min(abs(angles[0] - 100.0), abs(angles[0] - 110.0)) <= 3.0
    assert spikes[0].size[0] > 110


def test_pixels_at_the_level_of_saturation_are_saturated() -> None:
    image, saturated = star_field(())
    image[saturated] = 5000.0
    assert star_regions(image, error=1.0, saturated=5000.0) == star_regions(image, error=1.0, saturated=saturated)


def test_saturation_may_be_a_level_and_regions_are_anchored_to_the_sky() -> None:
    image, _ = star_field((45.0, 135.0, 225.0, 315.0))
    grid = Grid.tangent(150.0, 2.0, shape=image.shape, scale_arcsec=0.06)
    found = star_regions(
        image, error=np.ones_like(image), saturated=4990.0, grid=grid, params=StarParams(level_sigma=2)
    )
    assert {region.frame for region in found} == {"icrs"}
    assert mask_from_region(found[0], grid)[150, 150]
    assert star_regions(image, error=1.0, saturated=1e9) == []


def crowded() -> SegmentationMap:
    labels = np.zeros(GRID.shape, np.int32)
    for k, (y, x) in enumerate(np.random.default_rng(5).integers(0, (290, 390), (60, 2)), 1):
        labels[y : y + 8, x : x + 8] = k
    return SegmentationMap(labels=labels, grid=GRID)


def test_blank_apertures_keep_away_from_segments_masks_edges_and_each_other() -> None:
    segmentation = crowded()
    bad = np.zeros(GRID.shape, bool)
    bad[:, 200:220] = True
    params = BlankParams(radius_pix=9.0, gap_pix=2.0, n_apertures=50)
    circles = blank_apertures(SegmentationMap(labels=segmentation.labels), mask=bad, params=params)
    assert 10 < len(circles) <= 50
    mask = mask_from_regions(circles, GRID.shape)
    assert not (mask.mask & ((segmentation.labels > 0) | bad)).any()
    # None overlaps another, and all lie whole in the image.
    assert mask.mask.sum() == sum(mask.n_pixels)
    assert all(n > 0.95 * np.pi * 81 for n in mask.n_pixels)
    used = np.pad((segmentation.labels > 0) | bad, 1, constant_values=True)
    distance = distance_to(used)[1:-1, 1:-1]
    reached = [distance[round(c.centre[1]), round(c.centre[0])] for c in circles]
    assert reached == sorted(reached, reverse=True)
    assert reached[0] == distance.max()


def test_blank_apertures_measure_the_noise_that_is_there() -> None:
    segmentation = crowded()
    noise = np.random.default_rng(7).normal(0, 2.0, GRID.shape)
    image = noise + 500.0 * (segmentation.labels > 0)
    circles = blank_apertures(segmentation, params=BlankParams(radius_pix=6.0, n_apertures=150))
    assert len(circles) > 60
    found = mask_from_regions(circles, GRID)
    sums = [image[mask_from_region(c, GRID)].sum() / np.sqrt(n) for c, n in zip(circles, found.n_pixels, strict=True)]
    assert np.std(sums) == pytest.approx(2.0, rel=4 / np.sqrt(2 * len(sums)))


def test_a_file_for_the_noise_is_the_same_regions(tmp_path) -> None:
    circles = blank_apertures(crowded(), params=BlankParams(n_apertures=20))
    path = write_regions(circles, tmp_path / "wfc3-f160w-sim.reg")
    assert parse_regions(path.read_text()) == circles


def test_what_has_no_answer_is_refused_in_words() -> None:
    with pytest.raises(NoDataError, match="covered: no pixel"):
        border_regions(np.zeros((5, 5), bool))
    with pytest.raises(InvalidInputError, match="margin_pix: -1"):
        border_regions(np.ones((5, 5), bool), margin_pix=-1)
    with pytest.raises(NoDataError, match="no pixel is more than 12"):
        blank_apertures(np.zeros((20, 20), np.int32))
    with pytest.raises(InvalidInputError, match="radius_pix"):
        BlankParams(radius_pix=0)
    with pytest.raises(InvalidInputError, match="level_sigma"):
        StarParams(level_sigma=0)
    with pytest.raises(InvalidInputError, match="error: values that are not positive"):
        star_regions(np.zeros((9, 9)), error=-1.0, saturated=5.0)
