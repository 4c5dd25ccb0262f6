"""Pixel grids and the maps between them."""

from skymere.wcs.cards import wcs_cards, wcs_from_cards
from skymere.wcs.grid import Grid

__all__ = ["Grid", "wcs_cards", "wcs_from_cards"]
