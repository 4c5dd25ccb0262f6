"""Errors from blank places: as large as the formal ones in white noise, and right where noise is correlated."""

import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter

from skymere.errors import InvalidInputError
from skymere.photometry import NoiseParams, PhotometryParams, ShiftParams, forced_photometry
from skymere.segmentation import MeasureImage

from . import scenes

N_POSITIONS = 60
PARAMS = PhotometryParams(noise=NoiseParams(n_positions=N_POSITIONS))


@pytest.fixture(scope="module")
def scene():
    return scenes.make_scene("plain", n=60, side=260, seed=21)


def white(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def smooth(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Noise that a kernel of one pixel has smoothed, with the standard deviation 1 in each pixel."""
    noise = gaussian_filter(rng.normal(size=shape), 1.0, mode="wrap")
    return noise / noise.std()


def pulls(scene, make, seeds: range) -> dict[str, np.ndarray]:
    rows = {"err_formal": [], "err_sim": [], "ratio": []}
    for seed in seeds:
        data = scene.truth + make(np.random.default_rng(seed), scene.truth.shape)
        image = MeasureImage(data=data, error=1.0, grid=scene.grid)
        found = forced_photometry(image, models=scene.models, psf=scene.psf, params=PARAMS)
        assert found.warnings == ()
        difference = found.table["flux"].to_numpy() - scene.flux
        for name in ("err_formal", "err_sim"):
            rows[name].append(difference / found.table[name].to_numpy())
        rows["ratio"].append(found.table["err_sim"].to_numpy() / found.table["err_formal"].to_numpy())
    return {name: np.concatenate(values) for name, values in rows.items()}


def spread(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def test_white_noise_gives_the_formal_errors_within_their_accuracy(scene) -> None:
    found = pulls(scene, white, range(4))
    accuracy = 1 / np.sqrt(2 * N_POSITIONS)
    print(f"ratio {found['ratio'].mean():.3f} +- {found['ratio'].std():.3f}, expected scatter {accuracy:.3f}")
    # Sources of one image share the places, whose noise they see alike.
    assert found["ratio"].mean() == pytest.approx(1.0, abs=accuracy)
    assert found["ratio"].std() == pytest.approx(accuracy, rel=0.5)


def test_correlated_noise_has_the_right_scatter(scene) -> None:
    found = pulls(scene, smooth, range(10, 22))
    formal, simulated = spread(found["err_formal"]), spread(found["err_sim"])
    print(f"pulls: formal {formal:.2f}, simulated {simulated:.3f}; errors are {found['ratio'].mean():.2f} times larger")
    # 720 pulls have a MAD within 4 %; errors of 60 places scatter by 9 %, which widens pulls by half a percent.
    assert formal > 1.8
    assert simulated == pytest.approx(1.0, abs=0.12)


def test_the_larger_error_counts_and_the_accuracy_is_kept(scene) -> None:
    data = scene.truth + smooth(np.random.default_rng(1), scene.truth.shape)
    found = forced_photometry(
        MeasureImage(data=data, error=1.0, grid=scene.grid), models=scene.models, psf=scene.psf, params=PARAMS
    )
    table = found.table
    assert (table["flux_err"] == np.fmax(table["err_sim"], table["err_formal"])).all()
    assert (table["n_sim"] == N_POSITIONS).sum() > 0.9 * table.height
    assert found.error_accuracy == pytest.approx(1 / np.sqrt(2 * N_POSITIONS))
    assert found.flux_mc.shape == (table.height, N_POSITIONS)
    assert found.noise_positions.shape == (N_POSITIONS, 2)
    # Places are blank: no source with much light is near.
    x, y = scene.grid.pixels(*found.noise_positions.T)
    bright = table.filter(np.array(scene.flux) > 100)
    distance = np.hypot(x[:, None] - bright["x"].to_numpy(), y[:, None] - bright["y"].to_numpy())
    assert distance.min() > 5


def test_places_can_be_given_and_must_be_on_the_image(scene) -> None:
    data = scene.truth + white(np.random.default_rng(1), scene.truth.shape)
    image = MeasureImage(data=data, error=1.0, grid=scene.grid)
    proposed = forced_photometry(image, models=scene.models, psf=scene.psf, params=PARAMS)
    places = tuple(map(tuple, proposed.noise_positions))
    given = PhotometryParams(noise=NoiseParams(positions=places))
    same = forced_photometry(image, models=scene.models, psf=scene.psf, params=given)
    np.testing.assert_allclose(same.flux_mc, proposed.flux_mc, rtol=1e-6)
    wrong = PhotometryParams(noise=NoiseParams(positions=(*places[:2], (scenes.RA + 1.0, scenes.DEC))))
    with pytest.raises(InvalidInputError, match="positions"):
        forced_photometry(image, models=scene.models, psf=scene.psf, params=wrong)


def test_a_crowded_image_says_that_places_are_few() -> None:
    crowded = scenes.make_scene("plain", n=60, side=60, seed=2, faint=100.0)
    found = forced_photometry(
        MeasureImage(data=crowded.truth, error=1.0, grid=crowded.grid),
        models=crowded.models,
        psf=crowded.psf,
        params=PARAMS,
    )
    assert any("blank places" in text for text in found.warnings)
    assert len(found.noise_positions) < N_POSITIONS


def test_noise_moves_fluxes_through_a_free_shift_too() -> None:
    """Two close sources: their shift and how the light is shared between them go together."""
    grid = scenes.make_grid("plain", 200)
    ra, dec = grid.sky(np.array([100.0, 102.1]), np.array([100.2, 100.6]))
    models = pl.DataFrame({"source_id": [1, 2], "ra": ra, "dec": dec, "kind": ["point", "point"]})
    flux = np.array([40.0, 400.0])
    truth = scenes.draw_truth(grid, models, flux, scenes.psf_of("plain"), (0.0, 0.0))
    psf = scenes.psf_of("plain").drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
    data = truth + white(np.random.default_rng(3), truth.shape)
    image = MeasureImage(data=data, error=1.0, grid=grid)
    found = {
        method: forced_photometry(
            image,
            models=models,
            psf=psf,
            params=PhotometryParams(noise=NoiseParams(n_positions=120), shift=ShiftParams(method=method)),
        ).table
        for method in ("none", "joint")
    }
    ratio = found["joint"]["err_formal"] / found["none"]["err_formal"]
    print(f"errors with the shift over those without: {ratio.to_list()}")
    assert ratio.max() > 1.25
    for table in found.values():
        # 120 places: 6.5 %.
        np.testing.assert_allclose(table["err_sim"], table["err_formal"], rtol=0.2)


def test_patches_around_a_place_give_its_sources_one_noise(scene) -> None:
    data = scene.truth + white(np.random.default_rng(1), scene.truth.shape)
    image = MeasureImage(data=data, error=1.0, grid=scene.grid)
    row = scene.models.row(3, named=True)
    around = NoiseParams(n_positions=N_POSITIONS, around=(row["ra"], row["dec"]), radius_arcsec=6.0)
    found = forced_photometry(image, models=scene.models, psf=scene.psf, params=PhotometryParams(noise=around))
    table = found.table
    x, y = (float(p[0]) for p in scene.grid.pixels(np.array([row["ra"]]), np.array([row["dec"]])))
    near = (np.hypot(table["x"] - x, table["y"] - y) <= 10.0).to_numpy()
    assert 1 <= near.sum() < 20
    assert np.array_equal(table["err_sim"].is_not_null().to_numpy(), near)
    assert (table["n_sim"].to_numpy()[~near] == 0).all()
    # The source in the middle has the patches that it would have had itself.
    plain = NoiseParams(positions=tuple(map(tuple, found.noise_positions)), radius_arcsec=6.0)
    itself = forced_photometry(image, models=scene.models, psf=scene.psf, params=PhotometryParams(noise=plain))
    np.testing.assert_allclose(found.flux_mc[3], itself.flux_mc[3], rtol=1e-5, atol=1e-6)
    assert table["err_sim"][3] == pytest.approx(itself.table["err_sim"][3])
    far = PhotometryParams(noise=NoiseParams(n_positions=9, around=(scenes.RA + 2.0, scenes.DEC)))
    with pytest.raises(InvalidInputError, match="around"):
        forced_photometry(image, models=scene.models, psf=scene.psf, params=far)


def test_places_keep_away_from_sources_that_nobody_listed(scene) -> None:
    """The brightest sources are not in the list: their light is on the residual, and is no noise."""
    data = scene.truth + white(np.random.default_rng(1), scene.truth.shape)
    hidden = np.array(scene.flux) > 150
    image = MeasureImage(data=data, error=1.0, grid=scene.grid)
    found = forced_photometry(image, models=scene.models.filter(~hidden), psf=scene.psf, params=PARAMS)
    gone = scene.models.filter(hidden)
    sx, sy = scene.grid.pixels(gone["ra"].to_numpy(), gone["dec"].to_numpy())
    x, y = scene.grid.pixels(*found.noise_positions.T)
    distance = np.hypot(x[:, None] - sx, y[:, None] - sy).min()
    print(f"{gone.height} sources hidden; the nearest place is {distance:.1f} pixels away")
    assert gone.height > 5
    assert distance > 5
    ratio = found.table["err_sim"] / found.table["err_formal"]
    assert ratio.median() == pytest.approx(1.0, abs=2.5 / np.sqrt(2 * N_POSITIONS))


def test_places_share_little_of_their_areas(scene) -> None:
    data = scene.truth + white(np.random.default_rng(1), scene.truth.shape)
    image = MeasureImage(data=data, error=1.0, grid=scene.grid)
    params = PhotometryParams(noise=NoiseParams(n_positions=130, radius_arcsec=6.0))
    found = forced_photometry(image, models=scene.models, psf=scene.psf, params=params)
    x, y = scene.grid.pixels(*found.noise_positions.T)
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(x.size)
    part = np.clip(distance.min() / 20.0, 0.0, 1.0)
    shared = 2 * (np.arccos(part) - part * np.sqrt(1 - part**2)) / np.pi
    print(f"{x.size} places, at most {100 * shared:.0f} % shared; {found.warnings}")
    assert shared <= (0.5 if any("share" in text or "fewer" in text for text in found.warnings) else 0.21)


def test_numbers_of_places_without_a_scatter_are_refused() -> None:
    for n in (1, 2):
        with pytest.raises(InvalidInputError, match="n_positions"):
            NoiseParams(n_positions=n)
        with pytest.raises(InvalidInputError, match="positions"):
            NoiseParams(positions=((1.0, 2.0),) * n)
    with pytest.raises(InvalidInputError, match="around"):
        NoiseParams(n_positions=9, around=(float("nan"), 0.0))


@pytest.mark.parametrize("has_void", [False, True])
def test_places_are_spread_over_the_whole_image(has_void: bool) -> None:
    """Points on a lattice, in one image without a quarter of them: a gap that would hold all places."""
    grid = scenes.make_grid("plain", 240)
    x, y = (p.ravel() for p in np.meshgrid(*[np.arange(20.0, 240.0, 40.0)] * 2))
    kept = ~((x > 120) & (y > 120)) if has_void else np.ones(x.size, bool)
    ra, dec = grid.sky(x[kept], y[kept])
    models = pl.DataFrame({"source_id": np.arange(ra.size), "ra": ra, "dec": dec, "kind": ["point"] * ra.size})
    light = scenes.psf_of("plain")
    truth = scenes.draw_truth(grid, models, np.full(ra.size, 30.0), light, (0.0, 0.0))
    psf = light.drawImage(nx=61, ny=61, scale=1.0, method="no_pixel", dtype=float).array
    n = 40
    image = MeasureImage(data=truth + white(np.random.default_rng(6), truth.shape), error=1.0, grid=grid)
    params = PhotometryParams(noise=NoiseParams(n_positions=n))
    found = forced_photometry(image, models=models, psf=psf, params=params)
    px, py = grid.pixels(*found.noise_positions.T)
    quarters = np.histogram2d(px, py, bins=2, range=[(0, 240)] * 2)[0]
    distance = np.hypot(px[:, None] - px, py[:, None] - py) + 1e9 * np.eye(n)
    print(f"places of the quarters {quarters.ravel().tolist()}, nearest pair {distance.min():.1f} pixels apart")
    assert found.warnings == ()
    # Of ten places each a void may have more, for it has room everywhere.
    assert quarters.min() >= 6
    # An even share of the image is a square of 38 pixels.
    assert distance.min() > 0.5 * 240 / np.sqrt(n)
    apart = np.hypot(px[:, None] - x[kept], py[:, None] - y[kept]).min()
    assert apart > 2 * 2.9
