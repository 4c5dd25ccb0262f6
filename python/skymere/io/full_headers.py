"""What headers of ``full.fits`` say, as typed columns with the names of the catalogue."""

from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits

__all__ = ["LINE_COLUMNS", "line_table", "primary_columns", "redshift_columns"]

# Keywords of the fit, by name and whether they are whole numbers; of grizli's ZFIT_STACK and ZFIT_BEAM.
_FIT = tuple(
    name
    for line in (
        "z_map z_risk min_risk zrmin zrmax gam_loss z02 z16 z50 z84 z97 zwidth1 zwidth2",
        "chimin chi2_map chimax dof chi2poly chi2spl bic_poly bic_spl bic_temp polynom ktempl kspl",
        "st_df st_loc st_scl d4000 d4000_e dn4000 dn4000_e vel_bl vel_nl vel_z",
    )
    for name in line.split(" ")
)
_WHOLE = ("dof",)
# What grizli writes for a number that is not known.
_UNKNOWN = (-99.0, -1e30)
_MOST_LINES = 200
_LINE_KEYS = {"flux": "FLUX", "flux_err": "ERR", "ew16": "EW16", "ew50": "EW50", "ew84": "EW84", "ewhw": "EWHW"}
LINE_COLUMNS = {"line": pl.String, **dict.fromkeys(_LINE_KEYS, pl.Float64)}


def known(value: Any) -> Any:
    """Return a value of a header; None where it says that nothing is known."""
    if value is None or isinstance(value, fits.card.Undefined):
        return None
    if isinstance(value, bool | str):
        return value.strip() if isinstance(value, str) else value
    return None if not np.isfinite(value) or float(value) in _UNKNOWN else value


def primary_columns(header: fits.Header) -> dict[str, Any]:
    """Return columns of a primary header: object, redshift of the maps, lines, exposures of each grism."""
    columns: dict[str, Any] = {}
    for key, kind in (("ID", int), ("RA", float), ("DEC", float), ("REDSHIFT", float), ("NINPUT", int)):
        value = known(header.get(key))
        columns[key.lower()] = None if value is None else kind(value)
    columns["numlines"] = int(header.get("NUMLINES", 0))
    columns["haslines"] = str(header.get("HASLINES", "")).strip()
    for key in header:
        if key[:2] in ("T_", "N_", "P_"):
            value = known(header[key])
            columns[key.lower()] = None if value is None else (float(value) if key[0] == "T" else int(value))
    version = header.get("SKYMERE", header.get("GRIZLIV"))
    columns["version"] = None if version is None else str(version)
    return columns


def redshift_columns(header: fits.Header | None = None, *, prefix: str = "") -> dict[str, Any]:
    """Return columns of a redshift fit, None where there is no such keyword.

    Parameters
    ----------
    header : astropy.io.fits.Header, optional
        That of ZFIT_STACK or ZFIT_BEAM; all columns are None when not given.
    prefix : str, optional
        Begin of their names.
    """
    out: dict[str, Any] = {}
    for name in _FIT:
        value = None if header is None else known(header.get(name.upper()))
        out[prefix + name] = value if value is None or name not in _WHOLE else int(value)
    chimin, dof = out[f"{prefix}chimin"], out[f"{prefix}dof"]
    out[f"{prefix}chinu"] = chimin / dof if chimin is not None and dof else None
    poly, best = out[f"{prefix}bic_poly"], out[f"{prefix}bic_temp"]
    out[f"{prefix}bic_diff"] = poly - best if poly is not None and best is not None else None
    risk = out[f"{prefix}min_risk"]
    out[f"{prefix}log_risk"] = float(np.log10(risk)) if risk is not None and risk > 0 else None
    return out


def line_table(covar: fits.Header | None, primary: fits.Header) -> pl.DataFrame:
    """Return the lines of a file by their names: of COVAR, whose comments begin with them, or of the primary header."""
    rows = []
    for i in range(_MOST_LINES if covar is not None else 0):
        assert covar is not None
        key = f"FLUX_{i:03d}"
        if key in covar and covar.comments[key]:
            values = {name: known(covar.get(f"{word}_{i:03d}")) for name, word in _LINE_KEYS.items()}
            rows.append({"line": covar.comments[key].split()[0], **values})
    if not rows:
        for i in range(1, int(primary.get("NUMLINES", 0)) + 1):
            if f"LINE{i:03d}" in primary:
                values = {name: known(primary.get(f"{_LINE_KEYS[name]}{i:03d}")) for name in ("flux", "flux_err")}
                rows.append({"line": str(primary[f"LINE{i:03d}"]).strip(), **values})
    return pl.DataFrame(rows, schema=LINE_COLUMNS)
