"""Region files of DS9 as regions. The package ``regions`` reads the shapes; what it would skip is an error here."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from typing import Any, NoReturn

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.regions.shapes import SHAPES, Region, region_from_numbers

__all__ = ["parse_regions", "read_regions"]

_SKY = ("icrs", "fk5", "j2000", "fk4", "b1950", "galactic", "ecliptic")
_FRAMES = (*_SKY, "image", "physical")
_WORD = re.compile(r"([+-]?)\s*([a-z]\w*)\s*", re.IGNORECASE)
_TEXT = re.compile(r"""(?<![\w{])text\s*=\s*(?:\{([^}]*)\}|"([^"]*)"|'([^']*)'|(\S+))""")


@dataclass(frozen=True)
class _Line:
    """Where a statement stands, for errors."""

    name: str
    number: int

    def refuse(self, text: str, error: Exception | None = None) -> NoReturn:
        msg = f"{self.name}: line {self.number}: {text}"
        raise FormatError(msg) from error


def read_regions(path: str | Path, *, header: Mapping[str, Any] | None = None) -> list[Region]:
    """Read a region file of DS9.

    Parameters
    ----------
    path : path-like
        The file.
    header : mapping, optional
        Header of the image that it was drawn on: its LTV and LTM cards say what ``physical`` means; without such cards
        it is the same as ``image``.

    Returns
    -------
    list of Region
        In the order of the file. Positions on the sky become ICRS; those of images become 0-based.

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        When a line has an unknown shape or frame, a number that is missing or not allowed, or no frame before it; it
        names file and line.

    Notes
    -----
    Labels are kept as they stand, colours and other looks are not. Lines that begin with ``#`` are comments.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        msg = f"{source}: there is no such file"
        raise NotFoundError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{source}: cannot be read as text: {error}"
        raise FormatError(msg) from error
    return parse_regions(text, name=str(source), header=header)


def parse_regions(text: str, *, name: str = "text", header: Mapping[str, Any] | None = None) -> list[Region]:
    """Return the regions of a text in the format of DS9; see `read_regions`.

    Parameters
    ----------
    text : str
        The text.
    name : str, optional
        What errors call it.
    header : mapping, optional
        See `read_regions`.

    Raises
    ------
    FormatError
        See `read_regions`.

    Examples
    --------
    >>> from skymere.regions import parse_regions
    >>> parse_regions('icrs; circle(10.0, -20.0, 3") # text={007}')[0].text
    '007'
    """
    frame = ""
    found: list[Region] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = _Line(name, number)
        if raw.lstrip().startswith("#") or re.match(r"\s*global\b", raw, re.IGNORECASE):
            continue
        for statement in _statements(raw):
            body, _, comment = statement.partition("#")
            body = body.strip()
            if body.lower() in _FRAMES:
                frame = body.lower()
            elif body:
                found += _regions(body, comment, frame, line, header)
    return found


def _statements(line: str) -> Iterator[str]:
    """Yield what semicolons part; those inside ``{}`` or quotes of the properties after ``#`` part nothing."""
    start, closing, is_comment = 0, "", False
    for i, char in enumerate(line):
        if closing:
            closing = "" if char == closing else closing
        elif is_comment and char in "{\"'" and line[:i].rstrip().endswith("="):
            closing = "}" if char == "{" else char
        elif char == "#":
            is_comment = True
        elif char == ";":
            yield line[start:i]
            start, is_comment = i + 1, False
    yield line[start:]


def _regions(body: str, comment: str, frame: str, line: _Line, header: Mapping[str, Any] | None) -> list[Region]:
    word = _WORD.match(body)
    shape = word[2].lower() if word else ""
    if word is None or shape not in SHAPES:
        allowed = f"it must be one of {list(SHAPES)}, or a frame, one of {list(_FRAMES)}"
        line.refuse(f"{shape or body!r} is not a shape or frame that can be used, {allowed}")
    if not frame:
        line.refuse(f"no frame is named before {body!r}, it must be one of {list(_FRAMES)}")
    rest = body[word.end() :]
    inside = re.fullmatch(r"\(([^()]*)\)|([^()]*)", rest.strip())
    if inside is None:
        line.refuse(f"{body!r} is not one shape with its numbers in ()")
    tokens = re.split(r"[\s,]+", (inside[1] or inside[2] or "").strip())
    if frame == "physical":
        tokens, frame = _from_physical(shape, tokens, header, line), "image"
    exact = _zero_based(shape, tokens) if frame == "image" else None
    label = _TEXT.search(comment)
    text = "" if label is None else next(group for group in label.groups() if group is not None)
    try:
        return [
            _converted(region, exact, is_include=word[1] != "-", text=text)
            for region in _parsed(f"{frame}\n{shape}({','.join(tokens)})", line)
        ]
    except InvalidInputError as error:
        line.refuse(str(error), error)


