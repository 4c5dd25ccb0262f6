"""Panels of figures about a source: each draws one thing on given axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.spectra import LINES
from skymere.viewer.palette import COLOURS, MARKED, MODEL, OWN, SIGNED, SPECTRUM, WEIGHT, rgb
from skymere.viewer.stretch import to_grey

__all__ = [
    "draw_absent",
    "draw_curve",
    "draw_dispersed",
    "draw_image",
    "draw_labels",
    "draw_pdf",
    "draw_residual",
    "draw_weight",
    "edges_of",
    "label_picture",
    "mark_lines",
]

_Image = NDArray[np.floating[Any]]
# Ends of the map of colours of residuals and of spectra in two dimensions [sigma].
_RESIDUAL_SIGMA = 5.0
_SPECTRUM_SIGMA = (-2.0, 6.0)
# Least distance of two names of lines, of the width of the axes.
_NAME_STEP = 0.03
_SMALL = 7


def draw_absent(axes: Any, text: str) -> None:
    """Write why there is nothing to draw."""
    axes.set(xticks=[], yticks=[], aspect="auto")
    for spine in axes.spines.values():
        spine.set_color("0.8")
    axes.text(0.5, 0.5, text, ha="center", va="center", color="0.45", fontsize=_SMALL, transform=axes.transAxes)


def draw_image(axes: Any, pixels: _Image, *, noise: float, title: str = "") -> None:
    """Draw pixels in grey: asinh of the S/N, the sky dark."""
    grey = to_grey(np.asarray(pixels, np.float32), noise=noise)
    axes.imshow(grey, origin="lower", cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    _bare(axes, title)


def draw_weight(axes: Any, weight: _Image, *, title: str = "") -> None:
    """Draw weights from 0 to their maximum."""
    known = weight[np.isfinite(weight)]
    top = float(known.max()) if known.size and known.max() > 0 else 1.0
    axes.imshow(weight, origin="lower", cmap=WEIGHT, vmin=0.0, vmax=top, interpolation="nearest")
    _bare(axes, title)


def label_picture(labels: NDArray[np.integer[Any]], own: int | None) -> NDArray[np.float32]:
    """Return a picture of segments: the source orange, others in greys of their own, the sky black."""
    numbers = np.asarray(labels, np.int64)
    grey = 0.35 + 0.5 * ((numbers * 7919) % 64) / 63.0
    picture = np.repeat(np.where(numbers == 0, 0.0, grey)[..., None], 3, axis=-1)
    if own is not None:
        picture[numbers == own] = rgb(OWN)
    return picture.astype(np.float32)


def draw_labels(axes: Any, labels: NDArray[np.integer[Any]], *, own: int | None, title: str = "") -> None:
    """Draw segments; see `label_picture`."""
    axes.imshow(label_picture(labels, own), origin="lower", interpolation="nearest")
    _bare(axes, title)


def draw_residual(axes: Any, pixels: _Image, *, noise: float, title: str = "", has_background: bool = True) -> None:
    """Draw what a model leaves: purple is too much model, white none, orange too little; a background is subtracted."""
    end = _RESIDUAL_SIGMA * noise
    known = pixels[np.isfinite(pixels)]
    middle = float(np.median(known)) if known.size and has_background else 0.0
    axes.imshow(pixels - middle, origin="lower", cmap=SIGNED, vmin=-end, vmax=end, interpolation="nearest")
    _bare(axes, title)


def draw_dispersed(
    axes: Any,
    pixels: _Image,
    *,
    noise: float,
    wavelength: NDArray[np.float64] | None = None,
    is_residual: bool = False,
    top: float | None = None,
    title: str = "",
) -> None:
    """Draw a spectrum in two dimensions, along wavelength [um] where it is known.

    ``top``, but 6 sigma at least, has the last colour.
    """
    low, high = (-_RESIDUAL_SIGMA, _RESIDUAL_SIGMA) if is_residual else _SPECTRUM_SIGMA
    high = high if top is None or is_residual else max(high, top / noise)
    shown = pixels
    cmap = SIGNED if is_residual else SPECTRUM
    style = {"cmap": cmap, "vmin": low * noise, "vmax": high * noise}
    x = None if wavelength is None else edges_of(wavelength)
    if x is not None and np.isfinite(x).all() and (np.diff(x) > 0).all():
        y = np.arange(shown.shape[0] + 1) - shown.shape[0] / 2
        axes.pcolormesh(x, y, shown, rasterized=True, **style)
        axes.set(xlim=(x[0], x[-1]))
    else:
        axes.imshow(shown, origin="lower", aspect="auto", interpolation="nearest", **style)
    axes.set_yticks([])
    axes.tick_params(labelsize=_SMALL)
    axes.set_title(title, fontsize=_SMALL + 1, loc="left", pad=2)


def edges_of(middles: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the borders of columns from their middles, one more."""
    values = np.asarray(middles, np.float64)
    if values.size < 2:
        return np.append(values - 0.5, values + 0.5)
    between = 0.5 * (values[1:] + values[:-1])
    return np.concatenate([[2 * values[0] - between[0]], between, [2 * values[-1] - between[-1]]])


