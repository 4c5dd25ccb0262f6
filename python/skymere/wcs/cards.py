"""A celestial WCS as JSON, exact to the last bit, and back: FITS cards, look-up tables, gwcs."""

import base64
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable, FITSFixedWarning, Sip
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.wcs.gwcs_text import gwcs_from_asdf, gwcs_text, is_gwcs
from skymere.wcs.tan import distortion_cards

__all__ = ["fits_cards", "wcs_cards", "wcs_from_cards"]

# Keys beside the cards; no FITS keyword has small letters.
_GWCS, _TABLES = "gwcs", "lookup_tables"
# What a table is, and the attribute of the WCS that holds it.
_ATTRIBUTES = {"npol_x": "cpdis1", "npol_y": "cpdis2", "d2im_x": "det2im1", "d2im_y": "det2im2"}


def wcs_cards(wcs: Any) -> dict[str, Any]:
    """Return a two-dimensional celestial WCS as JSON: the same text for the same coordinates.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or gwcs.WCS
        The coordinates, with their distortion.

    Returns
    -------
    dict
        FITS keyword to value, as `fits_cards` has them. Look-up tables (NPOL, D2IM) are in ``lookup_tables``: for each
        its ``crpix``, ``crval`` and ``cdelt`` and its float32 values, little-endian in base64. Of a gwcs there is only
        ``gwcs``, its ASDF as text.

    Raises
    ------
    InvalidInputError
        When the coordinates are of another kind, or not celestial and two-dimensional.

    Examples
    --------
    >>> from skymere.wcs import Grid, wcs_cards, wcs_from_cards
    >>> grid = Grid.tangent(150.0, 2.0, shape=(100, 100), scale_arcsec=0.06)
    >>> wcs_cards(wcs_from_cards(wcs_cards(grid.wcs))) == wcs_cards(grid.wcs)
    True
    """
    if is_gwcs(wcs):
        return {_GWCS: gwcs_text(wcs)}
    cards = fits_cards(wcs, ignore_tables=True)
    tables = {name: getattr(wcs, attribute) for name, attribute in _ATTRIBUTES.items()}
    stored = {name: _stored_table(table) for name, table in tables.items() if table is not None}
    return cards | {_TABLES: stored} if stored else cards


def fits_cards(wcs: Any, *, ignore_tables: bool = False) -> dict[str, Any]:
    """Return the FITS cards of a two-dimensional celestial WCS, SIP included, ready for a header.

    `astropy.wcs.WCS.to_header` rounds to twelve digits; these cards do not, so what is stored is what was read.
    Only the coefficients of TPV come from there, and are off by 1e-13 degree at most.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        The coordinates.
    ignore_tables : bool, optional
        Leave look-up tables out, which have extensions of their own in a file.

    Returns
    -------
    dict
        Keyword to value.

    Raises
    ------
    InvalidInputError
        When the WCS is not one of astropy, celestial and two-dimensional, or has look-up tables, which no cards can
        hold.
    """
    if not isinstance(wcs, WCS):
        msg = f"wcs: {type(wcs).__name__} is not allowed, it must be an astropy WCS, or in the lake a gwcs"
        raise InvalidInputError(msg)
    if not wcs.has_celestial or wcs.naxis != 2:
        msg = f"wcs: {wcs.naxis} axes of type {list(wcs.wcs.ctype)} are not allowed, it must be a 2-D celestial WCS"
        raise InvalidInputError(msg)
    if not ignore_tables and any(getattr(wcs, attribute) is not None for attribute in _ATTRIBUTES.values()):
        msg = "wcs: lookup-table distortion (NPOL, D2IM) cannot be written as cards"
        raise InvalidInputError(msg)
    cards: dict[str, Any] = {"WCSAXES": 2}
    matrix = wcs.pixel_scale_matrix
    for i in (1, 2):
        cards[f"CTYPE{i}"] = str(wcs.wcs.ctype[i - 1])
        cards[f"CUNIT{i}"] = str(wcs.wcs.cunit[i - 1])
        cards[f"CRPIX{i}"] = float(wcs.wcs.crpix[i - 1])
        cards[f"CRVAL{i}"] = float(wcs.wcs.crval[i - 1])
        for j in (1, 2):
            cards[f"CD{i}_{j}"] = float(matrix[i - 1, j - 1])
    cards["RADESYS"] = str(wcs.wcs.radesys) or "ICRS"
    for key, value in (("LONPOLE", wcs.wcs.lonpole), ("LATPOLE", wcs.wcs.latpole)):
        if np.isfinite(value):
            cards[key] = float(value)
    for i, m, value in wcs.wcs.get_pv():
        cards[f"PV{i}_{m}"] = float(value)
    cards.update(distortion_cards(wcs))
    if wcs.sip is not None:
        cards.update(_sip_cards(wcs))
    return cards


