"""release: the present state of the lake gets a name for ever."""

from skymere.errors import ConflictError
from skymere.lake import Lake
from skymere.pipeline.plan import Plan
from skymere.pipeline.task import Stage

__all__ = ["STAGE"]


def finish(plan: Plan, lake: Lake) -> bool:
    """Release what is there; a release of this very state is left as it is.

    Raises
    ------
    ConflictError
        When the name belongs to another state.
    """
    name = plan.release.name
    if name not in lake.releases():
        lake.release(name)
        return True
    if lake.released(name) != lake.versions():
        msg = f"release.name: {name!r} exists and holds an older state; releases never change, name a new one"
        raise ConflictError(msg)
    return False


STAGE = Stage(name="release", reads=("source", "cutout"), writes=(), finish=finish, needs_all=True)
