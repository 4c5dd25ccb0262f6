"""A gwcs as text, the same for the same coordinates, and back: ASDF without its record of libraries and versions."""

import io
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from skymere.errors import FormatError, InvalidInputError, NotFoundError, SkymereError

__all__ = ["asdf_with_gwcs", "gwcs_from_asdf", "gwcs_text", "is_gwcs", "open_asdf_tree"]

# Top-level entries that tell who wrote a file, not what is in it.
_WRITERS = ("asdf_library:", "history:")


def is_gwcs(wcs: Any) -> bool:
    """Return whether coordinates are a gwcs."""
    # Nothing is a gwcs where that package was not imported, which takes long.
    gwcs = sys.modules.get("gwcs")
    return gwcs is not None and isinstance(wcs, gwcs.WCS)


def gwcs_text(wcs: Any) -> str:
    """Return a gwcs as ASDF, with its arrays as numbers in the text.

    Parameters
    ----------
    wcs : gwcs.WCS
        The coordinates.

    Raises
    ------
    InvalidInputError
        When a part of it is of a kind that ASDF cannot hold.

    Notes
    -----
    Numbers are written with all their digits. Versions of asdf and gwcs enter only as far as their tags do.
    """
    # What was read back shares no objects by chance, which the text would show.
    return _text(gwcs_from_asdf(_text(wcs).encode(), "wcs"))


def _text(wcs: Any) -> str:
    import asdf
    import yaml

    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asdf.AsdfFile({"wcs": wcs}).write_to(content, all_array_storage="inline", include_block_index=False)
    except (ValueError, TypeError, RuntimeError, asdf.ValidationError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        msg = f"wcs: this gwcs cannot be written as ASDF ({type(error).__name__}: {reason})"
        raise InvalidInputError(msg) from error
    return "".join(_without_writers(content.getvalue().decode()))


def _without_writers(text: str) -> Iterator[str]:
    is_kept = True
    for line in text.splitlines(keepends=True):
        if not line.startswith(" "):
            is_kept = not line.startswith(_WRITERS)
        if is_kept:
            yield line


@contextmanager
def open_asdf_tree(content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
    """Open an ASDF file whose coordinates are made of the JWST pipeline's transforms, entry by entry.

    An entry is read and built when it is looked at, so what is not asked for costs nothing. Arrays can be looked at
    only while the file is open: evaluate coordinates inside of the ``with``.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        What it is called, for messages.

    Raises
    ------
    NotFoundError
        When one of the packages asdf, gwcs and stdatamodels is missing.
    FormatError
        When it cannot be read, also when that shows only while an entry is looked at.
    """
    try:
        import asdf
        import gwcs  # noqa: F401
        import stdatamodels  # noqa: F401
    except ModuleNotFoundError as error:
        msg = f"{name}: coordinates of slits need asdf, gwcs and stdatamodels: pip install 'skymere[jwst]'"
        raise NotFoundError(msg) from error
    # Found once for the process; the copy of the configuration below would look for the plugins every time.
    _ = asdf.get_config().extensions
    try:
        with warnings.catch_warnings(), asdf.config_context() as config:
            warnings.simplefilter("ignore")
            # Half of the time would go into schemas; what matters of the tree is checked when it is built. Only asdf
            # before 2.8, older than any spectrum of JWST, left out values that its schemas would fill in.
            config.validate_on_read = False
            config.legacy_fill_schema_defaults = False
            with asdf.open(io.BytesIO(content), lazy_load=True, lazy_tree=True, memmap=False) as file:
                yield file.tree
    except SkymereError:
        raise
    except (ValueError, OSError, KeyError, TypeError, RuntimeError, AttributeError, asdf.ValidationError) as error:
        msg = f"{name}: not a readable ASDF file ({type(error).__name__}: {error})"
        raise FormatError(msg) from error


def gwcs_from_asdf(content: bytes, name: str, *, needed: bool = True) -> Any | None:
    """Return the gwcs of an ASDF file: its entry ``wcs`` or ``meta.wcs``.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        What it is called, for messages.
    needed : bool, optional
        Whether it is an error when there is none.

    Raises
    ------
    NotFoundError
        When the packages asdf and gwcs are missing.
    FormatError
        When it cannot be read, or holds no gwcs and one is needed.
    """
    try:
        import asdf
        import gwcs  # noqa: F401
    except ModuleNotFoundError as error:
        msg = f"{name}: a gwcs needs the packages asdf and gwcs: pip install 'skymere[jwst]'"
        raise NotFoundError(msg) from error
    try:
        # What the pipeline's own schemas say of other entries does not matter here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with asdf.open(io.BytesIO(content), lazy_load=False, memmap=False) as file:
                tree = file.tree
                wcs = tree.get("wcs", tree.get("meta", {}).get("wcs"))
    except (ValueError, OSError, KeyError, TypeError, RuntimeError, asdf.ValidationError) as error:
        msg = f"{name}: not a readable ASDF file ({type(error).__name__}: {error})"
        raise FormatError(msg) from error
    if hasattr(wcs, "pixel_to_world_values"):
        return wcs
    if needed:
        msg = f"{name}: it holds no gwcs under 'wcs' or 'meta.wcs', only {sorted(map(str, tree))}"
        raise FormatError(msg)
    return None


def asdf_with_gwcs(content: bytes, wcs: Any, name: str) -> bytes:
    """Return the ASDF file of an exposure with another gwcs, as the ASDF extension of a JWST file holds it.

    Parameters
    ----------
    content : bytes
        The file before; of its entries only ``meta`` is kept, because arrays are extensions of the FITS file.
    wcs : gwcs.WCS
        The new coordinates.
    name : str
        What it is called, for messages.

    Raises
    ------
    NotFoundError, FormatError
        As `gwcs_from_asdf`.
    """
    gwcs_from_asdf(content, name)
    import asdf

    new = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with asdf.open(io.BytesIO(content), lazy_load=False, memmap=False) as file:
            asdf.AsdfFile({"meta": {**file.tree.get("meta", {}), "wcs": wcs}}).write_to(new)
    return new.getvalue()
