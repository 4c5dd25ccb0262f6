import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.pipeline.plan import CutoutPlan, Plan, SurveyPlan
from skymere.pipeline.stages import cutouts as stage


@pytest.fixture
def sources(full):
    return full.table("source").sort("source_id").collect()


def window(image, y0, x0, side, fill):
    pad = np.pad(image, 128, constant_values=fill)
    return pad[y0 + 128 : y0 + 128 + side, x0 + 128 : x0 + 128 + side]


def test_stamps_come_in_the_order_of_the_ids_and_hold_the_mosaic(full, survey, sources):
    ids = np.random.default_rng(1).permutation(np.concatenate([sources["source_id"].to_numpy()] * 2))
    cut = full.cutouts(ids, bands=["f125w", "f140w"], planes=["sci", "wht", "seg"], size_pix=40)
    assert cut["f140w", "sci"].shape == (36, 40, 40)
    tiles = dict(zip(sources["source_id"], sources["tile"], strict=True))
    labels = dict(zip(sources["source_id"], sources["label"], strict=True))
    for i, source_id in enumerate(ids):
        tile = tiles[source_id]
        for band in ("f125w", "f140w"):
            y0, x0 = cut.origin[band][i]
            truth = window(survey.image(tile, band, 1), y0, x0, 40, np.nan)
            stamp = cut[band, "sci"][i]
            np.testing.assert_array_equal(np.isfinite(stamp), np.isfinite(truth))
            assert np.nanmax(np.abs(stamp - truth)) < 0.01 / 16
        assert cut["f140w", "seg"][i][20, 20] == labels[source_id]


def test_the_wcs_of_a_stamp_points_at_its_source(full, sources):
    cut = full.cutouts(sources["source_id"], bands=["f140w"], size_pix=60)
    for i, row in enumerate(sources.iter_rows(named=True)):
        x, y = cut.wcs(i, "f140w").all_world2pix(row["ra"], row["dec"], 0)
        assert abs(x - 30) <= 0.5 + 1e-6
        assert abs(y - 30) <= 0.5 + 1e-6


def test_stamps_of_several_sizes_are_a_list(full, sources):
    cut = full.cutouts(sources["source_id"], bands=["f140w"])
    sizes = np.where(sources["label"].to_numpy() % 2, 64, 128)
    assert [stamp.shape for stamp in cut["f140w", "sci"]] == [(n, n) for n in sizes]
    same = full.cutouts(sources.filter(tile="east")["source_id"].gather([0]), bands=["f140w"])
    assert isinstance(same["f140w", "sci"], np.ndarray)


def test_a_larger_stamp_has_an_empty_border_and_the_same_sky(full, sources):
    ids = sources["source_id"][:4]
    small = full.cutouts(ids, bands=["f140w"], planes=["sci", "wht"], size_pix=64)
    large = full.cutouts(ids, bands=["f140w"], planes=["sci", "wht"], size_pix=200)
    for i in range(4):
        np.testing.assert_array_equal(large["f140w", "sci"][i][68:132, 68:132], small["f140w", "sci"][i])
        assert np.isnan(large["f140w", "sci"][i][:20]).all()
        assert (large["f140w", "wht"][i][:20] == 0).all()
        assert large.wcs(i, "f140w").wcs.crpix[0] == pytest.approx(small.wcs(i, "f140w").wcs.crpix[0] + 68)


def test_units_and_sizes_are_known(full, sources):
    cut = full.cutouts(sources["source_id"][:2], bands=["f140w"], planes=["sci", "wht"], size_pix=32)
    assert cut.units == {("f140w", "sci"): "electron / s", ("f140w", "wht"): "s"}
    assert len(cut) == 2
    assert cut.size.tolist() == [32, 32]
    assert len(full.cutouts([], bands=["f140w"])) == 0


