"""WCS of every chip of an HST exposure from its headers and its distortion reference files: what ``updatewcs`` does.

One chip stays where its header has it and spans an undistorted plane about its reference pixel; the other chips are put
on that plane. Pixels count from 1, as in headers; the V2, V3 plane is that of the focus [arcsec]. A file for one family
of instruments stands on this floor because the other maps between pixels and sky are here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import asin, atan2, cos, pi, radians, sin, sqrt

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable, Sip
from numpy.typing import ArrayLike, NDArray

from skymere.errors import FormatError, InvalidInputError
from skymere.wcs.skew import Skew, read_skew

__all__ = ["build_distortion"]

_Matrix = NDArray[np.float64]

# Chip from which the other is placed, by instrument and detector.
_REFERENCE_CHIP = {("ACS", "WFC"): 2, ("WFC3", "UVIS"): 2}
# Detectors whose x and y axes point to +V2 and -V3; those of the others point to -V2 and +V3.
_TURNED = {("ACS", "WFC")}
# DETCHIP of a row that holds for every chip.
_ANY_CHIP = -999


@dataclass(frozen=True, kw_only=True, eq=False)
class _Model:
    """A chip at the time of the exposure, from its row of the IDCTAB.

    Parameters
    ----------
    cx, cy : ndarray, float64, shape (order + 1, order + 1)
        ``cx[i, j], cy[i, j]`` multiply ``x^j y^(i-j)`` of the distance from the reference pixel [arcsec / pix^i].
    reference : tuple of float
        Reference pixel on the full detector [pix].
    v2v3 : tuple of float
        Where it is in the V2, V3 plane [arcsec], before the skew moves it.
    scale : float
        Size of a pixel of the undistorted plane [arcsec / pix].
    theta : float
        Turn of the chip in the V2, V3 plane [deg].
    skew : Skew
        What time did to the chip; the coefficients have it already.
    """

    cx: _Matrix
    cy: _Matrix
    reference: tuple[float, float]
    v2v3: tuple[float, float]
    scale: float
    theta: float
    skew: Skew

    @property
    def linear(self) -> _Matrix:
        """``[[dX/dx, dX/dy], [dY/dx, dY/dy]]`` [arcsec / pix]."""
        return np.array([[self.cx[1, 1], self.cx[1, 0]], [self.cy[1, 1], self.cy[1, 0]]])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """The undistorted plane about the reference pixel of the reference chip.

    Parameters
    ----------
    model : _Model
        The reference chip.
    plane : astropy.wcs.WCS
        TAN coordinates with the reference pixel at (0, 0).
    parity : tuple of float
        Signs of the plane's axes along V2 and V3.
    header_scale : float
        Size of a pixel in the header of the reference chip [arcsec / pix].
    """

    model: _Model
    plane: WCS
    parity: tuple[float, float]
    header_scale: float

    def sky(self, offset: _Matrix) -> _Matrix:
        """Return ``ra, dec`` ``(n, 2)`` [deg] of positions on the plane ``(n, 2)`` [pix of the plane]."""
        return np.asarray(self.plane.wcs_pix2world(offset, 1))


def build_distortion(
    primary: fits.Header,
    chips: Sequence[fits.Header],
    *,
    idctab: fits.HDUList,
    npol: fits.HDUList | None = None,
    d2im: fits.HDUList | None = None,
) -> list[WCS]:
    """Return the WCS of every chip of an HST exposure, with the distortion of its reference files.

    The result is that of ``stwcs.updatewcs.updatewcs(use_db=False)`` on a file fresh from the archive. Headers and
    tables stay as they are, so that calling it twice does no harm.

    Parameters
    ----------
    primary : astropy.io.fits.Header
        Primary header: INSTRUME, DETECTOR, the filters, DATE-OBS (ACS/WFC) and PA_V3 [deg].
    chips : sequence of astropy.io.fits.Header
        Headers of all SCI extensions, with the linear WCS of the archive, CCDCHIP where there are two chips, VAFACTOR,
        and LTV1, LTV2 of a subarray.
    idctab : astropy.io.fits.HDUList
        Polynomial coefficients (IDCTAB).
    npol, d2im : astropy.io.fits.HDUList, optional
        Look-up tables of the filter (NPOLFILE) and of the detector's columns and rows (D2IMFILE).

    Returns
    -------
    list of astropy.wcs.WCS
        In the order of ``chips``: TAN-SIP with the look-up tables attached.

    Raises
    ------
    InvalidInputError
        When a header lacks a keyword or has no celestial WCS.
    FormatError
        When a table lacks a column, or a row for the chip and its filters.

    Notes
    -----
    The reference chip (2, where there are two) looks where its header says. Its roll is that of V3 at the aperture
    [1]_. A second chip is put at the distance of the two reference points in the V2, V3 plane, and its CD matrix is
    that of the linear coefficients. Coefficients of ACS/WFC skew with time, see `skymere.wcs.skew`. The polynomial
    becomes SIP by the inverse of the linear part [2]_, and so do the tables of NPOLFILE, which were made to follow the
    polynomial. Velocity aberration scales CD and the distance from the reference point.

    References
    ----------
    .. [1] Cox 2001, "Generic conversions", STScI; equations for the roll at an aperture.
    .. [2] Hack et al. 2012, TSR 2012-01, "Distortion correction in HST FITS files", sections 3 to 5.

    Examples
    --------
    >>> from skymere.io import open_fits
    >>> from skymere.wcs import build_distortion
    >>> with open_fits("j8bt06nyq_flc.fits") as hdus, open_fits("qbu1641sj_idc.fits") as table:  # doctest: +SKIP
    ...     chips = build_distortion(hdus[0].header, [hdus["SCI", k].header for k in (1, 2)], idctab=table)
    """
    if not chips:
        msg = "chips: at least one header is needed"
        raise InvalidInputError(msg)
    detector = (_word(primary, "INSTRUME"), _word(primary, "DETECTOR"))
    models = [_model(primary, chip, idctab, detector) for chip in chips]
    numbers = [_number(chip) for chip in chips]
    wanted = _REFERENCE_CHIP.get(detector)
    first = numbers.index(wanted) if wanted in numbers else 0
    frame = _frame(primary, chips[first], models[first], turned=detector in _TURNED)
    out = []
    for chip, model in zip(chips, models, strict=True):
        wcs = _chip_wcs(chip, model, frame)
        if npol is not None:
            wcs.cpdis1, wcs.cpdis2 = _npol_tables(npol, chip, model)
        if d2im is not None:
            wcs.det2im1, wcs.det2im2 = (_lookup(_table(d2im, axis, chip), chip) for axis in ("DX", "DY"))
        wcs.wcs.set()
        out.append(wcs)
    return out


def _word(header: fits.Header, key: str) -> str:
    return str(_required(header, key, "primary")).strip().upper()


def _required(header: fits.Header, key: str, name: str) -> float | str:
    if key not in header:
        msg = f"{name}: the header has no {key}, which the distortion model needs"
        raise InvalidInputError(msg)
    value: float | str = header[key]
    return value


def _number(header: fits.Header) -> int:
    return int(header.get("CCDCHIP", 1))


def _offset(chip: fits.Header) -> _Matrix:
    """Return the pixel of a subarray minus that of the full detector [pix]."""
    return np.array([float(chip.get(f"LTV{axis}", 0.0)) for axis in (1, 2)])


def _skew(primary: fits.Header, idctab: fits.HDUList, detector: tuple[str, str], number: int) -> Skew:
    """Return how a chip changed with time; only that of ACS/WFC is known."""
    if detector != ("ACS", "WFC") or str(primary.get("TDDCORR", "PERFORM")).strip() != "PERFORM":
        return Skew()
    text = str(_required(primary, "DATE-OBS", "primary"))
    try:
        day = date.fromisoformat(text[:10])
    except ValueError as error:
        msg = f"primary: DATE-OBS {text!r} is not allowed, it must be a date such as 2005-03-01"
        raise InvalidInputError(msg) from error
    return read_skew(idctab[0].header, number, day.timetuple().tm_yday / 365.25 + day.year)


def _model(primary: fits.Header, chip: fits.Header, idctab: fits.HDUList, detector: tuple[str, str]) -> _Model:
    """Return a chip at the time of the exposure."""
    order = max(int(_required(idctab[0].header, "NORDER", "idctab")), 3)
    row = _idctab_row(idctab, primary, _number(chip))
    skew = _skew(primary, idctab, detector, _number(chip))
    binning = int(chip.get("BINAXIS1", 1))
    cx, cy = np.zeros((2, order + 1, order + 1))
    for i in range(1, order + 1):
        for j in range(i + 1):
            if f"CX{i}{j}" in row:
                cx[i, j], cy[i, j] = row[f"CX{i}{j}"], row[f"CY{i}{j}"]
    # stwcs rounds the scale, and takes a table with a first coefficient of 1 as one in pixels.
    scale = round(float(row["SCALE"]), 8)
    if cx[1, 1] == 1.0:
        cx, cy = cx * scale, cy * scale
    cx, cy = skew.apply(cx * binning, cy * binning)
    return _Model(
        cx=cx,
        cy=cy,
        reference=(float(row["XREF"]) / binning, float(row["YREF"]) / binning),
        v2v3=(float(row["V2REF"]), float(row["V3REF"])),
        scale=scale * binning,
        theta=float(row.get("THETA", 0.0)),
        skew=skew,
    )


def _idctab_row(idctab: fits.HDUList, primary: fits.Header, number: int) -> dict[str, float | str]:
    """Return the first forward row for a chip and the filters of the exposure."""
    table = idctab[1].data
    names = set(table.names)
    missing = {"SCALE", "XREF", "YREF", "V2REF", "V3REF", "CX10", "CX11", "CY10", "CY11"} - names
    if missing:
        msg = f"idctab: the table lacks {sorted(missing)}, it has {sorted(names)}"
        raise FormatError(msg)
    right = np.ones(len(table), bool)
    filters = {}
    for key in ("FILTER", "FILTER1", "FILTER2"):
        if key in names:
            filters[key] = _clear(str(primary.get(key, "")))
            right &= np.array([_clear(str(name)) == filters[key] for name in table[key]], bool)
    if "DIRECTION" in names:
        right &= np.char.upper(np.char.strip(np.asarray(table["DIRECTION"], str))) == "FORWARD"
    if "DETCHIP" in names:
        right &= np.isin(table["DETCHIP"], (number, _ANY_CHIP))
    if not right.any():
        msg = f"idctab: no forward row for chip {number} and filters {filters}"
        raise FormatError(msg)
    row = table[int(np.argmax(right))]
    return {name: row[name] for name in table.names}


def _clear(name: str) -> str:
    """Return a filter name; all clear positions of a wheel are one."""
    word = name.strip().upper()
    return "CLEAR" if not word or word.startswith("CLEAR") else word


def _frame(primary: fits.Header, chip: fits.Header, model: _Model, *, turned: bool) -> _Frame:
    """Return the undistorted plane of the reference chip: where its header says, turned by the roll of V3."""
    header = _linear_wcs(chip)
    crval = header.wcs_pix2world([np.add(model.reference, _offset(chip))], 1)[0]
    header_scale = float(np.hypot(*header.pixel_scale_matrix[:, 0])) * 3600
    v2, v3 = model.skew.moved(model.v2v3, header_scale / model.cx[1, 1])
    pa_v3 = float(_required(primary, "PA_V3", "primary"))
    roll = _roll(pa_v3, float(header.wcs.crval[1]), v2, v3) + model.theta
    parity = (1.0, -1.0) if turned else (-1.0, 1.0)
    cd = np.diag(parity) @ _rotation(-roll) * model.scale / 3600
    return _Frame(model=model, plane=_tangent(crval, np.zeros(2), cd), parity=parity, header_scale=header_scale)


def _linear_wcs(chip: fits.Header) -> WCS:
    """Return the undistorted WCS of the archive."""
    keys = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    crpix1, crpix2, crval1, crval2, *cd = (float(_required(chip, key, "chips")) for key in keys)
    return _tangent((crval1, crval2), (crpix1, crpix2), np.reshape(cd, (2, 2)))


def _tangent(crval: ArrayLike, crpix: ArrayLike, cd: _Matrix) -> WCS:
    """Return TAN coordinates from CRVAL [deg], CRPIX [pix] and CD [deg / pix]."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = crval, crpix, cd
    wcs.wcs.set()
    return wcs


