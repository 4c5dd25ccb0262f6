"""How far the sources of a band lie from where the models say."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skymere._rust import photometry as _rust
from skymere.photometry.anchors import AnchorScene, anchor_scene, rank_anchors
from skymere.photometry.band import Band
from skymere.photometry.models import Models
from skymere.photometry.params import PhotometryParams
from skymere.photometry.results import Shift, basis
from skymere.photometry.system import Scene, Solution, powers_of, solve
from skymere.wcs import pixel_jacobian

__all__ = ["FoundShift", "find_shift", "joint_shift", "shifts_of"]

_NO_ANCHOR = "shift: no source can be an anchor, so it was left as it was"
_DIRECTIONS = ("east", "north")


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundShift:
    """The shift of a band, the fluxes there, and the image less the fits of anchors in their circles."""

    shift: Shift
    solution: Solution
    residual: NDArray[np.float32] | None = None
    """In units of the band; NaN outside of the circles."""


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


def find_shift(scene: Scene) -> FoundShift:
    """Return the shift of a band by the method of the parameters, and the fluxes there."""
    params = scene.params.shift
    start = given_shift(scene.params)
    if params.method == "joint":
        shift, solution = joint_shift(scene, start, limit_arcsec=params.max_arcsec)
        return FoundShift(shift=shift, solution=solution)
    if params.method == "none":
        return FoundShift(shift=start, solution=_solve_at(start, scene))
    if params.method == "ranked":
        shift, circles = _of_ranked(scene, start)
    else:
        anchors = params.anchors or _ranked_ids(scene, start)[:1]
        if not anchors:
            shift, circles = replace(start, method=params.method, warning=_NO_ANCHOR), []
        else:
            circle = anchor_scene(anchors, scene, shifts_of(start, scene.models, scene.band))
            find = _of_grid if params.method == "grid" else _of_circle
            shift, solution = find(circle, start)
            circles = [(circle, solution)]
    return FoundShift(shift=shift, solution=_solve_at(shift, scene), residual=_less_anchors(scene, circles))


def _less_anchors(scene: Scene, circles: list[tuple[AnchorScene, Solution]]) -> NDArray[np.float32]:
    """Return the image less the fits of anchors, NaN outside of their circles."""
    image = np.full(scene.band.shape, np.nan, np.float32)
    for circle, solution in circles:
        band, (y0, y1, x0, x1) = circle.scene.band, circle.window
        model = solution.templates.model(solution.flux, [(0, 0)], None, solution.levels[:1], 0, band.shape[0])
        there = image[y0:y1, x0:x1]
        there[...] = np.where(band.weight > 0, band.data - model, there)
    return image


def _of_circle(circle: AnchorScene, start: Shift, limit_arcsec: float | None = None) -> tuple[Shift, Solution]:
    """Return the shift that the sources of a circle say, fitted with their fluxes and a constant sky."""
    limit = circle.scene.params.shift.max_arcsec if limit_arcsec is None else limit_arcsec
    found, solution = joint_shift(circle.scene, start, limit_arcsec=limit, is_small=True)
    return replace(found, anchors=circle.anchors), solution


def _ranked_ids(scene: Scene, start: Shift) -> tuple[int, ...]:
    solution = _solve_at(start, scene, has_moves=False)
    error = np.sqrt(solution.inverse.variance)
    rows = rank_anchors(scene.models, solution.flux, error, scene.band, scene.psf, scene.params)
    return tuple(int(i) for i in scene.models.source_id[rows])


def _of_ranked(scene: Scene, start: Shift) -> tuple[Shift, list[tuple[AnchorScene, Solution]]]:
    """Return the mean of what the best anchors say, weighted by their errors, and their fits, the best last.

    Notes
    -----
    The error is the larger of that of the weighted mean and of the scatter over the root of the number of anchors.
    """
    ids = _ranked_ids(scene, start)[: scene.params.shift.n_anchors]
    places_of = shifts_of(start, scene.models, scene.band)
    circles = [anchor_scene((i,), scene, places_of) for i in ids]
    found = [(circle, *_of_circle(circle, start)) for circle in circles]
    found = [one for one in found if not one[1].warning and np.isfinite(one[1].covariance).all()]
    if not found:
        return replace(start, method="ranked", warning=_NO_ANCHOR), []
    each = [shift for _, shift, _ in found]
    places = np.array([one.coefficients[:, 0] for one in each])
    inverses = np.array([np.linalg.inv(one.covariance) for one in each])
    covariance = np.linalg.inv(inverses.sum(axis=0))
    mean = covariance @ np.einsum("nij,nj->i", inverses, places)
    scatter = float("nan")
    if len(each) > 1:
        scatter = float(np.sqrt(((places - mean) ** 2).sum() / (2 * (len(each) - 1))))
        formal = float(np.sqrt(np.trace(covariance) / 2))
        covariance = covariance * max(1.0, scatter / np.sqrt(len(each)) / formal) ** 2
    shift = replace(
        each[0],
        coefficients=mean.reshape(2, 1),
        covariance=covariance,
        anchors=tuple(one.anchors[0] for one in each),
        scatter_arcsec=scatter,
    )
    return shift, [(circle, solution) for circle, _, solution in reversed(found)]


def _of_grid(circle: AnchorScene, start: Shift) -> tuple[Shift, Solution]:
    """Return the best of a grid of shifts, refined within a step.

    Notes
    -----
    With the fluxes and the sky that are best there, chi square is ``d^T W d - x^T A^T W d``.
    """
    params = circle.scene.params.shift
    n_steps = int(np.ceil(params.max_arcsec / params.step_arcsec - 1e-9))
    steps = np.arange(-n_steps, n_steps + 1) * params.step_arcsec
    saved = np.zeros((steps.size, steps.size))
    for j, north in enumerate(steps):
        for i, east in enumerate(steps):
            there = replace(start, coefficients=start.coefficients + np.array([[east], [north]]))
            one = _solve_at(there, circle.scene, has_moves=False)
            saved[j, i] = np.concatenate([one.flux, one.levels]) @ one.normal.right()
    j, i = divmod(int(np.argmax(saved)), steps.size)
    best = replace(start, coefficients=start.coefficients + np.array([[steps[i]], [steps[j]]]))
    chi2_map = (saved[j, i] - saved) / circle.scene.band.noise_factor**2
    widths = _width(chi2_map[j], i, params.step_arcsec), _width(chi2_map[:, i], j, params.step_arcsec)
    solution = _solve_at(best, circle.scene)
    snr = float(solution.flux[0] / np.sqrt(solution.inverse.variance[0])) if solution.is_solved[0] else 0.0
    if not snr >= params.min_snr:
        text = (
            f"shift: anchor {circle.anchors[0]} has a S/N of {snr:.1f} at the best place, below {params.min_snr:g}, "
            "so it was left as it was"
        )
        left = replace(start, method="grid", warning=text, chi2_map=chi2_map, width_arcsec=widths)
        return replace(left, anchors=circle.anchors), _solve_at(start, circle.scene)
    found, solution = _of_circle(circle, best, params.step_arcsec)
    if {i, j} & {0, steps.size - 1}:
        text = f"shift: the best of the grid is on its edge, {params.max_arcsec:g} arcsec from the start"
        found = replace(found, warning=text)
    return replace(found, chi2_map=chi2_map, width_arcsec=widths), solution


def _width(chi2: NDArray[np.float64], best: int, step: float) -> float:
    """Return where chi square has grown by 1, by the parabola through the best place and those beside it."""
    if not 0 < best < chi2.size - 1:
        return float("nan")
    curvature = float(chi2[best - 1] + chi2[best + 1] - 2 * chi2[best])
    return step * float(np.sqrt(2 / curvature)) if curvature > 0 else float("inf")


def _solve_at(shift: Shift, scene: Scene, *, has_moves: bool = True) -> Solution:
    return solve(scene, scene.draw(shifts_of(shift, scene.models, scene.band), has_moves=has_moves))


def joint_shift(scene: Scene, start: Shift, *, limit_arcsec: float, is_small: bool = False) -> tuple[Shift, Solution]:
    """Fit the fluxes and a smooth field of shifts together.

    Notes
    -----
    To first order a source that lies ``s`` from its model adds ``f s^T J^T g``, with the derivatives g of its template
    by x and y and the Jacobian J of its place. So the coefficients of the field are further columns of the system,
    made of the fluxes of the step before, and their covariance is that of the system, with all fluxes and the sky
    free. Sources of low S/N have no part in them: their fluxes' noise would look like information. In a small image
    that S/N is the one with all others and the sky free, which wings of far sources may be mistaken for.
    """
    models, band, params = scene.models, scene.band, scene.params
    powers = tuple(powers_of(params.shift.degree))
    coefficients = np.zeros((2, len(powers)))
    coefficients[:, 0] = start.coefficients[:, 0]
    first = coefficients.copy()
    shift = replace(start, method=params.shift.method, coefficients=coefficients, powers=powers)
    solution = _solve_at(shift, scene)
    n_sky = len(powers_of(params.background_degree))
    x, y = (np.nan_to_num(p) for p in band.grid.pixels(models.ra, models.dec))
    local = np.nan_to_num(pixel_jacobian(band.grid, models.ra, models.dec))
    terms = basis(x, y, band.shape, powers)
    scale = 1.0 / band.grid.scale_arcsec
    step = np.full_like(coefficients, np.inf)
    n_iterations, is_limited, limit = 0, False, params.shift.max_iterations
    while float(np.abs(step).max()) * scale >= params.shift.tolerance_pix and n_iterations < limit:
        templates = scene.draw(shifts_of(shift, models, band)) if n_iterations else solution.templates
        planes = _planes(solution, templates, local, terms, params.shift.min_snr, is_small=is_small)
        if not planes:
            text = f"shift: no flux is more than {params.shift.min_snr} times its error, so it was left as it was"
            unknown = np.full((2 * len(powers), 2 * len(powers)), np.nan)
            return replace(shift, covariance=unknown, warning=text), _solve_at(
                shift, scene
            ) if n_iterations else solution
        solution = solve(scene, templates, planes=planes)
        wanted = coefficients + solution.levels[n_sky:].reshape(2, len(powers))
        moved = first + np.clip(wanted - first, -limit_arcsec, limit_arcsec)
        is_limited = bool((wanted != moved).any())
        step, coefficients, n_iterations = moved - coefficients, moved, n_iterations + 1
        shift = replace(shift, coefficients=coefficients)
    warning = f"shift: the best is more than {limit_arcsec:g} arcsec from the start, its limit" if is_limited else ""
    if float(np.abs(step).max()) * scale >= params.shift.tolerance_pix:
        warning = warning or f"shift: it did not settle in {n_iterations} steps"
    lost = np.flatnonzero(solution.is_undetermined[n_sky:])
    if lost.size:
        names = [
            f"x^{powers[k % len(powers)][0]} y^{powers[k % len(powers)][1]} to the {_DIRECTIONS[k // len(powers)]}"
            for k in lost.tolist()
        ]
        warning = f"shift: the sources do not tell {', '.join(names)}, left as it was; its error is NaN"
    covariance = solution.inverse.corner[n_sky:, n_sky:]
    return replace(shift, covariance=covariance, n_iterations=n_iterations, warning=warning), solution


def _planes(
    solution: Solution,
    templates: _rust.Templates,
    local: NDArray[np.float64],
    terms: NDArray[np.float64],
    min_snr: float,
    *,
    is_small: bool,
) -> list[NDArray[np.float32]]:
    """Return what 1 arcsec to the east, and to the north, changes in the image, for each term of the field."""
    if is_small:
        error = np.sqrt(solution.inverse.variance)
    else:
        error = solution.noise_factor / np.sqrt(np.maximum(solution.normal.diagonal(), 1e-300))
    counts = solution.is_solved & (solution.flux > min_snr * error)
    if not counts.any():
        return []
    flux = np.where(counts, solution.flux, 0.0)
    planes = []
    for direction in range(2):
        for term in terms.T:
            by_x, by_y = (np.ascontiguousarray(flux * term * local[:, k, direction]) for k in range(2))
            planes.append(templates.moved(by_x, by_y))
    return planes
