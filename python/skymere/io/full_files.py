"""``full.fits``: redshift, lines, direct images and line maps of one object, as grizli's users know them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from numpy.typing import NDArray

from skymere.datamodels import ANGSTROM, BEAM_COLUMNS, LineMap, LineMaps, Thumbnail
from skymere.errors import FormatError, InvalidInputError
from skymere.io._open import open_fits, write_whole
from skymere.io.full_headers import line_table, primary_columns, redshift_columns
from skymere.io.thumbnails import band_extensions, read_thumbnail
from skymere.wcs import Grid, fits_cards, wcs_from_cards

__all__ = ["FullFile", "read_full_file", "write_full_file"]

_PLANES = ("LINE", "CONTINUUM", "CONTAM", "LINEWHT", "LINEVAR")
_BUNIT = "10**-17 erg/(s cm2)"
_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FullFile:
    """What a ``full.fits`` holds.

    Parameters
    ----------
    maps : LineMaps
        Line maps, with the segmentation.
    thumbnail : Thumbnail or None
        Direct images and PSFs.
    columns : mapping
        Of one row: what headers say, with the names of the catalogue in lower case; None where nothing is known.
    lines : polars.DataFrame
        A row for each line: ``line, flux, flux_err, ew16, ew50, ew84, ewhw`` [erg/s/cm2, Angstrom at rest].
    redshifts : polars.DataFrame
        ``z, chi2, pdf`` of the grid; empty when there is none.
    covariance : ndarray, float64, shape (n, n), or None
        Of the coefficients.
    template : polars.DataFrame
        ``wave, continuum, full`` [um, erg/s/cm2/A] of the best model; empty when there is none.
    coefficients : polars.DataFrame
        ``name, value, error``; empty when there are none.
    """

    maps: LineMaps
    thumbnail: Thumbnail | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    lines: pl.DataFrame = field(default_factory=pl.DataFrame)
    redshifts: pl.DataFrame = field(default_factory=pl.DataFrame)
    covariance: _Array | None = None
    template: pl.DataFrame = field(default_factory=pl.DataFrame)
    coefficients: pl.DataFrame = field(default_factory=pl.DataFrame)


def write_full_file(full: FullFile, path: str | Path, *, version: str = "") -> None:
    """Write a ``full.fits``.

    Extensions are those of grizli: ZFIT_STACK, COVAR, TEMPL, SEG, DSCI, DWHT and DPSF of each filter, LINE, CONTINUUM,
    CONTAM and LINEWHT of each line, and beside them LINEVAR and DVAR. All images have one size and one WCS.

    Parameters
    ----------
    full : FullFile
        What to write.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    version : str, optional
        Version of what made it.

    Raises
    ------
    InvalidInputError
        When direct images are on another grid than the maps.
    StorageError
        When the file cannot be written.
    """
    maps, thumbnail = full.maps, full.thumbnail
    if thumbnail is not None and (
        thumbnail.grid.shape != maps.grid.shape or thumbnail.grid.cards() != maps.grid.cards()
    ):
        msg = (
            f"thumbnail: its grid of {thumbnail.grid.shape} pixels is not that of the maps, {maps.grid.shape}; "
            "both must be made with one geometry"
        )
        raise InvalidInputError(msg)
    hdus = fits.HDUList([_primary(full, version)])
    hdus.extend(_fit_extensions(full))
    labels = maps.segmentation if maps.segmentation is not None else getattr(thumbnail, "segmentation", None)
    if labels is not None:
        seg = fits.ImageHDU(labels, name="SEG")
        seg.header.update(fits_cards(maps.grid.wcs))
        hdus.append(seg)
    if thumbnail is not None:
        hdus.extend(band_extensions(thumbnail))
    for one in maps.lines:
        hdus.extend(_line_extensions(one, maps))
    with warnings.catch_warnings():
        # Lines and filters are the versions here, which astropy reads and finds but says should be numbers.
        warnings.simplefilter("ignore", VerifyWarning)
        write_whole(hdus, Path(path))


def _primary(full: FullFile, version: str) -> fits.PrimaryHDU:
    maps, thumbnail = full.maps, full.thumbnail
    hdu = fits.PrimaryHDU()
    header = hdu.header
    header["ID"] = (maps.source_id, "Object ID")
    header["RA"] = (maps.ra, "Central R.A.")
    header["DEC"] = (maps.dec, "Central Decl.")
    header["PIXFRAC"] = (maps.pixfrac, "Drizzle PIXFRAC")
    header["DRIZKRNL"] = (maps.kernel, "Drizzle kernel")
    header["GEOMSHA"] = maps.geometry_sha256
    header["NINPUT"] = (maps.beams.height, "Number of drizzled beams")
    for i, row in enumerate(maps.beams.iter_rows(named=True), start=1):
        header[f"FILE{i:04d}"] = (row["file"], "Parent filename")
        header[f"GRIS{i:04d}"] = (row["grism"], "Beam grism element")
        _put(header, f"PA{i:04d}", row["angle"], "PA of dispersion axis")
    bands = () if thumbnail is None else thumbnail.bands
    header["NDFILT"] = (len(bands), "Number of direct image filters")
    for i, band in enumerate(bands, start=1):
        header[f"DFILT{i:02d}"] = band.band.upper()
        used = thumbnail.exposures.filter(pl.col("band") == band.band, pl.col("is_used")).height if thumbnail else 0
        header[f"NFILT{i:02d}"] = (used, "Number of direct exposures")
    header["REDSHIFT"] = (maps.z, "Redshift used")
    header["NUMLINES"] = (len(maps.lines), "Number of lines in this file")
    for i, one in enumerate(maps.lines, start=1):
        header[f"LINE{i:03d}"] = one.line
        _put(header, f"FLUX{i:03d}", one.flux, "Line flux, erg/s/cm2")
        _put(header, f"ERR{i:03d}", one.flux_err, "Line flux err, erg/s/cm2")
    header["HASLINES"] = (" ".join(maps.names), "Lines in this file")
    for grism in dict.fromkeys(maps.beams["grism"].to_list()):
        mine = exposures_of(maps.beams, grism)
        _put(header, f"T_{grism}", float(mine["exptime"].sum()), "Total exposure time [s]")
        header[f"N_{grism}"] = (mine.height, "Number of individual exposures")
        header[f"P_{grism}"] = (mine["angle"].round(0).n_unique(), "Number of PAs")
    if version:
        header["SKYMERE"] = (version, "Version of skymere")
    return hdu


def _put(header: fits.Header, key: str, value: float | None, comment: str) -> None:
    if value is not None and np.isfinite(value):
        header[key] = (value, comment)


def _fit_extensions(full: FullFile) -> list[Any]:
    out: list[Any] = []
    if full.redshifts.height:
        out.append(_redshifts(full))
    if full.covariance is not None or full.lines.height:
        out.append(_covariance(full))
    if full.template.height:
        out.append(_template(full))
    return out


def _redshifts(full: FullFile) -> fits.BinTableHDU:
    names = {"z": "zgrid"}
    columns = [fits.Column(name=names.get(s.name, s.name), format="D", array=s.to_numpy()) for s in full.redshifts]
    table = fits.BinTableHDU.from_columns(columns, name="ZFIT_STACK")
    for key in redshift_columns():
        value = full.columns.get(key)
        if isinstance(value, int | float):
            _put(table.header, key.upper(), value, "")
    return table


def _covariance(full: FullFile) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.zeros((1, 1)) if full.covariance is None else full.covariance, name="COVAR")
    hdu.header["N"] = (full.maps.beams.height, "Number of beams")
    for i, row in enumerate(full.lines.iter_rows(named=True)):
        # Readers take the name of a line from the comment.
        _put(hdu.header, f"FLUX_{i:03d}", row["flux"], f"{row['line']} line flux; erg / (s cm2)")
        _put(hdu.header, f"ERR_{i:03d}", row["flux_err"], f"{row['line']} line uncertainty; erg / (s cm2)")
        for key in ("ew16", "ew50", "ew84", "ewhw"):
            _put(hdu.header, f"{key.upper()}_{i:03d}", row.get(key), f"{row['line']} rest-frame EW; Angstrom")
    for key, comment in (("dlineid", "Line with maximum deviation"), ("dlinesn", "Maximum deviation, sigmas")):
        if full.columns.get(key) is not None:
            hdu.header[key.upper()] = (full.columns[key], comment)
    return hdu


def _template(full: FullFile) -> fits.BinTableHDU:
    wave, continuum, whole = (full.template[name].to_numpy() for name in ("wave", "continuum", "full"))
    columns = [
        fits.Column(name="wave", format="D", array=wave / ANGSTROM, unit="Angstrom"),
        fits.Column(name="continuum", format="D", array=continuum, unit="erg / (Angstrom cm2 s)"),
        fits.Column(name="full", format="D", array=whole, unit="erg / (Angstrom cm2 s)"),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="TEMPL")
    for i, row in enumerate(full.coefficients.iter_rows(named=True)):
        _put(table.header, f"CVAL{i:03d}", row["value"], "Coefficient")
        _put(table.header, f"CERR{i:03d}", row["error"], "Uncertainty")
        table.header[f"CNAME{i:03d}"] = (row["name"], "Template name")
    return table


def _line_extensions(one: LineMap, maps: LineMaps) -> list[fits.ImageHDU]:
    planes = dict(zip(_PLANES, (one.data, one.continuum, one.contam, one.weight, one.variance), strict=True))
    out = []
    for name, plane in planes.items():
        if plane is None:
            continue
        hdu = fits.ImageHDU(np.nan_to_num(plane, nan=0.0), name=name)
        header = hdu.header
        header["EXTVER"] = one.line
        header.update(fits_cards(maps.grid.wcs))
        header["ID"] = (maps.source_id, "Object ID")
        header["PIXFRAC"] = (maps.pixfrac, "Drizzle PIXFRAC")
        header["PIXASEC"] = (maps.grid.scale_arcsec, "[arcsec] Side of a pixel")
        header["DRIZKRNL"] = (maps.kernel, "Drizzle kernel")
        header["WAVELEN"] = (one.wave / ANGSTROM, "[Angstrom] Central wavelength")
        header["RESTWAVE"] = (one.wave_rest / ANGSTROM, "[Angstrom] Line rest wavelength")
        header["REDSHIFT"] = (maps.z, "Redshift used")
        _put(header, "LINEFLUX", one.flux, "[erg/s/cm2] of the fit, all members")
        _put(header, "LINEERR", one.flux_err, "[erg/s/cm2]")
        header["SHARE"] = (one.share, "Part of LINEFLUX that the map shows")
        header["SUBTRACT"] = (" ".join(one.subtracted), "Lines that were subtracted")
        header["NBEAMS"] = (one.n_beams, "Beams with data")
        for key, value in (("COVERAGE", one.coverage), ("FOOTPRNT", one.footprint), ("NOISER", one.noise_correlation)):
            _put(header, key, value, "")
        if name == "LINEWHT":
            header["WHTTYPE"] = (one.weight_kind, "What this plane is")
        else:
            unit = _BUNIT if name != "CONTAM" or "erg" in one.contam_unit else "ELECTRONS/S"
            header["BUNIT"] = f"({unit})2" if name == "LINEVAR" else unit
        out.append(hdu)
    return out


def read_full_file(path: str | Path) -> FullFile:
    """Read a ``full.fits`` of skymere or of grizli.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    FullFile
        Of files of grizli, CONTAM has the unit e/s, weights of lines are called ``combination``, and those of blotted
        direct images ``coverage``.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing or unreadable, or has no image with coordinates.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        primary = hdus[0].header
        placed = [hdu for hdu in hdus if hdu.is_image and "CRVAL1" in hdu.header and len(hdu.shape) == 2]
        if not placed:
            msg = f"{path}: none of its extensions {[hdu.name for hdu in hdus]} is an image with coordinates"
            raise FormatError(msg)
        header = placed[-1].header
        cards = {key: header[key] for key in header if key and not isinstance(header[key], fits.card.Undefined)}
        grid = Grid(wcs=wcs_from_cards(cards), shape=placed[-1].shape)
        own = "SKYMERE" in primary
        seg = next((np.asarray(hdu.data, np.int32) for hdu in hdus if hdu.name == "SEG"), None)
        maps = LineMaps(
            source_id=int(primary.get("ID", 0)),
            ra=float(primary.get("RA", header["CRVAL1"])),
            dec=float(primary.get("DEC", header["CRVAL2"])),
            z=float(primary.get("REDSHIFT", "nan")),
            grid=grid,
            lines=tuple(_read_lines(hdus, primary, own=own)),
            segmentation=seg,
            kernel=str(primary.get("DRIZKRNL", "")).strip(),
            pixfrac=float(primary.get("PIXFRAC", "nan")),
            geometry_sha256=str(primary.get("GEOMSHA", "")),
            beams=_read_beams(primary),
        )
        zfit = _table(hdus, "ZFIT_STACK")
        templ = _table(hdus, "TEMPL")
        covar = next((hdu for hdu in hdus if hdu.name == "COVAR"), None)
        columns = primary_columns(primary)
        for name, prefix in (("ZFIT_STACK", ""), ("ZFIT_BEAM", "beam_")):
            found = next((hdu for hdu in hdus if hdu.name == name), None)
            columns |= redshift_columns(None if found is None else found.header, prefix=prefix)
        if covar is not None:
            columns |= {
                "dlineid": covar.header.get("DLINEID"),
                "dlinesn": covar.header.get("DLINESN"),
            }
        lines = line_table(None if covar is None else covar.header, primary)
        has_direct = any(hdu.name == "DSCI" for hdu in hdus)
        covariance = None if covar is None or covar.shape == (1, 1) else np.asarray(covar.data, np.float64)
        coefficients = _coefficients(next((hdu.header for hdu in hdus if hdu.name == "TEMPL"), None))
    return FullFile(
        maps=maps,
        thumbnail=read_thumbnail(path) if has_direct else None,
        columns=columns,
        lines=lines,
        redshifts=zfit.rename({"zgrid": "z"}).select("z", "chi2", "pdf") if zfit.height else pl.DataFrame(),
        covariance=covariance,
        template=templ.with_columns(pl.col("wave") * ANGSTROM) if templ.height else pl.DataFrame(),
        coefficients=coefficients,
    )


