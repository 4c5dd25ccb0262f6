"""Whole frames against grizli's model of a scene of 398 galaxies (`pytest -s` prints how fast)."""

import json
import time

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

import skymere
from skymere.errors import InvalidInputError
from skymere.grism import GRIZLI_CONTAMINATION, ContaminationParams, contamination_model

PHOTFLAM = 1.4737148727237957e-20


@pytest.fixture(scope="module")
def scene(folder):
    with fits.open(folder / "scene" / "scene_g141.fits.gz", memmap=False) as hdus:
        planes = {name: np.array(hdus[name].data) for name in ("DIRECT", "SEG", "MODEL")}
    planes["SEG"] = planes["SEG"].astype(np.int32)
    catalog = pl.read_csv(folder / "scene" / "scene_catalog.csv").select("id", "mag")
    words = json.loads((folder / "reference" / "grizli" / "scene_summary.json").read_text())
    return planes, catalog, words


def test_the_frame_is_that_of_grizli(scene, g141):
    planes, catalog, words = scene
    start = time.process_time()
    model = contamination_model(
        planes["DIRECT"], planes["SEG"], catalog, g141, photflam=PHOTFLAM, params=GRIZLI_CONTAMINATION
    )
    print(
        f"398 sources, all orders: {time.process_time() - start:.2f} s; grizli {words['times']['compute_full_model']}"
    )
    wanted = planes["MODEL"].astype(np.float64)
    # 13 bits of the mantissa are stored; grizli adds in single precision.
    assert (np.abs(model - wanted) <= 2.0**-14 * np.abs(wanted) + 2e-6 * wanted.max()).all()
    assert model.sum(dtype=np.float64) == pytest.approx(words["core_sum"], rel=1e-4)
    assert model.max() == pytest.approx(words["core_max"], rel=1e-6)


def test_every_order_of_every_listed_source_has_the_light_of_grizli(scene, g141):
    planes, catalog, words = scene
    # Orders reach 1120 columns from their source, and their sums count what is off the frame.
    pad = (64, 1400)
    around = ((pad[0],) * 2, (pad[1],) * 2)
    direct, labels = np.pad(planes["DIRECT"], around), np.pad(planes["SEG"], around)
    everything = catalog.with_columns(mag=pl.lit(0.0))
    for one in words["per_source"]:
        mine = everything.filter(pl.col("id") == one["id"])
        for order, wanted in one["sums"].items():
            params = ContaminationParams(operator="grizli", orders=(order,), is_padded=True)
            model = contamination_model(direct, labels, mine, g141, photflam=PHOTFLAM, pad=pad, params=params)
            assert model.sum(dtype=np.float64) == pytest.approx(wanted, rel=1e-4), (one["id"], order)


@pytest.mark.parametrize("operator", ["grizli", "spline"])
def test_frames_have_the_same_bits_for_any_number_of_threads(scene, g141, operator):
    planes, catalog, _ = scene
    before, frames = skymere.get_num_threads(), []
    try:
        for n in (1, 3):
            skymere.set_num_threads(n)
            params = ContaminationParams(operator=operator)
            frames.append(
                contamination_model(planes["DIRECT"], planes["SEG"], catalog, g141, photflam=PHOTFLAM, params=params)
            )
    finally:
        skymere.set_num_threads(before)
    np.testing.assert_array_equal(*frames)


def test_a_given_spectrum_replaces_the_flat_one(scene, g141):
    planes, catalog, _ = scene
    one = catalog.filter(pl.col("id") == 3)
    model = {}
    mine = planes["SEG"] == 3
    total = planes["DIRECT"][mine].sum(dtype=np.float64) * PHOTFLAM
    for name, spectra in (
        ("flat", None),
        ("same", {3: ([0.1, 3.0], [total, total])}),
        ("none", {3: ([0.1, 3.0], [0.0, 0.0])}),
    ):
        model[name] = contamination_model(
            planes["DIRECT"], planes["SEG"], one, g141, photflam=PHOTFLAM, spectra=spectra, params=GRIZLI_CONTAMINATION
        )
    # The sum of the pixels is taken in single precision by grizli's way of flat spectra, not here.
    np.testing.assert_allclose(model["same"], model["flat"], rtol=0, atol=1e-6 * model["flat"].max())
    assert not model["none"].any()


def test_positions_of_the_catalogue_move_the_wavelengths(scene, g141):
    planes, catalog, _ = scene
    one = catalog.filter(pl.col("id") == 3)
    moved = one.with_columns(x=pl.lit(700.0), y=pl.lit(190.0))
    frames = [
        contamination_model(planes["DIRECT"], planes["SEG"], c, g141, photflam=PHOTFLAM, params=GRIZLI_CONTAMINATION)
        for c in (one, moved)
    ]
    assert np.abs(frames[0] - frames[1]).max() > 1e-4 * frames[0].max()


def _drawn(scene, g141, catalog):
    planes, _, _ = scene
    return contamination_model(
        planes["DIRECT"], planes["SEG"], catalog, g141, photflam=PHOTFLAM, params=GRIZLI_CONTAMINATION
    )


@pytest.mark.parametrize("mag", [None, float("nan")])
def test_a_source_without_a_magnitude_has_all_of_its_orders(scene, g141, mag):
    one = scene[1].filter(pl.col("id") == 3)
    unknown = one.with_columns(mag=pl.lit(mag, pl.Float64))
    np.testing.assert_array_equal(_drawn(scene, g141, unknown), _drawn(scene, g141, one.with_columns(mag=pl.lit(0.0))))


@pytest.mark.parametrize("x", [None, float("nan")])
def test_a_source_without_a_place_is_drawn_from_the_middle_of_its_segment(scene, g141, x):
    one = scene[1].filter(pl.col("id") == 3)
    lost = one.with_columns(x=pl.lit(x, pl.Float64), y=pl.lit(190.0))
    np.testing.assert_array_equal(_drawn(scene, g141, lost), _drawn(scene, g141, one))


def test_a_source_is_never_drawn_twice(scene, g141):
    few = scene[1].head(3)
    with pytest.raises(InvalidInputError, match=r"catalog: the ids \[1\] "):
        _drawn(scene, g141, pl.concat([few, few.head(1)]))
    with pytest.raises(InvalidInputError, match="None"):
        _drawn(scene, g141, few.with_columns(id=pl.lit(None, pl.Int64)))


def test_bad_input_is_named(scene, g141):
    planes, catalog, _ = scene
    call = {"photflam": PHOTFLAM}
    with pytest.raises(InvalidInputError, match="mag"):
        contamination_model(planes["DIRECT"], planes["SEG"], catalog.drop("mag"), g141, **call)
    with pytest.raises(InvalidInputError, match="segmentation"):
        contamination_model(planes["DIRECT"], planes["SEG"][1:], catalog, g141, **call)
    with pytest.raises(InvalidInputError, match="photflam"):
        contamination_model(planes["DIRECT"], planes["SEG"], catalog, g141, photflam=0.0)
    with pytest.raises(InvalidInputError, match="orders"):
        contamination_model(
            planes["DIRECT"], planes["SEG"], catalog, g141, **call, params=ContaminationParams(orders=("Z",))
        )
    with pytest.raises(InvalidInputError, match="min_size"):
        ContaminationParams(min_size=1)
