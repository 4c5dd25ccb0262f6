"""Sums of profiles of every kind: drawn as GalSim and scipy say, and found again."""

import galsim
import numpy as np
import polars as pl
import pytest
from scipy.integrate import dblquad
from scipy.optimize import least_squares
from tests.profiles.test_render import SETTINGS, stamp_of

from skymere.errors import InvalidInputError
from skymere.profiles import Component, FitParams, fit_components, render, render_sersic
from skymere.psf import Psf

PSF = stamp_of(galsim.Moffat(beta=3.5, fwhm=3.0, gsparams=SETTINGS), 61)
PLACE = {"x": 40.3, "y": 41.1}


def noisy(parts: list[Component], noise: float, seed: int = 1, shape: tuple[int, int] = (84, 82)) -> np.ndarray:
    image = render(shape, parts, psf=PSF)
    return image + np.random.default_rng(seed).normal(0, noise, shape)


@pytest.mark.parametrize("beta", [2.5, 4.0, 8.0])
def test_moffats_behind_a_psf_are_those_of_galsim(beta: float) -> None:
    psf = galsim.Gaussian(fwhm=3.0, gsparams=SETTINGS)
    worst, leak = 0.0, 0.0
    for re, q in ((1.0, 0.8), (5.0, 0.7), (10.0, 0.3)):
        profile = galsim.Moffat(beta=beta, half_light_radius=re * np.sqrt(q), gsparams=SETTINGS)
        profile = galsim.Convolve(profile.shear(q=q, beta=123 * galsim.degrees), psf, gsparams=SETTINGS)
        expected = profile.drawImage(
            nx=64, ny=64, scale=1.0, method="no_pixel", offset=(-0.2, 1.3), dtype=np.float64
        ).array
        start = {"x": 31.3, "y": 32.8, "flux": 1.0, "r_eff_pix": re, "beta": beta, "ellipticity": 1 - q, "pa": 33.0}
        found = render((64, 64), [Component(kind="moffat", start=start)], psf=stamp_of(psf, 61))
        worst = max(worst, float(np.abs(found - expected).max() / expected.max()))
        leak = max(leak, abs(float(found.sum() / expected.sum()) - 1))
    print(f"beta {beta}: {worst:.1e} of the peak, {leak:.1e} of the flux")
    assert worst < 2e-4
    assert leak < 1e-4


@pytest.mark.parametrize("beta", [1.3, 2.0, 6.0])
def test_moffats_integrated_over_pixels_are_those_of_quadrature(beta: float) -> None:
    x, y, re, q, pa = 12.3, 11.8, 2.0, 0.6, 33.0
    start = {"x": x, "y": y, "flux": 1.0, "r_eff_pix": re, "beta": beta, "ellipticity": 1 - q, "pa": pa}
    image = render((25, 26), [Component(kind="moffat", start=start)])
    scale2 = re**2 / (2 ** (1 / (beta - 1)) - 1)
    sin, cos = np.sin(np.deg2rad(pa)), np.cos(np.deg2rad(pa))

    def surface(dy: float, dx: float) -> float:
        along, across = -dx * sin + dy * cos, dx * cos + dy * sin
        return (beta - 1) / (np.pi * scale2 * q) * (1 + (along**2 + (across / q) ** 2) / scale2) ** -beta

    for px, py in ((12, 12), (13, 11), (10, 14), (20, 5), (0, 0)):
        expected, _ = dblquad(
            surface, px - 0.5 - x, px + 0.5 - x, py - 0.5 - y, py + 0.5 - y, epsabs=1e-11, epsrel=1e-9
        )
        assert image[py, px] == pytest.approx(expected, abs=1e-6 * image.max())


def test_kinds_are_sersics_of_their_index_and_points_are_the_psf() -> None:
    shape = {"r_eff_pix": 3.0, "ellipticity": 0.3, "pa": 20.0}
    for kind, index in (("exponential", 1.0), ("de_vaucouleurs", 4.0), ("gaussian", 0.5)):
        for psf in (None, PSF):
            found = render((60, 61), [Component(kind=kind, start={"x": 30.2, "y": 29.5, "flux": 5.0} | shape)], psf=psf)
            expected = render_sersic((60, 61), x=30.2, y=29.5, flux=5.0, re=3.0, n=index, q=0.7, pa=20.0, psf=psf)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    point = render((61, 61), [Component(kind="point", start={"x": 30.0, "y": 30.0, "flux": 2.0})], psf=PSF)
    # Waves of two pixels have no phase and are left out.
    np.testing.assert_allclose(point, 2 * PSF, atol=2e-3 * PSF.max())
    tilted = {"sky": 1.0, "sky_slope_x": 0.1, "sky_slope_y": -0.2}
    sky = render((5, 7), [Component(kind="tilted_sky", start=tilted)])
    assert sky[2, 3] == pytest.approx(1.0)
    assert sky[2, 4] - sky[2, 3] == pytest.approx(0.1)
    assert sky[3, 3] - sky[2, 3] == pytest.approx(-0.2)


