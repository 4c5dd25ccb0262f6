"""The pages are built without a warning, and what a browser loads is all in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site without running the tutorials, which `make docs` does."""
    for name in ("sphinx", "numpydoc", "myst_parser", "sphinx_gallery", "furo"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'skymere[docs]'")
    folder = tmp_path_factory.mktemp("docs")
    made = shutil.ignore_patterns("generated", "tutorials")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=made)
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copyfile(ROOT / "CONTRIBUTING.md", folder / "CONTRIBUTING.md")
    words = ["-W", "--keep-going", "-q", "-D", "plot_gallery=0", "-b", "html", "docs", "site"]
    command = [sys.executable, "-m", "sphinx", *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "site"


def test_every_package_and_every_tutorial_has_a_page(site: Path) -> None:
    for path in (ROOT / "docs" / "packages").glob("*.md"):
        assert (site / "packages" / f"{path.stem}.html").is_file()
    for path in (ROOT / "examples" / "tutorials").glob("tutorial_*.py"):
        assert (site / "tutorials" / f"{path.stem}.html").is_file()
    reference = (site / "api" / "generated" / "skymere.align.html").read_text(encoding="utf-8")
    assert 'id="skymere.align.align"' in reference
    assert "search_radius_arcsec" in reference


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\bsrc=\"(?:https?:)?//|<link[^>]*\brel=\"(?:stylesheet|preconnect|preload)\"[^>]*href=\"(?:https?:)?//"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert not [str(page.relative_to(site)) for page in pages if loads.search(page.read_text(encoding="utf-8"))]
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)
