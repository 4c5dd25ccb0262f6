"""Sources and words at the limits of what is allowed."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.profiles import (
    Component,
    FitParams,
    RefitEdit,
    SceneParams,
    SourcePlan,
    fit_components,
    fit_scene,
    fit_sersic,
    model_stamps,
    profiles_on_sky,
    refit,
    render,
    render_sersic,
)
from skymere.psf import Psf
from skymere.wcs import Grid

ERROR = 0.05
SHAPE = (110, 120)


def gaussian_psf(oversampling: int = 1) -> np.ndarray:
    half = 15 * oversampling
    y, x = np.mgrid[-half : half + 1, -half : half + 1] / oversampling
    image = np.exp(-(x**2 + y**2) / 4.5)
    return image / image.sum()


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Two sources without a neighbour on their stamps, and their segments."""
    x, y = [33.3, 85.2], [40.0, 75.0]
    psf = gaussian_psf()
    image = render_sersic(SHAPE, x=x, y=y, flux=[300.0, 150.0], re=[4.0, 3.0], n=[2.0, 1.0], q=0.7, psf=psf)
    image += np.random.default_rng(4).normal(0.0, ERROR, SHAPE)
    labels = np.zeros(SHAPE, np.int32)
    rows, columns = np.indices(SHAPE)
    for label, (x0, y0) in enumerate(zip(x, y, strict=True), start=1):
        labels[(columns - x0) ** 2 + (rows - y0) ** 2 < 60] = label
    return image, labels


def test_components_that_share_a_centre_can_be_held(scene) -> None:
    image, labels = scene
    psf = gaussian_psf()
    parts = (Component(kind="sersic"), Component(kind="point", centre_of=0))
    first = fit_scene(image, ERROR, labels=labels, psf=psf, sources=[SourcePlan(label=1, components=parts)])
    second = refit(first, image, ERROR, labels=labels, psf=psf, edits=[RefitEdit(label=2)])
    assert (second.table["status"] == "ok").all()
    # The model of the source that was held is what it was, but for what the other one's new attempt changed.
    own = labels == 1
    assert np.abs(second.model - first.model)[own].max() < 1e-4 * first.model.max()
    centres = second.table.filter(pl.col("label") == 1).select("x", "y").unique()
    assert centres.height == 1


def test_sources_that_share_a_centre_are_fitted_with_a_neighbour_from_their_starts(scene) -> None:
    image, labels = scene
    start = {"x": 33.0, "y": 40.2, "flux": 250.0, "r_eff_pix": 4.5, "sersic_index": 1.5, "ellipticity": 0.2, "pa": 0.0}
    parts = (Component(start=start), Component(kind="point", start={"flux": 5.0}, centre_of=0))
    plan = SourcePlan(label=1, components=parts, neighbours=(2,))
    table = fit_scene(image, ERROR, labels=labels, psf=gaussian_psf(), sources=[plan]).table
    assert (table["status"] == "ok").all()
    assert table["members"].to_list() == [[1, 2]] * 3
    own = table.filter(pl.col("label") == 1)
    assert own["flux"].sum() == pytest.approx(300.0, abs=5 * own["flux_err"].max())


def test_a_source_that_failed_can_be_fitted_again_with_what_was_fixed(scene) -> None:
    image, labels = scene
    rows, columns = np.indices(SHAPE)
    error = np.where((np.abs(rows - 40) < 40) & (np.abs(columns - 33) < 40), 0.0, ERROR)
    held = Component(start={"sersic_index": 2.0}, fixed=("sersic_index",))
    plan = SourcePlan(label=1, components=(held,))
    first = fit_scene(image, error, labels=labels, psf=gaussian_psf(), sources=[plan])
    assert first.table["status"].to_list() == ["failed", "ok"]
    second = refit(first, image, ERROR, labels=labels, psf=gaussian_psf(), edits=[RefitEdit(label=1)])
    row = second.table.filter((pl.col("label") == 1) & pl.col("is_best")).row(0, named=True)
    assert (row["status"], row["attempt"], row["sersic_index"]) == ("ok", 1, 2.0)
    assert row["flux"] == pytest.approx(300.0, abs=5 * row["flux_err"])


