"""The web page over a lake: a small server and a page that needs no network and no build step (extra ``viewer``)."""

from skymere.viewer.web.app import build_app
from skymere.viewer.web.server import ServerParams, serve

__all__ = ["ServerParams", "build_app", "serve"]
