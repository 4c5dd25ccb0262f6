"""A celestial WCS as a plain dictionary of FITS cards, exact to the last bit, and back."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning, Sip
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.wcs.tan import distortion_cards

__all__ = ["wcs_cards", "wcs_from_cards"]


def wcs_cards(wcs: WCS) -> dict[str, Any]:
    """Return the FITS cards of a two-dimensional celestial WCS, SIP included.

    `astropy.wcs.WCS.to_header` rounds to twelve digits; these cards do not, so what the lake stores is what was read.
    Only the coefficients of TPV come from there, and are off by 1e-13 degree at most.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        WCS without lookup tables.

    Returns
    -------
    dict
        Keyword to value, ready for JSON.

    Raises
    ------
    InvalidInputError
        When the WCS is not celestial and two-dimensional, or has lookup tables, which no cards can hold.
    """
    if not wcs.has_celestial or wcs.naxis != 2:
        msg = f"wcs: {wcs.naxis} axes of type {list(wcs.wcs.ctype)} are not allowed, it must be a 2-D celestial WCS"
        raise InvalidInputError(msg)
    tables = (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)
    if any(table is not None for table in tables):
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


def wcs_from_cards(cards: Mapping[str, Any]) -> WCS:
    """Return the WCS of FITS cards; the inverse of `wcs_cards`.

    Parameters
    ----------
    cards : mapping
        Keyword to value.

    Raises
    ------
    InvalidInputError
        When the cards do not make a celestial WCS.
    """
    header = fits.Header()
    for key, value in cards.items():
        header[key] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header)
    if not wcs.has_celestial:
        msg = f"cards: {sorted(cards)} do not make a celestial WCS"
        raise InvalidInputError(msg)
    _restore_digits(wcs, cards)
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
