"""Injection and recovery: fake sources through a stretch of the pipeline, and what comes out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._workers import work_in_order
from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake
from skymere.pipeline.injection.beams import BeamWork, beam_quantities, inject_beam
from skymere.pipeline.injection.fakes import Copy, draw_fakes, usable_place
from skymere.pipeline.injection.imaging import ImagingWork, inject_copy, reference_band, spurious_of_tile
from skymere.pipeline.injection.params import InjectParams
from skymere.pipeline.injection.result import InjectionResult
from skymere.pipeline.injection.slits import SlitWork, inject_slit, slit_quantities, too_large
from skymere.pipeline.injection.summary import binned_edges, imaging_quantities, summarise
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import mosaic_rows, tiles_with_mosaics

__all__ = ["inject"]

Bins = tuple[str, NDArray[np.float64]]
"""A column of truths, and the edges of its bins."""


def inject(
    plan: Plan,
    params: InjectParams | None = None,
    *,
    folder: str | Path | None = None,
    observer: Callable[[int, int], None] | None = None,
) -> InjectionResult:
    """Put fake sources through a stretch of the pipeline and compare what comes out with what went in.

    Parameters
    ----------
    plan : Plan
        Whose lake is taken, and whose parameters the stages have; see `plan_of_lake` for a lake alone. The lake must
        have been run through the stretch.
    params : InjectParams, optional
        What is injected.
    folder : path-like, optional
        Where copies of the lake are made and removed again, best on the same disk as the lake; beside the lake when
        not given.
    observer : callable, optional
        Called with the number of copies done and of all.

    Returns
    -------
    InjectionResult
        The same for any number of workers.

    Raises
    ------
    NotFoundError
        When there is no lake, or no such tile.
    InvalidInputError
        When a band is unknown, or the plan does not ask for the stretch.
    NoDataError
        When there is no place for a source, or no spectrum to inject into.

    Notes
    -----
    The lake is never changed: copies of it get mosaics with the sources, behind the lake's own PSF and with their own
    noise, and the stages of the plan run in them as they do in the lake. What the PSF of the lake says wrongly is not
    seen.

    References
    ----------
    Suchyta et al. 2016, MNRAS 457, 786. Leauthaud et al. 2007, ApJS 172, 219, for spurious sources in the negative.
    """
    params = params or InjectParams()
    path = plan.path(plan.survey.lake)
    if not (path / "lake.json").is_file():
        msg = f"{path}: no lake; run the plan first"
        raise NotFoundError(msg)
    lake = Lake.open(path)
    tell = observer or (lambda *_: None)
    if params.through == "beams":
        return _inject_beams(BeamWork.of(plan, lake, params), tell)
    if params.through == "slits":
        return _inject_slits(SlitWork.of(plan, lake, params), tell)
    with TemporaryDirectory(dir=path.parent if folder is None else folder, prefix=".inject-") as scratch:
        return _inject_images(ImagingWork(plan=plan, lake=path, params=params, folder=Path(scratch)), lake, tell)


def _inject_beams(work: BeamWork, observer: Callable[[int, int], None]) -> InjectionResult:
    injected = _one_by_one(inject_beam, work, work.params, observer)
    summary = summarise(injected, list(beam_quantities()), first=_line_flux_bins(work.params))
    return InjectionResult(params=work.params, injected=injected, summary=summary)


def _inject_slits(work: SlitWork, observer: Callable[[int, int], None]) -> InjectionResult:
    params = work.params
    injected = _one_by_one(inject_slit, work, params, observer)
    # Lines that the gratings of these slits have.
    quantities = [one for one in slit_quantities() if injected[one.measured].is_not_null().any()]
    mag, size = _mag_bins(params), _size_bins(params)
    large = too_large(params)
    return InjectionResult(
        params=params,
        injected=injected,
        summary=summarise(injected, quantities, first=mag, second=size),
        by_line_flux=summarise(injected, quantities, first=_line_flux_bins(params)),
        warnings=(large,) if large else (),
    )


def _one_by_one(
    do: Callable[[Any, Any], pl.DataFrame],
    work: BeamWork | SlitWork,
    params: InjectParams,
    observer: Callable[[int, int], None],
) -> pl.DataFrame:
    """Return the rows of fake spectra."""
    tables = []
    for done, found in enumerate(_done(do, work, range(1, params.n + 1), params.n_workers), start=1):
        tables.append(found)
        observer(done, params.n)
    return pl.concat(tables, how="diagonal_relaxed").sort("object")


def _line_flux_bins(params: InjectParams) -> Bins:
    return "true_line_flux", binned_edges(params.line_flux, params.n_mag_bins, is_log=True)


def _mag_bins(params: InjectParams) -> Bins:
    return "true_mag", binned_edges(params.mag, params.n_mag_bins)


def _size_bins(params: InjectParams) -> Bins:
    return "true_r_eff", binned_edges(params.size_arcsec, params.n_size_bins, is_log=True)


def _inject_images(work: ImagingWork, lake: Lake, observer: Callable[[int, int], None]) -> InjectionResult:
    plan, params = work.plan, work.params
    if params.through != "detect" and not plan.profiles.band:
        msg = f"through: {params.through!r} is not allowed, the plan has no profiles.band"
        raise InvalidInputError(msg)
    images = plan.band_images() if params.through == "photometry" else ()
    if params.through == "photometry" and not images:
        msg = "through: 'photometry' is not allowed, the plan has no band in the section photometry"
        raise InvalidInputError(msg)
    tiles = _tiles(lake, params)
    bands = sorted({band for tile in tiles for band in mosaic_rows(lake, tile)["band"]})
    every = list(dict.fromkeys([*bands, *(one.band for one in images)]))
    band = reference_band(plan, params, bands)
    unknown = sorted({*params.bands, *params.colours} - set(every))
    if unknown:
        msg = f"bands: {unknown} are unknown, they must be some of {every}"
        raise InvalidInputError(msg)
    places = {tile: usable_place(lake, tile, mosaic_rows(lake, tile)["band"].to_list()) for tile in tiles}
    copies = list(draw_fakes(lake, places, params, bands=every, band=band))
    total = len(copies) + len(tiles)
    tables: list[pl.DataFrame] = []
    negatives: list[pl.DataFrame] = []
    for done, found in enumerate(_done(_one, work, [*copies, *tiles], params.n_workers), start=1):
        (tables if done <= len(copies) else negatives).append(found)
        observer(done, total)
    injected = pl.concat(tables, how="diagonal_relaxed").sort("tile", "object")
    shown = [b for b in bands if not params.bands or b in params.bands]
    quantities = imaging_quantities(
        params.through,
        shown,
        [one.band for one in images if not params.bands or one.band in params.bands],
        n_apertures=len(plan.measure.aperture_diameters_pix),
        profile_band=plan.profiles.band,
    )
    summary = summarise(
        injected,
        quantities,
        first=_mag_bins(params),
        second=_size_bins(params),
    )
    spurious = pl.concat(negatives, how="diagonal_relaxed")
    return InjectionResult(params=params, injected=injected, summary=summary, spurious=spurious)


def _tiles(lake: Lake, params: InjectParams) -> list[str]:
    have = tiles_with_mosaics(lake)
    unknown = sorted(set(params.tiles) - set(have))
    if unknown or not have:
        msg = f"tiles: {unknown or list(params.tiles)} have no mosaic in the lake, they must be some of {have}"
        raise NotFoundError(msg)
    return list(params.tiles) or have


def _done(
    do: Callable[[Any, Any], pl.DataFrame],
    work: ImagingWork | BeamWork | SlitWork,
    items: Sequence[Any],
    n_workers: int,
) -> Iterator[pl.DataFrame]:
    if min(n_workers, len(items)) < 2:
        return (do(work, item) for item in items)
    return work_in_order(do, items, shared=work, n_workers=n_workers, most=2 * n_workers)


def _one(work: ImagingWork, item: Copy | str) -> pl.DataFrame:
    return spurious_of_tile(work, item) if isinstance(item, str) else inject_copy(work, item)
