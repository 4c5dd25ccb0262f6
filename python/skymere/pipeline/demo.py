"""``skymere demo``: a small survey simulated on the spot, run from exposures to queries, and scored against truth."""

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import FLAG_BITS
from skymere.errors import ConflictError, StorageError
from skymere.lake import Lake
from skymere.pipeline.demo_grism import GRISM_PLAN, score_grism_redshifts, simulate_demo_grism
from skymere.pipeline.demo_slits import SLIT_PLAN, score_slit_redshifts, simulate_demo_slits
from skymere.pipeline.events import Event
from skymere.pipeline.exposures import load_flagged, usable_exposures
from skymere.pipeline.pictures import draw_pictures
from skymere.pipeline.plan import Plan, read_plan
from skymere.pipeline.products import falls_on, load_mosaics
from skymere.pipeline.runner import RunReport, run_plan
from skymere.testing import (
    LowResolutionParams,
    SurveyParams,
    low_resolution_fluxes,
    score_cosmic_rays,
    score_detections,
    score_sources,
    simulate_low_resolution,
    simulate_survey,
    true_aperture_fluxes,
)

__all__ = ["DemoReport", "Query", "run_demo"]

_PLAN = """\
# A small simulated survey. Run it again with: skymere run {name}/plan.toml

[survey]
exposures = ["exposures/*_flt.fits"]
lake = "lake"
pictures = "pictures"

[tile]
name = "field"
scale_arcsec = 0.08

[mosaic.drizzle]
kernel = "square"
pixfrac = 0.8

[psf]
source = "stars"

[profiles]
band = "f160w"

[photometry]
bands = ["f105w", "f125w"]

[[photometry.images]]
band = "irac1"
image = "images/irac1.fits"
psf = "images/irac1_psf.fits"
photometry.shift.method = "joint"
photometry.noise.n_positions = 20
photometry.has_shape_errors = true
photometry.unmodelled_sigma = 5.0

{slits}
{grism}
[release]
name = "DR1"
"""
_MARK = "skymere demo"


@dataclass(frozen=True, kw_only=True)
class Query:
    """A question to the lake.

    Parameters
    ----------
    question : str
        In words.
    code : str
        In Python.
    result : polars.DataFrame
        The answer.
    seconds : float
        How long it took [s].
    """

    question: str
    code: str
    result: pl.DataFrame
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """What the demo found.

    Parameters
    ----------
    folder : Path
        Where everything is.
    run : RunReport
        The stages.
    queries : list of Query
        Questions and answers.
    detections : polars.DataFrame
        How many detections are of no true source.
    sources : dict of str to polars.DataFrame
        Recovered against true total fluxes, for each band.
    apertures : polars.DataFrame
        The larger aperture's fluxes in the reddest band against the true light within it.
    fluxes : polars.DataFrame
        Forced fluxes of the image of low resolution against the true ones.
    cosmic_rays : polars.DataFrame
        Completeness and false alarms of each band.
    slit_redshifts, grism_redshifts : polars.DataFrame
        Redshifts of the slits, and of emitters behind the grism, against the true ones.
    """

    folder: Path
    run: RunReport
    queries: list[Query]
    detections: pl.DataFrame
    sources: dict[str, pl.DataFrame]
    apertures: pl.DataFrame
    fluxes: pl.DataFrame
    cosmic_rays: pl.DataFrame
    slit_redshifts: pl.DataFrame
    grism_redshifts: pl.DataFrame


def run_demo(
    folder: str | Path,
    *,
    params: SurveyParams | None = None,
    observer: Callable[[Event], None] | None = None,
) -> DemoReport:
    """Simulate a survey in a folder, run it and score it; what is there already from an earlier demo is kept.

    Parameters
    ----------
    folder : path-like
        New or empty folder, or that of an earlier demo.
    params : SurveyParams, optional
        The survey.
    observer : callable, optional
        Called with every event; the simulation is the stage ``simulate``.

    Raises
    ------
    ConflictError
        When the folder holds something else.
    StorageError
        When it cannot be written.
    SkymereError
        When the run cannot go on.
    """
    params = params or SurveyParams()
    folder = Path(folder).resolve()
    _prepare(folder)
    tell = observer or (lambda _: None)
    n_exposures = len(params.bands) * params.n_dithers
    tell(Event(name="stage_started", stage="simulate", total=n_exposures))
    start = time.monotonic()
    simulate_survey(folder, params=params)
    truth = pl.read_parquet(folder / "truth" / "sources.parquet")
    low = LowResolutionParams()
    simulate_low_resolution(truth, folder / "images", ra=params.ra, dec=params.dec, params=low, seed=params.seed)
    simulate_demo_slits(folder, truth, ra=params.ra, dec=params.dec, seed=params.seed)
    simulate_demo_grism(folder, truth, ra=params.ra, dec=params.dec, seed=params.seed)
    seconds = time.monotonic() - start
    tell(Event(name="stage_done", stage="simulate", done=n_exposures, total=n_exposures, seconds=seconds))
    plan = read_plan(folder / "plan.toml")
    # What a demonstration shows is all of it, or why not.
    whole = replace(plan, run=replace(plan.run, keep_going=False))
    report = run_plan(whole, observer=observer)
    lake = Lake.open(folder / "lake", release=plan.release.name)
    draw_pictures(plan, lake, redraw=True, truth=truth)
    sources = lake.table("source").collect()
    inside = _covered(lake, plan.tile.name, truth)
    return DemoReport(
        folder=folder,
        run=report,
        queries=_ask(lake, params),
        detections=pl.DataFrame([score_detections(truth, sources)]),
        sources={band: score_sources(inside, sources, band=band) for band in params.bands},
        apertures=_score_apertures(inside, sources, plan, params),
        fluxes=_score_fluxes(inside, sources, lake, low),
        cosmic_rays=_score_cosmic_rays(folder, lake, params.bands),
        slit_redshifts=score_slit_redshifts(folder, lake),
        grism_redshifts=score_grism_redshifts(folder, lake),
    )


