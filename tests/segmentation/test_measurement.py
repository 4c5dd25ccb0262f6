"""The source table and apertures."""

import numpy as np
import pytest

import skymere
from skymere._rust import segmentation as _rust
from skymere.datamodels import Mosaic, SegmentationMap
from skymere.errors import InvalidInputError
from skymere.segmentation import (
    PYRAMID,
    DetectParams,
    MeasureImage,
    MeasureParams,
    SourceFlag,
    aperture_flux,
    detect,
    kron_radius,
    measure,
)
from skymere.segmentation.planes import parts_of
from skymere.wcs import Grid


def gaussian(
    shape: tuple[int, int], x: float, y: float, *, a: float, b: float, theta: float, flux: float
) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    t = np.deg2rad(theta)
    u = ((xx - x) * np.cos(t) + (yy - y) * np.sin(t)) / a
    v = (-(xx - x) * np.sin(t) + (yy - y) * np.cos(t)) / b
    return (flux / (2 * np.pi * a * b) * np.exp(-0.5 * (u**2 + v**2))).astype(np.float32)


def test_a_lone_galaxy_has_its_position_shape_and_flux() -> None:
    image = gaussian((121, 131), 61.3, 58.7, a=6.0, b=3.0, theta=30.0, flux=1e4)
    found = detect(image, error=0.02)
    row = measure(found, {"r": MeasureImage(data=image, error=0.02)}, params=MeasureParams(kernel=None)).table.row(
        0, named=True
    )
    assert row["x"] == pytest.approx(61.3, abs=1e-3)
    assert row["y"] == pytest.approx(58.7, abs=1e-3)
    assert (row["a"], row["b"], row["theta"]) == pytest.approx((6.0, 3.0, 30.0), rel=2e-3)
    assert row["elongation"] == pytest.approx(2.0, rel=2e-3)
    # The mean elliptical radius of a Gaussian is sqrt(pi / 2), so its Kron aperture is the smallest one.
    assert row["kron_radius"] == pytest.approx(3.5, abs=1e-9)
    assert row["flux_auto_r"] == pytest.approx(1e4 * (1 - np.exp(-0.5 * 3.5**2)), rel=2e-4)
    assert row["flux_iso_r"] == pytest.approx(1e4, rel=1e-3)
    assert row["peak_r"] == pytest.approx(image.max())
    assert row["flags"] == 0
    radius = row["r_half"]
    inside = aperture_flux(MeasureImage(data=image), row["x"], row["y"], a=radius).flux[0]
    assert inside == pytest.approx(0.5 * row["flux_auto_r"], rel=1e-3)


def test_columns_stand_in_order_and_have_their_units() -> None:
    grid = Grid.tangent(53.0, -27.0, shape=(80, 90), scale_arcsec=0.06)
    image = gaussian((80, 90), 40.0, 30.0, a=2.0, b=2.0, theta=0.0, flux=100.0)
    flat = np.full(image.shape, 0.01, dtype=np.float32)
    mosaic = Mosaic(
        band="f160w",
        grid=grid,
        data=image,
        weight=flat,
        variance=flat**2,
        context=np.ones((1, 80, 90), dtype=np.int32),
        exposure_ids=("e1",),
        zero_point_ab=25.9,
        noise_correlation=1.5,
    )
    bare = MeasureImage(data=image, error=0.01)
    table = measure(detect(image, error=0.01, grid=grid), {"f160w": mosaic, "raw": bare}, detection="raw").table
    assert table.columns[:7] == ["label", "x", "x_err", "y", "y_err", "xy_cov", "ra"]
    for name in table.columns:
        if "_err" in name and "_err_total" not in name:
            assert table.columns.index(name) == table.columns.index(name.replace("_err", "")) + 1
    row = table.row(0, named=True)
    assert row["flux_auto_f160w"] == pytest.approx(row["flux_auto_raw"] * 10 ** (-0.4 * (25.9 - 23.9)), rel=1e-6)
    assert row["flux_aper2_err_f160w"] / row["flux_aper2_f160w"] == pytest.approx(
        1.5 * row["flux_aper2_err_raw"] / row["flux_aper2_raw"], rel=1e-5
    )
    ra, dec = grid.sky(np.array([row["x"]]), np.array([row["y"]]))
    assert (row["ra"], row["dec"]) == (ra[0], dec[0])
    assert row["x_err"] > 0
    # A quarter turn of the axes: east is -x.
    assert row["ra_err"] == pytest.approx(0.06 * row["x_err"], rel=1e-3)
    assert row["dec_err"] == pytest.approx(0.06 * row["y_err"], rel=1e-3)
    assert row["ra_dec_cov"] == pytest.approx(-(0.06**2) * row["xy_cov"], rel=1e-2, abs=1e-6 * row["ra_err"] ** 2)


