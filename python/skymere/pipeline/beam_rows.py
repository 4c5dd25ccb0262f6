"""Rows and arrays of the product ``beam``."""

import json
import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
from astropy.io import fits

from skymere.datamodels import GrismOrder
from skymere.errors import InvalidInputError
from skymere.grism import BEAM_ACTION_BIT, BeamModel, MultiBeam
from skymere.lake import RaggedSpill, Run, write_ragged
from skymere.lake.beams import beam_planes, describe_beam, describe_order, order_digest, order_number
from skymere.pipeline.slit_units import short_name, stable_id
from skymere.wcs import wcs_cards

__all__ = ["BeamWriter", "grating_of"]

_LIGHT = "electron / s"
_UNITS: Mapping[str, str] = {
    **dict.fromkeys(("sci", "err", "contam", "model"), _LIGHT),
    "direct": "erg / (s cm2 Angstrom)",
    "trace_sensitivity": "electron cm2 Angstrom / erg",
}


def grating_of(model: BeamModel) -> str:
    """Return the grism of a beam, lower case, whichever wheel its header names it by.

    Parameters
    ----------
    model : BeamModel
        The beam.
    """
    beam = model.beam
    return (beam.pupil if beam.instrument == "NIRCAM" else beam.grism).lower()


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


class BeamWriter:
    """Beams that are added source by source, and published together; memory holds one source.

    Examples
    --------
    >>> with BeamWriter() as writer:  # doctest: +SKIP
    ...     writer.add(12, 150.1, 2.2, multibeam)
    ...     writer.publish(run)
    """

    def __init__(self) -> None:
        self._spill = RaggedSpill("beam", units=_UNITS)
        self._rows: list[dict[str, Any]] = []
        self._orders: dict[str, tuple[int, GrismOrder]] = {}

    def __enter__(self) -> Self:
        self._spill.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spill.__exit__(kind, error, trace)

    def add(self, source_id: int, ra: float, dec: float, multibeam: MultiBeam) -> None:
        """Add the beams of a source.

        Parameters
        ----------
        source_id : int
            The source in the lake.
        ra, dec : float
            Its place [deg].
        multibeam : MultiBeam
            Its beams.

        Raises
        ------
        InvalidInputError
            When an order of an exposure is there twice.
        """
        names = [(short_name(one.beam.parent), one.beam.order) for one in multibeam.beams]
        if len(set(names)) < len(names):
            msg = f"multibeam: {sorted({name for name in names if names.count(name) > 1})} are there twice"
            raise InvalidInputError(msg)
        angles = multibeam.angles
        for i, one in enumerate(multibeam.beams):
            digest = order_digest(one.bare_order)
            number, _ = self._orders.setdefault(digest, (len(self._orders), one.bare_order))
            meta = describe_beam(one) | ({"records": list(multibeam.records)} if i == 0 else {})
            self._rows.append(
                _row(one, float(angles[i]))
                | {
                    "source_id": source_id,
                    "beam_id": stable_id("beam", str(source_id), one.beam.parent, one.beam.order),
                    "ra": ra,
                    "dec": dec,
                    "config_sha256": digest,
                    "beam_index": i,
                    "order_row": number,
                    "beam_row": len(self._rows),
                    "meta": json.dumps(meta, sort_keys=True),
                }
            )
            self._spill.add(beam_planes(one))

    def publish(self, run: Run, *, items: pl.DataFrame | None = None) -> None:
        """Make these the beams of a tile.

        Parameters
        ----------
        run : Run
            A run of the product ``beam``.
        items : polars.DataFrame, optional
            Rows of ``run_item``.
        """
        run.write("beam_id", np.array([row["beam_id"] for row in self._rows], np.int64))
        run.write("source_id", np.array([row["source_id"] for row in self._rows], np.int64))
        self._spill.write(run)
        orders = [order for _, order in self._orders.values()]
        if orders:
            write_ragged(
                run,
                {
                    "order/wavelength": [one.wavelength for one in orders],
                    "order/sensitivity": [one.sensitivity for one in orders],
                },
                unit={"order/sensitivity": "electron cm2 / erg"},
            )
        bits = {"beam_action": BEAM_ACTION_BIT}
        run.annotate("", {"orders": [describe_order(one) for one in orders], "dq_bits": bits})
        run.publish(run.frame(self._rows).drop("_healpix_29"), items=items)


def _row(one: BeamModel, angle: float) -> dict[str, Any]:
    """Return what a beam says about itself."""
    beam = one.beam
    ny, nx = one.shape
    x, y = beam.detector_position
    direct, grism = (fits.Header.fromstring(beam.headers.get(name, ""), sep="\n") for name in ("direct", "grism"))
    mine = one.flat > one.params.min_mask * one.flat.max()
    fitted = one.fit_mask
    # A flat spectrum as bright as the data say: stamps may be in any unit.
    weight, flat = one.ivar[fitted], one.flat[fitted]
    norm = float((weight * flat**2).sum())
    scale = float((weight * flat * one.cleaned[fitted]).sum()) / norm if norm > 0 else 0.0
    left = one.cleaned[fitted] - scale * flat
    contam = float(np.abs(one.contam[mine]).sum())
    light = contam + float(np.abs(scale * one.flat[mine]).sum())
    # Padded frames count from beyond the detector.
    y0, x0 = (origin - pad for origin, pad in zip(beam.grism_origin, beam.pad, strict=True))
    direct_y0, direct_x0 = (origin - pad for origin, pad in zip(beam.origin, beam.pad, strict=True))
    wcs = one.wcs
    pivot = _number(direct.get("PHOTPLAM"))
    return {
        "exposure_id": short_name(beam.parent),
        "instrument": beam.instrument[:32],
        "detector": str(grism.get("DETECTOR", ""))[:32],
        "label": beam.source_id,
        "grating": grating_of(one)[:16],
        "band": beam.direct_filter.lower()[:16],
        "order": order_number(beam.order),
        "order_name": beam.order[:8],
        "pa": _finite(angle),
        "exptime": _finite(beam.exptime),
        "ny": ny,
        "nx": nx,
        "x0": x0,
        "y0": y0,
        "x_source": x,
        "y_source": y,
        "trace_dx": one.place["x_shift"],
        "trace_dy": beam.y_shift,
        "pad_x": beam.pad[1],
        "pad_y": beam.pad[0],
        "direct_x0": direct_x0,
        "direct_y0": direct_y0,
        "direct_kind": str(direct.get("REFKIND", "exposure"))[:16],
        "direct_id": short_name(beam.direct_parent),
        "photflam": _number(direct.get("REFFLAM", direct.get("PHOTFLAM"))),
        "photplam": None if pivot is None else pivot * 1e-4,
        "mw_ebv": one.params.mw_ebv,
        "config": beam.config_name[:128],
        "n_valid": int(fitted.sum()),
        "contam_fraction": _finite(contam / light) if light > 0 else None,
        "residual_chi2": _finite(float(np.mean(left**2 * weight))) if fitted.any() else None,
        "wcs": json.dumps({}),
        "direct_wcs": json.dumps({} if wcs is None else wcs_cards(wcs), sort_keys=True),
        "flags": 0,
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