def draw_curve(
    axes: Any,
    wavelength: NDArray[np.float64],
    flux: _Image,
    error: _Image | None,
    *,
    model: tuple[NDArray[np.float64], _Image] | None = None,
    label: str = "",
    unit: str = "",
) -> None:
    """Draw a spectrum with its errors as a band, and a model."""
    known = np.isfinite(flux)
    if error is not None:
        known &= np.isfinite(error) & (error > 0)
        # Where the sensitivity is low a point says nothing and would set the scale.
        if known.any():
            known &= error < 8.0 * np.median(error[known])
        axes.fill_between(
            wavelength, flux - error, flux + error, where=known, step="mid", color="0.8", lw=0, label="1 sigma"
        )
    axes.plot(wavelength, np.where(known, flux, np.nan), color="k", lw=0.8, drawstyle="steps-mid", label=label or None)
    if known.any():
        low, high = wavelength[known][[0, -1]]
        bottom, top = np.percentile(flux[known], [1.0, 99.8])
        if model is not None:
            x, y = model
            inside = (x >= low) & (x <= high) & np.isfinite(y)
            axes.plot(x[inside], y[inside], color=MODEL, lw=1.0, label="model")
            if inside.any():
                top = max(top, float(y[inside].max()))
        room = 0.35 * max(top - bottom, 1e-30)
        axes.set(xlim=(low, high), ylim=(bottom - 0.4 * room, top + room))
    axes.set_xlabel("wavelength [um]", fontsize=_SMALL + 1)
    axes.set_ylabel(unit, fontsize=_SMALL + 1)
    axes.tick_params(labelsize=_SMALL)
    # Above the panel: the names of lines stand at the top inside.
    axes.legend(
        fontsize=_SMALL - 1, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderpad=0.1, frameon=False, ncols=3
    )


def draw_pdf(axes: Any, curves: Mapping[str, tuple[_Image, _Image]], marked: Mapping[str, float]) -> None:
    """Draw log p(z) of one or more methods, at most 8 decades below the maximum, and the redshifts that others use."""
    top, bottom = -np.inf, np.inf
    for i, (name, (z, pdf)) in enumerate(curves.items()):
        with np.errstate(divide="ignore"):
            values = np.log10(np.asarray(pdf, np.float64))
        axes.plot(z, values, color=COLOURS[i], lw=1.0, ls=("-", "--", ":")[i % 3], label=name)
        finite = values[np.isfinite(values)]
        top = max(top, float(finite.max())) if finite.size else top
        bottom = min(bottom, float(finite.min())) if finite.size else bottom
    for i, (name, found) in enumerate(marked.items()):
        axes.axvline(found, color=COLOURS[list(curves).index(name) if name in curves else i], lw=0.7, ls="-.")
    if np.isfinite(top):
        axes.set_ylim(max(top - 8.0, bottom - 0.7), top + 0.7)
    axes.set_xlabel("redshift", fontsize=_SMALL + 1)
    axes.set_ylabel("log p(z)", fontsize=_SMALL + 1)
    axes.tick_params(labelsize=_SMALL)
    if len(curves) > 1:
        axes.legend(fontsize=_SMALL, frameon=False)


def mark_lines(axes: Any, names: Sequence[str], redshift: float, *, others: Sequence[Any] = ()) -> None:
    """Mark lines of `skymere.spectra.LINES` at a redshift, within the range of the axes; close names are moved."""
    low, high = axes.get_xlim()
    places = sorted((LINES[name].main * (1.0 + redshift), name) for name in names if name in LINES)
    last = -np.inf
    for wave, name in places:
        if not low < wave < high:
            continue
        for one in (axes, *others):
            one.axvline(wave, color=MARKED, lw=0.7, ls=":", zorder=0)
        last = max((wave - low) / (high - low), last + _NAME_STEP)
        axes.text(
            last, 0.98, name, transform=axes.transAxes, fontsize=_SMALL, va="top", ha="center", rotation=90,
            color="0.25",
        )  # fmt: skip


def _bare(axes: Any, title: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=_SMALL + 1, pad=2)
