"""Components of a source with fluxes of their own."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.photometry import PhotometryParams, components_as_sources, forced_photometry
from skymere.profiles import render_sersic
from skymere.psf import Psf
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

SCALE = 0.2
GRID = Grid.tangent(30.0, -5.0, shape=(61, 61), scale_arcsec=SCALE)
BULGE, DISC = {"re": 2.5, "n": 4.0, "q": 0.9, "pa": 20.0}, {"re": 8.0, "n": 1.0, "q": 0.5, "pa": 20.0}
# Of the sharp image and of the band: the bulge is redder.
SHARP, BAND = (300.0, 700.0), (900.0, 800.0)


def psf() -> Psf:
    y, x = np.mgrid[-15:16, -15:16]
    data = np.exp(-(x**2 + y**2) / (2 * 1.8**2))
    return Psf(data=(data / data.sum()).astype(np.float32))


def models() -> pl.DataFrame:
    ra, dec = (float(v) for v in GRID.sky(30.0, 30.0))
    rows = [(4, i, ra, dec, p["re"] * SCALE, p["n"], 1 - p["q"], p["pa"], f) for i, (p, f) in enumerate(parts(SHARP))]
    names = ("source_id", "component", "ra", "dec", "r_eff", "sersic_index", "ellipticity", "pa_sky", "flux")
    return pl.DataFrame(rows, schema=names, orient="row")


def parts(fluxes: tuple[float, float]) -> list[tuple[dict[str, float], float]]:
    return [(BULGE, fluxes[0]), (DISC, fluxes[1])]


def band(seed: int, noise: float = 0.3) -> MeasureImage:
    data = sum(render_sersic((61, 61), x=30.0, y=30.0, flux=f, psf=psf(), **p) for p, f in parts(BAND))
    data = data + np.random.default_rng(seed).normal(0, noise, data.shape)
    return MeasureImage(data=data.astype(np.float32), error=noise, grid=GRID)


def test_a_red_bulge_in_a_blue_disc_needs_a_flux_of_its_own() -> None:
    one = forced_photometry(band(1), models=models(), psf=psf())
    two = forced_photometry(band(1), models=components_as_sources(models()), psf=psf())
    assert two.table["source_id"].to_list() == [4, 5]
    chi2 = [float((found.residual**2).sum() / 0.3**2) / found.residual.size for found in (one, two)]
    print(f"chi2 per pixel {chi2}")
    # 3721 pixels: 0.023 is one standard deviation.
    assert chi2[0] > 1.3
    assert chi2[1] == pytest.approx(1, abs=0.1)


def test_pulls_of_components_and_of_their_sum_are_one() -> None:
    apart = components_as_sources(models(), source_ids=[4])
    assert apart["part_of"].to_list() == [4, 4]
    pulls, sums, correlation = [], [], 0.0
    for seed in range(200):
        found = forced_photometry(band(seed), models=apart, psf=psf(), params=PhotometryParams())
        table = found.table
        pulls.append((table["flux"].to_numpy() - BAND) / table["err_formal"].to_numpy())
        flux, error = found.sum_of([4, 5])
        sums.append((flux - sum(BAND)) / error)
        assert flux == pytest.approx(float(table["flux"].sum()), rel=1e-12)
        correlation = found.covariance.of(4)[5] / float(np.prod(table["err_formal"].to_numpy()))
    print(f"pulls {np.std(pulls, axis=0)}, of the sum {np.std(sums):.3f}; correlation {correlation:.2f}")
    # 200 draws: 0.05 is one standard deviation of the scatter, 0.07 of the mean.
    assert np.all(np.abs(np.std(pulls, axis=0) - 1) < 0.2)
    assert abs(np.std(sums) - 1) < 0.2
    assert abs(np.mean(sums)) < 0.3
    assert correlation < -0.5


def test_others_stay_as_they_are() -> None:
    table = pl.concat([models(), models().with_columns(source_id=pl.lit(9, pl.Int64))])
    apart = components_as_sources(table, source_ids=[9])
    assert apart["source_id"].to_list() == [4, 4, 9, 10]
    assert apart["part_of"].to_list() == [4, 4, 9, 9]
    assert "component" in apart.columns
    assert components_as_sources(table.clear()).height == 0


def test_what_is_not_allowed_is_named() -> None:
    with pytest.raises(InvalidInputError, match="source_ids: 7 is not in models"):
        components_as_sources(models(), source_ids=[7])
    with pytest.raises(InvalidInputError, match="models: columns component are missing"):
        components_as_sources(models().drop("component"))
    found = forced_photometry(band(1), models=components_as_sources(models()), psf=psf())
    with pytest.raises(NotFoundError, match="source_id: 8"):
        found.sum_of([4, 8])
    for wrong in ([], [4, 4]):
        with pytest.raises(InvalidInputError, match="source_ids"):
            found.sum_of(wrong)
    far = models().with_columns(dec=pl.when(pl.col("component") == 1).then(5.0).otherwise("dec"))
    gone = forced_photometry(band(1), models=components_as_sources(far), psf=psf())
    assert all(np.isnan(value) for value in gone.sum_of([4, 5]))
