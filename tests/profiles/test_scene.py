"""Scenes of Sersic sources by GalSim, fitted in groups."""

import galsim
import numpy as np
import pytest
from tests.profiles.stamps import draw, effective_psf

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError
from skymere.profiles import SceneParams, fit_scene
from skymere.segmentation import detect

PSF = draw(effective_psf(3.0), (61, 61))


def source(flux: float, re: float, n: float, q: float, pa: float) -> galsim.GSObject:
    profile = galsim.Sersic(n=n, half_light_radius=re * np.sqrt(q), flux=flux)
    return galsim.Convolve(profile.shear(q=q, beta=(pa + 90) * galsim.degrees), effective_psf(3.0))


def scene(shape: tuple[int, int], sources: list[dict[str, float]]) -> np.ndarray:
    image = np.zeros(shape)
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    for one in sources:
        shape_of = {name: one[name] for name in ("flux", "re", "n", "q", "pa")}
        image += draw(source(**shape_of).shift(one["x"] - middle[0], one["y"] - middle[1]), shape)
    return image


def at(labels: np.ndarray, one: dict[str, float]) -> int:
    return int(labels[round(one["y"]), round(one["x"])])


BLEND = [
    {"x": 60.2, "y": 70.4, "flux": 4000.0, "re": 5.0, "n": 2.0, "q": 0.7, "pa": 20.0},
    {"x": 71.8, "y": 63.1, "flux": 1500.0, "re": 3.0, "n": 1.0, "q": 0.6, "pa": -50.0},
]


def nearest(shape: tuple[int, int], sources: list[dict[str, float]], radius: float) -> np.ndarray:
    """Segments: the pixels within a radius of a source that are nearest to it."""
    y, x = np.indices(shape)
    off = np.array([np.hypot(x - one["x"], y - one["y"]) for one in sources])
    return np.where(off.min(axis=0) < radius, off.argmin(axis=0) + 1, 0).astype(np.int32)


def test_two_blended_sources_are_recovered_together_and_not_alone() -> None:
    shape = (140, 130)
    clean = scene(shape, BLEND)
    labels = nearest(shape, BLEND, 9.0)
    rng = np.random.default_rng(2)
    found = fit_scene(clean + rng.normal(0, 0.05, shape), 0.05, labels=labels, psf=PSF)
    assert found.table["group"].to_list() == [1, 1]
    assert found.table["n_group"].to_list() == [2, 2]
    for one, row in zip(BLEND, found.table.iter_rows(named=True), strict=True):
        assert row["status"] == "ok"
        assert row["flux"] == pytest.approx(one["flux"], rel=0.02)
        assert row["r_eff_pix"] == pytest.approx(one["re"], rel=0.02)
        assert row["sersic_index"] == pytest.approx(one["n"], rel=0.02)
        assert abs(row["x"] - one["x"]) + abs(row["y"] - one["y"]) < 0.02
    assert found.residual.std() == pytest.approx(0.05, rel=0.1)
    alone = fit_scene(clean, 0.05, labels=labels, psf=PSF, params=SceneParams(max_members=1)).table
    assert alone["n_group"].to_list() == [1, 1]
    true = [one["flux"] for one in BLEND]
    off = {
        name: np.abs(table["flux"].to_numpy() / true - 1).max()
        for name, table in (("both", found.table), ("alone", alone))
    }
    assert off["alone"] > 5 * off["both"]


def test_pulls_of_blended_sources_hold_the_neighbour() -> None:
    shape = (140, 130)
    clean, labels = scene(shape, BLEND), nearest(shape, BLEND, 9.0)
    rng = np.random.default_rng(4)
    pulls = []
    for _ in range(40):
        table = fit_scene(clean + rng.normal(0, 2.0, shape), 2.0, labels=labels, psf=PSF).table
        for name, key in (("flux", "flux"), ("r_eff_pix", "re"), ("x", "x"), ("y", "y")):
            pulls.append((table[name].to_numpy() - [one[key] for one in BLEND]) / table[f"{name}_err"].to_numpy())
    # 320 of them, which the members of a pair share in part.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.13)


def crowd(shape: tuple[int, int], n: int, seed: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "x": rng.uniform(10, shape[1] - 10),
            "y": rng.uniform(10, shape[0] - 10),
            "flux": float(np.exp(rng.uniform(np.log(200), np.log(5000)))),
            "re": rng.uniform(1.5, 4),
            "n": float(rng.choice([1.0, 2.5, 4.0])),
            "q": rng.uniform(0.4, 0.9),
            "pa": rng.uniform(-90, 90),
        }
        for _ in range(n)
    ]


def test_results_are_the_same_for_any_number_of_threads_and_leave_noise() -> None:
    shape = (260, 240)
    sources = crowd(shape, 25, seed=3)
    data = (scene(shape, sources) + np.random.default_rng(1).normal(0, 1, shape)).astype(np.float32)
    labels = detect(data, error=1.0).labels
    before = get_num_threads()
    found = []
    for n in (1, 2):
        set_num_threads(n)
        found.append(fit_scene(data, 1.0, labels=labels, psf=PSF))
    set_num_threads(before)
    assert found[0].table.equals(found[1].table)
    assert np.array_equal(found[0].model, found[1].model)
    table = found[0].table
    assert table["label"].to_list() == sorted(set(labels.ravel()) - {0})
    good = table.filter(table["status"] == "ok")
    assert good.height >= 0.9 * table.height
    # Most of what the sources left is noise.
    inside = labels > 0
    assert 1.4826 * np.median(np.abs(found[0].residual[inside])) < 1.15
    assert np.median(np.abs(data[inside])) > 1.8


