"""The pixels of regions: the rule of three corners, and shapes of the sky on turned, flipped and scaled images."""

import numpy as np
import pytest
from astropy.wcs import WCS

import skymere
from skymere.errors import InvalidInputError, NoOverlapError
from skymere.regions import (
    Annulus,
    Box,
    Circle,
    Ellipse,
    Point,
    Polygon,
    Region,
    mask_from_region,
    mask_from_regions,
    stamp_region,
    to_sky,
)
from skymere.wcs import Grid

SHAPE = (200, 220)


def turned_grid(
    angle_deg: float, scale_arcsec: float, *, is_flipped: bool, ra: float = 150.0, dec: float = 2.2
) -> Grid:
    """A TAN grid; flipped means that east is to the right when north is up."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [SHAPE[1] / 2, SHAPE[0] / 2]
    t = np.deg2rad(angle_deg)
    turn = np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])
    wcs.wcs.cd = turn @ np.diag([-1.0 if is_flipped else 1.0, 1.0]) * scale_arcsec / 3600.0
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=SHAPE)


def by_brute_force(grid: Grid, centre: tuple[float, float], is_inside, membership: str) -> np.ndarray:
    """Pixels of which the centre, or at least three corners lie inside, from offsets (east, north) [arcsec]."""
    if membership == "centre":
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    else:
        y, x = np.mgrid[: SHAPE[0] + 1, : SHAPE[1] + 1] - 0.5
    ra, dec = np.deg2rad(grid.sky(x, y))
    a, d = np.deg2rad(centre)
    cos = np.sin(d) * np.sin(dec) + np.cos(d) * np.cos(dec) * np.cos(ra - a)
    east = np.cos(dec) * np.sin(ra - a) / cos
    north = (np.cos(d) * np.sin(dec) - np.sin(d) * np.cos(dec) * np.cos(ra - a)) / cos
    inside = is_inside(np.rad2deg(east) * 3600.0, np.rad2deg(north) * 3600.0)
    if membership == "centre":
        return inside
    corners = inside.astype(int)
    return corners[1:, 1:] + corners[:-1, 1:] + corners[1:, :-1] + corners[:-1, :-1] >= 3


GRIDS = [(0.0, 0.06, False), (0.0, 0.06, True), (37.0, 0.1, False), (200.0, 0.03, True), (-75.0, 0.2, True)]


@pytest.mark.parametrize(("angle", "scale", "is_flipped"), GRIDS)
@pytest.mark.parametrize(("dec", "membership"), [(2.2, "centre"), (75.0, "centre"), (75.0, "corners")])
def test_shapes_of_the_sky_keep_place_size_and_position_angle_on_any_image(
    angle: float, scale: float, is_flipped: bool, dec: float, membership: str
) -> None:
    grid = turned_grid(angle, scale, is_flipped=is_flipped, dec=dec)
    x, y = 99.31, 120.43
    ra, dec = (float(v[0]) for v in grid.sky(np.array([x]), np.array([y])))
    centre = (ra, dec)
    a, b, pa = 60.37 * scale, 25.21 * scale, 20.0
    along = np.deg2rad(pa)

    def axes(e, n):
        # The first axis at position angle pa, from north through east.
        return e * np.sin(along) + n * np.cos(along), e * np.cos(along) - n * np.sin(along)

    def ellipse(e, n):
        u, v = axes(e, n)
        return (u / a) ** 2 + (v / b) ** 2 <= 1

    def box(e, n):
        u, v = axes(e, n)
        return (abs(u) <= a) & (abs(v) <= b)

    shapes = [
        (Circle(centre=centre, radius=a), lambda e, n: np.hypot(e, n) <= a),
        (Annulus(centre=centre, radii=(b, a)), lambda e, n: (np.hypot(e, n) <= a) & (np.hypot(e, n) >= b)),
        (Ellipse(centre=centre, semi_axes=(a, b), angle_deg=pa + 90), ellipse),
        (Box(centre=centre, size=(2 * a, 2 * b), angle_deg=pa + 90), box),
    ]
    for region, is_inside in shapes:
        expected = by_brute_force(grid, centre, is_inside, membership)
        assert expected.sum() > 1000
        # Corners on the outline itself are decided by rounding.
        assert np.count_nonzero(mask_from_region(region, grid, membership=membership) != expected) <= 4, region.shape


def test_the_regions_package_agrees_on_the_angle_of_an_unflipped_image() -> None:
    from regions import Regions

    grid = turned_grid(30.0, 0.1, is_flipped=False)
    text = 'icrs\nellipse(150.0,2.2,6",2",40)'
    theirs = Regions.parse(text, format="ds9")[0].to_pixel(grid.wcs).to_mask("center").to_image(SHAPE) > 0
    ours = mask_from_region(Ellipse(centre=(150.0, 2.2), semi_axes=(6.0, 2.0), angle_deg=40.0), grid)
    assert np.count_nonzero(theirs != ours) <= 4


@pytest.mark.parametrize(("membership", "lost"), [("centre", 0.0), ("corners", 0.12)])
def test_a_circle_of_radius_5_has_its_area_within_3_percent(membership: str, lost: float) -> None:
    # The rule of three corners cannot keep the area: what it loses is measured here.
    rng = np.random.default_rng(1)
    areas = [
        mask_from_region(Circle(centre=tuple(p), radius=5.0, frame="image"), (40, 40), membership=membership).sum()
        for p in rng.uniform(15, 25, (400, 2))
    ]
    assert abs(np.mean(areas) / (25 * np.pi) - (1 - lost)) < 0.01


def test_an_unknown_rule_of_membership_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"membership: .*it must be centre or corners"):
        mask_from_region(Circle(centre=(5.0, 5.0), radius=2.0, frame="image"), (10, 10), membership="edges")


def test_polygons_hold_their_pixels_whatever_way_they_turn() -> None:
    corners = ((9.5, 9.5), (29.5, 9.5), (29.5, 39.5), (19.5, 24.5), (9.5, 39.5))
    there = mask_from_region(Polygon(vertices=corners, frame="image"), (60, 60))
    back = mask_from_region(Polygon(vertices=corners[::-1], frame="image"), (60, 60))
    assert np.array_equal(there, back)
    assert abs(there.sum() / (20 * 15 + 20 * 15 / 2) - 1) < 0.03
    assert not there[35, 19]
    assert there[12, 19]


def test_what_is_taken_away_is_taken_from_all_others_and_the_rest_is_recorded() -> None:
    outer = Circle(centre=(50.0, 50.0), radius=20.0, frame="image")
    hole = Circle(centre=(50.0, 50.0), radius=10.0, frame="image", is_include=False)
    far = Circle(centre=(500.0, 50.0), radius=20.0, frame="image")
    small = Circle(centre=(50.5, 50.5), radius=0.3, frame="image")
    found = mask_from_regions([hole, outer, far, small], (100, 100))
    ring = mask_from_region(outer, (100, 100)) & mask_from_region(hole, (100, 100))
    assert np.array_equal(found.mask, ring)
    assert found.statuses == ("applied", "applied", "outside", "no_pixel")
    assert found.unused == (2, 3)
    assert found.n_pixels[2:] == (0, 0)
    assert mask_from_regions([hole], (100, 100)).mask.sum() == 100 * 100 - found.n_pixels[0]
    assert not mask_from_regions([], (100, 100)).mask.any()


def test_a_region_outside_the_image_is_an_error_when_it_is_asked_for_alone() -> None:
    grid = turned_grid(0.0, 0.1, is_flipped=False)
    for far in (
        Circle(centre=(151.0, 2.2), radius=1.0),
        Circle(centre=(330.0, -2.2), radius=1.0),
        Point(centre=(151.0, 2.2)),
        Polygon(vertices=((330.0, 0.0), (331.0, 0.0), (331.0, 1.0))),
    ):
        with pytest.raises(NoOverlapError, match="lies outside the image"):
            mask_from_region(far, grid)
    with pytest.raises(InvalidInputError, match="grid: a shape alone is not allowed"):
        mask_from_region(Circle(centre=(150.0, 2.2), radius=1.0), (10, 10))


def test_shapes_cut_by_the_border_are_windows_of_the_whole() -> None:
    ellipse = Ellipse(centre=(2.0, 95.0), semi_axes=(30.0, 10.0), angle_deg=40.0, frame="image")
    moved = Ellipse(centre=(102.0, 195.0), semi_axes=(30.0, 10.0), angle_deg=40.0, frame="image")
    cut = mask_from_region(ellipse, (100, 100))
    assert np.array_equal(cut, mask_from_region(moved, (300, 300))[100:200, 100:200])


@pytest.mark.parametrize(("angle", "scale", "is_flipped"), GRIDS)
def test_shapes_of_an_image_cover_the_same_pixels_when_they_are_put_on_the_sky(
    angle: float, scale: float, is_flipped: bool
) -> None:
    grid = turned_grid(angle, scale, is_flipped=is_flipped)
    place = {"centre": (80.3, 120.7), "frame": "image", "text": "007"}
    drawn: list[Region] = [
        Circle(radius=20.0, **place),
        Annulus(radii=(10.0, 20.0), **place),
        Box(size=(40.0, 20.0), angle_deg=25.0, **place),
        Ellipse(semi_axes=(40.0, 20.0), angle_deg=25.0, **place),
        Polygon(vertices=((70.2, 100.1), (110.9, 120.4), (60.3, 160.8)), frame="image", text="007"),
        Point(**place),
    ]
    for region in drawn:
        sky = to_sky(region, grid)
        assert (sky.frame, sky.text) == ("icrs", "007")
        assert to_sky(sky, grid) is sky
        here, there = mask_from_region(region, grid), mask_from_region(sky, grid)
        assert here.any()
        assert np.count_nonzero(here != there) <= 3, region.shape


def test_any_number_of_threads_gives_the_same_pixels() -> None:
    region = Ellipse(centre=(400.0, 500.0), semi_axes=(390.0, 250.0), angle_deg=33.0, frame="image")
    before = skymere.get_num_threads()
    try:
        stamps = []
        for n in (1, 2):
            skymere.set_num_threads(n)
            stamps.append(stamp_region(region, (1000, 900)).inside)
    finally:
        skymere.set_num_threads(before)
    assert np.array_equal(*stamps)
