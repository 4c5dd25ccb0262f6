"""The command ``skymere``: it parses, calls and prints."""

import typer

import skymere.cli.asking
import skymere.cli.catalogue
import skymere.cli.exchange
import skymere.cli.grism_fit
import skymere.cli.slit_redshift
import skymere.cli.upkeep  # noqa: F401  (the commands of these six register themselves)
from skymere.cli._errors import Commands
from skymere.cli.data import data_app
from skymere.cli.demo import demo
from skymere.cli.detect import detect
from skymere.cli.doctor import doctor
from skymere.cli.edit import edit_app
from skymere.cli.exporting import export_products
from skymere.cli.exposures import exposures
from skymere.cli.grism import grism_app
from skymere.cli.imaging import align, blot, crmask, drizzle
from skymere.cli.importing import import_products
from skymere.cli.info import info
from skymere.cli.inject import inject
from skymere.cli.lake import lake_app
from skymere.cli.photometry import photometry
from skymere.cli.plan import plan_app
from skymere.cli.plot import plot_app
from skymere.cli.profiles import profiles
from skymere.cli.refit import refit
from skymere.cli.report import report_app
from skymere.cli.run import run
from skymere.cli.slit import slit_app
from skymere.cli.status import status
from skymere.cli.thumbnails import thumbnails
from skymere.cli.view import view

__all__ = ["app", "main"]

app = typer.Typer(
    name="skymere",
    cls=Commands,
    help="Sky surveys from calibrated exposures to a lake that one Polars query can ask.\n\n"
    "Start with `skymere demo`: it simulates a small survey, runs everything on it and shows what came out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
app.command()(demo)
app.command()(run)
app.command()(status)
app.command()(inject)
app.command()(view)
for command in (align, crmask, drizzle, blot, thumbnails, detect, profiles, refit, photometry):
    app.command()(command)
app.command("import")(import_products)
app.command("export")(export_products)
app.command()(exposures)
app.command()(info)
app.command()(doctor)
app.add_typer(plan_app, name="plan")
app.add_typer(lake_app, name="lake")
app.add_typer(edit_app, name="edit")
app.add_typer(data_app, name="data")
app.add_typer(plot_app, name="plot")
app.add_typer(report_app, name="report")
app.add_typer(slit_app, name="slit")
app.add_typer(grism_app, name="grism")


def main() -> None:
    """Run the command; an error of skymere is one line on standard error and exit code 1."""
    app()
