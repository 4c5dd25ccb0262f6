"""Regions that a program proposes and a person approves: borders, bright stars, blank sky for noise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_image, as_mask
from skymere._rust import regions as _regions
from skymere._rust import segmentation as _rust
from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError, NoDataError
from skymere.regions import Box, Circle, Polygon, Region, to_sky
from skymere.segmentation.detection import label
from skymere.segmentation.planes import saturated_pixels
from skymere.wcs import Grid

__all__ = [
    "BlankParams",
    "StarParams",
    "blank_apertures",
    "border_regions",
    "distance_to",
    "star_regions",
]

# Stairs of pixels become straight lines within this distance, and borders grow by it so that nothing is lost.
_TOLERANCE_PIX = 1.25
_N_ANGLES = 360


def distance_to(mask: ArrayLike) -> NDArray[np.float32]:
    """Return how far every pixel is from the nearest pixel of a mask.

    Parameters
    ----------
    mask : array_like, bool, shape (ny, nx)
        The mask.

    Returns
    -------
    ndarray, float32, shape (ny, nx) [pix]
        Between centres; 0 in the mask, infinite when it is empty. The same for any number of threads.

    Raises
    ------
    InvalidInputError
        When it is not an image.

    References
    ----------
    Meijster, Roerdink & Hesselink 2000, Mathematical Morphology and its Applications, 331.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import distance_to
    >>> distance_to(np.array([[True, False, False], [False, False, False]]))[1].tolist()
    [1.0, 1.4142135381698608, 2.2360680103302]
    """
    return _rust.distance_to(as_mask(mask, "mask"))


def border_regions(
    covered: ArrayLike, *, margin_pix: float = 10.0, min_area: int = 25, grid: Grid | None = None
) -> list[Region]:
    """Propose what to mask outside a footprint and along its border: the file ``mask_border.reg``.

    Parameters
    ----------
    covered : array_like, bool, shape (ny, nx)
        Where there is data, such as `Mosaic.covered`.
    margin_pix : float, optional
        Pixels that are closer than this to one without data, or to the edge of the image, are masked, too [pix].
    min_area : int, optional
        Holes of fewer pixels without data are left alone [pix].
    grid : Grid, optional
        WCS of the image; the regions are then anchored to the sky.

    Returns
    -------
    list of Region
        Polygons that hold every pixel to be masked and up to two pixels more along their sides; without a margin they
        follow the pixels within 1.25.

    Raises
    ------
    InvalidInputError
        When the margin is negative, or the shapes differ.
    NoDataError
        When nothing is covered.

    Notes
    -----
    A polygon with holes is one line that goes from its outline to those of the holes and back: what it winds around an
    even number of times is outside.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.regions import mask_from_regions
    >>> from skymere.segmentation import border_regions
    >>> covered = np.ones((60, 80), bool)
    >>> covered[:, :20] = False
    >>> mask = mask_from_regions(border_regions(covered, margin_pix=5), (60, 80)).mask
    >>> bool(mask[30, 24]), bool(mask[30, 30])
    (True, False)
    """
    good = as_mask(covered, "covered")
    if not (0 <= margin_pix < math.inf):
        msg = f"margin_pix: {margin_pix} is not allowed, it must not be negative"
        raise InvalidInputError(msg)
    if not good.any():
        msg = "covered: no pixel is covered"
        raise NoDataError(msg)
    holes = label(~good, connectivity=8).labels
    bad = (np.bincount(holes.ravel()) >= min_area)[holes] & ~good
    # The image ends where the sky goes on: beyond its edge is as good as not covered.
    reach = math.ceil(margin_pix) + 1
    framed = np.pad(bad, reach, constant_values=True)
    near = distance_to(framed) <= margin_pix + _TOLERANCE_PIX
    masked = np.ascontiguousarray((near if margin_pix else framed)[reach:-reach, reach:-reach])
    return [_anchored(polygon, grid) for polygon in _polygons(masked)]


def _polygons(mask: NDArray[np.bool_]) -> list[Region]:
    """Return each connected part of a mask as a polygon."""
    labels = label(mask, connectivity=8).labels
    found: list[Region] = []
    for k, y0, y1, x0, x1, _ in _rust.extents(labels):
        window = np.ascontiguousarray(labels[y0 : y1 + 1, x0 : x1 + 1] == k)
        lines = [[(x + x0, y + y0) for x, y in line] for line in _regions.outlines(window, _TOLERANCE_PIX)]
        first = lines[0][0]
        path = [*lines[0], first]
        for line in lines[1:]:
            path += [*line, line[0], first]
        found.append(Polygon(vertices=tuple(path[:-1]), frame="image"))
    return found


@dataclass(frozen=True, kw_only=True)
class StarParams:
    """How far the light of bright stars is masked.

    Parameters
    ----------
    level_sigma : float
        The halo ends where its mean brightness in a ring falls below this many sigma of a pixel.
    spike_sigma : float
        A spike ends where its brightness above that of its ring falls below this many sigma of a pixel.
    max_radius_pix : int
        No halo or spike is longer than this [pix].
    min_spike_pix : float
        Spikes reach at least so far beyond the halo [pix].
    spike_width_pix : float
        Full width of the box of a spike [pix].

    Raises
    ------
    InvalidInputError
        When a value is not positive.
    """

    level_sigma: float = 1.0
    spike_sigma: float = 1.5
    max_radius_pix: int = 300
    min_spike_pix: float = 5.0
    spike_width_pix: float = 6.0

    def __post_init__(self) -> None:
        for name in ("level_sigma", "spike_sigma", "max_radius_pix", "min_spike_pix", "spike_width_pix"):
            if not 0 < getattr(self, name) < math.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)


def star_regions(
    data: ArrayLike,
    *,
    error: ArrayLike,
    saturated: ArrayLike,
    mask: ArrayLike | None = None,
    min_area: int = 3,
    grid: Grid | None = None,
    params: StarParams | None = None,
) -> list[Region]:
    """Propose masks of the halos and spikes of saturated stars: the file ``{img}-bad.reg``.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        A background-subtracted image.
    error : array_like, float32, shape (ny, nx), or float [unit]
        1 sigma of a pixel.
    saturated : array_like, bool, shape (ny, nx), or float [unit]
        Pixels that are saturated, or the level from which pixels are.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    min_area : int, optional
        Groups of fewer saturated pixels are no stars [pix].
    grid : Grid, optional
        WCS of the image; the regions are then anchored to the sky.
    params : StarParams, optional
        How far they reach.

    Returns
    -------
    list of Region
        For each star, brightest group first, a circle (text ``halo``) and a box for each spike (text ``spike``).

    Raises
    ------
    InvalidInputError
        When the shapes differ or the error is not positive.

    Notes
    -----
    The image is looked up on rings around the thickest part of each group, which trails of bleeding charge do not
    move, a pixel apart, at 360 angles. The halo ends at the
    first ring whose median is below ``level_sigma``; medians are not moved by neighbours on less than half of a ring.
    A spike is a direction along which the light above that median, smoothed over 3 degrees and 5 pixels, stays above
    ``spike_sigma`` without a gap from the halo on, in most of the outer halo, and farther than beside it.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import star_regions
    >>> y, x = np.mgrid[:101, :101] - 50.0
    >>> star = 1e4 * np.exp(-np.hypot(x, y) / 4)
    >>> [region.shape for region in star_regions(star, error=1.0, saturated=5e3)]
    ['circle']
    """
    params = params or StarParams()
    image = as_image(data, "data")
    shape = (image.shape[0], image.shape[1])
    sigma = np.broadcast_to(np.asarray(error, np.float32), shape)
    if not (sigma[np.isfinite(sigma)] > 0).all():
        msg = "error: values that are not positive are not allowed"
        raise InvalidInputError(msg)
    with np.errstate(invalid="ignore"):
        groups = saturated_pixels(image, saturated)
        snr = np.where(np.isfinite(sigma), image / sigma, np.nan)
    if mask is not None:
        snr = np.where(as_mask(mask, "mask", shape=shape), np.nan, snr)
    found: list[Region] = []
    labels = label(groups).labels
    stars = [row for row in _rust.extents(labels) if row[5] >= min_area]
    for k, y0, y1, x0, x1, _ in sorted(stars, key=lambda row: (-row[5], row[0])):
        core, (dx, dy) = _thickest(labels[y0 : y1 + 1, x0 : x1 + 1] == k)
        found += _star(snr, (x0 + dx, y0 + dy), core, params)
    return [_anchored(region, grid) for region in found]


def _thickest(group: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """Return radius and place ``x, y`` of the thickest part of a group: a star, whatever has bled from it."""
    depth = distance_to(np.pad(~group, 1, constant_values=True))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth > 0.75 * depth.max())
    return float(depth.max()), (float(columns.mean()), float(rows.mean()))


def _star(snr: NDArray[np.float32], centre: tuple[float, float], core_pix: float, params: StarParams) -> list[Region]:
    """Return the halo and the spikes of a star, in pixels."""
    ny, nx = snr.shape
    radii = np.arange(1.0, params.max_radius_pix + 1.0)
    angles = np.deg2rad(np.arange(_N_ANGLES) * 360.0 / _N_ANGLES)
    x = np.rint(centre[0] + radii[:, None] * np.cos(angles)).astype(int)
    y = np.rint(centre[1] + radii[:, None] * np.sin(angles)).astype(int)
    is_there = (x >= 0) & (y >= 0) & (x < nx) & (y < ny)
    polar = np.where(is_there, snr[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)], np.nan)
    seen = np.isfinite(polar)
    is_seen = seen.any(axis=1)
    ring = np.full(len(radii), np.inf)
    ring[is_seen] = np.nanmedian(polar[is_seen], axis=1)
    # Rings inside the saturated core may have lost their light.
    below = np.flatnonzero((ring < params.level_sigma) & (radii > core_pix))
    halo = float(radii[below[0]]) if below.size else float(radii[-1])
    circle = Circle(centre=centre, radius=halo, frame="image", text="halo")
    above = np.where(seen, polar - np.where(np.isfinite(ring), ring, 0.0)[:, None], 0.0)
    lengths = _spike_lengths(_smoothed(above), radii, halo, params)
    return [circle, *(_spike(centre, angles[i], lengths[i], params) for i in _peaks(lengths))]


def _smoothed(polar: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over 5 rings and 3 angles."""
    around = (np.roll(polar, 1, axis=1) + polar + np.roll(polar, -1, axis=1)) / 3.0
    padded = np.pad(around, ((2, 2), (0, 0)), mode="edge")
    total = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    return np.asarray((total[5:] - total[:-5]) / 5.0)


