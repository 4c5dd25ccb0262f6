"""What is particular to the configuration files of grisms."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

__all__ = [
    "ORDER_LETTERS",
    "ConfigCorrections",
    "GrismTurn",
    "config_corrections",
    "config_names",
    "direct_filters",
    "frame_turn",
    "grism_turn",
]

#: Letters of orders in the convention of aXe.
ORDER_LETTERS = MappingProxyType({"+1": "A", "0": "B", "+2": "C", "+3": "D", "-1": "E", "+4": "F"})
_OLD_NIRISS = "GR150"
_SHIFTED_ALREADY = ("F115W", "F090W", ".2212")
_NIRCAM_VERSIONS = ("V9", "V8.5", "V8", "V4", "V3", "V2", "V1")
# Rows by which traces of the fourth version were off, from the field of FRESCO; terms as aXe orders them.
_FRESCO = MappingProxyType(
    {
        "V4/NIRCAM_F444W_modB_R.conf": (
            -0.5 + 0.3723992993620532,
            -0.00011461411413576305,
            -0.0011862122093603026,
            -8.575199405062535e-08,
            1.6558275336712723e-07,
            4.1403439215806165e-07,
        ),
        "V4/NIRCAM_F444W_modA_R.conf": (
            -2.5 + 0.34191256988768415,
            -0.0003378232293429956,
            -7.063720696711682e-05,
            -9.238111910134196e-09,
            -1.4345820074275903e-07,
            2.5217177632321527e-08,
        ),
    }
)
_OLD_NIRCAM = MappingProxyType({"NIRCAM_F444W_modA_R.conf": (-2.5,), "NIRCAM_F444W_modA_C.conf": (-0.1,)})

# As grizli 1.14.3 orders them; for JWST the filter before the grism, then these.
_IR = ("f127m", "f139m", "f153m", "f132n", "f130n", "f128n", "f126n", "f164n", "f167n")
_DIRECT_FILTERS = MappingProxyType(
    {
        "G141": ("f140w", "f160w", "f125w", "f105w", "f110w", "f098m", *_IR),
        "G102": ("f105w", "f098m", "f110w", "f125w", "f140w", "f160w", *_IR),
        "G800L": ("f814w", "f850lp", "f606w", "f435w", "f775w", "f555w"),
        "GR150C": ("f115w", "f150w", "f200w", "f090w"),
        "GR150R": ("f115w", "f150w", "f200w", "f090w"),
        "GRISMR": ("f277w", "f356w", "f410m", "f444w"),
        "GRISMC": ("f277w", "f356w", "f410m", "f444w"),
    }
)


@dataclass(frozen=True, kw_only=True)
class GrismTurn:
    """How frames of a grism are turned so that wavelengths rise with x.

    Parameters
    ----------
    quarters : int
        Quarters of a turn, clockwise.
    centre : tuple of float
        The fixed point ``x, y``.
    """

    quarters: int = 0
    centre: tuple[float, float] = (507.5, 507.5)


@dataclass(frozen=True, kw_only=True)
class ConfigCorrections:
    """What grizli 1.14.3 changes in a configuration, found on the sky.

    Parameters
    ----------
    x_shift : mapping of str to float
        Added to offsets along the dispersion before they are looked up, by order [pix].
    wavelength_pixels : float
        Added to wavelengths, in steps of the dispersion [pix].
    sensitivity : mapping of str to float
        Factors of sensitivities, by order.
    y_offset : tuple of float, optional
        Terms of the place that are added to traces [pix].
    """

    x_shift: MappingProxyType[str, float]
    wavelength_pixels: float
    sensitivity: MappingProxyType[str, float]
    y_offset: tuple[float, ...] | None


def config_corrections(path: str, sensitivities: dict[str, str]) -> ConfigCorrections:
    """Return what is changed in a configuration, from its name.

    Parameters
    ----------
    path : str
        Where it is; the last two parts count.
    sensitivities : dict of str to str
        Names of the sensitivity files, by order.
    """
    parts = PurePosixPath(path).parts
    name, tail = parts[-1], "/".join(parts[-2:])
    shift = {"A": -0.5} if "G14" in name else {}
    factors = {}
    if "G141" in name:
        factors["F"] = 0.35
        if sensitivities.get("B") == "WFC3.IR.G141.0th.sens.1.fits":
            factors["B"] = 2.0
    if _OLD_NIRISS in name and "F150W" in name:
        factors["B"] = 1.5
    is_early = _OLD_NIRISS in name and not any(word in name for word in _SHIFTED_ALREADY)
    if tail in _FRESCO:
        offset: tuple[float, ...] | None = _FRESCO[tail]
    elif any(tail.startswith(f"{version}/") for version in ("V8", "V8.5", "V9")):
        offset = None
    else:
        offset = _OLD_NIRCAM.get(name)
    return ConfigCorrections(
        x_shift=MappingProxyType(shift),
        wavelength_pixels=1.0 if is_early else 0.0,
        sensitivity=MappingProxyType(factors),
        y_offset=offset,
    )


def grism_turn(path: str) -> GrismTurn:
    """Return how frames are turned, from the name of a configuration in the form of GRISMCONF.

    Parameters
    ----------
    path : str
        Its path or name, as ``NIRCAM_F444W_modA_R.conf`` or ``NIRISS_F200W_GR150R.conf``.
    """
    stem = PurePosixPath(path).name.removesuffix(".conf")
    centre = (1024.5, 1024.5)
    if "NIRISS" in stem:
        return GrismTurn(quarters=3 if stem[-1] == "R" else 2, centre=centre)
    if "NIRCAM" in stem:
        module, grism = stem[-3], stem[-1]
        if grism == "C":
            return GrismTurn(quarters=1, centre=centre)
        return GrismTurn(quarters=0 if module == "A" else 2, centre=centre)
    return GrismTurn()


def frame_turn(instrument: str, grism: str, *, module: str = "") -> int:
    """Return by how many quarters frames are turned so that wavelengths rise with x; counter-clockwise, -1 to 2.

    Parameters
    ----------
    instrument : str
        As in the header.
    grism : str
        As ``G141``, ``GR150C`` or ``GRISMR``.
    module : str, optional
        Module of NIRCam.

    Examples
    --------
    >>> from skymere.instruments import frame_turn
    >>> frame_turn("WFC3", "G141"), frame_turn("NIRISS", "GR150R"), frame_turn("NIRCAM", "GRISMR", module="B")
    (0, -1, 2)
    """
    name = instrument.upper()
    if name == "NIRISS":
        return 2 if grism.upper() == "GR150C" else -1
    if name == "NIRCAM":
        if grism.upper().endswith("C"):
            return 1
        return 2 if module.upper() == "B" else 0
    return 0


def direct_filters(grism: str, blocking: str = "") -> tuple[str, ...]:
    """Return filters of direct images that go with a grism, the best first, lower case.

    Parameters
    ----------
    grism : str
        As ``G141`` or ``GR150C``.
    blocking : str, optional
        The filter before the grism, which comes first.
    """
    first = (blocking.lower(),) if blocking else ()
    return first + _DIRECT_FILTERS.get(grism.upper(), ())


def config_names(instrument: str, grism: str, blocking: str, *, module: str = "A", chip: int = 1) -> tuple[str, ...]:
    """Return the names that a configuration may have, the best first.

    Parameters
    ----------
    instrument : str
        ``WFC3``, ``ACS``, ``NIRISS`` or ``NIRCAM``.
    grism : str
        As ``G141``, ``G800L``, ``GR150C`` or ``GRISMR``.
    blocking : str
        The filter: of the direct image (WFC3), or that before the grism.
    module : str, optional
        Module of NIRCam.
    chip : int, optional
        Chip of ACS.
    """
    if instrument == "WFC3":
        return (f"{grism}.{blocking}.V4.32.conf", f"{grism}.F140W.V4.32.conf")
    if instrument == "ACS":
        return (f"ACS.WFC.CHIP{chip}.Stars.conf", f"ACS.WFC.CHIP{chip}.Cycle13.5.conf")
    if instrument == "NIRISS":
        begin = f"{grism}.{blocking}"
        return (f"{begin}.221215.conf", f"{begin}.220725.conf", f"{begin}.conf", f"NIRISS.{blocking}.conf")
    if instrument == "NIRCAM":
        name = f"NIRCAM_{blocking}_mod{module}_{grism[-1]}.conf"
        return tuple(f"GRISM_NIRCAM/{version}/{name}" for version in _NIRCAM_VERSIONS)
    return ()