def _sip_cards(wcs: WCS) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for prefix, table in (("A", wcs.sip.a), ("B", wcs.sip.b), ("AP", wcs.sip.ap), ("BP", wcs.sip.bp)):
        if table is None:
            continue
        cards[f"{prefix}_ORDER"] = len(table) - 1
        for p, q in zip(*np.nonzero(table), strict=True):
            cards[f"{prefix}_{p}_{q}"] = float(table[p, q])
    return cards


def _stored_table(table: DistortionLookupTable) -> dict[str, Any]:
    place = {key: [float(value) for value in getattr(table, key)] for key in ("crpix", "crval", "cdelt")}
    content = np.asarray(table.data, "<f4").tobytes()
    return place | {"shape": list(table.data.shape), "float32": base64.b64encode(content).decode()}


def _read_table(stored: Mapping[str, Any]) -> DistortionLookupTable:
    place = [tuple(stored[key]) for key in ("crpix", "crval", "cdelt")]
    values = np.frombuffer(base64.b64decode(stored["float32"]), "<f4").astype(np.float32).reshape(stored["shape"])
    return DistortionLookupTable(values, *place)


def wcs_from_cards(cards: Mapping[str, Any]) -> Any:
    """Return the WCS of what `wcs_cards` gave, or of the cards of a FITS header.

    Parameters
    ----------
    cards : mapping
        Keyword to value.

    Returns
    -------
    astropy.wcs.WCS or gwcs.WCS
        The coordinates.

    Raises
    ------
    InvalidInputError
        When the cards do not make a celestial WCS.
    NotFoundError
        When they are a gwcs and the packages for it are missing.
    FormatError
        When a gwcs cannot be read.
    """
    if _GWCS in cards:
        return gwcs_from_asdf(str(cards[_GWCS]).encode(), "cards")
    header = fits.Header()
    for key, value in cards.items():
        if key != _TABLES:
            header[key] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            wcs = WCS(header)
        except (ValueError, KeyError) as error:
            msg = f"cards: they do not make a celestial WCS: {error}"
            raise InvalidInputError(msg) from error
    if not wcs.has_celestial:
        msg = f"cards: {sorted(cards)} do not make a celestial WCS"
        raise InvalidInputError(msg)
    _restore_digits(wcs, cards)
    for name, stored in cards.get(_TABLES, {}).items():
        setattr(wcs, _ATTRIBUTES[name], _read_table(stored))
    wcs.wcs.set()
    return wcs


def _restore_digits(wcs: WCS, cards: Mapping[str, Any]) -> None:
    """Give the WCS the numbers of the cards; on its way through a FITS header each lost its last digits."""
    wcs.wcs.crpix = [cards.get(f"CRPIX{i}", value) for i, value in enumerate(wcs.wcs.crpix, start=1)]
    wcs.wcs.crval = [cards.get(f"CRVAL{i}", value) for i, value in enumerate(wcs.wcs.crval, start=1)]
    if wcs.wcs.has_cd():
        wcs.wcs.cd = [[cards.get(f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)]
    if wcs.sip is not None:
        tables = [_sip_table(cards, prefix) for prefix in ("A", "B", "AP", "BP")]
        wcs.sip = Sip(*tables, list(wcs.wcs.crpix))


def _sip_table(cards: Mapping[str, Any], prefix: str) -> NDArray[np.float64] | None:
    if f"{prefix}_ORDER" not in cards:
        return None
    order = int(cards[f"{prefix}_ORDER"])
    table = np.zeros((order + 1, order + 1))
    for p in range(order + 1):
        for q in range(order + 1 - p):
            table[p, q] = cards.get(f"{prefix}_{p}_{q}", 0.0)
    return table
