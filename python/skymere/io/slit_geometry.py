"""Coordinates of a slit, evaluated once: wavelength and place along the slit of every pixel, and the scales."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import SlitGeometry
from skymere.errors import FormatError, InvalidInputError
from skymere.wcs import is_gwcs

__all__ = ["EVALUATED", "SCALES", "evaluate_slit_geometry", "stored_slit_geometry"]

# Extensions and keywords of coordinates that were evaluated before the file was written.
EVALUATED: Mapping[str, str] = MappingProxyType(
    {"GEOM_WAVE": "wavelength", "GEOM_Y": "slit_y", "GEOM_SLOPE": "wavelength_slope"}
)
SCALES: Mapping[str, str] = MappingProxyType({"PIXSCALE": "pixel_scale_arcsec", "SHUSCALE": "shutter_scale"})

_Array = NDArray[np.float64]

_MICRON_PER_METRE = 1e6  # the slit frame has wavelengths in metres
_N_ALONG_SLIT = 64
_X_STEP = 0.25  # slit widths; the shift of wavelength is linear over more than that


def evaluate_slit_geometry(wcs: Any, shape: tuple[int, int], name: str, *, reference_wavelength: float) -> SlitGeometry:
    """Return the coordinates of the pixels of a slit's cutout.

    Parameters
    ----------
    wcs : gwcs.WCS
        With the frames ``detector``, ``slit_frame`` and ``v2v3vacorr`` (or ``v2v3``); pixels count from the cutout's
        corner.
    shape : tuple of int
        ``(ny, nx)`` of the cutout.
    name : str
        What it is called, for messages.
    reference_wavelength : float
        Wavelength at which the scales are taken [um].

    Raises
    ------
    FormatError
        When it is no gwcs, has other frames, or sees no pixel of the cutout.

    Notes
    -----
    A pixel scale is the median over -1 <= y <= 1 of ``|d(v2, v3)/dy| / |d(x, y)/dy|`` at the reference wavelength, that
    of the shutters ``1 / |d(x, y)/dy|``. A source beside the middle of the slit by s widths changes the wavelength at
    a pixel by ``s * slope`` with ``slope = -(dx/ds) / (dx/dwavelength)``.
    """
    if not is_gwcs(wcs):
        msg = f"{name}: meta.wcs is {type(wcs).__name__}, no gwcs"
        raise FormatError(msg)
    frames = set(wcs.available_frames)
    if missing := {"detector", "slit_frame"} - frames:
        msg = f"{name}: the gwcs has no frame {' and '.join(sorted(missing))}, only {sorted(frames)}"
        raise FormatError(msg)
    telescope = "v2v3vacorr" if "v2v3vacorr" in frames else "v2v3"
    rows, columns = np.indices(shape, dtype=np.float64)
    try:
        _, slit_y, wavelength = _through(wcs, "detector", "slit_frame", columns, rows)[:3]
        wavelength = np.asarray(wavelength, np.float64) * _MICRON_PER_METRE
        if not np.isfinite(wavelength).any():
            msg = f"{name}: no pixel has a wavelength"
            raise FormatError(msg)
        pixel_scale, shutter_scale, slope = _scales(wcs, telescope, reference_wavelength, wavelength, shape[1])
    except (ValueError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        msg = f"{name}: the gwcs cannot be evaluated ({type(error).__name__}: {error})"
        raise FormatError(msg) from error
    return SlitGeometry(
        wavelength=wavelength,
        slit_y=np.asarray(slit_y, np.float64),
        wavelength_slope=slope,
        pixel_scale_arcsec=pixel_scale,
        shutter_scale=shutter_scale,
    )


def _through(wcs: Any, start: str, end: str, *values: _Array) -> list[_Array]:
    """Return coordinates of a frame in another one; step by step, since one transform of all steps would be a copy."""
    frames, steps = list(wcs.available_frames), [step.transform for step in wcs.pipeline]
    first, last = frames.index(start), frames.index(end)
    is_forward = first <= last
    for step in steps[first:last] if is_forward else reversed(steps[last:first]):
        values = (step if is_forward else step.inverse)(*values)
    return [np.asarray(value, np.float64) for value in values]


def _scales(
    wcs: Any, telescope: str, reference_wavelength: float, wavelength: _Array, n_columns: int
) -> tuple[float, float, _Array]:
    """Return scales of pixels and of shutters, and the slope of wavelength; the inverse is evaluated once for all."""
    y = np.linspace(-1.0, 1.0, _N_ALONG_SLIT)
    along = [np.zeros_like(y), y, np.full_like(y, reference_wavelength / _MICRON_PER_METRE)]
    grid = np.linspace(np.nanmin(wavelength), np.nanmax(wavelength), max(n_columns, 16)) / _MICRON_PER_METRE
    across = np.repeat([0.0, -_X_STEP, _X_STEP], grid.size)
    points = [across, np.zeros_like(across), np.tile(grid, 3)]
    x_pixel, y_pixel = _through(
        wcs, "slit_frame", "detector", *(np.concatenate(pair) for pair in zip(along, points, strict=True))
    )[:2]
    pixels, arcsec = (
        np.sqrt(np.sum([np.gradient(c) ** 2 for c in plane], axis=0))
        for plane in ((x_pixel[: y.size], y_pixel[: y.size]), _through(wcs, "slit_frame", telescope, *along)[:2])
    )
    slope = _wavelength_slope(x_pixel[y.size :].reshape(3, -1), grid, n_columns)
    return float(np.nanmedian(arcsec / pixels)), float(np.nanmedian(np.gradient(y) / pixels)), slope


def _wavelength_slope(places: _Array, grid: _Array, n_columns: int) -> _Array:
    """Return the slope of every column from the columns of wavelengths at three places across the slit."""
    place, low, high = places
    per_width = (high - low) / (2 * _X_STEP)
    slope = -per_width / np.gradient(place, grid) * _MICRON_PER_METRE
    known = np.isfinite(place) & np.isfinite(slope)
    if known.sum() < 2:
        return np.full(n_columns, np.nan)
    order = np.argsort(place[known])
    columns = np.arange(n_columns, dtype=np.float64)
    return np.asarray(np.interp(columns, place[known][order], slope[known][order]))


def stored_slit_geometry(hdus: fits.HDUList, version: int, name: str) -> SlitGeometry:
    """Return the coordinates that a file holds as images, as `write_slitlets` writes them.

    Parameters
    ----------
    hdus : HDUList
        The open file.
    version : int
        Which slit.
    name : str
        What it is called, for messages.

    Raises
    ------
    FormatError
        When one is missing, or is something else.
    """
    missing = [extension for extension in EVALUATED if (extension, version) not in hdus]
    if missing:
        msg = f"{name}: extension {missing[0]},{version} with evaluated coordinates is missing"
        raise FormatError(msg)
    header = hdus["GEOM_WAVE", version].header
    try:
        planes = {field: np.asarray(hdus[key, version].data, np.float64) for key, field in EVALUATED.items()}
        scales = {field: float(header[key]) for key, field in SCALES.items()}
        return SlitGeometry(**planes, **scales)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, InvalidInputError) as error:
        msg = f"{name}: the evaluated coordinates cannot be used ({type(error).__name__}: {error})"
        raise FormatError(msg) from error
