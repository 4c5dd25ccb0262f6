"""ingest: FITS files to exposures of the lake. What is wrong with a file becomes the status of its row."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from skymere import __version__
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, SkymereError
from skymere.io import ReadParams, chips_of, distortion_files, exposure_id, file_digest, read_exposure
from skymere.lake import Lake, Run
from skymere.pipeline.exposures import place_of
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task, as_params
from skymere.wcs import wcs_cards

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each chip of each file."""
    files: dict[str, Path] = {}
    for path in plan.exposure_files():
        name = exposure_id(path)
        if name in files:
            msg = f"survey.exposures: {path} and {files[name]} are both named {name}; names must differ"
            raise InvalidInputError(msg)
        files[name] = path
    there = set(lake.table("exposure").select("tile").unique().collect()["tile"])
    params = plan.read_params()
    return [task for name, path in files.items() for task in _tasks(plan, params, path, replaces=name in there)]


def _tasks(plan: Plan, params: ReadParams, path: Path, *, replaces: bool) -> Iterator[Task]:
    try:
        chips = chips_of(path, params=params)
    except SkymereError:
        # The work meets the same error and puts it into the row of the file.
        chips = (None,)
    inputs, described = _inputs(plan, path), as_params(plan.ingest)
    if chips != (None,) and replaces:
        # When the file could not be read it was one row; its chips have their own now.
        yield Task(tile=exposure_id(path), inputs=inputs, params=described, work=partial(_publish, rows=[]))
    for chip in chips:
        work = _Work(path=path, chip=chip, sha256=inputs[0]["sha256"], params=params)
        yield Task(tile=exposure_id(path, chip), inputs=inputs, params=described, work=work)


def _inputs(plan: Plan, path: Path) -> list[dict[str, str]]:
    """Return the names and digests of a file and of what decides about how it is read; the file is the first."""
    inputs = [{"uri": path.name, "sha256": ""}]
    try:
        inputs[0]["sha256"] = file_digest(path)
        more = [plan.path(plan.ingest.detectors)] if plan.ingest.detectors else []
        if plan.ingest.reference_files:
            files = distortion_files(path, plan.path(plan.ingest.reference_files))
            more += [Path(one) for one in (files.idctab, files.npol, files.d2im) if one is not None]
        return inputs + [{"uri": one.name, "sha256": file_digest(one)} for one in more]
    except SkymereError:
        return inputs


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Takes one chip into the lake."""

    path: Path
    chip: int | None
    sha256: str
    params: ReadParams

    def __call__(self, run: Run) -> None:
        row: dict[str, object] = {
            "exposure_id": run.tile,
            "path": str(self.path),
            "sha256": self.sha256,
            "status": "ok",
            "message": "",
        }
        try:
            exposure = read_exposure(self.path, chip=self.chip, params=self.params)
            cards = wcs_cards(exposure.wcs)
            if exposure.mask().all():
                row |= {"status": "rejected", "message": f"{self.path}: all pixels are bad"}
            row |= _describe(exposure, json.dumps(cards, sort_keys=True))
        except SkymereError as error:
            row |= {"status": "failed", "message": str(error)}
            run.warn(str(error))
        else:
            about = {"dq_bits": dict(exposure.dq_bits), "harmless_dq": exposure.harmless_dq, "group": exposure.group}
            run.annotate("", about | {"wcs": cards})
            run.count(n_pixels=exposure.data.size)
            run.write("sci", exposure.data, unit=exposure.unit)
            run.write("err", exposure.error, unit=exposure.unit)
            run.write("dq", exposure.dq)
        _publish(run, [row])


def _publish(run: Run, rows: list[dict[str, object]]) -> None:
    run.publish(run.frame(rows))


def _describe(exposure: Exposure, cards: str) -> dict[str, object]:
    ny, nx = exposure.shape
    names = ("band", "instrument", "detector", "exptime", "unit", "zero_point_ab", "read_noise", "native_scale_arcsec")
    return {name: getattr(exposure, name) for name in names} | {
        "ny": ny,
        "nx": nx,
        "wcs": cards,
        "wcs_sha256": hashlib.sha256(cards.encode()).hexdigest(),
        "ingest_version": __version__,
        **place_of(exposure.wcs, exposure.shape),
    }


STAGE = Stage(name="ingest", reads=(), writes=("exposure",), tasks=tasks)