def test_flags_say_what_is_wrong() -> None:
    image = gaussian((120, 160), 30.0, 60.0, a=3.0, b=3.0, theta=0.0, flux=1e4)
    image += gaussian((120, 160), 45.0, 60.0, a=3.0, b=3.0, theta=0.0, flux=6e3)
    image += gaussian((120, 160), 100.0, 1.0, a=3.0, b=3.0, theta=0.0, flux=4e3)
    image += gaussian((120, 160), 100.0, 60.0, a=3.0, b=3.0, theta=0.0, flux=2e3)
    image += gaussian((120, 160), 130.0, 100.0, a=4.0, b=4.0, theta=0.0, flux=1e2)
    mask = np.zeros(image.shape, dtype=bool)
    mask[60, 102] = True
    mask[100, [119, 141]] = True
    found = detect(image, error=0.05, params=DetectParams(extent=None, kernel=PYRAMID))
    table = measure(found, {"r": MeasureImage(data=image, error=0.05, mask=mask)}).table
    by_x = {round(row["x"] / 5) * 5: SourceFlag(row["flags"]) for row in table.iter_rows(named=True)}
    assert by_x[30] & SourceFlag.BLENDED
    assert by_x[45] & SourceFlag.BLENDED
    edge = next(SourceFlag(r["flags"]) for r in table.iter_rows(named=True) if r["y"] < 10)
    assert edge & SourceFlag.EDGE
    hole = next(r for r in table.iter_rows(named=True) if abs(r["x"] - 100) < 3 and r["y"] > 50)
    assert hole["flags"] == SourceFlag.BAD_PIXELS
    assert hole["flags_r"] == SourceFlag.BAD_PIXELS
    assert by_x[130] == SourceFlag.APERTURE_INCOMPLETE


def test_a_bad_pixel_is_replaced_by_the_one_opposite() -> None:
    image = gaussian((61, 61), 30.0, 30.0, a=3.0, b=3.0, theta=0.0, flux=1e4)
    mask = np.zeros(image.shape, dtype=bool)
    mask[28, 33] = True
    whole = aperture_flux(MeasureImage(data=image, error=1.0), 30.0, 30.0, a=8.0)
    holed = aperture_flux(MeasureImage(data=np.where(mask, np.nan, image), error=1.0), 30.0, 30.0, a=8.0)
    assert holed.flux[0] == pytest.approx(whole.flux[0], rel=1e-6)
    # The stand-in counts twice, (1 + 1)^2 instead of 1 + 1.
    assert holed.flux_err[0] ** 2 == pytest.approx(whole.flux_err[0] ** 2 + 2.0, rel=1e-6)
    assert holed.bad[0] == pytest.approx(1 / (np.pi * 64))
    assert holed.missing[0] == 0


def test_neighbours_are_mirrored_blanked_or_kept() -> None:
    image = np.ones((41, 41), dtype=np.float32)
    labels = np.zeros((41, 41), dtype=np.int32)
    labels[20, 20] = 1
    labels[20, 24] = 2
    image[20, 24] = 101.0
    segmentation = SegmentationMap(labels=labels)
    area = np.pi * 64
    for neighbours, expected in (("mirror", area), ("blank", area - 1), ("keep", area + 100)):
        found = aperture_flux(
            MeasureImage(data=image), 20.0, 20.0, a=8.0, segmentation=segmentation, label=1, neighbours=neighbours
        )
        assert found.flux[0] == pytest.approx(expected, rel=1e-9)