def _prepare(folder: Path) -> None:
    plan = folder / "plan.toml"
    if folder.exists() and any(folder.iterdir()) and not plan.is_file():
        msg = f"{folder}: not empty and not an earlier {_MARK}; name a new folder"
        raise ConflictError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not plan.exists():
            plan.write_text(_PLAN.format(name=folder.name, slits=SLIT_PLAN, grism=GRISM_PLAN), encoding="utf-8")
    except OSError as error:
        msg = f"{folder}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error


def _covered(lake: Lake, tile: str, truth: pl.DataFrame) -> pl.DataFrame:
    """Return the true sources where every band has at least half of its largest weight."""
    deep = [weight >= 0.5 * weight.max() for weight in (m.weight for m in load_mosaics(lake, tile))]
    return truth.filter(falls_on(np.logical_and.reduce(deep), lake.tiles[tile].grid, truth))


def _ask(lake: Lake, params: SurveyParams) -> list[Query]:
    """Ask the questions of the README."""
    red, blue = params.bands[-1], params.bands[0]
    source = lake.table("source")
    colour = -2.5 * (pl.col(f"flux_auto_{blue}") / pl.col(f"flux_auto_{red}")).log10()
    asked: list[tuple[str, str, Callable[[], pl.LazyFrame]]] = [
        (
            "The five brightest sources",
            f'lake.table("source").sort("flux_auto_{red}", descending=True).head(5)',
            lambda: (
                source.sort(f"flux_auto_{red}", descending=True, nulls_last=True)
                .head(5)
                .select("source_id", "ra", "dec", f"flux_auto_{red}", f"flux_auto_err_{red}", "r_half")
            ),
        ),
        (
            "Sources within 15 arcsec of the centre, with the runs that made them",
            f'lake.cone("source", {params.ra}, {params.dec}, radius_arcsec=15).join(lake.table("run"), on="run_id")',
            lambda: (
                lake.cone("source", params.ra, params.dec, radius_arcsec=15.0)
                .join(lake.table("run").select("run_id", "stage", "code_version"), on="run_id")
                .select("source_id", f"flux_auto_{red}", "elongation", "stage", "code_version")
                .sort(f"flux_auto_{red}", descending=True)
                .head(5)
            ),
        ),
        (
            f"Red and well measured: {blue} - {red} > 1 mag at more than 10 sigma, with the size of their cutouts",
            f'source.filter(flux_auto_{red} / flux_auto_err_{red} > 10, colour > 1).join(lake.table("cutout"), ...)',
            lambda: (
                source.filter(pl.col(f"flux_auto_{blue}") > 0)
                .filter(pl.col(f"flux_auto_{red}") / pl.col(f"flux_auto_err_{red}") > 10, colour > 1.0)
                .with_columns(colour.alias("colour"))
                .join(lake.table("cutout").select("source_id", "size_class"), on="source_id")
                .select("source_id", "ra", "dec", "colour", "size_class")
                .sort("colour", descending=True)
                .head(5)
            ),
        ),
        (
            f"Compact in {red}, and what the blurred image of low resolution says of them",
            'profile.filter(sersic_index > 2.5, flux > 10 sigma).join(lake.table("flux"), on="source_id")',
            lambda: (
                lake.table("profile")
                .filter(pl.col("is_best"), pl.col("sersic_index") > 2.5, pl.col("flux") > 10 * pl.col("flux_err"))
                .select("source_id", "r_eff", "sersic_index")
                .join(lake.table("flux").filter(pl.col("band") == "irac1"), on="source_id")
                .select("source_id", "r_eff", "sersic_index", "flux", "flux_err", "err_sim", "n_sim")
                .sort("flux", descending=True, nulls_last=True)
                .head(5)
            ),
        ),
        (
            "Redshifts of slits and of the grism with [OIII] above 5 sigma, and the colour",
            'lake.table("redshift").join(lake.table("line"), on=["source_id", "method"]).join(source, on="source_id")',
            lambda: (
                lake.table("redshift")
                .filter(pl.col("status") == "ok")
                .select("source_id", "method", "redshift", "redshift_err")
                .join(lake.table("line").filter(line="OIII").drop("redshift"), on=["source_id", "method"])
                .filter(pl.col("snr") > 5)
                .join(source.with_columns(colour.alias("colour")), on="source_id")
                .select("source_id", "method", "redshift", "redshift_err", "colour", oiii="flux", oiii_snr="snr")
                .sort("redshift")
            ),
        ),
        (
            "Emission-line galaxies with a neighbour that the blurred image blends with them, and their slit spectrum",
            inspect.getsource(_blended_emitters),
            lambda: _blended_emitters(lake),
        ),
    ]
    queries = []
    for question, code, make in asked:
        start = time.perf_counter()
        result = make().collect()
        queries.append(Query(question=question, code=code, result=result, seconds=time.perf_counter() - start))
    return queries


