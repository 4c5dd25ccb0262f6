"""Grism of the demo: galaxies with lines through a simulated G141, and their redshifts against the true ones."""

from pathlib import Path

import numpy as np
import polars as pl

from skymere.lake import Lake
from skymere.testing import (
    BANDS,
    GrismSceneParams,
    GrismSurveyParams,
    simulate_grism_survey,
    write_grism_templates,
)

__all__ = ["GRISM_PLAN", "score_grism_redshifts", "simulate_demo_grism"]

GRISM_PLAN = """\
[contam]
files = ["grism/exposures/*g_flt.fits"]
conf = "grism/CONF"

[redshifts.grism]
templates = "grism/templates/"
z_range = [0.5, 2.5]

[maps]
size = 4.0
"""
_BAND = "f160w"
_HALF_ARCSEC = (50.0, 50.0)
_Z_RANGE = (0.7, 2.2)
_EW_RANGE = (50.0, 400.0)
_SLOPES = (-1.0, 0.5)
_TRUTH = "grism.parquet"
# A redshift is right within so much of 1 + z, and lines above so many sigma are enough for one.
_RIGHT = 0.002
_SNR = 7.0


def simulate_demo_grism(
    folder: Path,
    truth: pl.DataFrame,
    *,
    ra: float,
    dec: float,
    seed: int,
    shape: tuple[int, int] = (240, 400),
    angles_deg: tuple[float, ...] = (90.0, 0.0),
) -> None:
    """Look through a grism at the middle of the demo, at two angles, and write exposures, configuration and templates.

    Galaxies with slits have the redshifts of those.

    Parameters
    ----------
    folder : Path
        That of the demo.
    truth : polars.DataFrame
        True sources.
    ra, dec : float
        Centre of the survey [deg].
    seed : int
        Of the random numbers.
    shape : tuple of int, optional
        Rows and columns of an exposure.
    angles_deg : tuple of float, optional
        Position angles of the exposures [deg].
    """
    x = (truth["ra"].to_numpy() - ra) * np.cos(np.radians(dec)) * 3600
    y = (truth["dec"].to_numpy() - dec) * 3600
    near = (np.abs(x) < _HALF_ARCSEC[0]) & (np.abs(y) < _HALF_ARCSEC[1])
    sources = _with_spectra(truth.filter(pl.Series(near)), pl.read_parquet(folder / "truth" / "slits.parquet"), seed)
    scene = GrismSceneParams(
        shape=shape, oversampling=5, orders=("A", "B"), segment_level=0.01, psf_fwhm_pix=1.3, exptime=6000.0
    )
    params = GrismSurveyParams(
        ra=ra, dec=dec, grisms=("g141",), n_dithers=1, angles_deg=angles_deg, wcs_error_arcsec=(0.0, 0.0), scene=scene
    )
    simulate_grism_survey(folder / "grism", params=params, seed=seed, sources=sources)
    write_grism_templates(folder / "grism" / "templates")
    sources.write_parquet(folder / "truth" / _TRUTH)


def _with_spectra(seen: pl.DataFrame, slits: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the sources as `simulate_grism_survey` takes them."""
    random = np.random.default_rng([seed, 141])
    n = seen.height
    drawn = seen.with_columns(
        id="truth_id",
        z=pl.Series(np.round(random.uniform(*_Z_RANGE, n), 4)),
        ew_ha=pl.Series(np.exp(random.uniform(np.log(_EW_RANGE[0]), np.log(_EW_RANGE[1]), n))),
        slope=pl.Series(random.uniform(*_SLOPES, n)),
        flux=10 ** (-0.4 * (pl.col(f"mag_{_BAND}") - BANDS[_BAND][0])),
    )
    known = slits.select(truth_id=pl.col("name").str.split("_").list.last().cast(pl.Int64), known="redshift")
    is_galaxy = pl.col("kind") == "galaxy"
    return drawn.join(known, on="truth_id", how="left", maintain_order="left").select(
        "id",
        "ra",
        "dec",
        "flux",
        "sersic_n",
        "pa_deg",
        "slope",
        radius_arcsec="r_half_arcsec",
        q="axis_ratio",
        z=pl.when(is_galaxy).then(pl.coalesce("known", "z")).otherwise(0.0),
        ew_ha=pl.when(is_galaxy).then("ew_ha").otherwise(0.0),
    )


def score_grism_redshifts(folder: Path, lake: Lake) -> pl.DataFrame:
    """Compare redshifts of emitters with the true ones.

    Parameters
    ----------
    folder : Path
        That of the demo.
    lake : Lake
        Its lake.

    Returns
    -------
    polars.DataFrame
        ``source_id``, ``line`` (the strongest one), ``snr`` of it, ``true``, ``redshift``, ``error`` (1 sigma),
        ``is_right``; of sources with a line above 7 sigma.
    """
    true = pl.read_parquet(folder / "truth" / _TRUTH).select("id", "ra", "dec", true="z")
    is_grism = pl.col("method") == "grism"
    lines = lake.table("line").filter(is_grism, pl.col("snr") > _SNR)
    strongest = lines.sort("snr", descending=True).unique("source_id", keep="first", maintain_order=True)
    found = lake.table("redshift").filter(is_grism).select("source_id", "redshift", error="redshift_err")
    matched = lake.crossmatch("source", true, radius_arcsec=0.3).select("source_id", "true")
    table = strongest.select("source_id", "line", "snr").join(found, on="source_id").join(matched, on="source_id")
    off = (pl.col("redshift") - pl.col("true")).abs() / (1 + pl.col("true"))
    return table.with_columns(is_right=off < _RIGHT).sort("snr", descending=True).collect()