def test_a_band_without_coverage_has_no_flux_and_says_so() -> None:
    image = gaussian((60, 60), 30.0, 30.0, a=3.0, b=3.0, theta=0.0, flux=1e4)
    blank = np.full(image.shape, np.nan, dtype=np.float32)
    table = measure(detect(image, error=0.1), {"r": MeasureImage(data=image), "blank": MeasureImage(data=blank)}).table
    row = table.row(0, named=True)
    assert np.isfinite(row["flux_auto_r"])
    assert np.isnan([row["flux_auto_blank"], row["flux_iso_blank"], row["flux_aper1_blank"], row["peak_blank"]]).all()
    assert row["flags_blank"] == SourceFlag.BAD_PIXELS | SourceFlag.APERTURE_INCOMPLETE
    assert np.isnan(row["flux_auto_err_r"])


def test_labels_need_not_be_consecutive_and_no_source_gives_no_row() -> None:
    image = np.ones((30, 30), dtype=np.float32)
    labels = np.zeros((30, 30), dtype=np.int32)
    labels[2:5, 2:5] = 2_000_000_000
    labels[20:22, 20:22] = 7
    table = measure(SegmentationMap(labels=labels), {"r": MeasureImage(data=image)}).table
    assert table["label"].to_list() == [7, 2_000_000_000]
    assert table["area"].to_list() == [4, 9]
    empty = measure(SegmentationMap(labels=np.zeros_like(labels)), {"r": MeasureImage(data=image)}).table
    assert empty.height == 0
    assert empty.schema == table.schema


def test_any_number_of_threads_gives_the_same_table() -> None:
    rng = np.random.default_rng(8)
    image = rng.normal(0, 1, (400, 400)).astype(np.float32)
    for _ in range(60):
        x, y = rng.uniform(20, 380, 2)
        image += gaussian(image.shape, x, y, a=3.0, b=2.0, theta=rng.uniform(-90, 90), flux=1000.0)
    found = detect(image, error=1.0)
    tables = []
    for threads in (1, 3):
        skymere.set_num_threads(threads)
        tables.append(measure(found, {"r": MeasureImage(data=image, error=1.0)}).table)
    skymere.set_num_threads(0)
    assert tables[0].equals(tables[1], null_equal=True)


def test_the_kron_radius_of_a_gaussian_is_its_first_moment() -> None:
    image = gaussian((161, 161), 80.0, 80.0, a=8.0, b=4.0, theta=20.0, flux=1.0)
    radius = kron_radius(MeasureImage(data=image), 80.0, 80.0, a=8.0, b=4.0, theta=20.0)
    assert radius[0] == pytest.approx(np.sqrt(np.pi / 2), rel=1e-3)


