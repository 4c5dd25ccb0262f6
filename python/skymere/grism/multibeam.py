"""All beams of a source."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.wcs import pixels_to_sky

if TYPE_CHECKING:
    from skymere.datamodels import GrismSpectrum, GrismStack
    from skymere.grism.extract import ExtractParams
    from skymere.grism.model_spectra import ModelSpectra, TemplateFactors
    from skymere.grism.stacks import StackParams

__all__ = ["MultiBeam"]

# The pixel at whose trace angles of a frame are taken, and half the length of the piece [pix].
_ANGLE_PLACE = 507.0
_ANGLE_HALF = 10.0

_Array = NDArray[np.float64]


class MultiBeam:
    """Beams of one source, in several exposures, orders and grisms.

    Parameters
    ----------
    beams : sequence of BeamModel
        The beams; all of one source.
    records : sequence of str, optional
        What was found while they were read, as a configuration for which TRACE stands in.

    Raises
    ------
    InvalidInputError
        When there is no beam, or they are of several sources.
    """

    def __init__(self, beams: Sequence[BeamModel], *, records: Iterable[str] = ()) -> None:
        ids = {one.beam.source_id for one in beams}
        if len(ids) != 1:
            msg = f"beams: sources {sorted(ids)} are not allowed, all must be of one"
            raise InvalidInputError(msg)
        self.beams, self.records = tuple(beams), tuple(records)

    @property
    def source_id(self) -> int:
        """Label of the source."""
        return self.beams[0].beam.source_id

    @property
    def position(self) -> tuple[float, float]:
        """Right ascension and declination of the source [deg]: those of the file, or of its light in the first beam.

        Raises
        ------
        InvalidInputError
            When no beam has coordinates.
        """
        for one in self.beams:
            if one.sky_position is not None:
                return one.sky_position
        for one in self.beams:
            if one.wcs is not None:
                x, y = one.centroid
                ra, dec = pixels_to_sky(one.wcs, np.array([x]), np.array([y]))
                return float(ra[0]), float(dec[0])
        msg = "multibeam: no beam has coordinates of the sky, so nothing can be drizzled"
        raise InvalidInputError(msg)

    @property
    def N(self) -> int:  # noqa: N802
        """Number of beams."""
        return len(self.beams)

    @property
    def Ntot(self) -> int:  # noqa: N802
        """Number of pixels of all beams."""
        return sum(one.beam.sci.size for one in self.beams)

    @property
    def Ngrism(self) -> dict[str, int]:  # noqa: N802
        """Number of beams of each grism."""
        names = [one.grism_name for one in self.beams]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    @property
    def grisms(self) -> list[str]:
        """Names of the grisms."""
        return list(self.Ngrism)

    @cached_property
    def angles(self) -> _Array:
        """Position angle of rising wavelengths of each beam, east of north, NaN without a sky [deg]."""
        return np.array([_dispersion_angle(one) for one in self.beams])

    @property
    def PA(self) -> dict[str, dict[float, list[int]]]:  # noqa: N802
        """Indices of beams by grism and position angle, rounded to a degree from 0 to 359; 0 without a sky."""
        out: dict[str, dict[float, list[int]]] = {name: {} for name in self.Ngrism}
        for i, angle in enumerate(np.round(np.nan_to_num(self.angles)) % 360):
            out[self.beams[i].grism_name].setdefault(float(angle), []).append(i)
        return out

    def split(self) -> "dict[str, MultiBeam]":
        """Return the beams of each grism."""
        return {
            name: MultiBeam([one for one in self.beams if one.grism_name == name], records=self.records)
            for name in self.grisms
        }

    def extend(self, other: "MultiBeam") -> "MultiBeam":
        """Return the beams of both.

        Parameters
        ----------
        other : MultiBeam
            Beams of the same source.

        Raises
        ------
        InvalidInputError
            When they are of another source.
        """
        return MultiBeam([*self.beams, *other.beams], records=[*self.records, *other.records])

    def optimal_extract(self, *, params: "ExtractParams | None" = None) -> "Mapping[str, GrismSpectrum]":
        """Return `oned_spectrum` of the data alone, without a fit.

        Parameters
        ----------
        params : ExtractParams, optional
            Bins, wavelengths, errors.
        """
        return self.oned_spectrum(params=params)

    def oned_spectrum(
        self, *, fit: "ModelSpectra | TemplateFactors | None" = None, params: "ExtractParams | None" = None
    ) -> "Mapping[str, GrismSpectrum]":
        """Return `skymere.grism.oned_spectrum` of the beams.

        Parameters
        ----------
        fit : ModelSpectra or TemplateFactors, optional
            A fit, whose models are extracted, too.
        params : ExtractParams, optional
            Bins, wavelengths, errors.
        """
        from skymere.grism.extract import oned_spectrum

        return oned_spectrum(self, fit=fit, params=params)

    def drizzle_stacks(
        self, *, fit: "ModelSpectra | TemplateFactors | None" = None, params: "StackParams | None" = None
    ) -> "tuple[GrismStack, ...]":
        """Return `skymere.grism.drizzle_stacks` of the beams.

        Parameters
        ----------
        fit : ModelSpectra or TemplateFactors, optional
            A fit, whose model is drizzled.
        params : StackParams, optional
            Pixels, kernel, wavelengths.
        """
        from skymere.grism.stacks import drizzle_stacks

        return drizzle_stacks(self, fit=fit, params=params)

    def _flat(self, name: str) -> NDArray[np.generic]:
        return np.concatenate([np.asarray(getattr(one, name)).ravel() for one in self.beams])

    @property
    def fit_mask(self) -> NDArray[np.bool_]:
        """Pixels of all beams that are fitted, bool, shape (Ntot,)."""
        return self._flat("fit_mask").astype(bool)

    @property
    def DoF(self) -> int:  # noqa: N802
        """Sum of the weight factors of the pixels that are fitted, as grizli counts them."""
        return int((self.weightf * self.fit_mask).sum())

    @property
    def scif(self) -> _Array:
        """Data without contamination of all beams, float64, shape (Ntot,) [e/s]."""
        return self._flat("cleaned").astype(np.float64)

    @property
    def ivarf(self) -> _Array:
        """Inverse variances with systematic error, float64, shape (Ntot,)."""
        return self._flat("ivar").astype(np.float64)

    @property
    def weightf(self) -> _Array:
        """Factors of the weights beside contamination, float64, shape (Ntot,)."""
        return self._flat("weight").astype(np.float64)

    @property
    def contamf(self) -> _Array:
        """Contamination, float64, shape (Ntot,) [e/s]."""
        return self._flat("contam").astype(np.float64)

    @property
    def wavef(self) -> _Array:
        """Wavelengths of the pixels, float64, shape (Ntot,) [um]."""
        return np.concatenate([np.broadcast_to(one.wave, one.shape).ravel() for one in self.beams])

    @property
    def flat_flam(self) -> _Array:
        """Models of a spectrum of 1 erg/s/cm2/A, float64, shape (Ntot,) [e/s]."""
        return self._flat("flat").astype(np.float64)

    @property
    def A_bg(self) -> _Array:  # noqa: N802
        """Backgrounds: 1 in the pixels of one beam, float64, shape (N, Ntot)."""
        sizes = [one.beam.sci.size for one in self.beams]
        owner = np.repeat(np.arange(self.N), sizes)
        return np.asarray(owner == np.arange(self.N)[:, None], np.float64)


def _dispersion_angle(one: BeamModel) -> float:
    """Return the angle of the trace on the sky at the middle of the detector."""
    wcs = one.wcs
    if wcs is None:
        return float("nan")
    middle = 0.5 * (one.order.first + one.order.end)
    dx = np.array([middle - _ANGLE_HALF, middle + _ANGLE_HALF])
    place = one.order.place(_ANGLE_PLACE, _ANGLE_PLACE, x_shift=0.0)
    dy, _ = one.order.compiled.trace(place, dx)
    x0, y0 = (value - 1 for value in wcs.wcs.crpix)
    # Where the trace lies around the reference pixel: as grizli, which adds the pixel to the offset in the cutout.
    ra, dec = pixels_to_sky(wcs, x0 + dx, y0 + dy)
    east = (ra[1] - ra[0]) * np.cos(np.deg2rad(dec[0]))
    return float(np.rad2deg(np.arctan2(east, dec[1] - dec[0])) % 360)
