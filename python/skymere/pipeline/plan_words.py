"""What the docstrings of parameter classes say about each key: the one source of the comments in plan files."""

import inspect
import re
import textwrap
from typing import Any

__all__ = ["key_comments", "section_comment"]

_SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=\n\n\w[\w ]*\n-+\n|\Z)", re.DOTALL | re.MULTILINE)
_WIDTH = 150


def key_comments(cls: type) -> dict[str, str]:
    """Return a line about each parameter of a class, from the section Parameters of its docstring.

    Parameters
    ----------
    cls : type
        A parameter class; what it inherits is taken from the docstrings of its parents.

    Notes
    -----
    The first sentence, and as many of those after it as fit into a line.
    """
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if told := _SECTION.search(inspect.cleandoc(vars(one).get("__doc__") or "")):
            for names, text in _entries(told[1]):
                found |= dict.fromkeys(names, _line(text))
    return found


def section_comment(cls: type) -> str:
    """Return the first paragraph of the docstring of a class as a line.

    Parameters
    ----------
    cls : type
        A parameter class.
    """
    return _line(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0])


def _entries(text: str) -> list[tuple[list[str], str]]:
    """Return names and description of each entry of a section of numpydoc."""
    entries: list[tuple[list[str], list[str]]] = []
    for line in text.replace("\\\n", "").splitlines():
        if line.startswith(" ") and entries:
            entries[-1][1].append(line.strip())
        elif line.strip():
            names = line.partition(" : ")[0]
            entries.append(([name.strip() for name in names.split(",")], []))
    return [(names, " ".join(lines)) for names, lines in entries]


def _line(text: Any) -> str:
    words = " ".join(str(text).replace("``", "").replace("`", "").split())
    first, *more = re.split(r"(?<=\.) (?=[A-Z])", words)
    for sentence in more:
        if len(first) + len(sentence) >= _WIDTH:
            break
        first = f"{first} {sentence}"
    return textwrap.shorten(first, _WIDTH, placeholder=" ...")
