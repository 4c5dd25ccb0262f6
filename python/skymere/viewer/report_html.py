"""One plain HTML page that needs nothing else: no script, no style sheet, no picture outside of it."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NewType

import polars as pl

__all__ = ["Html", "Section", "note", "page", "paragraph", "picture", "png_bytes", "table", "words_in_mono"]

# Text in which everything that came from a lake was escaped.
Html = NewType("Html", str)

_STYLE = """
body { font: 15px/1.45 sans-serif; color: #1a1a1a; background: #fff; }
body { margin: 2em auto; max-width: 1280px; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #bbb; }
table { border-collapse: collapse; margin: 0.7em 0; font-size: 0.86em; }
caption { text-align: left; font-weight: bold; padding: 0.2em 0; }
th, td { border: 1px solid #ccc; padding: 0.15em 0.5em; text-align: left; vertical-align: top; }
th, td { overflow-wrap: anywhere; }
th { background: #eef1f4; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; } figure { margin: 0.8em 0; } figcaption { font-size: 0.86em; color: #444; }
pre { font-size: 0.8em; background: #f5f5f5; padding: 0.6em; white-space: pre-wrap; overflow-wrap: anywhere; }
nav a { margin-right: 1em; } p.note { color: #555; font-style: italic; }
""".strip()
# A table on paper is not a data base: more rows are counted, not printed.
_MOST_ROWS = 200


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Parameters
    ----------
    name : str
        Its name in links: letters and digits.
    title : str
        Its heading.
    parts : sequence of Html
        What stands in it.
    """

    name: str
    title: str
    parts: Sequence[Html]


def page(title: str, sections: Sequence[Section], *, lead: Sequence[Html] = ()) -> str:
    """Return a whole page.

    Parameters
    ----------
    title : str
        Its title.
    sections : sequence of Section
        Its parts, which it lists at the top.
    lead : sequence of Html, optional
        What stands above them.
    """
    links = " ".join(f'<a href="#{_text(one.name)}">{_text(one.title)}</a>' for one in sections)
    body = "\n".join(
        f'<section id="{_text(one.name)}">\n<h2>{_text(one.title)}</h2>\n' + "\n".join(one.parts) + "\n</section>"
        for one in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        + "\n".join(lead)
        + f"\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )


def paragraph(text: str) -> Html:
    """Return a paragraph."""
    return Html(f"<p>{_text(text)}</p>")


def note(text: str) -> Html:
    """Return a remark on what is not there."""
    return Html(f'<p class="note">{_text(text)}</p>')


def words_in_mono(text: str) -> Html:
    """Return text with its spaces and lines."""
    return Html(f"<pre>{_text(text)}</pre>")


def table(frame: pl.DataFrame, caption: str = "", *, most: int = _MOST_ROWS) -> Html:
    """Return a table; of more than ``most`` rows the first ones, and how many there are.

    Parameters
    ----------
    frame : polars.DataFrame
        The rows.
    caption : str, optional
        Text above it.
    most : int, optional
        Rows at most.
    """
    head = "".join(f"<th>{_text(name)}</th>" for name in frame.columns)
    numeric = [kind.is_numeric() for kind in frame.dtypes]
    lines = [
        "<tr>" + "".join(_cell(value, right=right) for value, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in frame.head(most).iter_rows()
    ]
    above = f"<caption>{_text(caption)}</caption>" if caption else ""
    more = f"<p>{frame.height - most} more rows are not shown.</p>" if frame.height > most else ""
    return Html(f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{more}")


def picture(figure: Any, text: str, *, dpi: int = 80) -> Html:
    """Return a figure with a caption, as a PNG inside the page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    text : str
        What it shows; also said to those who cannot see it.
    dpi : int, optional
        Pixels of an inch.
    """
    data = base64.b64encode(png_bytes(figure, dpi=dpi)).decode("ascii")
    return Html(
        f'<figure><img src="data:image/png;base64,{data}" alt="{_text(text)}"><figcaption>{_text(text)}</figcaption>'
        "</figure>"
    )


def png_bytes(figure: Any, *, dpi: int = 80) -> bytes:
    """Return a figure as a PNG that says nothing of time and program: equal figures are equal bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    dpi : int, optional
        Pixels of an inch.
    """
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def _text(text: str) -> str:
    # Characters that HTML does not allow, such as those of terminals, are shown as what they are not.
    clean = "".join(one if one in "\n\t" or one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return html.escape(clean, quote=True)


def _cell(value: Any, *, right: bool) -> str:
    if value is None:
        return "<td>-</td>"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f'<td class="n">{_text(text)}</td>' if right else f"<td>{_text(text)}</td>"
