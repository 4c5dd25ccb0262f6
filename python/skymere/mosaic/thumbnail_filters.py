"""Filters that are alike, which thumbnails show as one band."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError
from skymere.instruments import find_filter, flam_of_zero_point, is_dispersed
from skymere.mosaic.exposure_list import ExposureList

__all__ = ["Photometry", "alike_filters", "check_merged", "photometry_of"]

# Of these all detectors have the same filters.
_ONE_FAMILY = ("NIRCAM", "NIRISS", "NIRSPEC", "MIRI")


@dataclass(frozen=True, kw_only=True)
class Photometry:
    """What one electron / s of an exposure means.

    Parameters
    ----------
    zero_point_ab : float
        AB magnitude of one electron / s; NaN when unknown.
    photflam : float
        Its flux [erg / s / cm2 / Angstrom]; NaN when unknown.
    photplam : float
        Pivot wavelength [Angstrom]; NaN when unknown.
    photometry_from : str
        ``header``, ``table`` or, when unknown, empty.
    """

    zero_point_ab: float
    photflam: float
    photplam: float
    photometry_from: str


def photometry_of(exposure: Exposure) -> Photometry:
    """Return the photometry that an exposure says, or where it is silent that of `skymere.instruments.FILTERS`.

    Parameters
    ----------
    exposure : Exposure
        In electron / s or electron.
    """
    zero = exposure.zero_point_ab
    if np.isfinite(zero) and exposure.unit == "electron":
        zero -= 2.5 * np.log10(exposure.exptime)
    plam, said, flam = exposure.photplam, "header", float("nan")
    if not (plam > 0 and np.isfinite(zero)):
        camera = "/".join(part for part in (exposure.instrument, exposure.detector) if part)
        try:
            known = find_filter(exposure.band, camera=camera)
        except InvalidInputError:
            known, said = None, ""
        if known is not None:
            plam, flam, said = (plam if plam > 0 else known.photplam), known.photflam, "table"
    if np.isfinite(zero) and plam > 0:
        flam = flam_of_zero_point(zero, plam)
    elif flam > 0 and plam > 0:
        zero = float(-2.5 * np.log10(flam) - 5.0 * np.log10(plam) - 2.408)
    return Photometry(zero_point_ab=zero, photflam=flam, photplam=plam, photometry_from=said)


def alike_filters(exposures: ExposureList, *, tolerance: float = 0.05) -> Mapping[str, tuple[str, ...]]:
    """Return groups of filters that show about the same light, for `thumbnails` to merge.

    Parameters
    ----------
    exposures : ExposureList
        Exposures of any filters; those of grisms do not count.
    tolerance : float, optional
        Largest ratio of two pivot wavelengths in a group, less 1.

    Returns
    -------
    mapping of str to tuple of str
        Filters of each group, by pivot wavelength, under the name ``f105w+f110w``; filters that are alone are in none.

    Raises
    ------
    InvalidInputError
        When the tolerance is not positive.

    Notes
    -----
    Filters are of a group when they belong to the same family of detectors (WFC3/IR, WFC3/UVIS, ACS/WFC; NIRCam and
    NIRISS whole) and ``lambda <= lambda_1 (1 + tolerance)`` with the shortest pivot wavelength lambda_1 of the
    group. Groups begin at the shortest filter. Filters whose pivot wavelength neither headers nor
    `skymere.instruments.FILTERS` tell are in no group.
    """
    if not 0 < tolerance < np.inf:
        msg = f"tolerance: {tolerance} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    pivots: dict[tuple[str, str], float] = {}
    for row in exposures.table.filter(pl.col("status") == "ok").iter_rows(named=True):
        if is_dispersed(row["band"]):
            continue
        instrument, detector = ((row.get(name) or "").upper() for name in ("instrument", "detector"))
        family = instrument if instrument in _ONE_FAMILY else f"{instrument}/{detector}".strip("/")
        pivot = row.get("photplam") or _pivot(row["band"], family)
        if pivot > 0:
            pivots.setdefault((family, row["band"]), float(pivot))
    groups: list[tuple[str, float, list[str]]] = []
    for (family, band), pivot in sorted(pivots.items(), key=lambda one: (one[0][0], one[1], one[0][1])):
        if groups and groups[-1][0] == family and pivot <= groups[-1][1] * (1.0 + tolerance):
            groups[-1][2].append(band)
        else:
            groups.append((family, pivot, [band]))
    # A filter name of two cameras would be in two groups: exposures tell filters apart by their names alone.
    n_seen = {band: sum(band in names for _, _, names in groups) for _, _, names in groups for band in names}
    some = [tuple(band for band in names if n_seen[band] == 1) for _, _, names in groups]
    return MappingProxyType({"+".join(names): names for names in some if len(names) > 1})


def _pivot(band: str, family: str) -> float:
    try:
        return find_filter(band, camera=family).photplam
    except InvalidInputError:
        return float("nan")


def check_merged(merged: Mapping[str, Iterable[str]] | None, filters: Iterable[str]) -> dict[str, str]:
    """Return the band in which each filter is shown.

    Parameters
    ----------
    merged : mapping of str to iterable of str, or None
        Filters of each group, in any case of letters.
    filters : iterable of str
        All filters, lower case; those of groups that are not among them do not count.

    Raises
    ------
    InvalidInputError
        When a filter is in two groups, a group is empty, or its name is that of a filter that is not in it.
    """
    wanted = list(filters)
    shown = {name: name for name in wanted}
    seen: dict[str, str] = {}
    for group, members in (merged or {}).items():
        name, names = group.lower(), [one.lower() for one in members]
        if not name or not names:
            msg = f"merged: {group!r} of {names} is not allowed, a group needs a name and filters"
            raise InvalidInputError(msg)
        if name in wanted and name not in names:
            msg = f"merged: {group!r} is not allowed, it is the name of a filter that is not in the group"
            raise InvalidInputError(msg)
        for one in names:
            if one in seen:
                msg = f"merged: {one!r} is not allowed in two groups, it is in {seen[one]!r} and {group!r}"
                raise InvalidInputError(msg)
            seen[one] = group
            if one in shown:
                shown[one] = name
    return shown