def _spike_lengths(
    above: NDArray[np.float64], radii: NDArray[np.float64], halo: float, params: StarParams
) -> NDArray[np.float64]:
    """Return the radius to which each angle stays bright; 0 where that is not far beyond the halo."""
    beyond = radii > halo
    # Means of 15 pixels have less noise than one, by up to sqrt(15); what they must exceed stays that of a pixel.
    bright = np.cumprod(above[beyond] > params.spike_sigma, axis=0)
    reach = halo + bright.sum(axis=0)
    # A spike shines through the halo; a neighbour on its edge does not.
    within = (radii > 0.6 * halo) & ~beyond
    is_through = (above[within] > params.spike_sigma).mean(axis=0) > 0.8 if within.any() else True
    return np.where(is_through & (reach >= halo + params.min_spike_pix), reach, 0.0)


def _peaks(lengths: NDArray[np.float64]) -> list[int]:
    """Return the middle of each run of angles that have a spike, at its longest."""
    order = np.argsort(-lengths, kind="stable")
    chosen: list[int] = []
    for i in order[lengths[order] > 0]:
        apart = [min(abs(int(i) - j), _N_ANGLES - abs(int(i) - j)) for j in chosen]
        if all(gap > 15 for gap in apart):
            longest = [int(i) + k for k in range(-15, 16) if lengths[(int(i) + k) % _N_ANGLES] >= 0.9 * lengths[i]]
            # The middle may lie in a gap, where there is no spike.
            middle = round(float(np.mean(longest)))
            chosen.append(min(longest, key=lambda angle: abs(angle - middle)) % _N_ANGLES)
    return chosen