def _read_lines(hdus: fits.HDUList, primary: fits.Header, *, own: bool) -> list[LineMap]:
    found: dict[str, dict[str, Any]] = {}
    for hdu in hdus:
        if hdu.name in _PLANES:
            found.setdefault(str(hdu.header["EXTVER"]).strip(), {})[hdu.name] = hdu
    fluxes = {
        str(primary[f"LINE{i:03d}"]).strip(): [float(primary.get(f"{key}{i:03d}", "nan")) for key in ("FLUX", "ERR")]
        for i in range(1, int(primary.get("NUMLINES", 0)) + 1)
        if f"LINE{i:03d}" in primary
    }
    return [_read_line(name, there, fluxes.get(name, [float("nan")] * 2), own=own) for name, there in found.items()]


def _read_line(name: str, there: Mapping[str, Any], flux: Sequence[float], *, own: bool) -> LineMap:
    header = there["LINE"].header
    planes = {key: np.asarray(hdu.data, np.float32) for key, hdu in there.items()}
    zero = np.zeros_like(planes["LINE"])
    weight = planes.get("LINEWHT", zero)
    contam = there.get("CONTAM")
    kind = (
        str(there["LINEWHT"].header.get("WHTTYPE", "unknown" if own else "combination")) if "LINEWHT" in there else ""
    )
    variance = planes.get("LINEVAR")
    return LineMap(
        line=name,
        data=planes["LINE"],
        continuum=planes.get("CONTINUUM", zero),
        contam=planes.get("CONTAM", zero),
        weight=weight,
        variance=None if variance is None else np.where(weight > 0, variance, np.float32(np.nan)),
        wave_rest=float(header.get("RESTWAVE", "nan")) * ANGSTROM,
        wave=float(header.get("WAVELEN", "nan")) * ANGSTROM,
        flux=flux[0],
        flux_err=flux[1],
        share=float(header.get("SHARE", 2.98 / 3.98 if name == "OIII" else 1.0)),
        contam_unit="1e-17 erg / (s cm2)"
        if contam is not None and "erg" in str(contam.header.get("BUNIT", ""))
        else "electron / s",
        weight_kind=kind if kind in ("inverse_variance", "combination") else "unknown",  # type: ignore[arg-type]
        noise_correlation=float(header.get("NOISER", "nan")),
        coverage=float(header.get("COVERAGE", np.mean(weight > 0))),
        footprint=float(header.get("FOOTPRNT", "nan")),
        n_beams=int(header.get("NBEAMS", 0)),
        subtracted=tuple(str(header.get("SUBTRACT", "")).split()),
    )