def test_a_segment_of_which_no_pixel_counts_is_a_row_and_not_what_its_neighbour_leaves(scene) -> None:
    image, labels = scene
    table = fit_scene(image, ERROR, labels=labels, psf=gaussian_psf(), mask=labels == 2).table
    assert table["status"].to_list() == ["ok", "failed"]
    assert "counts" in table["message"][1]
    assert np.isnan(table["flux"][1])
    assert table["flux"][0] == pytest.approx(300.0, abs=5 * table["flux_err"][0])


def test_fewer_pixels_than_parameters_are_told(scene) -> None:
    image, labels = scene
    own = np.argwhere(labels == 1)
    mask = np.ones(SHAPE, bool)
    mask[tuple(own[::40][:4].T)] = False
    table = fit_scene(image, ERROR, labels=labels, psf=gaussian_psf(), mask=mask).table
    assert table["status"].to_list() == ["failed", "failed"]
    assert "4 pixels do not tell" in table["message"][0]


def test_what_cannot_be_fitted_together_is_what_was_fitted_alone(scene) -> None:
    image, labels = scene
    # Eight pixels for each source alone, and nine for the fifteen parameters of both.
    mask = np.ones(SHAPE, bool)
    for label in (1, 2):
        mask[tuple(np.argwhere(labels == label)[0])] = False
    mask[tuple(np.argwhere(labels == 0)[:: np.count_nonzero(labels == 0) // 7][:7].T)] = False
    plans = [SourcePlan(label=1, neighbours=(2,))]
    table = fit_scene(image, ERROR, labels=labels, psf=gaussian_psf(), mask=mask, sources=plans).table
    assert table["status"].to_list() == ["ok", "ok"]
    assert table["members"].to_list() == [[1], [2]]


def test_the_light_of_a_sum_of_profiles_has_the_error_of_the_sum() -> None:
    parts = (Component(kind="exponential"), Component(kind="gaussian", centre_of=0))
    row = {"x": 33.2, "y": 39.8, "ellipticity": 0.3, "pa": 20.0}
    components = [
        Component(kind="exponential", start=row | {"flux": 300.0, "r_eff_pix": 6.0}),
        Component(kind="gaussian", start=row | {"flux": 120.0, "r_eff_pix": 3.0}),
    ]
    clean = render(SHAPE, components=components, psf=gaussian_psf())
    labels = (clean > 0.1 * clean.max()).astype(np.int32)
    rng = np.random.default_rng(8)
    found = []
    for _ in range(60):
        data = clean + rng.normal(0, ERROR, SHAPE)
        plan = SourcePlan(label=1, components=parts)
        table = fit_scene(data, ERROR, labels=labels, psf=gaussian_psf(), sources=[plan]).table
        assert table["source_flux"][0] == pytest.approx(table["flux"].sum())
        found.append((table["source_flux"][0], table["source_flux_err"][0], np.hypot(*table["flux_err"])))
    flux, error, independent = np.array(found).T
    pull = (flux - 420.0) / error
    print(
        f"the sum: pull {np.std(pull):.2f}, mean {np.mean(pull):.2f}; as of independent parts {np.median(independent):.1f}"
        f" for {np.median(error):.1f}"
    )
    # 60 values tell a standard deviation to 9 %.
    assert np.std(pull) == pytest.approx(1.0, abs=0.25)
    assert np.median(independent) > 2 * np.median(error)


def test_a_refit_without_edits_changes_nothing(scene) -> None:
    image, labels = scene
    psf = gaussian_psf()
    for segments in (labels, np.zeros_like(labels)):
        first = fit_scene(image, ERROR, labels=segments, psf=psf)
        second = refit(first, image, ERROR, labels=segments, psf=psf, edits=[])
        assert second.table.equals(first.table)
        np.testing.assert_allclose(second.model, first.model, atol=1e-5)


def test_the_level_of_a_tilted_sky_is_that_at_the_source(scene) -> None:
    image, labels = scene
    slope = 0.02
    tilted = image + slope * (np.arange(SHAPE[1]) - 60.0)
    params = SceneParams(fits=FitParams(sky_slope=(-1.0, 1.0)))
    table = fit_scene(tilted, ERROR, labels=labels, psf=gaussian_psf(), params=params).table
    # The centroid of the light on a segment is within 0.1 pixels of its source.
    expected = slope * (table["x"].to_numpy() - 60.0)
    tolerance = 5 * table["sky_err"].to_numpy() + 0.1 * slope
    assert (np.abs(table["sky"].to_numpy() - expected) < tolerance).all()


@pytest.mark.parametrize("wrong", [2**31 + 5, -1])
def test_labels_that_int32_does_not_hold_are_refused(scene, wrong: int) -> None:
    image, labels = scene
    with pytest.raises(InvalidInputError, match=rf"labels: values from .*{2**31 - 1}"):
        fit_scene(image, ERROR, labels=np.where(labels > 0, wrong, 0), psf=gaussian_psf())


def test_stamps_are_as_large_behind_a_psf_on_finer_pixels(scene) -> None:
    image, labels = scene
    fits = fit_scene(image, ERROR, labels=labels, psf=gaussian_psf()).table
    plain = model_stamps(fits, psf=gaussian_psf())
    fine = model_stamps(fits, psf=Psf(data=gaussian_psf(3).astype(np.float32), oversampling=3))
    assert fine.table["nx"].to_list() == plain.table["nx"].to_list()
    assert max(fine.table["nx"]) < 101


def test_slopes_of_the_sky_are_in_the_unit_of_the_sky(scene) -> None:
    image, labels = scene
    params = SceneParams(fits=FitParams(sky_slope=(-1.0, 1.0)))
    table = fit_scene(image, ERROR, labels=labels, psf=gaussian_psf(), params=params).table
    grid = Grid.tangent(150.0, 2.0, shape=SHAPE, scale_arcsec=0.06)
    found = profiles_on_sky(table, grid, zero_point_ab=25.0)
    factor = found["flux"] / table["flux"]
    for name in ("sky", "sky_slope_x", "sky_slope_y"):
        np.testing.assert_allclose(found[name] / table[name], factor, rtol=1e-12)


def test_bounds_of_an_angle_count_modulo_half_a_turn_in_a_refit(scene) -> None:
    image, labels = scene
    psf = gaussian_psf()
    first = fit_scene(image, ERROR, labels=labels, psf=psf)
    angle = first.table["pa"][0]
    bounds = {"pa": (angle + 175.0, angle + 185.0)}
    edit = RefitEdit(label=1, bounds=bounds)
    second = refit(first, image, ERROR, labels=labels, psf=psf, edits=[edit])
    row = second.table.filter((pl.col("label") == 1) & pl.col("is_best")).row(0, named=True)
    assert row["bounds_hit"] == []
    assert f'"pa": {angle:.6f}'[:10] in row["start"]


def test_words_that_are_wrong_are_named() -> None:
    stamp = np.zeros((30, 30))
    parts = [Component(kind="point", start={"x": 1.0, "y": 1.0, "flux": 1.0})]
    shared = Component(kind="point", start={"flux": 1.0}, centre_of=3)
    for call, message in [
        (lambda: FitParams(max_starts=1.5), "max_starts: 1.5"),
        (lambda: FitParams(flux=3.0), "flux: 3.0"),
        (lambda: SceneParams(n_passes=1.5), "n_passes: 1.5"),
        (lambda: render((30, 30), [*parts, shared], psf=gaussian_psf()), "centre_of: 3"),
        (lambda: render((-3, 30), parts, psf=gaussian_psf()), r"shape: \(-3, 30\)"),
        (lambda: fit_sersic(stamp, np.ones((2, 3)), psf=gaussian_psf()), r"error: shape \(2, 3\)"),
        (lambda: fit_components(stamp, 1.0, psf=gaussian_psf(), components=[shared]), "centre_of: 3"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            call()
