"""Width and trace of a source."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from skymere.errors import InvalidInputError, NoDataError
from skymere.slit import (
    AllTracesParams,
    GaussianProfile,
    SlitFrames,
    TraceParams,
    TracePriors,
    compat_nods,
    compat_traces,
    evaluate_profile,
    fit_all_traces,
    fit_frames,
    fit_params_by_sn,
    fit_single_trace,
    get_trace_sn,
    reference_position,
    set_trace_coeffs,
    update_trace_from_coeffs,
)

INF = (-np.inf, np.inf)
EXACT = {"tolerance": 1e-12}
FREE = TraceParams(degree=0, initial_size=0.7, force_positive=False, size_bounds=INF, trace_bounds=INF, **EXACT)
FIT_FREE = "fit_single_trace(exp=2,degree=0,initial_sigma=7,force_positive=False,with_bounds=False,tol=1e-08)"
FIT_FIXED = "fit_single_trace(exp=2,fix_sigma=6.0,degree=1)"
# Priors without a say, and no walls.
WIDE = TracePriors(size_width=np.inf, centre_width=np.inf, wall=0.0)
PSF = GaussianProfile(wave=[1.0, 5.0], fwhm_pix=[1.2, 1.8])


@pytest.mark.parametrize(
    ("key", "params", "start"),
    [
        ("fit_single_trace(exp=2,evaluate=True,x0=[4.0, 0.0])", TraceParams(degree=0), lambda t: [t[0] / 10, t[1]]),
        (FIT_FREE, FREE, lambda t: [t[0] / 10, t[1]]),
        (FIT_FIXED, TraceParams(degree=1, fix_size=0.6), lambda t: [0.6, *t]),
    ],
)
def test_the_objective_at_msaexps_parameters_is_msaexps(real, key, params, start):
    peer = real.fits[key]
    fit = fit_single_trace(
        real.frames,
        position=2,
        profile=real.profile,
        params=params,
        nods=compat_nods(),
        start=start(peer["theta"]),
        evaluate=True,
    )
    # The README's tolerance is 2e-9; the same sums in another order differ by 1e-14.
    assert abs(fit.chi2 / peer["chi2_fit"] - 1) < 1e-12
    assert abs(np.nansum(fit.flux) / peer["flux_sum"] - 1) < 1e-9
    assert abs(np.nansum(fit.flux_err) / peer["err_sum"] - 1) < 1e-9


def test_a_wing_is_what_msaexp_reads_of_four_parameters(real):
    peer = real.fits["fit_single_trace(exp=2,)"]
    wing = GaussianProfile(
        wave=real.profile.wave, fwhm_pix=real.profile.fwhm_pix, wing=(peer["theta"][0], peer["theta"][1], 0.0)
    )
    start = [0.2, *peer["theta"][2:]]
    params = TraceParams(degree=1)
    fit = fit_single_trace(
        real.frames, position=2, profile=wing, params=params, nods=compat_nods(), start=start, evaluate=True
    )
    assert abs(fit.chi2 / peer["chi2_fit"] - 1) < 1e-12


@pytest.mark.parametrize(
    ("key", "params"), [(FIT_FREE, FREE), (FIT_FIXED, TraceParams(degree=1, fix_size=0.6, **EXACT))]
)
def test_the_optimum_is_no_higher_than_msaexps(real, key, params):
    peer = real.fits[key]
    fit = fit_single_trace(real.frames, position=2, profile=real.profile, params=params, nods=compat_nods())
    print(f"{key}: {fit.chi2:.9f} against {peer['chi2_fit']:.9f} in {fit.n_evaluations} evaluations, {peer['nfev']}")
    assert fit.has_converged
    # The same minimum, but for the rounding of a sum of 5000.
    assert fit.chi2 <= peer["chi2_fit"] * (1 + 1e-12)
    assert abs(fit.trace_coeffs[-1] - peer["theta"][-1]) < 1e-3
    assert (fit.trace_coeffs_err > 0).all()
    assert (fit.size_err > 0) == (params.fix_size is None)


def test_rounds_over_the_positions_end_where_msaexp_ends_or_lower(real):
    peer = real.all_traces
    traces = AllTracesParams(likelihood="reference", reference=2, n_rounds=4)
    found = fit_all_traces(real.frames, profile=real.profile, params=FREE, traces=traces, nods=compat_nods())
    assert found.joint is None
    theta = peer["2"]["theta"]
    assert abs(found.fits[2].size - theta[0] / 10) < 2e-4
    assert abs(found.fits[2].trace_coeffs[0] - theta[1]) < 2e-4
    # Rounds are stopped after four, each with the subtracted trace of the last: they agree as far as that has converged.
    for position, fit in found.fits.items():
        assert abs(fit.chi2 / peer[str(position)]["chi2_fit"] - 1) < 1e-6
        assert np.array_equal(fit.trace_coeffs, found.fits[2].trace_coeffs)
    assert compat_traces("msaexp").likelihood == "reference"
    each = fit_all_traces(real.frames, profile=real.profile, params=FREE, traces=compat_traces(reference=None))
    assert len({float(fit.trace_coeffs[0]) for fit in each.fits.values()}) == 3


def test_signal_to_noise_along_the_trace_is_msaexps(real):
    peer = real.fits["get_trace_sn()"]
    assert reference_position(real.frames) == real.summary["geometry"]["calc_reference_exposure"]
    fit = get_trace_sn(real.frames, profile=real.profile, nods=compat_nods())
    assert fit.sn.size == peer["n"]
    known = fit.sn[np.isfinite(fit.sn)]
    for q in (50, 80, 95):
        assert abs(np.percentile(known, q) / peer[f"p{q}"] - 1) < 1e-9
    choice = fit_params_by_sn(fit.sn)
    peer = real.fits["fit_params_by_sn()"]
    assert abs(choice.sn_value / peer["sn_value"] - 1) < 1e-9
    assert (choice.fix_sigma, choice.degree) == (peer["fix_sigma"], peer["degree"])


def test_degrees_hold_below_their_thresholds_and_are_interpolated_only_when_asked():
    table = ((0.0, 10.0, 20.0), (0, 1, 2))

    def degrees(rule):
        return [
            fit_params_by_sn(np.full(9, sn), degree_sn=table, degree_rule=rule).degree for sn in (-5, 5, 15, 25, np.nan)
        ]

    assert degrees("threshold") == [0, 1, 2, 2, 0]
    assert degrees("interpolate") == [0, 0, 1, 2, 0]
    choice = fit_params_by_sn(np.full(9, 4.9))
    assert choice.fix_sigma
    assert not fit_params_by_sn(np.full(9, 5.0)).fix_sigma


def test_trace_polynomials_reproduce_a_parabola():
    x = np.arange(60.0)
    y = np.stack([3 + 0.2 * x - 0.001 * x**2, 5 + 0.1 * x])
    y[0, 4] = np.nan
    base, offsets = set_trace_coeffs(np.broadcast_to(x, y.shape), y, n_columns=60)
    assert not offsets.any()
    yslit, yshutter = update_trace_from_coeffs(base, offsets + np.array([0, 0, 0.25]), shape=(20, 60))
    rows = np.arange(20.0)[:, None]
    for i in range(2):
        good = np.isfinite(y[i])
        assert np.abs(yslit[i] - (rows - y[i] - 0.25))[:, good].max() < 1e-6
        assert np.abs(yshutter[i] - (rows - y[0]))[:, np.isfinite(y[0])].max() < 1e-6
    frames = simulate(np.random.default_rng(1)).with_trace([0.1, 0.25])
    ours, _ = update_trace_from_coeffs(frames.base_coeffs, frames.trace_coeffs, shape=frames.shape[1:])
    assert np.array_equal(ours, frames.yslit)


def simulate(rng, *, sn=20.0, offset=0.2, size=0.5, nx=120, sky=0.0, read=1.0):
    """Three nods of a source with a median signal of ``sn`` sigma per column and exposure."""
    shape = (3, 25, nx)
    wave = np.broadcast_to(np.linspace(1.0, 5.0, nx), shape)
    frames = SlitFrames(
        data=np.zeros(shape),
        variance=np.full(shape, read**2),
        read_variance=np.full(shape, read**2),
        mask=np.zeros(shape, bool),
        position=[2, 3, 1],
        wavelength=wave,
        base_coeffs=[[0.4, 2.3, 12.7], [0.4, 2.3, 17.8], [0.4, 2.3, 7.6]],
    )
    light = evaluate_profile(frames.with_trace([offset]), PSF, size=size)
    # S/N of the optimal amplitude of one exposure whose sky is known.
    unit = np.sqrt((light**2).sum(axis=1)).mean() / read
    flux = sn / unit * (1 + 0.3 * np.sin(np.arange(nx) / 9))
    data = flux * light + sky + rng.normal(0, read, shape)
    return SlitFrames(
        **{name: getattr(frames, name) for name in ("variance", "read_variance", "mask", "position")}
        | {"data": data, "wavelength": wave, "base_coeffs": frames.base_coeffs}
    )


@pytest.mark.parametrize("which", ["difference", "positive", "column", "pixel", "exposure"])
def test_derivatives_are_those_of_the_objective(which):
    """The optimum is where finite differences of the objective vanish."""
    frames = simulate(np.random.default_rng(3), sn=10, nx=60)
    params = TraceParams(degree=1, force_positive=which == "positive", trace_bounds=INF, **EXACT)

    def objective(theta):
        if which in ("difference", "positive"):
            return fit_single_trace(frames, position=2, profile=PSF, params=params, start=theta, evaluate=True).chi2
        return fit_frames(frames, profile=PSF, params=params, sky=which, start=theta, evaluate=True).chi2

    if which in ("difference", "positive"):
        fit = fit_single_trace(frames, position=2, profile=PSF, params=params)
    else:
        fit = fit_frames(frames, profile=PSF, params=params, sky=which)
    theta = np.array([fit.size, *fit.trace_coeffs])
    assert abs(objective(theta) / fit.chi2 - 1) < 1e-13
    slope = approx_fprime(theta, objective, 1e-6)
    # A slope of 1 per sigma would be a step of one sigma.
    assert np.abs(slope * np.sqrt(np.diag(fit.covariance))).max() < 1e-3
    # With the exact derivatives the quadratic form of the covariance is the gain of a small step, to the third order.
    step = 0.05 * np.sqrt(np.diag(fit.covariance)) * np.array([1, -1, 1])
    gain = objective(theta + step) - fit.chi2
    assert abs(gain / (0.5 * step @ np.linalg.solve(fit.covariance, step)) - 1) < 0.15


def test_width_and_trace_are_recovered_and_offsets_found_from_afar():
    frames = simulate(np.random.default_rng(5), sn=20, offset=0.83, size=0.8, nx=341)
    params = TraceParams(degree=0, priors=WIDE)
    # The first difference is fitted with subtracted traces that are 0.83 off.
    traces = AllTracesParams(likelihood="reference")
    fit = fit_all_traces(frames, profile=PSF, params=params, traces=traces).fits[2]
    assert fit.has_converged
    assert abs(fit.size - 0.8) < 4 * fit.size_err
    assert abs(fit.trace_coeffs[0] - 0.83) < min(4 * fit.trace_coeffs_err[0], 0.02)


def test_common_solutions_are_the_same_for_all_nods():
    found = fit_all_traces(simulate(np.random.default_rng(6)), profile=PSF, params=TraceParams(degree=0))
    coefficients = np.stack([fit.trace_coeffs for fit in found.fits.values()])
    assert found.joint is not None
    assert np.ptp(coefficients) < 1e-9
    assert abs(found.frames.trace_coeffs[:, -1] - found.joint.trace_coeffs[0]).max() < 1e-9


def test_a_constant_sky_does_not_move_the_fit_of_frames():
    dark, bright = (simulate(np.random.default_rng(7), sky=sky) for sky in (0.0, 300.0))
    for sky in ("column", "pixel", "exposure"):
        one, other = (fit_frames(f, profile=PSF, params=TraceParams(degree=0), sky=sky) for f in (dark, bright))
        assert abs(one.trace_coeffs[0] - other.trace_coeffs[0]) < 1e-8
        assert abs(one.size - other.size) < 1e-7


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f: fit_single_trace(f, position=9, profile=PSF), "position: 9"),
        (lambda f: fit_single_trace(f, position=2, profile=PSF, start=[0.4]), "start: shape"),
        (lambda f: fit_frames(f, profile=PSF, sky="row"), "sky: 'row'"),
        (lambda _: TraceParams(degree=-1), "degree: -1"),
        (lambda _: TraceParams(trace_bounds=(1, -1)), "trace_bounds"),
        (lambda _: TracePriors(size_width=0.0), "size_width: 0.0"),
        (lambda f: fit_all_traces(f, profile=PSF, traces=AllTracesParams(likelihood="all")), "likelihood: 'all'"),
        (lambda _: fit_params_by_sn([1.0], degree_sn=((1, 0), (0, 1))), "degree_sn"),
        (lambda _: GaussianProfile(wave=[2.0, 1.0], fwhm_pix=[1.0, 1.0]), "wave"),
        (lambda _: set_trace_coeffs(np.zeros((1, 2)), np.zeros((1, 2)), n_columns=2), "2 points of exposure 0"),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(InvalidInputError, match=text):
        call(simulate(np.random.default_rng(8), nx=20))


def test_a_single_exposure_cannot_have_a_level_for_every_pixel():
    frames = simulate(np.random.default_rng(10), nx=30)
    names = ("data", "variance", "read_variance", "mask", "position", "wavelength", "base_coeffs")
    one = SlitFrames(**{name: getattr(frames, name)[:1] for name in names})
    with pytest.raises(NoDataError, match="start"):
        fit_frames(one, profile=PSF, params=TraceParams(degree=0), sky="pixel")
    assert np.isfinite(fit_frames(one, profile=PSF, params=TraceParams(degree=0)).trace_coeffs_err).all()


def test_frames_without_a_good_pixel_are_an_error():
    frames = simulate(np.random.default_rng(9), nx=20)
    blank = SlitFrames(
        **{
            name: getattr(frames, name)
            for name in ("data", "variance", "read_variance", "position", "wavelength", "base_coeffs")
        },
        mask=np.ones(frames.shape, bool),
    )
    for call in (lambda: fit_frames(blank, profile=PSF), lambda: fit_single_trace(blank, position=1, profile=PSF)):
        with pytest.raises(NoDataError, match="no pixel"):
            call()