BULGE = Component(
    kind="de_vaucouleurs", start=PLACE | {"flux": 900.0, "r_eff_pix": 2.0, "ellipticity": 0.1, "pa": 10.0}
)
DISC = Component(
    kind="exponential", start={"flux": 2500.0, "r_eff_pix": 8.0, "ellipticity": 0.6, "pa": 40.0}, centre_of=0
)
SKY = Component(kind="sky", start={"sky": 3.0})


def pulls(table: pl.DataFrame, parts: list[Component], names: tuple[str, ...]) -> list[float]:
    """Offsets from what was drawn in units of the error."""
    sources = [one for one in parts if not one.is_sky]
    return [
        (row[name] - one.start[name]) / row[f"{name}_err"]
        for row, one in zip(table.iter_rows(named=True), sources, strict=True)
        for name in names
        if name in one.start
    ]


def test_bulge_and_disc_with_one_centre_are_found_from_blind_starts_with_honest_errors() -> None:
    parts, found = [BULGE, DISC, SKY], []
    asked = [Component(kind="de_vaucouleurs"), Component(kind="exponential", centre_of=0), Component(kind="sky")]
    for seed in range(40):
        table = fit_components(noisy(parts, 0.5, seed), 0.5, psf=PSF, components=asked)
        assert table["kind"].to_list() == ["de_vaucouleurs", "exponential"]
        assert table["x"][0] == table["x"][1]
        assert table["x_err"][0] == table["x_err"][1] > 0
        found.append(pulls(table, parts, ("x", "y", "flux", "r_eff_pix", "ellipticity", "pa")))
    values = np.array(found)
    print(f"pulls {values.std():.3f}, means {np.round(values.mean(axis=0), 2)}")
    assert values.std() == pytest.approx(1.0, abs=0.12)
    # Means of 40 are known to 0.16.
    assert np.abs(values.mean(axis=0)).max() < 0.6


