"""New figures and given axes. matplotlib is imported when a figure is drawn."""

from typing import Any

from skymere.errors import InvalidInputError

__all__ = ["new_figure", "panels"]


def new_figure(width: float, height: float) -> Any:
    """Return a figure of this size [inch] that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(ax: Any, heights: tuple[float, ...], size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Return a figure and its panels, one above the other: those of ``ax``, or new ones.

    Raises
    ------
    InvalidInputError
        When there are not as many axes as panels.
    """
    if ax is None:
        figure = new_figure(*size)
        return figure, list(figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    given = list(ax) if hasattr(ax, "__len__") else [ax]
    if len(given) != len(heights):
        msg = f"ax: {len(given)} axes are not allowed, {len(heights)} are needed"
        raise InvalidInputError(msg)
    return given[0].figure, given
