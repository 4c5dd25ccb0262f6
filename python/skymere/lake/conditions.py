"""Conditions on the columns of a table, written as text: ``n_exposures < 2 or status != 'ok'``.

::

    condition  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation   = "not" negation | test
    test       = "(" condition ")" | value [ comparison value | "is" ["not"] "null" ]
    comparison = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    value      = column | number | text | "true" | "false"

A text stands between single or double quotes, a quote in it is doubled; a column whose name is a word of this language
stands between backticks. There are no calls, no attributes and no arithmetic, so that a condition can do nothing but
choose rows. A comparison with a missing value is neither true nor false, as in SQL, and chooses nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

import polars as pl

from skymere.errors import InvalidInputError

__all__ = ["Condition", "parse_condition"]

_TOKEN = re.compile(
    r"""
    \s+
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^']|'')*' | "(?:[^"]|"")*")
    | (?P<quoted>`[^`]+`)
    | (?P<word>[^\W\d]\w*)
    | (?P<sign><=|>=|<>|!=|==|[=<>()])
    """,
    re.VERBOSE,
)
_WORDS = ("and", "or", "not", "is", "null", "true", "false")
_COMPARISONS: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_DEEPEST = 100


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int

    @property
    def keyword(self) -> str:
        """The word of the language in small letters; empty for everything else."""
        lower = self.text.lower()
        return lower if self.kind == "word" and lower in _WORDS else ""


@dataclass(frozen=True)
class Value:
    """A column or a constant, and what kind it is: ``number``, ``text``, ``boolean``; empty for a column."""

    expr: pl.Expr
    kind: str
    text: str


@dataclass(frozen=True)
class Test:
    """Two values that must be of one kind, or one that must be true or false."""

    values: tuple[Value, ...]
    sign: str


@dataclass(frozen=True)
class Condition:
    """A condition that was understood; made by `parse_condition`.

    Parameters
    ----------
    text : str
        As it was written.
    columns : tuple of str
        Columns that it speaks of, in their order.
    expr : polars.Expr
        What Polars makes of it; null where a value that it needs is missing.
    tests : tuple of Test
        The comparisons in it.
    """

    text: str
    columns: tuple[str, ...]
    expr: pl.Expr
    tests: tuple[Test, ...]

    def check(self, dtypes: Mapping[str, Any]) -> None:
        """Compare the condition with the columns of a table.

        Parameters
        ----------
        dtypes : mapping
            Name and Polars dtype of each column.

        Raises
        ------
        InvalidInputError
            When there is no such column, or values of different kinds are compared.
        """
        for name in self.columns:
            if name not in dtypes:
                msg = f"column {name!r} is not in the table, which has {', '.join(dtypes)}"
                raise InvalidInputError(msg)
        for test in self.tests:
            kinds = [one.kind or _kind_of(dtypes[one.text]) for one in test.values]
            if not test.sign and kinds != ["boolean"]:
                msg = f"column {test.values[0].text!r} is a {kinds[0]}; only one that is true or false may stand alone"
                raise InvalidInputError(msg)
            if len(set(kinds)) > 1:
                described = " with ".join(f"{one.text} ({kind})" for one, kind in zip(test.values, kinds, strict=True))
                msg = f"{described}: only values of one kind can be compared"
                raise InvalidInputError(msg)
            if kinds[0] == "boolean" and test.sign in ("<", "<=", ">", ">="):
                msg = f"{test.values[0].text} {test.sign}: what is true or false has no order, use = or !="
                raise InvalidInputError(msg)


def parse_condition(text: str) -> Condition:
    """Understand a condition on the columns of a table.

    Parameters
    ----------
    text : str
        The condition; see the grammar of this module.

    Raises
    ------
    InvalidInputError
        When it is not one; the message shows where.

    Examples
    --------
    >>> from skymere.lake import parse_condition
    >>> parse_condition("n_exposures < 2 or status != 'ok'").columns
    ('n_exposures', 'status')
    """
    parser = _Parser(text)
    expr = parser.condition(0)
    parser.end()
    return Condition(text, tuple(dict.fromkeys(parser.columns)), expr, tuple(parser.tests))


class _Parser:
    """Goes through the text once, a method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: list[str] = []
        self.tests: list[Test] = []
        self._tokens = [*self._scan(), _Token("end", "", len(text))]
        self._at = 0

    def condition(self, depth: int) -> pl.Expr:
        parts = [self._conjunction(depth)]
        while self._accept("or"):
            parts.append(self._conjunction(depth))
        return reduce(lambda a, b: a | b, parts)

    def end(self) -> None:
        if self._next.kind != "end":
            self._fail("'and', 'or' or the end")

    def _conjunction(self, depth: int) -> pl.Expr:
        parts = [self._negation(depth)]
        while self._accept("and"):
            parts.append(self._negation(depth))
        return reduce(lambda a, b: a & b, parts)

    def _negation(self, depth: int) -> pl.Expr:
        if depth > _DEEPEST:
            self._fail(f"at most {_DEEPEST} brackets in each other")
        return ~self._negation(depth + 1) if self._accept("not") else self._test(depth)

    def _test(self, depth: int) -> pl.Expr:
        if self._accept("("):
            inner = self.condition(depth + 1)
            if not self._accept(")"):
                self._fail("')'")
            return inner
        value = self._value()
        if self._accept("is"):
            negated = self._accept("not")
            if not self._accept("null"):
                self._fail("'null'")
            return value.expr.is_not_null() if negated else value.expr.is_null()
        sign = self._next.text if self._next.kind == "sign" else ""
        if sign in _COMPARISONS:
            self._at += 1
            other = self._value()
            self.tests.append(Test((value, other), sign))
            return _COMPARISONS[sign](value.expr, other.expr)
        if value.kind in ("number", "text"):
            self._fail("a comparison, such as '<' or '='")
        self.tests.append(Test((value,), ""))
        return value.expr

    def _value(self) -> Value:
        token = self._next
        if token.keyword in ("true", "false"):
            found = Value(pl.lit(token.keyword == "true"), "boolean", token.text)
        elif token.kind == "number":
            is_whole = token.text.lstrip("+-").isdigit()
            found = Value(pl.lit(int(token.text) if is_whole else float(token.text)), "number", token.text)
        elif token.kind == "text":
            mark = token.text[0]
            found = Value(pl.lit(token.text[1:-1].replace(mark * 2, mark)), "text", token.text)
        elif token.kind == "quoted" or (token.kind == "word" and not token.keyword):
            name = token.text.strip("`")
            self.columns.append(name)
            found = Value(pl.col(name), "", name)
        else:
            self._fail("a column, a number or a text")
        self._at += 1
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _accept(self, word: str) -> bool:
        token = self._next
        found = token.keyword == word or (token.kind == "sign" and token.text == word)
        self._at += found
        return found

    def _scan(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            if found is None:
                msg = f"{self.text[at:][:16]!r} at character {at + 1} of {self.text!r} is not allowed here"
                raise InvalidInputError(msg)
            if found.lastgroup is not None:
                yield _Token(found.lastgroup, found.group(), at)
            at = found.end()

    def _fail(self, wanted: str) -> NoReturn:
        token = self._next
        what = f"{token.text!r} at character {token.place + 1}" if token.text else "the end"
        msg = f"{what} of {self.text!r} is not allowed, there must be {wanted}"
        raise InvalidInputError(msg)


def _kind_of(dtype: Any) -> str:
    if dtype == pl.Boolean:
        return "boolean"
    return "text" if dtype == pl.String else "number"
