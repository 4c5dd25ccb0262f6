"""Combined spectra of slits of msaexp as rows of ``slit_spectrum``."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from skymere.errors import SkymereError
from skymere.lake import Lake, write_ragged
from skymere.pipeline.importing.kinds import ForeignFile
from skymere.pipeline.slit_rows import spectrum_columns, spectrum_planes
from skymere.pipeline.slit_units import own_tile, short_name, source_ids, stable_id
from skymere.slit import CombinedSpectrum
from skymere.slit.msaexp_files import read_msaexp_spectrum

__all__ = ["import_slit_spectra"]

_STAGE = "import"


def import_slit_spectra(
    lake: Lake, files: Sequence[ForeignFile], *, match_radius_arcsec: float
) -> list[dict[str, Any]]:
    """Publish combined spectra, each by itself.

    Parameters
    ----------
    lake : Lake
        The lake.
    files : sequence of ForeignFile
        The files.
    match_radius_arcsec : float
        A source of the lake within it lends its identifier [arcsec].

    Returns
    -------
    list of dict
        ``file``, ``product``, ``tile``, ``status`` and ``message`` of each file.
    """
    told, read = [], {}
    for one in files:
        try:
            read[one] = read_msaexp_spectrum(one.path)
        except SkymereError as error:
            told.append(one.told("", "failed", str(error)))
    places = {_name(one, spectrum): _place(spectrum) for one, spectrum in read.items()}
    ids = source_ids(lake, places, match_radius_arcsec)
    seen: dict[str, ForeignFile] = {}
    for one, spectrum in read.items():
        name = _name(one, spectrum)
        tile = own_tile("-".join([name, _word(spectrum, "GRATING"), _word(spectrum, "FILTER")]))
        if tile in seen:
            told.append(one.told("", "failed", f"{seen[tile].path.name} is of the same source and grating"))
            continue
        seen[tile] = one
        try:
            message = _publish(lake, tile, one, spectrum, ids[name])
            told.append(one.told("", "ok", message))
        except SkymereError as error:
            told.append(one.told("", "failed", str(error)))
    return told


def _word(spectrum: CombinedSpectrum, key: str) -> str:
    return str(spectrum.meta.get(key, ("", ""))[0] or "").strip()


def _number(spectrum: CombinedSpectrum, *keys: str) -> float:
    for key in keys:
        value = spectrum.meta.get(key, (None, ""))[0]
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return math.nan


def _name(one: ForeignFile, spectrum: CombinedSpectrum) -> str:
    return _word(spectrum, "SRCNAME") or one.path.name.split(".")[0]


def _place(spectrum: CombinedSpectrum) -> tuple[float, float]:
    return _number(spectrum, "SRCRA", "RA"), _number(spectrum, "SRCDEC", "DEC")


def _publish(lake: Lake, tile: str, one: ForeignFile, spectrum: CombinedSpectrum, source_id: int) -> str:
    """Publish a spectrum; returns what was done."""
    name, (ra, dec) = _name(one, spectrum), _place(spectrum)
    grating, filter_name = (_word(spectrum, key).lower() for key in ("GRATING", "FILTER"))
    exptime = _number(spectrum, "EXPTIME", "EFFEXPTM")
    size = _number(spectrum, "PROFSIG", "SIGMA")
    row = {
        "source_id": source_id,
        "spectrum_id": stable_id("slit_spectrum", name, grating, filter_name),
        "ra": ra if math.isfinite(ra) else None,
        "dec": dec if math.isfinite(dec) else None,
        "grating": grating[:16],
        "band": filter_name[:16],
        "group_id": short_name("-".join(part for part in (name, grating, filter_name) if part)),
        "status": "ok",
        "message": "",
        "weight_kind": "unknown",
        "flags": 0,
        "spectrum_row": 0,
        **spectrum_columns(spectrum),
        "exptime": exptime if math.isfinite(exptime) else None,
        "profile_sigma": size if math.isfinite(size) else None,
    }
    row["n_slitlets"] = max(spectrum.slits.height, int(np.nan_to_num(_number(spectrum, "NFILES"))))
    inputs = [{"uri": one.path.name, "sha256": one.sha256}]
    params = {"source_id": source_id}
    with lake.run(stage=_STAGE, tile=tile, product="slit_spectrum", inputs=inputs, params=params) as run:
        if run.already:
            return f"source {source_id}: already there"
        run.write("spectrum_id", np.array([row["spectrum_id"]], np.int64))
        run.write("source_id", np.array([source_id], np.int64))
        for arrays in spectrum_planes(spectrum).values():
            write_ragged(run, {name: [array] for name, array in arrays.items()})
        run.publish(run.frame([row]))
    return f"source {source_id}: {name}, {grating} {filter_name}"
