"""``skymere slit redshift``: redshifts and lines of combined spectra."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.cli.slit import slit_app
from skymere.errors import NotFoundError, SkymereError

if TYPE_CHECKING:
    from skymere.spectra import IgmTransmission, RedshiftFit

__all__ = ["redshift"]

_SHOWN = ("line", "status", "wave", "flux", "flux_err", "ew", "ew_err", "snr", "blend")


@slit_app.command("redshift")
def redshift(
    files: Annotated[list[Path], typer.Argument(help="Combined spectra (`.spec.fits`).", metavar="FILES...")],
    z: Annotated[float | None, typer.Option("--z", help="The redshift, where it is known: lines alone.")] = None,
    z_min: Annotated[float, typer.Option(help="Least redshift.")] = 0.2,
    z_max: Annotated[float, typer.Option(help="Largest redshift.")] = 10.0,
    templates: Annotated[
        Path | None, typer.Option(help="Folder of templates; splines and lines when not given.")
    ] = None,
    pack: Annotated[str, typer.Option("--pack", help="Pack with the dispersion of gratings.")] = "nirspec",
    igm: Annotated[
        bool | None, typer.Option("--igm/--no-igm", help="Absorption between galaxies; where a pack has it.")
    ] = None,
    scale_disp: Annotated[float, typer.Option(help="Factor of the resolving power.")] = 1.3,
    vel_width: Annotated[float, typer.Option(help="Width of lines, 1 sigma in km/s.")] = 100.0,
    sys_err: Annotated[float, typer.Option(help="Error relative to the model.")] = 0.02,
    line_prior: Annotated[float, typer.Option(help="Typical flux of lines in erg/s/cm2 for p(z); 0: none.")] = 0.0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Parquet file of all lines.")] = None,
) -> None:
    """Fit redshift, continuum and lines.

    Says of each file the redshift with its error, all settings, systematic terms and the lines. A file that cannot be
    fitted is told and the others go on.

    Example: `skymere slit redshift spectra/*.spec.fits -o lines.parquet`
    """
    from skymere.io import find_pack, read_dispersion, read_spectrum
    from skymere.lake import write_whole
    from skymere.spectra import RedshiftParams, fit_lines, fit_redshift, grating_templates, prism_templates

    params = RedshiftParams(scale_disp=scale_disp, vel_width=vel_width, sys_err=sys_err, line_prior=line_prior)
    absorption = _absorption(igm)
    found = []
    for path in files:
        try:
            grating = read_spectrum(path).grating.lower()
            dispersion = read_dispersion(find_pack(pack).path(f"jwst_nirspec_{grating}_disp.fits"))
            spectrum = read_spectrum(path, resolution=dispersion)
            own = prism_templates() if grating == "prism" else grating_templates()
            made = own if templates is None else templates
            if z is None:
                fit = fit_redshift(spectrum, templates=made, z_range=(z_min, z_max), params=params, igm=absorption)
            else:
                fit = fit_lines(spectrum, z=z, templates=made, params=params, igm=absorption)
        except SkymereError as error:
            console.print(f"{path}: {type(error).__name__}: {error}", soft_wrap=True, markup=False)
            continue
        console.print(f"{path}: {fit.describe()}", soft_wrap=True, markup=False)
        lines = fit.lines.with_columns(pl.col("blend").list.join(" "))
        print_frame(lines.select(_SHOWN), "Lines")
        found.append(_rows(path, spectrum.source_id, grating, fit))
    if not found:
        raise typer.Exit(1)
    if output is not None:
        table = pl.concat(found, how="diagonal")
        with write_whole(output) as staged:
            table.write_parquet(staged)
        console.print(f"{output}: {table.height} rows", soft_wrap=True)


def _absorption(igm: bool | None) -> "IgmTransmission | None":
    """Return what a pack has, where it is wanted or not said."""
    from skymere.spectra import IgmTransmission

    if igm is False:
        return None
    try:
        return IgmTransmission.load()
    except NotFoundError:
        if igm:
            raise
        return None


def _rows(path: Path, source_id: str, grating: str, fit: "RedshiftFit") -> pl.DataFrame:
    """Return a row for each line, or one without a line, with what holds for the spectrum in front."""
    head = pl.DataFrame(
        {
            "file": [str(path)],
            "source_id": [source_id],
            "grating": [grating],
            "z": [fit.z],
            "z_err": [fit.z_err],
            "z_status": [fit.status],
            "chi2": [fit.chi2],
            "n_pixels": [fit.n_pixels],
            "n_parameters": [fit.n_parameters],
            "settings": [fit.describe()],
        }
    )
    return head if fit.lines.is_empty() else head.join(fit.lines, how="cross")
