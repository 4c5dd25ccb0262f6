"""Fluxes of sources of known shape in a band, all fitted together."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.photometry.alternatives import Alternatives, alternative_errors, alternatives_of
from skymere.photometry.band import Band, band_of
from skymere.photometry.effective import BandPsf, effective_psf
from skymere.photometry.external import ExternalModel, ExternalModels
from skymere.photometry.models import Models, models_of
from skymere.photometry.noise import Simulation, simulate
from skymere.photometry.params import PhotometryParams
from skymere.photometry.results import FluxCovariance, ForcedPhotometry, Shift, basis
from skymere.photometry.shapes import shape_errors
from skymere.photometry.shifts import find_shift, shifts_of
from skymere.photometry.system import Scene, Solution, powers_of, scene_of
from skymere.photometry.unmodelled import with_unmodelled
from skymere.segmentation import MeasureImage
from skymere.wcs import pixel_jacobian

__all__ = ["forced_photometry"]


def forced_photometry(
    image: Mosaic | MeasureImage,
    *,
    models: pl.DataFrame,
    psf: BandPsf,
    psf_has_pixel: bool = True,
    external: Mapping[int, ExternalModel] | None = None,
    alternatives: Mapping[int, pl.DataFrame] | None = None,
    params: PhotometryParams | None = None,
) -> ForcedPhotometry:
    """Measure the fluxes of all sources of a band together, with the shapes that a sharper image gave.

    Parameters
    ----------
    image : Mosaic or MeasureImage
        The band, with the error of every pixel and a grid on the sky of any pixel scale, rotation or flip. With a zero
        point fluxes are in uJy, else in its unit. It must not change during the call.
    models : polars.DataFrame
        One row for each source: ``source_id``, ``ra``, ``dec`` [deg], ``r_eff`` (semi-major axis of the ellipse that
        holds half of the light [arcsec]), ``sersic_index``, ``ellipticity`` (1 - b / a), ``pa_sky`` (of the major axis,
        from north through east [deg]) and, if wanted, ``kind``: ``sersic``, ``exponential``, ``de_vaucouleurs``,
        ``gaussian``, ``moffat``, which needs its exponent ``moffat_beta`` or ``beta``, ``point`` or ``external``. For
        errors of shapes ``r_eff_err``, ``sersic_index_err``, ``moffat_beta_err``, ``ellipticity_err``, ``pa_sky_err``.
        Several rows with one ``source_id`` are one source when they differ in a column ``component``; their ``flux`` is
        their light, of which only the ratios count. A table without rows gives one without rows, and the sky.
    psf : Psf, PsfGrid, GaussianPsf, MoffatPsf, GaussianMixturePsf or array_like, float64, shape (py, px)
        PSF of the band; a grid changes with the position on the image. An array has the band's pixels, its source in
        the middle (of an even side in the closer of its two middles) and a sum that is the part of the light that it
        holds. A centroid that is up to half a pixel off is moved to its place, and ``warnings`` says so.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel, as in `skymere.profiles.render_sersic`.
    external : mapping of int to ExternalModel, optional
        Images that stand for the profiles of some sources.
    alternatives : mapping of int to polars.DataFrame, optional
        Other models of some sources, rows like those of ``models`` of which columns may be absent, as the states of a
        Markov chain: the scatter of fluxes fitted with them is their ``err_shape``.
    params : PhotometryParams, optional
        Background, bounds, stamps, shift and noise.

    Returns
    -------
    ForcedPhotometry
        Table, residual, covariances, background and shift. The table has ``source_id``; ``status``: ``ok``,
        ``rejected`` (outside, without weight, no profile) or ``failed`` (a blend that cannot be told apart), and its
        ``message``; ``x, y`` with the shift [pix]; ``flux, flux_err, err_formal, err_sim`` [uJy or unit of the image];
        ``n_sim``, the blank places; ``chi2, n_pix`` of the pixels with at least a twentieth of the template's peak;
        ``background`` at its place [as flux, per pixel]; ``dipole``, the significance of a move that the residual asks
        for, by ``move_east, move_north`` [arcsec]; ``light_inside``, the part of its light on its stamp and the image,
        and ``light_seen``, that of pixels with weight; ``at_bound``, whether its flux would be negative; ``is_added``,
        whether it was found on the residual; and with ``has_shape_errors`` or alternatives ``err_shape``, which
        ``flux_err`` holds in quadrature.

    Raises
    ------
    InvalidInputError
        When an argument has a value that is not allowed. A source that cannot be measured is a status in its row.
    NoDataError
        When no pixel can be used.

    Notes
    -----
    The image is ``d = sum_i f_i t_i + sum_k b_k s_k + noise`` with templates t of unit flux on the sky and powers s of
    x and y; f and b solve ``A^T W A (f, b) = A^T W d`` with the inverse variances W, and their covariance is ``(A^T
    W A)^-1``. A template is the profile, through the local Jacobian of the coordinates, convolved with the PSF at
    its own place and looked at in the middle of each pixel. Light outside of the stamp or the image stays in the
    flux.

    The matrix is factorised once along a nested dissection of the image; the covariances of sources that overlap are
    those of the inverse, with all other sources, the background and the shift free. Results have the same bits for any
    number of threads and of ``block_rows``.

    References
    ----------
    Laidler et al. 2007, PASP 119, 1325; De Santis et al. 2007, New Astronomy 12, 271. George 1973, SIAM J. Numer. Anal.
    10, 345. Erisman & Tinney 1975, Commun. ACM 18, 177.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> from skymere.photometry import forced_photometry
    >>> from skymere.profiles import render_sersic
    >>> from skymere.psf import GaussianPsf
    >>> from skymere.segmentation import MeasureImage
    >>> from skymere.wcs import Grid
    >>> y, x = np.mgrid[-12:13, -12:13]
    >>> psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)
    >>> image = render_sersic((41, 41), x=20.0, y=20.0, flux=3.0, re=2.0, n=1.0, q=1.0, psf=psf)
    >>> grid = Grid.tangent(10.0, 2.0, shape=(41, 41), scale_arcsec=0.5)
    >>> model = pl.DataFrame(
    ...     {"source_id": [7], "ra": [10.0], "dec": [2.0], "r_eff": [1.0], "sersic_index": [1.0],
    ...      "ellipticity": [0.0], "pa_sky": [0.0]}
    ... )
    >>> found = forced_photometry(MeasureImage(data=image, error=0.1, grid=grid), models=model, psf=psf)
    >>> round(found.table["flux"][0], 3), found.table["status"][0]
    (3.0, 'ok')
    """
    params = PhotometryParams() if params is None else params
    band = band_of(image, params.noise_rms)
    given = ExternalModels(by_id=dict(external or {}))
    checked = models_of(models, frozenset(given.by_id))
    others = alternatives_of(alternatives or {}, models)
    effective = effective_psf(psf, band.grid, has_pixel=psf_has_pixel)
    return _measure(scene_of(checked, band, effective, given, params), others)


def _measure(scene: Scene, alternatives: Alternatives) -> ForcedPhotometry:
    band, params, n_models = scene.band, scene.params, len(scene.models)
    found = find_shift(scene)
    residual = residual_of(band, found.solution, params)
    places = _places(band, scene.models, found.shift)
    for _ in range(params.max_searches):
        if params.unmodelled_sigma is None:
            break
        known = np.where(found.solution.is_solved[:, None], places, np.nan)
        more = with_unmodelled(scene, found.solution, residual, known, found.shift, params.unmodelled_sigma)
        if len(more) == len(scene.models):
            break
        scene = replace(scene, models=more)
        found = find_shift(scene)
        residual = residual_of(band, found.solution, params)
        places = _places(band, more, found.shift)
    models, solution, shift = scene.models, found.solution, found.shift
    noise = None
    if params.noise.n_positions or params.noise.positions:
        noise = simulate(band, scene.psf, solution, residual, places, params)
    table = _table(scene, solution, residual, places, noise)
    table = table.with_columns(is_added=pl.int_range(pl.len()) >= n_models)
    if params.has_shape_errors or alternatives:
        by_shape = np.where(solution.is_solved, _by_shape(scene, solution, shift, alternatives) * band.scale, np.nan)
        both = np.hypot(table["flux_err"].fill_null(np.nan).to_numpy(), by_shape)
        table = table.with_columns(
            flux_err=pl.Series(both).fill_nan(None), err_shape=pl.Series(by_shape, dtype=pl.Float64).fill_nan(None)
        )
    n_positions = len(noise.positions) if noise else 0
    n_sky = len(powers_of(params.background_degree))
    return ForcedPhotometry(
        table=table,
        residual=band.in_image_units(residual),
        covariance=_covariance(models, solution, band.scale),
        background=solution.levels[:n_sky] * band.unit,
        background_covariance=solution.inverse.corner[:n_sky, :n_sky] * band.unit**2,
        shift=shift,
        shift_residual=None if found.residual is None else band.in_image_units(found.residual),
        noise_positions=np.stack(band.grid.sky(*noise.positions.T), axis=-1) if noise else np.zeros((0, 2)),
        error_accuracy=float(1 / np.sqrt(2 * n_positions)) if n_positions else float("nan"),
        flux_mc=(noise.flux * band.scale).astype(np.float32) if noise else None,
        unit="uJy" if band.has_zero_point else "image",
        params=params,
        warnings=_warnings(scene, solution, shift, noise),
        _solution=solution,
        _scale=band.scale,
        _unit=band.unit,
        _noise_factor=band.noise_factor,
    )


def _by_shape(scene: Scene, solution: Solution, shift: Shift, alternatives: Alternatives) -> NDArray[np.float64]:
    """Return what uncertain shapes do to fluxes: alternatives where they are given, else errors of the parameters."""
    shifts, n = shifts_of(shift, scene.models, scene.band), len(scene.models)
    by_errors, by_alternatives = np.zeros(n), np.zeros(n)
    if scene.params.has_shape_errors:
        without = np.isin(scene.models.source_id, list(alternatives))
        by_errors = shape_errors(scene, solution, shifts, without)
    if alternatives:
        by_alternatives = alternative_errors(scene, solution, shifts, alternatives)
    return np.hypot(by_errors, by_alternatives)


def _warnings(scene: Scene, solution: Solution, shift: Shift, noise: Simulation | None) -> tuple[str, ...]:
    powers = powers_of(scene.params.background_degree)
    lost = [f"x^{i} y^{j}" for (i, j), is_lost in zip(powers, solution.is_undetermined, strict=False) if is_lost]
    of_sky = f"background: the pixels do not tell {', '.join(lost)}, left at 0; its error is NaN" if lost else ""
    said = (*scene.psf.warnings, shift.warning, of_sky, noise.warning if noise else "")
    return tuple(text for text in said if text)


def residual_of(band: Band, solution: Solution, params: PhotometryParams) -> NDArray[np.float32]:
    """Return the image minus all models and the sky [unit of the band], so many rows at a time as the equations."""
    powers = powers_of(params.background_degree)
    residual = np.empty(band.shape, np.float32)
    step = params.block_rows or band.shape[0]
    for first in range(0, band.shape[0], step):
        part = slice(first, min(first + step, band.shape[0]))
        n_rows = part.stop - part.start
        model = solution.templates.model(solution.flux, powers, None, solution.levels[: len(powers)], first, n_rows)
        residual[part] = band.data[part] - model
    return residual


def _places(band: Band, models: Models, shift: Shift) -> NDArray[np.float64]:
    """Return ``(n, 2)`` x, y of the sources, with the shift."""
    places = np.stack(band.grid.pixels(models.ra, models.dec), axis=-1)
    local = pixel_jacobian(band.grid, models.ra, models.dec)
    return np.asarray(places + np.einsum("nij,nj->ni", local, shifts_of(shift, models, band)))


def _table(
    scene: Scene,
    solution: Solution,
    residual: NDArray[np.float32],
    places: NDArray[np.float64],
    noise: Simulation | None,
) -> pl.DataFrame:
    band, models, params = scene.band, scene.models, scene.params
    solved = solution.is_solved
    rejected = np.array([bool(text) for text in models.message], bool) | (solution.normal.diagonal() <= 0)
    status = np.where(solved, "ok", np.where(rejected, "rejected", "failed"))
    local = pixel_jacobian(band.grid, models.ra, models.dec)
    x, y = places.T
    fits = solution.templates.fits(solution.flux, residual, band.weight)
    move = np.einsum("nij,nj->ni", np.linalg.pinv(np.nan_to_num(local)), fits[:, 3:5])
    powers = tuple(powers_of(params.background_degree))
    inside = solution.templates.light()

    def of_solved(values: NDArray[np.float64], factor: float = 1.0) -> pl.Series:
        return pl.Series(np.where(solved & np.isfinite(values), values * factor, np.nan)).fill_nan(None)

    error = np.sqrt(np.maximum(solution.inverse.variance, 0.0))
    by_noise = noise.error if noise else np.full(error.size, np.nan)
    n_sim = noise.n_used if noise else np.zeros(error.size, np.int32)
    return pl.DataFrame(
        {
            "source_id": models.source_id,
            "status": pl.Series(status, dtype=pl.String),
            "message": pl.Series(solution.message, dtype=pl.String),
            "x": pl.Series(x).fill_nan(None),
            "y": pl.Series(y).fill_nan(None),
            "flux": of_solved(solution.flux, band.scale),
            "flux_err": of_solved(np.fmax(error, by_noise), band.scale),
            "err_formal": of_solved(error, band.scale),
            "err_sim": of_solved(by_noise, band.scale),
            "n_sim": n_sim,
            "chi2": of_solved(fits[:, 0]),
            "n_pix": fits[:, 1].astype(np.int32),
            "background": of_solved(basis(x, y, band.shape, powers) @ solution.levels[: len(powers)], band.scale),
            "dipole": of_solved(fits[:, 5] / band.noise_factor),
            "move_east": of_solved(move[:, 0]),
            "move_north": of_solved(move[:, 1]),
            "light_inside": inside,
            "light_seen": inside * fits[:, 2],
            "at_bound": solution.at_bound,
        }
    )


def _covariance(models: Models, solution: Solution, scale: float) -> FluxCovariance:
    """Return the pairs of both directions, those of a source in the order of its neighbours."""
    n = len(models)
    offsets = solution.templates.offsets().view(np.int64)
    first = np.repeat(np.arange(n), offsets[1:] - offsets[:-1])
    second = solution.templates.neighbours().astype(np.int64)
    solved = solution.is_solved
    kept = solved[first] & solved[second]
    first, second, values = first[kept], second[kept], solution.inverse.pairs[kept] * scale**2
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.lexsort((columns, rows))
    return FluxCovariance(
        source_id=models.source_id,
        offset=np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(np.int64),
        neighbour=models.source_id[columns[order]],
        covariance=np.concatenate([values, values])[order],
    )
