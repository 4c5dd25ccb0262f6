"""Images of one band that stay in their files, to be read window by window."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import Sliceable, StoredMosaic
from skymere.errors import InvalidInputError
from skymere.io._open import open_fits
from skymere.io.bands import name_and_zero_point, weight_of
from skymere.io.images import grid_of, images_of
from skymere.io.mosaics import exposure_ids_of, read_noise, unit_of
from skymere.wcs import Grid

__all__ = ["open_band"]


def open_band(
    path: str | Path,
    *,
    weight: str | Path | None = None,
    rms: str | Path | None = None,
    band: str = "",
    zero_point_ab: float | None = None,
) -> StoredMosaic:
    """Open an image of one band: what `read_band` reads, window by window.

    Parameters
    ----------
    path, weight, rms, band, zero_point_ab
        As in `read_band`.

    Returns
    -------
    StoredMosaic
        Its planes are memory maps; those of compressed or scaled files are read whole.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When a file is missing, unreadable or holds no two-dimensional image, or a keyword is no number.
    InvalidInputError
        When there is no WCS, a shape differs, or weights and errors are given; when a window is read, for negative
        weights or errors.
    """
    path = Path(path)
    if weight is not None and rms is not None:
        msg = f"{path}: weight and rms are not allowed together"
        raise InvalidInputError(msg)
    with open_fits(path) as hdus:
        found = {hdu.name: hdu for hdu in reversed(hdus) if hdu.is_image and len(hdu.shape) in (2, 3)}
        names = [hdu.name for hdu in hdus]
        image, grid = grid_of(hdus, path)
        data = _plane(path, image)
        name, zero_point = name_and_zero_point(hdus, path, band=band, zero_point_ab=zero_point_ab)
        is_drizzled = weight is None and rms is None and {"SCI", "WHT"} <= set(names)
        stored = {name: _plane(path, found[name]) for name in ("WHT", "VAR", "CTX") if is_drizzled and name in found}
        primary, unit = hdus[0].header, unit_of(image.header)
        noise = read_noise(hdus, with_classes=False) if is_drizzled else None
        noise_class = None if noise is None else _plane(path, found["NOISECLS"])
    given = weight if weight is not None else rms
    if is_drizzled:
        weights: Sliceable = stored["WHT"]
    elif given is None:
        weights = _Made(shape=grid.shape, make=lambda at: weight_of(np.asarray(data[at], np.float32), None, path))
    else:
        weights = _weights(Path(given), grid, is_rms=rms is not None)
    context = stored.get("CTX", _Made(shape=(1, *grid.shape), make=lambda at: _covered(data, weights, at)))
    if len(context.shape) == 2:
        flat = context
        context = _Made(shape=(1, *grid.shape), make=lambda at: flat[at[1:]][np.newaxis])
    unknown = _Made(shape=grid.shape, make=lambda at: np.full(np.shape(data[at]), np.nan, np.float32))
    return StoredMosaic(
        band=name,
        grid=grid,
        data=data,
        weight=weights,
        variance=stored.get("VAR", unknown),
        context=context,
        exposure_ids=exposure_ids_of((primary, image.header), context if "CTX" in stored else None),
        unit=unit,
        zero_point_ab=zero_point,
        weight_kind=primary.get("WHTKIND", "exposure_time") if is_drizzled else "inverse_variance",
        noise_correlation=float(primary.get("NOISECOR", 1.0)) if is_drizzled else 1.0,
        noise=noise,
        noise_class=noise_class,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Made:
    """An image that is made of others when a window of it is looked at."""

    shape: tuple[int, ...]
    make: Callable[[Any], NDArray[Any]]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return self.make(key)


def _plane(path: Path, hdu: Any) -> Any:
    """Return the image of an extension, as a memory map where the file has its pixels as they are."""
    header = hdu.header
    is_plain = not isinstance(hdu, fits.CompImageHDU) and path.suffix != ".gz"
    if not is_plain or header.get("BSCALE", 1) != 1 or header.get("BZERO", 0) != 0 or "BLANK" in header:
        return np.array(hdu.data)
    # FITS has integers of 16, 32 and 64 bits with a sign, but bytes without.
    letter = "f" if header["BITPIX"] < 0 else "u" if header["BITPIX"] == 8 else "i"
    kind = f">{letter}{abs(header['BITPIX']) // 8}"
    return np.memmap(path, dtype=kind, mode="r", offset=hdu.fileinfo()["datLoc"], shape=hdu.shape)


def _weights(path: Path, grid: Grid, *, is_rms: bool) -> Sliceable:
    with open_fits(path) as hdus:
        image = images_of(hdus, path)[0]
        if image.shape != grid.shape:
            msg = f"{path}: shape {image.shape} is not allowed, the image has {grid.shape}"
            raise InvalidInputError(msg)
        values = _plane(path, image)
    return _Made(
        shape=grid.shape,
        make=lambda at: weight_of(np.asarray(values[at], np.float32), "rms" if is_rms else "weight", path),
    )


def _covered(data: Sliceable, weights: Sliceable, key: Any) -> NDArray[np.int32]:
    at = key[1:]
    covered: NDArray[np.bool_] = np.isfinite(data[at]) & (weights[at] > 0)
    return covered[np.newaxis].astype(np.int32)
