"""Conditions on the columns of a table, written as text: ``n_exposures < 2 or status != 'ok'``.

::

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | test
    test        = value [ comparison value | "is" ["not"] "null" ]
    comparison  = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    value       = product { ("+" | "-") product }
    product     = factor { ("*" | "/") factor }
    factor      = ["+" | "-"] factor | "(" condition ")" | call | column | number | text | "true" | "false"
    call        = function "(" value { "," value } ")"
    function    = "abs" | "sqrt" | "log10" | "mag" | "isnull" | "isnan" | "contains" | "startswith"

A text stands between single or double quotes, a quote in it is doubled; a column whose name is a word of this language
stands between backticks. There are no attributes and no calls of anything else, so that a condition can do nothing but
choose rows. A comparison with a missing value is neither true nor false, as in SQL, and chooses nothing; what has no
value, as ``log10(-1)`` or ``0 / 0``, is missing. ``mag`` is the AB magnitude of a flux in uJy.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

import polars as pl

from skymere.errors import InvalidInputError

__all__ = ["Condition", "parse_condition", "parse_value"]

_TOKEN = re.compile(
    r"""
    \s+
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^']|'')*' | "(?:[^"]|"")*")
    | (?P<quoted>`[^`]+`)
    | (?P<word>[^\W\d]\w*)
    | (?P<sign><=|>=|<>|!=|==|[-=<>()+*/,])
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
_ARITHMETIC: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: (a / b).fill_nan(None),
}
# Nine calls for each bracket, far below the depth at which Python gives up.
_DEEPEST = 50
_LONGEST = 4096
_LARGEST = 2**63
_AB_OF_UJY = 23.9


@dataclass(frozen=True)
class _Function:
    """What may be called: the kinds of its arguments (empty for any), the kind of what it gives, and how."""

    takes: tuple[str, ...]
    gives: str
    call: Callable[..., pl.Expr]


_FUNCTIONS: Mapping[str, _Function] = {
    "abs": _Function(("number",), "number", lambda x: x.abs()),
    "sqrt": _Function(("number",), "number", lambda x: x.cast(pl.Float64).sqrt().fill_nan(None)),
    "log10": _Function(("number",), "number", lambda x: x.cast(pl.Float64).log(10.0).fill_nan(None)),
    "mag": _Function(("number",), "number", lambda x: _AB_OF_UJY - 2.5 * x.cast(pl.Float64).log(10.0).fill_nan(None)),
    "isnull": _Function(("",), "boolean", lambda x: x.is_null()),
    "isnan": _Function(("number",), "boolean", lambda x: x.cast(pl.Float64).is_nan()),
    "contains": _Function(("text", "text"), "boolean", lambda x, part: x.str.contains(part, literal=True)),
    "startswith": _Function(("text", "text"), "boolean", lambda x, part: x.str.starts_with(part)),
}


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
    """A column or what was made of columns, and its kind: ``number``, ``text``, ``boolean``; empty for a column."""

    expr: pl.Expr
    kind: str
    text: str


@dataclass(frozen=True)
class Test:
    """Values that must be of one kind: of ``kind``, or where that is empty of the same."""

    values: tuple[Value, ...]
    sign: str
    kind: str = ""


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
        What must be of one kind in it.
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
            if test.kind:
                _check_kind(test, kinds)
                continue
            if len(set(kinds)) > 1:
                described = " with ".join(f"{one.text} ({kind})" for one, kind in zip(test.values, kinds, strict=True))
                msg = f"{described}: only values of one kind can be compared"
                raise InvalidInputError(msg)
            if kinds[0] not in ("number", "text", "boolean"):
                msg = f"column {test.values[0].text!r} is a {kinds[0]} and cannot be compared"
                raise InvalidInputError(msg)
            if kinds[0] == "boolean" and test.sign in ("<", "<=", ">", ">="):
                msg = f"{test.values[0].text} {test.sign}: what is true or false has no order, use = or !="
                raise InvalidInputError(msg)


def parse_condition(text: str) -> Condition:
    """Understand a condition on the columns of a table.

    Parameters
    ----------
    text : str
        The condition, at most 4096 characters; see the grammar of this module.

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
    parser = _Parser(_checked(text))
    value = parser.condition(0)
    parser.end()
    expr = parser.truth(value)
    return Condition(text, tuple(dict.fromkeys(parser.columns)), expr, tuple(parser.tests))


def parse_value(text: str) -> Condition:
    """Understand a number that is reckoned from columns, such as ``mag_auto_f105w - mag_auto_f160w``.

    Parameters
    ----------
    text : str
        A ``value`` of the grammar of this module, at most 4096 characters.

    Returns
    -------
    Condition
        Its ``expr`` is the number, and `Condition.check` compares its columns with a table.

    Raises
    ------
    InvalidInputError
        When it is not one; the message shows where.
    """
    parser = _Parser(_checked(text))
    value = parser.value()
    parser.end("an operator or the end")
    if value.kind in ("text", "boolean"):
        msg = f"{text!r} is a {value.kind}, it must be a number"
        raise InvalidInputError(msg)
    tests = [*parser.tests, *([] if value.kind else [Test((value,), "a plot", "number")])]
    return Condition(text, tuple(dict.fromkeys(parser.columns)), value.expr, tuple(tests))


def _checked(text: str) -> str:
    if len(text) > _LONGEST:
        msg = f"condition: {len(text)} characters are not allowed, at most {_LONGEST}"
        raise InvalidInputError(msg)
    return text


class _Parser:
    """Goes through the text once, a method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: list[str] = []
        self.tests: list[Test] = []
        self._tokens = [*self._scan(), _Token("end", "", len(text))]
        self._at = 0

    def condition(self, depth: int) -> Value:
        return self._joined("or", lambda a, b: a | b, self._conjunction, depth)

    def value(self) -> Value:
        return self._sum(0)

    def end(self, wanted: str = "'and', 'or' or the end") -> None:
        if self._next.kind != "end":
            self._fail(wanted)

    def truth(self, value: Value) -> pl.Expr:
        """Return what must be true or false."""
        if value.kind in ("number", "text"):
            self._fail("a comparison, such as '<' or '='")
        if not value.kind:
            self.tests.append(Test((value,), "", "boolean"))
        return value.expr

    def _conjunction(self, depth: int) -> Value:
        return self._joined("and", lambda a, b: a & b, self._negation, depth)

    def _joined(
        self, word: str, join: Callable[[pl.Expr, pl.Expr], pl.Expr], part: Callable[[int], Value], depth: int
    ) -> Value:
        first = part(depth)
        if self._next.keyword != word:
            return first
        parts = [self.truth(first)]
        while self._accept(word):
            parts.append(self.truth(part(depth)))
        return Value(reduce(join, parts), "boolean", word)

    def _negation(self, depth: int) -> Value:
        self._check_depth(depth)
        if self._accept("not"):
            return Value(~self.truth(self._negation(depth + 1)), "boolean", "not")
        return self._test(depth)

    def _test(self, depth: int) -> Value:
        value = self._sum(depth)
        if self._accept("is"):
            negated = self._accept("not")
            if not self._accept("null"):
                self._fail("'null'")
            return Value(value.expr.is_not_null() if negated else value.expr.is_null(), "boolean", "is null")
        sign = self._next.text if self._next.kind == "sign" else ""
        if sign not in _COMPARISONS:
            return value
        self._at += 1
        other = self._sum(depth)
        self.tests.append(Test((value, other), sign))
        return Value(_COMPARISONS[sign](value.expr, other.expr), "boolean", sign)

    def _sum(self, depth: int) -> Value:
        return self._reckoned(("+", "-"), self._product, depth)

    def _product(self, depth: int) -> Value:
        return self._reckoned(("*", "/"), self._factor, depth)

    def _reckoned(self, signs: tuple[str, ...], part: Callable[[int], Value], depth: int) -> Value:
        value = part(depth)
        while self._next.kind == "sign" and self._next.text in signs:
            sign = self._next.text
            self._at += 1
            other = part(depth)
            self.tests.append(Test((value, other), sign, "number"))
            # In double precision, so that whole numbers do not overflow.
            made = _ARITHMETIC[sign](value.expr.cast(pl.Float64), other.expr.cast(pl.Float64))
            value = Value(made, "number", f"{value.text} {sign} {other.text}")
        return value

    def _factor(self, depth: int) -> Value:
        self._check_depth(depth)
        token = self._next
        if token.kind == "sign" and token.text in ("+", "-"):
            self._at += 1
            value = self._factor(depth + 1)
            self.tests.append(Test((value,), token.text, "number"))
            return Value(-value.expr if token.text == "-" else value.expr, "number", token.text + value.text)
        if self._accept("("):
            inner = self.condition(depth + 1)
            if not self._accept(")"):
                self._fail("')'")
            return inner
        return self._atom(depth)

    def _atom(self, depth: int) -> Value:
        token = self._next
        if token.keyword in ("true", "false"):
            found = Value(pl.lit(token.keyword == "true"), "boolean", token.text)
        elif token.kind == "number":
            is_whole = token.text.isdigit() and int(token.text) < _LARGEST
            found = Value(pl.lit(int(token.text) if is_whole else float(token.text)), "number", token.text)
        elif token.kind == "text":
            mark = token.text[0]
            found = Value(pl.lit(token.text[1:-1].replace(mark * 2, mark)), "text", token.text)
        elif token.kind == "word" and not token.keyword and self._tokens[self._at + 1].text == "(":
            return self._call(depth)
        elif token.kind == "quoted" or (token.kind == "word" and not token.keyword):
            name = token.text.strip("`")
            self.columns.append(name)
            found = Value(pl.col(name), "", name)
        else:
            self._fail("a column, a number or a text")
        self._at += 1
        return found

    def _call(self, depth: int) -> Value:
        name = self._next.text.lower()
        if name not in _FUNCTIONS:
            self._fail(f"a column or one of the functions {', '.join(_FUNCTIONS)}")
        function = _FUNCTIONS[name]
        self._at += 2
        given = [self._sum(depth + 1)]
        while len(given) < len(function.takes):
            if not self._accept(","):
                self._fail(f"',' and argument {len(given) + 1} of {name}")
            given.append(self._sum(depth + 1))
        if not self._accept(")"):
            self._fail(f"')' after {len(function.takes)} argument of {name}")
        self.tests += [Test((value,), name, kind) for value, kind in zip(given, function.takes, strict=True) if kind]
        return Value(function.call(*(value.expr for value in given)), function.gives, name)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _accept(self, word: str) -> bool:
        token = self._next
        found = token.keyword == word or (token.kind == "sign" and token.text == word)
        self._at += found
        return found

    def _check_depth(self, depth: int) -> None:
        if depth > _DEEPEST:
            self._fail(f"at most {_DEEPEST} brackets in each other")

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


def _check_kind(test: Test, kinds: list[str]) -> None:
    for value, kind in zip(test.values, kinds, strict=True):
        if kind == test.kind:
            continue
        what = f"column {value.text!r}" if not value.kind else value.text
        if test.sign:
            msg = f"{what} is a {kind}; {test.sign!r} needs a {test.kind}"
        else:
            msg = f"{what} is a {kind}; only one that is true or false may stand alone"
        raise InvalidInputError(msg)


def _kind_of(dtype: Any) -> str:
    if dtype == pl.Boolean:
        return "boolean"
    if dtype == pl.String:
        return "text"
    return "number" if dtype.is_numeric() else str(dtype)
