"""Wavelengths at which spectra of grisms are tabulated."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["GRISM_LIMITS"]

#: First and last wavelength [um] and step [um] of spectra, by the name under which beams are grouped; as grizli.
GRISM_LIMITS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        name: (low, high, 1e-4 * step)
        for name, low, high, step in (
            ("G800L", 0.545, 1.02, 40.0),
            ("G280", 0.2, 0.4, 14.0),
            ("G102", 0.77, 1.18, 23.0),
            ("G141", 1.06, 1.73, 46.0),
            ("GRISM", 0.98, 1.98, 11.0),
            ("G150", 0.98, 1.98, 11.0),
            ("F090W", 0.76, 1.04, 45.0),
            ("F115W", 0.97, 1.32, 45.0),
            ("F140M", 1.2, 1.6, 45.0),
            ("F158M", 1.28, 1.72, 45.0),
            ("F150W", 1.28, 1.72, 45.0),
            ("F200W", 1.68, 2.3, 45.0),
            ("CLEARP", 0.76, 2.3, 45.0),
            ("F277W", 2.5, 3.2, 20.0),
            ("F356W", 3.05, 4.1, 20.0),
            ("F444W", 3.82, 5.08, 20.0),
            ("F250M", 2.4, 2.65, 20.0),
            ("F300M", 2.77, 3.23, 20.0),
            ("F335M", 3.1, 3.6, 20.0),
            ("F360M", 3.4, 3.85, 20.0),
            ("F410M", 3.8, 4.38, 20.0),
            ("F430M", 4.1, 4.45, 20.0),
            ("F460M", 4.5, 4.8, 20.0),
            ("F480M", 4.6, 5.05, 20.0),
            ("F322W2", 2.42, 4.09, 20.0),
            ("BLUE", 0.8, 1.2, 10.0),
            ("RED", 1.1, 1.9, 14.0),
        )
    }
)
