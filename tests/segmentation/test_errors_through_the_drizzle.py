"""Errors of fluxes and positions against the scatter over noise realisations of one field through the whole drizzle."""

import numpy as np
import pytest

from skymere.segmentation import DetectParams, MeasureParams, SourceFlag, detect, measure
from skymere.testing import SceneParams

from .drizzled import BAND, Field, make_field

HELD = ("flux_iso", "flux_aper1", "flux_aper2", "flux_auto", "flux_total")
POSITIONS = ("x", "y", "x_win", "y_win")
# The error of a total flux is about the true one: more than noise where neighbours or the profile matter.
ALLOWED = dict.fromkeys((*HELD[:4], "x", "y"), (0.95, 1.05))
ALLOWED |= {"free auto, total error": (0.9, 1.1), "flux_total": (0.0, 1.1), "free total": (0.0, 1.1)}


# All realisations have the same segments.
STILL = MeasureParams(has_moving_edges=False)


def pulls_of(field: Field, *, n_realisations: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Pulls about the noise-free measurement, shape (realisations, sources); magnitudes; whether a source is blended.

    Segments are those of the noise-free mosaic. ``flux_*``: centres, ellipses and Kron radii are held too; ``free *``:
    measured anew, with the error of the shape in the second one.
    """
    truth = field.truth
    segmentation = detect(
        truth.data,
        error=np.sqrt(truth.variance),
        mask=~truth.covered,
        params=DetectParams(threshold=6.0, threshold_noise="filtered"),
    )
    expected = measure(segmentation, {BAND: truth}).table
    found: dict[str, list[np.ndarray]] = {}

    def add(name: str, values, column: str, error: str, errors=None) -> None:
        sigma = (values if errors is None else errors)[error]
        found.setdefault(name, []).append(((values[column] - expected[column]) / sigma).to_numpy())

    rng = np.random.default_rng(seed)
    for _ in range(n_realisations):
        mosaic = field.noisy(rng)
        held = measure(segmentation, {BAND: mosaic}, shapes=expected, params=STILL).table
        free = measure(segmentation, {BAND: mosaic}, params=STILL).table
        for name in HELD:
            add(name, held, f"{name}_{BAND}", f"{name}_err_{BAND}")
        for name in POSITIONS:
            add(name, free, name, f"{name}_err")
        add("free auto, held error", free, f"flux_auto_{BAND}", f"flux_auto_err_{BAND}", held)
        add("free auto, total error", free, f"flux_auto_{BAND}", f"flux_auto_err_total_{BAND}")
        add("free total", free, f"flux_total_{BAND}", f"flux_total_err_{BAND}")
    is_blended = (expected["flags"].to_numpy() & SourceFlag.BLENDED) > 0
    return {k: np.array(v) for k, v in found.items()}, expected[f"mag_auto_{BAND}"].to_numpy(), is_blended


def test_pulls_of_fluxes_and_of_positions_of_sources_alone_are_one() -> None:
    scene = SceneParams(n_galaxies=75, n_stars=8, bright_mag=20.0, faint_mag=25.2, radius_arcsec=12.0)
    field = make_field(side_pix=230, params=scene, exptime=1200.0, seed=3)
    pulls, mag, is_blended = pulls_of(field, n_realisations=14, seed=5)
    assert len(mag) >= 60
    pulls["positions"] = np.stack([pulls[name][:, ~is_blended] for name in ("x", "y")])
    for name in (*HELD[:4], "positions"):
        values = pulls[name]
        print(f"{name}: pull {values.mean():+.3f} +- {values.std():.3f} of {values.size}")
        assert values.std() == pytest.approx(1.0, abs=0.05), name
    assert pulls["free auto, held error"].std() > 1.1
    assert pulls["free auto, total error"].std() == pytest.approx(1.0, abs=0.08)


@pytest.mark.validate
def test_pulls_are_one_in_every_bin_of_magnitude_over_200_realisations() -> None:
    scene = SceneParams(n_galaxies=420, n_stars=15, bright_mag=19.0, faint_mag=26.0, radius_arcsec=22.0)
    field = make_field(side_pix=420, params=scene, exptime=1200.0, seed=3)
    pulls, mag, is_blended = pulls_of(field, n_realisations=200, seed=5)
    assert len(mag) > 250
    wrong = []
    for low, high in ((15.0, 22.0), (22.0, 23.5), (23.5, 24.5), (24.5, 25.25), (25.25, 30.0)):
        in_bin = (mag >= low) & (mag < high)
        for name, values in pulls.items():
            width = np.nanstd(values[:, in_bin])
            print(f"mag {low} to {high}, {name}: pull {width:.3f} of {in_bin.sum()} sources")
            least, most = ALLOWED.get(name, (0.0, np.inf))
            if not least < width < most:
                wrong.append((name, low, width))
    for name in POSITIONS:
        for word, chosen in (("blended sources", is_blended), ("the others", ~is_blended)):
            print(f"{name} of {word}: pull {np.nanstd(pulls[name][:, chosen]):.3f}")
    assert not wrong
