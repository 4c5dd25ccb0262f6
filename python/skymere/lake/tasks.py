"""What became of tasks: many commits at once, failures, and products that are held until somebody accepts them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from skymere import __version__
from skymere.errors import NotFoundError
from skymere.lake.asking import LakeQueries
from skymere.lake.committing import Answer, commit_all, mend, settle
from skymere.lake.layout import check_name
from skymere.lake.ledger import Failure, held_pendings, hold_all, record_all, states
from skymere.lake.pending import Pending
from skymere.lake.run import run_id

__all__ = ["LakeTasks"]


class LakeTasks(LakeQueries):
    """The ledger of `Lake`."""

    def commit(self, pendings: Sequence[Pending], *, on_event: Callable[[str], None] | None = None) -> list[Answer]:
        """Commit products that were published with ``defer``, of as many tasks and tiles as there are.

        Parameters
        ----------
        pendings : sequence of Pending
            `Run.pendings` of tasks; those of a task stand in the order of their publication.
        on_event : callable, optional
            Called with ``committed`` after each product, and with ``recorded`` at the end.

        Returns
        -------
        list
            For each ``published``; ``already``; ``held`` when a gate held its task, which is recorded now; or the
            error (ConflictError or StorageError) for which its task must be made again. One that fails does not stop
            the others, except those behind it in its own task.

        Raises
        ------
        StorageError
            When a log cannot be written. What was committed before stays; handing in the same again goes on.
        InvalidInputError
            When the lake was opened at a release.

        Notes
        -----
        One entry of the log for each product, with the removals and additions of all tiles and a counted transaction
        for each; then one each for ``run_item``, ``alias`` and ``run``. All files are synced before the first of them,
        each file and folder once. A crash in between is mended when one of the
        runs is opened next, or by `mend`.
        """
        self._check_writable()
        tasks = {one.task for one in pendings if one.hold}
        held = [one for one in pendings if one.task in tasks]
        free = [one for one in pendings if one.task not in tasks]
        settle(self._layout, held)
        hold_all(self._layout, held)
        answers = iter(commit_all(self._layout, free, on_event=on_event or (lambda _: None)) if free else [])
        return ["held" if one.task in tasks else next(answers) for one in pendings]

    def mend(self) -> None:
        """Add the rows of ``run_item``, ``alias`` and ``run`` that crashes left out, for all products.

        Opening a run does the same for its tile.
        """
        self._check_writable()
        mend(self._layout)

    def record_failure(
        self,
        *,
        stage: str,
        tile: str,
        product: str,
        inputs: Sequence[Any],
        params: Mapping[str, Any],
        error: BaseException,
        seconds: float | None = None,
        peak_memory: float | None = None,
    ) -> None:
        """Add a task that raised an error to the ledger; see `record_failures`.

        Parameters
        ----------
        stage, tile, product : str
            The task, by its main product.
        inputs : sequence
            What it read, JSON.
        params : mapping
            Its parameters, JSON.
        error : BaseException
            What it raised.
        seconds : float, optional
            Time that it took [s].
        peak_memory : float, optional
            Peak memory of its process [MiB].
        """
        failure = Failure(
            stage=stage,
            tile=tile,
            product=product,
            inputs=inputs,
            params=params,
            error_class=type(error).__name__,
            message=str(error),
            seconds=seconds,
            peak_memory=peak_memory,
        )
        self.record_failures([failure])

    def record_failures(self, failures: Sequence[Failure]) -> None:
        """Add tasks that failed to the ledger, in one commit.

        Parameters
        ----------
        failures : sequence of Failure
            The tasks.

        Raises
        ------
        InvalidInputError
            When a name is not allowed, inputs or parameters are not JSON, or the lake was opened at a release.
        StorageError
            When the lake cannot be written.
        """
        self._check_writable()
        known = []
        for one in failures:
            check_name("stage", one.stage)
            check_name("tile", one.tile)
            self.schema(one.product)
            work = {"stage": one.stage, "tile": one.tile, "code_version": __version__}
            known.append((run_id(**work, inputs=one.inputs, params=one.params), one))
        record_all(self._layout, known, code_version=__version__)

    def tasks(self) -> pl.DataFrame:
        """Return the newest state of every task, from ``run`` and ``run_item``.

        Returns
        -------
        polars.DataFrame
            ``stage, tile, product, run_id``; ``status``: ``published``, ``failed`` or ``held``; ``error_class`` and
            ``message`` of what failed or is held; ``seconds`` [s]; ``peak_memory`` [MiB]; ``recorded``, UTC. What was
            published after it had failed or been held is published. Rows of all failures are in ``run_item``.
        """
        return states(self._layout, self)

    def failures(self) -> pl.DataFrame:
        """Return the tasks that failed when they were last tried; the columns are those of `tasks`."""
        return states(self._layout, self).filter(pl.col("status") == "failed")

    def held(self) -> pl.DataFrame:
        """Return the products that wait for somebody who accepts them; the columns are those of `tasks`.

        ``message`` has the gates that hold them, and the rows for which they do.
        """
        return states(self._layout, self).filter(pl.col("status") == "held")

    def accept(self, run: str) -> list[Answer]:
        """Commit a task that is held, with all its products: exactly the bytes that the gate looked at.

        Parameters
        ----------
        run : str
            Identifier of the run of one of its products (see `held`), or its first characters.

        Returns
        -------
        list
            For each product ``published`` or ``already``.

        Raises
        ------
        NotFoundError
            When there is not exactly one task like this that is held.
        ConflictError
            When something newer was published for the tile; the task must be made again.
        StorageError
            When its files are gone.
        """
        self._check_writable()
        waiting = held_pendings(self._layout, self)
        tasks = {one.task for one in waiting if run and one.run.startswith(run)}
        if len(tasks) != 1:
            found = ", ".join(f"{one.run} ({one.stage}, {one.tile}, {one.product})" for one in waiting) or "nothing"
            msg = f"run {run!r}: there must be one task that is held whose run begins so; held is {found}"
            raise NotFoundError(msg)
        mine = [dataclasses.replace(one, hold="") for one in waiting if one.task in tasks]
        answers = commit_all(self._layout, mine)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers
