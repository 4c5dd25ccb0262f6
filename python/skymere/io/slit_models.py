"""Slit spectra of the JWST pipeline (``_phot``, ``_cal`` and the like, one slit or many) to `Slitlet`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import SlitExposure, Slitlet, SlitPlace, SlitSource
from skymere.errors import FormatError, InvalidInputError
from skymere.instruments import EXTENDED_REFERENCE_ENDING, FIXED_SLIT_MODES, JWST, shutter_place
from skymere.io._open import open_fits
from skymere.io.exposures import file_digest
from skymere.io.slit_geometry import EVALUATED, evaluate_slit_geometry, stored_slit_geometry
from skymere.wcs import open_asdf_tree

__all__ = ["SlitEntry", "list_slits", "read_slitlet", "read_slitlets"]

_NEEDED = ("SCI", "DQ", "VAR_RNOISE", "VAR_POISSON", "WAVELENGTH")
_OPTIONAL = {"var_flat": "VAR_FLAT", "bar": "BARSHADOW", "pathloss_ps": "PATHLOSS_PS", "pathloss_un": "PATHLOSS_UN"}
_FLATS = {"dflat": "R_DFLAT", "fflat": "R_FFLAT", "sflat": "R_SFLAT"}
_NO_SOURCE_DEG = 1e-4
# Names such as 1345_BKG12 and background_12.
_SKY = re.compile(r"(_BKG|^background_)\d+$")


@dataclass(frozen=True, kw_only=True)
class SlitEntry:
    """What the headers of a file say of one of its slits.

    Parameters
    ----------
    path : str
        The file.
    slit_name : str
        Name of a fixed slit, or number of the slitlet.
    source_name : str
        Name of the source; programme and number of the source where the file has none.
    ra, dec : float
        Its place [deg]; NaN where the file has none, and for slits of sky.
    grating, filter : str
        As in the header.
    exposure_id : str
        Name of the exposure.
    is_background : bool
        A slit that holds sky alone.
    """

    path: str
    slit_name: str
    source_name: str
    ra: float
    dec: float
    grating: str
    filter: str
    exposure_id: str
    is_background: bool


def list_slits(path: str | Path) -> list[SlitEntry]:
    """Return the slits of a file by their headers alone: neither pixels nor coordinates are read.

    Parameters
    ----------
    path : path-like
        A file as `read_slitlets` reads it.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `read_slitlets`, as far as headers show it.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        file = _File(hdus, path)
        return [file.entry(version) for version in file.versions]


