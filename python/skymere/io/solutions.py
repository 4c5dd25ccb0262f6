"""Where exposures look, as files: shift files, headerlets, and copies of exposures with another WCS."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS, DistortionLookupTable

from skymere.errors import ConflictError, FormatError, InvalidInputError, StorageError
from skymere.io._open import open_fits
from skymere.wcs import Grid, asdf_with_gwcs, fits_cards, is_gwcs

__all__ = ["read_headerlet", "write_headerlet", "write_shifts", "write_with_wcs"]

_LINEAR = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2", "CTYPE1", "CTYPE2")
_SCALED = ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2")
_KEYS = "ABCDEFGHIJKLMNPQRSTUVWXYZ"


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a name for writing that becomes ``path`` when all went well, and leaves nothing when not."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VerifyWarning)
            yield staged
        staged.replace(path)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror or error}"
        raise StorageError(msg) from error
    finally:
        staged.unlink(missing_ok=True)


def write_shifts(
    path: str | Path, rows: Sequence[Mapping[str, Any]], *, grid: Grid, grid_path: str | Path | None = None
) -> None:
    """Write a shift file as TweakReg does: name, shift, rotation, scale and rms of every exposure.

    Parameters
    ----------
    path : path-like
        The file.
    rows : sequence of mapping
        Rows of ``wcs_solution`` as `Alignment.row` gives them; those without a shift are left out.
    grid : Grid
        A north-up grid, in whose pixels the shifts are.
    grid_path : path-like, optional
        FITS file for the WCS of the grid, TweakReg's ``outwcs``.

    Raises
    ------
    StorageError
        When a file cannot be written.

    Notes
    -----
    East is at smaller x. The rotation is that of the exposure in degrees, as in the column of the row.
    """
    path, scale = Path(path), grid.scale_arcsec
    reference = f"{Path(grid_path).name}[wcs]" if grid_path is not None else "wcs"
    lines = ["# frame: output", f"# refimage: {reference}", "# form: delta", "# units: pixels"]
    for row in rows:
        if row.get("shift_x") is None:
            continue
        numbers = (-row["shift_x"] / scale, row["shift_y"] / scale, row["rotation"], row["scale"])
        residuals = (row["rms_x"] / scale, row["rms_y"] / scale)
        lines.append(f"{row['exposure_id']}    " + "  ".join(f"{n:.6f}" for n in (*numbers, *residuals)))
    with _whole(path) as staged:
        staged.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if grid_path is not None:
        image = fits.ImageHDU(name="WCS")
        image.header.update(grid.cards())
        with _whole(Path(grid_path)) as staged:
            fits.HDUList([fits.PrimaryHDU(), image]).writeto(staged)


def write_headerlet(
    path: str | Path,
    chips: Sequence[WCS],
    *,
    name: str,
    exposure: str,
    row: Mapping[str, Any] | None = None,
    author: str = "",
    description: str = "",
    history: Sequence[str] = (),
) -> None:
    """Write the coordinates of an exposure as a headerlet, with SIP and look-up tables.

    Parameters
    ----------
    path : path-like
        The file.
    chips : sequence of astropy.wcs.WCS
        Coordinates of SCI extensions 1, 2, ...
    name : str
        Name of the solution (HDRNAME and WCSNAME).
    exposure : str
        Root name of the exposure (DESTIM).
    row : mapping, optional
        Row of ``wcs_solution``; its matches, rms and reference become NMATCH, RMS_RA, RMS_DEC and CATALOG.
    author, description : str, optional
        AUTHOR and DESCRIP.
    history : sequence of str, optional
        Lines of HISTORY.

    Raises
    ------
    InvalidInputError
        When there is no chip, or one is not an astropy WCS of the sky.
    StorageError
        When the file cannot be written.
    """
    if not chips:
        msg = "chips: at least one WCS is needed"
        raise InvalidInputError(msg)
    primary = fits.PrimaryHDU()
    header = primary.header
    header["HDRNAME"], header["WCSNAME"], header["DESTIM"] = name, name, exposure
    header["AUTHOR"], header["DESCRIP"], header["NEXTEND"] = author, description, 0
    if row is not None and row.get("n_matches") is not None:
        header["NMATCH"], header["CATALOG"] = row["n_matches"], row["reference"]
        header["RMS_RA"], header["RMS_DEC"] = (row[key] * 1000.0 for key in ("rms_x", "rms_y"))
        header.comments["RMS_RA"] = header.comments["RMS_DEC"] = "[mas]"
    for line in history:
        header.add_history(line)
    hdus = [primary]
    for version, wcs in enumerate(chips, start=1):
        hdus += _chip_hdus(wcs, name, version, n_tables=len(hdus))
    header["NEXTEND"] = len(hdus) - 1
    with _whole(Path(path)) as staged:
        fits.HDUList(hdus).writeto(staged)


def _chip_hdus(wcs: WCS, name: str, version: int, *, n_tables: int) -> list[fits.ImageHDU]:
    """Return the SIPWCS extension of a chip and its tables, which are numbered from ``n_tables`` on."""
    if not isinstance(wcs, WCS):
        msg = f"chips: {type(wcs).__name__} is not allowed in a headerlet, it must be an astropy WCS"
        raise InvalidInputError(msg)
    image = fits.ImageHDU(name="SIPWCS", ver=version)
    header = image.header
    header.update(fits_cards(wcs, ignore_tables=True))
    header["WCSNAME"], header["TG_ENAME"], header["TG_EVER"] = name, "SCI", version
    tables: list[fits.ImageHDU] = []
    kinds = (
        ("CPDIS", "DP", "WCSDVARR", (wcs.cpdis1, wcs.cpdis2)),
        ("D2IMDIS", "D2IM", "D2IMARR", (wcs.det2im1, wcs.det2im2)),
    )
    for keyword, record, extension, pair in kinds:
        for axis, table in enumerate(pair, start=1):
            if table is None:
                continue
            number = n_tables + len(tables)
            header[f"{keyword}{axis}"] = "LOOKUP"
            for field, value in (("EXTVER", number), ("NAXES", 2), ("AXIS.1", 1), ("AXIS.2", 2)):
                header.append(fits.Card(f"{record}{axis}.{field}", float(value)), end=True)
            tables.append(_table_hdu(table, extension, number))
    return [image, *tables]


def _table_hdu(table: DistortionLookupTable, name: str, number: int) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.asarray(table.data), name=name, ver=number)
    for key in ("crpix", "crval", "cdelt"):
        for axis, value in enumerate(getattr(table, key), start=1):
            hdu.header[f"{key.upper()}{axis}"] = value
    return hdu


def read_headerlet(path: str | Path) -> list[WCS]:
    """Read the coordinates of all chips of a headerlet.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it is missing, unreadable, or no headerlet.
    """
    with open_fits(path) as hdus:
        found = [WCS(hdu.header, hdus) for hdu in hdus if hdu.name == "SIPWCS"]
        if not found:
            msg = f"{path}: no SIPWCS extension; it has {[hdu.name for hdu in hdus]}"
            raise FormatError(msg)
        return found


def write_with_wcs(
    source: str | Path,
    path: str | Path,
    chips: Sequence[WCS],
    *,
    name: str = "TWEAK",
    reuse_name: bool = False,
) -> None:
    """Write a copy of an exposure whose primary WCS is another one; the old one becomes an alternate WCS.

    Parameters
    ----------
    source : path-like
        The exposure, which is not changed.
    path : path-like
        The copy.
    chips : sequence of astropy.wcs.WCS or gwcs.WCS
        New coordinates of SCI extensions 1, 2, ..., with the distortion of the old ones; a gwcs where the file has one
        in its ASDF extension.
    name : str, optional
        WCSNAME of the new coordinates.
    reuse_name : bool, optional
        Whether coordinates of that name may be in the file already.

    Raises
    ------
    ConflictError
        When ``path`` is the source, or the name is taken.
    InvalidInputError
        When the number of chips is not that of the file, or no letter is left for an alternate WCS.
    NotFoundError, StorageError, FormatError
        When a file cannot be read or written.

    Notes
    -----
    The old CRPIX, CRVAL, CD or PC and CDELT, CTYPE and WCSNAME stay under the first free letter; SIP and tables are
    shared. With a gwcs CRVAL and CD are its position and derivative at CRPIX, as they were before.
    """
    source, path = Path(source), Path(path)
    if path.exists() and source.exists() and path.samefile(source):
        msg = f"path: {path} is the exposure itself, which is not changed; name another file"
        raise ConflictError(msg)
    with open_fits(source) as hdus:
        for wcs in chips:
            if not (isinstance(wcs, WCS) or (is_gwcs(wcs) and "ASDF" in hdus)):
                msg = f"chips: {type(wcs).__name__} is not allowed, it must be the kind that {source} has"
                raise InvalidInputError(msg)
        images = [hdu for hdu in hdus if hdu.name == "SCI"]
        if len(images) != len(chips):
            msg = f"chips: {len(chips)} are not allowed, {source} has {len(images)} SCI extensions"
            raise InvalidInputError(msg)
        for hdu, wcs in zip(images, chips, strict=True):
            # Headers beside a gwcs may have no coordinates of the sky.
            if "CRVAL1" in hdu.header or not is_gwcs(wcs):
                _archive(hdu.header, name, source, reuse_name=reuse_name)
                hdu.header["WCSNAME"] = name
            if is_gwcs(wcs):
                if "CRVAL1" in hdu.header:
                    hdu.header.update(_linear_cards(wcs, hdu.header))
                hdus["ASDF"] = _asdf_extension(hdus["ASDF"], wcs, source)
            else:
                cards = fits_cards(wcs, ignore_tables=True)
                hdu.header.update({key: cards[key] for key in cards if key in _LINEAR or key[:2] in ("A_", "B_")})
        with _whole(path) as staged:
            hdus.writeto(staged)


def _archive(header: fits.Header, name: str, source: Path, *, reuse_name: bool) -> None:
    """Keep the primary WCS under the first free letter."""
    letters = [letter for letter in _KEYS if f"CRVAL1{letter}" in header]
    names = [str(header.get(f"WCSNAME{letter}", "")) for letter in ("", *letters)]
    if name in names and not reuse_name:
        msg = f"name: {source} has coordinates named {name!r} already; reuse_name allows them"
        raise ConflictError(msg)
    free = [letter for letter in _KEYS if letter not in letters]
    if not free:
        msg = f"{source}: all letters of alternate coordinates are taken"
        raise InvalidInputError(msg)
    for key in (*_LINEAR, *_SCALED):
        if key in header:
            header[key + free[0]] = header[key]
    for key in _SCALED:
        # Together with CD they would be two linear parts.
        header.remove(key, ignore_missing=True)
    header[f"WCSNAME{free[0]}"] = str(header.get("WCSNAME", "OPUS"))


def _linear_cards(wcs: Any, header: fits.Header) -> dict[str, float]:
    """Return CRVAL and CD of a gwcs at the CRPIX of a header."""
    x, y = (float(header.get(key, 0.0)) - 1.0 for key in ("CRPIX1", "CRPIX2"))
    step = np.array([0.0, 0.5, -0.5, 0.0, 0.0])
    ra, dec = wcs.pixel_to_world_values(x + step, y + np.roll(step, 2))
    plane = Grid.tangent(float(ra[0]), float(dec[0]), shape=(1, 1), scale_arcsec=3600.0)
    _, right, left, up, down = np.column_stack(plane.pixels(ra, dec))
    # The grid's x runs to the west.
    matrix = np.column_stack([right - left, up - down]) * np.array([[-1.0], [1.0]])
    cards = {f"CD{i + 1}_{j + 1}": float(matrix[i, j]) for i in (0, 1) for j in (0, 1)}
    return {"CRVAL1": float(ra[0]), "CRVAL2": float(dec[0])} | cards


def _asdf_extension(old: fits.BinTableHDU, wcs: Any, source: Path) -> fits.BinTableHDU:
    """Return the ASDF extension of a file with another gwcs."""
    before = np.asarray(old.data["ASDF_METADATA"]).tobytes()
    content = np.frombuffer(asdf_with_gwcs(before, wcs, f"{source}, extension ASDF"), np.uint8)
    column = fits.Column("ASDF_METADATA", f"{content.size}B", array=content[np.newaxis])
    return fits.BinTableHDU.from_columns([column], name="ASDF")
