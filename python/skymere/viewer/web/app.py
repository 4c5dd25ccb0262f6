"""The web application over a lake: which address answers what."""

import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skymere.errors import ConflictError, InvalidInputError, NotFoundError, SkymereError
from skymere.lake import Lake
from skymere.viewer.web.access import MOST_BYTES, Access
from skymere.viewer.web.answers import to_json
from skymere.viewer.web.catalogue import Catalogue, Question
from skymere.viewer.web.edits import CHANGES, Editor
from skymere.viewer.web.overlays import OVERLAYS, Overlays, View
from skymere.viewer.web.progress import progress_of
from skymere.viewer.web.reading import LakeReader
from skymere.viewer.web.scaling import Scaling, colour_picture, grey_picture
from skymere.viewer.web.source_page import SourcePage
from skymere.viewer.web.stamps import Stamp, Stamps

__all__ = ["build_app"]

_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
_FRESH = {"cache-control": "no-store"}
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_MOST_SQL_ROWS = 500
_LARGEST_PIXEL = 2**31
Answer = Callable[[Request], Response]


def build_app(lake: Lake, *, author: str = "", token: str = "", can_edit: bool = True) -> Access:
    """Return the application, for any ASGI server.

    Parameters
    ----------
    lake : Lake
        The lake, newest state or a release.
    author : str, optional
        Who edits, when the page does not say it.
    token : str, optional
        What a browser must know; see `skymere.viewer.web.access.Access`.
    can_edit : bool, optional
        Whether edits are taken; never those of a release.

    Raises
    ------
    InvalidInputError
        When the token is too short.
    """
    pages = _Pages(lake, author=author, can_edit=can_edit and lake.pinned is None)
    routes = [
        *(
            Route(path, _guarded(pages.page))
            for path in ("/", "/image", "/table", "/runs", "/edits", "/source/{id:int}")
        ),
        Route("/static/{name}", _guarded(pages.script)),
        Route("/favicon.ico", _guarded(pages.icon)),
        Route("/api/lake", _guarded(pages.lake)),
        Route("/api/tables", _guarded(pages.tables)),
        Route("/api/image/{tile}", _guarded(pages.image)),
        Route("/api/limits/{tile}/{run}/{band}", _guarded(pages.limits)),
        Route("/api/overlay/{kind}/{tile}/{run}/{band}", _guarded(pages.overlay)),
        Route("/api/at/{tile}/{run}/{band}", _guarded(pages.at)),
        Route("/api/columns/{table}", _guarded(pages.columns)),
        Route("/api/rows/{table}", _guarded(pages.rows)),
        Route("/api/place/{table}", _guarded(pages.place)),
        Route("/api/plot/{table}", _guarded(pages.plot)),
        Route("/api/sql", _guarded(pages.sql)),
        Route("/api/find", _guarded(pages.find)),
        Route("/api/source/{id:int}", _guarded(pages.source)),
        Route("/api/provenance/{id:int}", _guarded(pages.provenance)),
        Route("/api/progress", _guarded(pages.progress)),
        Route("/api/edits", _guarded(pages.edits)),
        Route("/api/change/{what:path}", _changing(pages.change), methods=["POST"]),
        Route("/tile/{tile}/{run}/{level:int}/{x:int}/{y:int}.png", _guarded(pages.tile)),
        Route("/segments/{tile}/{run}/{level:int}/{x:int}/{y:int}.png", _guarded(pages.segments)),
        Route("/stamp/{product}/{tile}/{run}.png", _guarded(pages.stamp)),
    ]
    return Access(Starlette(routes=routes), token=token)


