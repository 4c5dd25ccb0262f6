"""skymere: sky surveys from calibrated exposures to a lake that one Polars query can ask.

Subpackages are imported when first used, so ``import skymere`` is quick.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

_ROOMS = frozenset(
    {
        "align",
        "background",
        "datamodels",
        "errors",
        "grism",
        "instruments",
        "io",
        "lake",
        "mosaic",
        "outliers",
        "photometry",
        "pipeline",
        "profiles",
        "psf",
        "regions",
        "resample",
        "segmentation",
        "slit",
        "spectra",
        "testing",
        "viewer",
        "wcs",
    }
)

__all__ = ["__version__", "get_num_threads", "set_num_threads"]

try:
    from skymere._rust import __version__ as _rust_version
    from skymere._rust import threads as _threads
except ImportError as error:
    msg = "skymere's compiled part (skymere._rust) is missing; in a checkout run `make build`, else reinstall skymere"
    raise ImportError(msg) from error
if _rust_version != __version__:
    msg = f"skymere {__version__} found a compiled part of version {_rust_version}; reinstall skymere"
    raise ImportError(msg)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.mark_forked)
if "SKYMERE_NUM_THREADS" in os.environ:
    _threads.set_num_threads(int(os.environ["SKYMERE_NUM_THREADS"]))


def get_num_threads() -> int:
    """Return the number of threads that kernels use."""
    return _threads.get_num_threads()


def set_num_threads(n_threads: int) -> None:
    """Set the number of threads that kernels use; 0 means one per core. Results do not depend on it."""
    _threads.set_num_threads(n_threads)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"skymere.{name}")
    msg = f"module 'skymere' has no attribute {name!r}"
    raise AttributeError(msg)