def test_the_joint_covariance_is_that_of_another_minimiser() -> None:
    parts = [BULGE, DISC, SKY]
    data = noisy(parts, 0.5)
    table = fit_components(data, 0.5, psf=PSF, components=parts, params=FitParams(tolerance=1e-6))

    def residual(p: np.ndarray) -> np.ndarray:
        bulge = dict(zip(("x", "y", "flux", "r_eff_pix", "ellipticity", "pa"), p[:6], strict=True))
        disc = dict(zip(("flux", "r_eff_pix", "ellipticity", "pa"), p[6:10], strict=True))
        model = [
            Component(kind="de_vaucouleurs", start=bulge),
            Component(kind="exponential", start=disc, centre_of=0),
            Component(kind="sky", start={"sky": p[10]}),
        ]
        return ((data - render(data.shape, model, psf=PSF)) / 0.5).ravel()

    begin = [*BULGE.start.values(), *DISC.start.values(), 3.0]
    peer = least_squares(residual, begin, x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert table["chi2"][0] == pytest.approx(2 * peer.cost, abs=1e-3)
    joint = np.array(table["joint_covariance"][0].to_list())
    assert joint.shape == (17, 17)
    free = [0, 1, 2, 3, 5, 6, 9, 10, 12, 13, 14]
    ours, theirs = joint[np.ix_(free, free)], np.linalg.inv(peer.jac.T @ peer.jac)
    root = np.sqrt(np.diag(theirs))
    np.testing.assert_allclose(ours / root / root[:, None], theirs / root / root[:, None], atol=0.02)
    assert not joint[[4, 11, 15, 16]].any()
    # The disc's centre is the bulge's.
    np.testing.assert_array_equal(joint[7:9], joint[0:2])


def test_a_moffat_and_a_point_apart_are_found() -> None:
    moffat = Component(
        kind="moffat", start=PLACE | {"flux": 900.0, "r_eff_pix": 4.0, "beta": 2.5, "ellipticity": 0.3, "pa": -30.0}
    )
    point = Component(kind="point", start={"x": 58.4, "y": 25.7, "flux": 120.0})
    asked = [Component(kind="moffat"), Component(kind="point", start={"x": 58.0, "y": 26.0})]
    found = []
    for seed in range(40):
        table = fit_components(noisy([moffat, point], 0.1, seed), 0.1, psf=PSF, components=asked)
        assert table["beta"].is_nan().to_list() == [False, True]
        assert table["sersic_index"].is_nan().all()
        assert table["r_eff_pix"][1] == 0.0
        assert np.isnan([table[name][1] for name in ("ellipticity", "pa", "r_eff_pix_err", "beta_err")]).all()
        found.append(pulls(table, [moffat, point], ("x", "y", "flux", "r_eff_pix", "beta", "ellipticity", "pa")))
    values = np.array(found)
    print(f"pulls {values.std():.3f}, means {np.round(values.mean(axis=0), 2)}")
    assert values.std() == pytest.approx(1.0, abs=0.12)
    assert np.abs(values.mean(axis=0)).max() < 0.6


def test_a_point_in_a_sersic_takes_the_light_that_an_index_would() -> None:
    host = Component(
        start=PLACE | {"flux": 800.0, "r_eff_pix": 6.0, "sersic_index": 1.2, "ellipticity": 0.3, "pa": 0.0}
    )
    core = Component(kind="point", start={"flux": 300.0}, centre_of=0)
    data = noisy([host, core], 0.1)
    table = fit_components(data, 0.1, psf=PSF, components=[Component(), Component(kind="point", centre_of=0)])
    assert table["flux"][1] == pytest.approx(300.0, abs=5 * table["flux_err"][1])
    assert table["sersic_index"][0] == pytest.approx(1.2, abs=5 * table["sersic_index_err"][0])
    alone = fit_components(data, 0.1, psf=PSF, components=[Component()])
    assert alone["chi2"][0] > table["chi2"][0] + 1000
    assert table["dof"].to_list() == [data.size - 9] * 2


def test_fixed_parameters_bounds_and_tilted_skies() -> None:
    sky = Component(kind="tilted_sky", start={"sky": 2.0, "sky_slope_x": 0.05, "sky_slope_y": -0.08})
    data = noisy([BULGE, DISC, sky], 0.5)
    asked = [
        Component(kind="de_vaucouleurs", start={"pa": 12.0}, fixed=["pa"], bounds={"r_eff_pix": (3.0, 4.0)}),
        Component(kind="exponential", centre_of=0),
        Component(kind="tilted_sky"),
    ]
    table = fit_components(data, 0.5, psf=PSF, components=asked)
    assert table["pa"][0] == pytest.approx(12.0)
    assert np.isnan(table["pa_err"][0])
    assert table["r_eff_pix"][0] == pytest.approx(3.0)
    assert table["bounds_hit"][0].to_list() == ["r_eff_pix"]
    assert table["sky_slope_x"][0] == pytest.approx(0.05, abs=3e-3)
    assert table["sky_slope_y"][0] == pytest.approx(-0.08, abs=3e-3)
    held = Component(kind="sky", start={"sky": 1.5}, fixed=["sky"])
    row = fit_components(data, 0.5, psf=PSF, components=[Component(), held]).row(0, named=True)
    assert (row["sky"], row["sky_slope_x"]) == (1.5, 0.0)


def test_the_image_that_cannot_be_fitted_is_a_status() -> None:
    table = fit_components(np.full((40, 40), np.nan), 1.0, psf=PSF, components=[Component(), Component(kind="point")])
    assert table["status"].to_list() == ["failed", "failed"]
    assert "none of its" in table["message"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "ferrers"}, "kind: 'ferrers' is not allowed, it must be one of sersic, exponential"),
        (
            {"kind": "point", "start": {"r_eff_pix": 2.0}},
            "start: 'r_eff_pix' is not allowed, a point .* has x, y, flux",
        ),
        ({"bounds": {"beta": (2.0, 3.0)}}, "bounds: 'beta' is not allowed, a sersic .* sersic_index"),
        ({"kind": "gaussian", "fixed": ["sersic_index"]}, "fixed: 'sersic_index'"),
        ({"kind": "moffat", "bounds": {"beta": (0.5, 3.0)}}, "bounds: beta"),
        ({"bounds": {"r_eff_pix": (0.0, 3.0)}}, "bounds: r_eff_pix"),
        ({"start": {"sersic_index": 30.0}}, "start: sersic_index = 30.0"),
        ({"fixed": ["pa"]}, "fixed: 'pa' is not allowed without a start"),
        ({"centre_of": 0, "start": {"x": 1.0}}, "start: 'x'"),
    ],
)
def test_components_that_there_are_not_are_named(change: dict, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Component(**change)


def test_bad_sums_are_named() -> None:
    data = np.zeros((40, 40))
    for parts, words in (
        ([SKY], "components: none is allowed"),
        ([Component(), SKY, SKY], "2 skies"),
        ([Component(centre_of=0)], "centre_of: 0 of component 0"),
        ([SKY, Component(centre_of=0)], "centre_of: 0 of component 1"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            fit_components(data, 1.0, psf=PSF, components=parts)
    with pytest.raises(InvalidInputError, match="flux, r_eff_pix, sersic_index of number 0 is missing"):
        render((9, 9), [Component(start={"x": 4.0, "y": 4.0})])
    with pytest.raises(InvalidInputError, match="a point is not allowed without a psf"):
        render((9, 9), [Component(kind="point", start={"x": 4.0, "y": 4.0, "flux": 1.0})])


def test_psfs_that_are_off_centre_or_cut_are_refused() -> None:
    off = np.roll(PSF, 1, axis=1)
    data = np.ones((40, 40))
    small = PSF[28:33, 28:33] / PSF[28:33, 28:33].sum()
    for psf in (off, Psf(data=off.astype(np.float32)), small):
        with pytest.raises(InvalidInputError, match="psf: the PSF cannot be used"):
            fit_components(data, 1.0, psf=psf, components=[Component()])
        with pytest.raises(InvalidInputError, match="psf: the PSF cannot be used"):
            render_sersic((20, 20), x=10.0, y=10.0, flux=1.0, re=2.0, n=1.0, psf=psf)
