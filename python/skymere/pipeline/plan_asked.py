"""Which stages a plan asks for, and which key decides that."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from skymere.lake import Lake
from skymere.pipeline.plan import Plan

__all__ = ["why_not_asked"]


def why_not_asked(stage: str, plan: Plan, lake: Lake) -> str:
    """Return why a plan does not ask for a stage; empty when it does.

    Parameters
    ----------
    stage : str
        Name of the stage.
    plan : Plan
        The plan.
    lake : Lake
        Its lake, as it is or will be.
    """
    return _RULES[stage](plan, lake) if stage in _RULES else ""


def _psf(plan: Plan, _: Lake) -> str:
    return "psf.source is 'none'" if plan.psf.source == "none" else ""


def _profiles(plan: Plan, _: Lake) -> str:
    return "" if plan.profiles.band else "profiles.band names no band"


def _photometry(plan: Plan, _: Lake) -> str:
    section = plan.photometry
    named = section.bands or section.images or section.table
    return "" if named else "photometry names neither bands nor images nor a table"


def _slits(plan: Plan, _: Lake) -> str:
    return "" if plan.slits.files else "slits.files names no file"


def _contam(plan: Plan, _: Lake) -> str:
    return "" if plan.contam.files else "contam.files names no file"


def _beams(plan: Plan, lake: Lake) -> str:
    if plan.beams.files:
        return ""
    if not plan.beams.is_on:
        return "beams.is_on is false and beams.files names no file"
    return "" if lake.live_runs("grism_frame") else "the lake has no frames and beams.files names no file"


def _redshifts(plan: Plan, lake: Lake) -> str:
    section = plan.redshifts
    if not section.is_on:
        return "redshifts.is_on is false"
    has_beams = bool(lake.live_runs("beam"))
    if lake.live_runs("slit_spectrum") or (has_beams and section.grism.templates):
        return ""
    return "redshifts.grism.templates names nothing" if has_beams else "the lake has no spectra of slits and no beams"


def _maps(plan: Plan, lake: Lake) -> str:
    if not plan.maps.is_on:
        return "maps.is_on is false"
    if not lake.live_runs("beam"):
        return "the lake has no beams"
    return "" if plan.redshifts.grism.templates else "redshifts.grism.templates names nothing"


_RULES: Mapping[str, Callable[[Plan, Lake], str]] = MappingProxyType(
    {
        "psf": _psf,
        "profiles": _profiles,
        "models": _profiles,
        "photometry": _photometry,
        "slits": _slits,
        "contam": _contam,
        "beams": _beams,
        "redshifts": _redshifts,
        "maps": _maps,
    }
)