def _spike(centre: tuple[float, float], angle: float, length: float, params: StarParams) -> Region:
    """Return the box of a spike from the centre of its star on."""
    middle = (centre[0] + 0.5 * length * math.cos(angle), centre[1] + 0.5 * length * math.sin(angle))
    size = (float(length), params.spike_width_pix)
    return Box(centre=middle, size=size, angle_deg=math.degrees(angle), frame="image", text="spike")


@dataclass(frozen=True, kw_only=True)
class BlankParams:
    """Apertures on blank sky.

    Parameters
    ----------
    radius_pix : float
        Radius of an aperture [pix].
    gap_pix : float
        Least distance of its edge to segments, masked pixels and the edge of the image [pix].
    n_apertures : int
        At most so many.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    radius_pix: float = 10.0
    gap_pix: float = 2.0
    n_apertures: int = 200

    def __post_init__(self) -> None:
        if not (0 < self.radius_pix < math.inf and 0 <= self.gap_pix < math.inf and self.n_apertures > 0):
            msg = (
                f"radius_pix, gap_pix, n_apertures: {self.radius_pix}, {self.gap_pix}, {self.n_apertures} are not "
                "allowed, the radius and the number must be positive, and the gap not negative"
            )
            raise InvalidInputError(msg)


def blank_apertures(
    segmentation: SegmentationMap | ArrayLike, *, mask: ArrayLike | None = None, params: BlankParams | None = None
) -> list[Region]:
    """Propose apertures on blank sky for the noise: the file ``{img}-sim.reg``.

    Parameters
    ----------
    segmentation : SegmentationMap or array_like, int32, shape (ny, nx)
        Segments that the apertures keep away from; with a grid the apertures are anchored to the sky.
    mask : array_like, bool, shape (ny, nx), optional
        True where none may be, such as pixels without data.
    params : BlankParams, optional
        Size and number.

    Returns
    -------
    list of Region
        Circles that do not overlap, farthest from all segments first.

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    NoDataError
        When there is no place for a single one.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import BlankParams, blank_apertures
    >>> labels = np.zeros((50, 50), np.int32)
    >>> labels[:, :20] = 1
    >>> blank_apertures(labels, params=BlankParams(radius_pix=5, n_apertures=1))[0].centre
    (34.0, 14.0)
    """
    params = params or BlankParams()
    grid = segmentation.grid if isinstance(segmentation, SegmentationMap) else None
    labels = segmentation.labels if isinstance(segmentation, SegmentationMap) else segmentation
    segments = as_array(labels, "segmentation", np.int32, shape=(None, None)) != 0
    used = segments if mask is None else segments | as_mask(mask, "mask", shape=(segments.shape[0], segments.shape[1]))
    # Whole apertures lie inside the image: a frame of pixels around it is used as well.
    distance = distance_to(np.pad(used, 1, constant_values=True))[1:-1, 1:-1]
    least = params.radius_pix + params.gap_pix
    places = _rust.farthest_places(
        np.ascontiguousarray(distance), least, 2.0 * params.radius_pix + 1.0, params.n_apertures
    )
    if not places:
        msg = f"segmentation: no pixel is more than {least} pixels from all segments; the farthest is {distance.max()}"
        raise NoDataError(msg)
    circles = [Circle(centre=(float(x), float(y)), radius=params.radius_pix, frame="image") for y, x in places]
    return [_anchored(circle, grid) for circle in circles]


def _anchored(region: Region, grid: Grid | None) -> Region:
    return region if grid is None else to_sky(region, grid)
