"""One source behind a slit in one exposure: pixels, what the pipeline did to them, and where they look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_array, as_image
from skymere.errors import InvalidInputError

__all__ = ["SlitExposure", "SlitGeometry", "SlitPlace", "SlitSource", "Slitlet"]


@dataclass(frozen=True, kw_only=True)
class SlitSource:
    """What the file says of the source.

    Parameters
    ----------
    source_id : int
        Number of the source; 0 when the file has none.
    name : str
        Name of the source.
    ra, dec : float
        Its place [deg]; NaN where the file has none.
    x_position, y_position : float
        Its place in the shutter from the centre, in shutters; NaN where the file has none.
    kind : str
        ``POINT``, ``EXTENDED``, ``UNKNOWN``, or empty where the file has none; it says which path loss was applied.
    stellarity : float
        0 extended to 1 star; NaN where the file has none.
    """

    source_id: int = 0
    name: str = ""
    ra: float = float("nan")
    dec: float = float("nan")
    x_position: float = float("nan")
    y_position: float = float("nan")
    kind: str = ""
    stellarity: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class SlitPlace:
    """Which slit it is, and where on the detector.

    Parameters
    ----------
    slit_name : str
        Name of a fixed slit, or number of the slitlet.
    slitlet_id : int
        Number of the slitlet; 0 for fixed slits.
    shutter_id : int
        Number of the shutter with the source; 0 where the file has none.
    quadrant : int
        Quadrant of the shutters, 1 to 4; 0 for fixed slits and where the file has none.
    column, row : int
        Column and row of the shutter in its quadrant, from 1; 0 where the file has none.
    shutter_state : str
        One letter for each open shutter: ``x`` for that with the source, ``1`` for the others.
    y_min, y_max : float
        Ends of the slit in its own frame; NaN where the file has none.
    x0, y0 : int
        First column and row on the detector, 0-based [pix].
    """

    slit_name: str = ""
    slitlet_id: int = 0
    shutter_id: int = 0
    quadrant: int = 0
    column: int = 0
    row: int = 0
    shutter_state: str = ""
    y_min: float = float("nan")
    y_max: float = float("nan")
    x0: int = 0
    y0: int = 0


@dataclass(frozen=True, kw_only=True)
class SlitExposure:
    """The exposure of which it is a part.

    Parameters
    ----------
    exposure_id : str
        Name of the exposure.
    program, visit : str
        As in the header.
    instrument, detector, grating, filter : str
        As in the header.
    lamp_mode, exposure_type, aperture : str
        As in the header; the exposure type tells a fixed slit.
    msa_file : str
        Name of the MSA metafile.
    msa_metadata_id, msa_configuration_id : int
        Which configuration of that file; 0 where the header has none.
    exptime : float
        Exposure time [s].
    read_pattern : str
        As in the header.
    n_integrations, n_groups, n_frames : int
        As in the header; 0 where it has none.
    start_mjd : float
        Start of the exposure [d]; NaN where the header has none.
    ra_v1, dec_v1, pa_v3 : float
        Pointing of the telescope [deg]; NaN where the header has none.
    position_angle : float
        Position angle of the aperture, east of north [deg]; NaN where the header has none.
    position_number, n_positions : int
        Number of the nod, and how many there are; 0 where the header has none.
    nod_type, pattern_type : str
        As in the header.
    x_offset, y_offset : float
        Dither from the start of the pattern [arcsec]; 0 where the header has none.
    software : str
        Version of the calibration software.
    flats : mapping of str to str
        Names of the flat files ``dflat``, ``fflat`` and ``sflat`` that the pipeline used, where it tells.
    """

    exposure_id: str
    program: str = ""
    visit: str = ""
    instrument: str = ""
    detector: str = ""
    grating: str = ""
    filter: str = ""
    lamp_mode: str = ""
    exposure_type: str = ""
    aperture: str = ""
    msa_file: str = ""
    msa_metadata_id: int = 0
    msa_configuration_id: int = 0
    exptime: float = float("nan")
    read_pattern: str = ""
    n_integrations: int = 0
    n_groups: int = 0
    n_frames: int = 0
    start_mjd: float = float("nan")
    ra_v1: float = float("nan")
    dec_v1: float = float("nan")
    pa_v3: float = float("nan")
    position_angle: float = float("nan")
    position_number: int = 0
    n_positions: int = 0
    nod_type: str = ""
    pattern_type: str = ""
    x_offset: float = 0.0
    y_offset: float = 0.0
    software: str = ""
    flats: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "flats", MappingProxyType(dict(self.flats)))
        if not (np.isfinite(self.exptime) and self.exptime > 0):
            msg = f"exptime: {self.exptime} s in exposure {self.exposure_id} is not allowed, it must be positive"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitGeometry:
    """Where the pixels of a cutout look: the coordinates of its file, evaluated once.

    Parameters
    ----------
    wavelength : ndarray, float64, shape (ny, nx) [um]
        Vacuum wavelength of a source in the middle of the slit's width; NaN outside of the slit.
    slit_y : ndarray, float64, shape (ny, nx)
        Coordinate along the slit in its own frame, 0 in the middle of the shutter with the source; NaN outside.
    wavelength_slope : ndarray, float64, shape (nx,) [um]
        Change of wavelength at a pixel when the source moves by one slit width along x, at ``slit_y = 0``.
    pixel_scale_arcsec : float
        Size of a pixel across the dispersion [arcsec].
    shutter_scale : float
        Change of ``slit_y`` in a pixel across the dispersion.

    Raises
    ------
    InvalidInputError
        When the arrays differ in shape, or a scale is not positive.
    """

    wavelength: NDArray[np.float64]
    slit_y: NDArray[np.float64]
    wavelength_slope: NDArray[np.float64]
    pixel_scale_arcsec: float
    shutter_scale: float

    def __post_init__(self) -> None:
        wavelength = as_array(self.wavelength, "wavelength", np.float64, shape=(None, None))
        object.__setattr__(self, "wavelength", wavelength)
        object.__setattr__(self, "slit_y", as_array(self.slit_y, "slit_y", np.float64, shape=wavelength.shape))
        slope = as_array(self.wavelength_slope, "wavelength_slope", np.float64, shape=wavelength.shape[1:])
        object.__setattr__(self, "wavelength_slope", slope)
        for name in ("pixel_scale_arcsec", "shutter_scale"):
            if not 0 < getattr(self, name) < np.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Slitlet:
    """Calibrated pixels of one slit in one exposure, as the file has them.

    Parameters
    ----------
    sci : ndarray, float32, shape (ny, nx) [unit]
        Surface brightness with all corrections of the pipeline, sky included.
    var_rnoise, var_poisson : ndarray, float32, shape (ny, nx) [unit^2]
        Variance of the read-out and of the photons.
    var_flat : ndarray, float32, shape (ny, nx), optional [unit^2]
        Variance of the flats; None where the file has none.
    dq : ndarray, uint32, shape (ny, nx)
        Data-quality bits.
    dq_bits : mapping of str to int
        Name of each bit.
    wavelength : ndarray, float32, shape (ny, nx) [um]
        Wavelengths as the pipeline wrote them, with its shift for a source beside the middle.
    bar : ndarray, float32, shape (ny, nx), optional
        Throughput of the bars by which the pipeline divided; None where it did not.
    pathloss_ps, pathloss_un : ndarray, float32, shape (ny, nx), optional
        Transmission of the slit for a point and for a uniform source that the pipeline knew; None where it has none.
    geometry : SlitGeometry
        Coordinates of the pixels.
    source : SlitSource
        The source.
    place : SlitPlace
        The slit.
    exposure : SlitExposure
        The exposure.
    pixel_area_sr : float
        Solid angle of a pixel, by which surface brightness becomes flux [sr].
    unit : str
        FITS unit of ``sci``.
    is_fixed_slit : bool
        A slit without shutters: no bars, no shutters that could be stuck.
    is_background : bool
        A slit that holds sky alone.
    has_extended_calibration : bool
        The flats of the pipeline left the sensitivity to tables of the extended range of wavelengths.
    path : str
        File that it was read from; empty when made in memory.
    sha256 : str
        Digest of that file.

    Raises
    ------
    InvalidInputError
        When the arrays differ in shape, or the pixel area is not positive.
    """

    sci: NDArray[np.float32]
    var_rnoise: NDArray[np.float32]
    var_poisson: NDArray[np.float32]
    dq: NDArray[np.uint32]
    wavelength: NDArray[np.float32]
    geometry: SlitGeometry
    source: SlitSource
    place: SlitPlace
    exposure: SlitExposure
    pixel_area_sr: float
    var_flat: NDArray[np.float32] | None = None
    bar: NDArray[np.float32] | None = None
    pathloss_ps: NDArray[np.float32] | None = None
    pathloss_un: NDArray[np.float32] | None = None
    dq_bits: Mapping[str, int] = field(default_factory=dict)
    unit: str = "MJy/sr"
    is_fixed_slit: bool = False
    is_background: bool = False
    has_extended_calibration: bool = False
    path: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        shape = as_image(self.sci, "sci").shape
        for name in ("sci", "var_rnoise", "var_poisson", "wavelength"):
            object.__setattr__(self, name, as_image(getattr(self, name), name, shape=shape))
        for name in ("var_flat", "bar", "pathloss_ps", "pathloss_un"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_image(getattr(self, name), name, shape=shape))
        object.__setattr__(self, "dq", as_array(self.dq, "dq", np.uint32, shape=shape))
        object.__setattr__(self, "dq_bits", MappingProxyType(dict(self.dq_bits)))
        if self.geometry.wavelength.shape != shape:
            msg = f"geometry: shape {self.geometry.wavelength.shape} is not allowed, it must be {shape} as sci has"
            raise InvalidInputError(msg)
        if not 0 < self.pixel_area_sr < np.inf:
            msg = f"pixel_area_sr: {self.pixel_area_sr} is not allowed, it must be positive"
            raise InvalidInputError(msg)

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.sci.shape[0], self.sci.shape[1]

    @property
    def error(self) -> NDArray[np.float32]:
        """1 sigma of ``sci`` with the flats' part, as ERR of the file [unit]."""
        variance = self.var_rnoise + self.var_poisson
        return np.asarray(np.sqrt(variance if self.var_flat is None else variance + self.var_flat))
