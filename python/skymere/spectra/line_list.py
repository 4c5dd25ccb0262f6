"""Emission lines, and which of them a spectrum is fitted with."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from skymere.errors import InvalidInputError
from skymere.spectra.templates import LineComplex, SplineContinuum, Template

__all__ = [
    "COMPLEXES",
    "DEFAULT_LINES",
    "LINES",
    "find_line",
    "grating_templates",
    "msaexp_prism_templates",
    "prism_templates",
]

# Vacuum wavelengths at rest [Angstrom] and relative fluxes, as in the line list of grizli 1.14.3.
_TABLE = {
    "Lya": ((1215.4,), (1.0,)),
    "NV-1240": ((1240.81,), (1.0,)),
    "NIV-1487": ((1487.0,), (1.0,)),
    "CIV-1549": ((1549.48,), (1.0,)),
    "HeII-1640": ((1640.4,), (1.0,)),
    "OIII-1663": ((1665.85,), (1.0,)),
    "NIII-1750": ((1750.0,), (1.0,)),
    "CIII-1908": ((1908.734,), (1.0,)),
    "CIII-1906": ((1906.683,), (1.0,)),
    "MgII": ((2796.352, 2803.531), (1.0, 1.0)),
    "NeV-3346": ((3343.5,), (1.0,)),
    "NeVI-3426": ((3426.85,), (1.0,)),
    "OII": ((3727.092, 3729.875), (1.0, 1.0)),
    "H12": ((3751.255,), (1.0,)),
    "H11": ((3771.739,), (1.0,)),
    "H10": ((3799.014,), (1.0,)),
    "H9": ((3836.511,), (1.0,)),
    "NeIII-3867": ((3869.87,), (1.0,)),
    "HeI-3889": ((3889.75,), (1.0,)),
    "H8": ((3890.191,), (1.0,)),
    "NeIII-3968": ((3968.59,), (1.0,)),
    "H7": ((3971.236,), (1.0,)),
    "Hd": ((4102.936,), (1.0,)),
    "Hg": ((4341.731,), (1.0,)),
    "OIII-4363": ((4364.436,), (1.0,)),
    "HeII-4687": ((4687.5,), (1.0,)),
    "Hb": ((4862.738,), (1.0,)),
    "OIII-4959": ((4960.295,), (1.0,)),
    "OIII-5007": ((5008.24,), (1.0,)),
    "OIII": ((5008.24, 4960.295), (2.98, 1.0)),
    "HeI-5877": ((5877.249,), (1.0,)),
    "OI-6302": ((6302.046, 6365.535), (1.0, 0.33)),
    "SIII-6314": ((6313.81,), (1.0,)),
    "Ha+NII": ((6564.61, 6549.86, 6585.27), (12.0, 1.0, 3.0)),
    "Ha": ((6564.697,), (1.0,)),
    "NII": ((6585.27, 6549.86), (3.0, 1.0)),
    "HeI-6680": ((6679.995,), (1.0,)),
    "SII-6717": ((6718.29,), (1.0,)),
    "SII": ((6718.29, 6732.67), (1.0, 1.0)),
    "SII-6731": ((6732.67,), (1.0,)),
    "HeI-7065": ((7067.1,), (1.0,)),
    "ArIII-7138": ((7137.77,), (1.0,)),
    "OII-7325": ((7321.9, 7332.21), (1.2, 1.0)),
    "OII-7323": ((7321.9,), (1.0,)),
    "OII-7332": ((7332.21,), (1.0,)),
    "ArIII-7753": ((7753.19,), (1.0,)),
    "HeI-8446": ((8446.7,), (1.0,)),
    "Pa10": ((9017.44,), (1.0,)),
    "SIII-9068": ((9071.1,), (1.0,)),
    "Pa9": ((9231.6,), (1.0,)),
    "SIII": ((9533.2, 9071.1), (2.44, 1.0)),
    "SIII-9531": ((9533.2,), (1.0,)),
    "Pa8": ((9548.65,), (1.0,)),
    "CI-9850": ((9852.96,), (1.0,)),
    "PaD": ((10052.2,), (1.0,)),
    "HeI-1083": ((10832.057, 10833.306), (1.0, 1.0)),
    "PaG": ((10941.2,), (1.0,)),
    "FeII-11128": ((11128.6,), (1.0,)),
    "PII-11886": ((11886.1,), (1.0,)),
    "FeII-12570": ((12570.2,), (1.0,)),
    "PaB": ((12821.7,), (1.0,)),
    "FeII-16440": ((16440.0,), (1.0,)),
    "FeII-16877": ((16877.8,), (1.0,)),
    "BrF": ((17366.9,), (1.0,)),
    "FeII-17418": ((17418.8,), (1.0,)),
    "BrE": ((18179.2,), (1.0,)),
    "FeII-18362": ((18362.4,), (1.0,)),
    "PaA": ((18756.3,), (1.0,)),
    "BrD": ((19451.0,), (1.0,)),
    "BrG": ((21661.3,), (1.0,)),
    "BrB": ((26258.8,), (1.0,)),
    "PfE": ((30392.1,), (1.0,)),
    "PfD": ((32970.0,), (1.0,)),
    "PfG": ((37405.7,), (1.0,)),
    "BrA": ((40522.8,), (1.0,)),
    "PfB": ((46537.9,), (1.0,)),
}

# Lines of a galaxy whose ratios are held, for a search of redshifts: those of grizli 1.14.3.
_COMPLEXES = {
    "Ha+NII+SII+SIII+He+PaB": (
        (6564.61, 6549.86, 6585.27, 6718.29, 6732.67, 9068.6, 9530.6, 10830.0, 12821.0),
        (1.0, 0.0625, 0.1875, 0.1, 0.1, 0.05, 0.122, 0.04, 0.1),
    ),
    "OIII+Hb+Hg+Hd": (
        (
            5008.24,
            4960.295,
            4862.68,
            4341.68,
            4101.73,
            3971.198,
            3890.166,
            3836.485,
            3798.987,
            18756.3,
            12821.7,
            10941.2,
            10052.2,
        ),
        (4.492462, 1.507538, 1.0, 0.468, 0.259, 0.159, 0.105, 0.0731, 0.053, 0.348, 0.162864, 0.090132, 0.055332),
    ),
    "OII+Ne": (
        (3729.875, 3869.0),
        (1.0, 0.2),
    ),
    "Gal-UV-lines": (
        (1215.4, 1549.48, 1906.683, 1908.734, 1665.85, 1640.4, 1398.0, 1240.81, 1750.0, 2796.352),
        (1.0, 0.15, 0.1, 0.1, 0.008, 0.09, 0.1, 0.05, 0.05, 0.1),
    ),
}


def _in_microns(table: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]) -> Mapping[str, LineComplex]:
    return MappingProxyType(
        {
            name: LineComplex(name=name, wave=tuple(1e-4 * wave for wave in waves), ratio=ratio)
            for name, (waves, ratio) in table.items()
        }
    )


LINES: Mapping[str, LineComplex] = _in_microns(_TABLE)
"""Every line and complex that is known by name."""

COMPLEXES: Mapping[str, LineComplex] = _in_microns(_COMPLEXES)
"""Groups of lines of different elements with the ratios of a galaxy, as grizli's."""

