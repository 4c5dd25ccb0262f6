"""Strips: one line of pictures for each source, the same every time, that two states of a lake can be compared by."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.lake import Lake
from skymere.viewer.beams import beam_noise, beam_pictures
from skymere.viewer.panels import draw_absent, draw_dispersed, draw_image, draw_labels, draw_pdf, draw_residual
from skymere.viewer.pictures import new_figure
from skymere.viewer.redshifts import pdf_curves
from skymere.viewer.source_page import line_maps
from skymere.viewer.source_rows import SourceRows
from skymere.viewer.stamps import source_stamps

__all__ = [
    "PANELS",
    "Strip",
    "StripPanel",
    "compare_strips",
    "comparison_figure",
    "source_strips",
    "strip_assets",
    "strip_figure",
]

Kind = Literal["image", "labels", "residual", "dispersed", "curve"]
# Panels from left to right, with their widths.
PANELS: Mapping[str, float] = {
    "direct": 1.0,
    "segments": 1.0,
    "models": 1.0,
    "residual": 1.0,
    "beam": 3.2,
    "line": 1.0,
    "slit": 3.2,
    "p(z)": 1.6,
}
_INCH = 1.15
# Log of p(z) below which nothing is seen, so that differences of it are no noise of numbers.
_FLOOR = -8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class StripPanel:
    """One picture of a strip.

    Parameters
    ----------
    name : str
        One of `PANELS`.
    kind : str
        How it is drawn.
    caption : str
        Text above it.
    pixels : ndarray
        Pixels; of a curve ``(n, 2)``, redshift and log p(z).
    noise : float
        1 sigma of the pixels.
    wavelength : ndarray, float64, shape (nx,), optional
        Of the columns [um].
    own : int, optional
        Label of the source.
    marked : float, optional
        Redshift that other products use.
    """

    name: str
    kind: Kind
    caption: str
    pixels: NDArray[Any]
    noise: float = 1.0
    wavelength: NDArray[np.float64] | None = None
    own: int | None = None
    marked: float | None = None

    @property
    def sha256(self) -> str:
        """Digest of everything that is drawn but the caption, hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.pixels, self.wavelength):
            if array is not None:
                whole = np.ascontiguousarray(array)
                digest.update(f"{whole.dtype.str} {whole.shape} ".encode())
                digest.update(whole.tobytes())
        digest.update(f"{self.kind} {self.noise!r} {self.own!r} {self.marked!r}".encode())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Strip:
    """The pictures of a source; what the lake does not have of it is not there.

    Parameters
    ----------
    source_id : int
        The source.
    words : str
        Redshift and magnitude.
    panels : mapping of str to StripPanel
        By name, in the order of `PANELS`.
    """

    source_id: int
    words: str
    panels: Mapping[str, StripPanel]


def source_strips(
    lake: Lake, source_ids: Sequence[int], *, band: str | None = None, size_pix: int | None = None
) -> list[Strip]:
    """Return the strips of sources.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_ids : sequence of int
        The sources.
    band : str, optional
        Band of the direct image; that of the profiles, else the last one by name, when not given.
    size_pix : int, optional
        Side of the stamps [pix of the mosaics]; as they are stored when not given.

    Returns
    -------
    list of Strip
        In the order of the identifiers.

    Raises
    ------
    NotFoundError
        When the lake has no such source, or nothing of one in ``band``.
    InvalidInputError
        When an identifier is no whole number, or the size is not allowed.
    """
    if not len(source_ids):
        return []
    rows = SourceRows(lake, source_ids)
    return [_strip(rows, int(one), band, size_pix) for one in source_ids]


def _strip(rows: SourceRows, source_id: int, band: str | None, size_pix: int | None) -> Strip:
    rows.place(source_id)
    source, found = rows.of("source", source_id), rows.redshift(source_id)
    parts = [
        *_images(rows, source_id, _band(rows, source_id, band), size_pix),
        *_beam(rows, source_id),
        *_line(rows, source_id),
        *_slit(rows, source_id),
        *_pdf(rows, source_id),
    ]
    words = [] if found is None else [f"z = {found['redshift']:.4f} ({found['method']})"]
    for row in source.iter_rows(named=True):
        told = [f"{name.removeprefix('mag_auto_')} {row[name]:.2f}" for name in row if _is_magnitude(name, row[name])]
        words += [", ".join(told)] if told else []
    by_name = {one.name: one for one in parts}
    return Strip(
        source_id=source_id,
        words="   ".join(words),
        panels={name: by_name[name] for name in PANELS if name in by_name},
    )


