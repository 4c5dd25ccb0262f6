"""Links of the pages resolve, and pages that list something list all of it."""

import importlib
import re
from pathlib import Path

import pytest

import skymere

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
PACKAGES = sorted(path.parent.name for path in Path(skymere.__file__).parent.glob("*/__init__.py"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _text(page: Path) -> str:
    """Return a page without its blocks of code and its verbatim words, in which brackets are brackets."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_resolve(page: Path) -> None:
    wrong = []
    for link in LINK.findall(_text(page)):
        if re.match(r"(https?|mailto):", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        tutorial = (
            re.fullmatch(r"tutorials/(\w+)\.rst", str(target.relative_to(DOCS))) if DOCS in target.parents else None
        )
        if tutorial:  # pages that the scripts become when they are built
            source = "GALLERY_HEADER.rst" if tutorial[1] == "index" else f"{tutorial[1]}.py"
            target = ROOT / "examples" / "tutorials" / source
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            wrong.append(link)
    assert not wrong


def test_the_reference_has_every_public_package_and_no_other() -> None:
    listed = re.findall(r"^   skymere\.(\w+)$", (DOCS / "api" / "index.rst").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted({*PACKAGES, "errors"} - {"cli"})


def test_every_public_package_can_be_reached_from_skymere() -> None:
    for name in {*PACKAGES, "errors"} - {"cli"}:
        assert getattr(skymere, name) is importlib.import_module(f"skymere.{name}")


def test_the_list_of_packages_has_every_page() -> None:
    pages = {path.name for path in (DOCS / "packages").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\((\w+\.md)\)", (DOCS / "packages" / "index.md").read_text(encoding="utf-8"))) == pages


def test_benchmarks_that_the_page_on_performance_names_exist() -> None:
    named = re.findall(r"`(tests/benchmarks/[\w*]+(?:\.py)?)`", (DOCS / "performance.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    assert not [name for name in named if not list(ROOT.glob(name))]


@pytest.mark.parametrize("figure", ["2.0 to 2.3", "11.9", "15.6", "4.6 to 9.6", "23.8", "27 to 40 ms", "69 / 126"])
def test_figures_of_that_page_stand_on_the_page_of_their_package(figure: str) -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "packages").glob("*.md"))
    assert figure in pages
    assert all(part in (DOCS / "performance.md").read_text(encoding="utf-8") for part in figure.split(" / "))
