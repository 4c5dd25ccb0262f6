"""What is wrong with a plan, all of it, before anything is done."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skymere._params import check_params
from skymere.errors import InvalidInputError, NotFoundError
from skymere.pipeline.gates import gate_faults
from skymere.pipeline.plan import Plan
from skymere.pipeline.plan_files import Fault, missing_files
from skymere.pipeline.plan_rules import contradictions, unknown_bands

__all__ = ["PlanFault", "check_plan", "refuse_faults"]


@dataclass(frozen=True, kw_only=True)
class PlanFault:
    """Something that is wrong with a plan; as text it names file, key, value and what is allowed.

    Parameters
    ----------
    file : str
        The plan.
    key : str
        Dotted name of the key, or of a section whose keys do not fit together.
    value : object
        What it has; None when it is missing.
    message : str
        What is wrong, and what is allowed.
    """

    file: str
    key: str
    value: Any
    message: str

    def __str__(self) -> str:
        named = self.message if self.key in self.message else f"{self.key}: {self.message}"
        return f"{self.file}: {named}"


def check_plan(plan: Plan | str | Path) -> list[PlanFault]:
    """Return everything that is wrong with a plan; nothing is written, and no pixel is read.

    Parameters
    ----------
    plan : Plan or path-like
        A plan, or its file.

    Returns
    -------
    list of PlanFault
        Unknown keys, values that are not allowed, keys that contradict each other, gates that no stage asks, files
        that are missing, patterns that match nothing, and bands that no exposure has; empty when the plan can be run.

    Raises
    ------
    NotFoundError
        When there is no such file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skymere.pipeline import check_plan
    >>> _ = Path("plan.toml").write_text("[survey]")
    >>> print(check_plan("plan.toml")[0])
    plan.toml: key survey.exposures is missing
    """
    if isinstance(plan, Plan):
        return [_named(str(plan.folder), *fault) for fault in _faults(plan)]
    path = Path(plan)
    if not path.is_file():
        msg = f"{path}: no such plan"
        raise NotFoundError(msg)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return [PlanFault(file=str(path), key="", value=None, message=f"not TOML: {error}")]
    made, found = check_params(Plan, table, skip=("folder",))
    faults = [_named(str(path), one.key, one.value, one.message) for one in found]
    if made is not None:
        # A section that is wrong has the values that are right, so that what else is wrong is told as well.
        faults += [_named(str(path), *one) for one in _faults(replace(made, folder=path.parent.resolve()))]
    return list({str(one): one for one in faults}.values())


def refuse_faults(plan: Plan) -> None:
    """Raise an error when something is wrong with a plan.

    Parameters
    ----------
    plan : Plan
        The plan.

    Raises
    ------
    InvalidInputError
        With all faults.
    """
    if faults := check_plan(plan):
        head = f"{plan.folder}: the plan has {len(faults)} fault{'s' * (len(faults) > 1)}: "
        raise InvalidInputError(head + "; ".join(str(one).removeprefix(f"{one.file}: ") for one in faults))


def _faults(plan: Plan) -> Iterator[Fault]:
    missing = list(missing_files(plan))
    yield from missing
    yield from contradictions(plan)
    yield from gate_faults(plan)
    if not any(key == "survey.exposures" for key, _, _ in missing):
        yield from unknown_bands(plan)


def _named(file: str, key: str, value: Any, message: str) -> PlanFault:
    return PlanFault(file=file, key=key, value=value, message=message)
