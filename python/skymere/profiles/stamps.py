"""Models of single sources as stamps, before and behind the PSF."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._rust import profiles as _rust
from skymere.datamodels import Sliceable
from skymere.errors import InvalidInputError
from skymere.profiles.component import family_of
from skymere.profiles.response import AnyPsf, response_of

__all__ = ["ModelStamps", "model_stamps"]

_ONE = ("label", "attempt")


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelStamps:
    """Models of sources on stamps of their own.

    Parameters
    ----------
    table : polars.DataFrame
        A row for each source: ``label`` and ``attempt`` where the fits have them (else ``source``, the number of the
        row), ``x0 y0`` of the stamp's first pixel on the image, ``ny nx``, ``sum``: the part of the light on it,
        ``status`` (``ok``, or ``failed`` with an empty stamp) and ``message``.
    data : list of ndarray, float32, shape (ny, nx)
        The part of the light of the source in each pixel.
    """

    table: pl.DataFrame
    data: list[NDArray[np.float32]]

    def cut_out(self, image: ArrayLike | Sliceable) -> list[NDArray[np.float32]]:
        """Return the windows of an image that the stamps have, NaN beyond it: of a residual, say.

        Parameters
        ----------
        image : array_like, float32, shape (ny, nx)
            The image that was fitted, or one of its shape; of one that is stored the windows alone are read.

        Returns
        -------
        list of ndarray, float32
            As ``data``.
        """
        values = image if hasattr(image, "shape") else np.asarray(image, np.float32)
        return [
            _window(values, int(y0), int(x0), stamp.shape)
            for y0, x0, stamp in zip(self.table["y0"], self.table["x0"], self.data, strict=True)
        ]


def _window(image: Any, y0: int, x0: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    window = np.full(shape, np.nan, np.float32)
    (ny, nx), (height, width) = shape, image.shape
    rows, columns = slice(max(y0, 0), min(y0 + ny, height)), slice(max(x0, 0), min(x0 + nx, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        window[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = image[rows, columns]
    return window


def model_stamps(
    fits: pl.DataFrame,
    *,
    psf: AnyPsf | None = None,
    psf_has_pixel: bool = True,
    enclosed: float = 0.98,
    max_half_pix: int = 512,
) -> ModelStamps:
    """Draw the model of every fit of unit light on a stamp, integrated over pixels or behind a PSF.

    Parameters
    ----------
    fits : polars.DataFrame
        Rows of `fit_sersic`, of `fit_components` or of a `SceneFit`; those of one label and attempt, or all rows with a
        ``component`` but no label, are one source.
    psf : Psf, PsfGrid or array_like, float64, shape (py, px), optional
        Point-spread function, as in `fit_scene`; without one models are those before it, integrated over the pixels.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel.
    enclosed : float, optional
        Part of the light that a stamp holds, where ``max_half_pix`` allows it.
    max_half_pix : int, optional
        Largest half side of a stamp [pix].

    Returns
    -------
    ModelStamps

    Raises
    ------
    InvalidInputError
        When a value is not allowed, a column is missing, or the PSF cannot be used.

    Notes
    -----
    Fits that failed, have no light, or are points without a PSF are rows with a status. Stamps are not cut at the edges
    of the image, so that ``sum`` is the same wherever a source lies.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.profiles import fit_sersic, model_stamps, render_sersic
    >>> y, x = np.mgrid[-15:16, -15:16]
    >>> psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)
    >>> image = render_sersic((51, 51), x=25.3, y=24.8, flux=100.0, re=3.0, n=1.0, psf=psf)
    >>> stamps = model_stamps(fit_sersic(image, 0.01, psf=psf), psf=psf)
    >>> stamps.table.select("x0", "y0", "nx").row(0), bool(stamps.data[0].sum() > 0.98)
    ((9, 9, 33), True)
    """
    if not 0 < enclosed < 1:
        msg = f"enclosed: {enclosed} is not allowed, it must lie between 0 and 1"
        raise InvalidInputError(msg)
    if max_half_pix < 1:
        msg = f"max_half_pix: {max_half_pix} is not allowed, it must be 1 or more"
        raise InvalidInputError(msg)
    needed = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "status")
    missing = [name for name in needed if name not in fits.columns]
    if missing:
        msg = f"fits: columns {', '.join(missing)} are missing"
        raise InvalidInputError(msg)
    numbers = _sources(fits)
    rows, n_rows = _rows(fits), np.bincount(numbers, minlength=0).tolist() if numbers.size else []
    words = None if psf is None else response_of(psf, has_pixel=psf_has_pixel, may_change=True).keywords()
    found = ([], [], []) if not n_rows else _rust.draw_stamps(rows, n_rows, words, float(enclosed), int(max_half_pix))
    stamps, corners, messages = found
    first = np.searchsorted(numbers, np.arange(len(n_rows)))
    said = fits[first] if len(first) else fits.clear()
    names = [name for name in _ONE if name in fits.columns]
    data = [np.asarray(stamp, np.float32) for stamp in stamps]
    head = said.select(names) if names else pl.DataFrame({"source": np.arange(len(data), dtype=np.int32)})
    shapes = np.array([stamp.shape for stamp in data], np.int32).reshape(-1, 2)
    places = np.array(corners, np.int32).reshape(-1, 2)
    table = head.with_columns(
        x0=pl.Series(places[:, 1]),
        y0=pl.Series(places[:, 0]),
        ny=pl.Series(shapes[:, 0]),
        nx=pl.Series(shapes[:, 1]),
        sum=pl.Series([float(stamp.sum(dtype=np.float64)) for stamp in data], dtype=pl.Float64),
        status=pl.Series(["failed" if message else "ok" for message in messages], dtype=pl.String),
        message=pl.Series(messages, dtype=pl.String),
    )
    return ModelStamps(table=table, data=data)


def _sources(fits: pl.DataFrame) -> NDArray[np.int64]:
    """Return the number of the source of each row; the rows of one follow each other."""
    names: Sequence[str] = [name for name in _ONE if name in fits.columns]
    if not names:
        is_one = "component" in fits.columns
        return np.zeros(fits.height, np.int64) if is_one else np.arange(fits.height)
    keys = fits.select(names).to_numpy()
    is_new = np.ones(len(keys), bool)
    is_new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return np.cumsum(is_new) - 1


def _rows(fits: pl.DataFrame) -> NDArray[np.float64]:
    """Return rows of the kernel, with the part of its source's light as the flux of each."""
    n = fits.height
    kinds = fits["kind"].to_list() if "kind" in fits.columns else ["sersic"] * n
    rows = np.empty((n, 8))
    rows[:, 0] = [family_of(kind) for kind in kinds]
    for i, name in enumerate(("x", "y", "flux", "r_eff_pix", "sersic_index"), start=1):
        rows[:, i] = fits[name].to_numpy()
    if "beta" in fits.columns:
        rows[:, 5] = np.where(rows[:, 0] == 1, fits["beta"].to_numpy(), rows[:, 5])
    rows[:, 6] = 1.0 - fits["ellipticity"].to_numpy()
    rows[:, 7] = np.deg2rad(fits["pa"].to_numpy() + 90.0)
    rows[rows[:, 4] == 0, 5:] = (2.0, 1.0, 0.0)
    numbers = _sources(fits)
    light = np.bincount(numbers, weights=rows[:, 3]) if n else np.zeros(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rows[:, 3] /= light[numbers]
    return rows
