"""outliers: static mask, sky and cosmic rays of all exposures of a band."""

import json
from functools import partial

import numpy as np
import polars as pl

from skymere.datamodels import FLAG_BITS
from skymere.lake import Lake, Run
from skymere.mosaic import iter_flagged
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import StoredExposures, usable_exposures
from skymere.pipeline.task import Stage, Task, as_params

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each band."""
    usable = usable_exposures(lake)
    return [
        Task(
            tile=band,
            inputs=[lake.reference("exposure", name) for name in names],
            params=as_params(plan.outliers),
            work=partial(_work, plan, lake, band, names),
        )
        for (band,), rows in sorted(usable.group_by("band"))
        for names in [rows["exposure_id"].sort().to_list()]
    ]


def _work(plan: Plan, lake: Lake, band: str, names: list[str], run: Run) -> None:
    rows = []
    for flagged in iter_flagged(StoredExposures(lake, names), params=plan.outliers):
        exposure = flagged.exposure
        flags = np.zeros(exposure.shape, np.uint32) if exposure.flags is None else exposure.flags
        run.write(f"{exposure.exposure_id}/mask", flags, attributes={"mask_bits": dict(FLAG_BITS)})
        rows.append(
            {
                "exposure_id": exposure.exposure_id,
                "status": "ok",
                "message": "",
                "band": band,
                "n_cosmic_rays": int(np.count_nonzero(flags & FLAG_BITS["cosmic_ray"])),
                "n_static": int(np.count_nonzero(flags & FLAG_BITS["static"])),
                "n_masked": int(np.count_nonzero(exposure.mask(ignore=plan.outliers.ignore_dq))),
                "sky": exposure.sky,
                "params": json.dumps(as_params(plan.outliers), sort_keys=True),
            }
        )
    run.publish(run.frame(pl.DataFrame(rows).sort("exposure_id").to_dicts()))


STAGE = Stage(name="outliers", reads=("exposure",), writes=("mask",), tasks=tasks)
