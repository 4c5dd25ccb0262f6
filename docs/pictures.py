"""Pictures that a tutorial writes into its ``folder`` stand in its page, beside the figures of pyplot."""

import shutil
from typing import Any

from sphinx_gallery.scrapers import figure_rst

__all__ = ["written_pictures"]


def written_pictures(_block: object, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Return the reST of the PNGs that a block has written into the ``folder`` of its script."""
    folder = block_vars["example_globals"].get("folder")
    seen = block_vars["example_globals"].setdefault("_seen_pictures", set())
    if folder is None or not folder.is_dir():
        return ""
    shown = []
    for path in sorted(set(folder.rglob("*.png")) - seen, key=lambda path: path.stat().st_mtime_ns):
        seen.add(path)
        target = next(block_vars["image_path_iterator"])
        shutil.copyfile(path, target)
        shown.append(target)
    return figure_rst(shown, gallery_conf["src_dir"]) if shown else ""