def read_slitlet(path: str | Path, *, slit: str | int | None = None) -> Slitlet:
    """Read the cutout of one slit.

    Parameters
    ----------
    path : path-like
        The file, which is not changed.
    slit : str or int, optional
        Which slit of a file with several: the name of the slit or of the source, or the number of the source.

    Returns
    -------
    Slitlet
        As `read_slitlets`.

    Raises
    ------
    NotFoundError, StorageError, FormatError, InvalidInputError
        As `read_slitlets`; also when the file holds several slits and none is named, or not the named one.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        file = _File(hdus, path)
        versions = [v for v in file.versions if slit is None or file.is_named(v, slit)]
        if len(versions) != 1:
            what = "is not there" if slit is not None and not versions else "is needed to choose one"
            msg = f"slit: {slit!r} {what}; {path} holds {[file.name(v) for v in file.versions]}"
            raise InvalidInputError(msg)
        return file.slitlets(versions)[0]


def read_slitlets(path: str | Path, *, slits: Sequence[str] | None = None) -> list[Slitlet]:
    """Read the cutouts of all slits of a file; its coordinates are evaluated once.

    Parameters
    ----------
    path : path-like
        A file of one slit (as ``_phot.*.fits``) or of many (as ``_cal.fits``) of NIRSpec, which is not changed.
    slits : sequence of str, optional
        Names of the slits that are wanted, in this order; all in the order of the file when not given.

    Returns
    -------
    list of Slitlet
        Numbers are those of the file.

    Raises
    ------
    NotFoundError
        When there is no such file, or asdf, gwcs or stdatamodels are missing.
    StorageError
        When it may not be read.
    FormatError
        When it is truncated, lacks SCI, DQ, VAR_RNOISE, VAR_POISSON, WAVELENGTH or its coordinates, or these differ in
        shape, or a step is said to be done whose array is missing.
    InvalidInputError
        When it is of another instrument, has no positive exposure time or pixel area, or not the slits that are wanted.

    Notes
    -----
    Coordinates are the gwcs in the ASDF extension, or those that `write_slitlets` has evaluated. A slit without
    shutters has no bar shadow; of a slit with shutters the array is missing when the pipeline did not correct for it,
    so ``bar`` is None in both cases.

    Examples
    --------
    >>> from skymere.io import read_slitlets
    >>> slitlets = read_slitlets("jw01345062001_03101_00001_nrs2_phot.138.1345_933.fits")  # doctest: +SKIP
    >>> [one.source.name for one in slitlets]  # doctest: +SKIP
    ['1345_933']
    """
    path = Path(path)
    with open_fits(path) as hdus:
        file = _File(hdus, path)
        if slits is None:
            return file.slitlets(file.versions)
        versions = {file.name(version): version for version in file.versions}
        if unknown := sorted(set(slits) - set(versions)):
            msg = f"slits: {unknown} are not there; {path} holds {list(versions)}"
            raise InvalidInputError(msg)
        return file.slitlets([versions[name] for name in slits])


class _File:
    """An open file of slits: what its headers, extensions and ASDF tree mean."""

    def __init__(self, hdus: fits.HDUList, path: Path) -> None:
        self.hdus, self.path = hdus, path
        self.primary = hdus[0].header
        words = [str(self.primary.get(key, "")).strip().upper() for key in ("TELESCOP", "INSTRUME")]
        if words != ["JWST", "NIRSPEC"]:
            found = " ".join(words).strip() or "none"
            msg = f"{path}: TELESCOP, INSTRUME {found} is not allowed, it must be JWST NIRSPEC"
            raise InvalidInputError(msg)
        self.versions = [hdu.ver for hdu in hdus[1:] if hdu.name == "SCI"]
        if not self.versions:
            raise FormatError(self._no_extension("SCI", 1))
        self.is_evaluated = "ASDF" not in hdus and any(name in hdus for name in EVALUATED)
        if "ASDF" not in hdus and not self.is_evaluated:
            msg = f"{path}: extension ASDF with the coordinates is missing"
            raise FormatError(msg)
        exposure_type = str(self.primary.get("EXP_TYPE", "")).strip().upper()
        self.is_fixed_slit = exposure_type in FIXED_SLIT_MODES

    def _no_extension(self, name: str, version: int) -> str:
        there = sorted({hdu.name for hdu in self.hdus[1:]})
        return f"{self.path}: extension {name},{version} is missing, it holds {there}"

    def header(self, version: int) -> fits.Header:
        return self.hdus["SCI", version].header

    def name(self, version: int) -> str:
        return str(self.header(version).get("SLTNAME", version))

    def is_named(self, version: int, slit: str | int) -> bool:
        header = self.header(version)
        keys = ("SOURCEID",) if isinstance(slit, int) else ("SLTNAME", "SRCNAME")
        return any(header.get(key) == slit for key in keys)

    def entry(self, version: int) -> SlitEntry:
        """Return what the headers say of a slit."""
        header, source = self.header(version), _source(self.header(version), {})
        exposure = self._exposure(header)
        is_background = not self.is_fixed_slit and _is_background(source)
        return SlitEntry(
            path=str(self.path),
            slit_name=self.name(version),
            source_name=source.name or f"{exposure.program or exposure.exposure_id}_{source.source_id}",
            ra=float("nan") if is_background else source.ra,
            dec=float("nan") if is_background else source.dec,
            grating=exposure.grating,
            filter=exposure.filter,
            exposure_id=exposure.exposure_id,
            is_background=is_background,
        )

    def slitlets(self, versions: list[int]) -> list[Slitlet]:
        """Return the slits of some versions; the ASDF tree is opened once for all of them."""
        if self.is_evaluated:
            digest = file_digest(self.path)
            return [self._slitlet(version, {}, digest) for version in versions]
        content = np.asarray(self.hdus["ASDF"].data["ASDF_METADATA"][0]).tobytes()
        where = f"{self.path}, extension ASDF"
        digest = file_digest(self.path)
        with open_asdf_tree(content, where) as tree:
            trees = [_slit_tree(tree, self.versions.index(version), where) for version in versions]
            return [self._slitlet(version, one, digest) for version, one in zip(versions, trees, strict=True)]

    def _slitlet(self, version: int, tree: Mapping[str, Any], digest: str) -> Slitlet:
        header = self.header(version)
        planes = {name: self.plane(name, version) for name in _NEEDED}
        shape = planes["SCI"].shape
        name = f"{self.path}, slit {self.name(version)}"
        wavelength = planes["WAVELENGTH"].astype(np.float32)
        known = wavelength[np.isfinite(wavelength)]
        if not known.size:
            msg = f"{name}: WAVELENGTH holds no number"
            raise FormatError(msg)
        if self.is_evaluated:
            geometry = stored_slit_geometry(self.hdus, version, name)
        else:
            wcs = tree["meta"].get("wcs") if isinstance(tree.get("meta"), Mapping) else None
            middle = float(np.median(known))
            geometry = evaluate_slit_geometry(wcs, (shape[0], shape[1]), name, reference_wavelength=middle)
        source = _source(header, tree)
        exposure = self._exposure(header)
        return Slitlet(
            sci=planes["SCI"].astype(np.float32),
            var_rnoise=planes["VAR_RNOISE"].astype(np.float32),
            var_poisson=planes["VAR_POISSON"].astype(np.float32),
            dq=planes["DQ"].astype(np.int64).astype(np.uint32),
            dq_bits=JWST,
            wavelength=wavelength,
            geometry=geometry,
            source=source,
            place=_place(header, tree, self.path),
            exposure=exposure,
            pixel_area_sr=_number(header.get("PIXAR_SR", self.primary.get("PIXAR_SR")), float("nan")),
            unit=str(header.get("BUNIT", "MJy/sr")).strip(),
            is_fixed_slit=self.is_fixed_slit,
            is_background=not self.is_fixed_slit and _is_background(source),
            has_extended_calibration=any(f.endswith(EXTENDED_REFERENCE_ENDING) for f in exposure.flats.values()),
            path=str(self.path),
            sha256=digest,
            **self._optional(version),
        )

    def _optional(self, version: int) -> dict[str, NDArray[np.float32]]:
        found = {}
        for field, name in _OPTIONAL.items():
            if (name, version) in self.hdus and self.hdus[name, version].data is not None:
                found[field] = self.plane(name, version).astype(np.float32)
        done = str(self.primary.get("S_BARSHA", "")).strip().upper() == "COMPLETE"
        # A step that is done for the exposure leaves no array for slits that have no bars or no source.
        if done and "bar" not in found and len(self.versions) == 1 and not self.is_fixed_slit:
            msg = f"{self.path}: S_BARSHA says COMPLETE and extension BARSHADOW is missing"
            raise FormatError(msg)
        if self.is_fixed_slit:
            found.pop("bar", None)
        return found

    def plane(self, name: str, version: int) -> NDArray[np.generic]:
        """Return an extension as an array of the shape of SCI."""
        if (name, version) not in self.hdus:
            raise FormatError(self._no_extension(name, version))
        data = self.hdus[name, version].data
        if data is None or data.ndim != 2:
            msg = f"{self.path}: extension {name},{version} holds no two-dimensional image"
            raise FormatError(msg)
        first = self.hdus["SCI", version].shape
        if data.shape != first:
            msg = f"{self.path}: extension {name},{version} has shape {data.shape}, SCI has {first}"
            raise FormatError(msg)
        return np.asarray(data)

    def _exposure(self, header: fits.Header) -> SlitExposure:
        primary = self.primary

        def text(key: str) -> str:
            return str(primary.get(key, "")).strip()

        def number(key: str, missing: float = float("nan")) -> float:
            return _number(header.get(key, primary.get(key)), missing)

        exptime = next((primary[key] for key in ("EFFEXPTM", "XPOSURE") if key in primary), header.get("XPOSURE"))
        names = {kind: text(key).rpartition("/")[2] for kind, key in _FLATS.items()}
        return SlitExposure(
            exposure_id="_".join(self.path.name.split("_")[:4]),
            program=text("PROGRAM"),
            visit=text("VISIT_ID"),
            instrument=text("INSTRUME"),
            detector=text("DETECTOR"),
            grating=text("GRATING"),
            filter=text("FILTER"),
            lamp_mode=text("OPMODE"),
            exposure_type=text("EXP_TYPE"),
            aperture=text("APERNAME"),
            msa_file=text("MSAMETFL"),
            msa_metadata_id=int(number("MSAMETID", 0)),
            msa_configuration_id=int(number("MSACONID", 0)),
            exptime=_number(exptime, float("nan")),
            read_pattern=text("READPATT"),
            n_integrations=int(number("NINTS", 0)),
            n_groups=int(number("NGROUPS", 0)),
            n_frames=int(number("NFRAMES", 0)),
            start_mjd=number("EXPSTART"),
            ra_v1=number("RA_V1"),
            dec_v1=number("DEC_V1"),
            pa_v3=number("PA_V3"),
            position_angle=number("PA_APER"),
            position_number=int(number("PATT_NUM", 0)),
            n_positions=int(number("NUMDTHPT", 0)),
            nod_type=text("NOD_TYPE"),
            pattern_type=text("PATTTYPE"),
            x_offset=number("XOFFSET", 0.0),
            y_offset=number("YOFFSET", 0.0),
            software=text("CAL_VER"),
            flats={kind: name for kind, name in names.items() if name and name != "N/A"},
        )


def _number(value: Any, missing: float) -> float:
    """Return a header value as a number; a missing or empty one as ``missing``."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else missing


