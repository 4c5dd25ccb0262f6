"""Released schema files never change, and versions say what changed."""

import shutil
from dataclasses import replace

import pytest

from skymere.lake import load_schema, products
from skymere.lake.schemas import parse_schema
from skymere.lake.versions import changes, folder_faults, version_faults

V1 = load_schema("cutout", "1.0.0")


def edited(version, *edits):
    text = V1.text.replace('current: "1.0.0"', f'current: "{version}"')
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return parse_schema(text, "a file")


def column_of(name):
    (line,) = [line for line in V1.text.splitlines() if f"name: {name}," in line]
    return line + "\n"


NEW = column_of("cutout_row").replace("cutout_row", "snr").replace("datatype: int", "datatype: float")
NULLABLE = NEW.replace("nullable: false", "nullable: true")
LAST = column_of(V1.columns[-1].name)
ARRAY = next(line + "\n" for line in V1.text.splitlines() if "path:" in line and "wht" in line)

EDITS = {
    "text": ("patch", (f'description: "{V1.columns[2].description}"', 'description: "In other words"')),
    "chunk": ("patch", ("chunk: [2, 128, 128]", "chunk: [1, 128, 128]")),
    "more": ("minor", (LAST, LAST + NULLABLE)),
    "more arrays": ("minor", (ARRAY, ARRAY + ARRAY.replace("wht", "rms"))),
    "more without null": ("major", (LAST, LAST + NEW)),
    "gone": ("major", (column_of("cutout_row"), "")),
    "array gone": ("major", (ARRAY, "")),
    "array of another kind": ("major", (ARRAY, ARRAY.replace("float32", "float64"))),
    "type": ("major", (column_of("cutout_row"), column_of("cutout_row").replace("datatype: int", "datatype: long"))),
    "unit": ("major", ('name: ra, "@id": "#cutout.ra", datatype: double, nullable: false, ivoa:unit: "deg"',
                       'name: ra, "@id": "#cutout.ra", datatype: double, nullable: false, ivoa:unit: "rad"')),
    "null": ("major", (column_of("cutout_row"), column_of("cutout_row").replace("false", "true"))),
    "more that is no content": ("minor", (LAST, LAST + NULLABLE), ("not_content: [", "not_content: [snr, ")),
    "content": ("major", ("skymere:not_content: [run_id", "skymere:not_content: [cutout_row, run_id")),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_a_change_needs_a_version_of_its_level(what):
    needed, *edits = EDITS[what]
    levels = {"patch": "1.0.1", "minor": "1.1.0", "major": "2.0.0"}
    for level, version in levels.items():
        allowed = list(levels).index(level) >= list(levels).index(needed)
        found = list(version_faults([edited(version, *edits), V1]))
        assert (found == []) is allowed
        assert all(f"which asks for a new {needed} version" in fault for fault in found)


def test_no_schema_differs_from_itself():
    for product in products():
        schema = load_schema(product)
        assert list(changes(schema, replace(schema, description="in other words"))) == []


def test_the_files_that_are_shipped_obey():
    from skymere.lake import schemas

    assert list(folder_faults(schemas._folder())) == []


def test_every_fault_of_a_folder_is_found(ship):
    text = load_schema("mask").text
    folder = ship({})
    assert list(folder_faults(folder)) == []
    (folder / "mask-1.0.0.yaml").write_text(text + "# a remark\n")
    (folder / "note-1.0.0.yaml").unlink()
    (folder / "mask-1.0.1.yaml").write_text(text.replace('"1.0.0"', '"1.0.1"').replace('"Masks', '"All masks'))
    (folder / "mask-1.0.2.yaml").write_text(text)
    shutil.copy(folder / "run-1.0.0.yaml", folder / "ran-1.0.0.yaml")
    found = sorted(folder_faults(folder))
    for words in (
        "mask-1.0.0.yaml changed after its release",
        "mask-1.0.1.yaml is not in manifest.json",
        "mask-1.0.2.yaml holds mask/1.0.0",
        "note-1.0.0.yaml was released and is gone",
        "ran-1.0.0.yaml holds run/1.0.0",
    ):
        assert any(words in fault for fault in found), words
