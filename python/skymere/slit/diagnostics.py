"""Pictures of how a stage came to its result. matplotlib is imported when one is drawn."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError, NoDataError
from skymere.outliers import SlitOutliers
from skymere.slit.figures import panels
from skymere.slit.shutter_offset import ShutterOffset

__all__ = ["plot_outliers", "plot_shutter_offset", "plot_sky"]

_Array = NDArray[np.float64]
_LABELS = {"wavelength": "wavelength [um]", "yslit": "distance from the trace [pix]"}
# What the limits of the flaggers are called.
_CURVES = {"high": "limit", "low": "limit", "p95": "percentiles 5, 50, 95", "p50": "", "p5": ""}


def _flat(values: ArrayLike, name: str, shape: tuple[int, ...]) -> _Array:
    return np.asarray(as_array(values, name, np.float64, shape=shape), np.float64).ravel()


def _mask(values: ArrayLike | None, name: str, shape: tuple[int, ...], *, missing: bool) -> NDArray[np.bool_]:
    if values is None:
        return np.full(int(np.prod(shape)), missing)
    return np.asarray(as_array(values, name, np.bool_, shape=shape), np.bool_).ravel()


def _scatter(axis: Any, x: _Array, y: _Array, colour: _Array) -> Any:
    return axis.scatter(x, y, c=colour, s=6, alpha=0.45, linewidths=0, cmap="viridis", rasterized=True)


def _colours(points: Any, axes: list[Any], label: str) -> None:
    bar = axes[0].figure.colorbar(points, ax=axes, pad=0.01, fraction=0.05)
    bar.set_label(label, fontsize=8)
    bar.solids.set_alpha(1)
    bar.ax.tick_params(labelsize=8)


def _circle(axis: Any, x: _Array, y: _Array, label: str) -> None:
    """Circle points; those beyond the axis are arrows at its ends."""
    low, high = axis.get_ylim()
    inside = (y >= low) & (y <= high)
    axis.plot(x[inside], y[inside], "o", mfc="none", mec="tab:red", ms=6, mew=0.9, label=label, zorder=5)
    for beyond, end, marker in ((y > high, high, "^"), (y < low, low, "v")):
        if beyond.any():
            place = np.full(beyond.sum(), end)
            axis.plot(x[beyond], place, marker, color="tab:red", ms=5, clip_on=False, zorder=5)


def plot_sky(
    sci: ArrayLike,
    variance: ArrayLike,
    wavelength: ArrayLike,
    yslit: ArrayLike,
    sky2d: ArrayLike,
    *,
    used: ArrayLike,
    outliers: ArrayLike | None = None,
    model: tuple[ArrayLike, ArrayLike] | None = None,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw the pixels from which a sky was made, the sky, and what is left over.

    Parameters
    ----------
    sci, variance : array_like, float64, any shape [uJy, uJy^2]
        Exposures with sky, and their variances.
    wavelength, yslit : array_like, float64, shape of ``sci`` [um, pix]
        Wavelength, and distance from the trace, which is the colour.
    sky2d : array_like, float64, shape of ``sci`` [uJy]
        The sky of every pixel.
    used : array_like, bool, shape of ``sci``
        True = the sky was made from it.
    outliers : array_like, bool, shape of ``sci``, optional
        True = left out; it is circled.
    model : pair of array_like, optional [um, uJy]
        The sky against wavelength; ``sky2d`` of the pixels when not given.
    title : str
        Text above.
    ax : pair of matplotlib.axes.Axes, optional
        Where; a new figure when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NoDataError
        When no pixel has a sky.
    InvalidInputError
        When shapes differ.
    """
    shape = np.shape(sci)
    data, noise, wave, distance, sky = (
        _flat(value, name, shape)
        for value, name in (
            (sci, "sci"),
            (variance, "variance"),
            (wavelength, "wavelength"),
            (yslit, "yslit"),
            (sky2d, "sky2d"),
        )
    )
    with np.errstate(invalid="ignore"):
        known = np.isfinite(data * wave * sky) & (noise > 0)
    good = known & _mask(used, "used", shape, missing=True)
    if not good.any():
        msg = "used: no pixel of it has a sky, there is nothing to draw"
        raise NoDataError(msg)
    bad = known & _mask(outliers, "outliers", shape, missing=False)
    figure, (top, low) = panels(ax, (2.0, 1.0), (9, 5.5))
    order = np.argsort(wave[good])
    x, y = (wave[good][order], sky[good][order]) if model is None else (np.asarray(model[0]), np.asarray(model[1]))
    high = float(np.nanpercentile(data[good], 99.5))
    # The model runs on where only a few pixels know it: the axis is that of the pixels.
    reach = float(wave[good].min()), float(wave[good].max())
    _scatter(top, wave[good], data[good], distance[good])
    top.plot(x, y, color="magenta", lw=1.2, label="sky")
    top.set(ylim=(min(-0.1 * high, float(np.percentile(data[good], 0.5))), 1.25 * high), ylabel="flux [uJy]")
    residual = (data - sky)[known] / np.sqrt(noise[known])
    _colours(_scatter(low, wave[good], residual[good[known]], distance[good]), [top, low], _LABELS["yslit"])
    low.axhline(0, color="magenta", lw=1.2)
    low.set(ylim=(-7, 7), xlim=reach, xlabel=_LABELS["wavelength"], ylabel="residual [sigma]")
    if bad.any():
        _circle(top, wave[bad], data[bad], f"{int(bad.sum())} outliers")
        _circle(low, wave[bad], residual[bad[known]], "")
    spread = 1.4826 * float(np.median(np.abs(residual[good[known]])))
    low.text(
        0.01, 0.95, f"scatter {spread:.2f} sigma (median deviation)", transform=low.transAxes, fontsize=8, va="top"
    )
    top.legend(fontsize=8, loc="upper left", framealpha=0.9)
    top.set_title(title or f"sky from {int(good.sum())} pixels", fontsize=9, loc="left")
    for axis in (top, low):
        axis.grid(alpha=0.3)
    return figure


