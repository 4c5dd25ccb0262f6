"""What options of ``skymere thumbnails`` mean: merged filters, sizes, pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

if TYPE_CHECKING:
    import polars as pl

    from skymere.datamodels import BandThumbnail, SegmentationMap, Thumbnail
    from skymere.lake import Lake
    from skymere.mosaic import ExposureList

__all__ = ["PictureOptions", "draw", "read_bands", "read_merged", "read_sizes"]

_MOST_COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How thumbnails are drawn.

    Parameters
    ----------
    bands : tuple of str
        One to three, from red to blue; the longest, the middle and the shortest when empty.
    scale : float
        Factor of the brightness.
    height_pix : int
        Height of the picture [pix].

    Raises
    ------
    InvalidInputError
        When a number is not positive.
    """

    bands: tuple[str, ...] = ()
    scale: float = 1.0
    height_pix: int = 1240

    def __post_init__(self) -> None:
        for name, value in (("--rgb-scale", self.scale), ("--rgb-height", self.height_pix)):
            if not 0 < value < np.inf:
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)


def read_bands(text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the bands that --rgb names."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if len(names) > _MOST_COLOURS or not set(names) <= set(allowed):
        msg = f"--rgb: {text!r} is not allowed, it must be one to three of {', '.join(allowed)}"
        raise InvalidInputError(msg)
    return names


def read_merged(texts: Sequence[str], exposures: "ExposureList") -> Mapping[str, Sequence[str]] | None:
    """Return the groups of filters that --merge names, or that a tolerance finds."""
    from skymere.mosaic import alike_filters

    if len(texts) == 1 and "=" not in texts[0]:
        try:
            tolerance = float(texts[0])
        except ValueError as error:
            msg = f"--merge: {texts[0]!r} is not allowed, it must be NAME=FILTER,FILTER or a number"
            raise InvalidInputError(msg) from error
        return alike_filters(exposures, tolerance=tolerance)
    groups: dict[str, list[str]] = {}
    for text in texts:
        name, sign, some = text.partition("=")
        members = [one.strip().lower() for one in some.split(",") if one.strip()]
        unknown = [one for one in members if one not in exposures.bands]
        if not (sign and name.strip() and members) or unknown:
            msg = (
                f"--merge: {text!r} is not allowed, it must be NAME=FILTER,FILTER with filters of "
                f"{', '.join(exposures.bands)}"
            )
            raise InvalidInputError(msg)
        groups[name.strip().lower()] = members
    return groups or None


def read_sizes(
    table: "pl.DataFrame",
    lake: "Lake | None",
    labels: "SegmentationMap | None",
    scale_arcsec: float | None,
    limits: tuple[float, float],
) -> NDArray[np.float64]:
    """Return the sides of --auto-size [arcsec]."""
    from skymere.mosaic import source_sizes
    from skymere.pipeline import lake_sizes

    if lake is not None:
        return lake_sizes(lake, table, limits=limits)
    return source_sizes(table, segmentation=labels, scale_arcsec=scale_arcsec, limits=limits)


def draw(made: "Thumbnail", path: Path, options: PictureOptions) -> None:
    """Draw a thumbnail in colour beside its file; it is grey where a band is missing."""
    from skymere.viewer import plot_rgb

    shown = options.bands or _chosen(made.bands)
    empty = np.full(made.grid.shape, np.nan, np.float32)
    have = {one.band: one.data for one in made.bands}
    if not any(name in have for name in shown):
        return
    plot_rgb(
        [have.get(name, empty) for name in shown],
        path.with_suffix(".png"),
        labels=made.segmentation,
        title=f"{path.name}: {', '.join(shown)}",
        scale=options.scale,
        height_pix=options.height_pix,
    )


def _chosen(bands: "Sequence[BandThumbnail]") -> tuple[str, ...]:
    """Return the longest, the middle and the shortest band; bands without a wavelength come in their order."""
    ranked = sorted(bands, key=lambda one: -one.photplam if one.photplam > 0 else 0.0)
    some = ranked if len(ranked) <= _MOST_COLOURS else [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    return tuple(one.band for one in some)
