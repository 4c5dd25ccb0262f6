"""Where parameters come from: what was given, a named preset for an instrument, or the default."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skymere._params import resolve_params
from skymere.errors import InvalidInputError
from skymere.mosaic.drizzle_exposures import MosaicParams
from skymere.mosaic.files import OverrideParams
from skymere.mosaic.grids import GridParams

__all__ = ["PRESETS", "DrizzlePlan", "Resolved", "preset_values", "resolve"]


@dataclass(frozen=True, kw_only=True)
class DrizzlePlan:
    """Everything that decides about a mosaic.

    Parameters
    ----------
    grid : GridParams
        Pixels of the mosaic.
    separate : GridParams or None
        Pixels of the single drizzles; the detector's own when None.
    mosaic : MosaicParams
        The seven steps.
    override : OverrideParams
        Values that replace those of the headers.
    """

    grid: GridParams = dataclasses.field(default_factory=GridParams)
    separate: GridParams | None = None
    mosaic: MosaicParams = dataclasses.field(default_factory=MosaicParams)
    override: OverrideParams = dataclasses.field(default_factory=OverrideParams)


@dataclass(frozen=True, kw_only=True)
class _Camera:
    """What a preset knows: native, half-well and well dithered pixel [arcsec], derivative multipliers."""

    scales: tuple[float, float, float]
    cr_scale: tuple[float, float]


# Scales: the native pixel, and those that 4 and 6 dithers sample (Gonzaga et al. 2012, section 6.3).
PRESETS: Mapping[str, _Camera] = {
    "acs-hrc": _Camera(scales=(0.025, 0.025, 0.02), cr_scale=(1.2, 0.7)),
    "acs-wfc": _Camera(scales=(0.05, 0.04, 0.03), cr_scale=(1.5, 0.7)),
    "generic": _Camera(scales=(0.0, 0.0, 0.0), cr_scale=(1.2, 0.7)),
    "nircam-long": _Camera(scales=(0.063, 0.05, 0.04), cr_scale=(1.2, 0.7)),
    "nircam-short": _Camera(scales=(0.031, 0.025, 0.02), cr_scale=(1.2, 0.7)),
    "wfc3-ir": _Camera(scales=(0.128, 0.08, 0.06), cr_scale=(1.2, 0.7)),
    "wfc3-uvis": _Camera(scales=(0.04, 0.04, 0.03), cr_scale=(1.5, 0.7)),
}


def preset_values(name: str, n_exposures: int) -> dict[str, Any]:
    """Return what a preset says for a number of exposures, by dotted key.

    Parameters
    ----------
    name : str
        A name of `PRESETS`.
    n_exposures : int
        Number of exposures of the band.

    Raises
    ------
    InvalidInputError
        When there is no such preset.

    Notes
    -----
    One exposure has no cosmic rays to find. From 10 exposures on minmed is biased low and the median is taken. The
    drop shrinks with the number of dithers: 1, 0.8 from 4 and 0.6 from 6 exposures on, and the pixel with it.
    """
    if name not in PRESETS:
        msg = f"preset: {name!r} is not known, it must be one of {', '.join(PRESETS)}"
        raise InvalidInputError(msg)
    camera = PRESETS[name]
    step = 0 if n_exposures < 4 else 1 if n_exposures < 6 else 2
    values: dict[str, Any] = {"mosaic.drizzle.pixfrac": (1.0, 0.8, 0.6)[step]}
    if camera.scales[step]:
        values["grid.scale_arcsec"] = camera.scales[step]
    if n_exposures == 1:
        return values | {"mosaic.flag.cosmic_rays": False}
    return values | {
        "mosaic.flag.cosmic_rays.combine": "minmed" if n_exposures < 10 else "median",
        "mosaic.flag.cosmic_rays.scale": list(camera.cr_scale),
    }


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Parameters, and where each value comes from.

    Parameters
    ----------
    plan : DrizzlePlan
        The parameters.
    rows : tuple of (str, object, str)
        Dotted key, value, and ``given``, ``preset NAME`` or ``default``.
    """

    plan: DrizzlePlan
    rows: tuple[tuple[str, Any, str], ...]


def resolve(given: Mapping[str, Any], *, preset: str | None = None, n_exposures: int = 1) -> Resolved:
    """Return the parameters of a mosaic; a preset never replaces what was given.

    Parameters
    ----------
    given : mapping
        Values as TOML has them: nested tables of `DrizzlePlan`, ``false`` where None is meant.
    preset : str, optional
        A name of `PRESETS`.
    n_exposures : int, optional
        Number of exposures, on which presets depend.

    Raises
    ------
    InvalidInputError
        When a key is unknown or a value is not allowed, or there is no such preset.

    Examples
    --------
    >>> from skymere.mosaic import resolve
    >>> resolved = resolve({"mosaic": {"drizzle": {"pixfrac": 0.7}}}, preset="wfc3-ir", n_exposures=6)
    >>> [row for row in resolved.rows if row[0] in ("mosaic.drizzle.pixfrac", "grid.scale_arcsec")]
    [('grid.scale_arcsec', 0.06, 'preset wfc3-ir'), ('mosaic.drizzle.pixfrac', 0.7, 'given')]
    """
    values = {} if preset is None else preset_values(preset, n_exposures)
    grid = given.get("grid", {})
    if isinstance(grid, Mapping) and grid.get("reference_image"):
        values = {key: value for key, value in values.items() if not key.startswith("grid.")}
    plan, rows = resolve_params(DrizzlePlan, given, values, preset_name=preset or "")
    return Resolved(plan=plan, rows=rows)
