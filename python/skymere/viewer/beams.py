"""The beams of a source: light, light of others, model and what it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Beam
from skymere.errors import InvalidInputError, NotFoundError, SkymereError
from skymere.io import read_beam_file
from skymere.lake import Lake
from skymere.viewer.panels import draw_absent, draw_dispersed, draw_image
from skymere.viewer.pictures import new_figure
from skymere.viewer.source_rows import SourceRows
from skymere.viewer.stretch import sky_noise

__all__ = ["BeamPicture", "beam_file_figure", "beam_pictures", "draw_beams"]

_MOST = 12
_ROW_INCH = 1.05


@dataclass(frozen=True, kw_only=True, eq=False)
class BeamPicture:
    """What is drawn of a beam.

    Parameters
    ----------
    name : str
        Exposure, grism and order.
    sci, err, contam : ndarray, float32, shape (ny, nx)
        Light, 1 sigma, light of other sources [e/s].
    model : ndarray, float32, shape (ny, nx), optional
        Model of the source [e/s].
    wavelength : ndarray, float64, shape (nx,), optional
        Of the columns [um].
    direct : ndarray, float32, shape (n, n)
        Image without dispersion.
    """

    name: str
    sci: NDArray[np.float32]
    err: NDArray[np.float32]
    contam: NDArray[np.float32]
    direct: NDArray[np.float32]
    model: NDArray[np.float32] | None = None
    wavelength: NDArray[np.float64] | None = None

    def known(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return pixels of the beam, NaN where it has no data: where there is no error, when there is any."""
        is_known = np.isfinite(self.err) & (self.err > 0)
        return np.where(is_known, pixels, np.float32(np.nan)) if is_known.any() else pixels


def draw_beams(lake: Lake, source_id: int, *, most: int = _MOST) -> Any:
    """Draw the beams of a source, one in a row: direct image, light, light of others, model and what is left.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.
    most : int, optional
        Beams that are drawn at most, those with the most pixels that count first.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError
        When the lake has no such source, or no beam of it.
    InvalidInputError
        When ``most`` is not positive.

    Notes
    -----
    The model is that of the fitted redshift, where there is one, else what the beam was cut with.
    """
    if most < 1:
        msg = f"most: {most} is not allowed, it must be at least 1"
        raise InvalidInputError(msg)
    rows = SourceRows(lake, [source_id])
    rows.place(source_id)
    table = rows.of("beam", source_id)
    pictures = beam_pictures(rows, source_id, most=most)
    if not pictures:
        msg = f"source_id: {source_id} has no beam in {lake.path}"
        raise NotFoundError(msg)
    found = rows.redshift(source_id)
    words = f"{source_id}: {len(pictures)} of {table.height} beams"
    return _figure(pictures, words + (f"   z = {found['redshift']:.4f}" if found else ""))


def beam_file_figure(path: str | Path, *, most: int = _MOST) -> Any:
    """Draw the beams of a file of grizli (``beams.fits``).

    Parameters
    ----------
    path : path-like
        The file.
    most : int, optional
        Beams that are drawn at most, the first ones.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; nothing is shown or kept.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, unreadable or no file of beams.
    InvalidInputError
        When ``most`` is not positive.
    """
    if most < 1:
        msg = f"most: {most} is not allowed, it must be at least 1"
        raise InvalidInputError(msg)
    beams = read_beam_file(path)
    pictures = [_of_file(one) for one in beams[:most]]
    return _figure(pictures, f"{Path(path).name}: {len(pictures)} of {len(beams)} beams")


