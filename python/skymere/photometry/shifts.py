"""How far the sources of a band lie from where the models say."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skymere.photometry.anchors import AnchorScene, anchor_scene, rank_anchors
from skymere.photometry.band import Band, jacobian
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.external import ExternalModels
from skymere.photometry.models import Models
from skymere.photometry.params import PhotometryParams
from skymere.photometry.results import Shift, basis
from skymere.photometry.system import Solution, draw, powers_of, solve

__all__ = ["find_shift", "joint_shift", "shifts_of"]

_NO_ANCHOR = "shift: no source can be an anchor, so it was left as it was"


def shifts_of(shift: Shift, models: Models, band: Band) -> NDArray[np.float64]:
    """Return the shift of each model, ``(n, 2)`` to the east and north [arcsec]; 0 where a model has no place."""
    x, y = band.grid.pixels(models.ra, models.dec)
    return np.nan_to_num(shift.at(x, y, band.shape))


def given_shift(params: PhotometryParams) -> Shift:
    """Return the shift that the parameters begin with."""
    return Shift(
        method="none",
        coefficients=np.array(params.shift.shift_arcsec, np.float64).reshape(2, 1),
        covariance=np.full((2, 2), np.nan),
    )


def find_shift(
    models: Models, band: Band, psf: EffectivePsf, external: ExternalModels, params: PhotometryParams
) -> tuple[Shift, Solution]:
    """Return the shift of a band by the method of the parameters, and the fluxes there."""
    start = given_shift(params)
    if params.shift.method == "joint":
        return joint_shift(models, band, psf, external, params, start, limit_arcsec=params.shift.max_arcsec)
    shift = start
    if params.shift.method == "anchors":
        shift = _of_scene(anchor_scene(params.shift.anchors, models, band, psf, external, params), start)
    elif params.shift.method == "ranked":
        shift = _of_ranked(models, band, psf, external, params, start)
    elif params.shift.method == "grid":
        anchors = params.shift.anchors or _ranked_ids(models, band, psf, external, params, start)[:1]
        if not anchors:
            return replace(start, method="grid", warning=_NO_ANCHOR), _solve_at(
                start, models, band, psf, external, params
            )
        shift = _of_grid(anchor_scene(anchors, models, band, psf, external, params), start)
    return shift, _solve_at(shift, models, band, psf, external, params)


def _of_scene(scene: AnchorScene, start: Shift, limit_arcsec: float | None = None) -> Shift:
    """Return the shift that the sources of a circle say, fitted with their fluxes and a constant sky."""
    limit = scene.params.shift.max_arcsec if limit_arcsec is None else limit_arcsec
    found, _ = joint_shift(scene.models, scene.band, scene.psf, scene.external, scene.params, start, limit_arcsec=limit)
    return replace(found, anchors=scene.anchors)


def _ranked_ids(
    models: Models,
    band: Band,
    psf: EffectivePsf,
    external: ExternalModels,
    params: PhotometryParams,
    start: Shift,
) -> tuple[int, ...]:
    solution = _solve_at(start, models, band, psf, external, params)
    error = np.sqrt(solution.inverse.variance)
    rows = rank_anchors(models, solution.flux, error, band, psf, params)
    return tuple(int(i) for i in models.source_id[rows])


def _of_ranked(
    models: Models,
    band: Band,
    psf: EffectivePsf,
    external: ExternalModels,
    params: PhotometryParams,
    start: Shift,
) -> Shift:
    """Return the mean of what the best anchors say, weighted by their errors.

    Notes
    -----
    The error is the larger of that of the weighted mean and of the scatter over the root of the number of anchors.
    """
    ids = _ranked_ids(models, band, psf, external, params, start)[: params.shift.n_anchors]
    each = [_of_scene(anchor_scene((i,), models, band, psf, external, params), start) for i in ids]
    each = [one for one in each if not one.warning and np.isfinite(one.covariance).all()]
    if not each:
        return replace(start, method="ranked", warning=_NO_ANCHOR)
    places = np.array([one.coefficients[:, 0] for one in each])
    inverses = np.array([np.linalg.inv(one.covariance) for one in each])
    covariance = np.linalg.inv(inverses.sum(axis=0))
    mean = covariance @ np.einsum("nij,nj->i", inverses, places)
    scatter = float("nan")
    if len(each) > 1:
        scatter = float(np.sqrt(((places - mean) ** 2).sum() / (2 * (len(each) - 1))))
        formal = float(np.sqrt(np.trace(covariance) / 2))
        covariance = covariance * max(1.0, scatter / np.sqrt(len(each)) / formal) ** 2
    return replace(
        each[0],
        coefficients=mean.reshape(2, 1),
        covariance=covariance,
        anchors=tuple(one.anchors[0] for one in each),
        scatter_arcsec=scatter,
    )


def _of_grid(scene: AnchorScene, start: Shift) -> Shift:
    """Return the best of a grid of shifts, refined within a step.

    Notes
    -----
    With the fluxes and the sky that are best there, chi square is ``d^T W d - x^T A^T W d``.
    """
    params = scene.params.shift
    n_steps = int(np.ceil(params.max_arcsec / params.step_arcsec - 1e-9))
    steps = np.arange(-n_steps, n_steps + 1) * params.step_arcsec
    saved = np.zeros((steps.size, steps.size))
    for j, north in enumerate(steps):
        for i, east in enumerate(steps):
            there = replace(start, coefficients=start.coefficients + np.array([[east], [north]]))
            one = _solve_at(there, scene.models, scene.band, scene.psf, scene.external, scene.params)
            saved[j, i] = np.concatenate([one.flux, one.levels]) @ one.normal.right()
    j, i = divmod(int(np.argmax(saved)), steps.size)
    best = replace(start, coefficients=start.coefficients + np.array([[steps[i]], [steps[j]]]))
    found = _of_scene(scene, best, params.step_arcsec)
    if {i, j} & {0, steps.size - 1}:
        text = f"shift: the best of the grid is on its edge, {params.max_arcsec:g} arcsec from the start"
        found = replace(found, warning=text)
    return found


def _solve_at(
    shift: Shift, models: Models, band: Band, psf: EffectivePsf, external: ExternalModels, params: PhotometryParams
) -> Solution:
    templates = draw(models, band, psf, external, params, shifts_of(shift, models, band))
    return solve(models, band, templates, params)


def joint_shift(
    models: Models,
    band: Band,
    psf: EffectivePsf,
    external: ExternalModels,
    params: PhotometryParams,
    start: Shift,
    *,
    limit_arcsec: float,
) -> tuple[Shift, Solution]:
    """Fit the fluxes and a smooth field of shifts together.

    Notes
    -----
    To first order a source that lies ``s`` from its model adds ``f s^T J^T g``, with the derivatives g of its template
    by x and y and the Jacobian J of its place. So the coefficients of the field are further columns of the system,
    made of the fluxes of the step before, and their covariance is that of the system, with all fluxes and the sky
    free. Sources of low S/N have no part in them: their fluxes' noise would look like information.
    """
    powers = tuple(powers_of(params.shift.degree))
    coefficients = np.zeros((2, len(powers)))
    coefficients[:, 0] = start.coefficients[:, 0]
    first = coefficients.copy()
    shift = replace(start, method=params.shift.method, coefficients=coefficients, powers=powers)
    solution = _solve_at(shift, models, band, psf, external, params)
    n_sky = len(powers_of(params.background_degree))
    x, y = (np.nan_to_num(p) for p in band.grid.pixels(models.ra, models.dec))
    local = np.nan_to_num(jacobian(band.grid, models.ra, models.dec))
    terms = basis(x, y, band.shape, powers)
    scale = 1.0 / band.grid.scale_arcsec
    step = np.full_like(coefficients, np.inf)
    n_iterations, is_limited, limit = 0, False, params.shift.max_iterations
    while float(np.abs(step).max()) * scale >= params.shift.tolerance_pix and n_iterations < limit:
        if n_iterations:
            templates = draw(models, band, psf, external, params, shifts_of(shift, models, band))
            solution = replace(solution, templates=templates)
        planes = _planes(solution, local, terms, params.shift.min_snr)
        if not planes:
            text = f"shift: no flux is more than {params.shift.min_snr} times its error, so it was left as it was"
            unknown = np.full((2 * len(powers), 2 * len(powers)), np.nan)
            return replace(shift, covariance=unknown, warning=text), solution
        solution = solve(models, band, solution.templates, params, planes=planes)
        wanted = coefficients + solution.levels[n_sky:].reshape(2, len(powers))
        moved = first + np.clip(wanted - first, -limit_arcsec, limit_arcsec)
        is_limited = bool((wanted != moved).any())
        step, coefficients, n_iterations = moved - coefficients, moved, n_iterations + 1
        shift = replace(shift, coefficients=coefficients)
    warning = f"shift: the best is more than {limit_arcsec:g} arcsec from the start, its limit" if is_limited else ""
    if float(np.abs(step).max()) * scale >= params.shift.tolerance_pix:
        warning = warning or f"shift: it did not settle in {n_iterations} steps"
    covariance = solution.inverse.corner[n_sky:, n_sky:]
    return replace(shift, covariance=covariance, n_iterations=n_iterations, warning=warning), solution


def _planes(
    solution: Solution, local: NDArray[np.float64], terms: NDArray[np.float64], min_snr: float
) -> list[NDArray[np.float32]]:
    """Return what 1 arcsec to the east, and to the north, changes in the image, for each term of the field."""
    error = solution.noise_factor / np.sqrt(np.maximum(solution.normal.diagonal(), 1e-300))
    counts = solution.is_solved & (solution.flux > min_snr * error)
    if not counts.any():
        return []
    flux = np.where(counts, solution.flux, 0.0)
    planes = []
    for direction in range(2):
        for term in terms.T:
            by_x, by_y = (np.ascontiguousarray(flux * term * local[:, k, direction]) for k in range(2))
            planes.append(solution.templates.moved(by_x, by_y))
    return planes