# fmt: off
_PRISM = (
    "Hb", "Hg", "Hd", "Ha+NII", "NeIII-3968", "OII", "HeI-3889", "SII", "OII-7325", "ArIII-7138", "ArIII-7753",
    "SIII", "OI-6302", "PaD", "PaG", "PaB", "PaA", "HeI-1083", "CI-9850", "BrA", "BrB", "BrG",
    "BrD", "BrE", "BrF", "PfB", "PfG", "PfD", "PfE", "Pa8", "Pa9", "Pa10", "HeI-5877", "OIII-1663", "CIII-1906",
    "NIII-1750", "Lya", "MgII", "NeV-3346", "NeVI-3426", "HeI-7065", "HeI-8446", "FeII-11128", "PII-11886",
    "FeII-12570", "FeII-16440", "FeII-16877", "FeII-17418", "FeII-18362",
)
# fmt: on
# The prism resolves these where it looks at redshifts above 4.
_PRISM_FAR = ("HeII-4687", "NeIII-3867", "OIII-4363")
# fmt: off
_GRATING = (
    "Hb", "Hg", "Hd", "H7", "H8", "H9", "H10", "H11", "H12", "Ha", "NII", "OIII", "OIII-4363", "OII",
    "HeII-4687", "NeIII-3867", "NeIII-3968", "SII-6717", "SII-6731", "OII-7323", "OII-7332", "ArIII-7138",
    "ArIII-7753", "SIII", "OI-6302", "PaD", "PaG", "PaB", "PaA", "HeI-1083", "CI-9850", "BrA",
    "BrB", "BrG", "BrD", "BrE", "BrF", "PfB", "PfG", "PfD", "PfE", "Pa8", "Pa9", "Pa10", "HeI-5877", "HeI-6680",
    "HeI-7065", "HeI-8446", "SIII-6314", "OIII-1663", "HeII-1640", "CIV-1549", "CIII-1906", "NIII-1750", "Lya",
    "MgII", "NeV-3346", "NeVI-3426", "FeII-11128", "PII-11886", "FeII-12570", "FeII-16440", "FeII-16877",
    "FeII-17418", "FeII-18362",
)
# fmt: on

