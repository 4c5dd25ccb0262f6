"""The slits of the demo: some of its galaxies behind simulated shutters, and their redshifts against the true ones."""

from pathlib import Path

import numpy as np
import polars as pl

from skymere.lake import Lake
from skymere.testing import simulate_slit_files, write_slit_pack

__all__ = ["SLIT_PLAN", "score_slit_redshifts", "simulate_demo_slits"]

SLIT_PLAN = """\
[slits]
files = ["slits"]
pack = "packs/nirspec-simulated"

[redshifts]
pack = "packs/nirspec-simulated"
z_range = [0.5, 7.0]
n_workers = 2
"""
_RADIUS_ARCSEC = 45.0
_LEAST_SEPARATION_ARCSEC = 2.0
_MAG = (21.5, 24.0)
_TRUTH = "slits.parquet"
# A redshift is right within so much of 1 + z: a tenth of a pixel at 3 um.
_RIGHT = 0.002


def simulate_demo_slits(
    folder: Path, truth: pl.DataFrame, *, ra: float, dec: float, seed: int, n_sources: int = 6
) -> None:
    """Put slits on some galaxies of the demo, and write their exposures and reference files.

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
    n_sources : int, optional
        Slits at most.
    """
    write_slit_pack(folder / "packs")
    x = (truth["ra"].to_numpy() - ra) * np.cos(np.radians(dec)) * 3600
    y = (truth["dec"].to_numpy() - dec) * 3600
    apart = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(apart, np.inf)
    bright = truth["mag_f160w"].to_numpy() < _MAG[1] + 1
    alone = np.min(np.where(bright, apart, np.inf), axis=1) > _LEAST_SEPARATION_ARCSEC
    near = np.hypot(x, y) < _RADIUS_ARCSEC
    chosen = truth.filter(
        pl.Series(near & alone), pl.col("kind") == "galaxy", pl.col("mag_f160w").is_between(*_MAG)
    ).head(n_sources)
    random = np.random.default_rng(seed)
    sources = chosen.select(
        pl.format("9998_{}", "truth_id").alias("name"),
        "ra",
        "dec",
        pl.Series("redshift", np.round(random.uniform(1.0, 6.5, chosen.height), 4)),
        # The slit sees the middle of a galaxy.
        (0.2 * pl.col("flux_f160w")).alias("continuum"),
    ).with_columns(line_flux=8 * pl.col("continuum"))
    sources.write_parquet(folder / "truth" / _TRUTH)
    simulate_slit_files(sources, folder / "slits", seed=seed)


def score_slit_redshifts(folder: Path, lake: Lake) -> pl.DataFrame:
    """Compare redshifts of the lake with the true ones.

    Parameters
    ----------
    folder : Path
        That of the demo.
    lake : Lake
        Its lake.

    Returns
    -------
    polars.DataFrame
        ``source_id``, ``name``, ``true``, ``redshift``, ``error`` (1 sigma), ``snr`` of a point of the spectrum,
        ``is_right``.
    """
    true = pl.read_parquet(folder / "truth" / _TRUTH).select("name", true="redshift")
    named = lake.table("slitlet").select("source_id", name="source_name").unique()
    found = named.join(
        lake.table("redshift").filter(pl.col("method") == "slit").select("source_id", "redshift", error="redshift_err"),
        on="source_id",
    )
    spectra = lake.table("slit_spectrum").select("source_id", "snr")
    table = true.join(found.join(spectra, on="source_id").collect(), on="name", how="left")
    off = (pl.col("redshift") - pl.col("true")).abs() / (1 + pl.col("true"))
    return table.with_columns(is_right=off < _RIGHT).sort("name")
