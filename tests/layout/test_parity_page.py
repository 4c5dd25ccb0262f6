"""docs/parity.md names rows that exist and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([A-GO]\d[\d.]*) \| (MATCH|DIVERGENCE|NOT YET)([^|]*)\| ([^|]*)\| ([^|]*)\|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "parity.md").read_text(encoding="utf-8"))


def test_the_page_has_rows_and_none_is_malformed() -> None:
    text = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\| [A-GO]\d", line)]
    assert lines
    assert len(lines) == len(ROWS), [line for line in lines if not ROW.match(line)]


@pytest.mark.parametrize("row", [r for r in ROWS if r[1] != "NOT YET"], ids=lambda r: r[0])
def test_every_claim_names_a_test_that_exists(row: tuple[str, ...]) -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", row[4])
    assert named, f"{row[0]} names no test"
    for path, function in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), f"{path}::{function} does not exist"


def test_every_row_is_one_of_the_specification() -> None:
    spec = ROOT.parent / "shared" / "spec"
    if not spec.is_dir():
        pytest.skip(f"the specification is not in {spec}")
    text = "\n".join(path.read_text(encoding="utf-8") for path in spec.glob("*.md"))
    unknown = []
    for row_id, *_ in ROWS:
        # Steps and traps are numbered inside their tables: D6 holds rows 1 to 7a, F lists **Fn**.
        whole = rf"\| {re.escape(row_id)} \||\*\*{re.escape(row_id)}\*\*|^## {re.escape(row_id)}\b"
        if not re.search(whole, text, re.MULTILINE):
            unknown.append(row_id)
    assert not unknown
