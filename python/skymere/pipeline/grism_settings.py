"""Everything that fits to beams are done with, checked and complete, before any is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skymere
from skymere.errors import NotFoundError
from skymere.grism import BeamParams, read_beam_actions
from skymere.lake import Lake
from skymere.pipeline.grism_fits import FitTemplates
from skymere.pipeline.grism_plan import GrismFitPlan
from skymere.pipeline.redshift_rows import template_digest
from skymere.pipeline.task import as_params
from skymere.resample import Geometry
from skymere.spectra import TemplateSet

__all__ = ["fit_settings"]


def fit_settings(
    plan: GrismFitPlan,
    sets: FitTemplates,
    *,
    beam: BeamParams,
    geometry: Geometry,
    files: Sequence[Path] = (),
    conf: Path | None = None,
    lake: Lake | Path | None = None,
    actions: Path | None = None,
) -> dict[str, Any]:
    """Return what fits to beams would be done with, as JSON; nothing is fitted.

    Parameters
    ----------
    plan : GrismFitPlan
        How.
    sets : FitTemplates
        What sources may be made of.
    beam : BeamParams
        Masks, weights and the operator.
    geometry : Geometry
        Pixels of maps.
    files : sequence of Path, optional
        Files of beams.
    conf : Path, optional
        Configurations.
    lake : Lake or Path, optional
        A lake, or where one would be made.
    actions : Path, optional
        Table of what is left out.

    Returns
    -------
    dict
        ``version``; ``fit``: every parameter of the plan; ``beam``; ``geometry`` with its digest; ``templates`` of both
        fits, with names and digest; ``files``, ``conf``, ``lake``, ``n_sources`` (of the lake) and ``n_actions``.

    Raises
    ------
    NotFoundError
        When a file is not there.
    """
    if missing := [str(path) for path in files if not path.is_file()]:
        msg = f"files: {', '.join(missing)}: no such file"
        raise NotFoundError(msg)
    n_sources = None
    if isinstance(lake, Lake):
        n_sources = lake.table("beam").select("source_id").unique().collect().height
    return {
        "version": skymere.__version__,
        "fit": as_params(plan),
        "beam": as_params(beam),
        "geometry": {
            "kernel": geometry.kernel,
            "pixfrac": geometry.pixfrac,
            "pixscale": geometry.pixscale,
            "size": geometry.size,
            "digest": geometry.digest,
        },
        "templates": {"search": _described(sets.search, plan), "lines": _described(sets.lines, plan)},
        "files": [str(path) for path in files],
        "conf": None if conf is None else str(conf),
        "lake": str(lake.path) if isinstance(lake, Lake) else None if lake is None else str(lake),
        "n_sources": n_sources,
        "n_actions": 0 if actions is None else len(read_beam_actions(actions)),
    }


def _described(templates: TemplateSet, plan: GrismFitPlan) -> dict[str, Any]:
    return {
        "source": templates.source,
        "continua": [one.name for one in templates.continua],
        "lines": [one.name for one in templates.lines],
        "digest": template_digest(templates.templates, plan.params),
    }
