"""Full WCS of an exposure from its headers and the distortion reference files: what ``updatewcs`` does.

The file of one instrument family stands on the lowest floor because the other maps between pixels and sky are here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import asin, atan2, cos, hypot, pi, radians, sin, sqrt

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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Model:
    """A row of an IDCTAB: ``cx, cy[i, j]`` multiply x^j y^(i-j) of the distance from the reference pixel."""

    cx: _Matrix
    cy: _Matrix
    reference: tuple[float, float]
    v2v3: tuple[float, float]
    scale: float
    theta: float

    @property
    def linear(self) -> _Matrix:
        """``[[dX/dx, dX/dy], [dY/dx, dY/dy]]`` [arcsec / pix]."""
        return np.array([[self.cx[1, 1], self.cx[1, 0]], [self.cy[1, 1], self.cy[1, 0]]])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """The undistorted plane about the reference pixel of the reference chip."""

    model: _Model
    plane: WCS
    parity: tuple[float, float]
    header_scale: float

    def sky(self, offset: _Matrix) -> _Matrix:
        """Return ``ra, dec`` ``(n, 2)`` [deg] of offsets ``(n, 2)`` from the reference point [scale]."""
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
    skews = [_skew(primary, idctab, detector, int(chip.get("CCDCHIP", 1))) for chip in chips]
    models = [_model(primary, chip, idctab, skew) for chip, skew in zip(chips, skews, strict=True)]
    numbers = [int(chip.get("CCDCHIP", 1)) for chip in chips]
    wanted = _REFERENCE_CHIP.get(detector)
    first = numbers.index(wanted) if wanted in numbers else 0
    frame = _frame(primary, chips[first], models[first], skews[first], turned=detector in _TURNED)
    out = []
    for chip, number, model, skew in zip(chips, numbers, models, skews, strict=True):
        wcs = _chip_wcs(chip, model, frame, skew, skews[first])
        if npol is not None:
            wcs.cpdis1, wcs.cpdis2 = _npol_tables(npol, chip, number, model)
        if d2im is not None:
            wcs.det2im1, wcs.det2im2 = (_lookup(_table(d2im, axis, number), chip) for axis in ("DX", "DY"))
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


def _offset(chip: fits.Header) -> _Matrix:
    """Where pixel 0 of the full detector is on a subarray [pix]."""
    return np.array([float(chip.get(f"LTV{axis}", 0.0)) for axis in (1, 2)])


def _skew(primary: fits.Header, idctab: fits.HDUList, detector: tuple[str, str], chip: int) -> Skew:
    if detector != ("ACS", "WFC") or str(primary.get("TDDCORR", "PERFORM")).strip() != "PERFORM":
        return Skew()
    text = str(_required(primary, "DATE-OBS", "primary"))
    try:
        day = date.fromisoformat(text[:10])
    except ValueError as error:
        msg = f"primary: DATE-OBS {text!r} is not allowed, it must be a date such as 2005-03-01"
        raise InvalidInputError(msg) from error
    return read_skew(idctab[0].header, chip, day.timetuple().tm_yday / 365.25 + day.year)


def _model(primary: fits.Header, chip: fits.Header, idctab: fits.HDUList, skew: Skew) -> _Model:
    """Return the coefficients of a chip at the time of the exposure."""
    order = max(int(_required(idctab[0].header, "NORDER", "idctab")), 3)
    row = _idctab_row(idctab, primary, int(chip.get("CCDCHIP", 1)))
    binning = int(chip.get("BINAXIS1", 1))
    cx, cy = np.zeros((2, order + 1, order + 1))
    for i in range(1, order + 1):
        for j in range(i + 1):
            if f"CX{i}{j}" in row:
                cx[i, j], cy[i, j] = row[f"CX{i}{j}"], row[f"CY{i}{j}"]
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
    )


def _idctab_row(idctab: fits.HDUList, primary: fits.Header, chip: int) -> dict[str, float | str]:
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
            names_there, place = np.unique(table[key], return_inverse=True)
            right &= np.array([_clear(str(name)) == filters[key] for name in names_there])[place]
    if "DIRECTION" in names:
        right &= np.char.upper(np.char.strip(np.asarray(table["DIRECTION"], str))) == "FORWARD"
    if "DETCHIP" in names:
        right &= np.isin(table["DETCHIP"], (chip, -999))
    if not right.any():
        msg = f"idctab: no forward row for chip {chip} and filters {filters}"
        raise FormatError(msg)
    row = table[int(np.argmax(right))]
    return {name: row[name] for name in table.names}


def _clear(name: str) -> str:
    """Return a filter name; all clear positions of a wheel are one."""
    word = name.strip().upper()
    return "CLEAR" if not word or word.startswith("CLEAR") else word


def _frame(primary: fits.Header, chip: fits.Header, model: _Model, skew: Skew, *, turned: bool) -> _Frame:
    """Return the undistorted plane of the reference chip: where its header says, turned by the roll of V3."""
    header = _linear_wcs(chip)
    crval = header.wcs_pix2world([np.add(model.reference, _offset(chip))], 1)[0]
    header_scale = float(np.hypot(*header.pixel_scale_matrix[:, 0])) * 3600
    v2, v3 = skew.moved(model.v2v3, header_scale / model.cx[1, 1])
    pa_v3 = float(_required(primary, "PA_V3", "primary"))
    roll = radians(_roll(pa_v3, float(header.wcs.crval[1]), v2, v3) + model.theta)
    parity = (1.0, -1.0) if turned else (-1.0, 1.0)
    turn = np.array([[cos(roll), -sin(roll)], [sin(roll), cos(roll)]])
    cd = np.array(parity)[:, None] * turn * model.scale / 3600
    return _Frame(model=model, plane=_tangent(crval, np.zeros(2), cd), parity=parity, header_scale=header_scale)


def _linear_wcs(chip: fits.Header) -> WCS:
    keys = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    crpix1, crpix2, crval1, crval2, *cd = (float(_required(chip, key, "chips")) for key in keys)
    return _tangent((crval1, crval2), (crpix1, crpix2), np.reshape(cd, (2, 2)))


def _tangent(crval: ArrayLike, crpix: ArrayLike, cd: _Matrix) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = crval, crpix, cd
    wcs.wcs.set()
    return wcs


def _roll(pa_v3: float, dec: float, v2: float, v3: float) -> float:
    """Position angle of V3 at an aperture [deg], from that at V1 [deg] and the aperture's place [arcsec].

    The triangle of V1, the aperture and the pole, by the sine rule at V1 and the four-part formula at the aperture.
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


