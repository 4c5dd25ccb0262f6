"""Region files: what DS9 and the users of the deblending pipeline write, what is refused, and nothing is lost."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.regions import (
    Annulus,
    Box,
    Circle,
    Ellipse,
    Point,
    Polygon,
    Region,
    format_regions,
    parse_regions,
    read_regions,
    region_from_numbers,
    write_regions,
)

SEEDS = """# Region file format: DS9 version 4.1
# Filename: det_stack.fits
global color=#ff0000 dashlist=8 3 width=1 font="helvetica 10 normal roman" select=1 highlite=1 dash=0 include=1 source=1
fk5
circle(10:00:28.596,+2:12:21.00,0.5") # text={007}
circle(150.1191500,2.2058333,1.2") # color=#00ff00 text={a # b; c} width=2
-box(150.12,2.2,3",4",30)
icrs;ellipse(150.12,2.2,3",0.05',30) # text="two } braces {"
  IMAGE ; Circle( 10 , 20.5 , 3 ) # color=red text={} tag={one}
annulus(1,2,3,4) # text='it "is"'
polygon(1,2,3,4,5,0)
point 7 8
"""


def test_files_of_ds9_are_read_with_their_oddities() -> None:
    found = parse_regions(SEEDS)
    assert [r.shape for r in found] == ["circle", "circle", "box", "ellipse", "circle", "annulus", "polygon", "point"]
    assert [r.text for r in found] == ["007", "a # b; c", "", "two } braces {", "", 'it "is"', "", ""]
    assert [r.is_include for r in found] == [True, True, False, True, True, True, True, True]
    assert [r.frame for r in found] == ["icrs"] * 4 + ["image"] * 4
    first, ellipse, circle = found[0], found[3], found[4]
    assert isinstance(first, Circle)
    # FK5 is not quite ICRS: up to 25 mas.
    assert np.allclose(first.centre, (150.11915, 2.2058333333), atol=2e-5, rtol=0)
    assert first.radius == 0.5
    assert ellipse.numbers == (150.12, 2.2, 3.0, 3.0, 30.0)
    assert circle.numbers == (9.0, 19.5, 3.0)
    assert found[6].numbers == (0.0, 1.0, 2.0, 3.0, 4.0, -1.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("vector(1,2,3,4)", "'vector' is not a shape"),
        ("rhombus(1,2,3)", "'rhombus' is not a shape"),
        ("wcsa", "'wcsa' is not a shape or frame"),
        ("circle(1,2)", "radius"),
        ("circle(1,2,0)", "positive"),
        ("circle(1,2,x)", "could not convert"),
        ('circle(1,2,3")', "angular"),
        ("circle(1,2,3) && circle(4,5,6)", "is not one shape"),
        ("ellipse(1,2,3,4,5,6,7)", "EllipseAnnulus has no form here"),
        ("physical; circle(1,2,3)", "need the header"),
        ('icrs; circle(10,95,3")', "-90"),
        ("icrs; circle(10,20,3i)", "angle"),
    ],
)
def test_what_the_package_would_skip_is_an_error_with_file_and_line(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "det_manual.reg"
    path.write_text(f"# comment\nimage\ncircle(1,2,3)\n{line}\ncircle(4,5,6)\n")
    with pytest.raises(FormatError, match=reason) as caught:
        read_regions(path)
    assert str(caught.value).startswith(f"{path}: line 4: ")
    assert "\n" not in str(caught.value)


def test_a_shape_without_a_frame_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 1: no frame is named before"):
        parse_regions("circle(1,2,3)")
    with pytest.raises(NotFoundError, match=r"none\.reg"):
        read_regions(tmp_path / "none.reg")


def test_physical_coordinates_go_through_ltv_and_ltm() -> None:
    header = {"LTV1": -100.0, "LTV2": 20.0, "LTM1_1": 0.5, "LTM2_2": 0.5}
    text = "physical\ncircle(300,40,8)\nbox(300,40,8,6,30)\npolygon(300,40,310,40,310,60)"
    circle, box, polygon = parse_regions(text, header=header)
    assert circle.numbers == (49.0, 39.0, 4.0)
    assert box.numbers == (49.0, 39.0, 4.0, 3.0, 30.0)
    assert polygon.numbers == (49.0, 39.0, 54.0, 39.0, 54.0, 49.0)
    assert parse_regions("physical;circle(3,4,5)", header={})[0].numbers == (2.0, 3.0, 5.0)
    with pytest.raises(FormatError, match="line 1: LTM1_1"):
        parse_regions("physical;circle(3,4,5)", header={"LTM1_1": 0.5})


SIZE = st.floats(1e-3, 1e5)
ANGLE = st.floats(-720, 720)
TEXT = st.text(max_size=8).filter(
    lambda t: not set(t) & {"\n", "\r"} and not (set(t) & set("{}") and {'"', "'"} <= set(t))
)
PLACE = {
    "icrs": st.tuples(st.floats(0, 359.999), st.floats(-90, 90)),
    "image": st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
}


@st.composite
def regions(draw) -> Region:
    frame = draw(st.sampled_from(["icrs", "image"]))
    rest = {"frame": frame, "is_include": draw(st.booleans()), "text": draw(TEXT)}
    place, two = PLACE[frame], st.tuples(SIZE, SIZE)
    kind = draw(st.sampled_from(["circle", "box", "ellipse", "annulus", "polygon", "point"]))
    if kind == "polygon":
        return Polygon(vertices=tuple(draw(st.lists(place, min_size=3, max_size=6))), **rest)
    centre = draw(place)
    if kind == "circle":
        return Circle(centre=centre, radius=draw(SIZE), **rest)
    if kind == "box":
        return Box(centre=centre, size=draw(two), angle_deg=draw(ANGLE), **rest)
    if kind == "ellipse":
        return Ellipse(centre=centre, semi_axes=draw(two), angle_deg=draw(ANGLE), **rest)
    if kind == "annulus":
        inner = draw(SIZE)
        return Annulus(centre=centre, radii=(inner, inner + draw(SIZE)), **rest)
    return Point(centre=centre, **rest)


@settings(max_examples=150, deadline=None)
@given(st.lists(regions(), max_size=4))
def test_every_region_survives_export_and_import_to_the_last_bit(drawn: list[Region]) -> None:
    text = format_regions(drawn)
    assert parse_regions(text) == drawn
    assert format_regions(parse_regions(text)) == text


def test_numbers_make_the_region_again_and_files_are_the_same_bytes(tmp_path: Path) -> None:
    found = parse_regions(SEEDS)
    again = [
        region_from_numbers(r.shape, r.numbers, frame=r.frame, is_include=r.is_include, text=r.text) for r in found
    ]
    assert again == found
    first, second = write_regions(found, tmp_path / "a.reg"), tmp_path / "b.reg"
    write_regions(read_regions(first), second)
    assert second.read_bytes() == first.read_bytes()


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder.reg").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder.reg", "gone/a.reg", "file/a.reg"):
        with pytest.raises(StorageError, match=f"{name}: cannot be written"):
            write_regions([Point(centre=(1.0, 2.0))], tmp_path / name)
    with pytest.raises(InvalidInputError, match=r"text: '\\udc80' cannot stand in a region file"):
        write_regions([Point(centre=(1.0, 2.0), text="\udc80")], tmp_path / "a.reg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.reg"]


def test_regions_refuse_what_has_no_meaning() -> None:
    with pytest.raises(InvalidInputError, match="frame: 'fk5'"):
        Circle(centre=(1.0, 2.0), radius=1.0, frame="fk5")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="text: 7 is not allowed"):
        Circle(centre=(1.0, 2.0), radius=1.0, text=7)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="radii"):
        Annulus(centre=(1.0, 2.0), radii=(2.0, 1.0))
    with pytest.raises(InvalidInputError, match="shape: 'cross'"):
        region_from_numbers("cross", [1.0, 2.0])
    with pytest.raises(InvalidInputError, match="numbers: 2"):
        region_from_numbers("circle", [1.0, 2.0])
    with pytest.raises(InvalidInputError, match="braces and both kinds"):
        format_regions([Point(centre=(1.0, 2.0), text="{'\"")])
