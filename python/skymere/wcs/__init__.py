"""Pixel grids and the maps between them."""

from skymere.wcs.grid import Grid

__all__ = ["Grid"]
