"""Components of a model: what is fitted, where it starts and what is allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from skymere.errors import InvalidInputError

__all__ = ["SHAPE", "Component", "Kind", "asked_rows", "family_of", "names_of", "shape_column", "sky_of"]

Bounds = tuple[float, float]
Kind = Literal["sersic", "exponential", "de_vaucouleurs", "gaussian", "moffat", "point", "sky", "tilted_sky"]

# Columns of the kernel's parameters; the fifth is the index of Sersic profiles, beta of Moffat ones.
SHAPE = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa")
_INDEX = {"exponential": 1.0, "de_vaucouleurs": 4.0, "gaussian": 0.5}
_SKY = {"sky": ("sky",), "tilted_sky": ("sky", "sky_slope_x", "sky_slope_y")}
# What can be drawn.
_LEAST = {"r_eff_pix": 0.0, "sersic_index": 0.1, "beta": 1.1, "ellipticity": 0.0}
_MOST = {"sersic_index": 10.0, "beta": 20.0, "ellipticity": 0.99}


def names_of(kind: str) -> tuple[str, ...]:
    """Return the parameters of a kind."""
    if kind in _SKY:
        return _SKY[kind]
    if kind == "point":
        return SHAPE[:3]
    if kind in _INDEX:
        return tuple(name for name in SHAPE if name != "sersic_index")
    return tuple(shape_column(kind) if name == "sersic_index" else name for name in SHAPE)


def shape_column(kind: str) -> str:
    """Return the name of the fifth parameter of a kind."""
    return "beta" if kind == "moffat" else "sersic_index"


def family_of(kind: str) -> int:
    """Return the kernel's number of the formula of a kind."""
    return 1 if kind == "moffat" else 0


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of the model of a source, or the sky.

    Parameters
    ----------
    kind : str
        ``sersic``, ``exponential`` (index 1), ``de_vaucouleurs`` (4), ``gaussian`` (0.5), ``moffat``, ``point``, or a
        ``sky`` that is flat or a ``tilted_sky``.
    start : mapping of float, optional
        Where parameters start. Profiles have ``x y flux r_eff_pix ellipticity pa``, and ``sersic_index`` or ``beta``
        where the kind does not say it; points only ``x y flux``; skies ``sky``, and ``sky_slope_x sky_slope_y`` where
        they are tilted. What is absent comes from the light.
    bounds : mapping of tuple of float, optional
        Lowest and highest value of parameters; those of the parameters of the fit otherwise.
    fixed : sequence of str, optional
        Parameters that stay as they start.
    centre_of : int or None
        Number, from 0, of an earlier component of the same source whose centre this one shares.

    Raises
    ------
    InvalidInputError
        When a kind or a parameter is unknown, a value is not allowed, or a fixed parameter has no start.

    Notes
    -----
    Moffat profiles are ``I(r) = I_0 (1 + (r / a)^2)^-beta`` [1]_ with the half-light radius
    ``a sqrt(2^(1 / (beta - 1)) - 1)`` and the full width at half maximum ``2 a sqrt(2^(1 / beta) - 1)``.

    References
    ----------
    .. [1] Moffat 1969, A&A 3, 455, eq. 7.

    Examples
    --------
    >>> from skymere.profiles import Component
    >>> bulge = Component(kind="de_vaucouleurs", bounds={"r_eff_pix": (0.3, 5.0)})
    >>> disc = Component(kind="exponential", centre_of=0)
    """

    kind: Kind = "sersic"
    start: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    fixed: Sequence[str] = ()
    centre_of: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            msg = f"kind: {self.kind!r} is not allowed, it must be one of {', '.join(get_args(Kind))}"
            raise InvalidInputError(msg)
        object.__setattr__(self, "fixed", tuple(self.fixed))
        allowed = self.names
        for argument in ("start", "bounds", "fixed"):
            for name in getattr(self, argument):
                if name not in allowed:
                    msg = f"{argument}: {name!r} is not allowed, a {self.kind} that is fitted has {', '.join(allowed)}"
                    raise InvalidInputError(msg)
        self._check_values()
        for name in self.fixed:
            if name not in self.start:
                msg = f"fixed: {name!r} is not allowed without a start, which says where it stays"
                raise InvalidInputError(msg)

    def _check_values(self) -> None:
        for name, value in self.start.items():
            if not _LEAST.get(name, -np.inf) <= float(value) <= _MOST.get(name, np.inf):
                msg = f"start: {name} = {value} is not allowed, it must lie within {_range(name)}"
                raise InvalidInputError(msg)
        for name, (low, high) in self.bounds.items():
            is_positive = name != "r_eff_pix" or low > 0
            if not (is_positive and _LEAST.get(name, -np.inf) <= low <= high <= _MOST.get(name, np.inf)):
                msg = f"bounds: {name} = {(low, high)} is not allowed, bounds must rise within {_range(name)}"
                raise InvalidInputError(msg)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of its own."""
        names = names_of(self.kind)
        return names if self.centre_of is None else names[2:]

    @property
    def is_sky(self) -> bool:
        """Whether it is no source."""
        return self.kind in _SKY


