"""Tasks in the workers of dask.distributed: of a cluster of this computer, or of a scheduler that is running."""

import logging
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from skymere._workers import thread_environment
from skymere.errors import NotFoundError, StorageError
from skymere.pipeline.attempts import Job, attempt_packed, packed
from skymere.pipeline.cores import threads_each
from skymere.pipeline.executors import Ended, failed_record

__all__ = ["DaskWorkers"]

_SECONDS_TO_ANSWER = 30


class DaskWorkers:
    """Workers of dask with one thread each, so that cores are shared by skymere alone.

    Parameters
    ----------
    scheduler : str
        Address of a scheduler that is running; workers are started here when empty.
    n_workers : int
        Workers that are started here at most.

    Raises
    ------
    NotFoundError
        When dask.distributed is not installed.
    StorageError
        When the scheduler does not answer.
    """

    def __init__(self, *, scheduler: str, n_workers: int) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            msg = "executor 'dask' needs dask.distributed: pip install 'skymere[cluster]'"
            raise NotFoundError(msg) from error
        self._dask: Any = distributed
        self._cluster: Any = None
        self._told: Any = None
        self._asked = 0
        self._most = n_workers
        self.n_threads = 0 if scheduler else threads_each(n_workers)
        self._jobs: dict[int, tuple[Job, Any]] = {}
        self._ended: SimpleQueue[int] = SimpleQueue()
        if scheduler:
            try:
                self._client = distributed.Client(scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
            except (OSError, TimeoutError, ValueError) as error:
                msg = f"scheduler: {scheduler!r} does not answer within {_SECONDS_TO_ANSWER} s: {error}"
                raise StorageError(msg) from error
            return
        told = {
            "distributed.nanny.pre-spawn-environ": thread_environment(self.n_threads),
            # How often a job is tried again is for the plan to say, whoever does it.
            "distributed.scheduler.allowed-failures": 0,
            # A process that grows is not paused in the middle of a job: what may begin is decided before.
            "distributed.worker.memory.pause": False,
            "distributed.worker.memory.terminate": False,
        }
        # Workers that begin later read it, too.
        self._told = dask.config.set(told)
        self._told.__enter__()
        try:
            self._cluster = distributed.LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": ":0"},
                silence_logs=logging.CRITICAL,
            )
            self._client = distributed.Client(self._cluster, set_as_default=False)
        except BaseException:
            self._told.__exit__(None, None, None)
            raise

    @property
    def most(self) -> int:
        """How many jobs can be done at the same time."""
        if self._cluster is not None:
            return self._most
        # A job waits at the scheduler for the first worker, however long its queue is.
        return max(1, sum(int(n) for n in self._client.nthreads().values()))

    @property
    def started(self) -> int:
        """Workers that are there, or begin."""
        return self._asked if self._cluster is not None else self.most

    def submit(self, number: int, job: Job) -> None:
        """Give a job to dask, and start a worker when all are busy."""
        content = packed(job)
        if self._cluster is not None and len(self._jobs) >= self._asked:
            self._asked += 1
            self._cluster.scale(self._asked)
        future = self._client.submit(attempt_packed, content, pure=False, retries=0)
        self._jobs[number] = (job, future)
        future.add_done_callback(lambda _: self._ended.put(number))

    def wait(self, seconds: float | None = None) -> Sequence[Ended]:
        """Wait until a job has ended; dask itself replaces a worker that died."""
        try:
            found = [self._ended.get(timeout=seconds)]
        except Empty:
            return []
        while not self._ended.empty():
            found.append(self._ended.get())
        return [self._result(number) for number in found]

    def _result(self, number: int) -> Ended:
        job, future = self._jobs.pop(number)
        try:
            return number, future.result()
        except self._dask.KilledWorker:
            return number, None
        except Exception as error:
            return number, failed_record(job, error)

    def shrink(self, n_workers: int) -> None:
        """End idle workers of this computer until no more than so many are left."""
        if self._cluster is not None and self._asked > n_workers:
            self._asked = n_workers
            self._cluster.scale(n_workers)

    def close(self) -> None:
        """Leave the scheduler, and end what was started here."""
        for _, future in self._jobs.values():
            future.cancel()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
            self._told.__exit__(None, None, None)
