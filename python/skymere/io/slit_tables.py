"""Reference files of slit spectra: bar shadows, responses, bad pixels, resolution, profiles, skies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from astropy.io import fits
from numpy.typing import NDArray

from skymere._arrays import as_array
from skymere.datamodels import (
    BadPixelTable,
    BarShadowTable,
    NormalizationTable,
    SensitivityTable,
    SlitFlatTable,
    SlitTables,
)
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io._open import open_fits
from skymere.io.packs import Pack

__all__ = [
    "SlitProfileTable",
    "read_bad_pixels",
    "read_bar_shadow",
    "read_dispersion",
    "read_psf_fwhm",
    "read_sensitivity",
    "read_sky_spectrum",
    "read_slit_flat",
    "read_slit_normalization",
    "read_slit_profile",
    "read_slit_tables",
]

_PARTS = ("bars", "normalization", "bad_pixels", "sensitivity", "flats")
_DEFAULT_PARTS = ("bars", "normalization", "bad_pixels")
_N_SHUTTERS = (1, 2, 3)
_QUADRANTS = (1, 2, 3, 4)
# The parser in C is 20 times faster, which the tables of bad pixels need.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@contextmanager
def _from_file(path: Path) -> Iterator[None]:
    """Say of what a table refuses that the file is at fault."""
    try:
        yield
    except InvalidInputError as error:
        msg = f"{path}: {error}"
        raise FormatError(msg) from error


def _read_yaml(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    try:
        with path.open("rb") as file:
            tree = yaml.load(file, Loader=_LOADER)  # noqa: S506  (both loaders are the safe one)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path}: not YAML: {str(error).splitlines()[0]}"
        raise FormatError(msg) from error
    if not isinstance(tree, Mapping):
        msg = f"{path}: holds {type(tree).__name__}, it must be a mapping"
        raise FormatError(msg)
    return tree


def _numbers(tree: Mapping[str, Any], key: str, path: Path) -> NDArray[np.float64]:
    if key not in tree:
        msg = f"{path}: {key} is missing, it holds {sorted(tree)}"
        raise FormatError(msg)
    try:
        return np.asarray(tree[key], np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{path}: {key} is no array of numbers"
        raise FormatError(msg) from error


def _pair(values: NDArray[np.float64], key: str, path: Path) -> tuple[float, float]:
    if values.shape != (2,):
        msg = f"{path}: {key} has shape {values.shape}, it must be (2,)"
        raise FormatError(msg)
    return float(values[0]), float(values[1])


def read_bar_shadow(path: str | Path) -> BarShadowTable:
    """Read a table of bar shadows: ``minmax``, ``coeffs``, and ``wavelengths`` where it has them.

    Parameters
    ----------
    path : path-like
        A YAML file, as ``prism_3_bar_coeffs_wave.yaml``.

    Raises
    ------
    NotFoundError, FormatError
        When it is not there, or is something else.
    """
    path = Path(path)
    tree = _read_yaml(path)
    with _from_file(path):
        return BarShadowTable(
            limits=_pair(_numbers(tree, "minmax", path), "minmax", path),
            coefficients=_numbers(tree, "coeffs", path),
            wavelengths=_numbers(tree, "wavelengths", path) if "wavelengths" in tree else None,
        )


def read_slit_normalization(path: str | Path) -> NormalizationTable:
    """Read the table of responses of slits: ``coeffs``, ``df`` and ``reference_wavelengths``.

    Parameters
    ----------
    path : path-like
        A YAML file, as ``prism_slit_renormalize.yaml``.

    Raises
    ------
    NotFoundError, FormatError
        When it is not there, or is something else.
    """
    path = Path(path)
    tree = _read_yaml(path)
    coefficients = _numbers(tree, "coeffs", path)
    if tree.get("df") != len(coefficients):
        msg = f"{path}: df is {tree.get('df')}, coeffs has {len(coefficients)} functions"
        raise FormatError(msg)
    with _from_file(path):
        return NormalizationTable(coefficients=coefficients, wavelengths=_numbers(tree, "reference_wavelengths", path))


def read_bad_pixels(path: str | Path) -> BadPixelTable:
    """Read a table of bad pixels: ``shape``, ``pixel_index``, ``pixel_value`` and ``flags``.

    Parameters
    ----------
    path : path-like
        A YAML file, as ``msaexp_badpix_nrs2.yaml``.

    Raises
    ------
    NotFoundError, FormatError
        When it is not there, or is something else.
    """
    path = Path(path)
    tree = _read_yaml(path)
    shape = _pair(_numbers(tree, "shape", path), "shape", path)
    try:
        return BadPixelTable(
            index=_numbers(tree, "pixel_index", path).astype(np.int64),
            value=_numbers(tree, "pixel_value", path).astype(np.uint32),
            shape=(int(shape[0]), int(shape[1])),
            bits={str(name): int(bit) for name, bit in tree.get("flags", {}).items()},
        )
    except (InvalidInputError, AttributeError, TypeError) as error:
        msg = f"{path}: {error}"
        raise FormatError(msg) from error


def _table(hdus: fits.HDUList, path: Path, names: tuple[str, ...]) -> tuple[fits.FITS_rec, fits.Header]:
    for hdu in hdus[1:]:
        if isinstance(hdu, fits.BinTableHDU):
            there = [name.lower() for name in hdu.columns.names]
            if missing := [name for name in names if name not in there]:
                msg = f"{path}: columns {missing} are missing, the table has {there}"
                raise FormatError(msg)
            return hdu.data, hdu.header
    msg = f"{path}: holds no table"
    raise FormatError(msg)


def _column(table: fits.FITS_rec, name: str) -> NDArray[np.float64]:
    return np.ascontiguousarray(table[name], np.float64)


def read_sensitivity(path: str | Path) -> SensitivityTable:
    """Read a sensitivity of the extended range of wavelengths.

    Parameters
    ----------
    path : path-like
        A FITS table ``wavelength``, ``sensitivity``, and ``nrs1_nrs2``, ``nrs1_s200a1``, ``q1`` to ``q4`` where it
        has them.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or is something else.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        table, _ = _table(hdus, path, ("wavelength", "sensitivity"))
        there = [name.lower() for name in table.columns.names]
        return SensitivityTable(
            wavelength=_column(table, "wavelength"),
            sensitivity=_column(table, "sensitivity"),
            quadrants={q: _column(table, f"q{q}") for q in _QUADRANTS if f"q{q}" in there},
            **{name: _column(table, name) for name in ("nrs1_nrs2", "nrs1_s200a1") if name in there},
        )


