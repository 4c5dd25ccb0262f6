"""Which tables an SQL query reads, so that it reads none outside the lake.

Polars' SQL opens any file through its table functions, ``read_csv('/path')``. A query is therefore split into tokens,
as Polars' own parser would, and everything that stands in the place of a table must be the name of one.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

from skymere.errors import InvalidInputError

__all__ = ["tables_of"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]*)
    | (?P<comment>/\*)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*" | `(?:[^`]|``)*`)
    | (?P<word>[^\W\d]\w*)
    | (?P<number>\d[\w.]*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_CLAUSES = {"SELECT", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "WINDOW", "QUALIFY", "FETCH"}
_SETS = {"UNION", "INTERSECT", "EXCEPT"}
_FROM_INSIDE = {"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "CEIL", "FLOOR"}
_READER = re.compile(r"(?:read|scan)_\w+", re.IGNORECASE)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    @property
    def keyword(self) -> str:
        """The word in capitals; empty for what is not a bare word."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """The identifier; empty for what is none."""
        if self.kind == "quoted":
            mark = self.text[0]
            return self.text[1:-1].replace(mark * 2, mark)
        return self.text if self.kind == "word" else ""


@dataclass
class _Frame:
    """What is known between two brackets."""

    function: str = ""
    in_from: bool = False
    wants_table: bool = False


def tables_of(query: str, allowed: Collection[str]) -> list[str]:
    """Return the tables that a query names, sorted.

    Parameters
    ----------
    query : str
        One SELECT, with or without WITH.
    allowed : collection of str
        Names of the lake's tables.

    Raises
    ------
    InvalidInputError
        When the query is not one SELECT, or something other than a table of the lake stands in a table's place.
    """
    tokens = list(_tokens(query))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens or tokens[0].keyword not in ("SELECT", "WITH") or any(t.text == ";" for t in tokens):
        msg = f"query: {query!r} is not allowed, it must be one SELECT"
        raise InvalidInputError(msg)
    padded = [*tokens, _Token("end", "")]
    ahead = list(pairwise(padded))
    common = {token.name for token, after in ahead if token.name and after.keyword == "AS"}
    for token, after in ahead:
        if after.text == "(" and _READER.fullmatch(token.name):
            raise _refusal(token.name + "(...)", allowed)
    return sorted(set(_named(ahead, allowed, common)) & set(allowed))


def _named(ahead: list[tuple[_Token, _Token]], allowed: Collection[str], common: Collection[str]) -> Iterator[str]:
    """Yield every name in the place of a table."""
    frames = [_Frame()]
    before: list[_Token] = [_Token("end", "")] * 2
    for token, after in ahead:
        frame = frames[-1]
        if token.text == "(" and token.kind == "sign":
            frames.append(
                _Frame(function=before[-1].name.upper(), in_from=frame.wants_table, wants_table=frame.wants_table)
            )
            frame.wants_table = False
        elif token.text == ")" and token.kind == "sign":
            if len(frames) > 1:
                frames.pop()
        elif (token.keyword == "FROM" and not _is_of_a_function(frame, before)) or token.keyword == "JOIN":
            frame.in_from = frame.wants_table = True
        elif token.keyword in _CLAUSES or token.keyword in _SETS or token.keyword in ("WITH", "VALUES"):
            frame.in_from = frame.wants_table = False
        elif token.text == "," and token.kind == "sign" and frame.in_from:
            frame.wants_table = True
        elif frame.wants_table and token.keyword != "LATERAL":
            if after.text in ("(", ".") or token.name not in {*allowed, *common}:
                raise _refusal(token.text + ("(...)" if after.text == "(" else ""), allowed)
            frame.wants_table = False
            yield token.name
        before = [before[-1], token]


def _is_of_a_function(frame: _Frame, before: list[_Token]) -> bool:
    """Whether a FROM belongs to ``extract(year from x)`` or ``a is distinct from b``."""
    if before[1].keyword == "DISTINCT" and before[0].keyword in ("IS", "NOT"):
        return True
    return frame.function in _FROM_INSIDE


def _tokens(query: str) -> Iterator[_Token]:
    at, before = 0, ""
    while at < len(query):
        found = _TOKEN.match(query, at)
        kind = (found.lastgroup or "") if found else ""
        if found is None or (kind == "sign" and found.group() in "'\"`"):
            msg = f"query: a quotation mark is not closed in {query!r}"
            raise InvalidInputError(msg)
        if found.group() == "$" or (kind == "text" and before == "word"):
            # Texts with marks of their own, $$it's$$ or e'\'', end where other rules say.
            msg = f"query: {query[at : at + 16]!r} is not allowed, a text must be plain 'text', with a space before it"
            raise InvalidInputError(msg)
        before = kind
        at = _after_comment(query, at) if kind == "comment" else found.end()
        if kind not in ("space", "comment"):
            yield _Token(kind, found.group())


def _after_comment(query: str, start: int) -> int:
    """Return the place behind a comment, which may hold others."""
    depth = 0
    for found in re.compile(r"/\*|\*/").finditer(query, start):
        depth += 1 if found.group() == "/*" else -1
        if depth == 0:
            return found.end()
    msg = f"query: a comment is not closed in {query!r}"
    raise InvalidInputError(msg)


def _refusal(what: str, allowed: Collection[str]) -> InvalidInputError:
    return InvalidInputError(
        f"query: {what} is not allowed in the place of a table, only the lake's tables: {list(allowed)}"
    )