def _roll(pa_v3: float, dec: float, v2: float, v3: float) -> float:
    """Return the position angle of V3 at an aperture [deg].

    Given are that at V1 [deg], the declination of the aperture [deg] and its place ``v2, v3`` [arcsec]. The triangle of
    V1, the aperture and the pole is solved by the sine rule at V1 and the four-part formula at the aperture (Cox 2001).
    """
    x, y, d = sin(radians(v2 / 3600)), sin(radians(v3 / 3600)), radians(dec)
    sin_rho = sqrt(x * x + y * y - x * x * y * y)
    if sin_rho == 0:
        return pa_v3
    at_v1, at_aperture = asin(y / sin_rho), asin(x / sin_rho)
    at_v1 = pi - at_v1 if v2 < 0 else at_v1
    at_aperture = pi - at_aperture if v3 < 0 else at_aperture
    angle = pi / 2 + radians(pa_v3) - at_v1
    side = sin(d) * sin_rho - cos(d) * cos(asin(sin_rho)) * cos(angle)
    return float(np.rad2deg(pi - at_aperture - atan2(sin(angle) * cos(d), side)))


def _rotation(angle_deg: float) -> _Matrix:
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    return np.array([[c, s], [-s, c]])


def _difference(a: _Matrix, b: _Matrix) -> _Matrix:
    """Return the difference of two positions [deg], the short way round."""
    return np.asarray((a - b - 180.0) % 360.0 - 180.0)


