"""``skymere info``."""

import importlib.metadata
import platform
from pathlib import Path

import polars as pl

from skymere.cli._print import console, print_frame

__all__ = ["info"]

_LIBRARIES = ("numpy", "astropy", "polars", "pyarrow", "deltalake", "zarr", "cdshealpix", "matplotlib", "galsim")


def info() -> None:
    """Say which skymere this is: versions of code, schemas and libraries, and where it is installed."""
    import skymere
    from skymere._rust import __version__ as rust_version
    from skymere.lake import load_schema, products

    console.print(f"skymere {skymere.__version__} in {Path(skymere.__file__).parent}", soft_wrap=True)
    console.print(f"compiled part {rust_version}, {skymere.get_num_threads()} threads")
    console.print(f"Python {platform.python_version()} on {platform.platform()}", soft_wrap=True)
    schemas = [{"product": name, "version": load_schema(name).version_text} for name in products()]
    print_frame(pl.DataFrame(schemas), "Schemas")
    libraries = [{"library": name, "version": _version(name)} for name in _LIBRARIES]
    print_frame(pl.DataFrame(libraries), "Libraries")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