def _blended_emitters(lake: Lake) -> pl.LazyFrame:
    """Return emission-line galaxies with a neighbour within 2.4 arcsec, and where their slit spectrum is."""
    columns = ("source_id", "tile", "x", "y", "flux", "flux_err")
    fluxes = lake.table("flux").filter(pl.col("band") == "irac1", pl.col("status") == "ok").select(columns)
    near = (pl.col("x") - pl.col("x_near")) ** 2 + (pl.col("y") - pl.col("y_near")) ** 2 < 4**2
    return (
        lake.table("line")
        .filter(pl.col("snr") > 7)
        .group_by("source_id")
        .agg(lines=pl.col("line").unique().sort())
        .with_columns(pl.col("lines").list.join(" "))
        .join(fluxes, on="source_id")
        .join(fluxes, on="tile", suffix="_near")
        .filter(near, pl.col("source_id") != pl.col("source_id_near"))
        .join(lake.table("slit_spectrum").filter(pl.col("status") == "ok"), on="source_id")
        .select(
            "source_id", "lines", "flux", "flux_err", "flux_near", "flux_err_near", "grating", "snr", "spectrum_row"
        )
        .sort("source_id", "flux_near")
    )


def _score_apertures(truth: pl.DataFrame, sources: pl.DataFrame, plan: Plan, params: SurveyParams) -> pl.DataFrame:
    """Compare the last aperture of the reddest band with the light that GalSim puts into it."""
    band, diameters = params.bands[-1], plan.measure.aperture_diameters_pix
    true = true_aperture_fluxes(
        truth,
        band,
        diameter_arcsec=diameters[-1] * plan.tile.scale_arcsec,
        pixfrac=plan.mosaic.drizzle.pixfrac,
        scale_arcsec=plan.tile.scale_arcsec,
        params=params.camera,
    )
    return score_sources(
        truth.with_columns(pl.Series(f"flux_aper_{band}", true)),
        sources,
        band=band,
        flux=f"flux_aper{len(diameters)}",
        true_flux="flux_aper",
    )


def _score_fluxes(truth: pl.DataFrame, sources: pl.DataFrame, lake: Lake, params: LowResolutionParams) -> pl.DataFrame:
    """Compare the forced fluxes of the image of low resolution with the true ones, of whole sources."""
    flux = lake.table("flux").filter(pl.col("band") == params.band, pl.col("status") == "ok")
    columns = {"flux": f"flux_model_{params.band}", "flux_err": f"flux_model_err_{params.band}"}
    measured = sources.join(flux.select("source_id", *columns).rename(columns).collect(), on="source_id")
    true = low_resolution_fluxes(truth, params)
    band = params.band
    known = truth.with_columns(pl.Series(f"flux_{band}", true), pl.Series(f"mag_{band}", 23.9 - 2.5 * np.log10(true)))
    return score_sources(known, measured, band=band, flux="flux_model", true_flux="flux")


def _score_cosmic_rays(folder: Path, lake: Lake, bands: tuple[str, ...]) -> pl.DataFrame:
    """Compare the cosmic-ray flags of the lake with the CRTRUE extensions of the files, on pixels without a DQ bit."""
    rows = []
    exposures = usable_exposures(lake).select("band", "exposure_id")
    for band in bands:
        flagged: dict[str, NDArray[np.bool_]] = {}
        true: dict[str, NDArray[np.bool_]] = {}
        usable: dict[str, NDArray[np.bool_]] = {}
        for name in exposures.filter(pl.col("band") == band)["exposure_id"]:
            exposure = load_flagged(lake, name)
            flags = np.zeros(exposure.shape, np.uint32) if exposure.flags is None else exposure.flags
            flagged[name] = flags & FLAG_BITS["cosmic_ray"] > 0
            usable[name] = (exposure.dq == 0) & (flags & FLAG_BITS["static"] == 0)
            true[name] = fits.getdata(folder / "exposures" / Path(exposure.path).name, "CRTRUE") > 0
        rows.append({"band": band, **score_cosmic_rays(flagged, true, usable)})
    return pl.DataFrame(rows)
