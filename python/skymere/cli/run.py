"""``skymere run``."""

from pathlib import Path
from typing import Annotated

import typer

from skymere.cli._print import StageProgress, print_run

__all__ = ["run"]


def run(
    plan: Annotated[Path, typer.Argument(help="TOML file that says what to run; `skymere demo` writes one.")],
) -> None:
    """Run a plan, from exposures to a release.

    The stages are ingest, align, background, outliers, mosaic, psf, detect, measure, profiles, models, photometry,
    cutouts, slits, redshifts and release.

    A plan needs no more than this; paths start at its folder:

        [survey]
        exposures = ["exposures/*_flt.fits"]
        lake = "lake"
        pictures = "pictures"

    More sections are `tile`, `align`, `background`, `outliers`, `mosaic`, `psf`, `detect`, `measure`, `profiles`,
    `photometry`, `cutouts`, `slits`, `redshifts` and `release`. An unknown key is an error that lists those that are
    allowed.

    Slits alone need `exposures = []`, `tile.kind = "healpix"` and `[slits] files = ["spectra/*_phot.*.fits"]`.

    What is done already is left alone, so a second run does nothing and a killed one goes on. Files that cannot be
    used are listed at the end with the reason; the others go on without them.
    """
    from skymere.pipeline import read_plan, run_plan

    with StageProgress() as progress:
        report = run_plan(read_plan(plan), observer=progress)
    print_run(report)
