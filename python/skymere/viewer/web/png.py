"""PNG files from arrays, quickly: no filter, little compression, for pictures that go from one process to the next."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

__all__ = ["png_of_indices", "png_of_rgba"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE, _RGBA = 3, 6
_EFFORT = 1


def png_of_indices(
    indices: NDArray[np.uint8], palette: NDArray[np.uint8], *, opacity: NDArray[np.uint8] | None = None
) -> bytes:
    """Return a picture of palette indices.

    Parameters
    ----------
    indices : ndarray, uint8, shape (ny, nx)
        Indices; the first row is at the top.
    palette : ndarray, uint8, shape (n, 3)
        Red, green and blue of each index.
    opacity : ndarray, uint8, shape (m,), optional
        Opacity of the first ``m`` indices, 0 is clear; all others cover.

    Raises
    ------
    InvalidInputError
        When the shapes are not allowed.
    """
    if indices.ndim != 2 or palette.ndim != 2 or palette.shape[1] != 3 or not 1 <= len(palette) <= 256:
        msg = f"indices, palette: shapes {indices.shape}, {palette.shape} are not allowed, (ny, nx) and (1-256, 3) are"
        raise InvalidInputError(msg)
    chunks = [(b"PLTE", palette.astype(np.uint8).tobytes())]
    if opacity is not None:
        chunks.append((b"tRNS", opacity.astype(np.uint8).tobytes()))
    return _png(indices[:, :, np.newaxis], _PALETTE, chunks)


def png_of_rgba(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture of red, green, blue and opacity, uint8, shape (ny, nx, 4), the first row at the top.

    Raises
    ------
    InvalidInputError
        When the shape is another.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        msg = f"pixels: shape {pixels.shape} is not allowed, it must be (ny, nx, 4)"
        raise InvalidInputError(msg)
    return _png(pixels, _RGBA, [])


def _png(pixels: NDArray[np.uint8], colour_type: int, chunks: list[tuple[bytes, bytes]]) -> bytes:
    ny, nx, depth = pixels.shape
    # Each row begins with the number of its filter, 0 for none.
    rows = np.zeros((ny, 1 + nx * depth), np.uint8)
    rows[:, 1:] = pixels.reshape(ny, nx * depth)
    header = struct.pack(">IIBBBBB", nx, ny, 8, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows.data, _EFFORT)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