def _chip_wcs(chip: fits.Header, model: _Model, frame: _Frame) -> WCS:
    """Return the TAN-SIP WCS of a chip in the frame of the reference chip."""
    offset = _offset_in_frame(model, frame)
    crval = frame.sky(offset[None])[0]
    # CD is where one pixel along each axis of the chip ends on the sky.
    turn = _rotation(model.theta - frame.model.theta if model.theta else 0.0)
    steps = model.linear.T / frame.model.scale @ turn
    cd = _difference(frame.sky(offset + steps), crval).T * [[cos(radians(crval[1]))], [1.0]]
    aberration = float(chip.get("VAFACTOR", 1.0))
    middle = np.asarray(frame.plane.wcs.crval)
    crval = middle + aberration * _difference(crval, middle)
    wcs = _tangent(crval, np.add(model.reference, _offset(chip)), cd * aberration)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.radesys = str(chip.get("RADESYS", "ICRS"))
    wcs.sip = _sip(model, int(chip.get("BINAXIS1", 1)), wcs.wcs.crpix)
    if "NAXIS1" in chip and "NAXIS2" in chip:
        wcs.pixel_shape = (int(chip["NAXIS1"]), int(chip["NAXIS2"]))
    return wcs


def _offset_in_frame(model: _Model, frame: _Frame) -> _Matrix:
    """Return where the reference point of a chip is on the plane of the frame [pix of the plane]."""
    factor = frame.header_scale / model.cx[1, 1]
    here, there = (chip.skew.moved(chip.v2v3, factor) for chip in (model, frame.model))
    return _rotation(frame.model.theta) @ (np.subtract(here, there) * frame.parity) / frame.model.scale


