"""What keeps a lake in good order: garbage, damage, small files."""

from skymere.lake.asking import LakeQueries
from skymere.lake.compaction import Compaction, compact
from skymere.lake.fsck import Fault, check_lake
from skymere.lake.garbage import Garbage, collect, find_garbage
from skymere.lake.ledger import held_pendings
from skymere.lake.migrations import migrate
from skymere.lake.tables import Outcome

__all__ = ["LakeUpkeep"]


class LakeUpkeep(LakeQueries):
    """The upkeep of `Lake`."""

    def gc(self, *, dry_run: bool = True, grace_days: float = 7.0) -> Garbage:
        """Look for files that nobody needs, and remove them when asked to.

        Kept is whatever the newest state or a release refers to (rows, their arrays, and the segmentation that live
        sources were measured on), what is held, what the newest state referred to at any time during the grace, and
        what was written during it. Publishers and readers may go on meanwhile.

        Parameters
        ----------
        dry_run : bool, optional
            Only look.
        grace_days : float, optional
            Must be longer than the longest run takes [d].

        Raises
        ------
        InvalidInputError
            When the grace is not positive, or the lake was opened at a release.
        StorageError
            When a file cannot be read or removed.
        """
        self._check_writable()
        pins = [self.released(name) for name in self.releases()]
        found = find_garbage(self._layout, pins, held_pendings(self._layout, self), grace_days=grace_days)
        return found if dry_run else collect(self._layout, found, grace_days=grace_days)

    def fsck(self, *, hashes: bool = False) -> list[Fault]:
        """Look for damage: what the newest state, the releases and held tasks refer to must be there and whole.

        Parameters
        ----------
        hashes : bool, optional
            Also read every file: arrays against the sha256 in their manifest, tables against their schema and log.

        Returns
        -------
        list of Fault
            Empty when all is well.
        """
        pins = {name: self.released(name) for name in self.releases()}
        return check_lake(self._layout, pins, held_pendings(self._layout, self), hashes=hashes)

    def compact(self, name: str, *, target_mib: float = 64.0) -> Compaction:
        """Merge small Parquet files of a table, which many tiles leave behind; its rows stay the same.

        A merged file holds the rows of several tiles, of one pixel of the partition order where rows have positions.
        Publishing one of the tiles again writes the file anew without its rows. The small files stay until `gc`.

        Parameters
        ----------
        name : str
            Product.
        target_mib : float, optional
            Files below half of this are merged until they reach it [MiB].

        Raises
        ------
        InvalidInputError
            When the size is not positive, or the lake was opened at a release.
        NotFoundError
            When there is no such product.
        """
        self._check_writable()
        return compact(self._named(name), target_mib=target_mib)

    def migrate(self, name: str) -> Outcome:
        """Rewrite the rows of a product in the newest major version of its schema, in one commit.

        The table of the older version stays, also for releases; nobody can publish to it any more. Arrays, keys and
        the content hash stay as they are.

        Parameters
        ----------
        name : str
            Product.

        Returns
        -------
        str
            ``published``, or ``already`` when the rows are of the newest version.

        Raises
        ------
        NotFoundError
            When there is no such product or no migration.
        SchemaError
            When what the migration makes does not match the schema; the lake is unchanged.
        ConflictError
            When somebody changes the table at the same time; migrate again.
        """
        self._check_writable()
        return migrate(self._layout, name)
