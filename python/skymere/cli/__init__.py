"""The command ``skymere``: it parses, calls and prints."""

import sys

import typer

import skymere.cli.upkeep  # noqa: F401  (its commands register themselves)
from skymere.cli.demo import demo
from skymere.cli.info import info
from skymere.cli.lake import lake_app
from skymere.cli.run import run
from skymere.errors import SkymereError

__all__ = ["app", "main"]

app = typer.Typer(
    name="skymere",
    help="Sky surveys from calibrated exposures to a lake that one Polars query can ask.\n\n"
    "Start with `skymere demo`: it simulates a small survey, runs everything on it and shows what came out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
app.command()(demo)
app.command()(run)
app.command()(info)
app.add_typer(lake_app, name="lake")


def main() -> None:
    """Run the command; an error of skymere is one line on standard error and exit code 1."""
    try:
        app()
    except SkymereError as error:
        sys.stderr.write(f"skymere: {type(error).__name__}: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("skymere: interrupted; the same command goes on from here\n")
        sys.exit(130)