def test_wrong_input_is_named() -> None:
    image = MeasureImage(data=np.ones((10, 10), dtype=np.float32))
    found = SegmentationMap(labels=np.ones((10, 10), dtype=np.int32))
    with pytest.raises(InvalidInputError, match="at least one band"):
        measure(found, {})
    with pytest.raises(InvalidInputError, match="'g' is not a band"):
        measure(found, {"r": image}, detection="g")
    with pytest.raises(InvalidInputError, match="shape"):
        measure(found, {"r": MeasureImage(data=np.ones((9, 10), dtype=np.float32))})
    with pytest.raises(InvalidInputError, match="Mosaic"):
        measure(found, {"r": np.ones((10, 10))})  # type: ignore[dict-item]
    with pytest.raises(InvalidInputError, match="axes positive"):
        aperture_flux(image, 1.0, 1.0, a=0.0)
    with pytest.raises(InvalidInputError, match="one length"):
        aperture_flux(image, [1.0, 2.0], [1.0, 2.0, 3.0], a=1.0)
    for extent in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InvalidInputError, match=f"extent: {extent} is not allowed, it must be positive"):
            kron_radius(image, 1.0, 1.0, a=1.0, b=1.0, extent=extent)
    with pytest.raises(InvalidInputError, match="neighbours"):
        MeasureParams(neighbours="maybe")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"aperture_diameters_pix\[1\]"):
        MeasureParams(aperture_diameters_pix=(3.0, -1.0))
    with pytest.raises(InvalidInputError, match="noise_correlation"):
        MeasureImage(data=np.ones((3, 3)), noise_correlation=0.0)
    for error in (-1.0, np.where(np.eye(3), np.nan, -1.0), np.full((3, 3), -np.inf)):
        with pytest.raises(InvalidInputError, match="error: negative values are not allowed"):
            MeasureImage(data=np.ones((3, 3)), error=error)


def test_the_kernels_refuse_tables_and_words_that_do_not_exist() -> None:
    image = parts_of(MeasureImage(data=np.ones((10, 10), dtype=np.float32)), "image", shape=None)
    owner = np.zeros(6, dtype=np.int32)
    with pytest.raises(InvalidInputError, match="apertures: 6 columns are not allowed, it must have 5"):
        _rust.sum_apertures(image, None, np.ones((5, 6)), owner, neighbours="keep")
    with pytest.raises(InvalidInputError, match="ellipses: 6 columns are not allowed, it must have 5"):
        _rust.kron_radii(image, None, np.ones((5, 6)), owner, extent=6.0, neighbours="keep")
    with pytest.raises(InvalidInputError, match='neighbours: "hide" is not known'):
        _rust.sum_apertures(image, None, np.ones((6, 5)), owner, neighbours="hide")
    params = {"aperture_radii": [], "kron_factor": 2.5, "kron_min_radius": 3.5, "kron_extent": 6.0}
    given = (np.ones((10, 10), dtype=np.int32), image, None, [])
    with pytest.raises(InvalidInputError, match="shapes: 5 columns are not allowed, it must have 6"):
        _rust.measure(
            *given, np.ones((1, 5)), None, **params, neighbours="keep", is_extended=False, has_moving_edges=True
        )
    with pytest.raises(InvalidInputError, match='neighbours: "hide" is not known'):
        _rust.measure(*given, None, None, **params, neighbours="hide", is_extended=False, has_moving_edges=True)


def test_held_shapes_stay_as_they_are_given() -> None:
    image = gaussian((121, 131), 61.3, 58.7, a=6.0, b=3.0, theta=30.0, flux=1e4)
    other = gaussian((121, 131), 30.0, 90.0, a=2.0, b=2.0, theta=0.0, flux=3e3)
    found = detect(image + other, error=0.02)
    pictures = {"r": MeasureImage(data=image + other, error=0.02)}
    table = measure(found, pictures).table
    noisy = {"r": MeasureImage(data=image + other + np.random.default_rng(1).normal(0, 1, image.shape), error=1.0)}
    held = measure(found, noisy, shapes=table.reverse()).table
    for name in ("label", "x", "y", "a", "b", "theta", "kron_radius"):
        np.testing.assert_allclose(held[name], table[name], rtol=1e-12)
    again = aperture_flux(
        noisy["r"],
        table["x"],
        table["y"],
        a=table["a"] * table["kron_radius"],
        b=table["b"] * table["kron_radius"],
        theta=table["theta"],
        segmentation=found,
        label=table["label"],
    )
    np.testing.assert_allclose(held["flux_auto_r"], again.flux, rtol=1e-9)
    np.testing.assert_allclose(held["flux_auto_err_r"], again.flux_err, rtol=1e-9)
    # A held aperture has no noise of its own.
    np.testing.assert_allclose(held["flux_auto_err_total_r"], held["flux_auto_err_r"], rtol=1e-9)
    with pytest.raises(InvalidInputError, match=r"columns \['kron_radius'\] are missing"):
        measure(found, pictures, shapes=table.drop("kron_radius"))
    with pytest.raises(InvalidInputError, match="label 2 has no complete row"):
        measure(found, pictures, shapes=table.head(1))


