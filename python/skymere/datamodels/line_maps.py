"""Images of one object in its emission lines, on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels.object_images import check_images, check_planes, named_image
from skymere.errors import InvalidInputError
from skymere.wcs import Grid

__all__ = ["BEAM_COLUMNS", "LINE_UNIT", "SKIPPED_COLUMNS", "LineMap", "LineMapWeight", "LineMaps"]

#: Unit of line maps, per pixel [erg / s / cm2].
LINE_UNIT = 1e-17
BEAM_COLUMNS: Mapping[str, Any] = MappingProxyType(
    {"file": pl.String, "grism": pl.String, "order": pl.String, "angle": pl.Float64, "exptime": pl.Float64}
)
SKIPPED_COLUMNS: Mapping[str, Any] = MappingProxyType({"line": pl.String, "reason": pl.String})

LineMapWeight = Literal["inverse_variance", "combination", "unknown"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LineMap:
    """An object in one emission line.

    Parameters
    ----------
    line : str
        Name of the line.
    data : ndarray, float32, shape (ny, nx) [1e-17 erg/s/cm2]
        Flux per pixel, without continuum, contamination, background and other lines; 0 where there are no data.
    continuum : ndarray, float32, shape (ny, nx) [1e-17 erg/s/cm2]
        What was subtracted as the object's continuum.
    contam : ndarray, float32, shape (ny, nx)
        What was subtracted as light of other objects; it must not be subtracted again.
    weight : ndarray, float32, shape (ny, nx)
        See ``weight_kind``; 0 where there are no data and where the map is masked.
    variance : ndarray, float32, shape (ny, nx), or None [(1e-17 erg/s/cm2)^2]
        Variance of each pixel alone; neighbours are correlated for all kernels but ``point``. NaN without data.
    wave_rest, wave : float [um]
        Vacuum wavelength at rest, and the observed one at which the map was drizzled.
    flux, flux_err : float [erg/s/cm2]
        Of the fit: of all members of a blend together.
    share : float
        Part of ``flux`` that the map shows: less than 1 where weaker members of the blend were subtracted.
    contam_unit : str
        ``1e-17 erg / (s cm2)``, or ``electron / s`` of a pixel of the detector.
    weight_kind : str
        ``inverse_variance``: 1 over the variance, such that the variance of the sum over an area that is large
        compared to a drop is the sum of ``1 / weight``; ``combination``: sum of the weights with which beams were
        combined, which are lower beside contamination; ``unknown``: of a file that does not say it.
    noise_correlation : float
        R: 1-sigma noise in large areas over that of as many independent pixels; NaN when unknown.
    coverage : float
        Fraction of the pixels that have data; a kernel ``point`` leaves holes.
    footprint : float
        Fraction of the pixels that lie within the cutout of a beam; less than 1 where beams are too short or narrow.
    n_beams : int
        Beams that have data; 0 when unknown.
    subtracted : tuple of str
        Other lines, and weaker members of the blend, that were subtracted.

    Raises
    ------
    InvalidInputError
        When the planes differ in shape.
    """

    line: str
    data: NDArray[np.float32]
    continuum: NDArray[np.float32]
    contam: NDArray[np.float32]
    weight: NDArray[np.float32]
    wave_rest: float
    wave: float
    flux: float = float("nan")
    flux_err: float = float("nan")
    variance: NDArray[np.float32] | None = None
    share: float = 1.0
    contam_unit: str = "1e-17 erg / (s cm2)"
    weight_kind: LineMapWeight = "inverse_variance"
    noise_correlation: float = float("nan")
    coverage: float = float("nan")
    footprint: float = float("nan")
    n_beams: int = 0
    subtracted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_planes(self, ("continuum", "contam", "weight", "variance"))

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.data.shape[0], self.data.shape[1]

    @property
    def is_partly_covered(self) -> bool:
        """Whether a part of the map lies beyond the cutouts of all beams."""
        return self.footprint < 1

    def flux_within(self, mask: NDArray[np.bool_]) -> tuple[float, float]:
        """Return the flux within a mask and its error [erg/s/cm2].

        Parameters
        ----------
        mask : ndarray, bool, shape (ny, nx)
            True = counts.

        Raises
        ------
        InvalidInputError
            When the shape is another, or the weight is no inverse variance.

        Notes
        -----
        The variance is the sum of ``1 / weight``, which holds for areas that are large compared to a drop.
        """
        if np.shape(mask) != self.shape:
            msg = f"mask: shape {np.shape(mask)} is not allowed, it must be {self.shape}"
            raise InvalidInputError(msg)
        if self.weight_kind != "inverse_variance":
            msg = f"weight_kind: errors cannot be had from {self.weight_kind!r}, only from 'inverse_variance'"
            raise InvalidInputError(msg)
        use = np.asarray(mask, bool) & (self.weight > 0)
        variance = float((1.0 / self.weight[use].astype(np.float64)).sum())
        return LINE_UNIT * float(self.data[use].sum(dtype=np.float64)), LINE_UNIT * variance**0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class LineMaps:
    """One object in its emission lines, on one grid.

    Parameters
    ----------
    source_id : int
        Label of the source.
    ra, dec : float
        Position [deg].
    z : float
        Redshift at which the maps were made.
    grid : Grid
        WCS and shape of every plane.
    lines : tuple of LineMap
        The maps.
    segmentation : ndarray, int32, shape (ny, nx), or None
        Labels; 0 is sky.
    kernel : str
        Kernel of the drizzle.
    pixfrac : float
        Side of the drop [input pix].
    geometry_sha256 : str
        `skymere.resample.Geometry.digest`; empty when unknown.
    beams : polars.DataFrame
        The beams, with the columns of `BEAM_COLUMNS` (``angle`` of the dispersion [deg], ``exptime`` [s]).
    skipped : polars.DataFrame
        Lines of the fit without a map and why, with the columns of `SKIPPED_COLUMNS`.
    status : str
        ``ok``, or ``no_lines`` when there is no map.

    Raises
    ------
    InvalidInputError
        When a plane has another shape than the grid.
    """

    source_id: int
    ra: float
    dec: float
    z: float
    grid: Grid
    lines: tuple[LineMap, ...] = ()
    segmentation: NDArray[np.int32] | None = None
    kernel: str = ""
    pixfrac: float = float("nan")
    geometry_sha256: str = ""
    beams: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=dict(BEAM_COLUMNS)))
    skipped: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=dict(SKIPPED_COLUMNS)))
    status: str = "ok"

    def __post_init__(self) -> None:
        check_images(self, "lines", name="line")

    def __getitem__(self, line: str) -> LineMap:
        """Return the map of a line."""
        return named_image(self.lines, line, "line")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the lines that have a map."""
        return tuple(one.line for one in self.lines)

    def rows(self) -> pl.DataFrame:
        """Return a table of the maps, one row each."""
        return pl.DataFrame(
            [
                {
                    "source_id": self.source_id,
                    "line": one.line,
                    "z": self.z,
                    "wave_rest": one.wave_rest,
                    "wave": one.wave,
                    "flux": one.flux,
                    "flux_err": one.flux_err,
                    "share": one.share,
                    "coverage": one.coverage,
                    "footprint": one.footprint,
                    "is_partly_covered": one.is_partly_covered,
                    "noise_correlation": one.noise_correlation,
                    "n_beams": one.n_beams,
                    "geometry_sha256": self.geometry_sha256,
                }
                for one in self.lines
            ]
        )
