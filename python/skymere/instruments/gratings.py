"""Wavelength grids of spectrographs."""

from types import MappingProxyType

__all__ = ["NIRSPEC_GRIDS"]

#: First wavelength, end and step [um] of the standard grid of every disperser; the prism's step varies with its
#: dispersion where a table of it is given.
NIRSPEC_GRIDS = MappingProxyType(
    {
        "prism": (0.5, 5.6, 0.01),
        "g140m": (0.6, 3.35, 0.00063),
        "g235m": (1.5, 5.3, 0.00106),
        "g395m": (2.6, 5.6, 0.00179),
        "g140h": (0.6, 1.9, 0.000238),
        "g235h": (1.6, 3.2, 0.000396),
        "g395h": (2.8, 5.3, 0.000666),
        "grismr": (2.5, 5.1, 0.002),
        "grismc": (2.5, 5.1, 0.002),
    }
)
