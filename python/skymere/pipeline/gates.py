"""Gates of a plan: which of them look at the products of a stage."""

from collections.abc import Iterator

from skymere.errors import InvalidInputError
from skymere.lake import Gate
from skymere.pipeline.plan import Plan
from skymere.pipeline.stages import STAGES
from skymere.pipeline.task import Stage

__all__ = ["check_gates", "gate_faults", "gates_of"]


def gates_of(plan: Plan, stage: Stage) -> tuple[Gate, ...]:
    """Return the gates that look at what a stage writes, for ``lake.run(..., defer=True, gates=...)``.

    Parameters
    ----------
    plan : Plan
        The plan.
    stage : Stage
        One of its stages.
    """
    return tuple(gate for gate in plan.gates if gate.product in stage.writes)


def check_gates(plan: Plan) -> None:
    """Refuse gates that would never look at anything. Conditions and columns were checked when the plan was read.

    Parameters
    ----------
    plan : Plan
        The plan.

    Raises
    ------
    InvalidInputError
        When no stage of a plan writes the product of a gate.
    """
    for _, _, message in gate_faults(plan):
        raise InvalidInputError(message)


def gate_faults(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and message of every gate whose product no stage writes.

    Parameters
    ----------
    plan : Plan
        The plan.
    """
    # Rows beside a product come with it, whatever they say.
    written = sorted({product for stage in STAGES for product in stage.writes} - {"alias"})
    for i, gate in enumerate(plan.gates):
        if gate.product not in written:
            msg = f"gates: product {gate.product!r} is written by no stage, it must be one of {', '.join(written)}"
            yield f"gates[{i}].product", gate.product, msg