DEFAULT_LINES = (
    "BrA",
    "BrB",
    "BrG",
    "PfG",
    "PfD",
    "PaA",
    "PaB",
    "PaG",
    "PaD",
    "HeI-1083",
    "SIII",
    "OII-7325",
    "ArIII-7138",
    "SII",
    "Ha",
    "OI-6302",
    "HeI-5877",
    "OIII",
    "Hb",
    "OIII-4363",
    "Hg",
    "Hd",
    "H7",
    "H8",
    "H9",
    "H10",
    "NeIII-3867",
    "OII",
    "NeVI-3426",
    "NeV-3346",
    "MgII",
    "CIV-1549",
    "CIII-1906",
    "CIII-1908",
    "OIII-1663",
    "HeII-1640",
    "NIII-1750",
    "NIV-1487",
    "NV-1240",
    "Lya",
)
"""Lines that slitless spectra are fitted with, as those of grizli."""


def find_line(name: str, *, z_range: tuple[float, float] = (-1.0, math.inf)) -> LineComplex:
    """Return a line or complex by its name.

    Parameters
    ----------
    name : str
        One of `LINES`.
    z_range : tuple of float, optional
        It counts at redshifts above the first and up to the second.

    Raises
    ------
    InvalidInputError
        When there is no such line.
    """
    if name not in LINES:
        msg = f"name: {name!r} is not known, it must be one of {', '.join(LINES)}"
        raise InvalidInputError(msg)
    line = LINES[name]
    return LineComplex(name=name, wave=line.wave, ratio=line.ratio, z_range=z_range)


def prism_templates(*, n_splines: int = 27) -> tuple[Template, ...]:
    """Return templates for spectra of low resolution, such as those of the NIRSpec prism.

    The doublets [OIII] 4959, 5007 and [SIII] 9071, 9533 have the ratios of their transition probabilities, and H alpha
    holds [NII] at a third of it. A free 9071 would let [OIII] and H alpha at redshift 4.2 pass for [SIII] and [PII] at
    1.9.

    Parameters
    ----------
    n_splines : int, optional
        Splines of the continuum, evenly spaced in pixels.
    """
    far = [find_line(name, z_range=(4.0, math.inf)) for name in _PRISM_FAR]
    return (SplineContinuum(n_functions=n_splines), *map(find_line, (*_PRISM, "OIII")), *far)


def msaexp_prism_templates(*, n_splines: int = 27, halpha: str = "Ha+NII") -> tuple[Template, ...]:
    """Return the templates with which msaexp 0.9.19 fits redshifts of prism spectra.

    They are those of `prism_templates`, but the lines of [SIII], and above redshift 4 those of [OIII], have fluxes of
    their own.

    Parameters
    ----------
    n_splines : int, optional
        Splines of the continuum, evenly spaced in pixels.
    halpha : str, optional
        Name of the complex of H alpha: ``Ha+NII``, or ``Ha`` without [NII].

    Notes
    -----
    Those of msaexp also have the absorption between galaxies and, below redshift 0.7, bands of PAH.
    """
    apart = {"Ha+NII": (halpha,), "SIII": ("SIII-9068", "SIII-9531")}
    names = [one for name in _PRISM for one in apart.get(name, (name,))]
    far = [find_line(name, z_range=(4.0, math.inf)) for name in (*_PRISM_FAR, "OIII-4959", "OIII-5007")]
    near = find_line("OIII", z_range=(-1.0, 4.0))
    return (SplineContinuum(n_functions=n_splines), *map(find_line, names), near, *far)


def grating_templates(*, n_splines: int = 23) -> tuple[Template, ...]:
    """Return templates for spectra in which H alpha, [NII] and the [SII] doublet are apart.

    [OIII], [NII] and [SIII] have the ratios of their transition probabilities.

    Parameters
    ----------
    n_splines : int, optional
        Splines of the continuum, evenly spaced in pixels.
    """
    return (SplineContinuum(n_functions=n_splines), *map(find_line, _GRATING))
