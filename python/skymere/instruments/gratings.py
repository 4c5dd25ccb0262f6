"""Wavelength grids of spectrographs, from the versioned table ``schemas/wavelength-grids-x.y.z.yaml``."""

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

import yaml

__all__ = ["NIRSPEC_GRIDS"]

_GRIDS_VERSION = "1.0.0"


def _read(instrument: str) -> Mapping[str, tuple[float, float, float]]:
    path = files("skymere") / "_schemas" / f"wavelength-grids-{_GRIDS_VERSION}.yaml"
    grids = yaml.safe_load(path.read_text(encoding="utf-8"))[instrument]
    return MappingProxyType({name: (float(low), float(high), float(step)) for name, (low, high, step) in grids.items()})


#: First wavelength, end and step [um] of the standard grid of every disperser; the prism's step varies with its
#: dispersion where a table of it is given.
NIRSPEC_GRIDS = _read("nirspec")
