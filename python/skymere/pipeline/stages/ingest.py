"""ingest: FITS files to exposures of the lake. What is wrong with a file becomes the status of its row."""

import hashlib
import json
from pathlib import Path

from skymere import __version__
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, SkymereError
from skymere.io import exposure_id, file_digest, read_exposure
from skymere.lake import Lake, Run
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage, Task
from skymere.wcs import Grid, wcs_cards

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:  # noqa: ARG001  every stage has this signature
    """Return one task for each file."""
    files: dict[str, Path] = {}
    for path in plan.exposure_files():
        name = exposure_id(path)
        if name in files:
            msg = f"survey.exposures: {path} and {files[name]} are both named {name}; names must differ"
            raise InvalidInputError(msg)
        files[name] = path
    return [_task(name, path) for name, path in files.items()]


def _task(name: str, path: Path) -> Task:
    def work(run: Run) -> None:
        row: dict[str, object] = {
            "exposure_id": name,
            "path": str(path),
            "sha256": digest,
            "status": "ok",
            "message": "",
        }
        try:
            exposure = read_exposure(path)
            if exposure.mask().all():
                row |= {"status": "rejected", "message": f"{path}: all pixels are bad"}
            row |= _describe(exposure)
        except SkymereError as error:
            row |= {"status": "failed", "message": str(error)}
            run.warn(str(error))
        else:
            run.annotate("", {"dq_bits": dict(exposure.dq_bits), "wcs": wcs_cards(exposure.wcs)})
            run.write("sci", exposure.data, unit=exposure.unit)
            run.write("err", exposure.error, unit=exposure.unit)
            run.write("dq", exposure.dq)
        run.publish(run.frame([row]))

    try:
        digest = file_digest(path)
    except SkymereError:
        digest = ""
    return Task(tile=name, inputs=[{"uri": path.name, "sha256": digest}], params={}, work=work)


def _describe(exposure: Exposure) -> dict[str, object]:
    grid = Grid(wcs=exposure.wcs, shape=exposure.shape)
    ny, nx = exposure.shape
    ra, dec = exposure.wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0)
    cards = json.dumps(wcs_cards(exposure.wcs), sort_keys=True)
    names = ("band", "instrument", "detector", "exptime", "unit", "zero_point_ab", "read_noise", "native_scale_arcsec")
    return {name: getattr(exposure, name) for name in names} | {
        "ra": float(ra),
        "dec": float(dec),
        "ny": ny,
        "nx": nx,
        "wcs": cards,
        "wcs_sha256": hashlib.sha256(cards.encode()).hexdigest(),
        "ingest_version": __version__,
        "footprint": grid.outline(),
    }


STAGE = Stage(name="ingest", reads=(), writes=("exposure",), tasks=tasks)
