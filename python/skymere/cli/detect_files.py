"""``skymere detect``: the files of the bands, and what is said about each of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from skymere.errors import InvalidInputError, SkymereError

__all__ = ["given_files", "read_each"]

T = TypeVar("T")


def given_files(
    files: Sequence[Path],
    *,
    band: Sequence[str] | None,
    weight: Sequence[Path] | None,
    rms: Sequence[Path] | None,
    zero_point: Sequence[float] | None,
    saturation: Sequence[float] | None,
) -> list[dict[str, Any]]:
    """Return what is said about each file beside its name, as `skymere.io.read_band` takes it.

    Raises
    ------
    InvalidInputError
        When an option has not as many values as there are files.
    """
    lists = {"--band": band, "--weight": weight, "--rms": rms, "--zero-point": zero_point, "--saturation": saturation}
    for name, values in lists.items():
        if values and len(values) != len(files):
            msg = f"{name}: {len(values)} values for {len(files)} files are not allowed, each file needs one"
            raise InvalidInputError(msg)
    return [
        {
            "weight": weight[i] if weight else None,
            "rms": rms[i] if rms else None,
            "band": band[i] if band else "",
            "zero_point_ab": zero_point[i] if zero_point else None,
        }
        for i in range(len(files))
    ]


def read_each(
    read: Callable[..., T], files: Sequence[Path], given: Sequence[dict[str, Any]], *, skip: bool
) -> tuple[list[tuple[Path, T]], dict[str, str]]:
    """Return the files with what they hold, and why files were skipped.

    Raises
    ------
    SkymereError
        When a file cannot be used and is not to be skipped, or none can be used.
    """
    found, skipped = [], {}
    for path, about in zip(files, given, strict=False):
        try:
            found.append((path, read(path, **about)))
        except SkymereError as error:
            if not skip:
                raise
            skipped[str(path)] = str(error)
    if not found:
        msg = f"files: none can be used: {skipped}"
        raise InvalidInputError(msg)
    return found, skipped
