"""Traces of three nods together: bias, scatter and errors over many draws; run with ``-s`` to see the numbers."""

import numpy as np
import pytest

from skymere.slit import (
    GaussianProfile,
    TraceParams,
    evaluate_profile,
    fit_frames,
    fit_single_trace,
    sersic_profile,
)

PSF = GaussianProfile(wave=[1.0, 5.0], fwhm_pix=[1.2, 1.8])
N_DRAWS, NX, OFFSET, SIZE = 400, 341, 0.2, 0.6
#: Optimal signal over noise of a column in one exposure is 20 for this flux; it varies along the spectrum.
SPECTRUM = 556.0 * (1 + 0.3 * np.sin(np.arange(NX) / 9))
SETTINGS = {"flux": SPECTRUM, "nx": NX, "offset": OFFSET, "size": SIZE, "bad": 0.0, "step": 0.012}
PARAMS = TraceParams(degree=0)


def cramer_rao(one) -> np.ndarray:
    """Least scatter of offset and size, from the information of raw frames with free amplitude and sky in every column."""
    h = 1e-4

    def light(offset, size):
        return evaluate_profile(one.frames.with_trace([offset]), PSF, size=size)

    by_offset = (light(OFFSET + h, SIZE) - light(OFFSET - h, SIZE)) / (2 * h) * one.flux
    by_size = (light(OFFSET, SIZE + h) - light(OFFSET, SIZE - h)) / (2 * h) * one.flux
    information = np.zeros((2, 2))
    for j in range(NX):
        rows = [by_offset, by_size, one.light, np.ones_like(one.light)]
        a = np.stack([row[:, :, j].ravel() for row in rows])
        m = (a / one.variance[:, :, j].ravel()) @ a.T
        information += m[:2, :2] - m[:2, 2:] @ np.linalg.solve(m[2:, 2:], m[2:, :2])
    return np.sqrt(np.diag(np.linalg.inv(information)))


def summed_differences(one) -> tuple[float, float]:
    """Offset and quoted error of a chi2 summed over the three differences, whose traces all move, at the true size."""
    params = TraceParams(degree=0, force_positive=False)
    step, chi2 = 0.004, []
    for k in (-1, 0, 1):
        moved = one.frames.with_trace([OFFSET + k * step])
        start = [SIZE, OFFSET + k * step]
        chi2.append(
            sum(
                fit_single_trace(moved, position=p, profile=PSF, params=params, start=start, evaluate=True).chi2
                for p in one.frames.positions
            )
        )
    slope, curvature = (chi2[2] - chi2[0]) / (2 * step), (chi2[2] - 2 * chi2[1] + chi2[0]) / step**2
    # The objective is half of the usual chi2.
    return -slope / curvature, float(1 / np.sqrt(curvature))


def summed_theory(one) -> float:
    """Quoted error over scatter of such a chi2: of its curvature, and of raw pixels that each enter three times."""
    h = 1e-4

    def light(offset):
        return evaluate_profile(one.frames.with_trace([offset]), PSF, size=SIZE)

    by_offset = (light(OFFSET + h) - light(OFFSET - h)) / (2 * h)
    mix = np.eye(3) - (1 - np.eye(3)) / 2
    quoted = true = 0.0
    for j in range(NX):
        v, p, g = mix**2 @ one.variance[:, :, j], mix @ one.light[:, :, j], mix @ by_offset[:, :, j]
        norm = (p * p).sum(axis=1, keepdims=True)
        # Amplitudes are weighted by the read noise, which is the same everywhere.
        g = one.flux[j] * (g - p * (p * g).sum(axis=1, keepdims=True) / norm)
        score = g / v
        score = score - p * (p * score).sum(axis=1, keepdims=True) / norm
        quoted += (g * g / v).sum()
        true += ((mix.T @ score) ** 2 * one.variance[:, :, j]).sum()
    return float(np.sqrt(quoted / true))


@pytest.fixture(scope="module")
def draws(simulate):
    """Offset, its error, size and its error of many draws, and the limit."""
    rng, rows = np.random.default_rng(42), []
    for k in range(N_DRAWS):
        one = simulate(rng, **SETTINGS)
        if k == 0:
            limit, theory = cramer_rao(one), summed_theory(one)
            sn = np.median(one.flux * np.sqrt((one.light**2 / one.variance).sum(axis=1)))
        fit = fit_frames(one.frames, profile=PSF, params=PARAMS)
        found = [fit.trace_coeffs[0] - OFFSET, fit.trace_coeffs_err[0], fit.size - SIZE, fit.size_err]
        rows.append([*found, *summed_differences(one)])
    return np.array(rows), limit, sn, theory


def test_the_joint_offset_is_unbiased_and_near_the_cramer_rao_limit(draws):
    rows, limit, sn, _ = draws
    offset, quoted = rows[:, 0], rows[:, 1].mean()
    print(
        f"\nS/N {sn:.1f}; offset: bias {offset.mean():+.5f} px, scatter {offset.std():.5f} px = "
        f"{offset.std() / limit[0]:.3f} of the limit, quoted error / scatter {quoted / offset.std():.3f}"
    )
    print(f"size: bias {rows[:, 2].mean():+.5f}, scatter / limit {rows[:, 2].std() / limit[1]:.3f}")
    assert abs(sn - 20) < 1
    assert abs(offset.mean()) < 1e-3
    assert offset.std() <= 1.15 * limit[0]
    assert abs(quoted / offset.std() - 1) < 0.1
    assert abs(rows[:, 3].mean() / rows[:, 2].std() - 1) < 0.1


def test_a_chi2_summed_over_the_differences_quotes_less_than_its_scatter(draws):
    rows, _, _, theory = draws
    ratio = rows[:, 5].mean() / rows[:, 4].std()
    print(
        f"\nsummed differences: bias {rows[:, 4].mean():+.5f} px, quoted error / scatter {ratio:.3f}, theory {theory:.3f}"
    )
    assert theory < 0.8
    assert ratio == pytest.approx(theory, abs=0.05)


def check_other_profile(simulate, n_draws):
    disc = sersic_profile(PSF, sersic_index=1.0, r_eff_pix=[0.5, 1.0])
    rng = np.random.default_rng(3)
    offsets = [
        fit_frames(
            simulate(rng, **(SETTINGS | {"profile": disc, "size": 1.0})).frames, profile=PSF, params=PARAMS
        ).trace_coeffs[0]
        for _ in range(n_draws)
    ]
    error = np.std(offsets) / np.sqrt(n_draws)
    print(f"\nan exponential disc fitted as a Gaussian: {np.mean(offsets) - OFFSET:+.5f} +- {error:.5f} px")
    assert abs(np.mean(offsets) - OFFSET) < 0.02


@pytest.mark.validate
def test_another_profile_moves_the_offset_little_in_many_draws(simulate):
    check_other_profile(simulate, 400)


def test_another_profile_moves_the_offset_by_less_than_a_fiftieth_of_a_pixel(simulate):
    check_other_profile(simulate, 20)


def test_levels_for_every_pixel_cost_little_and_quote_right_errors(simulate):
    rng, rows = np.random.default_rng(11), []
    for _ in range(200):
        fit = fit_frames(simulate(rng, **SETTINGS).frames, profile=PSF, params=PARAMS, sky="pixel")
        rows.append([fit.trace_coeffs[0], fit.trace_coeffs_err[0]])
    offset, quoted = np.transpose(rows)
    # 200 draws: the scatter is known to 5 %.
    assert abs(offset.mean() - OFFSET) < 1e-3
    assert abs(quoted.mean() / offset.std() - 1) < 0.15
