"""Committing: many products of many tiles become visible in a few entries of the logs.

First the products, one entry for each table, those that others point to first; then what was written beside them, one
entry each for ``run_item``, ``alias`` and ``run``. The rows of ``run`` come last: where one is, nothing is missing.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from skymere.errors import ConflictError, StorageError
from skymere.lake.arrays import is_sealed
from skymere.lake.files import fetched, storage, sync_all
from skymere.lake.layout import Layout, TableFile
from skymere.lake.majors import filled
from skymere.lake.pending import Pending, Staged
from skymere.lake.schemas import load_schema
from skymere.lake.tables import Outcome, Replacement, Rows, Table, tables_on_disk

__all__ = ["BESIDE", "Answer", "commit_all", "mend", "record", "settle", "staged_rows"]

# ``run`` is the last, so that its row says that nothing is missing.
BESIDE = ("run_item", "alias", "run")
Answer = Outcome | ConflictError | StorageError
# Requests that wait for an object store at once.
_REQUESTS = 16


def commit_all(
    layout: Layout, pendings: Sequence[Pending], *, on_event: Callable[[str], None] = lambda _: None
) -> list[Answer]:
    """Commit products that wait for it, whatever becomes of one of them; see `Lake.commit`.

    Parameters
    ----------
    layout : Layout
        The lake.
    pendings : sequence of Pending
        The products, those of a task in the order in which it published them.
    on_event : callable, optional
        Called with ``committed`` after each product, and with ``recorded`` at the end.

    Raises
    ------
    StorageError
        When a log cannot be written. What was committed before stays; the same products may be handed in again.
    """
    settle(layout, pendings)
    order = _order(pendings)
    if order is None:
        # Tasks that publish in different orders cannot share an entry.
        tasks = _by_task(pendings)
        parts = [commit_all(layout, [pendings[i] for i in places], on_event=on_event) for places in tasks.values()]
        found = dict(
            zip((i for places in tasks.values() for i in places), (a for part in parts for a in part), strict=True)
        )
        return [found[i] for i in range(len(pendings))]
    answers: dict[int, Answer] = {i: fault for i, fault in enumerate(_faults(layout, pendings)) if fault is not None}
    for product in order:
        failed = {pendings[i].task: answer for i, answer in answers.items() if isinstance(answer, Exception)}
        mine = [i for i, one in enumerate(pendings) if one.product == product and i not in answers]
        answers |= {i: _follows(pendings[i], failed[pendings[i].task]) for i in mine if pendings[i].task in failed}
        free = [i for i in mine if i not in answers]
        if free:
            answers |= dict(zip(free, _replace(layout, [pendings[i] for i in free]), strict=True))
            on_event("committed")
    _record_all(layout, [(one, answers[i]) for i, one in enumerate(pendings)])
    on_event("recorded")
    return [answers[i] for i in range(len(pendings))]


def settle(layout: Layout, pendings: Sequence[Pending]) -> None:
    """Wait until all files that products wait with are on the disk, before any log names one of them.

    Parameters
    ----------
    layout : Layout
        The lake.
    pendings : sequence of Pending
        The products. Their arrays are on the disk since they were sealed; the folders that name them may not be.

    Raises
    ------
    StorageError
        When the disk does not take them.
    """
    root = layout.root
    if not isinstance(root, Path):
        return
    files, roots = [], {root}
    for one in pendings:
        for staged in (one.rows, *one.beside):
            dataset = Path(str(layout.dataset(staged.schema(layout))))
            roots.add(dataset)
            files += [dataset / file.path for file in staged.files]
        group = Path(str(layout.arrays(one.product, one.tile, one.run)))
        if group.exists():
            files.append(group)
    with storage(root):
        # What has vanished is told of each product by itself.
        sync_all((file for file in files if file.exists()), roots)


def staged_rows(layout: Layout, staged: Staged) -> Rows:
    """Return rows that wait as a table takes them."""
    return Rows(tuple(one.path for one in staged.files), staged.columns(layout), facts=staged.files)


def record(layout: Layout, product: str, live: TableFile) -> None:
    """Commit what the attempt that won has written beside its rows, if a crash left it out."""
    table = Table(layout, "run")
    if table.unwritten(table.open(), [live]):
        _record(layout, {live.bare: product})
        # A batch that was interrupted may have left out the other products of the same task.
        mend(layout, live.tile)


def mend(layout: Layout, tile: str | None = None) -> None:
    """Commit the rows of ``run_item``, ``alias`` and ``run`` that crashes left out.

    Parameters
    ----------
    layout : Layout
        The lake.
    tile : str, optional
        Look at the products of this tile alone.
    """
    runs = Table(layout, "run")
    newest = runs.open()
    lost: dict[TableFile, str] = {}
    for table in filled(tables_on_disk(layout)):
        product = table.schema.product
        if product not in BESIDE:
            lost |= dict.fromkeys(runs.unwritten(newest, table.live(table.open(), tile)), product)
    _record(layout, lost)


def _order(pendings: Sequence[Pending]) -> list[str] | None:
    """Return the products in an order that is that of every task; None when there is none."""
    before: dict[str, set[str]] = {one.product: set() for one in pendings}
    for places in _by_task(pendings).values():
        # What is handed in twice counts once.
        names = dict.fromkeys(pendings[i].product for i in places)
        for first, then in pairwise(names):
            before[then].add(first)
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        return None


def _by_task(pendings: Sequence[Pending]) -> dict[str, list[int]]:
    tasks: dict[str, list[int]] = {}
    for i, one in enumerate(pendings):
        tasks.setdefault(one.task, []).append(i)
    return tasks


def _follows(pending: Pending, cause: Answer) -> ConflictError | StorageError:
    kind = StorageError if isinstance(cause, StorageError) else ConflictError
    return kind(f"{pending.product} of tile {pending.tile!r}: not committed, since its task was not whole: {cause}")


def _faults(layout: Layout, pendings: Sequence[Pending]) -> list[StorageError | None]:
    """Return what is missing of each product: the garbage collector takes what has waited for longer than its grace."""

    def look(one: Pending) -> StorageError | None:
        table = Table(layout, one.product, one.rows.schema(layout))
        if table.schema.arrays and not is_sealed(layout.arrays(one.product, one.tile, one.run)):
            folder = layout.arrays(one.product, one.tile, one.run)
            return StorageError(f"{folder}: the sealed arrays have vanished; run the task again")
        for file in one.rows.files:
            path = table.dataset / file.path
            with storage(path):
                if not path.is_file() or path.stat().st_size != file.size:
                    return StorageError(f"{path}: the rows have vanished or changed; run the task again")
        return None

    if isinstance(layout.root, Path) or len(pendings) == 1:
        return [look(one) for one in pendings]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(look, pendings))


def _replace(layout: Layout, pendings: Sequence[Pending]) -> list[Answer]:
    schema = max((one.rows.schema(layout) for one in pendings), key=lambda schema: schema.version)
    table = Table(layout, schema.product, schema)
    wanted = [Replacement(one.file, staged_rows(layout, one.rows), one.sequence) for one in pendings]
    try:
        return list(table.replace(wanted))
    except ConflictError as error:
        return [error] * len(pendings)


def _record_all(layout: Layout, done: Iterable[tuple[Pending, Answer]]) -> None:
    """Commit what stands beside the products that are visible now."""
    mine: list[Pending] = []
    others: dict[TableFile, str] = {}
    for one, answer in done:
        if answer == "published":
            mine.append(one)
        elif answer == "already":
            table = Table(layout, one.product, one.rows.schema(layout))
            others |= {file.bare: one.product for file in table.live(table.open(), one.tile)}
    for name in BESIDE:
        wanted = {
            one.file: (_counter(name, one.tile, one.product), staged_rows(layout, staged))
            for one in mine
            for staged in one.beside
            if staged.table == name
        }
        if wanted:
            Table(layout, name).append(wanted)
    runs = Table(layout, "run")
    if others:
        lost = runs.unwritten(runs.open(), others)
        _record(layout, {file: others[file] for file in lost})


def _record(layout: Layout, lives: Mapping[TableFile, str]) -> None:
    """Commit what attempts have written beside their rows, as far as it is there."""
    for name in BESIDE if lives else ():
        table = Table(layout, name)
        newest = table.open()
        wanted = {}
        for file in table.unwritten(newest, lives):
            rows = _waiting(table, file)
            if rows is not None:
                wanted[file] = (_counter(name, file.tile, lives[file]), rows)
        if wanted:
            table.append(wanted)


def _waiting(table: Table, live: TableFile) -> Rows | None:
    """Return the rows that an attempt wrote to a table without places in the sky, maybe with an older schema."""
    file = table.waiting(live)
    if file is None:
        return None
    with fetched(table.dataset / file.path) as path:
        written = (pq.read_metadata(path).metadata or {}).get(b"skymere.schema.version", b"").decode()
    then = Table(table.layout, table.schema.product, load_schema(table.schema.product, written))
    rows = Rows((file.path,), then.schema.expand())
    return dataclasses.replace(rows, facts=then.facts(rows))


def _counter(name: str, tile: str, product: str) -> str:
    """Return the name under which a table counts the commits of a tile: who comes second sees what the first did."""
    return f"{name}/{tile}/{product}"