def beam_pictures(rows: SourceRows, source_id: int, *, most: int = _MOST) -> list[BeamPicture]:
    """Return what is drawn of the beams of a source; none when it has none.

    Parameters
    ----------
    rows : SourceRows
        Tables of the source.
    source_id : int
        The source.
    most : int, optional
        Beams at most, those with the most pixels that count first.
    """
    table = rows.of("beam", source_id).filter(pl.col("beam_row").is_not_null())
    if table.is_empty():
        return []
    chosen = table.sort("n_valid", "beam_id", descending=[True, False], nulls_last=True).head(most)
    chosen = chosen.sort("grating", "exposure_id", "order")
    planes = ("sci", "err", "contam", "model", "direct", "trace_wavelength")
    read = rows.planes("beam", chosen, row="beam_row", planes=planes)
    fitted = _fitted_models(rows, source_id)
    made = []
    for i, row in enumerate(read.rows.iter_rows(named=True)):
        one = read[i]
        wave = one.get("trace_wavelength")
        usable = wave is not None and wave.size == one["sci"].shape[1]
        model = fitted.get(row["beam_id"], one.get("model"))
        made.append(
            BeamPicture(
                name=f"{row['exposure_id']}  {row['grating']} {row['order_name'] or row['order']}",
                sci=one["sci"],
                err=one["err"],
                contam=one["contam"],
                direct=one["direct"],
                model=model if model is not None and model.shape == one["sci"].shape else None,
                wavelength=np.asarray(wave, np.float64) if usable else None,
            )
        )
    return made


def _fitted_models(rows: SourceRows, source_id: int) -> dict[int, NDArray[np.float32]]:
    """Return the model of each beam with the best template of the fit; none where there is no fit to these beams."""
    fit = rows.good("redshift", source_id).filter(pl.col("method") == "grism")
    if fit.is_empty():
        return {}
    planes = ("template_wavelength", "template_full")
    read = rows.planes("redshift", fit.head(1), row="redshift_row", planes=planes)
    if not len(read) or set(read.planes) != set(planes):
        return {}
    wave, flux = (np.asarray(read[0][name], np.float64) for name in planes)
    try:
        multibeam = rows.lake.beams(source_id, has_actions=False)
        models = [np.asarray(one.compute_model(wave, flux), np.float32) for one in multibeam.beams]
    except SkymereError:
        # Beams of before schema 1.1.0 cannot be modelled again.
        return {}
    there = rows.of("beam", source_id).filter(pl.col("beam_row").is_not_null())
    names = there.sort("beam_index", "exposure_id", "order")["beam_id"]
    return dict(zip(names, models, strict=True)) if len(names) == len(models) else {}


def _of_file(beam: Beam) -> BeamPicture:
    return BeamPicture(
        name=f"{beam.parent}  {beam.grism} {beam.order}",
        sci=beam.sci,
        err=beam.err,
        contam=beam.contam,
        direct=beam.direct,
        model=beam.model,
        wavelength=None if beam.trace is None else beam.trace[:, 0],
    )


def beam_noise(picture: BeamPicture) -> float:
    """Return the median 1 sigma of the pixels of a beam; their scatter where there is none."""
    known = picture.err[np.isfinite(picture.err) & (picture.err > 0)]
    return float(np.median(known)) if known.size else sky_noise(picture.sci)


def _figure(pictures: Sequence[BeamPicture], title: str) -> Any:
    figure = new_figure(16.0, 0.9 + _ROW_INCH * len(pictures))
    figure.suptitle(title, fontsize=10)
    grid = figure.add_gridspec(len(pictures), 5, width_ratios=[1.0, 4.0, 4.0, 4.0, 4.0])
    for i, one in enumerate(pictures):
        noise = beam_noise(one)
        panels = [figure.add_subplot(grid[i, k]) for k in range(5)]
        draw_image(panels[0], one.direct, noise=sky_noise(one.direct))
        model = np.zeros_like(one.sci) if one.model is None else one.model
        shown = (
            ("light", one.known(one.sci)),
            ("light of others", one.contam),
            ("model", one.model),
            ("left", one.known(one.sci - one.contam - model)),
        )
        light = one.known(one.sci)
        bright = float(np.nanpercentile(light, 99.5)) if np.isfinite(light).any() else 0.0
        for k, (name, pixels) in enumerate(shown, start=1):
            heading = (f"{one.name}: {name}" if k == 1 else name) if i == 0 or k == 1 else ""
            if pixels is None:
                draw_absent(panels[k], "no model")
                continue
            draw_dispersed(
                panels[k], pixels, noise=noise, wavelength=one.wavelength, is_residual=name == "left", top=bright,
                title=heading,
            )  # fmt: skip
            if i == len(pictures) - 1 and one.wavelength is not None:
                panels[k].set_xlabel("wavelength [um]", fontsize=7)
    return figure
