"""How the pixels of a PSF lie on the sky."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.wcs import Grid, pixel_transform

__all__ = ["PixelAxes"]


@dataclass(frozen=True, kw_only=True)
class PixelAxes:
    """Scale and orientation of the pixels of a band.

    Parameters
    ----------
    scale_arcsec : float
        Side of a pixel [arcsec].
    pa_deg : float
        Position angle of the +y axis, from north through east [deg].
    is_flipped : bool
        Whether +x lies 90 degrees from +y towards the east instead of the west.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    scale_arcsec: float
    pa_deg: float = 0.0
    is_flipped: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale_arcsec) and self.scale_arcsec > 0):
            msg = f"scale_arcsec: {self.scale_arcsec} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not np.isfinite(self.pa_deg):
            msg = f"pa_deg: {self.pa_deg} is not allowed, it must be a number"
            raise InvalidInputError(msg)

    @classmethod
    def from_wcs(cls, wcs: Any, x: float, y: float) -> "PixelAxes":
        """Return the axes of an image at a position.

        Parameters
        ----------
        wcs : astropy.wcs.WCS or APE-14 object
            Coordinates of the image.
        x, y : float
            Position, 0-based [pix].
        """
        ra, dec = (float(v) for v in wcs.pixel_to_world_values(x, y))
        around = Grid.tangent(ra, dec, shape=(1, 1), scale_arcsec=1.0)
        step = np.array([0.5, -0.5, 0.0, 0.0])
        west, north = pixel_transform(wcs, around.wcs)(x + step, y + step[[2, 3, 0, 1]])
        of_x = np.array([west[1] - west[0], north[0] - north[1]])
        of_y = np.array([west[3] - west[2], north[2] - north[3]])
        determinant = float(of_x[0] * of_y[1] - of_x[1] * of_y[0])
        # The mean of the angles that both axes say, for pixels that are not quite square.
        flip = -1.0 if determinant > 0 else 1.0
        mean = of_y + flip * np.array([of_x[1], -of_x[0]])
        return cls(
            scale_arcsec=float(np.sqrt(abs(determinant))),
            pa_deg=float(np.rad2deg(np.arctan2(mean[0], mean[1]))),
            is_flipped=determinant > 0,
        )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """East and north offset (rows) of one pixel in x and in y (columns) [arcsec]."""
        angle = np.deg2rad(self.pa_deg)
        of_x = np.array([-np.cos(angle), np.sin(angle)]) * (-1.0 if self.is_flipped else 1.0)
        return self.scale_arcsec * np.column_stack([of_x, [np.sin(angle), np.cos(angle)]])
