"""Outlines on the sky of what lies on an image: regions, exposures, beams and slits, as polygons of positions."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import FormatError
from skymere.regions import Annulus, Box, Circle, Ellipse, Point, Polygon, Region
from skymere.wcs import Grid

__all__ = ["outline_of_beam", "outline_of_footprint", "outlines_of_region", "outlines_of_slitlet"]

_Places = NDArray[np.float64]
_AROUND = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
_POINT_ARCSEC = 0.15
# Open area and pitch of a shutter of the NIRSpec micro-shutter array, across and along the slit [arcsec].
_SHUTTER_ARCSEC = (0.20, 0.46)
_PITCH_ARCSEC = (0.268, 0.529)


def outlines_of_region(region: Region) -> Iterator[_Places]:
    """Yield the outlines of a region of the sky, ``(n, 2)`` ``ra, dec`` [deg]; none of one in pixels."""
    if region.frame != "icrs":
        return
    if isinstance(region, Polygon):
        yield np.asarray(region.vertices, np.float64)
        return
    ring = np.stack([np.cos(_AROUND), np.sin(_AROUND)])
    match region:
        case Circle():
            offsets = [region.radius * ring]
        case Annulus():
            offsets = [radius * ring for radius in region.numbers[2:]]
        case Ellipse():
            offsets = [_turned(np.array(region.semi_axes)[:, np.newaxis] * ring, region.angle_deg)]
        case Box():
            corners = 0.5 * np.array(region.size)[:, np.newaxis] * np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])
            offsets = [_turned(corners, region.angle_deg)]
        case Point():
            offsets = [_POINT_ARCSEC * np.array([[-1.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0]])]
        case _:
            return
    for west_north in offsets:
        yield _beside(region.middle, -west_north[0], west_north[1])


def outline_of_footprint(text: str) -> _Places | None:
    """Return the corners of an STC-S polygon, None of an empty text.

    Raises
    ------
    FormatError
        When it is something else.
    """
    words = text.split()
    if not words:
        return None
    try:
        numbers = np.array([float(word) for word in words if word.upper() not in ("POLYGON", "ICRS")])
        return numbers.reshape(-1, 2)
    except ValueError as error:
        msg = f"footprint: {text[:60]!r} is not an STC-S polygon: {error}"
        raise FormatError(msg) from error


def outline_of_beam(row: Mapping[str, Any]) -> _Places | None:
    """Return where the light of a beam lies on the undispersed sky, None when its row does not say so.

    Parameters
    ----------
    row : mapping
        ``x0, y0, nx, ny, x_source, y_source, direct_wcs`` of a row of ``beam``.
    """
    cards = json.loads(row["direct_wcs"] or "{}")
    if not cards or row["x_source"] is None or row["y_source"] is None:
        return None
    grid = Grid.from_cards(cards, (1, 1))
    # The reference pixel of the direct stamp is the source.
    x = row["x0"] - row["x_source"] + np.array([0, row["nx"], row["nx"], 0]) - 0.5 + cards["CRPIX1"] - 1.0
    y = row["y0"] - row["y_source"] + np.array([0, 0, row["ny"], row["ny"]]) - 0.5 + cards["CRPIX2"] - 1.0
    return np.stack(grid.sky(x, y), axis=-1)


def outlines_of_slitlet(row: Mapping[str, Any]) -> list[_Places]:
    """Return the open shutters of a slitlet; only the source's place when its row has no position angle.

    Parameters
    ----------
    row : mapping
        ``ra, dec, pa, shutter_state, x_position, y_position`` of a row of ``slitlet``.
    """
    place = (row["ra"], row["dec"])
    if place[0] is None or place[1] is None:
        return []
    if row["pa"] is None:
        return [_beside(place, *(_POINT_ARCSEC * np.array([[-1.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0]])))]
    state = row["shutter_state"] or "x"
    middle = state.find("x") if "x" in state else len(state) // 2
    along = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]]) * 0.5 * np.array(_SHUTTER_ARCSEC)[:, np.newaxis]
    found = []
    for k in range(len(state)):
        across = along[0] - (row["x_position"] or 0.0) * _PITCH_ARCSEC[0]
        up = along[1] - (row["y_position"] or 0.0) * _PITCH_ARCSEC[1] + (k - middle) * _PITCH_ARCSEC[1]
        cos, sin = math.cos(math.radians(row["pa"])), math.sin(math.radians(row["pa"]))
        found.append(_beside(place, -across * cos + up * sin, across * sin + up * cos))
    return found


def _turned(west_north: _Places, angle_deg: float) -> _Places:
    """Turn offsets by an angle from west towards north, DS9's."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.asarray(np.array([[cos, -sin], [sin, cos]]) @ west_north)


def _beside(place: tuple[float, float], east: _Places, north: _Places) -> _Places:
    """Return positions at small offsets [arcsec] from one."""
    dec = place[1] + north / 3600.0
    ra = place[0] + east / 3600.0 / math.cos(math.radians(place[1]))
    return np.stack([ra, dec], axis=-1)
