"""Regions proposed for a band of a tile, for a person to look at and keep."""

from typing import Literal, get_args

import numpy as np

from skymere.background import BackgroundParams
from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake
from skymere.mosaic import subtract_background
from skymere.pipeline.products import load_mosaics, load_segmentation, mosaic_rows
from skymere.regions import Region
from skymere.segmentation import BlankParams, StarParams, blank_apertures, border_regions, star_regions

__all__ = ["PROPOSED_ROLES", "Proposal", "propose_regions"]

Proposal = Literal["border", "stars", "blank"]
PROPOSED_ROLES: dict[Proposal, str] = {"border": "mask_border", "stars": "bad", "blank": "sim"}


def propose_regions(
    lake: Lake,
    tile: str,
    band: str,
    what: Proposal,
    *,
    saturation: float | None = None,
    margin_pix: float = 10.0,
    stars: StarParams | None = None,
    blank: BlankParams | None = None,
) -> list[Region]:
    """Propose regions for a band of a tile, anchored to the sky; nothing is written.

    Parameters
    ----------
    lake : Lake
        With the mosaic of the band, and for blank apertures the segmentation of the tile.
    tile, band : str
        Which.
    what : {"border", "stars", "blank"}
        What is not covered and its border; halos and spikes of saturated stars; apertures on blank sky.
    saturation : float, optional
        Level above which pixels are saturated, needed for stars [unit of the mosaic].
    margin_pix : float, optional
        See `skymere.segmentation.border_regions` [pix].
    stars, blank : optional
        See `skymere.segmentation.star_regions` and `skymere.segmentation.blank_apertures`.

    Returns
    -------
    list of Region
        For `skymere.regions.write_regions`, and `skymere.lake.add_regions` with the role ``PROPOSED_ROLES[what]``.

    Raises
    ------
    InvalidInputError
        When there is no such proposal, or the saturation is missing.
    NotFoundError
        When the tile has no mosaic of the band, or no segmentation.
    NoDataError
        When nothing is covered, or there is no blank sky.
    """
    if what not in get_args(Proposal):
        msg = f"what: {what!r} is not allowed, it must be one of {list(get_args(Proposal))}"
        raise InvalidInputError(msg)
    have = mosaic_rows(lake, tile)["band"].to_list()
    if band not in have:
        msg = f"band: {band!r} has no mosaic in tile {tile!r}, only {have}"
        raise NotFoundError(msg)
    (mosaic,) = load_mosaics(lake, tile, [band])
    if what == "border":
        return border_regions(mosaic.covered, margin_pix=margin_pix, grid=mosaic.grid)
    if what == "blank":
        return blank_apertures(load_segmentation(lake, tile), mask=~mosaic.covered, params=blank)
    if saturation is None:
        msg = "saturation: is missing, stars are found by the level above which pixels are saturated"
        raise InvalidInputError(msg)
    data, k = subtract_background(mosaic, params=BackgroundParams())
    with np.errstate(divide="ignore"):
        error = np.where(mosaic.covered, np.sqrt(k / mosaic.weight), np.inf)
    saturated = mosaic.covered & (mosaic.data > saturation)
    return star_regions(data, error=error, saturated=saturated, grid=mosaic.grid, params=stars)