def _is_magnitude(name: str, value: Any) -> bool:
    is_one = name.startswith("mag_auto_") and not name.startswith("mag_auto_err")
    return is_one and value is not None and bool(np.isfinite(value))


def _band(rows: SourceRows, source_id: int, band: str | None) -> list[str] | None:
    if band is not None:
        return [band]
    profiles = rows.good("profile", source_id)["band"].unique().sort().to_list()
    if rows.of("cutout", source_id).is_empty():
        return None
    have = rows.lake.bands([source_id])
    return [next((one for one in profiles if one in have), have[-1])]


def _images(rows: SourceRows, source_id: int, bands: list[str] | None, size_pix: int | None) -> list[StripPanel]:
    if bands is None:
        return []
    (stamps,) = source_stamps(rows, source_id, bands=bands, size_pix=size_pix)
    table = rows.of("source", source_id)
    own = None if table.is_empty() else int(table["label"][0])
    noise, made = stamps.noise, []
    for name, kind, pixels in (
        ("direct", "image", stamps.sci),
        ("segments", "labels", stamps.labels),
        ("models", "image", stamps.model),
        ("residual", "residual", stamps.residual),
    ):
        if pixels is not None:
            caption = stamps.band if name == "direct" else name
            made.append(
                StripPanel(name=name, kind=kind, caption=caption, pixels=pixels, noise=noise, own=own)  # type: ignore[arg-type]
            )
    return made


def _beam(rows: SourceRows, source_id: int) -> list[StripPanel]:
    """Return the stack of all orientations, else the best beam, without the light of others."""
    stacks = rows.good("stack", source_id).filter(pl.col("pa").is_null(), pl.col("stack_row").is_not_null())
    if stacks.height:
        best = stacks.sort("exptime", "grating", descending=[True, False], nulls_last=True).head(1)
        read = rows.planes("stack", best, row="stack_row", planes=("sci", "wht", "wavelength"))
        one = read[0]
        seen = one["wht"] > 0
        noise = float(np.median(1.0 / np.sqrt(one["wht"][seen]))) if seen.any() else 1.0
        pixels = np.where(seen, one["sci"], np.float32(np.nan))
        wave, caption = one.get("wavelength"), str(best["grating"][0])
    else:
        pictures = beam_pictures(rows, source_id, most=1)
        if not pictures:
            return []
        pixels, noise = pictures[0].sci - pictures[0].contam, beam_noise(pictures[0])
        wave, caption = pictures[0].wavelength, pictures[0].name
    return [
        StripPanel(name="beam", kind="dispersed", caption=caption, pixels=pixels, noise=noise, wavelength=_float(wave))
    ]


def _float(values: NDArray[Any] | None) -> NDArray[np.float64] | None:
    return None if values is None else np.asarray(values, np.float64)


def _line(rows: SourceRows, source_id: int) -> list[StripPanel]:
    maps = line_maps(rows, source_id, most=1)
    return [
        StripPanel(name="line", kind="residual", caption=name, pixels=pixels, noise=noise)
        for name, pixels, noise in maps
    ]


def _slit(rows: SourceRows, source_id: int) -> list[StripPanel]:
    table = rows.good("slit_spectrum", source_id).filter(pl.col("spectrum_row").is_not_null())
    if table.is_empty():
        return []
    best = table.sort("snr", "spectrum_id", descending=[True, False], nulls_last=True).head(1)
    read = rows.planes("slit_spectrum", best, row="spectrum_row", planes=("sci", "wht", "wavelength"))
    with np.errstate(invalid="ignore"):
        signal = np.asarray(read[0]["sci"] * np.sqrt(read[0]["wht"]), np.float32)
    wave = _float(read[0].get("wavelength"))
    caption = f"{best['grating'][0]} slit"
    return [StripPanel(name="slit", kind="dispersed", caption=caption, pixels=signal, wavelength=wave)]


def _pdf(rows: SourceRows, source_id: int) -> list[StripPanel]:
    curves, found = pdf_curves(rows, source_id), rows.redshift(source_id)
    if not curves:
        return []
    method = found["method"] if found is not None and found["method"] in curves else next(iter(curves))
    z, pdf = curves[method]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log10(pdf)
    finite = log[np.isfinite(log)]
    floor = (float(finite.max()) if finite.size else 0.0) + _FLOOR
    pixels = np.stack([z, np.where(log > floor, log, floor)], axis=1)
    marked = None if found is None else float(found["redshift"])
    return [StripPanel(name="p(z)", kind="curve", caption=f"p(z) {method}", pixels=pixels, marked=marked)]


