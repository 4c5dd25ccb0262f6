"""``skymere demo``."""

import time
from pathlib import Path
from typing import Annotated

import typer

from skymere.cli._print import console, print_frame, print_run
from skymere.cli._progress import StageProgress

__all__ = ["demo"]


def demo(
    folder: Annotated[Path, typer.Argument(help="New or empty folder, or that of an earlier demo.")] = Path(
        "skymere-demo"
    ),
) -> None:
    """Simulate a small survey and run everything on it: exposures, mosaics, catalogue, cutouts, spectra, lake.

    FOLDER then holds `plan.toml`, `exposures/`, `slits/`, `grism/`, `truth/`, `lake/` and `pictures/`. The command
    prints Polars queries with their answers, how well the true sources, redshifts and cosmic rays were recovered, and
    where the pictures are.
    Run it again and it does only what is missing; `skymere run FOLDER/plan.toml` does the same without the simulation.

    It needs the extra `skymere[demo]` (GalSim), two cores and little more than two minutes.
    """
    from skymere.errors import NotFoundError
    from skymere.pipeline import run_demo

    try:
        import galsim  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        msg = f"{error.name} is not installed; get it with: pip install 'skymere[demo]'"
        raise NotFoundError(msg) from error
    start = time.monotonic()
    with StageProgress() as progress:
        report = run_demo(folder, observer=progress)
    print_run(report.run)
    for query in report.queries:
        print_frame(query.result, f"{query.question}  ({1e3 * query.seconds:.0f} ms)\n  {query.code}")
    print_frame(report.detections, "Detections without a true source within 0.6 arcsec")
    for band, table in report.sources.items():
        print_frame(table, f"Recovered against true, {band} (AUTO fluxes, bins of true magnitude)")
    print_frame(report.apertures, "The same for the larger aperture in the reddest band, against the light within it")
    print_frame(report.fluxes, "Forced fluxes of the image of low resolution, with the profiles' shapes")
    print_frame(report.cosmic_rays, "Cosmic-ray pixels found")
    print_frame(report.slit_redshifts, "Redshifts of the simulated slits against the true ones")
    print_frame(report.grism_redshifts, "Redshifts of emitters behind the simulated grism against the true ones")
    console.print(f"Everything is in {report.folder} ({time.monotonic() - start:.0f} s)", soft_wrap=True)
