"""One calibrated exposure of one detector."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from skymere._arrays import as_array, as_image, as_mask
from skymere.errors import InvalidInputError

__all__ = ["FLAG_BITS", "Exposure"]

# Skymere's own reasons to reject a pixel; they live beside the instrument's bits, which stay as they were read.
FLAG_BITS: Mapping[str, int] = MappingProxyType({"static": 1, "cosmic_ray": 2})


@dataclass(frozen=True, kw_only=True, eq=False)
class Exposure:
    """One calibrated exposure of one detector.

    Parameters
    ----------
    exposure_id : str
        Name of the exposure, unique in a survey.
    data : ndarray, float32, shape (ny, nx) [unit]
        Calibrated pixels, sky included.
    error : ndarray, float32, shape (ny, nx) [unit]
        1 sigma of ``data``.
    dq : ndarray, uint32, shape (ny, nx)
        Data-quality bits.
    dq_bits : mapping of str to int
        Name of each bit, so that every mask has a reason.
    harmless_dq : tuple of str
        Names of bits that tell something about a pixel without making it bad.
    flags : ndarray, uint32, shape (ny, nx), optional
        What skymere found: bits of `FLAG_BITS`. None means nothing was found yet.
    wcs : astropy.wcs.WCS or APE-14 object
        Celestial WCS with its distortion; a gwcs for JWST.
    group : str
        Name of the exposure of which this is one chip, all of which look at the sky together; empty where it is the
        only one.
    unit : str
        FITS unit of ``data``; a rate, so that exposures of any length combine.
    exptime : float
        Exposure time [s].
    band : str
        Filter, lower case.
    instrument, detector : str
        As in the header; with the number of the chip where there are several, such as WFC2.
    read_noise : float
        Read noise [electron].
    zero_point_ab : float
        AB magnitude of one unit of ``data``; NaN when unknown.
    photplam : float
        Pivot wavelength of the band as the file says it [Angstrom]; NaN when it does not.
    native_scale_arcsec : float
        Nominal side of a pixel, to which AstroDrizzle's flux scaling refers [arcsec].
    sky : float
        Sky level to be subtracted before combination [unit].
    path : str
        File that it was read from; empty when made in memory.
    sha256 : str
        Digest of that file.

    Raises
    ------
    InvalidInputError
        When the arrays differ in shape, or a number is not allowed.
    """

    exposure_id: str
    data: NDArray[np.float32]
    error: NDArray[np.float32]
    dq: NDArray[np.uint32]
    wcs: WCS | Any
    exptime: float
    band: str
    unit: str = "electron / s"
    dq_bits: Mapping[str, int] = field(default_factory=dict)
    harmless_dq: tuple[str, ...] = ()
    group: str = ""
    flags: NDArray[np.uint32] | None = None
    instrument: str = ""
    detector: str = ""
    read_noise: float = 0.0
    zero_point_ab: float = float("nan")
    photplam: float = float("nan")
    native_scale_arcsec: float = float("nan")
    sky: float = 0.0
    path: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        data = as_image(self.data, "data")
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "error", as_image(self.error, "error", shape=data.shape))
        object.__setattr__(self, "dq", as_array(self.dq, "dq", np.uint32, shape=data.shape))
        if self.flags is not None:
            object.__setattr__(self, "flags", as_array(self.flags, "flags", np.uint32, shape=data.shape))
        object.__setattr__(self, "dq_bits", MappingProxyType(dict(self.dq_bits)))
        if not (np.isfinite(self.exptime) and self.exptime > 0):
            msg = f"exptime: {self.exptime} s in exposure {self.exposure_id} is not allowed, it must be positive"
            raise InvalidInputError(msg)

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.data.shape[0], self.data.shape[1]

    @property
    def variance(self) -> NDArray[np.float32]:
        """Square of ``error`` [unit^2]."""
        return self.error**2

    def mask(self, *, ignore: Iterable[str] = ()) -> NDArray[np.bool_]:
        """Return the bad pixels, True = do not use.

        A pixel is bad when it has a flag, any DQ bit but the ignored and the harmless ones, or a value or error that is
        not finite.

        Parameters
        ----------
        ignore : iterable of str, optional
            Names of DQ bits that count as good.

        Raises
        ------
        InvalidInputError
            When a name is not one of this exposure's bits.
        """
        keep = 0
        for name in (*ignore, *self.harmless_dq):
            if name not in self.dq_bits:
                msg = (
                    f"ignore: {name!r} is not a DQ bit of {self.exposure_id}, it must be one of {sorted(self.dq_bits)}"
                )
                raise InvalidInputError(msg)
            keep |= self.dq_bits[name]
        bad = (self.dq & np.uint32(~keep & 0xFFFFFFFF)) != 0
        if self.flags is not None:
            bad |= self.flags != 0
        return np.asarray(bad | ~np.isfinite(self.data) | ~np.isfinite(self.error))

    def flagged(self, reason: str, mask: NDArray[np.bool_]) -> "Exposure":
        """Return this exposure with one more layer of flags.

        Parameters
        ----------
        reason : str
            A name of `FLAG_BITS`.
        mask : ndarray of bool, shape (ny, nx)
            True = flag.

        Raises
        ------
        InvalidInputError
            When the reason is unknown or the shape is another.
        """
        if reason not in FLAG_BITS:
            msg = f"reason: {reason!r} is not allowed, it must be one of {sorted(FLAG_BITS)}"
            raise InvalidInputError(msg)
        layer = as_mask(mask, "mask", shape=self.shape).astype(np.uint32) * np.uint32(FLAG_BITS[reason])
        return replace(self, flags=layer if self.flags is None else self.flags | layer)

    def marked(self, reason: str, mask: NDArray[np.bool_]) -> "Exposure":
        """Return this exposure with a DQ bit set where somebody says so: persistence, a blob, the trail of a satellite.

        Parameters
        ----------
        reason : str
            Name of the bit, one of `dq_bits` or a new one.
        mask : ndarray of bool, shape (ny, nx)
            True = set it.

        Raises
        ------
        InvalidInputError
            When the shape is another, the reason is empty, or no bit is free for a new one.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.wcs import WCS
        >>> from skymere.datamodels import Exposure
        >>> ones, dq = np.ones((2, 2)), np.zeros((2, 2), np.uint32)
        >>> plain = Exposure(
        ...     exposure_id="a", data=ones, error=ones, dq=dq, wcs=WCS(naxis=2), exptime=1.0, band="f160w"
        ... )
        >>> marked = plain.marked("satellite", np.eye(2, dtype=bool))
        >>> int(marked.mask().sum()), int(marked.mask(ignore=["satellite"]).sum()), int(plain.mask().sum())
        (2, 0, 0)
        """
        if not reason:
            msg = "reason: '' is not allowed, it must be the name of a DQ bit"
            raise InvalidInputError(msg)
        known = {bit for value in self.dq_bits.values() for bit in range(32) if value >> bit & 1}
        # A bit that is set and has no name belongs to the instrument.
        known |= {bit for bit in range(32) if (self.dq >> np.uint32(bit) & 1).any()}
        free = [bit for bit in reversed(range(32)) if bit not in known]
        if reason not in self.dq_bits and not free:
            msg = f"reason: {reason!r} is not allowed for {self.exposure_id}, all 32 bits of its DQ are taken"
            raise InvalidInputError(msg)
        bit = self.dq_bits[reason] if reason in self.dq_bits else 1 << free[0]
        layer = as_mask(mask, "mask", shape=self.shape).astype(np.uint32) * np.uint32(bit)
        return replace(self, dq=self.dq | layer, dq_bits={**self.dq_bits, reason: bit})
