"""Products check what they are made of."""

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import FLAG_BITS, Exposure, Mosaic, SegmentationMap, SourceCatalog
from skymere.errors import InvalidInputError
from skymere.wcs import Grid

GRID = Grid.tangent(10.0, 20.0, shape=(4, 5), scale_arcsec=0.1)


def exposure(**changes: object) -> Exposure:
    values = {
        "exposure_id": "e1",
        "data": np.ones((4, 5)),
        "error": np.full((4, 5), 0.1),
        "dq": np.zeros((4, 5), np.int64),
        "dq_bits": {"hot": 16, "dead": 4},
        "wcs": GRID.wcs,
        "exptime": 100.0,
        "band": "f125w",
    }
    return Exposure(**(values | changes))


def test_a_mask_has_reasons() -> None:
    dq = np.zeros((4, 5), np.uint32)
    dq[0, 0], dq[0, 1], dq[0, 2] = 16, 4, 20
    data = np.ones((4, 5))
    data[3, 3] = np.nan
    e = exposure(dq=dq, data=data)
    assert e.mask().sum() == 4
    assert e.mask(ignore=["hot"]).sum() == 3
    assert e.mask(ignore=["hot", "dead"]).sum() == 1
    with pytest.raises(InvalidInputError, match=r"'warm' is not a DQ bit of e1, it must be one of \['dead', 'hot'\]"):
        e.mask(ignore=["warm"])


def test_flags_add_up_and_leave_the_exposure_unchanged() -> None:
    e = exposure()
    hit = np.zeros((4, 5), bool)
    hit[1, 1] = True
    flagged = e.flagged("static", hit).flagged("cosmic_ray", hit)
    assert e.flags is None
    assert flagged.flags is not None
    assert flagged.flags[1, 1] == FLAG_BITS["static"] | FLAG_BITS["cosmic_ray"]
    assert flagged.mask().sum() == 1
    with pytest.raises(InvalidInputError, match="must be one of"):
        e.flagged("bored", hit)


def test_masks_of_others_come_as_named_bits() -> None:
    dq = np.zeros((4, 5), np.uint32)
    dq[0, 0] = 1 << 31  # without a name
    e = exposure(dq=dq)
    trail = np.zeros((4, 5), bool)
    trail[2] = True
    marked = e.marked("satellite", trail).marked("hot", trail).marked("satellite", ~trail)
    assert marked.dq_bits == {"hot": 16, "dead": 4, "satellite": 1 << 30}
    assert np.array_equal(marked.dq, dq + (1 << 30) + 16 * trail)
    assert e.mask().sum() == 1
    assert e.marked("persistence", trail).mask(ignore=["persistence"]).sum() == 1
    with pytest.raises(InvalidInputError, match="'blob' is not allowed for e1, all 32 bits"):
        exposure(dq_bits={str(k): 1 << k for k in range(32)}).marked("blob", trail)
    with pytest.raises(InvalidInputError, match="reason: ''"):
        e.marked("", trail)
    with pytest.raises(InvalidInputError, match="mask: shape"):
        e.marked("blob", trail[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": np.ones((4, 4))}, r"error: shape \(4, 4\) is not allowed, it must be \(4, 5\)"),
        ({"dq": np.zeros((4, 5))}, "dq: dtype float64 cannot be used as uint32"),
        ({"data": np.ones(5)}, "data: shape"),
        ({"exptime": 0.0}, "exptime: 0.0 s in exposure e1"),
        ({"exptime": float("nan")}, "exptime"),
    ],
)
def test_an_exposure_names_what_is_wrong(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        exposure(**change)


def test_a_mosaic_has_the_shape_of_its_grid() -> None:
    plane = np.zeros((4, 5))
    m = Mosaic(
        band="b",
        grid=GRID,
        data=plane,
        weight=plane + 1,
        variance=plane,
        context=np.zeros((1, 4, 5), int),
        exposure_ids=(),
        zero_point_ab=23.9,
    )
    assert m.covered.all()
    assert m.microjansky_per_unit == pytest.approx(1.0)
    with pytest.raises(InvalidInputError, match="weight"):
        Mosaic(
            band="b",
            grid=GRID,
            data=plane,
            weight=plane.T,
            variance=plane,
            context=np.zeros((1, 4, 5), int),
            exposure_ids=(),
        )


def test_a_segmentation_counts_its_labels() -> None:
    labels = np.zeros((4, 5), np.int32)
    labels[0, :2], labels[2, 3] = 7, 2
    segmentation = SegmentationMap(labels=labels)
    assert segmentation.ids.tolist() == [2, 7]
    assert segmentation.n_sources == 2


def test_a_catalogue_needs_labels_that_stand_once() -> None:
    assert SourceCatalog(table=pl.DataFrame({"label": [1, 2], "x": [0.0, 1.0], "y": [0.0, 1.0]})).n_sources == 2
    with pytest.raises(InvalidInputError, match="more than one row"):
        SourceCatalog(table=pl.DataFrame({"label": [1, 1], "x": [0.0, 1.0], "y": [0.0, 1.0]}))
    with pytest.raises(InvalidInputError, match=r"columns \['y'\] are missing"):
        SourceCatalog(table=pl.DataFrame({"label": [1], "x": [0.0]}))
