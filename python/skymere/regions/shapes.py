"""Shapes that people draw: circles, boxes, ellipses, polygons, annuli and points, on the sky or on an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from skymere.errors import InvalidInputError

__all__ = [
    "SHAPES",
    "Annulus",
    "Box",
    "Circle",
    "Ellipse",
    "Frame",
    "Point",
    "Polygon",
    "Region",
    "region_from_numbers",
]

Frame = Literal["icrs", "image"]
Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Region:
    """What all shapes have; see `Circle`, `Box`, `Ellipse`, `Polygon`, `Annulus` and `Point`.

    Parameters
    ----------
    frame : {"icrs", "image"}
        ``icrs``: positions are ``ra, dec`` [deg] and sizes [arcsec]. ``image``: positions are ``x, y``, 0-based, and
        sizes [pix].
    is_include : bool
        Whether the inside is meant; else what is left when it is taken away.
    text : str
        Label; ``007`` stays what it is.

    Raises
    ------
    InvalidInputError
        When a number is not finite, a size is not positive, a declination is not one, or the frame is another.

    Notes
    -----
    The angle of boxes and ellipses is DS9's: that of the first axis, in an image from x towards y, on the sky from west
    towards north. Its position angle, from north through east, is therefore ``angle_deg - 90``.
    """

    frame: Frame = "icrs"
    is_include: bool = True
    text: str = ""
    shape: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.frame not in get_args(Frame):
            msg = f"frame: {self.frame!r} is not allowed, it must be one of {list(get_args(Frame))}"
            raise InvalidInputError(msg)
        if not isinstance(self.text, str):
            msg = f"text: {self.text!r} is not allowed, it must be text"
            raise InvalidInputError(msg)

    @property
    def numbers(self) -> tuple[float, ...]:
        """Positions, sizes and angle in the order of DS9; with `shape` and `frame` all that there is to know."""
        return ()

    @property
    def middle(self) -> Pair:
        """A position for the whole shape: its centre."""
        return (self.numbers[0], self.numbers[1])

    def _place(self, name: str, position: Sequence[float]) -> Pair:
        values = tuple(float(v) for v in position)
        fits = len(values) == 2 and all(math.isfinite(v) for v in values)
        if not fits or (self.frame == "icrs" and abs(values[1]) > 90.0):
            what = "ra, dec [deg]" if self.frame == "icrs" else "x, y [pix]"
            msg = f"{name}: {tuple(position)} is not allowed, it must be {what}"
            raise InvalidInputError(msg)
        return (values[0] % 360.0, values[1]) if self.frame == "icrs" else (values[0], values[1])

    def _sizes(self, name: str, sizes: Sequence[float]) -> Pair:
        values = tuple(float(v) for v in sizes)
        if len(values) != 2 or not all(0 < v < math.inf for v in values):
            msg = f"{name}: {tuple(sizes)} is not allowed, it must be two positive numbers"
            raise InvalidInputError(msg)
        return (values[0], values[1])

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Point(Region):
    """One position; the pixel that holds it belongs to it.

    Parameters
    ----------
    centre : tuple of float
        Position.
    frame, is_include, text
        See `Region`.
    """

    centre: Pair
    shape: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(centre=self._place("centre", self.centre))

    @property
    def numbers(self) -> tuple[float, ...]:
        """``x, y``."""
        return self.centre


@dataclass(frozen=True, kw_only=True)
class Circle(Region):
    """A circle.

    Parameters
    ----------
    centre : tuple of float
        Position.
    radius : float
        Radius [arcsec or pix].
    frame, is_include, text
        See `Region`.

    Examples
    --------
    >>> from skymere.regions import Circle
    >>> Circle(centre=(150.1, 2.2), radius=0.5, text="007").numbers
    (150.1, 2.2, 0.5)
    """

    centre: Pair
    radius: float
    shape: ClassVar[str] = "circle"

    def __post_init__(self) -> None:
        super().__post_init__()
        radius, _ = self._sizes("radius", (self.radius, 1.0))
        self._set(centre=self._place("centre", self.centre), radius=radius)

    @property
    def numbers(self) -> tuple[float, ...]:
        """``x, y, radius``."""
        return (*self.centre, self.radius)


@dataclass(frozen=True, kw_only=True)
class Box(Region):
    """A rectangle.

    Parameters
    ----------
    centre : tuple of float
        Position.
    size : tuple of float
        Full width and height [arcsec or pix].
    angle_deg : float
        See `Region`.
    frame, is_include, text
        See `Region`.
    """

    centre: Pair
    size: Pair
    angle_deg: float = 0.0
    shape: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            centre=self._place("centre", self.centre),
            size=self._sizes("size", self.size),
            angle_deg=_angle(self.angle_deg),
        )

    @property
    def numbers(self) -> tuple[float, ...]:
        """``x, y, width, height, angle``."""
        return (*self.centre, *self.size, self.angle_deg)


@dataclass(frozen=True, kw_only=True)
class Ellipse(Region):
    """An ellipse.

    Parameters
    ----------
    centre : tuple of float
        Position.
    semi_axes : tuple of float
        First and second semi-axis [arcsec or pix].
    angle_deg : float
        See `Region`.
    frame, is_include, text
        See `Region`.
    """

    centre: Pair
    semi_axes: Pair
    angle_deg: float = 0.0
    shape: ClassVar[str] = "ellipse"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            centre=self._place("centre", self.centre),
            semi_axes=self._sizes("semi_axes", self.semi_axes),
            angle_deg=_angle(self.angle_deg),
        )

    @property
    def numbers(self) -> tuple[float, ...]:
        """``x, y, first semi-axis, second semi-axis, angle``."""
        return (*self.centre, *self.semi_axes, self.angle_deg)


@dataclass(frozen=True, kw_only=True)
class Annulus(Region):
    """What is between two circles.

    Parameters
    ----------
    centre : tuple of float
        Position.
    radii : tuple of float
        Inner and outer radius [arcsec or pix].
    frame, is_include, text
        See `Region`.
    """

    centre: Pair
    radii: Pair
    shape: ClassVar[str] = "annulus"

    def __post_init__(self) -> None:
        super().__post_init__()
        inner, outer = self._sizes("radii", self.radii)
        if inner >= outer:
            msg = f"radii: {self.radii} is not allowed, the inner one must be the smaller"
            raise InvalidInputError(msg)
        self._set(centre=self._place("centre", self.centre), radii=(inner, outer))

    @property
    def numbers(self) -> tuple[float, ...]:
        """``x, y, inner radius, outer radius``."""
        return (*self.centre, *self.radii)


@dataclass(frozen=True, kw_only=True)
class Polygon(Region):
    """A polygon.

    Parameters
    ----------
    vertices : tuple of (float, float)
        At least three corners.
    frame, is_include, text
        See `Region`.
    """

    vertices: tuple[Pair, ...]
    shape: ClassVar[str] = "polygon"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.vertices) < 3:
            msg = f"vertices: {len(self.vertices)} corners are not allowed, a polygon has at least 3"
            raise InvalidInputError(msg)
        self._set(vertices=tuple(self._place("vertices", v) for v in self.vertices))

    @property
    def numbers(self) -> tuple[float, ...]:
        """``x, y`` of all corners."""
        return tuple(v for vertex in self.vertices for v in vertex)

    @property
    def middle(self) -> Pair:
        """The mean of the corners."""
        if self.frame == "image":
            xs, ys = zip(*self.vertices, strict=True)
            return (math.fsum(xs) / len(xs), math.fsum(ys) / len(ys))
        directions = [_direction(*v) for v in self.vertices]
        x, y, z = (math.fsum(axis) for axis in zip(*directions, strict=True))
        return (math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y))))


SHAPES: dict[str, type[Region]] = {kind.shape: kind for kind in (Circle, Box, Ellipse, Polygon, Annulus, Point)}
_N_NUMBERS = {"circle": 3, "box": 5, "ellipse": 5, "annulus": 4, "point": 2}


def region_from_numbers(
    shape: str, numbers: Sequence[float], *, frame: Frame = "icrs", is_include: bool = True, text: str = ""
) -> Region:
    """Return the region that has these `Region.numbers`.

    Parameters
    ----------
    shape : str
        ``circle``, ``box``, ``ellipse``, ``polygon``, ``annulus`` or ``point``.
    numbers : sequence of float
        Positions, sizes and angle in the order of DS9.
    frame, is_include, text
        See `Region`.

    Raises
    ------
    InvalidInputError
        When there is no such shape, it has another number of numbers, or one of them is not allowed.

    Examples
    --------
    >>> from skymere.regions import region_from_numbers
    >>> region_from_numbers("circle", [10.0, 20.0, 3.0], frame="image").radius
    3.0
    """
    n = list(numbers)
    rest: dict[str, object] = {"frame": frame, "is_include": is_include, "text": text}
    if shape == "polygon":
        if len(n) % 2:
            msg = f"numbers: {len(n)} are not allowed, a polygon has x, y of each corner"
            raise InvalidInputError(msg)
        return Polygon(vertices=tuple(zip(n[::2], n[1::2], strict=True)), **rest)  # type: ignore[arg-type]
    if shape not in _N_NUMBERS:
        msg = f"shape: {shape!r} is not allowed, it must be one of {list(SHAPES)}"
        raise InvalidInputError(msg)
    if len(n) != _N_NUMBERS[shape]:
        msg = f"numbers: {len(n)} are not allowed, a {shape} has {_N_NUMBERS[shape]}"
        raise InvalidInputError(msg)
    fields: dict[str, dict[str, object]] = {
        "point": {},
        "circle": {"radius": n[-1]},
        "box": {"size": tuple(n[2:4]), "angle_deg": n[-1]},
        "ellipse": {"semi_axes": tuple(n[2:4]), "angle_deg": n[-1]},
        "annulus": {"radii": tuple(n[2:4])},
    }
    return SHAPES[shape](**{"centre": (n[0], n[1]), **fields[shape], **rest})  # type: ignore[arg-type]


def _angle(value: float) -> float:
    if not math.isfinite(value):
        msg = f"angle_deg: {value} is not allowed, it must be a number"
        raise InvalidInputError(msg)
    return float(value)


def _direction(ra: float, dec: float) -> tuple[float, float, float]:
    a, d = math.radians(ra), math.radians(dec)
    return (math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d))
