"""Lists of files that others made."""

from pathlib import Path

import yaml

from skymere.errors import FormatError, NotFoundError

__all__ = ["read_groups"]


def read_groups(path: str | Path) -> dict[str, list[str]]:
    """Return the files of each filter in a groups file, or visits file, of grizli's in YAML.

    Parameters
    ----------
    path : path-like
        The file: a mapping of filters, each with ``files``.

    Returns
    -------
    dict of str to list of str
        Filter in lower case to its files; feed them to `ExposureList.from_files`, which finds their footprints anew.

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        When it is no groups file; also when it is a numpy file (``.npy``): that is a pickle, which may run any code
        when it is read.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    if path.suffix in (".npy", ".pkl"):
        msg = (
            f"{path}: is a pickle, which may run any code when it is read; write the files of each filter as YAML, "
            "or give their folder"
        )
        raise FormatError(msg)
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as YAML: {error}"
        raise FormatError(msg) from error
    listed = groups.values() if isinstance(groups, dict) else groups
    found: dict[str, list[str]] = {}
    for key, one in zip(groups if isinstance(groups, dict) else range(len(groups or ())), listed or (), strict=True):
        if not isinstance(one, dict) or not isinstance(one.get("files"), list):
            msg = f"{path}: {key!r} has no list 'files', it is no groups file"
            raise FormatError(msg)
        name = str(one.get("filter", key)).lower()
        found.setdefault(name, []).extend(str(file) for file in one["files"])
    if not found:
        msg = f"{path}: holds no groups"
        raise FormatError(msg)
    return found