def _slit_tree(tree: Mapping[str, Any], k: int, where: str) -> Mapping[str, Any]:
    """Return the part of the tree with the coordinates of a slit: the tree itself, or one of its ``slits``."""
    if "slits" not in tree:
        return tree
    slits = tree["slits"]
    if k >= len(slits):
        msg = f"{where}: it holds {len(slits)} slits, the file more than {k}"
        raise FormatError(msg)
    slit = slits[k]
    if not isinstance(slit, Mapping):
        msg = f"{where}: slits[{k}] is {type(slit).__name__}, no mapping"
        raise FormatError(msg)
    return slit


def _value(header: fits.Header, key: str, tree: Mapping[str, Any], name: str, missing: float = float("nan")) -> float:
    """Return a number of the header, or of the tree where the header has none."""
    return _number(header.get(key), _number(tree.get(name), missing))


def _text(header: fits.Header, key: str, tree: Mapping[str, Any], name: str) -> str:
    value = header.get(key, tree.get(name))
    return "" if value is None else str(value).strip()


def _source(header: fits.Header, tree: Mapping[str, Any]) -> SlitSource:
    return SlitSource(
        source_id=int(_value(header, "SOURCEID", tree, "source_id", 0)),
        name=_text(header, "SRCNAME", tree, "source_name"),
        ra=_value(header, "SRCRA", tree, "source_ra"),
        dec=_value(header, "SRCDEC", tree, "source_dec"),
        x_position=_value(header, "SRCXPOS", tree, "source_xpos"),
        y_position=_value(header, "SRCYPOS", tree, "source_ypos"),
        kind=_text(header, "SRCTYPE", tree, "source_type").upper(),
        stellarity=_value(header, "STLARITY", tree, "stellarity"),
    )


