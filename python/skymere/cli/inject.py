"""``skymere inject``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.progress import Progress

from skymere.cli._print import console, print_frame
from skymere.errors import ConflictError, InvalidInputError

__all__ = ["inject"]


def inject(
    place: Annotated[Path, typer.Argument(help="Plan that was run, or the folder of a lake.", metavar="PLAN|LAKE")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for tables and figures.")],
    through: Annotated[str, typer.Option(help="Last stage: detect, profiles, photometry, beams or slits.")] = "detect",
    n: Annotated[int, typer.Option("-n", help="Number of fake sources.")] = 200,
    n_per_tile: Annotated[int, typer.Option(help="Most of them in one copy of a tile; 0 = as there is room.")] = 0,
    spacing: Annotated[float, typer.Option(help="Step of their places [arcsec].")] = 5.0,
    mag: Annotated[tuple[float, float], typer.Option(help="Limits of the magnitudes [AB].")] = (20.0, 27.0),
    size: Annotated[tuple[float, float], typer.Option(help="Limits of the half-light radii [arcsec].")] = (0.05, 0.8),
    index: Annotated[tuple[float, float], typer.Option(help="Limits of the Sersic indices.")] = (0.5, 4.0),
    band: Annotated[str, typer.Option(help="Band of the magnitudes; that of the profiles by default.")] = "",
    colours: Annotated[
        list[str] | None, typer.Option(help="Magnitude in a band minus that in --band; repeated.", metavar="BAND=MAG")
    ] = None,
    bands: Annotated[list[str] | None, typer.Option(help="Only fluxes in this band; repeated.")] = None,
    tiles: Annotated[list[str] | None, typer.Option(help="Only this tile; repeated.")] = None,
    redshift: Annotated[tuple[float, float], typer.Option(help="Limits of the redshifts of spectra.")] = (0.7, 2.2),
    line_flux: Annotated[tuple[float, float], typer.Option(help="Limits of the flux of H alpha [1e-17 erg/s/cm2].")] = (
        1.0,
        30.0,
    ),
    mag_bins: Annotated[int, typer.Option(help="Bins of magnitude, or of line flux.")] = 7,
    size_bins: Annotated[int, typer.Option(help="Bins of size.")] = 2,
    seed: Annotated[int, typer.Option(help="Another one draws other sources.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes; the tables are the same for any number.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over tables of before.")] = False,
) -> None:
    """Put fake sources through the pipeline: what is found, and how right fluxes, shapes, redshifts and errors are.

    The lake is never changed: the sources go into copies of it, behind its own PSF and with their own noise, and the
    stages run there with the parameters of the plan.

    Writes injected.parquet (a row for each fake source: truth, status, what was measured), summary.parquet
    (completeness, bias and pulls by magnitude and size), spurious.parquet (sources in the negative image), and a figure
    for each quantity.

    Example: `skymere inject plan.toml --through photometry -n 500 --mag 21 27 -o injected`
    """
    from skymere.pipeline import InjectParams
    from skymere.pipeline import inject as run_injection
    from skymere.pipeline.injection import STRETCHES, plan_of

    if through not in STRETCHES:
        msg = f"--through: {through!r} is not allowed, it must be one of {', '.join(STRETCHES)}"
        raise InvalidInputError(msg)
    if (output / "summary.parquet").exists() and not overwrite:
        msg = f"{output / 'summary.parquet'} exists already; use --overwrite"
        raise ConflictError(msg)
    params = InjectParams(
        through=through,
        n=n,
        n_per_tile=n_per_tile,
        spacing_arcsec=spacing,
        mag=mag,
        size_arcsec=size,
        sersic_index=index,
        band=band,
        colours=_colours(colours or ()),
        bands=tuple(bands or ()),
        tiles=tuple(tiles or ()),
        redshift=redshift,
        line_flux=line_flux,
        n_mag_bins=mag_bins,
        n_size_bins=size_bins,
        seed=seed,
        n_workers=workers,
    )
    with Progress(console=console) as progress:
        task = progress.add_task("inject", total=None)
        result = run_injection(
            plan_of(place), params, observer=lambda done, total: progress.update(task, completed=done, total=total)
        )
    for warning in result.warnings:
        console.print(warning, soft_wrap=True, markup=False)
    _print(result.summary)
    if result.spurious.width:
        console.print(f"sources in the negative images: {result.spurious.height}")
    for path in result.write(output):
        console.print(f"  {path}", soft_wrap=True)


def _colours(texts: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        band, _, value = text.partition("=")
        try:
            found[band] = float(value)
        except ValueError as error:
            msg = f"--colours: {text!r} is not allowed, it must be BAND=MAG"
            raise InvalidInputError(msg) from error
    return found


def _print(summary: pl.DataFrame) -> None:
    """Print completeness and the pulls of sources that stand alone, all sizes together."""
    low, high = summary.columns[2:4]
    rows = summary.filter(pl.col("population") == "alone")
    if "true_r_eff_low" in rows.columns:
        rows = rows.filter(pl.col("true_r_eff_low").is_null())
    found = rows.filter(pl.col("quantity") == "completeness", pl.col("n") > 0)
    print_frame(
        found.select(low, high, "n", "n_found", "completeness", "completeness_low", "completeness_high"), "Completeness"
    )
    pulls = rows.filter(pl.col("n_used") > 1)
    columns = ["bias", "bias_err", "pull_median", "pull_sigma", "pull_sigma_err", "n_outlier"]
    print_frame(pulls.select("quantity", low, high, "n_used", *columns), "Bias and pulls")
