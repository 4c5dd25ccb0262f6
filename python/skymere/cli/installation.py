"""What is broken in an installation, and how to mend it."""

import importlib.metadata
import os
import platform
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from skymere._workers import n_cores
from skymere.lake import Finding

__all__ = ["examine_installation"]

# What users may want; the other extras are for those who work on skymere itself.
_EXTRAS = ("demo",)


def examine_installation() -> list[Finding]:
    """Look at Python, the compiled part, libraries, threads and folders."""
    return [*_python(), *_compiled(), *_libraries(), *_threads(), *_folders()]


def _python() -> Iterator[Finding]:
    needed = SpecifierSet(importlib.metadata.metadata("skymere")["Requires-Python"] or "")
    version = platform.python_version()
    if needed.contains(version, prereleases=True):
        yield Finding(what="Python", state="ok", message=version)
    else:
        message = f"{version}, skymere needs {needed}"
        yield Finding(what="Python", state="broken", message=message, mend="make an environment with a newer Python")


def _compiled() -> Iterator[Finding]:
    import skymere
    from skymere import _rust

    installed = importlib.metadata.version("skymere")
    place = Path(str(_rust.__file__))
    if skymere.__version__ == _rust.__version__ == installed:
        yield Finding(what="compiled part", state="ok", message=f"{_rust.__version__} in {place}")
        return
    message = f"{_rust.__version__} in {place}, code {skymere.__version__}, installed as {installed}"
    mend = "in a checkout run `make build`, else: pip install --force-reinstall skymere"
    yield Finding(what="compiled part", state="broken", message=message, mend=mend)


def _libraries() -> Iterator[Finding]:
    needed = [Requirement(text) for text in importlib.metadata.requires("skymere") or ()]
    wrong = [found for need in needed for found in _library(need, extra="")]
    yield from wrong or [Finding(what="libraries", state="ok", message="all are there in versions that fit")]
    for extra in _EXTRAS:
        missing = [found for need in needed for found in _library(need, extra=extra)]
        have = Finding(what=f"extra {extra}", state="ok", message="installed")
        yield from missing or [have]


def _library(need: Requirement, *, extra: str) -> Iterator[Finding]:
    """Yield what is wrong with a library that is needed always (no extra), or for an extra."""
    always = need.marker is None or need.marker.evaluate({"extra": ""})
    if always == bool(extra) or not (always or (need.marker and need.marker.evaluate({"extra": extra}))):
        return
    wanted = f"{need.name}{need.specifier}"
    mend = f"pip install 'skymere[{extra}]'" if extra else f"pip install '{wanted}'"
    what = f"extra {extra}" if extra else "libraries"
    try:
        version = importlib.metadata.version(need.name)
    except importlib.metadata.PackageNotFoundError:
        message = f"{need.name} is not installed"
        yield Finding(what=what, state="note" if extra else "broken", message=message, mend=mend)
        return
    if not need.specifier.contains(version, prereleases=True):
        message = f"{need.name} is {version}, skymere needs {need.specifier}"
        yield Finding(what=what, state="broken", message=message, mend=mend)


def _threads() -> Iterator[Finding]:
    import skymere

    n_threads, cores = skymere.get_num_threads(), n_cores()
    if n_threads <= cores:
        yield Finding(what="threads", state="ok", message=f"{n_threads} on {cores} cores")
        return
    mend = "lower SKYMERE_NUM_THREADS, or unset it"
    yield Finding(what="threads", state="note", message=f"{n_threads} on only {cores} cores", mend=mend)


def _folders() -> Iterator[Finding]:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for what, folder, variable in (
        ("temporary folder", Path(tempfile.gettempdir()), "TMPDIR"),
        ("cache folder", Path(home), "XDG_CACHE_HOME"),
    ):
        probe = folder / f".skymere-{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"probe")
            probe.unlink()
        except OSError as error:
            message = f"{folder} cannot be written: {error.strerror or error}"
            mend = f"free some space, or name another one in {variable}"
            yield Finding(what=what, state="broken", message=message, mend=mend)
        else:
            yield Finding(what=what, state="ok", message=str(folder))
