"""Slits as FITS files with evaluated coordinates, which `read_slitlets` reads without a gwcs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from skymere.datamodels import Slitlet
from skymere.errors import InvalidInputError
from skymere.instruments import SHUTTERS_PER_ROW
from skymere.io._open import write_whole
from skymere.io.slit_geometry import EVALUATED, SCALES

__all__ = ["write_slitlets"]

_EXPOSURE = {
    "PROGRAM": "program",
    "VISIT_ID": "visit",
    "DETECTOR": "detector",
    "GRATING": "grating",
    "FILTER": "filter",
    "OPMODE": "lamp_mode",
    "EXP_TYPE": "exposure_type",
    "APERNAME": "aperture",
    "MSAMETFL": "msa_file",
    "MSAMETID": "msa_metadata_id",
    "MSACONID": "msa_configuration_id",
    "EFFEXPTM": "exptime",
    "READPATT": "read_pattern",
    "NINTS": "n_integrations",
    "NGROUPS": "n_groups",
    "NFRAMES": "n_frames",
    "EXPSTART": "start_mjd",
    "RA_V1": "ra_v1",
    "DEC_V1": "dec_v1",
    "PA_V3": "pa_v3",
    "PA_APER": "position_angle",
    "PATT_NUM": "position_number",
    "NUMDTHPT": "n_positions",
    "NOD_TYPE": "nod_type",
    "PATTTYPE": "pattern_type",
    "XOFFSET": "x_offset",
    "YOFFSET": "y_offset",
    "CAL_VER": "software",
}
_FLATS = {"R_DFLAT": "dflat", "R_FFLAT": "fflat", "R_SFLAT": "sflat"}
_SOURCE = {
    "SOURCEID": "source_id",
    "SRCNAME": "name",
    "SRCRA": "ra",
    "SRCDEC": "dec",
    "SRCXPOS": "x_position",
    "SRCYPOS": "y_position",
    "SRCTYPE": "kind",
    "STLARITY": "stellarity",
}
_PLACE = {
    "SLTNAME": "slit_name",
    "SLITID": "slitlet_id",
    "QUADRANT": "quadrant",
    "SHUTSTA": "shutter_state",
    "SLITYMIN": "y_min",
    "SLITYMAX": "y_max",
}
_PLANES = {
    "DQ": "dq",
    "VAR_RNOISE": "var_rnoise",
    "VAR_POISSON": "var_poisson",
    "VAR_FLAT": "var_flat",
    "WAVELENGTH": "wavelength",
    "BARSHADOW": "bar",
    "PATHLOSS_PS": "pathloss_ps",
    "PATHLOSS_UN": "pathloss_un",
}


def write_slitlets(slitlets: Slitlet | Sequence[Slitlet], path: str | Path) -> None:
    """Write the slits of an exposure as one file.

    Parameters
    ----------
    slitlets : Slitlet or sequence of Slitlet
        Slits of one exposure.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one. The exposure is named by the first four
        parts of its name between underscores.

    Raises
    ------
    InvalidInputError
        When there is none, or they are of several exposures.
    StorageError
        When it cannot be written.

    Notes
    -----
    Keywords and extensions are those of the JWST pipeline. In place of the extension ASDF each slit has ``GEOM_WAVE``
    (wavelength [um]) and ``GEOM_Y`` (place along the slit), float64, shape (ny, nx), and ``GEOM_SLOPE`` (change of the
    wavelength [um] for a source beside the middle), float64, shape (nx,).
    """
    slits = [slitlets] if isinstance(slitlets, Slitlet) else list(slitlets)
    if len({one.exposure.exposure_id for one in slits}) != 1:
        names = sorted({one.exposure.exposure_id for one in slits})
        msg = f"slitlets: exposures {names} are not allowed, one file holds slits of one exposure"
        raise InvalidInputError(msg)
    primary = fits.PrimaryHDU()
    exposure = slits[0].exposure
    primary.header.update({"TELESCOP": "JWST", "INSTRUME": "NIRSPEC"})
    _put(primary.header, exposure, _EXPOSURE)
    primary.header.update({key: exposure.flats[kind] for key, kind in _FLATS.items() if kind in exposure.flats})
    hdus = fits.HDUList([primary])
    for version, one in enumerate(slits, 1):
        for hdu in _extensions(one):
            hdu.ver = version
            hdus.append(hdu)
    write_whole(hdus, path)


def _put(header: fits.Header, of: Any, names: Mapping[str, str]) -> None:
    """Put what is known into a header: a missing card is read as not known."""
    for key, name in names.items():
        value = getattr(of, name)
        if value != "" and not (isinstance(value, float) and math.isnan(value)):
            header[key] = value


def _extensions(one: Slitlet) -> list[fits.ImageHDU]:
    sci = fits.ImageHDU(one.sci, name="SCI")
    sci.header["BUNIT"] = one.unit
    sci.header["PIXAR_SR"] = one.pixel_area_sr
    _put(sci.header, one.source, _SOURCE)
    _put(sci.header, one.place, _PLACE)
    place = one.place
    sci.header["SHUTTRID"] = place.shutter_id or (
        place.column + (place.row - 1) * SHUTTERS_PER_ROW if place.column > 0 else 0
    )
    sci.header.update({"SLTSTRT1": place.x0 + 1, "SLTSTRT2": place.y0 + 1})
    planes = {name: getattr(one, attribute) for name, attribute in _PLANES.items()}
    geometry = one.geometry
    planes |= {name: getattr(geometry, attribute) for name, attribute in EVALUATED.items()}
    made = [fits.ImageHDU(np.asarray(plane), name=name) for name, plane in planes.items() if plane is not None]
    for hdu in made:
        if hdu.name in EVALUATED:
            hdu.header.update({key: getattr(geometry, attribute) for key, attribute in SCALES.items()})
    return [sci, *made]
