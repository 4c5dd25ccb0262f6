"""Filters by name: pivot wavelengths, and the flux of one electron per second where files do not say it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from skymere.errors import InvalidInputError

__all__ = ["FILTERS", "Filter", "find_filter", "flam_of_zero_point", "is_dispersed"]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter of a camera.

    Parameters
    ----------
    camera : str
        INSTRUME, and DETECTOR where two differ, upper case.
    name : str
        Lower case.
    photplam : float
        Pivot wavelength [Angstrom].
    photflam : float
        Flux of one electron per second [erg / s / cm2 / Angstrom]; NaN where it changes with detector and time, as for
        JWST, whose files always say it.
    """

    camera: str
    name: str
    photplam: float
    photflam: float = float("nan")


# Pivot wavelength [Angstrom] and PHOTFLAM as synphot gives them, those that grizli takes where a header is silent.
_HST = {
    "WFC3/IR": {
        "f098m": (9864.72, 6.05013e-20),
        "f105w": (10551.05, 3.03866e-20),
        "f110w": (11534.46, 1.52741e-20),
        "f125w": (12486.06, 2.24834e-20),
        "f140w": (13922.91, 1.47372e-20),
        "f160w": (15369.18, 1.92756e-20),
    },
    "ACS/WFC": {
        "f435w": (4328.26, 3.18715e-19),
        "f606w": (5921.66, 7.89336e-20),
        "f775w": (7693.30, 1.00885e-19),
        "f814w": (8058.78, 7.07676e-20),
    },
}
# Pivot wavelengths [Angstrom] that grizli has; of NIRCam F115W, F150W, F200W those of the SVO Filter Profile Service.
_JWST = {
    "NIRCAM": {
        "f070w": 7043.0,
        "f090w": 9023.0,
        "f115w": 11543.0,
        "f140m": 14050.0,
        "f150w": 15007.0,
        "f162m": 16270.0,
        "f164n": 16450.0,
        "f150w2": 16580.0,
        "f182m": 18450.0,
        "f187n": 18740.0,
        "f200w": 19886.0,
        "f210m": 20960.0,
        "f212n": 21210.0,
        "f250m": 25030.0,
        "f277w": 27580.0,
        "f300m": 29870.0,
        "f322w2": 32320.0,
        "f323n": 32370.0,
        "f335m": 33620.0,
        "f356w": 35680.0,
        "f360m": 36240.0,
        "f405n": 40520.0,
        "f410m": 40820.0,
        "f430m": 42800.0,
        "f444w": 44040.0,
        "f460m": 46260.0,
        "f466n": 46540.0,
        "f470n": 47080.0,
        "f480m": 48160.0,
    },
    "NIRISS": {
        "f090w": 9023.0,
        "f115w": 11500.0,
        "f140m": 14050.0,
        "f150w": 14930.0,
        "f158m": 15820.0,
        "f200w": 19930.0,
        "f277w": 27580.0,
        "f356w": 35680.0,
        "f380m": 38250.0,
        "f430m": 42800.0,
        "f444w": 44040.0,
        "f480m": 48160.0,
    },
}
FILTERS: Mapping[tuple[str, str], Filter] = MappingProxyType(
    {
        (camera, name): Filter(camera=camera, name=name, photplam=pivot, photflam=flam)
        for camera, filters in _HST.items()
        for name, (pivot, flam) in filters.items()
    }
    | {
        (camera, name): Filter(camera=camera, name=name, photplam=pivot)
        for camera, filters in _JWST.items()
        for name, pivot in filters.items()
    }
)


def find_filter(name: str, *, camera: str = "", where: str = "filter") -> Filter:
    """Return a filter by its name.

    Parameters
    ----------
    name : str
        In any case of letters.
    camera : str, optional
        INSTRUME, and DETECTOR behind a slash; of the cameras that fit the first one with the filter counts.
    where : str, optional
        What is said to be at fault in errors, such as the extension of a file.

    Raises
    ------
    InvalidInputError
        When no camera that fits has it.

    Examples
    --------
    >>> from skymere.instruments import find_filter
    >>> find_filter("F140W", camera="WFC3/IR").photplam
    13922.91
    """
    wanted = camera.upper()
    for (known, one), found in FILTERS.items():
        if one == name.lower() and (known.startswith(wanted) or wanted.startswith(known)):
            return found
    cameras = sorted({known for known, _ in FILTERS})
    msg = (
        f"{where}: the filter {name!r} of {camera or 'any camera'} is not known, and nothing says its PHOTFLAM and "
        f"PHOTPLAM; filters of {', '.join(cameras)} are"
    )
    raise InvalidInputError(msg)


def is_dispersed(band: str) -> bool:
    """Return whether a filter is a grism or a prism, whose exposures show spectra and no images.

    Parameters
    ----------
    band : str
        In any case of letters.

    Examples
    --------
    >>> from skymere.instruments import is_dispersed
    >>> [is_dispersed(name) for name in ("G141", "g800l", "gr150c", "f140w")]
    [True, True, True, False]
    """
    return re.fullmatch(r"g\d{3}l?|gr\d{3}[rc]?|grism\w*|prism|pr\d{3}l", band.lower()) is not None


def flam_of_zero_point(zero_point_ab: float, photplam: float) -> float:
    """Return the flux of one unit [erg / s / cm2 / Angstrom].

    Parameters
    ----------
    zero_point_ab : float
        Its AB magnitude.
    photplam : float
        Pivot wavelength [Angstrom].

    Notes
    -----
    ``ZP = -2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408`` (Sirianni et al. 2005, equation 10).
    """
    return float(10.0 ** (-0.4 * (zero_point_ab + 5.0 * np.log10(photplam) + 2.408)))
