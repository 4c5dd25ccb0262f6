"""Beams out of a lake as the objects of their room: all of a source, with the identical chi square."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Beam, GrismOrder
from skymere.errors import NotFoundError
from skymere.instruments import ORDER_LETTERS
from skymere.lake.ragged import read_ragged

if TYPE_CHECKING:
    from skymere.grism import BeamModel, BeamParams, MultiBeam
    from skymere.lake.asking import LakeQueries

__all__ = [
    "beam_planes",
    "describe_beam",
    "describe_order",
    "multibeams_of_rows",
    "order_digest",
    "order_number",
    "order_of_words",
]

_WORDS = (
    "order", "pad", "center_offset", "x_shift", "y_shift", "fwcpos", "mw_ebv", "instrument", "grism", "pupil", "module",
    "direct_filter", "chip", "parent", "direct_parent", "exptime", "config_name", "headers", "origin", "grism_origin",
)  # fmt: skip
_PLANES = (
    "sci", "err", "dq", "contam", "model", "direct", "seg", "trace_wavelength", "trace_y", "trace_sensitivity",
)  # fmt: skip
_PAIRS = ("pad", "center_offset", "origin", "grism_origin")
_ORDER = ("name", "form", "terms", "first", "end", "x_shift", "faintest_mag", "file")
_NUMBERS = {letter: int(sign) for sign, letter in ORDER_LETTERS.items()}
# Letters that stand for no fixed order.
_OTHER = 100


def order_number(letter: str) -> int:
    """Return the number of a spectral order by its letter; letters beyond those of all grisms are 100 and more.

    Parameters
    ----------
    letter : str
        The letter.
    """
    return _NUMBERS.get(letter, _OTHER + (ord(letter[0]) if letter else 0))


def describe_beam(model: "BeamModel") -> dict[str, Any]:
    """Return all of a beam but its arrays and its order, JSON.

    Parameters
    ----------
    model : BeamModel
        The beam.
    """
    beam = model.beam
    words = {name: getattr(beam, name) for name in _WORDS}
    words["headers"] = dict(beam.headers)
    words["exptime"] = beam.exptime if math.isfinite(beam.exptime) else None
    return {
        **words,
        "from_trace": model.from_trace,
        "has": [name for name in ("trace", "model") if getattr(beam, name) is not None],
        "params": dataclasses.asdict(model.params),
    }


def describe_order(order: GrismOrder) -> dict[str, Any]:
    """Return all of a spectral order but its sensitivity, JSON; of its file the name, wherever it was.

    Parameters
    ----------
    order : GrismOrder
        The order, without the dust of the Milky Way.
    """
    return {name: getattr(order, name) for name in _ORDER} | {"file": Path(order.file).name}


def order_digest(order: GrismOrder) -> str:
    """Return a sha256 of an order with its sensitivity, hexadecimal; where it came from does not count.

    Parameters
    ----------
    order : GrismOrder
        The order.
    """
    words = describe_order(order) | {"file": ""}
    text = json.dumps(words, sort_keys=True).encode()
    return hashlib.sha256(text + order.wavelength.tobytes() + order.sensitivity.tobytes()).hexdigest()


def order_of_words(words: Mapping[str, Any], wavelength: NDArray[Any], sensitivity: NDArray[Any]) -> GrismOrder:
    """Return an order from what `describe_order` says and its sensitivity.

    Parameters
    ----------
    words : mapping
        What was said.
    wavelength : ndarray, float64, shape (n,) [Angstrom]
        Where the sensitivity is known.
    sensitivity : ndarray, float64, shape (n,)
        See `GrismOrder`.
    """
    terms = dict(words["terms"])
    if isinstance(terms.get("wheel"), list):
        terms["wheel"] = tuple(terms["wheel"])
    rest = {name: words[name] for name in _ORDER if name != "terms"}
    return GrismOrder(**rest, terms=terms, wavelength=wavelength, sensitivity=sensitivity)


def beam_planes(model: "BeamModel") -> dict[str, NDArray[Any]]:
    """Return the arrays of a beam by their names in the lake.

    Parameters
    ----------
    model : BeamModel
        The beam.

    Notes
    -----
    A beam whose file has no table TRACE has the trace of its model there.
    """
    beam = model.beam
    trace = beam.trace
    if trace is None:
        trace = np.stack([model.wave, model.trace, model.sensitivity], axis=1)
    first = beam.first_offset - (beam.direct.shape[1] // 2 - 1)
    return {
        "sci": beam.sci,
        "err": beam.err,
        "dq": beam.dq,
        "contam": beam.contam,
        "model": np.zeros(model.shape, np.float32) if beam.model is None else beam.model,
        "direct": beam.direct,
        "seg": beam.segmentation,
        "trace_x": np.arange(trace.shape[0]) + first + beam.center_offset[0],
        "trace_y": np.ascontiguousarray(trace[:, 1]),
        "trace_wavelength": np.ascontiguousarray(trace[:, 0]),
        "trace_sensitivity": np.ascontiguousarray(trace[:, 2]),
    }


def multibeams_of_rows(
    lake: "LakeQueries", rows: pl.DataFrame, *, params: "BeamParams | None" = None
) -> "dict[int, MultiBeam]":
    """Return the beams of rows of the table ``beam`` by source, each in the order in which it was stored.

    Parameters
    ----------
    lake : LakeQueries
        The lake.
    rows : polars.DataFrame
        Rows of some sources.
    params : BeamParams, optional
        Masks, weights and the operator; those that were stored when not given.

    Raises
    ------
    NotFoundError
        When a row is older than schema 1.1.0, which has all that a model needs.
    """
    from skymere.grism import BeamModel, BeamParams, MultiBeam

    rows = rows.sort("source_id", "beam_index", "exposure_id", "order")
    old = rows.filter(pl.col("order_row").is_null())
    if old.height:
        msg = f"beam {old['beam_id'][0]}: run {old['run_id'][0]} has not stored its spectral order"
        raise NotFoundError(msg)
    read = read_ragged(lake, "beam", rows, row="beam_row", planes=_PLANES)
    orders = _orders(lake, rows)
    models: dict[int, list[BeamModel]] = {}
    records: dict[int, list[str]] = {}
    for i, row in enumerate(rows.iter_rows(named=True)):
        told = json.loads(row["meta"])
        stored = told["params"] | {"contam_sn_mask": tuple(told["params"]["contam_sn_mask"])}
        used = BeamParams(**stored) if params is None else params
        beam = _beam(told, row["label"], read[i])
        one = BeamModel(beam, orders[i], params=used, from_trace=told["from_trace"])
        models.setdefault(row["source_id"], []).append(one)
        records.setdefault(row["source_id"], []).extend(told.get("records", []))
    return {source_id: MultiBeam(some, records=records[source_id]) for source_id, some in models.items()}


def _orders(lake: "LakeQueries", rows: pl.DataFrame) -> list[GrismOrder]:
    """Return the spectral order of each row; rows that share one get the same object."""
    read = read_ragged(lake, "beam", rows, row="order_row", group="order/", planes=["wavelength", "sensitivity"])
    made: dict[tuple[str, str, int], GrismOrder] = {}
    found = []
    told: dict[tuple[str, str], Sequence[Any]] = {}
    for i, (tile, run, k) in enumerate(rows.select("tile", "run_id", "order_row").iter_rows()):
        if (tile, run) not in told:
            told[tile, run] = lake.arrays("beam", tile, run).attributes()["orders"]
        if (tile, run, k) not in made:
            arrays = read[i]
            made[tile, run, k] = order_of_words(told[tile, run][k], arrays["wavelength"], arrays["sensitivity"])
        found.append(made[tile, run, k])
    return found


def _beam(told: Mapping[str, Any], label: int, arrays: Mapping[str, NDArray[Any]]) -> Beam:
    words: dict[str, Any] = {name: tuple(told[name]) if name in _PAIRS else told[name] for name in _WORDS}
    words["exptime"] = float("nan") if told["exptime"] is None else told["exptime"]
    trace = np.stack([arrays["trace_wavelength"], arrays["trace_y"], arrays["trace_sensitivity"]], axis=1)
    return Beam(
        source_id=label,
        direct=arrays["direct"],
        segmentation=arrays["seg"],
        sci=arrays["sci"],
        err=arrays["err"],
        dq=arrays["dq"],
        contam=arrays["contam"],
        trace=trace if "trace" in told["has"] else None,
        model=arrays["model"] if "model" in told["has"] else None,
        **words,
    )
