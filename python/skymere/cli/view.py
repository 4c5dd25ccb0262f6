"""``skymere view``."""

import webbrowser
from typing import Annotated

import typer

from skymere.cli._print import console
from skymere.cli.lake import LakeArgument, ReleaseOption

__all__ = ["view"]


def view(
    lake: LakeArgument,
    release: ReleaseOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others can reach is served to those with the token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 = any that is free.")] = 8642,
    token: Annotated[
        str,
        typer.Option(
            envvar="SKYMERE_TOKEN",
            help="What a browser must know, 16 characters or more; made where --host is not this machine alone.",
        ),
    ] = "",
    author: Annotated[str, typer.Option(envvar="SKYMERE_AUTHOR", help="Who edits; the page asks when left out.")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Take no edits.")] = False,
    browse: Annotated[bool, typer.Option("--browse", help="Open the page in the browser.")] = False,
) -> None:
    """Look at a lake in the browser: mosaics, catalogue, sources, edits, and how far its runs are; until Ctrl-C.

    Needs the extra `skymere[viewer]`, and no network: every script comes from this command. Other users of this machine
    can reach the page, too; give a --token where there are some.

    Example: `skymere view survey/lake`

    Example: `skymere view survey/lake --host 0.0.0.0 --read-only`
    """
    from skymere.errors import NotFoundError
    from skymere.lake import Lake

    try:
        from skymere.viewer.web import ServerParams, serve
    except ImportError as error:
        msg = f"{error.name} is not installed; get it with: pip install 'skymere[viewer]'"
        raise NotFoundError(msg) from error

    def ready(address: str) -> None:
        console.print(f"{lake} is shown at {address}  (Ctrl-C ends it)", soft_wrap=True, markup=False)
        if browse:
            webbrowser.open(address)

    params = ServerParams(host=host, port=port, token=token, author=author, can_edit=not read_only)
    serve(Lake.open(lake, release), params, on_ready=ready)