def test_requests_without_an_answer_are_errors(full, sources):
    ids = sources["source_id"][:2]
    with pytest.raises(NotFoundError, match="1 of 3 sources have no cutout, the first is 5"):
        full.cutouts([*ids, 5], bands=["f140w"])
    with pytest.raises(NotFoundError, match="f999w"):
        full.cutouts(ids, bands=["f140w", "f999w"])
    for wrong in ({"bands": []}, {"bands": "f140w"}, {"bands": ["f140w"], "planes": ["err"]}):
        with pytest.raises(InvalidInputError):
            full.cutouts(ids, **wrong)
    with pytest.raises(InvalidInputError, match="size_pix: 0"):
        full.cutouts(ids, bands=["f140w"], size_pix=0)
    with pytest.raises(InvalidInputError, match="ids: dtype float64"):
        full.cutouts([1.5], bands=["f140w"])


def test_a_mosaic_is_read_by_windows(full, survey):
    image = survey.image("east", "f140w", 1)
    np.testing.assert_array_equal(full.mosaic("east", "f140w")[10:20, 30:50], image[10:20, 30:50])
    assert full.mosaic("east", "f140w", "wht").unit == "s"
    for tile, band, plane in (("north", "f140w", "sci"), ("east", "f999w", "sci"), ("east", "f140w", "nothing")):
        with pytest.raises(NotFoundError, match={"north": "'north'"}.get(tile, f"has no {band}/{plane}")):
            full.mosaic(tile, band, plane)


def test_a_stamp_larger_than_every_size_class_is_whole(lake, survey):
    survey.publish_all(lake, tiles=["east"])
    # Twice the Kron ellipse of one source is 600 pixels, of another 5000, more than the plan allows.
    rows = lake.table("source").sort("source_id").collect().drop("tile", "run_id", "_healpix_29")
    a = np.full(rows.height, 2.0, np.float32)
    a[2], a[5] = 60.0, 500.0
    rows = rows.with_columns(a=pl.Series(a), kron_radius=pl.lit(2.5, pl.Float32))
    with lake.run(stage="s", tile="east", product="source", inputs=[], params={"large": True}) as run:
        run.publish(rows)
    plan = Plan(survey=SurveyPlan(exposures=("*.fits",)))
    (task,) = stage.STAGE.tasks(plan, lake)
    work = {"stage": "cutouts", "tile": "east", "product": "cutout", "inputs": task.inputs, "params": task.params}
    with lake.run(**work) as run:
        task.work(run)
    cut = lake.cutouts(rows["source_id"], bands=["f140w"], planes=["sci", "wht", "seg"])
    assert cut.size.tolist() == [64, 64, 600, 64, 64, 1024, 64, 64, 64]
    mosaic, labels = survey.image("east", "f140w", 1), survey.labels("east", 1)
    for i, side in enumerate(cut.size.tolist()):
        y0, x0 = cut.origin["f140w"][i].tolist()
        pad = np.pad(mosaic, 1100, constant_values=np.nan)[y0 + 1100 :, x0 + 1100 :][:side, :side]
        tolerance = 0.01 / 32 if side == 64 else 0.0
        np.testing.assert_allclose(cut["f140w", "sci"][i], pad, rtol=0, atol=tolerance)
        pad = np.pad(labels, 1100)[y0 + 1100 :, x0 + 1100 :][:side, :side]
        np.testing.assert_array_equal(cut["f140w", "seg"][i], pad)
        assert cut["f140w", "wht"][i].max() == 100.0
    small = lake.cutouts(rows["source_id"][[2, 5, 0]], bands=["f140w"], size_pix=50)
    for i, k in enumerate((2, 5, 0)):
        middle = slice(cut.size[k] // 2 - 25, cut.size[k] // 2 + 25)
        np.testing.assert_array_equal(small["f140w", "sci"][i], cut["f140w", "sci"][k][middle, middle])
    row = lake.table("run").filter((pl.col("tile") == "east") & (pl.col("stage") == "cutouts")).collect()
    assert "1 sources are larger" in row["warnings"].item()


@pytest.mark.parametrize(("size", "largest"), [(64, 100), (256, 128), (64, 5000), (64, 0)])
def test_a_largest_stamp_that_makes_no_sense_is_refused(size, largest):
    with pytest.raises(InvalidInputError, match=f"largest_pix: {largest} is not allowed"):
        CutoutPlan(size_pix=size, largest_pix=largest)