def read_slit_flat(path: str | Path) -> SlitFlatTable:
    """Read the flat field of the shutters of a quadrant.

    Parameters
    ----------
    path : path-like
        A FITS table ``wave``, ``coeffs`` with DFX, DFY, XMIN, XMAX, YMIN and YMAX in its header, and SM_WAVE, SM_WIDTH
        and SM_SCALE where it has them.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or is something else.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        table, header = _table(hdus, path, ("wave", "coeffs"))
        keys = ("DFX", "DFY", "XMIN", "XMAX", "YMIN", "YMAX")
        if missing := [key for key in keys if key not in header]:
            msg = f"{path}: keywords {missing} are missing"
            raise FormatError(msg)
        with _from_file(path):
            return SlitFlatTable(
                wavelength=_column(table, "wave"),
                coefficients=_column(table, "coeffs"),
                n_x=int(header["DFX"]),
                n_y=int(header["DFY"]),
                x_limits=(float(header["XMIN"]), float(header["XMAX"])),
                y_limits=(float(header["YMIN"]), float(header["YMAX"])),
                # What the table's author takes where the header says nothing.
                smooth_wavelength=float(header.get("SM_WAVE", 3.1)),
                smooth_width=float(header.get("SM_WIDTH", 0.7)),
                smooth_scale=float(header.get("SM_SCALE", 0.8)),
            )


def read_dispersion(path: str | Path) -> pl.DataFrame:
    """Read the dispersion of a grating.

    Parameters
    ----------
    path : path-like
        A FITS table WAVELENGTH, DLDS and R, as ``jwst_nirspec_prism_disp.fits``.

    Returns
    -------
    polars.DataFrame
        ``wavelength`` [um], ``step`` [um / pix], ``resolution``.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or is something else.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        table, _ = _table(hdus, path, ("wavelength", "dlds", "r"))
        columns = {"wavelength": "WAVELENGTH", "step": "DLDS", "resolution": "R"}
        return pl.DataFrame({name: _column(table, key) for name, key in columns.items()})


def _read_csv(path: Path, names: tuple[str, ...]) -> pl.DataFrame:
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    try:
        frame = pl.read_csv(path, schema_overrides=dict.fromkeys(names, pl.Float64))
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        msg = f"{path}: not a table of numbers between commas: {str(error).splitlines()[0]}"
        raise FormatError(msg) from error
    if missing := [name for name in names if name not in frame.columns]:
        msg = f"{path}: columns {missing} are missing, the table has {frame.columns}"
        raise FormatError(msg)
    if not frame[names[0]].is_sorted():
        msg = f"{path}: {names[0]} does not rise"
        raise FormatError(msg)
    return frame.select(names)


def read_sky_spectrum(path: str | Path) -> pl.DataFrame:
    """Read a global sky spectrum.

    Parameters
    ----------
    path : path-like
        A table ``wave,flux`` between commas, as ``jw01345062001_sky.csv``.

    Returns
    -------
    polars.DataFrame
        ``wave`` [um], ``flux`` [uJy / pixel].

    Raises
    ------
    NotFoundError, FormatError
        When it is not there, or is something else.
    """
    return _read_csv(Path(path), ("wave", "flux"))


