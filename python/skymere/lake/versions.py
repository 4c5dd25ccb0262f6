"""What may change between two versions of a schema: text (patch), more (minor), anything (major)."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from skymere.lake.schemas import ArraySpec, Schema, parse_schema

__all__ = ["changes", "folder_faults", "version_faults"]

LEVELS = ("major", "minor", "patch")


def changes(old: Schema, new: Schema) -> Iterator[tuple[str, str]]:
    """Yield each difference between two schemas: the part of the version that it asks for, and what it is.

    Notes
    -----
    *Minor*: a new nullable column or a new array. *Major*: a column or array that is gone, of another type, unit, UCD,
    length or nullability, or a new column without null; another key. Chunks and codecs are no part of the meaning.
    """
    yield from _compared(
        "column",
        {column.name: replace(column, description="") for column in old.columns},
        {column.name: replace(column, description="") for column in new.columns},
        optional={column.name for column in new.columns if column.nullable},
    )
    yield from _compared(
        "array",
        {spec.path: _form(spec) for spec in old.arrays},
        {spec.path: _form(spec) for spec in new.arrays},
        optional={spec.path for spec in new.arrays},
    )
    if old.primary_key != new.primary_key:
        yield "major", f"the key was {old.primary_key} and is {new.primary_key}"
    outside = new.not_content & {column.name for column in old.columns}
    if old.not_content != outside:
        yield "major", f"out of the content were {sorted(old.not_content)} and are {sorted(outside)}"


def _compared(
    kind: str, old: Mapping[str, Any], new: Mapping[str, Any], *, optional: Collection[str]
) -> Iterator[tuple[str, str]]:
    for name, was in old.items():
        if name not in new:
            yield "major", f"{kind} {name} is gone"
        elif was != new[name]:
            yield "major", f"{kind} {name} was {was} and is {new[name]}"
    for name in new.keys() - old.keys():
        yield "minor" if name in optional else "major", f"{kind} {name} is new"


def version_faults(schemas: Sequence[Schema]) -> Iterator[str]:
    """Yield what is wrong with the versions of one product: a change that its version does not admit."""
    for old, new in pairwise(sorted(schemas, key=lambda schema: schema.version)):
        bumped = next(level for level, a, b in zip(LEVELS, old.version, new.version, strict=True) if a != b)
        for needed, what in changes(old, new):
            if LEVELS.index(needed) < LEVELS.index(bumped):
                yield f"{new.name}: {what} since {old.name}, which asks for a new {needed} version"


def folder_faults(folder: Path) -> Iterator[str]:
    """Yield what is wrong with a folder of schema files: files that changed after their release, wrong versions."""
    released: dict[str, str] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    found = {path.name: path for path in sorted(folder.glob("*.yaml"))}
    for name in sorted(released.keys() - found.keys()):
        yield f"{name} was released and is gone"
    for name, path in found.items():
        if name not in released:
            yield f"{name} is not in manifest.json"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != released[name]:
            yield f"{name} changed after its release; a change is a new file with a new version"
    products: dict[str, list[Schema]] = {}
    for name, path in found.items():
        text = path.read_text(encoding="utf-8")
        # Tables of constants are released with the schemas, but no product has them.
        if "kind: constants" in text.splitlines():
            continue
        schema = parse_schema(text, str(path))
        if name == f"{schema.product}-{schema.version_text}.yaml":
            products.setdefault(schema.product, []).append(schema)
        else:
            yield f"{name} holds {schema.name}"
    for schemas in products.values():
        yield from version_faults(schemas)


def _form(spec: ArraySpec) -> ArraySpec:
    # NaN is not equal to itself.
    fill = "NaN" if spec.fill != spec.fill else spec.fill
    return replace(spec, description=str(fill), fill=0.0, chunk=(), shard=(), codec="")
