"""Cutouts of bands of any scale, rotation and flip, with the labels of a segmentation on another grid."""

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import Mosaic, SegmentationMap
from skymere.errors import InvalidInputError
from skymere.mosaic import cutouts, labels_on_grid
from skymere.psf import Psf, PsfGrid
from skymere.wcs import Grid

RA, DEC = 150.1, 2.2


def flipped(grid: Grid) -> Grid:
    wcs = grid.wcs.deepcopy()
    wcs.wcs.cd = wcs.wcs.cd @ np.diag([-1.0, 1.0])
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=grid.shape)


def band(grid: Grid, name: str = "f160w") -> Mosaic:
    """The declination of each pixel is its value, so that what was cut where can be told."""
    rows, columns = np.indices(grid.shape, dtype=float)
    _, dec = grid.sky(columns.ravel(), rows.ravel())
    data = ((dec - DEC) * 3600.0).reshape(grid.shape).astype(np.float32)
    ones = np.ones(grid.shape, np.float32)
    return Mosaic(
        band=name, grid=grid, data=data, weight=ones, variance=ones, context=ones[None].astype(int), exposure_ids=("a",)
    )


GRIDS = {
    "fine": Grid.tangent(RA, DEC, shape=(300, 320), scale_arcsec=0.06),
    "coarse": Grid.tangent(RA, DEC, shape=(40, 36), scale_arcsec=0.6),
    "rotated": Grid.tangent(RA, DEC, shape=(200, 210), scale_arcsec=0.1, rotation_deg=37.0),
    "flipped": flipped(Grid.tangent(RA, DEC, shape=(200, 210), scale_arcsec=0.1, rotation_deg=200.0)),
}


def blobs() -> SegmentationMap:
    grid = GRIDS["fine"]
    y, x = np.indices(grid.shape)
    labels = np.zeros(grid.shape, np.int32)
    for label, cx, cy, r in ((7, 160, 150, 30), (3, 195, 150, 12), (12, 100, 200, 20), (90, 160, 182, 5)):
        labels[np.hypot(x - cx, y - cy) < r] = label
    return SegmentationMap(labels=labels, grid=grid)


