"""Errors of skymere as one line on standard error."""

import sys
from typing import Any

from typer.core import TyperGroup

from skymere.errors import SkymereError

__all__ = ["Commands", "write_error"]


def write_error(error: SkymereError) -> None:
    """Write an error as one line."""
    text = " ".join(str(error).split("\n"))
    sys.stderr.write(f"skymere: {type(error).__name__}: {text}\n")


class Commands(TyperGroup):
    """The commands: an error of skymere is one line and exit code 1, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except SkymereError as error:
            write_error(error)
            ctx.exit(1)
        except KeyboardInterrupt:
            sys.stderr.write("skymere: interrupted; the same command goes on from here\n")
            ctx.exit(130)
