"""The product ``grism_frame``: whole exposures of grisms with the light of all sources, stored and read back."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._params import build_params
from skymere.errors import FormatError
from skymere.grism import FrameParams, GrismFrame, find_config
from skymere.io import GrismSetup
from skymere.lake import Lake, Run, write_ragged
from skymere.pipeline.slit_units import short_name

__all__ = ["frame_row", "known_sources", "stored_frames", "write_frames"]

_LIGHT = "electron / s"
_PLANES = {"sci": "sci", "err": "err", "dq": "dq", "direct": "direct", "seg": "segmentation", "model": "model"}
_BARE = ("dq", "seg")
_COLUMNS = ("ra", "dec", "mag", "x", "y", "cd1_1", "cd1_2", "cd2_1", "cd2_2")

Spectra = Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]]


def frame_row(frame: GrismFrame, sha256: str) -> dict[str, Any]:
    """Return the row of a frame.

    Parameters
    ----------
    frame : GrismFrame
        The frame.
    sha256 : str
        Digest of its file.
    """
    facts = frame.facts
    ny, nx = frame.sci.shape
    words = {
        "setup": asdict(frame.setup),
        "config": frame.config.path,
        "facts": dict(facts),
        "params": asdict(frame.params),
        "name": frame.name,
        "direct_filter": frame.direct_filter,
        "direct_name": frame.direct_name,
    }
    return {
        "exposure_id": frame.name,
        "status": "ok",
        "message": "",
        "instrument": frame.setup.instrument[:32],
        "detector": str(facts.get("detector", ""))[:32],
        "grating": frame.setup.grism.lower()[:16],
        "band": frame.direct_filter.lower()[:16],
        "exptime": frame.exptime if np.isfinite(frame.exptime) else None,
        "ny": ny,
        "nx": nx,
        "pad_y": frame.pad[0],
        "pad_x": frame.pad[1],
        "n_sources": frame.catalog.height,
        "n_spectra": len(set(frame.places) & set(frame.spectra)),
        "sky": facts.get("sky_level"),
        "direct_kind": frame.direct_kind,
        "direct_id": short_name(frame.direct_name),
        "photflam": frame.photflam,
        "photplam": frame.photplam,
        "config": frame.config.name[:128],
        "path": str(facts.get("path", "")),
        "sha256": sha256,
        "meta": json.dumps(words, sort_keys=True),
    }


def write_frames(
    run: Run,
    frames: Sequence[GrismFrame],
    spectra: Spectra,
    sources: Mapping[int, int],
    rows: Sequence[Mapping[str, Any]],
    *,
    items: pl.DataFrame,
) -> None:
    """Publish frames with the spectra that their models are made of.

    Parameters
    ----------
    run : Run
        A run of the product ``grism_frame``.
    frames : sequence of GrismFrame
        The frames.
    spectra : mapping of int to (ndarray, ndarray)
        Wavelengths [um] and flux densities [erg/s/cm2/A] by label.
    sources : mapping of int to int
        Sources of the lake by label.
    rows : sequence of mapping
        A row of each exposure, see `frame_row`.
    items : polars.DataFrame
        Rows of ``run_item``.
    """
    for frame in frames:
        for name, attribute in _PLANES.items():
            unit = None if name in _BARE else _LIGHT
            run.write(f"{frame.name}/{name}", np.asarray(getattr(frame, attribute)), unit=unit)
        run.write(f"{frame.name}/label", frame.catalog["id"].to_numpy())
        place = frame.catalog.select(_COLUMNS).to_numpy().astype(np.float64)
        run.write(f"{frame.name}/place", place, unit="", attributes={"columns": list(_COLUMNS)})
    labels = sorted(spectra)
    run.write("spectrum/label", np.array(labels, np.int64))
    run.write("spectrum/source_id", np.array([sources[one] for one in labels], np.int64))
    write_ragged(
        run,
        {
            name: [np.ascontiguousarray(spectra[one][k], np.float64) for one in labels]
            for k, name in enumerate(("spectrum/wavelength", "spectrum/flux"))
        },
    )
    known = sorted(sources)
    run.write("source/label", np.array(known, np.int64))
    run.write("source/source_id", np.array([sources[one] for one in known], np.int64))
    run.publish(run.frame(rows), items=items)


def known_sources(lake: Lake, tile: str) -> pl.DataFrame:
    """Return ``label, source_id, ra, dec`` of all sources on the frames of a group.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        Name of the group.
    """
    group = lake.arrays("grism_frame", tile)
    names = lake.table("grism_frame").filter(pl.col("tile") == tile, pl.col("status") == "ok").sort("exposure_id")
    parts = [
        pl.DataFrame(
            {
                "label": group[f"{name}/label"][...],
                "ra": group[f"{name}/place"][...][:, 0],
                "dec": group[f"{name}/place"][...][:, 1],
            }
        )
        for name in names.collect()["exposure_id"]
    ]
    empty = pl.DataFrame(schema={"label": pl.Int64, "ra": pl.Float64, "dec": pl.Float64})
    found = pl.concat([empty, *parts]).unique("label", keep="first", maintain_order=True)
    ids = pl.DataFrame({"label": group["source/label"][...], "source_id": group["source/source_id"][...]})
    return found.join(ids, on="label").sort("label")


@contextmanager
def stored_frames(lake: Lake, tile: str) -> Iterator[list[GrismFrame]]:
    """Give the frames of a group; their planes stay on disk until they are looked at.

    Parameters
    ----------
    lake : Lake
        The lake.
    tile : str
        Name of the group.

    Yields
    ------
    list of GrismFrame
        Ordered by exposure, with the parameters that they were made with.

    Raises
    ------
    NotFoundError
        When a configuration has gone.
    FormatError
        When a row does not say how its frame was made.
    """
    group = lake.arrays("grism_frame", tile)
    rows = lake.table("grism_frame").filter(pl.col("tile") == tile, pl.col("status") == "ok").sort("exposure_id")
    labels = group["spectrum/label"][...].tolist()
    edges = group["spectrum/offset"][...]
    wave, flux = (group[f"spectrum/{name}"][...] for name in ("wavelength", "flux"))
    spectra = {
        one: (wave[edges[k] : edges[k + 1]].copy(), flux[edges[k] : edges[k + 1]].copy())
        for k, one in enumerate(labels)
    }
    with tempfile.TemporaryDirectory(prefix="skymere-") as folder:
        yield [_frame(group, row, spectra, Path(folder)) for row in rows.collect().iter_rows(named=True)]


def _frame(group: Any, row: Mapping[str, Any], spectra: Spectra, folder: Path) -> GrismFrame:
    name, told = row["exposure_id"], json.loads(row["meta"])
    if "params" not in told:
        msg = f"grism_frame {name}: its row does not say with which parameters it was made; run contam again"
        raise FormatError(msg)
    planes = {}
    for plane, attribute in _PLANES.items():
        path = folder / f"{name}.{plane}.npy"
        np.save(path, group[f"{name}/{plane}"][...])
        planes[attribute] = np.load(path, mmap_mode="r")
    place = group[f"{name}/place"][...]
    catalog = pl.DataFrame({"id": group[f"{name}/label"][...]}).hstack(
        pl.DataFrame({column: np.ascontiguousarray(place[:, k]) for k, column in enumerate(_COLUMNS)})
    )
    return GrismFrame(
        **planes,
        name=name,
        setup=GrismSetup(**told["setup"]),
        config=find_config(told["config"], (Path(told["config"]).name,)),
        catalog=catalog,
        pad=(row["pad_y"], row["pad_x"]),
        photflam=row["photflam"],
        photplam=row["photplam"],
        direct_name=told["direct_name"],
        direct_filter=told["direct_filter"],
        direct_kind=row["direct_kind"],
        exptime=float("nan") if row["exptime"] is None else row["exptime"],
        params=build_params(FrameParams, told["params"], where="params."),
        spectra=spectra,
        facts=told["facts"],
    )