def strip_figure(strip: Strip, *, names: Sequence[str] = tuple(PANELS)) -> Any:
    """Draw a strip.

    Parameters
    ----------
    strip : Strip
        The strip.
    names : sequence of str, optional
        Panels, each with its place also where there is nothing to draw.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    InvalidInputError
        When there is no such panel.
    """
    _check(names)
    widths = [PANELS[name] for name in names]
    figure = new_figure(_INCH * sum(widths), _INCH + 0.3)
    _leave_room(figure)
    panels = figure.subplots(1, len(names), width_ratios=widths, squeeze=False)[0]
    _draw_row(panels, strip, names)
    return figure


def _leave_room(figure: Any) -> None:
    """Keep titles of panels inside of the figure."""
    figure.set_layout_engine("constrained", h_pad=0.07, w_pad=0.03)


def _check(names: Sequence[str]) -> None:
    wrong = [name for name in names if name not in PANELS]
    if wrong or not names:
        msg = f"names: {wrong or 'an empty list'} is not allowed, panels are {', '.join(PANELS)}"
        raise InvalidInputError(msg)


def _draw_row(panels: Sequence[Any], strip: Strip | None, names: Sequence[str]) -> None:
    for axes, name in zip(panels, names, strict=True):
        one = None if strip is None else strip.panels.get(name)
        if one is None:
            draw_absent(axes, f"no {name}")
        else:
            _draw(axes, one)


def _draw(axes: Any, one: StripPanel) -> None:
    if one.kind == "image":
        draw_image(axes, one.pixels, noise=one.noise, title=one.caption)
    elif one.kind == "labels":
        draw_labels(axes, one.pixels, own=one.own, title=one.caption)
    elif one.kind == "residual":
        draw_residual(axes, one.pixels, noise=one.noise, title=one.caption)
    elif one.kind == "dispersed":
        bright = float(np.nanpercentile(one.pixels, 99.5)) if np.isfinite(one.pixels).any() else None
        draw_dispersed(axes, one.pixels, noise=one.noise, wavelength=one.wavelength, top=bright, title=one.caption)
        _show_range(axes, one)
    else:
        z, log = one.pixels.T
        draw_pdf(axes, {one.caption: (z, 10.0**log)}, {} if one.marked is None else {one.caption: one.marked})
        axes.set(xlabel="", ylabel="")
        axes.set_title(one.caption, fontsize=8, pad=2)


def _show_range(axes: Any, one: StripPanel) -> None:
    """Leave out columns at the ends that hold nothing."""
    seen = np.flatnonzero(np.isfinite(one.pixels).any(axis=0))
    if one.wavelength is not None and seen.size and np.isfinite(one.wavelength[seen[[0, -1]]]).all():
        axes.set_xlim(one.wavelength[seen[0]], one.wavelength[seen[-1]])


def strip_assets(strips: Sequence[Strip]) -> pl.DataFrame:
    """Return the table of all pictures of strips.

    Parameters
    ----------
    strips : sequence of Strip
        The strips.

    Returns
    -------
    polars.DataFrame
        ``source_id``, ``panel``, ``caption``, and ``sha256`` of what is drawn; empty where there is nothing.
    """
    found = [
        {
            "source_id": strip.source_id,
            "panel": name,
            "caption": "" if (one := strip.panels.get(name)) is None else one.caption,
            "sha256": "" if one is None else one.sha256,
        }
        for strip in strips
        for name in PANELS
    ]
    kinds = {"source_id": pl.Int64, "panel": pl.String, "caption": pl.String, "sha256": pl.String}
    return pl.DataFrame(found, schema=kinds)


def compare_strips(first: Sequence[Strip], second: Sequence[Strip]) -> pl.DataFrame:
    """Return what differs between the strips of two states of a lake.

    Parameters
    ----------
    first, second : sequence of Strip
        Strips of any sources.

    Returns
    -------
    polars.DataFrame
        ``source_id``, ``panel``, ``state`` (``same``, ``changed``, ``only first``, ``only second``, ``absent``), and
        ``largest``: the largest difference of two pictures of one shape, in sigma (of p(z) in decades; null
        where shapes differ).
    """
    one, two = ({strip.source_id: strip for strip in some} for some in (first, second))
    rows = [
        {"source_id": source_id, "panel": name}
        | _judged(*(strips[source_id].panels.get(name) if source_id in strips else None for strips in (one, two)))
        for source_id in {**one, **two}
        for name in PANELS
    ]
    kinds = {"source_id": pl.Int64, "panel": pl.String, "state": pl.String, "largest": pl.Float64}
    return pl.DataFrame(rows, schema=kinds)