def _is_background(source: SlitSource) -> bool:
    """Return whether a slit has no source: the pipeline names it so, and puts it at 0, 0."""
    place = np.array([source.ra, source.dec])
    is_nowhere = not np.isfinite(place).all() or bool((np.abs(place) < _NO_SOURCE_DEG).all())
    return is_nowhere or _SKY.search(source.name) is not None


def _place(header: fits.Header, tree: Mapping[str, Any], path: Path) -> SlitPlace:
    x0, y0 = (_value(header, key, tree, name, 0.0) for key, name in (("SLTSTRT1", "xstart"), ("SLTSTRT2", "ystart")))
    if x0 < 1 or y0 < 1:
        msg = f"{path}: SLTSTRT1, SLTSTRT2 {x0:g}, {y0:g} are not allowed, they must be 1 or more"
        raise FormatError(msg)
    shutter_id = int(_value(header, "SHUTTRID", tree, "shutter_id", 0))
    column, row = shutter_place(shutter_id) if shutter_id > 0 else (0, 0)
    return SlitPlace(
        slit_name=_text(header, "SLTNAME", tree, "name"),
        slitlet_id=int(_value(header, "SLITID", tree, "slitlet_id", 0)),
        shutter_id=shutter_id,
        quadrant=int(_value(header, "QUADRANT", tree, "quadrant", 0)),
        column=int(_number(tree.get("xcen"), column)),
        row=int(_number(tree.get("ycen"), row)),
        shutter_state=_text(header, "SHUTSTA", tree, "shutter_state"),
        y_min=_value(header, "SLITYMIN", tree, "slit_ymin"),
        y_max=_value(header, "SLITYMAX", tree, "slit_ymax"),
        x0=int(x0) - 1,
        y0=int(y0) - 1,
    )