def _range(name: str) -> str:
    return f"{_LEAST.get(name, -np.inf)} to {_MOST.get(name, np.inf)}"


def asked_rows(components: Sequence[Component], defaults: Mapping[str, Bounds], unit: float) -> list[tuple[Any, ...]]:
    """Return the sources among components as the kernel takes them.

    Parameters
    ----------
    components : sequence of Component
        Of one source; skies are left out.
    defaults : mapping of tuple of float
        Bounds that a component does not have itself.
    unit : float
        Unit of the fluxes of the kernel.

    Raises
    ------
    InvalidInputError
        When there is no source, or one shares the centre of none before it.
    """
    sources = [one for one in components if not one.is_sky]
    if not sources:
        msg = "components: none is allowed that has only skies, it needs a source"
        raise InvalidInputError(msg)
    numbers = [i for i, one in enumerate(components) if not one.is_sky]
    rows = []
    for number, one in zip(numbers, sources, strict=True):
        if one.centre_of is not None and one.centre_of not in numbers[: numbers.index(number)]:
            msg = f"centre_of: {one.centre_of} of component {number} is not allowed, it must be a source before it"
            raise InvalidInputError(msg)
        owner = None if one.centre_of is None else numbers.index(one.centre_of)
        rows.append(
            (float(family_of(one.kind)), one.kind == "point", owner, _given(one, unit), _bounds(one, defaults, unit))
        )
    return rows


def _given(one: Component, unit: float) -> list[float]:
    start = dict(one.start)
    if one.kind in _INDEX:
        start["sersic_index"] = _INDEX[one.kind]
    names = [shape_column(one.kind) if name == "sersic_index" else name for name in SHAPE]
    x, y, flux, size, shape, ellipticity, pa = (float(start.get(name, np.nan)) for name in names)
    return [x, y, flux / unit, size, shape, 1.0 - ellipticity, float(np.deg2rad(pa + 90.0))]


def _bounds(one: Component, defaults: Mapping[str, Bounds], unit: float) -> list[Bounds]:
    def of(name: str) -> Bounds:
        if name in one.fixed:
            return one.start[name], one.start[name]
        low, high = one.bounds.get(name, defaults.get(name, (np.nan, np.nan)))
        return float(low), float(high)

    flux, ellipticity, pa = of("flux"), of("ellipticity"), of("pa")
    shape = (_INDEX[one.kind],) * 2 if one.kind in _INDEX else of(shape_column(one.kind))
    return [
        of("x"),
        of("y"),
        (flux[0] / unit, flux[1] / unit),
        of("r_eff_pix"),
        shape,
        (1.0 - ellipticity[1], 1.0 - ellipticity[0]),
        (float(np.deg2rad(pa[0] + 90.0)), float(np.deg2rad(pa[1] + 90.0))),
    ]


def sky_of(components: Sequence[Component], sky: Bounds, unit: float) -> tuple[float, list[Bounds]] | None:
    """Return start and bounds of the sky as the kernel takes them; None when no component is one.

    Parameters
    ----------
    components : sequence of Component
        One of which may be a sky.
    sky : tuple of float
        Bounds of the level that a component does not have itself.
    unit : float
        Unit of the levels of the kernel.

    Raises
    ------
    InvalidInputError
        When several are.
    """
    skies = [one for one in components if one.is_sky]
    if len(skies) > 1:
        msg = f"components: {len(skies)} skies are not allowed, there must be one at most"
        raise InvalidInputError(msg)
    if not skies:
        return None
    (one,) = skies

    def of(name: str) -> Bounds:
        if name in one.fixed:
            low = high = one.start[name]
        elif name in one.names:
            low, high = one.bounds.get(name, sky if name == "sky" else (-np.inf, np.inf))
        else:
            low = high = 0.0
        return float(low) / unit, float(high) / unit

    return float(one.start.get("sky", np.nan)) / unit, [of(name) for name in _SKY["tilted_sky"]]