def _judged(first: StripPanel | None, second: StripPanel | None) -> dict[str, Any]:
    if first is None or second is None:
        state = {(True, True): "absent", (False, True): "only first", (True, False): "only second"}
        return {"state": state[first is None, second is None], "largest": None}
    if first.sha256 == second.sha256:
        return {"state": "same", "largest": 0.0}
    difference = _difference(first, second)
    known = None if difference is None else np.abs(difference[np.isfinite(difference)])
    return {"state": "changed", "largest": None if known is None or not known.size else float(known.max())}


def _difference(first: StripPanel, second: StripPanel) -> NDArray[np.float64] | None:
    """Return the second panel less the first, in sigma of the first; of labels where they differ; None if it cannot."""
    if first.pixels.shape != second.pixels.shape or first.kind != second.kind:
        return None
    if first.kind == "labels":
        # Numbers of segments are no quantity: what counts is whether a pixel belongs to the source.
        parts = [np.asarray(one.pixels == one.own, np.float64) for one in (first, second)]
        others = np.asarray(second.pixels != 0, np.float64) - (first.pixels != 0)
        return np.where(parts[1] != parts[0], parts[1] - parts[0], others)
    if first.kind == "curve":
        same = np.array_equal(first.pixels[:, 0], second.pixels[:, 0])
        return np.asarray(second.pixels[:, 1] - first.pixels[:, 1], np.float64) if same else None
    return np.asarray((np.asarray(second.pixels, np.float64) - first.pixels) / first.noise, np.float64)


def comparison_figure(first: Strip | None, second: Strip | None, *, captions: tuple[str, str] = ("A", "B")) -> Any:
    """Draw the strips of a source in two states below each other, and the second less the first.

    Parameters
    ----------
    first, second : Strip or None
        None where a state does not have the source.
    captions : tuple of str, optional
        What the states are called.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    InvalidInputError
        When neither state has the source, or they are of two sources.
    """
    if first is None and second is None:
        msg = "first, second: None and None are not allowed, one state must have the source"
        raise InvalidInputError(msg)
    if first is not None and second is not None and first.source_id != second.source_id:
        msg = f"first, second: sources {first.source_id} and {second.source_id} are not allowed, they must be the same"
        raise InvalidInputError(msg)
    widths = list(PANELS.values())
    figure = new_figure(_INCH * sum(widths) + 0.3, 3 * (_INCH + 0.25))
    _leave_room(figure)
    panels = figure.subplots(3, len(PANELS), width_ratios=widths, squeeze=False)
    for line, strip in zip(panels[:2], (first, second), strict=True):
        _draw_row(line, strip, tuple(PANELS))
    for axes, name in zip(panels[2], PANELS, strict=True):
        pair = [None if strip is None else strip.panels.get(name) for strip in (first, second)]
        if pair[0] is None or pair[1] is None:
            draw_absent(axes, "not in both" if pair[0] is not pair[1] else "")
        else:
            _draw_difference(axes, pair[0], pair[1])
    names = (*captions, f"{captions[1]} - {captions[0]}")
    for line, caption in zip(panels, names, strict=True):
        line[0].set_ylabel(caption if len(caption) < 22 else f"{caption[:20]}...", fontsize=8)
    return figure


def _draw_difference(axes: Any, first: StripPanel, second: StripPanel) -> None:
    if first.sha256 == second.sha256:
        draw_absent(axes, "the same")
        return
    difference = _difference(first, second)
    if difference is None:
        draw_absent(axes, "of other shape")
    elif first.kind == "curve":
        axes.plot(first.pixels[:, 0], difference, color="k", lw=0.8)
        axes.axhline(0.0, color="0.7", lw=0.6)
        axes.tick_params(labelsize=7)
    elif first.kind == "dispersed":
        draw_dispersed(axes, difference, noise=1.0, wavelength=first.wavelength, is_residual=True)
        _show_range(axes, first)
    else:
        draw_residual(axes, difference, noise=0.2 if first.kind == "labels" else 1.0, has_background=False)
