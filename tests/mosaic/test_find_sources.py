"""Every detection image with every method, and bands that cannot be used."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from skymere.background import BackgroundParams
from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.mosaic import FindParams, find_sources, subtract_background
from skymere.segmentation import DetectParams, PeakParams, SourceFlag, detect, measure
from skymere.wcs import Grid

SHAPE = (260, 240)
GRID = Grid.tangent(30.0, -10.0, shape=SHAPE, scale_arcsec=0.06)
PLACES = [(40 + 60 * i, 50 + 55 * j) for i in range(4) for j in range(4)]
MESH = BackgroundParams(box_size=64)


def mosaic(band: str, sigma: float, *, heights: dict[int, float] | float = 12.0, seed: int = 0) -> Mosaic:
    """Sixteen round sources on a sky of its own level; the heights are in sigma."""
    rng = np.random.default_rng([seed, *band.encode()])
    y, x = np.indices(SHAPE)
    data = 3.0 + rng.normal(0, 1, SHAPE)
    for i, (cx, cy) in enumerate(PLACES):
        height = heights.get(i, 0.0) if isinstance(heights, dict) else heights
        data += height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 2.0**2))
    ones = np.ones(SHAPE, np.float32)
    return Mosaic(
        band=band,
        grid=GRID,
        data=(sigma * data).astype(np.float32),
        weight=ones * 5.0,
        variance=ones * sigma**2,
        context=ones[None].astype(np.int32),
        exposure_ids=("a",),
        zero_point_ab=25.0,
    )


def labels_at_sources(labels: np.ndarray) -> np.ndarray:
    return np.array([labels[cy, cx] for cx, cy in PLACES])


@pytest.mark.parametrize("method", ["threshold", "peaks"])
@pytest.mark.parametrize("image", ["stack", "chi_square", "max_snr"])
def test_every_image_and_method_finds_the_sources_and_nothing_in_the_negative(image: str, method: str) -> None:
    bands = [mosaic("g", 1.0), mosaic("r", 2.0), mosaic("i", 0.5)]
    params = FindParams(image=image, method=method, background=MESH, flux_band="r")
    found = find_sources(bands, params=params)
    at = labels_at_sources(found.segmentation.labels)
    assert len(set(at)) == 16
    assert at.min() > 0
    assert found.segmentation.n_sources == 16
    assert find_sources(bands, params=params, negative=True).segmentation.n_sources == 0
    assert found.excluded == {}
    assert set(found.coverage.values()) == {1.0}
    table = found.flux_table("r")
    assert sorted(table["label"].to_list()) == found.segmentation.ids.tolist()
    # The light within the segment: 12 sigma x 2 pi 2^2, in uJy.
    whole = 12.0 * 2.0 * 2 * np.pi * 4 * 10 ** (-0.4 * (25.0 - 23.9))
    assert table["flux"].median() == pytest.approx(0.9 * whole, rel=0.12)
    assert (table["flux"] / table["flux_err"]).min() > 10
    assert found.peak_snr().min() > found.threshold


def test_hidden_pixels_do_not_lift_the_background() -> None:
    blank = mosaic("r", 1.0, heights=0.0)
    y, x = np.indices(SHAPE)
    distance2 = np.min([(x - cx) ** 2 + (y - cy) ** 2 for cx, cy in PLACES], axis=0)
    # Wings as faint as the noise, which no clipping takes away.
    band = replace(blank, data=(blank.data + 2.0 * np.exp(-distance2 / (2 * 7.0**2))).astype(np.float32))
    hidden = distance2 < 20.0**2
    sky, k = subtract_background(blank, params=MESH)
    lifted, _ = subtract_background(band, params=MESH)
    level, k_hidden = subtract_background(band, params=MESH, hidden=hidden)
    assert (sky - lifted)[~hidden].mean() > 0.1
    assert abs((sky - level)[~hidden].mean()) < 0.03
    assert k_hidden == pytest.approx(k, rel=0.03)
    with pytest.raises(NoDataError):
        subtract_background(band, params=MESH, hidden=np.ones(SHAPE, bool))


def test_the_stack_of_n_equal_images_has_the_noise_of_one_over_the_root_of_n() -> None:
    # The rms of 16 meshes is good to 0.5 %, and 1.7 % low because it is clipped at 3 sigma.
    errors = {}
    for n in (1, 4, 9):
        bands = [mosaic(f"b{i}", 1.0, heights=0.0, seed=i) for i in range(n)]
        stack = find_sources(bands, params=FindParams(background=MESH)).stack
        unit = bands[0].microjansky_per_unit
        assert float(stack.data.std()) == pytest.approx(unit / np.sqrt(n), rel=0.01)
        errors[n] = float(np.median(stack.error))
    assert errors[1] == pytest.approx(unit, rel=0.04)
    assert errors[4] == pytest.approx(errors[1] / 2, rel=0.02)
    assert errors[9] == pytest.approx(errors[1] / 3, rel=0.02)


def test_the_last_band_decides_on_the_least_s_n_when_none_is_named() -> None:
    """Source 5 is not there in the last band."""
    bright = dict.fromkeys(range(16), 12.0)
    bands = [mosaic("g", 1.0, heights=bright), mosaic("r", 1.0, heights=bright | {5: 0.0})]
    for order, is_found in ((bands, False), (bands[::-1], True)):
        found = find_sources(order, params=FindParams(method="peaks", image="max_snr", background=MESH))
        assert found.segmentation.params["flux_band"] == order[-1].band
        assert (labels_at_sources(found.segmentation.labels)[5] > 0) is np.bool_(is_found)


def test_the_stack_is_the_inverse_variance_mean() -> None:
    bands = [mosaic("g", 1.0), mosaic("r", 2.0)]
    parts = [(m, *subtract_background(m, params=MESH)) for m in bands]
    variance = np.array([k / m.weight * m.microjansky_per_unit**2 for m, _, k in parts])
    weighted = [data * m.microjansky_per_unit / v for (m, data, _), v in zip(parts, variance, strict=True)]
    stack = np.sum(weighted, axis=0) / np.sum(1 / variance, axis=0)
    expected = detect(stack, error=np.sum(1 / variance, axis=0) ** -0.5, grid=GRID)
    found = find_sources(bands, params=FindParams(background=MESH))
    np.testing.assert_allclose(found.stack.data, stack, rtol=1e-5, atol=1e-6)
    assert np.array_equal(found.segmentation.labels > 0, expected.labels > 0)


def test_a_source_of_one_band_is_lost_in_the_stack_only() -> None:
    heights = dict.fromkeys(range(16), 12.0) | {5: 0.0}
    bands = [mosaic("blue", 1.0, heights=dict.fromkeys(range(16), 4.0))]
    bands += [mosaic(f"red{i}", 0.3, heights=heights) for i in range(4)]
    lost = {}
    for image in ("stack", "chi_square", "max_snr"):
        for method in ("threshold", "peaks"):
            params = FindParams(image=image, method=method, background=MESH, peaks=PeakParams(min_snr=-100.0))
            lost[image, method] = labels_at_sources(find_sources(bands, params=params).segmentation.labels)[5] == 0
    assert lost == {key: key[0] == "stack" for key in lost}


def test_a_blank_band_is_left_out_with_the_reason_or_an_error() -> None:
    bands = [mosaic("g", 1.0), mosaic("r", 1.0)]
    blank = replace(mosaic("i", 1.0), weight=np.zeros(SHAPE, np.float32))
    part = mosaic("z", 1.0)
    part.weight[:, 100:] = 0
    for method in ("threshold", "peaks"):
        params = FindParams(method=method, background=MESH, min_coverage=0.6, flux_band="g")
        found = find_sources([*bands, blank, part], params=params)
        assert list(found.planes) == ["g", "r"]
        assert set(found.excluded) == {"i", "z"}
        assert "below min_coverage 0.6" in found.excluded["z"]
        with pytest.raises(InvalidInputError, match="z: coverage"):
            find_sources([*bands, blank, part], params=replace(params, unusable="raise"))
    with pytest.raises(NoDataError, match="none of the bands"):
        find_sources([blank], params=params)


@pytest.mark.parametrize("method", ["threshold", "peaks"])
@pytest.mark.parametrize("image", ["stack", "chi_square", "max_snr"])
def test_bad_pixels_of_one_band_hide_only_what_that_band_shows(image: str, method: str) -> None:
    heights = dict.fromkeys(range(16), 12.0)
    # Source 5 is in g only, 6 in r only, the others in both.
    bands = [mosaic("g", 1.0, heights=heights | {6: 0.0}), mosaic("r", 1.0, heights=heights | {5: 0.0}, seed=1)]
    y, x = np.indices(SHAPE)
    bad = np.zeros(SHAPE, bool)
    for i in (5, 6, 9):
        bad |= np.hypot(x - PLACES[i][0], y - PLACES[i][1]) < 10
    # A saturated star: neither background nor noise may see it.
    bands[0].data[bad] = 1e5
    params = FindParams(image=image, method=method, background=MESH, flux_band="r", peaks=PeakParams(min_snr=-100.0))
    found = find_sources(bands, params=params, mask={"g": bad})
    at = labels_at_sources(found.segmentation.labels)
    assert np.flatnonzero(at == 0).tolist() == [5]
    assert np.isnan(found.planes["g"].data[bad]).all()
    assert np.isfinite(found.planes["r"].data).all()
    catalogue = measure(found.segmentation, found.images(), detection="r").table
    flagged = catalogue.filter(pl.col("flags_g") & SourceFlag.BAD_PIXELS > 0)["label"].to_list()
    assert set(flagged) == {at[6], at[9]}
    assert catalogue.filter(pl.col("flags_r") & SourceFlag.BAD_PIXELS > 0).is_empty()
    clean = catalogue.filter(~pl.col("label").is_in(flagged))
    assert clean["flux_auto_g"].max() < 3 * clean["flux_auto_r"].median()
    everywhere = find_sources(bands, params=params, mask=bad)
    gone = labels_at_sources(everywhere.segmentation.labels) == 0
    assert np.flatnonzero(gone).tolist() == [5, 6, 9]
    with pytest.raises(InvalidInputError, match="bad: shape"):
        find_sources(bands, params=params, mask={"g": bad[1:]})


def test_mosaics_that_do_not_belong_together_are_named() -> None:
    one = mosaic("g", 1.0)
    with pytest.raises(InvalidInputError, match="each only once"):
        find_sources([one, one])
    with pytest.raises(InvalidInputError, match="each only once"):
        find_sources([])
    other = Grid.tangent(30.0, -10.0 + 0.03 / 3600, shape=SHAPE, scale_arcsec=0.06)
    with pytest.raises(InvalidInputError, match=r"g and r differ by 0\.5 pixels"):
        find_sources([one, replace(mosaic("r", 1.0), grid=other)])
    with pytest.raises(InvalidInputError, match="zero point"):
        find_sources([one, replace(mosaic("r", 1.0), zero_point_ab=float("nan"))])
    with pytest.raises(InvalidInputError, match="flux_band"):
        find_sources([one], params=FindParams(method="peaks", flux_band="k"))
    for name, value in {"method": "watershed", "image": "mean", "unusable": "skip", "min_coverage": -1.0}.items():
        with pytest.raises(InvalidInputError):
            FindParams(**{name: value})
    assert FindParams(sources=DetectParams(threshold=5.0)).sources.threshold == 5.0
