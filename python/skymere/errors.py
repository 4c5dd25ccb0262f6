"""Every exception that skymere raises.

::

    SkymereError
    |-- InvalidInputError (ValueError)    an argument, a plan key or an input file has a value that is not allowed
    |-- NotFoundError (LookupError)       a file, table, release, source or array that does not exist
    |-- NoOverlapError                    an image and a grid have nothing in common
    |-- NoDataError                       no usable pixel or row is left
    |-- FitError                          a fit did not converge
    |-- FormatError                       bytes that are not what their format promises
    |   `-- SchemaError                   a table or an array that does not match its schema
    |-- ConflictError                     somebody else published the same tile first
    |-- StorageError (OSError)            a file or an object could not be read or written
    |-- WorkerDied                        a process was killed, such as for lack of memory
    `-- InternalError                     a fault of skymere itself: please report it

Every message names the argument or file, its value and what is allowed. All of them can be pickled.
"""

__all__ = [
    "ConflictError",
    "FitError",
    "FormatError",
    "InternalError",
    "InvalidInputError",
    "NoDataError",
    "NoOverlapError",
    "NotFoundError",
    "SchemaError",
    "SkymereError",
    "StorageError",
    "WorkerDied",
]


class SkymereError(Exception):
    """Base of every exception that skymere raises."""


class InvalidInputError(SkymereError, ValueError):
    """An argument, a plan key or an input file has a value that is not allowed."""


class NotFoundError(SkymereError, LookupError):
    """A file, table, release, source or array does not exist."""


class NoOverlapError(SkymereError):
    """An image and a grid have nothing in common."""


class NoDataError(SkymereError):
    """No usable pixel or row is left."""


class FitError(SkymereError):
    """A fit did not converge."""


class FormatError(SkymereError):
    """Bytes are not what their format promises."""


class SchemaError(FormatError):
    """A table or an array does not match its schema."""


class ConflictError(SkymereError):
    """Somebody else published the same tile first."""


class StorageError(SkymereError, OSError):
    """A file or an object could not be read or written."""


class WorkerDied(SkymereError):  # noqa: N818  (what happened, not what is wrong)
    """A process was killed while it was working, such as for lack of memory."""


class InternalError(SkymereError):
    """A fault of skymere itself: please report it."""