def plot_shutter_offset(found: ShutterOffset, *, title: str = "", ax: Any = None) -> Any:
    """Draw the chi2 of an offset of the shutters.

    Parameters
    ----------
    found : ShutterOffset
        As `fit_shutter_offset` gives it.
    title : str
        Text above.
    ax : matplotlib.axes.Axes, optional
        Where; a new figure when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NoDataError
        When nothing was fitted.
    """
    if found.samples.size == 0:
        msg = f"found: status {found.status!r}, nothing was fitted that could be drawn"
        raise NoDataError(msg)
    figure, (axis,) = panels(ax, (1.0,), (6, 4))
    axis.plot(found.samples, found.sample_chi2 - found.chi2, ".-", color="0.2", lw=0.8, ms=4)
    axis.axvline(found.offset, color="tab:red", lw=1)
    axis.axvspan(found.offset - found.offset_err, found.offset + found.offset_err, color="tab:red", alpha=0.2, lw=0)
    axis.set(xlabel="offset of the shutters [pix]", ylabel="chi2 above the least")
    words = f"{found.offset:.4f} +- {found.offset_err:.4f} pix, {found.n_pixels} pixels, {found.status}"
    axis.set_title(f"{title}  {words}".strip(), fontsize=9, loc="left")
    axis.grid(alpha=0.3)
    return figure


def plot_outliers(
    found: SlitOutliers,
    data: ArrayLike,
    wavelength: ArrayLike,
    yslit: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    against: Literal["wavelength", "yslit"] = "wavelength",
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw pixels with the limits of a flagger, and circle what it found.

    Parameters
    ----------
    found : SlitOutliers
        What the flagger found.
    data : array_like, float64, shape of its flags [uJy]
        Exposures without sky.
    wavelength, yslit : array_like, float64, shape of ``data`` [um, pix]
        Wavelength, and distance from the trace.
    valid : array_like, bool, shape of ``data``, optional
        True = good before it was flagged.
    against : str
        The horizontal axis; the other one is the colour.
    title : str
        Text above.
    ax : matplotlib.axes.Axes, optional
        Where; a new figure when not given.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept. Outliers beyond it are arrows at its edge.

    Raises
    ------
    InvalidInputError
        When shapes differ, or ``against`` is not known.
    NoDataError
        When no pixel is valid.
    """
    if against not in _LABELS:
        msg = f"against: {against!r} is not allowed, it must be one of {', '.join(_LABELS)}"
        raise InvalidInputError(msg)
    shape = np.shape(data)
    flux = _flat(data, "data", shape)
    places = {"wavelength": _flat(wavelength, "wavelength", shape), "yslit": _flat(yslit, "yslit", shape)}
    flags = np.broadcast_to(found.flags.reshape(-1, *found.flags.shape[1:]), shape).ravel()
    x = places[against]
    other = next(name for name in places if name != against)
    good = _mask(valid, "valid", shape, missing=True) & np.isfinite(flux * x * places[other])
    if not good.any():
        msg = "valid: no pixel is valid, there is nothing to draw"
        raise NoDataError(msg)
    bad = good & (flags != 0)
    figure, (axis,) = panels(ax, (1.0,), (9, 4.5))
    shown = good & ~bad
    _colours(_scatter(axis, x[shown], flux[shown], places[other][shown]), [axis], _LABELS[other])
    reach = [np.percentile(flux[shown if shown.any() else good], [0.1, 99.9])]
    is_along = against in found.curves
    if is_along:
        reach += [np.percentile(found.curves[name], [1, 99]) for name in ("low", "high") if name in found.curves]
        for name, label in _CURVES.items():
            if name in found.curves:
                colour = "tab:red" if name in ("high", "low") else "0.4"
                named = label if name != "low" or "high" not in found.curves else ""
                axis.plot(found.curves[against], found.curves[name], color=colour, lw=1, label=named or None)
    if "high" in found.limits:
        axis.axhline(found.limits["high"], color="tab:red", lw=1, label=f"limit {found.limits['high']:.3g} uJy")
        reach.append(np.array([0.0, found.limits["high"]]))
    low, high = float(np.min(reach)), float(np.max(reach))
    pad = 0.1 * (high - low)
    axis.set(ylim=(low - pad, high + pad), xlabel=_LABELS[against], ylabel="flux [uJy]")
    _circle(axis, x[bad], flux[bad], f"{int(bad.sum())} of {int(good.sum())} pixels")
    counts = ", ".join(f"{name} {count}" for name, count in found.n_flagged.items())
    axis.set_title("  ".join(part for part in (title, counts or found.status) if part), fontsize=9, loc="left")
    axis.legend(fontsize=8, loc="upper left", framealpha=0.9)
    axis.grid(alpha=0.3)
    return figure