@pytest.mark.parametrize("name", GRIDS)
def test_the_wcs_of_a_cutout_is_that_of_its_mosaic(name: str) -> None:
    mosaic = band(GRIDS[name])
    rng = np.random.default_rng(4)
    places = np.column_stack([RA + rng.uniform(-4, 4, 12) / 3600, DEC + rng.uniform(-4, 4, 12) / 3600])
    for (ra, dec), cut in zip(places, cutouts(mosaic, places, size_arcsec=3.0), strict=True):
        assert cut.data.shape == (int(np.ceil(3.0 / mosaic.grid.scale_arcsec - 1e-9)),) * 2
        sky = mosaic.grid.sky(*np.meshgrid(np.arange(5.0), np.arange(5.0)))
        parent, piece = mosaic.grid.pixels(*sky), cut.grid.pixels(*sky)
        np.testing.assert_allclose(piece[0] + cut.origin[1], parent[0], atol=1e-6)
        np.testing.assert_allclose(piece[1] + cut.origin[0], parent[1], atol=1e-6)
        assert (cut.x, cut.y) == pytest.approx(
            [float(v) for v in cut.grid.pixels(np.array(ra), np.array(dec))], abs=1e-6
        )
        assert max(abs(cut.x - cut.data.shape[1] // 2), abs(cut.y - cut.data.shape[0] // 2)) <= 0.5 + 1e-9
        middle = cut.data[cut.data.shape[0] // 2, cut.data.shape[1] // 2]
        assert middle == pytest.approx((dec - DEC) * 3600, abs=0.75 * mosaic.grid.scale_arcsec)


def test_what_lies_outside_is_nan_and_counts_as_not_covered() -> None:
    grid = GRIDS["fine"]
    mosaic = band(grid)
    corner = np.column_stack(grid.sky(np.array([0.0]), np.array([0.0])))
    far = np.array([[RA + 0.1, DEC]])
    cut, nothing = cutouts(mosaic, np.concatenate([corner, far]), size_arcsec=0.6)
    assert cut.data.shape == (10, 10)
    assert cut.coverage == pytest.approx(0.25)
    assert np.isnan(cut.data[:5]).all()
    assert np.isfinite(cut.data[5:, 5:]).all()
    assert (cut.weight[:5] == 0).all()
    assert nothing.coverage == 0
    assert np.isnan(nothing.data).all()


def test_pixels_without_weight_are_not_covered() -> None:
    mosaic = band(GRIDS["fine"])
    mosaic.weight[:, :160] = 0
    cut = cutouts(mosaic, [[RA, DEC]], size_arcsec=1.2)[0]
    assert cut.coverage == pytest.approx(np.mean(cut.weight > 0))
    assert 0.4 < cut.coverage < 0.6


@pytest.mark.parametrize("name", GRIDS)
def test_labels_on_other_pixels_are_those_of_the_map_and_keep_their_area(name: str) -> None:
    segmentation, grid = blobs(), GRIDS[name]
    found = labels_on_grid(segmentation, grid)
    assert set(np.unique(found)) <= {0, *segmentation.ids.tolist()}
    for label, radius in ((7, 30), (12, 20)):
        before = np.count_nonzero(segmentation.labels == label) * segmentation.grid.scale_arcsec**2
        after = np.count_nonzero(found == label) * grid.scale_arcsec**2
        # Half a pixel along the outline at most.
        edge = 2 * np.pi * radius * segmentation.grid.scale_arcsec * grid.scale_arcsec
        assert abs(after - before) < 0.5 * edge
    same = labels_on_grid(segmentation, segmentation.grid)
    assert np.array_equal(same, segmentation.labels)


def test_on_coarse_pixels_the_target_comes_first_and_others_fill_what_is_left() -> None:
    segmentation, grid = blobs(), GRIDS["coarse"]
    plain = labels_on_grid(segmentation, grid)
    for target in (7, 3, 90):
        found = labels_on_grid(segmentation, grid, target=target)
        assert set(np.unique(found)) <= {0, *segmentation.ids.tolist()}
        assert np.all(found[plain == target] == target)
        x, y = grid.pixels(*segmentation.grid.sky(*np.nonzero(segmentation.labels == target)[::-1]))
        touched = found[np.rint(y).astype(int), np.rint(x).astype(int)]
        assert np.mean(touched == target) > 0.97
        everyone = labels_on_grid(segmentation, grid, target=12)
        rest = (found != target) & (everyone != target) & (everyone != 12) & (found != 12)
        assert np.array_equal(found[rest], everyone[rest])
    # Its five pixels of radius are less than a pixel of this grid.
    assert (labels_on_grid(segmentation, grid, target=90) == 90).any()


def test_cutouts_hold_labels_and_psf_and_know_their_source() -> None:
    segmentation = blobs()
    ra, dec = segmentation.grid.sky(np.array([160.0, 100.0]), np.array([150.0, 200.0]))
    table = pl.DataFrame({"NUMBER": [7, 12], "RA": ra, "Dec": dec})
    psfs = tuple(Psf(data=np.full((3, 3), v, np.float32)) for v in (1.0, 2.0))
    grid = PsfGrid(x=(0.0, 209.0), y=(0.0,), psfs=psfs)
    found = cutouts(band(GRIDS["rotated"]), table, size_arcsec=2.0, segmentation=segmentation, psf=grid)
    assert [cut.label for cut in found] == [7, 12]
    for cut in found:
        assert cut.segmentation[cut.data.shape[0] // 2, cut.data.shape[1] // 2] == cut.label
        assert 1.0 <= cut.psf.data[0, 0] <= 2.0
    assert found[0].psf.data[0, 0] != found[1].psf.data[0, 0]
    one = Psf(data=np.ones((3, 3), np.float32))
    assert cutouts(band(GRIDS["fine"]), [RA, DEC], size_arcsec=1.0, psf=one)[0].psf is one


def test_numbers_may_be_written_as_text() -> None:
    table = pl.DataFrame({"RA": [str(RA)], "Dec": [str(DEC)], "NUMBER": ["17"]})
    (found,) = cutouts(band(GRIDS["fine"]), table, size_arcsec=1.0)
    assert (found.ra, found.dec, found.label) == (RA, DEC, 17)


def test_bad_input_is_named() -> None:
    mosaic = band(GRIDS["fine"])
    with pytest.raises(InvalidInputError, match="size_arcsec"):
        cutouts(mosaic, [[RA, DEC]], size_arcsec=0.0)
    with pytest.raises(InvalidInputError, match="shape"):
        cutouts(mosaic, [[RA, DEC, 1.0]], size_arcsec=1.0)
    with pytest.raises(InvalidInputError, match="row 1"):
        cutouts(mosaic, [[RA, DEC], [RA, 91.0]], size_arcsec=1.0)
    with pytest.raises(InvalidInputError, match=r"\['dec'\] are missing from \['id', 'ra', 'y'\]"):
        cutouts(mosaic, pl.DataFrame({"id": [1], "ra": [RA], "y": [2.0]}), size_arcsec=1.0)
    for name, values, wanted in (
        ("id", ["a7"], "id 'a7' in row 0 is not allowed, it must be a whole number"),
        ("id", [None], "id None in row 0 is not allowed, it must be a whole number"),
        ("label", [1.5], "label 1.5 in row 0"),
        ("label", [np.nan], "label nan in row 0"),
        ("number", [[1]], "column number of List"),
        ("ra", ["10:00:00"], "ra '10:00:00' in row 0 is not allowed, it must be a number"),
        ("dec", [None], "dec None in row 0"),
    ):
        with pytest.raises(InvalidInputError, match=f"positions: {wanted}"):
            cutouts(mosaic, pl.DataFrame({"ra": [RA], "dec": [DEC]} | {name: values}), size_arcsec=1.0)
    for wrong in ([["here", DEC]], [[RA, DEC], [RA]], [[RA, None]], {"ra": RA}):
        with pytest.raises(InvalidInputError, match="positions: "):
            cutouts(mosaic, wrong, size_arcsec=1.0)
    bare = SegmentationMap(labels=np.zeros((5, 5), np.int32))
    with pytest.raises(InvalidInputError, match="no grid"):
        cutouts(mosaic, [[RA, DEC]], size_arcsec=1.0, segmentation=bare)
