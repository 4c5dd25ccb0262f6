"""``[run]``: where and how tasks are done. Nothing here changes a product, so nothing here is a part of its key."""

import re
from dataclasses import dataclass
from typing import Literal

from skymere.errors import InvalidInputError

__all__ = ["RunPlan", "memory_bytes"]

_UNITS = {"": 1, "B": 1} | {
    f"{prefix}{suffix}": base**power
    for suffix, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate(("k" if base == 1000 else "K", "M", "G", "T"), start=1)
}


def memory_bytes(text: str) -> int:
    """Return an amount of memory [bytes]; 0, which is no limit, for an empty text.

    Parameters
    ----------
    text : str
        A number and a unit: ``B``, ``kB``, ``MB``, ``GB``, ``TB``, ``KiB``, ``MiB``, ``GiB`` or ``TiB``.

    Raises
    ------
    InvalidInputError
        When it is something else.

    Examples
    --------
    >>> memory_bytes("1.5 GiB")
    1610612736
    """
    if not text.strip():
        return 0
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2] not in _UNITS or float(found[1]) * _UNITS[found[2]] < 1:
        msg = f"memory: {text!r} is not allowed, it must be a number with a unit, such as '4GiB', '512MiB' or '8GB'"
        raise InvalidInputError(msg)
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """How a plan is run; options of ``skymere run`` win over it.

    Parameters
    ----------
    executor : str
        ``serial``: one task after the other, each with all cores. ``processes``: in several processes of this
        computer. ``dask``: in the workers of dask.distributed, here or on other computers.
    n_workers : int
        Processes at most, of ``processes`` and of a dask that is started here; 0 = one for each core.
    scheduler : str
        Address of a scheduler of dask that is running, such as ``tcp://10.0.0.1:8786``; one is started here when
        empty.
    memory : str
        What all processes may use together, such as ``4GiB``; no limit when empty.
    retries : int
        How often a task is tried again whose worker was killed.
    keep_going : bool
        Whether the other tasks go on when one has failed.

    Raises
    ------
    InvalidInputError
        When a value is not allowed, or contradicts another.
    """

    executor: Literal["serial", "processes", "dask"] = "serial"
    n_workers: int = 0
    scheduler: str = ""
    memory: str = ""
    retries: int = 2
    keep_going: bool = True

    def __post_init__(self) -> None:
        memory_bytes(self.memory)
        for name in ("n_workers", "retries"):
            if getattr(self, name) < 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, the least is 0"
                raise InvalidInputError(msg)
        if self.executor == "serial" and self.n_workers > 1:
            msg = f"n_workers: {self.n_workers} is not allowed with executor 'serial'; choose 'processes' or 'dask'"
            raise InvalidInputError(msg)
        if self.scheduler and self.executor != "dask":
            msg = f"scheduler: {self.scheduler!r} is not allowed with executor {self.executor!r}, only with 'dask'"
            raise InvalidInputError(msg)
        if self.scheduler and self.n_workers:
            msg = f"n_workers: {self.n_workers} is not allowed with a scheduler, which brings workers of its own"
            raise InvalidInputError(msg)
