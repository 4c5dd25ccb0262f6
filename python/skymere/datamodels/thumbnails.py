"""Images of one object in several bands on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._arrays import as_image
from skymere.datamodels.object_images import check_images, check_planes, named_image
from skymere.errors import InvalidInputError
from skymere.wcs import Grid

__all__ = ["EXPOSURE_COLUMNS", "FLAM", "BandThumbnail", "Thumbnail", "ThumbnailWeight"]

# Squares of 1e-20 are beyond float32, so this is the unit of fluxes that weights and variances can have as well.
FLAM = "1e-20 erg / (s cm2 Angstrom)"
_FLAM = 1e-20
# Speed of light [Angstrom / s], and 1 erg / s / cm2 / Hz [Jy].
_C_ANGSTROM, _JY = 2.99792458e18, 1e23
EXPOSURE_COLUMNS: Mapping[str, Any] = MappingProxyType(
    {
        "exposure_id": pl.String,
        "band": pl.String,
        "is_used": pl.Boolean,
        "reason": pl.String,
        "exptime": pl.Float64,
        "sky": pl.Float64,
    }
)

ThumbnailWeight = Literal["inverse_variance_with_sources", "inverse_variance", "coverage", "unknown"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BandThumbnail:
    """An object in one band.

    Parameters
    ----------
    band : str
        Filter, lower case.
    data : ndarray, float32, shape (ny, nx) [unit]
        Flux per pixel; NaN where no exposure has a good pixel.
    weight : ndarray, float32, shape (ny, nx)
        See ``weight_kind``; 0 where there are no data.
    variance : ndarray, float32, shape (ny, nx), or None [unit^2]
        Variance of each pixel alone, propagated through the drizzle. Neighbours are correlated, so that it is smaller
        than the inverse of the weight by the square of ``noise_correlation``; NaN where there are no data.
    psf : ndarray, float32, shape (ny, nx), or None
        A star at the object's position, drizzled as the data were; its sum is what the grid holds of its light.
    fine_psf : ndarray, float32, shape (N ny, N nx), or None
        The same star on pixels of 1 / N of the side, N = ``psf_oversample``, whose grid is ``grid.rescaled(1 / N)``.
    psf_oversample : int
        N, 1 when there is no such image.
    filters : tuple of str
        Filters of the exposures that were used; more than one where filters were merged, ``band`` alone when not given.
    unit : str
        ``electron / s``, or `FLAM`.
    weight_kind : str
        ``inverse_variance_with_sources``: 1 over the variance of all noise, such that the variance of the sum over an
        area that is large compared to a drop is the sum of ``1 / weight``; ``inverse_variance``: the same of the
        background's noise alone; ``coverage``: how many exposures look there, which tells nothing of noise;
        ``unknown``: of a file that does not say it.
    zero_point_ab : float
        AB magnitude of one unit of electron / s; NaN when unknown.
    photflam, photplam : float
        Flux of one electron / s [erg / s / cm2 / Angstrom], and pivot wavelength [Angstrom]; NaN when unknown.
    photometry_from : str
        ``header`` or ``table``, the one of `skymere.instruments.FILTERS`; empty when unknown.
    noise_correlation : float
        R: 1-sigma noise in large areas over that of as many independent pixels; NaN when unknown.
    coverage : float
        Fraction of the pixels that have data.
    median : float
        Level that was subtracted from ``data`` [unit]; adding it gives what was drizzled.

    Raises
    ------
    InvalidInputError
        When the planes differ in shape.
    """

    band: str
    data: NDArray[np.float32]
    weight: NDArray[np.float32]
    variance: NDArray[np.float32] | None = None
    psf: NDArray[np.float32] | None = None
    fine_psf: NDArray[np.float32] | None = None
    psf_oversample: int = 1
    filters: tuple[str, ...] = ()
    unit: str = "electron / s"
    weight_kind: ThumbnailWeight = "inverse_variance_with_sources"
    zero_point_ab: float = float("nan")
    photflam: float = float("nan")
    photplam: float = float("nan")
    photometry_from: str = ""
    noise_correlation: float = float("nan")
    coverage: float = 1.0
    median: float = 0.0

    def __post_init__(self) -> None:
        check_planes(self, ("weight", "variance", "psf"))
        object.__setattr__(self, "filters", tuple(self.filters) or (self.band,))
        if self.fine_psf is not None:
            ny, nx = (n * self.psf_oversample for n in self.shape)
            object.__setattr__(self, "fine_psf", as_image(self.fine_psf, "fine_psf", shape=(ny, nx)))

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.data.shape[0], self.data.shape[1]

    def in_flam(self) -> "BandThumbnail":
        """Return the thumbnail in 1e-20 erg / s / cm2 / Angstrom.

        Raises
        ------
        InvalidInputError
            When the flux of one electron / s is not known.
        """
        if self.unit == FLAM:
            return self
        factor = np.float32(self._known_photflam() / _FLAM)
        return replace(
            self,
            data=self.data * factor,
            weight=self.weight / factor**2,
            variance=None if self.variance is None else self.variance * factor**2,
            median=self.median * float(factor),
            unit=FLAM,
        )

    def fnu_jy(self) -> NDArray[np.float64]:
        """Return the data in Jy, ``f_nu = f_lambda lambda^2 / c`` at the pivot wavelength.

        Raises
        ------
        InvalidInputError
            When the flux of one electron / s or the pivot wavelength is not known.
        """
        if not self.photplam > 0:
            msg = f"band: the pivot wavelength of {self.band!r} is not known, neither to the file nor to skymere"
            raise InvalidInputError(msg)
        flam = self.data.astype(np.float64) * (_FLAM if self.unit == FLAM else self._known_photflam())
        return np.asarray(flam * (self.photplam**2 / _C_ANGSTROM * _JY))

    def with_level(self) -> "BandThumbnail":
        """Return the thumbnail with the level added that was subtracted."""
        return replace(self, data=self.data + np.float32(self.median), median=0.0)

    def _known_photflam(self) -> float:
        if not self.photflam > 0:
            msg = (
                f"band: the flux of one electron / s in {self.band!r} is not known, neither to the file nor to skymere"
            )
            raise InvalidInputError(msg)
        return self.photflam


@dataclass(frozen=True, kw_only=True, eq=False)
class Thumbnail:
    """One object in all its bands, with its segmentation, on one grid.

    Parameters
    ----------
    row : int
        Number of the position in the list that was asked for, from 0 on.
    source_id : int or None
        Number of the source, where it is known.
    label : int or None
        Its number in the segmentation, where it is known.
    ra, dec : float
        Position [deg].
    x, y : float
        The position on the grid, 0-based [pix].
    grid : Grid
        WCS and shape of every plane.
    bands : tuple of BandThumbnail
        The bands that have data, in the order in which they were asked for.
    segmentation : ndarray, int32, shape (ny, nx), or None
        Labels; 0 is sky.
    kernel : str
        Kernel of the drizzle.
    pixfrac : float
        Side of the drop [input pix].
    geometry_sha256 : str
        `skymere.resample.Geometry.digest`; empty when unknown.
    exposures : polars.DataFrame
        All exposures that overlap, used or not and why, with the columns of `EXPOSURE_COLUMNS`.
    status : str
        ``ok``, ``no_overlap`` (no exposure has a good pixel there) or ``failed``.
    message : str
        What went wrong; empty when nothing did.

    Raises
    ------
    InvalidInputError
        When a plane has another shape than the grid.
    """

    ra: float
    dec: float
    x: float
    y: float
    grid: Grid
    row: int = 0
    source_id: int | None = None
    label: int | None = None
    bands: tuple[BandThumbnail, ...] = ()
    segmentation: NDArray[np.int32] | None = None
    kernel: str = ""
    pixfrac: float = float("nan")
    geometry_sha256: str = ""
    exposures: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=dict(EXPOSURE_COLUMNS)))
    status: str = "ok"
    message: str = ""

    def __post_init__(self) -> None:
        check_images(self, "bands", name="band")

    def __getitem__(self, band: str) -> BandThumbnail:
        """Return a band."""
        return named_image(self.bands, band.lower(), "band")

    @property
    def is_partly_covered(self) -> bool:
        """Whether a band has pixels without data."""
        return any(one.coverage < 1 for one in self.bands)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each band, or one without a band, for a table of statuses."""
        about = {
            "row": self.row,
            "source_id": self.source_id,
            "ra": self.ra,
            "dec": self.dec,
            "status": self.status,
            "message": self.message,
            "n_bands": len(self.bands),
            "geometry_sha256": self.geometry_sha256,
        }
        found = []
        for one in self.bands:
            mine = self.exposures.filter(pl.col("band").is_in(one.filters))
            used = mine.filter("is_used")
            found.append(
                about
                | {
                    "band": one.band,
                    "coverage": one.coverage,
                    "is_partly_covered": one.coverage < 1,
                    "n_exposures": used.height,
                    "n_left_out": mine.height - used.height,
                    "exptime": float(used["exptime"].sum()),
                    "noise_correlation": one.noise_correlation,
                    "median": one.median,
                    "has_psf": one.psf is not None,
                }
            )
        return found or [about]
