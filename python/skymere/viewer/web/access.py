"""Who may ask: those with a token where the server can be reached from elsewhere, this machine where it cannot.

A page of somebody else that is open in the same browser can send requests to this machine, and a name that it controls
can point here (DNS rebinding). Without a token only requests to names of the loopback are therefore answered, and what
changes anything must come from a page of this server.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from skymere.errors import InvalidInputError

__all__ = ["HEADERS", "Access", "is_loopback"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_COOKIE = "skymere_token"
_LEAST_TOKEN = 16
MOST_BYTES = 1 << 20
_SAFE = ("GET", "HEAD")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether a host can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Access:
    """Answers only those who may ask, and adds the headers of every answer.

    Parameters
    ----------
    app : ASGI application
        What answers them.
    token : str
        What they must know; empty for those who reach the loopback.

    Raises
    ------
    InvalidInputError
        When the token is shorter than 16 characters.
    """

    def __init__(self, app: App, *, token: str = "") -> None:
        if token and (len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
            msg = f"token: {len(token)} characters are not allowed, it must be 16 or more letters and digits"
            raise InvalidInputError(msg)
        self._app = app
        self._token = token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        with_headers = _with_headers(send)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, with_headers)
        else:
            status, text, more = refusal
            # A connection that is closed before all of a request is read is reset, and the answer is lost with it.
            await _read_away(receive)
            content = [(b"content-type", b"text/plain; charset=utf-8"), *more]
            await with_headers({"type": "http.response.start", "status": status, "headers": content})
            await with_headers({"type": "http.response.body", "body": text.encode()})

    def _refusal(self, scope: Message, headers: dict[str, str]) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        """Return status, text and headers of a refusal, None for who may ask."""
        if self._token:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            given = dict(query).get("token")
            if given is not None and scope["method"] in _SAFE and self._is_token(given):
                # The token leaves the address, so that it is not copied with it.
                rest = urlencode([(name, value) for name, value in query if name != "token"])
                place = scope["path"] + (f"?{rest}" if rest else "")
                cookie = f"{_COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                return 303, "", [(b"location", place.encode()), (b"set-cookie", cookie.encode())]
            if not self._knows_token(headers):
                return 401, "This lake is shown to those who know its token: add ?token=... to the address.\n", []
        elif not is_loopback(_host(headers.get("host", ""))):
            return 403, "Without a token only names of this machine itself are answered, such as localhost.\n", []
        if scope["method"] not in _SAFE:
            return self._refusal_of_change(headers)
        return None

    def _refusal_of_change(self, headers: dict[str, str]) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        origin = headers.get("origin")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.rpartition("//")[2] != headers.get("host")
        ):
            return 403, "Changes are taken from pages of this server only.\n", []
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return 415, "Changes are JSON.\n", []
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return 413, f"Changes say how long they are, at most {MOST_BYTES} bytes.\n", []
        return None

    def _knows_token(self, headers: dict[str, str]) -> bool:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        kept = cookies[_COOKIE].value if _COOKIE in cookies else ""
        return self._is_token(bearer) or self._is_token(kept)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


async def _read_away(receive: Receive) -> None:
    n_bytes = 0
    while n_bytes <= MOST_BYTES:
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def _with_headers(send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in known]
            message["headers"] = [*message.get("headers", []), *more]
        await send(message)

    return add


def _host(header: str) -> str:
    """Return the name of a host without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]