def test_saturated_pixels_and_the_edge_of_the_image_are_flagged() -> None:
    image = gaussian((120, 160), 40.0, 60.0, a=3.0, b=3.0, theta=0.0, flux=1e4)
    image += gaussian((120, 160), 100.0, 60.0, a=3.0, b=3.0, theta=0.0, flux=2e3)
    image += gaussian((120, 160), 70.0, 1.0, a=3.0, b=3.0, theta=0.0, flux=4e3)
    found = detect(image, error=0.05)
    mask = image > 100.0
    for saturated in (100.0, mask):
        table = measure(
            found, {"r": MeasureImage(data=image, error=0.05)}, saturated={"r": saturated}, detection="r"
        ).table
        assert [bool(f & SourceFlag.SATURATED) for f in table["flags_r"]] == [True, False, False]
    bare = MeasureImage(data=image, error=0.05, saturated=100.0)
    flags = measure(found, {"r": bare}).table.sort("y")["flags"].to_list()
    assert flags[0] & SourceFlag.TILE_EDGE
    assert flags[0] & SourceFlag.EDGE
    assert not flags[1] & SourceFlag.TILE_EDGE
    assert any(f & SourceFlag.SATURATED for f in flags[1:])
    with pytest.raises(InvalidInputError, match=r"\['g'\] are no bands"):
        measure(found, {"r": bare}, saturated={"g": 1.0})


def test_a_lone_galaxy_has_its_windowed_centre_peak_concentration_and_magnitude() -> None:
    image = gaussian((121, 131), 61.3, 58.7, a=4.0, b=4.0, theta=0.0, flux=1e4)
    picture = MeasureImage(data=image, error=0.02, zero_point_ab=25.0)
    row = measure(detect(image, error=0.02), {"r": picture}).table.row(0, named=True)
    assert (row["x_win"], row["y_win"]) == pytest.approx((61.3, 58.7), abs=1e-4)
    assert (row["x_peak"], row["y_peak"]) == (61, 59)
    # A Gaussian holds the fraction f within sigma sqrt(-2 ln(1 - f)).
    expected = 5 * np.log10(np.sqrt(np.log(1 - 0.8) / np.log(1 - 0.2)))
    assert row["concentration"] == pytest.approx(expected, rel=5e-3)
    assert row["mag_auto_r"] == pytest.approx(25.0 - 2.5 * np.log10(1e4), abs=5e-3)
    assert row["mag_auto_err_r"] == pytest.approx(1.0857 * row["flux_auto_err_total_r"] / row["flux_auto_r"], rel=1e-4)
    core = measure(detect(image, error=0.02), {"r": picture}, params=MeasureParams(extended=False)).table
    assert not {"x_win", "r_20", "concentration", "flux_total_r", "flux_auto_err_total_r"} & set(core.columns)


def test_the_pull_of_windowed_centroids_is_one() -> None:
    rng = np.random.default_rng(12)
    image = gaussian((81, 81), 40.2, 39.7, a=3.0, b=2.0, theta=25.0, flux=1500.0)
    found = detect(image, error=1.0)
    clean = measure(found, {"r": MeasureImage(data=image, error=1.0)}).table.row(0, named=True)
    rows = [
        measure(found, {"r": MeasureImage(data=image + rng.normal(0, 1, image.shape), error=1.0)}).table.row(
            0, named=True
        )
        for _ in range(400)
    ]
    pulls = [(r[c] - clean[c]) / r[f"{c}_err"] for r in rows for c in ("x_win", "y_win")]
    print(f"pull of windowed centroids: {np.std(pulls):.3f}")
    assert np.std(pulls) == pytest.approx(1.0, abs=0.07)
