"""Tabulated profiles of the reference files, chosen by grating and slit."""

from typing import Literal, get_args

from skymere.errors import InvalidInputError
from skymere.io import Pack, find_pack, read_slit_profile
from skymere.slit.profile import TableProfile

__all__ = ["LookupKind", "lookup_file", "lookup_profile"]

LookupKind = Literal["merged", "by_grating"]

_MSA_SLIT = "s200a1"  # profiles behind shutters are those of this fixed slit
_NARROW = ("s200a2", "s200b1")


def lookup_file(
    *, grating: str, filter_name: str, slit: str = "", kind: LookupKind = "merged", version: str = "001"
) -> str:
    """Return the name of the table of a grating and a slit.

    Parameters
    ----------
    grating, filter_name : str
        As in the header.
    slit : str
        Name of the fixed slit; empty for shutters, which have the table of S200A1.
    kind : str
        ``merged``: one table for all gratings, the narrow slits sharing that of S200A1; ``by_grating``: one for each,
        those of high resolution sharing that of medium.
    version : str
        Version of the tables.

    Raises
    ------
    InvalidInputError
        When the kind is not known.
    """
    if kind not in get_args(LookupKind):
        msg = f"kind: {kind!r} is not allowed, it must be one of {', '.join(get_args(LookupKind))}"
        raise InvalidInputError(msg)
    place = slit.lower() or _MSA_SLIT
    key = "merged"
    if kind == "by_grating":
        name = grating.lower()
        key = f"{name[:-1]}m_{filter_name}" if name.startswith("g") and name.endswith("h") else f"{name}_{filter_name}"
    elif place in _NARROW:
        place = _MSA_SLIT
    return f"nirspec_{key}_{place}_exp_psf_lookup_{version}.fits".lower()


def lookup_profile(
    pack: Pack | None = None,
    *,
    grating: str,
    filter_name: str,
    slit: str = "",
    kind: LookupKind = "merged",
    version: str = "001",
) -> TableProfile:
    """Return the measured profile of a point, broadened by sources of many sizes, and the light that passes the slit.

    Parameters
    ----------
    pack : Pack, optional
        Reference files; `skymere.io.find_pack("nirspec")` when not given.
    grating, filter_name, slit, kind, version
        See `lookup_file`.

    Returns
    -------
    TableProfile
        Its size is the half-light radius of an exponential source [pix].

    Raises
    ------
    InvalidInputError
        When the kind is not known.
    NotFoundError
        When the file is missing; the message names it.
    FormatError
        When it is something else.
    """
    file = lookup_file(grating=grating, filter_name=filter_name, slit=slit, kind=kind, version=version)
    table = read_slit_profile((pack or find_pack("nirspec")).path(file))
    return TableProfile(
        values=table.profile,
        y=table.y,
        wave=table.wavelength,
        size=table.sigma,
        transmission=table.loss,
        x=table.x_offset,
    )