def _parsed(text: str, line: _Line) -> Sequence[Any]:
    """Return what the package makes of one shape; its warnings are errors."""
    from regions import Regions

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = Regions.parse(text, format="ds9")
        except Exception as error:
            # The package raises what astropy, numpy and float() raise.
            line.refuse(f"{text.splitlines()[1]}: {error}", error)
    if caught or not found:
        reason = "; ".join(str(warning.message) for warning in caught) or "no shape"
        line.refuse(f"{text.splitlines()[1]}: {reason}")
    return list(found)


def _converted(region: Any, exact: list[float] | None, *, is_include: bool, text: str) -> Region:
    """Return a region of the package as one of ours; ``exact`` are its positions in 0-based pixels."""
    kind = type(region).__name__.removesuffix("SkyRegion").removesuffix("PixelRegion")
    place = region.vertices if kind == "Polygon" else region.center
    if exact is None:
        sky = place.icrs
        lon, lat = sky.ra.deg, sky.dec.deg
        positions = [float(v) for pair in zip(lon, lat, strict=True) for v in pair] if lon.ndim else [lon, lat]
    else:
        positions = exact
    names = {
        "Circle": ("circle", ("radius",)),
        "Rectangle": ("box", ("width", "height")),
        "Ellipse": ("ellipse", ("width", "height")),
        "CircleAnnulus": ("annulus", ("inner_radius", "outer_radius")),
        "Polygon": ("polygon", ()),
        "Point": ("point", ()),
    }
    if kind not in names:
        msg = f"shape: {kind} has no form here, it must be one of {list(SHAPES)}"
        raise InvalidInputError(msg)
    shape, sizes = names[kind]
    values = [_size(getattr(region, size)) for size in sizes]
    if shape == "ellipse":
        values = [value / 2 for value in values]
    angle = [float(region.angle.to_value("deg"))] if shape in ("box", "ellipse") else []
    frame: Any = "icrs" if exact is None else "image"
    return region_from_numbers(
        shape, [float(v) for v in (*positions, *values, *angle)], frame=frame, is_include=is_include, text=text
    )


def _size(value: Any) -> float:
    return float(value.to_value("arcsec")) if hasattr(value, "to_value") else float(value)


def _zero_based(shape: str, tokens: Sequence[str]) -> list[float]:
    """Return the positions without the 1 of the first pixel, to the last digit that was written."""
    places = tokens if shape == "polygon" else tokens[:2]
    try:
        with localcontext(prec=800):
            return [float(Decimal(token) - 1) for token in places]
    except InvalidOperation:
        # Not numbers: the package says what is wrong with them.
        return []


def _from_physical(shape: str, tokens: Sequence[str], header: Mapping[str, Any] | None, line: _Line) -> list[str]:
    """Return numbers in 1-based pixels of the image: ``image = LTM physical + LTV`` (IRAF)."""
    if header is None:
        line.refuse("physical coordinates need the header of the image (LTV1, LTV2, LTM1_1, LTM2_2)")
    shift = [float(header.get(f"LTV{i}", 0.0)) for i in (1, 2)]
    scale = [float(header.get(f"LTM{i}_{i}", 1.0)) for i in (1, 2)]
    skew = [float(header.get(name, 0.0)) for name in ("LTM1_2", "LTM2_1")]
    if scale[0] != scale[1] or not scale[0] > 0 or any(skew):
        cards = f"LTM1_1 {scale[0]}, LTM2_2 {scale[1]}, LTM1_2 and LTM2_1 {skew}"
        line.refuse(f"{cards} turn or stretch shapes; only a scale is read")
    try:
        values = [float(token) for token in tokens]
    except ValueError as error:
        line.refuse(f"{shape} in physical coordinates: {error}", error)
    n_places = len(values) if shape == "polygon" else 2
    n_sizes = len(values) - (1 if shape in ("box", "ellipse") and len(values) % 2 else 0)
    mapped = [value * scale[i % 2] + shift[i % 2] for i, value in enumerate(values[:n_places])]
    mapped += [value * scale[0] for value in values[n_places:n_sizes]] + values[n_sizes:]
    return [repr(value) for value in mapped]
