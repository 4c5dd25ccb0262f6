"""Files as other tools write them, made with astropy alone."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

RA, DEC = 53.1, -27.8
SHAPE = (60, 80)
PHOTFLAM, PHOTPLAM = 2.2446e-20, 12486.0


def image_wcs(shape: tuple[int, int] = SHAPE, scale_arcsec: float = 0.1) -> WCS:
    """A tangent plane with north up, about the place."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [RA, DEC]
    wcs.wcs.crpix = [shape[1] / 2 + 0.5, shape[0] / 2 + 0.5]
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    return wcs


def scene(seed: int = 1) -> np.ndarray:
    """Two round sources on a noisy sky [electron / s]; 1000 and 300 in all."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(SHAPE)
    image = rng.normal(0.0, 0.05, SHAPE)
    for x0, y0, flux in ((25.0, 30.0, 1000.0), (55.0, 20.0, 300.0)):
        image += flux / (2 * np.pi * 4.0) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8.0)
    return image.astype(np.float32)


def labels() -> np.ndarray:
    """Labels of the two, 3 and 7."""
    y, x = np.indices(SHAPE)
    found = np.zeros(SHAPE, np.int32)
    found[np.hypot(x - 25, y - 30) < 9] = 3
    found[np.hypot(x - 55, y - 20) < 9] = 7
    return found


def write_drz(path: Path, band: str = "F125W") -> Path:
    """As AstroDrizzle does: SCI, WHT of exposure times, CTX, zero point by PHOTFLAM and PHOTPLAM."""
    header = image_wcs().to_header()
    primary = fits.PrimaryHDU()
    primary.header["FILTER"] = band
    primary.header["D001DATA"] = "ib6o23rsq_flt.fits[sci,1]"
    primary.header.update({"D001PIXF": 0.8, "D001SCAL": 0.1, "D001ISCL": 0.13})
    sci = fits.ImageHDU(scene(), header=header, name="SCI")
    sci.header["BUNIT"] = "ELECTRONS/S"
    sci.header["PHOTFLAM"], sci.header["PHOTPLAM"] = PHOTFLAM, PHOTPLAM
    weight = np.full(SHAPE, 1200.0, np.float32)
    weight[:, :5] = 0.0
    hdus = [primary, sci, fits.ImageHDU(weight, header=header, name="WHT")]
    hdus.append(fits.ImageHDU((weight > 0).astype(np.int32), header=header, name="CTX"))
    fits.HDUList(hdus).writeto(path)
    return path


def write_pair(folder: Path, name: str = "field_f160w_drz") -> Path:
    """As grizli and CANDELS do: image and inverse variance in files of their own."""
    header = image_wcs().to_header()
    header["FILTER"] = "F160W"
    header["PHOTFLAM"], header["PHOTPLAM"] = 1.9e-20, 15369.0
    path = folder / f"{name}_sci.fits"
    fits.PrimaryHDU(scene(2), header=header).writeto(path)
    fits.PrimaryHDU(np.full(SHAPE, 400.0, np.float32), header=header).writeto(folder / f"{name}_wht.fits")
    return path


def write_segmentation(path: Path) -> Path:
    """As make_detect does."""
    fits.PrimaryHDU(labels(), header=image_wcs().to_header()).writeto(path)
    return path


def write_full(path: Path, *, number: int = 12, ra: float = RA, z: float = 1.5) -> Path:
    """As grizli does: ZFIT_STACK, COVAR, TEMPL, SEG, DSCI, DWHT, LINE, CONTINUUM, CONTAM, LINEWHT."""
    shape = (40, 40)
    header = image_wcs(shape).to_header()
    primary = fits.PrimaryHDU()
    cards = {"ID": number, "RA": ra, "DEC": DEC, "REDSHIFT": z, "NINPUT": 2, "NUMLINES": 1, "HASLINES": "Ha"}
    cards |= {"GRIZLIV": "1.14.3", "PIXFRAC": 0.5, "DRIZKRNL": "square", "NDFILT": 1, "DFILT01": "F140W"}
    cards |= {"T_G141": 4000.0, "N_G141": 2, "P_G141": 1, "LINE001": "Ha", "FLUX001": 3e-17, "ERR001": 2e-18}
    for i in (1, 2):
        cards |= {f"FILE{i:04d}": f"g{i}_flt.fits", f"GRIS{i:04d}": "G141", f"PA{i:04d}": 74.0}
    primary.header.update(cards)
    grid = np.linspace(0.5, 2.5, 201)
    pdf = np.exp(-0.5 * ((grid - z) / 0.004) ** 2)
    curve = {"zgrid": grid, "chi2": 500 + ((grid - z) / 0.004) ** 2, "pdf": pdf / np.trapezoid(pdf, grid)}
    zfit = fits.BinTableHDU.from_columns([fits.Column(n, "D", array=v) for n, v in curve.items()], name="ZFIT_STACK")
    said = {"Z_MAP": z, "Z02": z - 0.008, "Z16": z - 0.004, "Z50": z, "Z84": z + 0.004, "Z97": z + 0.008}
    zfit.header.update(said | {"Z_RISK": z, "MIN_RISK": 0.01, "CHIMIN": 500.0, "DOF": 480, "BIC_POLY": 620.0})
    zfit.header.update({"BIC_TEMP": 530.0, "CHI2POLY": 600.0})
    covar = fits.ImageHDU(np.diag([0.01, 4e-36]), name="COVAR")
    covar.header["FLUX_000"] = (3e-17, "Ha line flux; erg / (s cm2)")
    covar.header["ERR_000"] = (2e-18, "Ha line uncertainty; erg / (s cm2)")
    for key, value in (("EW16_000", 90.0), ("EW50_000", 100.0), ("EW84_000", 110.0)):
        covar.header[key] = (value, "Ha rest-frame EW; Angstrom")
    wave = np.linspace(9000.0, 18000.0, 50)
    flux = {"wave": wave, "continuum": np.full(50, 1e-19), "full": np.full(50, 1.2e-19)}
    templ = fits.BinTableHDU.from_columns([fits.Column(n, "D", array=v) for n, v in flux.items()], name="TEMPL")
    templ.header.update({"CNAME000": "fsps 1", "CVAL000": 0.7, "CERR000": 0.1})
    templ.header.update({"CNAME001": "line Ha", "CVAL001": 3.0, "CERR001": 0.2})
    y, x = np.indices(shape)
    light = np.exp(-((x - 19.5) ** 2 + (y - 19.5) ** 2) / 18.0).astype(np.float32)
    seg = fits.ImageHDU(np.where(light > 0.3, number, 0).astype(np.int32), header=header, name="SEG")
    images = [seg]
    for name, version, plane in (
        ("DSCI", "F140W", light),
        ("DWHT", "F140W", np.full(shape, 900.0, np.float32)),
        ("LINE", "Ha", 0.1 * light),
        ("CONTINUUM", "Ha", 0.5 * light),
        ("CONTAM", "Ha", 0.01 * light),
        ("LINEWHT", "Ha", np.full(shape, 2500.0, np.float32)),
    ):
        hdu = fits.ImageHDU(plane, header=header, name=name)
        hdu.header["EXTVER"] = version
        hdu.header.update({"RESTWAVE": 6564.61, "WAVELEN": 6564.61 * (1 + z), "REDSHIFT": z, "FILTER": version})
        hdu.header.update({"PHOTFLAM": 1.47e-20, "PHOTPLAM": 13922.9} if name[0] == "D" else {})
        images.append(hdu)
    fits.HDUList([primary, zfit, covar, templ, *images]).writeto(path, output_verify="silentfix")
    return path


def write_1d(path: Path, *, number: int = 12, ra: float = RA) -> Path:
    """As grizli does."""
    primary = fits.PrimaryHDU()
    primary.header.update({"ID": number, "RA": ra, "DEC": DEC})
    wave = np.linspace(10800.0, 17000.0, 120)
    flat = np.full(120, 2e17)
    flat[:4] = 0.0
    columns = {"wave": wave, "flux": 0.02 * np.ones(120), "err": 0.004 * np.ones(120), "flat": flat}
    columns |= {"contam": 0.001 * np.ones(120), "line": 0.021 * np.ones(120), "cont": 0.019 * np.ones(120)}
    table = fits.BinTableHDU.from_columns([fits.Column(n, "D", array=v) for n, v in columns.items()], name="G141")
    npix = fits.Column("npix", "K", array=(flat > 0).astype(int) * 5)
    table = fits.BinTableHDU.from_columns([*table.columns, npix], name="G141")
    table.header.update({"GRISM": "G141", "EXPTIME": 4000.0, "NEXP": 2, "NPA": 1})
    fits.HDUList([primary, table]).writeto(path)
    return path


def write_spec(path: Path, *, name: str = "1345_933", ra: float = RA) -> Path:
    """As msaexp of 2023 does: bins without data are 0; no covariance, no table of exposures."""
    n, rows = 90, 21
    wave = np.geomspace(0.6, 5.3, n)
    flux, err = np.full(n, 2.0), np.full(n, 0.1)
    flux[:3], err[:3] = 0.0, 0.0
    columns = (("wave", "um", wave), ("flux", "uJy", flux), ("err", "uJy", err))
    table = fits.BinTableHDU.from_columns(
        [fits.Column(key, "D", unit, array=values) for key, unit, values in columns], name="SPEC1D"
    )
    table.header.update({"GRATING": "PRISM", "FILTER": "CLEAR", "SRCNAME": name, "SRCRA": ra, "SRCDEC": DEC})
    table.header.update({"NFILES": 3, "EFFEXPTM": 4377.0, "PROFSIG": 0.9})
    y = np.arange(rows) - 10.0
    profile = np.exp(-0.5 * (y / 0.9) ** 2)[:, None] * np.ones(n)
    weight = np.where(flux > 0, 50.0, 0.0) * np.ones((rows, 1))
    hdus = [
        fits.ImageHDU(plane, name=n) for n, plane in (("SCI", 2.0 * profile), ("WHT", weight), ("PROFILE", profile))
    ]
    section = {"pix": y, "profile": profile[:, 0], "pfit": profile[:, 0]}
    last = fits.BinTableHDU.from_columns([fits.Column(k, "D", array=v) for k, v in section.items()], name="PROF1D")
    fits.HDUList([fits.PrimaryHDU(), table, *hdus, last]).writeto(path)
    return path
