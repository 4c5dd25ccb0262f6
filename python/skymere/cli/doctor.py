"""``skymere doctor``."""

from typing import Annotated

import typer

from skymere.cli._print import console

__all__ = ["doctor"]

_MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}


def doctor(
    lake: Annotated[str | None, typer.Argument(help="Folder of a lake to look at as well.", metavar="LAKE")] = None,
    hashes: Annotated[bool, typer.Option("--hashes", help="Read every file of the lake and check its sum.")] = False,
) -> None:
    """Say what is broken in this installation, or in a lake, and how to mend it; exit code 1 when something is.

    It looks at Python, the compiled part, libraries and extras, threads and folders; in a lake at the store, schemas,
    tables, files, releases, and at what attempts left behind that ended half-way. It changes nothing.

    Example: `skymere doctor skymere-demo/lake`
    """
    from skymere.cli.installation import examine_installation
    from skymere.lake import examine

    found = examine_installation() + (examine(lake, hashes=hashes) if lake is not None else [])
    for one in found:
        _line(f"{_MARKS[one.state]:>6}  {one.what}: {one.message}")
        if one.mend and one.state != "ok":
            _line(f"        to mend: {one.mend}")
    n_broken = sum(one.state == "broken" for one in found)
    console.print(f"{n_broken} broken" if n_broken else "nothing is broken")
    raise typer.Exit(code=1 if n_broken else 0)


def _line(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)