class _Pages:
    """What each address answers; all of it runs in threads."""

    def __init__(self, lake: Lake, *, author: str, can_edit: bool) -> None:
        self._lake = lake
        self._reader = LakeReader(lake)
        self._catalogue = Catalogue(self._reader)
        self._overlays = Overlays(self._reader, self._catalogue)
        self._stamps = Stamps(self._reader)
        self._sources = SourcePage(self._reader, self._stamps)
        self._editor = Editor(self._reader, author=author)
        self._can_edit = can_edit

    def page(self, request: Request) -> Response:  # noqa: ARG002
        return _file("index.html")

    def script(self, request: Request) -> Response:
        return _file(request.path_params["name"])

    def icon(self, request: Request) -> Response:  # noqa: ARG002
        return _file("icon.svg")

    def lake(self, request: Request) -> Response:  # noqa: ARG002
        images = self._reader.images()
        told = {
            "name": str(self._lake.path),
            "release": self._lake.pinned or "",
            "can_edit": self._can_edit,
            "author": self._editor.author,
            "images": images,
        }
        return _json(told)

    def tables(self, request: Request) -> Response:  # noqa: ARG002
        return _json(self._catalogue.tables())

    def image(self, request: Request) -> Response:
        told = self._reader.described(request.path_params["tile"])
        segmentation = self._overlays.segmentation(told["tile"], (told["ny"], told["nx"]))
        return _json({**told, "segmentation": segmentation})

    def limits(self, request: Request) -> Response:
        path = request.path_params
        return _json(self._reader.limits(path["tile"], path["run"], path["band"]), _FOREVER)

    def tile(self, request: Request) -> Response:
        path, query = request.path_params, request.query_params
        bands = _words(query, "band")
        scalings = [
            _scaling(query, low, high)
            for low, high in zip(_numbers(query, "low"), _numbers(query, "high"), strict=False)
        ]
        if len(bands) not in (1, 3) or len(scalings) != len(bands):
            msg = f"band, low, high: {bands} with {len(scalings)} pairs of limits is not allowed, one or three are"
            raise InvalidInputError(msg)
        images = [self._reader.image(path["tile"], path["run"], band) for band in bands]
        values = [image.tile(path["level"], path["x"], path["y"]) for image in images]
        if len(values) == 1:
            return _picture(grey_picture(values[0], scalings[0], colour_map=query.get("map", "grey")))
        return _picture(colour_picture(values, scalings))

    def segments(self, request: Request) -> Response:
        path = request.path_params
        return _picture(self._overlays.segments(path["tile"], path["run"], path["level"], path["x"], path["y"]))

    def stamp(self, request: Request) -> Response:
        path, query = request.path_params, request.query_params
        window = _pixels(query["window"]) if "window" in query else []
        if "window" in query and len(window) != 4:
            msg = f"window: {query['window']!r} is not allowed, it must be y0,x0,ny,nx, whole numbers of pixels"
            raise InvalidInputError(msg)
        less = _words(query, "less")
        if less and len(less) != 3:
            msg = f"less: {query['less']!r} is not allowed, it must be product,run,path"
            raise InvalidInputError(msg)
        stamp = Stamp(
            product=path["product"],
            tile=path["tile"],
            run=path["run"],
            paths=tuple(_words(query, "path")),
            row=_whole(query, "row") if "row" in query else None,
            window=(window[0], window[1], window[2], window[3]) if window else None,
            less=(less[0], less[1], less[2]) if less else None,
            known=query.get("known", ""),
        )
        scaling = None
        if "low" in query and "high" in query:
            scaling = _scaling(query, _numbers(query, "low")[0], _numbers(query, "high")[0])
        return _picture(self._stamps.picture(stamp, scaling, colour_map=query.get("map", "grey")))

    def overlay(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind == "sources":
            return _json(self._overlays.sources(_view(request), request.query_params.get("where", "")))
        if kind not in OVERLAYS:
            msg = f"overlay: {kind!r} is not known, it must be one of {['sources', *OVERLAYS]}"
            raise NotFoundError(msg)
        return _json(OVERLAYS[kind](self._overlays, _view(request)))

    def at(self, request: Request) -> Response:
        path, query = request.path_params, request.query_params
        x, y = _numbers(query, "x")[0], _numbers(query, "y")[0]
        view = View(**{name: path[name] for name in ("tile", "run", "band")}, x0=x - 1, y0=y - 1, x1=x + 1, y1=y + 1)
        return _json(self._overlays.at(view, x, y))

    def columns(self, request: Request) -> Response:
        return _json(self._catalogue.columns(request.path_params["table"]))

    def rows(self, request: Request) -> Response:
        return _json(self._catalogue.page(_question(request)))

    def place(self, request: Request) -> Response:
        key = _whole(request.query_params, "key")
        return _json({"place": self._catalogue.place(_question(request), key)})

    def plot(self, request: Request) -> Response:
        table, query = request.path_params["table"], request.query_params
        where = query.get("where", "")
        if query.get("y"):
            return _json(self._catalogue.scatter(table, query.get("x", ""), query["y"], where=where))
        return _json(self._catalogue.histogram(table, query.get("x", ""), where=where))

    def sql(self, request: Request) -> Response:
        return _json(self._catalogue.sql(request.query_params.get("query", ""), _MOST_SQL_ROWS))

    def find(self, request: Request) -> Response:
        return _json(self._overlays.find(request.query_params.get("text", "")))

    def source(self, request: Request) -> Response:
        return _json(self._sources.facts(request.path_params["id"]))

    def provenance(self, request: Request) -> Response:
        return _json(self._sources.provenance(request.path_params["id"]))

    def progress(self, request: Request) -> Response:  # noqa: ARG002
        return _json(progress_of(self._lake))

    def edits(self, request: Request) -> Response:
        return _json({"edits": self._editor.edits(request.query_params.get("tile", "")), "can_edit": self._can_edit})

    def change(self, what: str, change: Mapping[str, Any]) -> Response:
        if what not in CHANGES:
            msg = f"change: {what!r} is not known, it must be one of {list(CHANGES)}"
            raise NotFoundError(msg)
        if not self._can_edit:
            msg = "the lake is shown for reading only"
            raise InvalidInputError(msg)
        return _json(CHANGES[what](self._editor, change))


def _guarded(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """Return an answer that runs in a thread and says what is wrong instead of failing."""

    async def guarded(request: Request) -> Response:
        try:
            return await run_in_threadpool(answer, request)
        except SkymereError as error:
            return _refusal(error)

    return guarded


def _changing(change: Callable[[str, Mapping[str, Any]], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def changing(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return _refusal(InvalidInputError(f"body: more than {MOST_BYTES} bytes are not allowed"))
        try:
            given = json.loads(body)
        except (ValueError, RecursionError) as error:
            return _refusal(InvalidInputError(f"body: is not JSON, or nested too deeply: {error}"))
        if not isinstance(given, dict):
            return _refusal(InvalidInputError("body: must be an object of JSON"))
        try:
            return await run_in_threadpool(change, request.path_params["what"], given)
        except SkymereError as error:
            return _refusal(error)

    return changing


def _refusal(error: SkymereError) -> Response:
    codes = {NotFoundError: 404, ConflictError: 409, InvalidInputError: 400}
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), 422)
    told = {"error": str(error), "kind": type(error).__name__}
    return Response(to_json(told), status_code=code, media_type="application/json", headers=_FRESH)


def _json(value: Any, headers: Mapping[str, str] = _FRESH) -> Response:
    return Response(to_json(value), media_type="application/json", headers=dict(headers))


def _picture(content: bytes) -> Response:
    # The address names the run, and what a run has written never changes.
    return Response(content, media_type="image/png", headers=_FOREVER)


def _file(name: str) -> Response:
    folder = files("skymere.viewer.web") / "page"
    known = {entry.name for entry in folder.iterdir()}
    kind = _KINDS.get(name.rpartition(".")[2])
    if name not in known or kind is None:
        msg = f"page: there is no {name!r}"
        raise NotFoundError(msg)
    return Response((folder / name).read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})


def _view(request: Request) -> View:
    path, query = request.path_params, request.query_params
    x0, y0, x1, y1 = (_numbers(query, name)[0] for name in ("x0", "y0", "x1", "y1"))
    return View(tile=path["tile"], run=path["run"], band=path["band"], x0=x0, y0=y0, x1=x1, y1=y1)


def _question(request: Request) -> Question:
    query = request.query_params
    return Question(
        table=request.path_params["table"],
        where=query.get("where", ""),
        sort=query.get("sort", ""),
        descending=query.get("descending", "") == "1",
        columns=tuple(_words(query, "columns")),
        first=_whole(query, "first") if "first" in query else 0,
        n=_whole(query, "n") if "n" in query else 100,
    )


def _words(query: Mapping[str, str], name: str) -> list[str]:
    return [word for word in query.get(name, "").split(",") if word]


def _scaling(query: Mapping[str, str], low: float, high: float) -> Scaling:
    softening = _numbers(query, "softening")[0] if "softening" in query else Scaling.softening
    return Scaling(low=low, high=high, stretch=query.get("stretch", "asinh"), softening=softening)


def _whole(query: Mapping[str, str], name: str) -> int:
    try:
        return int(query[name])
    except (KeyError, ValueError) as error:
        msg = f"{name}: {query.get(name)!r} is not allowed, it must be a whole number"
        raise InvalidInputError(msg) from error


def _pixels(text: str) -> list[int]:
    """Return whole numbers; empty when one of them is none, or too large for an array."""
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        return []
    return numbers if all(abs(number) < _LARGEST_PIXEL for number in numbers) else []


def _numbers(query: Mapping[str, str], name: str) -> list[float]:
    try:
        return [float(word) for word in query[name].split(",")]
    except (KeyError, ValueError) as error:
        msg = f"{name}: {query.get(name)!r} is not allowed, it must be a number"
        raise InvalidInputError(msg) from error