def _sip(model: _Model, binning: int, crpix: _Matrix) -> Sip:
    """Return the terms above the linear ones as a polynomial that goes before them.

    A binned chip gets the same factor for every order, as stwcs gives it.
    """
    order = len(model.cx) - 1
    moved = np.einsum("kl,lij->kij", np.linalg.inv(model.linear), [model.cx, model.cy]) * binning
    a, b = np.zeros((2, order + 1, order + 1))
    for i in range(2, order + 1):
        for j in range(i + 1):
            a[j, i - j], b[j, i - j] = moved[:, i, j]
    return Sip(a, b, None, None, crpix)


def _table(tables: fits.HDUList, axis: str, chip: fits.Header) -> fits.ImageHDU:
    """Return the extension of a chip with the shifts of one axis."""
    for hdu in tables[1:]:
        if hdu.name == axis and _number(hdu.header) == _number(chip):
            return hdu
    msg = f"look-up tables: no extension {axis} for chip {_number(chip)}, only {[hdu.name for hdu in tables]}"
    raise FormatError(msg)


def _lookup(hdu: fits.ImageHDU, chip: fits.Header) -> DistortionLookupTable:
    """Return a table of shifts [pix] that applies to the pixels of a full detector or of a subarray."""
    crpix, crval, cdelt = (
        [float(hdu.header.get(f"{key}{axis}", value)) for axis in (1, 2)]
        for key, value in (("CRPIX", 0.0), ("CRVAL", 0.0), ("CDELT", 1.0))
    )
    data = np.ascontiguousarray(hdu.data, np.float32)
    return DistortionLookupTable(data, tuple(crpix), tuple(np.add(crval, _offset(chip))), tuple(cdelt))


def _npol_tables(npol: fits.HDUList, chip: fits.Header, model: _Model) -> list[DistortionLookupTable]:
    """Return the tables of a filter, moved from after the linear part, as they were made, to before it.

    In single precision, as stwcs writes them.
    """
    hdus = [_table(npol, axis, chip) for axis in ("DX", "DY")]
    inverse = np.linalg.inv(model.linear.astype(np.float32) / np.float32(model.scale))
    moved = np.einsum("ij,jyx->iyx", inverse, [hdu.data for hdu in hdus]).astype(np.float32)
    return [_lookup(fits.ImageHDU(data, hdu.header), chip) for data, hdu in zip(moved, hdus, strict=True)]
