"""How Sphinx builds the pages of docs/: ``make docs``."""

import importlib
import inspect
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

import skymere

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))


def homes() -> dict[str, str]:
    """Return, for each public class that a package lists beside the one where it is written, the latter."""
    packages = [path.parent.name for path in Path(skymere.__file__).parent.glob("*/__init__.py")]
    found = {}
    for package in packages:
        for name in getattr(importlib.import_module(f"skymere.{package}"), "__all__", ()):
            thing = getattr(importlib.import_module(f"skymere.{package}"), name)
            home = ".".join(getattr(thing, "__module__", "").split(".")[:2])
            is_elsewhere = inspect.isclass(thing) and home.startswith("skymere.") and home != f"skymere.{package}"
            if is_elsewhere and name in importlib.import_module(home).__all__:
                found[f"skymere.{package}.{name}"] = home
    return found


project = "skymere"
author = "the skymere developers"
project_copyright = author
version = release = installed_version("skymere")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser", "sphinx_gallery.gen_gallery"]
root_doc = "index"
default_role = "py:obj"
exclude_patterns = ["_build", "tutorials/GALLERY_HEADER.rst"]
templates_path = ["_templates"]

# Anchors of headings, for links such as lake.md#many-tiles-at-once.
myst_heading_anchors = 4

autosummary_generate = True
# What a package says in __all__ is its interface, wherever it is written.
autosummary_ignore_module_all = False
autosummary_imported_members = True
autosummary_context = {"homes": homes()}
autodoc_member_order = "bysource"
# Docstrings have types with units and shapes.
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
numpydoc_show_class_members = False
add_module_names = False
python_use_unqualified_type_names = True

sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples" / "tutorials")],
    "gallery_dirs": ["tutorials"],
    "filename_pattern": r"/tutorial_",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib", "pictures.written_pictures"),
    "abort_on_example_error": True,
    "run_stale_examples": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "capture_repr": (),
    # That page would load its table from a server.
    "write_computation_times": False,
    "min_reported_time": 1,
}

html_theme = "furo"
html_title = f"skymere {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sourcelink = False