def test_a_second_pass_takes_the_light_of_fainter_neighbours_off() -> None:
    shape = (260, 240)
    sources = crowd(shape, 25, seed=3)
    clean = scene(shape, sources)
    labels = detect((clean + np.random.default_rng(1).normal(0, 1, shape)).astype(np.float32), error=1.0).labels
    places = np.array([[one["x"], one["y"]] for one in sources])
    true = np.array([one["flux"] for one in sources])
    off = {}
    for n_passes in (1, 2):
        table = fit_scene(clean, 1.0, labels=labels, psf=PSF, params=SceneParams(n_passes=n_passes)).table
        apart = np.hypot(*(table.select("x", "y").to_numpy()[:, None] - places).transpose(2, 0, 1))
        is_one = apart.min(axis=1) < 1.0
        ratio = table["flux"].to_numpy()[is_one] / true[apart.argmin(axis=1)[is_one]]
        off[n_passes] = float(np.median(np.abs(ratio - 1)))
    print(f"fluxes without noise are off by {off}")
    assert off[2] < 0.6 * off[1]


def test_a_far_source_changes_nothing() -> None:
    shape = (400, 110)
    sources = crowd((200, 110), 8, seed=6)
    data = (scene(shape, sources) + np.random.default_rng(1).normal(0, 1, shape)).astype(np.float32)
    labels = detect(data[:200], error=1.0).labels
    labels = np.vstack([labels, np.zeros_like(labels)])
    without = fit_scene(data, 1.0, labels=labels, psf=PSF).table
    labels[-30:-20, 50:60] = labels.max() + 1
    table = fit_scene(data, 1.0, labels=labels, psf=PSF).table
    assert table.height == without.height + 1
    assert table[:-1].equals(without)


def test_sources_on_edges_and_masked_ones_are_rows() -> None:
    shape = (90, 100)
    sources = [
        {"x": 2.0, "y": 40.0, "flux": 2000.0, "re": 3.0, "n": 1.0, "q": 0.8, "pa": 0.0},
        {"x": 60.0, "y": 45.0, "flux": 2000.0, "re": 3.0, "n": 1.0, "q": 0.8, "pa": 0.0},
        {"x": 85.0, "y": 80.0, "flux": 900.0, "re": 3.0, "n": 1.0, "q": 0.8, "pa": 0.0},
    ]
    data = scene(shape, sources) + np.random.default_rng(3).normal(0, 0.5, shape)
    labels = nearest(shape, sources, 8.0)
    mask = np.zeros(shape, bool)
    mask[60:, 60:] = True
    table = fit_scene(data, 0.5, labels=labels, psf=PSF, mask=mask).table
    assert table["status"].to_list()[:2] == ["ok", "ok"]
    assert table["flux"][0] == pytest.approx(2000.0, abs=5 * table["flux_err"][0])
    assert table["flux"][1] == pytest.approx(2000.0, abs=5 * table["flux_err"][1])
    assert fit_scene(data, 0.5, labels=np.zeros(shape, int), psf=PSF).table.height == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": np.zeros((3, 3), int)}, "labels"),
        ({"labels": np.zeros((20, 20))}, "labels"),
        ({"labels": np.full((20, 20), -1)}, "labels"),
        ({"error": np.ones(7)}, "error"),
        ({"psf": np.zeros((5, 5))}, "psf"),
        ({"mask": np.zeros((3, 3), bool)}, "mask"),
    ],
)
def test_bad_input_names_the_argument(change: dict, words: str) -> None:
    given = {"data": np.zeros((20, 20)), "error": 1.0, "labels": np.zeros((20, 20), int), "psf": PSF} | change
    with pytest.raises(InvalidInputError, match=words):
        fit_scene(given.pop("data"), given.pop("error"), **given)


@pytest.mark.parametrize(("name", "value"), [("min_half_pix", 1.0), ("max_members", 0), ("model_reach", 0.5)])
def test_bad_parameters_are_named(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=name):
        SceneParams(**{name: value})


def test_a_psf_that_its_pixels_do_not_resolve_is_told() -> None:
    y, x = np.mgrid[-15:16, -15:16]
    for fwhm, is_told in ((2.0, True), (3.0, False)):
        sigma2 = (fwhm / 2.3548) ** 2
        psf = np.exp(-(x**2 + y**2) / (2 * sigma2)) / (2 * np.pi * sigma2)
        nothing = fit_scene(np.zeros((9, 9)), 1.0, labels=np.zeros((9, 9), np.int32), psf=psf)
        assert bool(nothing.warnings) == is_told
        if is_told:
            assert nothing.warnings[0].startswith("psf: a full width of")
