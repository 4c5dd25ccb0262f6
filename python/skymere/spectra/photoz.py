"""Photometric redshifts: non-negative combinations of templates for the fluxes of a whole catalogue."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._rust import spectra as _rust
from skymere.errors import InvalidInputError
from skymere.spectra.bands import Band, check_zeropoints, column_names
from skymere.spectra.photoz_params import PhotozParams, TemplateError
from skymere.spectra.photoz_prior import MagnitudePrior, interpolate_prior
from skymere.spectra.photoz_results import Objects, PhotozFit, grid_of
from skymere.spectra.template_fluxes import ExcessNodes, Transmission
from skymere.spectra.templates import TabulatedTemplate

__all__ = ["fit_photoz", "iter_photoz"]

_Array = NDArray[np.float64]
Prior = MagnitudePrior | tuple[ArrayLike, ArrayLike]

_AB_UJY = 23.9
_PERCENTILES = {"z_025": 0.025, "z_160": 0.16, "z_500": 0.5, "z_840": 0.84, "z_975": 0.975}
# With this much of p(z) within one step of the largest value, the grid does not resolve it.
_UNRESOLVED = 0.95
_IDS = ("source_id", "id")


def fit_photoz(
    catalog: Any,
    *,
    filters: Sequence[Band],
    templates: Sequence[TabulatedTemplate],
    prior: Prior | None = None,
    zeropoints: Mapping[str, float] | None = None,
    mw_ebv: ArrayLike = 0.0,
    igm: Transmission | None = None,
    template_error: TemplateError | None = None,
    params: PhotozParams | None = None,
) -> PhotozFit:
    """Fit redshifts of all objects of a catalogue to their fluxes.

    Parameters
    ----------
    catalog : polars.DataFrame, astropy Table or mapping
        Columns by name; ``source_id`` or ``id`` is copied to the result. A flux that is empty or not finite, or whose
        error is not positive, was not measured.
    filters : sequence of Band
        The columns of fluxes and errors, with their filters and units; `read_translate` makes them of eazy's files.
    templates : sequence of TabulatedTemplate
        Spectra at rest that are combined.
    prior : MagnitudePrior or tuple, optional
        p(z) by the magnitude in a filter; or ``(z, p)`` with p of shape (n_z,) for all objects, or (n, n_z).
    zeropoints : mapping of str to float, optional
        By which fluxes and errors in a filter are multiplied.
    mw_ebv : array_like, float64, scalar or shape (n,), optional
        Colour excess E(B-V) of the Milky Way's dust before all objects or each of them [mag]: templates are reddened,
        so fluxes must not have been corrected.
    igm : callable, optional
        ``igm(wave, z)``: what arrives at observed wavelengths [um] of the light of a source at redshift ``z``.
    template_error : TemplateError, optional
        How wrong templates are.
    params : PhotozParams, optional
        How to fit.

    Returns
    -------
    PhotozFit
        With a status in each row. With ``has_pdf`` its size is that of p(z) of all objects; `iter_photoz` gives the
        same a block at a time.

    Raises
    ------
    NotFoundError
        When a column, or the filter of a zeropoint or prior, does not exist.
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    At each redshift the factors ``a >= 0`` minimise ``chi2 = sum((f - a T)^2 / s^2)`` with ``s^2 = err^2 + (sys_err^2 +
    e(z)^2) m^2``, where ``m`` is the best model of a first pass, or the measured flux, and ``e`` the error of the
    templates. ``p(z) ~ prior(z) exp(-chi2 / 2) / prod(s)``. The grid is even in ln(1 + z).

    References
    ----------
    Brammer, van Dokkum & Coppi 2008, ApJ 686, 1503, eqs. 1 to 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.spectra import Band, Filter, PhotozParams, TabulatedTemplate, fit_photoz
    >>> wave = np.linspace(0.1, 3.0, 2901)
    >>> galaxy = TabulatedTemplate(name="break", wave=wave, flux=np.where(wave < 0.4, 0.2, 1.0) * 1e-19)
    >>> edges = np.geomspace(0.4, 2.0, 9)
    >>> curves = [
    ...     Filter(name=f"b{i}", wave=np.array(ends) * [1, 1.001, 0.999, 1], throughput=[0, 1, 1, 0])
    ...     for i, ends in enumerate((a, a, b, b) for a, b in zip(edges[:-1], edges[1:]))
    ... ]
    >>> table = {}
    >>> for one in curves:
    ...     table[one.name] = [one.flux(wave * 2.1, galaxy.flux)]
    ...     table[one.name + "_err"] = [0.02 * table[one.name][0]]
    >>> bands = [Band(filter=one, flux=one.name, flux_err=one.name + "_err") for one in curves]
    >>> fit = fit_photoz(table, filters=bands, templates=[galaxy], params=PhotozParams(z_max=3.0))
    >>> round(fit.table["z_map"][0], 1), fit.table["status"][0]
    (1.1, 'ok')
    """
    setup = _Setup.of(catalog, filters, templates, prior, zeropoints, mw_ebv, igm, template_error, params)
    return _join(list(setup.blocks()), setup)


def iter_photoz(
    catalog: Any,
    *,
    filters: Sequence[Band],
    templates: Sequence[TabulatedTemplate],
    prior: Prior | None = None,
    zeropoints: Mapping[str, float] | None = None,
    mw_ebv: ArrayLike = 0.0,
    igm: Transmission | None = None,
    template_error: TemplateError | None = None,
    params: PhotozParams | None = None,
) -> Iterator[PhotozFit]:
    """Fit redshifts of a catalogue, ``block_rows`` objects at a time, so that memory does not grow with their number.

    Parameters
    ----------
    catalog, filters, templates, prior, zeropoints, mw_ebv, igm, template_error, params : object
        As for `fit_photoz`; the results are the same to the last bit.

    Yields
    ------
    PhotozFit
        One block of objects after the other; ``row`` of the table counts through the catalogue.

    Raises
    ------
    NotFoundError, InvalidInputError
        As of `fit_photoz`, before the first block.
    """
    setup = _Setup.of(catalog, filters, templates, prior, zeropoints, mw_ebv, igm, template_error, params)
    return setup.blocks()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setup:
    """All that blocks of objects have in common."""

    catalog: Any
    n: int
    bands: tuple[Band, ...]
    templates: tuple[TabulatedTemplate, ...]
    prior: Prior | None
    factors: _Array
    mw_ebv: _Array
    excess: ExcessNodes
    igm: Transmission | None
    template_error: _Array
    z_grid: _Array
    grid: _Array
    params: PhotozParams

    @classmethod
    def of(
        cls,
        catalog: Any,
        filters: Sequence[Band],
        templates: Sequence[TabulatedTemplate],
        prior: Prior | None,
        zeropoints: Mapping[str, float] | None,
        mw_ebv: ArrayLike,
        igm: Transmission | None,
        template_error: TemplateError | None,
        params: PhotozParams | None,
    ) -> "_Setup":
        p = params or PhotozParams()
        bands = tuple(filters)
        if not bands or not all(isinstance(band, Band) for band in bands):
            msg = f"filters: {len(bands)} entries are not allowed, they must be one or more of Band"
            raise InvalidInputError(msg)
        names = [band.name for band in bands]
        if isinstance(prior, MagnitudePrior) and prior.filter not in names:
            msg = f"prior: filter {prior.filter!r} is not among {', '.join(names)}"
            raise InvalidInputError(msg)
        n = len(bands[0].read(catalog)[0])
        for band in bands[1:]:
            found = len(band.read(catalog)[0])
            if found != n:
                msg = f"catalog: column {band.flux!r} has {found} rows, {bands[0].flux!r} has {n}"
                raise InvalidInputError(msg)
        if prior is not None and not isinstance(prior, MagnitudePrior):
            interpolate_prior(prior, n, np.zeros(1))
        excess = np.asarray(mw_ebv, np.float64)
        if excess.shape not in ((), (n,)) or not np.all((excess >= 0) & np.isfinite(excess)):
            msg = (
                f"mw_ebv: {excess if excess.ndim == 0 else excess.shape} is not allowed, it must be one number or {n}, "
            )
            raise InvalidInputError(msg + "0 or more; there is no map to look it up in")
        excess = np.broadcast_to(excess, (n,)).copy()
        nodes, z_grid = ExcessNodes.covering(excess), p.z_grid
        pivots = np.array([band.filter.pivot for band in bands])
        error = np.zeros((0, len(bands))) if template_error is None else template_error.on_grid(pivots, z_grid)
        return cls(
            catalog=catalog,
            n=n,
            bands=bands,
            templates=tuple(templates),
            prior=prior,
            factors=check_zeropoints(zeropoints, bands),
            mw_ebv=excess,
            excess=nodes,
            igm=igm,
            template_error=np.ascontiguousarray(error),
            z_grid=z_grid,
            grid=grid_of(tuple(templates), [band.filter for band in bands], z_grid, nodes.ebv, igm),
            params=p,
        )

    def blocks(self) -> Iterator[PhotozFit]:
        flux, err = (
            np.stack(part, axis=1) for part in zip(*(band.read(self.catalog) for band in self.bands), strict=True)
        )
        flux, err = flux * self.factors, err * self.factors
        for start in range(0, max(self.n, 1), self.params.block_rows):
            rows = slice(start, min(start + self.params.block_rows, self.n))
            yield _fit_block(self, rows, flux[rows], err[rows])

    def log_prior(self, rows: slice, flux: _Array) -> _Array:
        """Logarithm of the prior of the objects of a block."""
        n = flux.shape[0]
        if self.prior is None:
            return np.zeros((n, self.z_grid.size))
        if isinstance(self.prior, MagnitudePrior):
            band = [band.name for band in self.bands].index(self.prior.filter)
            seen = np.where(flux[:, band] > 0, flux[:, band], np.nan)
            p = self.prior.on_grid(_AB_UJY - 2.5 * np.log10(seen), self.z_grid)
        else:
            zs, values = np.asarray(self.prior[0]), np.atleast_2d(np.asarray(self.prior[1]))
            p = interpolate_prior((zs, values if values.shape[0] == 1 else values[rows]), n, self.z_grid)
        with np.errstate(divide="ignore"):
            return np.log(p)


def _fit_block(setup: _Setup, rows: slice, flux: _Array, err: _Array) -> PhotozFit:
    p, z_grid = setup.params, setup.z_grid
    n, n_filters = flux.shape[0], np.isfinite(err).sum(axis=1)
    is_fitted = n_filters >= p.min_filters
    nodes = setup.excess.factors(setup.mw_ebv[rows])

    def objects(level: _Array) -> Objects:
        return Objects.of(
            flux,
            err,
            level=level,
            sys_err=p.sys_err,
            grid=setup.grid,
            nodes=nodes,
            template_error=setup.template_error,
        )

    level = np.nan_to_num(flux)
    given = objects(level)
    chi2, spread = _rust.photoz_scan(given)
    if p.sys_err_of == "model" and (p.sys_err > 0 or setup.template_error.size):
        _, level = _rust.photoz_fit(given, chi2.argmin(axis=1).tolist())
        given = objects(level)
        chi2, spread = _rust.photoz_scan(given)
    log_p = -0.5 * (chi2 + spread) + _allowed(setup, err)
    with np.errstate(invalid="ignore"):
        likely = np.isfinite(log_p).any(axis=1)
        log_p = log_p + setup.log_prior(rows, flux)
    best = log_p.argmax(axis=1)
    top = log_p[np.arange(n), best]
    is_good = is_fitted & np.isfinite(top)
    pdf = np.exp(log_p - np.where(np.isfinite(top), top, 0.0)[:, None])
    cumulative = np.concatenate(
        [np.zeros((n, 1)), np.cumsum(0.5 * (pdf[:, 1:] + pdf[:, :-1]) * np.diff(z_grid), axis=1)], axis=1
    )
    area = np.where(is_good, cumulative[:, -1], 1.0)[:, None]
    pdf, cumulative = pdf / area, cumulative / area
    coefficients, model = _rust.photoz_fit(given, best.tolist())
    status = _status(best, pdf, cumulative, z_grid.size)
    for name, where in (("no_prior", ~np.isfinite(top)), ("no_template", ~likely), ("few_filters", ~is_fitted)):
        status[where] = name
    columns: dict[str, Any] = {"row": np.arange(rows.start, rows.start + n)}
    for name in _IDS:
        if name in column_names(setup.catalog):
            columns[name] = list(setup.catalog[name][rows])
            break
    numbers = {"z_map": _vertex(z_grid, log_p, best)}
    numbers |= {name: _percentile(z_grid, pdf, cumulative, q) for name, q in _PERCENTILES.items()}
    least = chi2.argmin(axis=1)
    numbers |= {
        "chi2": chi2[np.arange(n), best],
        "z_chi2": _vertex(z_grid, -0.5 * chi2, least),
        "chi2_min": chi2[np.arange(n), least],
    }
    table = pl.DataFrame(columns | {"status": status.tolist()}, schema_overrides={"status": pl.String}).with_columns(
        *(pl.Series(name, np.where(is_good, value, np.nan)).fill_nan(None) for name, value in numbers.items()),
        pl.when(pl.Series(is_good)).then(pl.Series(best)).alias("i_z"),
        pl.Series("n_filters", n_filters),
    )
    off = ~is_good[:, None]
    kept = slice(None) if p.has_pdf else slice(0)
    return PhotozFit(
        table=table,
        z_grid=z_grid,
        chi2_grid=chi2[kept],
        pdf=np.where(off, np.nan, pdf)[kept],
        coefficients=np.where(off, np.nan, coefficients),
        model=np.where(off, np.nan, model),
        flux=flux,
        flux_err=err,
        level=level,
        mw_ebv=setup.mw_ebv[rows],
        bands=setup.bands,
        templates=setup.templates,
        template_error=setup.template_error,
        igm=setup.igm,
        params=p,
    )


def _allowed(setup: _Setup, err: _Array) -> _Array:
    """Zero, or minus infinity where a redshift puts the least wavelength beyond the reddest filter."""
    if setup.params.min_rest_wave is None:
        return np.zeros((err.shape[0], setup.z_grid.size))
    pivots = np.array([band.filter.pivot for band in setup.bands])
    reddest = np.where(np.isfinite(err), pivots, 0.0).max(axis=1)
    return np.where(setup.params.min_rest_wave * (1 + setup.z_grid) > reddest[:, None], -np.inf, 0.0)


def _status(best: NDArray[np.intp], pdf: _Array, cumulative: _Array, n_z: int) -> NDArray[np.object_]:
    rows = np.arange(len(best))
    around = cumulative[rows, np.minimum(best + 1, n_z - 1)] - cumulative[rows, np.maximum(best - 1, 0)]
    status = np.full(len(best), "ok", object)
    status[around > _UNRESOLVED] = "unresolved"
    # A redshift beyond which nothing is allowed is an end too.
    after = pdf[rows, np.minimum(best + 1, n_z - 1)]
    status[(best == 0) | (best == n_z - 1) | (after == 0) & (around <= _UNRESOLVED)] = "at_edge"
    return status


def _vertex(z_grid: _Array, log_p: _Array, best: NDArray[np.intp]) -> _Array:
    """Redshift of the parabola through the best value and its neighbours."""
    rows, middle = np.arange(len(best)), np.clip(best, 1, len(z_grid) - 2)
    x = np.log1p(z_grid)
    before, here, after = (log_p[rows, middle + k] for k in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        move = 0.5 * (before - after) / (before - 2 * here + after)
    is_inside = (best == middle) & np.isfinite(move) & (np.abs(move) <= 1)
    step = x[1] - x[0]
    return np.where(is_inside, np.exp(x[middle] + np.where(is_inside, move, 0.0) * step) - 1.0, z_grid[best])


def _percentile(z_grid: _Array, pdf: _Array, cumulative: _Array, q: float) -> _Array:
    """Redshift below which that much of p(z) is, where p(z) is straight between the redshifts of the grid."""
    rows = np.arange(len(pdf))
    high = np.clip((cumulative < q).sum(axis=1), 1, len(z_grid) - 1)
    low, width = high - 1, z_grid[high] - z_grid[high - 1]
    rest, start = q - cumulative[rows, low], pdf[rows, low]
    slope = (pdf[rows, high] - start) / width
    root = start + np.sqrt(np.maximum(start**2 + 2 * slope * rest, 0.0))
    return np.asarray(z_grid[low] + np.clip(2 * rest / np.where(root > 0, root, 1.0), 0.0, width), np.float64)


def _join(parts: list[PhotozFit], setup: _Setup) -> PhotozFit:
    """Put blocks together."""

    def all_of(name: str) -> _Array:
        return np.concatenate([getattr(part, name) for part in parts])

    return PhotozFit(
        table=pl.concat([part.table for part in parts]),
        z_grid=setup.z_grid,
        chi2_grid=all_of("chi2_grid"),
        pdf=all_of("pdf"),
        coefficients=all_of("coefficients"),
        model=all_of("model"),
        flux=all_of("flux"),
        flux_err=all_of("flux_err"),
        level=all_of("level"),
        mw_ebv=all_of("mw_ebv"),
        bands=setup.bands,
        templates=setup.templates,
        template_error=setup.template_error,
        igm=setup.igm,
        params=setup.params,
    )