def _difference(a: _Matrix, b: _Matrix) -> _Matrix:
    """Return the difference of two positions [deg], the short way round."""
    return np.asarray((a - b - 180.0) % 360.0 - 180.0)


def _chip_wcs(chip: fits.Header, model: _Model, frame: _Frame, skew: Skew, reference_skew: Skew) -> WCS:
    """Return the TAN-SIP WCS of a chip in the frame of the reference chip."""
    offset = _distance(model, frame, skew, reference_skew)
    crval = frame.sky(offset[None])[0]
    turn = radians(model.theta - frame.model.theta if model.theta else 0.0)
    steps = model.linear.T / frame.model.scale @ np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]])
    cd = _difference(frame.sky(offset + steps), crval).T * [[cos(radians(crval[1]))], [1.0]]
    aberration = float(chip.get("VAFACTOR", 1.0))
    middle = np.asarray(frame.plane.wcs.crval)
    if aberration != 1.0:
        crval = middle + aberration * _difference(crval, middle)
    wcs = _tangent(crval, np.add(model.reference, _offset(chip)), cd * aberration)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.radesys = str(chip.get("RADESYS", "ICRS"))
    wcs.sip = _sip(model, chip, wcs)
    if "NAXIS1" in chip and "NAXIS2" in chip:
        wcs.pixel_shape = (int(chip["NAXIS1"]), int(chip["NAXIS2"]))
    return wcs


def _distance(model: _Model, frame: _Frame, skew: Skew, reference_skew: Skew) -> _Matrix:
    """Return where the reference point of a chip is in the plane of the frame [scale]."""
    factor = frame.header_scale / model.cx[1, 1]
    here, there = skew.moved(model.v2v3, factor), reference_skew.moved(frame.model.v2v3, factor)
    v2, v3 = np.subtract(here, there)
    length = hypot(v2, v3) / frame.model.scale
    angle = atan2(frame.parity[0] * v2, frame.parity[1] * v3) if v3 else 0.0
    angle += radians(frame.model.theta)
    return length * np.array([sin(angle), cos(angle)])


def _sip(model: _Model, chip: fits.Header, wcs: WCS) -> Sip:
    order = len(model.cx) - 1
    a, b = np.zeros((2, order + 1, order + 1))
    inverse = np.linalg.inv(model.linear)
    for i in range(2, order + 1):
        for j in range(i + 1):
            a[j, i - j], b[j, i - j] = inverse @ [model.cx[i, j], model.cy[i, j]] * int(chip.get("BINAXIS1", 1))
    return Sip(a, b, None, None, wcs.wcs.crpix)


def _table(tables: fits.HDUList, axis: str, chip: int) -> fits.ImageHDU:
    for hdu in tables[1:]:
        if hdu.name == axis and int(hdu.header.get("CCDCHIP", 1)) == chip:
            return hdu
    msg = f"look-up tables: no extension {axis} for chip {chip}, only {[hdu.name for hdu in tables]}"
    raise FormatError(msg)


def _lookup(hdu: fits.ImageHDU, chip: fits.Header) -> DistortionLookupTable:
    """Return a table of distortions that applies to the pixels of a full detector or of a subarray."""
    crpix, crval, cdelt = (
        [float(hdu.header.get(f"{key}{axis}", value)) for axis in (1, 2)]
        for key, value in (("CRPIX", 0.0), ("CRVAL", 0.0), ("CDELT", 1.0))
    )
    data = np.ascontiguousarray(hdu.data, np.float32)
    return DistortionLookupTable(data, tuple(crpix), tuple(np.add(crval, _offset(chip))), tuple(cdelt))


def _npol_tables(npol: fits.HDUList, chip: fits.Header, number: int, model: _Model) -> list[DistortionLookupTable]:
    """Return the tables of a filter, from after the polynomial, as they were made, to before the linear part."""
    hdus = [_table(npol, axis, number) for axis in ("DX", "DY")]
    inverse = np.linalg.inv(model.linear.astype(np.float32) / np.float32(model.scale))
    moved = np.einsum("ij,jyx->iyx", inverse, [hdu.data for hdu in hdus]).astype(np.float32)
    return [_lookup(fits.ImageHDU(data, hdu.header), chip) for data, hdu in zip(moved, hdus, strict=True)]