def exposures_of(beams: pl.DataFrame, grism: str) -> pl.DataFrame:
    """Return a row for each exposure of a grism, which may have beams of several orders.

    Parameters
    ----------
    beams : polars.DataFrame
        With the columns of `skymere.datamodels.BEAM_COLUMNS`.
    grism : str
        Name by which beams are grouped.
    """
    is_new = (pl.col("file") == "") | pl.col("file").is_first_distinct()
    return beams.filter(pl.col("grism") == grism).filter(is_new)


def _read_beams(primary: fits.Header) -> pl.DataFrame:
    n = int(primary.get("NINPUT", 0))
    rows = []
    for i in range(1, n + 1):
        grism = str(primary.get(f"GRIS{i:04d}", "")).strip()
        rows.append(
            {
                "file": str(primary.get(f"FILE{i:04d}", "")),
                "grism": grism,
                "order": "",
                "angle": primary.get(f"PA{i:04d}"),
                "exptime": None,
            }
        )
    beams = pl.DataFrame(rows, schema=dict(BEAM_COLUMNS))
    # The header has only the sum of each grism.
    times = {
        grism: float(primary[f"T_{grism}"]) / exposures_of(beams, grism).height
        for grism in beams["grism"].unique()
        if f"T_{grism}" in primary
    }
    return beams.with_columns(exptime=pl.col("grism").replace_strict(times, default=None, return_dtype=pl.Float64))


def _table(hdus: fits.HDUList, name: str) -> pl.DataFrame:
    hdu = next((hdu for hdu in hdus if hdu.name == name and isinstance(hdu, fits.BinTableHDU)), None)
    if hdu is None:
        return pl.DataFrame()
    columns = {key: np.asarray(hdu.data[key]) for key in hdu.columns.names}
    return pl.DataFrame({k: v.astype(np.float64) for k, v in columns.items() if v.ndim == 1 and v.dtype.kind == "f"})


def _coefficients(header: fits.Header | None) -> pl.DataFrame:
    schema = {"name": pl.String, "value": pl.Float64, "error": pl.Float64}
    rows = []
    i = 0
    while header is not None and f"CNAME{i:03d}" in header:
        rows.append(
            {
                "name": str(header[f"CNAME{i:03d}"]),
                "value": header.get(f"CVAL{i:03d}"),
                "error": header.get(f"CERR{i:03d}"),
            }
        )
        i += 1
    return pl.DataFrame(rows, schema=schema)
