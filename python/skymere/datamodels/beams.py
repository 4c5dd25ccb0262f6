"""One source, one order, one exposure of a grism."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_array, as_image
from skymere.errors import InvalidInputError

__all__ = ["Beam"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Beam:
    """Cutouts of a source: its direct image, and one spectral order of one exposure.

    Parameters
    ----------
    source_id : int
        Its label in the segmentation.
    order : str
        Letter of the order, A for the first.
    direct : ndarray, float32, shape (n, m) [erg/s/cm2/A or e/s]
        Direct image in any unit; its shape counts, its sum over the source is the unit of flat spectra.
    segmentation : ndarray, int32, shape (n, m)
        Labels of the direct image.
    sci, err : ndarray, float32, shape (n, m + columns) [e/s]
        The spectrum and its 1 sigma. Row for row beside the direct image; the first column is that of the direct
        image plus ``first_offset``.
    dq : ndarray, uint32, shape (n, m + columns)
        Bits of the spectrum.
    contam : ndarray, float32, shape (n, m + columns) [e/s]
        Light of other sources.
    origin : tuple of int
        Row and column of the first pixel of the direct image in its padded frame.
    grism_origin : tuple of int
        The same of the spectrum.
    pad : tuple of int
        Rows and columns by which the frame is padded.
    center_offset : tuple of float
        The source from the middle of the direct image, x and y [pix].
    x_shift : float, optional
        Instead of the order's own shift along the dispersion [pix].
    y_shift : float
        Added to the trace [pix].
    fwcpos : float, optional
        Position of the filter wheel [deg].
    mw_ebv : float
        Extinction E(B-V) of the Milky Way that the file states.
    instrument, grism, pupil, module : str
        As headers name them.
    direct_filter : str
        The filter of the direct image.
    chip : int
        Chip of the detector.
    parent, direct_parent : str
        Files of the grism and of the direct exposure.
    exptime : float [s]
        Exposure time.
    config_name : str
        The configuration that the file names; empty when it names none.
    trace : ndarray, float64, shape (m + columns, 3), optional
        Wavelength [um], row from the source and sensitivity [e/s per erg/s/cm2/A] of every column.
    model : ndarray, float32, shape (n, m + columns), optional
        A model that the file holds [e/s].
    direct_planes : mapping of str to ndarray
        Extensions of the direct image as they are in the file, by name.
    headers : mapping of str to str
        Headers of the file, ``primary``, ``direct`` and ``grism``, as text.

    Raises
    ------
    InvalidInputError
        When shapes do not fit.
    """

    source_id: int
    order: str
    direct: NDArray[np.float32]
    segmentation: NDArray[np.int32]
    sci: NDArray[np.float32]
    err: NDArray[np.float32]
    dq: NDArray[np.uint32]
    contam: NDArray[np.float32]
    origin: tuple[int, int]
    grism_origin: tuple[int, int]
    pad: tuple[int, int] = (0, 0)
    center_offset: tuple[float, float] = (0.0, 0.0)
    x_shift: float | None = None
    y_shift: float = 0.0
    fwcpos: float | None = None
    mw_ebv: float = 0.0
    instrument: str = ""
    grism: str = ""
    pupil: str = ""
    module: str = ""
    direct_filter: str = ""
    chip: int = 1
    parent: str = ""
    direct_parent: str = ""
    exptime: float = float("nan")
    config_name: str = ""
    trace: NDArray[np.float64] | None = None
    model: NDArray[np.float32] | None = None
    direct_planes: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        direct = as_image(self.direct, "direct")
        object.__setattr__(self, "direct", direct)
        object.__setattr__(
            self, "segmentation", as_array(self.segmentation, "segmentation", np.int32, shape=direct.shape)
        )
        sci = as_image(self.sci, "sci")
        object.__setattr__(self, "sci", sci)
        if sci.shape[0] != direct.shape[0] or sci.shape[1] <= direct.shape[1]:
            msg = f"sci: shape {sci.shape} is not allowed, it must have the rows and more columns than {direct.shape}"
            raise InvalidInputError(msg)
        for name in ("err", "contam", "model"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_image(getattr(self, name), name, shape=(sci.shape[0], sci.shape[1])))
        object.__setattr__(self, "dq", as_array(self.dq, "dq", np.uint32, shape=sci.shape))
        if self.trace is not None:
            object.__setattr__(self, "trace", as_array(self.trace, "trace", np.float64, shape=(sci.shape[1], 3)))

    @property
    def first_offset(self) -> int:
        """Offset along the dispersion of the first column."""
        return self.grism_origin[1] - self.origin[1]

    @property
    def n_columns(self) -> int:
        """Columns of the order."""
        return int(self.sci.shape[1] - self.direct.shape[1])

    @property
    def detector_position(self) -> tuple[float, float]:
        """The source on the detector, x and y [pix], as grizli places it: the middle of the cutout is n / 2."""
        (n, m), (row, column) = self.direct.shape, self.origin
        x = m / 2 + column + self.center_offset[0] - self.pad[1]
        return x, n / 2 + row + self.center_offset[1] - self.pad[0]

    @property
    def label(self) -> str:
        """Grism, order and exposure."""
        return f"{self.grism}/{self.order} of {self.parent}"
