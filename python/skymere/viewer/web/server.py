"""The server of the pages: it listens on the loopback unless told otherwise, and then wants a token."""

import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from skymere.errors import InvalidInputError, StorageError
from skymere.lake import Lake
from skymere.viewer.web.access import is_loopback
from skymere.viewer.web.app import build_app

__all__ = ["ServerParams", "serve"]


@dataclass(frozen=True, kw_only=True)
class ServerParams:
    """Where pages are served, and to whom.

    Parameters
    ----------
    host : str, optional
        Address that is listened on; names of the loopback are for this machine alone.
    port : int, optional
        Port; 0 for any that is free.
    token : str, optional
        What a browser must know. Where the host is not the loopback one is made when none is given.
    author : str, optional
        Who edits, when the page does not say it.
    can_edit : bool, optional
        Whether edits are taken.

    Raises
    ------
    InvalidInputError
        When the port is not allowed.
    """

    host: str = "127.0.0.1"
    port: int = 8642
    token: str = ""
    author: str = ""
    can_edit: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            msg = f"port: {self.port} is not allowed, it must be from 0 to 65535"
            raise InvalidInputError(msg)


def serve(lake: Lake, params: ServerParams | None = None, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve the pages of a lake until Ctrl-C.

    Parameters
    ----------
    lake : Lake
        The lake.
    params : ServerParams, optional
        Where, and to whom.
    on_ready : callable, optional
        Called with the address, token included, when the server listens.

    Raises
    ------
    InvalidInputError
        When the token is too short.
    StorageError
        When the address cannot be listened on.
    """
    params = params or ServerParams()
    token = params.token or ("" if is_loopback(params.host) else secrets.token_urlsafe(24))
    app = build_app(lake, author=params.author, token=token, can_edit=params.can_edit)
    family = socket.AF_INET6 if ":" in params.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as door:
        if sys.platform != "win32":
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((params.host, params.port))
            door.listen(128)
        except OSError as error:
            msg = f"host, port: {params.host}:{params.port} cannot be listened on: {error}"
            raise StorageError(msg) from error
        name = f"[{params.host}]" if ":" in params.host else params.host
        address = f"http://{name}:{door.getsockname()[1]}/" + (f"?token={token}" if token else "")
        if on_ready is not None:
            on_ready(address)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
        uvicorn.Server(config).run(sockets=[door])