def read_psf_fwhm(path: str | Path) -> pl.DataFrame:
    """Read the width of the PSF against wavelength.

    Parameters
    ----------
    path : path-like
        A table ``wave,fwhm_pix`` between commas.

    Returns
    -------
    polars.DataFrame
        ``wave`` [um], ``fwhm_pix`` [pix].

    Raises
    ------
    NotFoundError, FormatError
        When it is not there, or is something else.
    """
    return _read_csv(Path(path), ("wave", "fwhm_pix"))


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitProfileTable:
    """Profiles across the dispersion and slit losses of sources of many widths.

    Parameters
    ----------
    profile : ndarray, float64, shape (n_y, n_wavelengths, n_sigma)
        Light in a pixel at each distance.
    loss : ndarray, float64, shape (n_wavelengths, n_sigma, n_offsets)
        Light that passes the slit.
    y : ndarray, float64, shape (n_y,) [pix]
        Distances from the source.
    wavelength : ndarray, float64, shape (n_wavelengths,) [um]
        Wavelengths.
    sigma : ndarray, float64, shape (n_sigma,) [pix]
        Widths of the source.
    x_offset : ndarray, float64, shape (n_offsets,)
        Places of the source across the slit.

    Raises
    ------
    InvalidInputError
        When the shapes do not fit.
    """

    profile: NDArray[np.float64]
    loss: NDArray[np.float64]
    y: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    sigma: NDArray[np.float64]
    x_offset: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("y", "wavelength", "sigma", "x_offset"):
            object.__setattr__(self, name, as_array(getattr(self, name), name, np.float64, shape=(None,)))
        n_y, n_waves, n_sigma = len(self.y), len(self.wavelength), len(self.sigma)
        for name, shape in (("profile", (n_y, n_waves, n_sigma)), ("loss", (n_waves, n_sigma, len(self.x_offset)))):
            object.__setattr__(self, name, as_array(getattr(self, name), name, np.float64, shape=shape))


def read_slit_profile(path: str | Path) -> SlitProfileTable:
    """Read profiles across the dispersion and slit losses.

    Parameters
    ----------
    path : path-like
        A FITS file with PROF, WAVE, YSLIT, SIGMA, LOSS and LOSS_XOFFSET.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or is something else.
    """
    path = Path(path)
    names = {
        "profile": "PROF",
        "loss": "LOSS",
        "y": "YSLIT",
        "wavelength": "WAVE",
        "sigma": "SIGMA",
        "x_offset": "LOSS_XOFFSET",
    }
    with open_fits(path) as hdus:
        if missing := [name for name in names.values() if name not in hdus or hdus[name].data is None]:
            msg = f"{path}: extensions {missing} are missing, it holds {[hdu.name for hdu in hdus[1:]]}"
            raise FormatError(msg)
        with _from_file(path):
            return SlitProfileTable(**{field: np.asarray(hdus[name].data, np.float64) for field, name in names.items()})


def read_slit_tables(
    pack: Pack, *, grating: str, filter_name: str, detector: str, parts: tuple[str, ...] = _DEFAULT_PARTS
) -> SlitTables:
    """Read the tables of a pack that the corrections of a slit need.

    Parameters
    ----------
    pack : Pack
        The pack.
    grating, filter_name, detector : str
        As in the header.
    parts : tuple of str, optional
        Which tables: ``bars``, ``normalization`` (prism), ``bad_pixels``, and for data of the extended range
        ``sensitivity`` and ``flats`` (prism).

    Raises
    ------
    NotFoundError
        When a file is missing; the message names it and the pack.
    FormatError
        When one is something else.
    InvalidInputError
        When a part is none of these.
    """
    if unknown := [part for part in parts if part not in _PARTS]:
        msg = f"parts: {unknown} are not allowed, they must be some of {list(_PARTS)}"
        raise InvalidInputError(msg)
    is_prism = grating.upper() == "PRISM"
    tables: dict[str, Any] = {}
    if "bars" in parts:
        # There are no others: those of the prism serve the gratings as well.
        tables["bars"] = {n: pack.read(f"prism_{n}_bar_coeffs.yaml", read_bar_shadow) for n in _N_SHUTTERS}
        tables["wave_bars"] = {n: pack.read(f"prism_{n}_bar_coeffs_wave.yaml", read_bar_shadow) for n in _N_SHUTTERS}
    if "normalization" in parts and is_prism:
        tables["normalization"] = pack.read("prism_slit_renormalize.yaml", read_slit_normalization)
    if "bad_pixels" in parts:
        name = detector.upper()
        tables["bad_pixels"] = {name: pack.read(f"msaexp_badpix_{name.lower()}.yaml", read_bad_pixels)}
    if "sensitivity" in parts:
        file = f"msaexp_sensitivity_{grating}_{filter_name}_001.fits".lower()
        tables["sensitivity"] = pack.read(file, read_sensitivity)
    if "flats" in parts and is_prism:
        tables["flats"] = {q: pack.read(f"sflat_spl_coeffs_prism_q{q}.fits", read_slit_flat) for q in _QUADRANTS}
    return SlitTables(pack=pack.label, digest=pack.digest, **tables)
