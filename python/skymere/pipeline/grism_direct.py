"""Direct images of exposures of grisms: found by their places, and loaded when they are looked at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from skymere.align import TangentPlane
from skymere.datamodels import Exposure, Mosaic
from skymere.errors import SkymereError
from skymere.grism import direct_partner
from skymere.io import read_band, read_exposures, read_grism_setup
from skymere.lake import Lake
from skymere.pipeline.exposures import load_exposure
from skymere.wcs import pixels_to_sky

__all__ = ["DirectImages", "direct_exposures", "direct_images"]

_ENDINGS = ("_flt", "_flc", "_cal", "_rate")
# Places are those of middles, to rounding.
_ROUNDING_ARCSEC = 0.1


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """A direct exposure by the place of its middle [deg]."""

    instrument: str
    detector: str
    ra: float
    dec: float
    load: Callable[[], Exposure]


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectImages:
    """Mosaics, and exposures of which memory holds a few at a time.

    Parameters
    ----------
    stored : sequence
        Exposures by place.
    mosaics : sequence of Mosaic
        Mosaics.
    """

    stored: Sequence[_Stored]
    mosaics: Sequence[Mosaic]

    def of(self, exposure: Exposure, *, max_arcsec: float) -> list[Exposure | Mosaic]:
        """Return the partner of an exposure of a grism, when there is one, and the mosaics.

        Parameters
        ----------
        exposure : Exposure
            Of a grism, read from a file.
        max_arcsec : float
            See `skymere.grism.direct_partner` [arcsec].

        Raises
        ------
        FormatError
            When its file names no grism.
        """
        setup = read_grism_setup(exposure.path)
        partner = direct_partner(exposure, self._near(exposure, max_arcsec), setup, max_arcsec=max_arcsec)
        return [*([] if partner is None else [partner]), *self.mosaics]

    def _near(self, exposure: Exposure, max_arcsec: float) -> Iterator[Exposure]:
        ra, dec = _middle(exposure)
        plane = TangentPlane(ra=ra, dec=dec)
        for one in self.stored:
            if (one.instrument, one.detector) != (exposure.instrument, exposure.detector):
                continue
            if np.hypot(*plane.of_sky([one.ra], [one.dec])[0]) <= max_arcsec + _ROUNDING_ARCSEC:
                yield one.load()


def _middle(exposure: Exposure) -> tuple[float, float]:
    ny, nx = exposure.shape
    ra, dec = pixels_to_sky(exposure.wcs, np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
    return float(ra[0]), float(dec[0])


def direct_images(paths: Sequence[Path], *, warn: Callable[[str], None]) -> DirectImages:
    """Return direct images of files.

    Parameters
    ----------
    paths : sequence of Path
        Exposures (``_flt``, ``_flc``, ``_cal``, ``_rate``) and mosaics.
    warn : callable
        Takes what is wrong with a file that is left out.
    """
    stored, mosaics = [], []
    for path in paths:
        name = path.name.removesuffix(".gz").removesuffix(".fits")
        try:
            if not name.endswith(_ENDINGS):
                mosaics.append(read_band(path))
                continue
            found = read_exposures(path)
        except SkymereError as error:
            # Frames find another direct image, or have none, which is their status.
            warn(f"{path.name}: {type(error).__name__}: {error}")
            continue
        for k, one in enumerate(found):
            ra, dec = _middle(one)
            load = partial(_chip, path, k)
            stored.append(_Stored(instrument=one.instrument, detector=one.detector, ra=ra, dec=dec, load=load))
    return DirectImages(stored=stored, mosaics=mosaics)


def _chip(path: Path, k: int) -> Exposure:
    return read_exposures(path)[k]


def direct_exposures(lake: Lake, rows: pl.DataFrame) -> DirectImages:
    """Return exposures of a lake as direct images.

    Parameters
    ----------
    lake : Lake
        The lake.
    rows : polars.DataFrame
        Of `skymere.pipeline.exposures.exposure_rows`.
    """
    places = rows.select("instrument", "detector", "ra", "dec", "exposure_id").drop_nulls()
    stored = [
        _Stored(instrument=instrument, detector=detector, ra=ra, dec=dec, load=partial(load_exposure, lake, name))
        for instrument, detector, ra, dec, name in places.iter_rows()
    ]
    return DirectImages(stored=stored, mosaics=())
