"""The language of gates: what it chooses, and how it says no."""

import itertools

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.lake import parse_condition

ROWS = pl.DataFrame(
    {
        "n": [0, 1, 2, 3, None],
        "flux": [0.5, -1.5, None, 2e3, 1.0],
        "status": ["ok", "failed", "it's", "ok", ""],
        "is_deep": [True, False, None, True, False],
        "null_count": [1, 2, 3, 4, 5],
    }
)


def chosen(text):
    condition = parse_condition(text)
    condition.check(dict(ROWS.schema))
    return ROWS.with_row_index("i").filter(condition.expr)["i"].to_list()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n < 2", [0, 1]),
        ("n < 2 or status != 'ok'", [0, 1, 2, 4]),
        ("n = 2", [2]),
        ("n == 2", [2]),
        ("n <> 2", [0, 1, 3]),
        ("2 <= n and n <= 3", [2, 3]),
        ("flux > 1.5e3", [3]),
        ("flux<-1", [1]),
        ("flux >= .5 and flux < 1.", [0]),
        ("flux is null", [2]),
        ("flux is not null and n IS NOT NULL", [0, 1, 3]),
        ("status = 'it''s'", [2]),
        ('status = "it\'s"', [2]),
        ("is_deep", [0, 3]),
        ("not is_deep", [1, 4]),
        ("is_deep = false", [1, 4]),
        ("not (n < 2 or n > 2)", [2]),
        ("not not n < 2", [0, 1]),
        ("n < 1 or n > 2 and flux > 0", [0, 3]),
        ("(n < 1 or n > 2) and flux > 1", [3]),
        ("flux < n", [1]),
        ("NOT n<2 AND status='ok'", [3]),
        ("`null_count` > 4", [4]),
        ("null_count > 4", [4]),
        ("n + 1 < 2", [0]),
        ("n - -1 < 2", [0]),
        ("2 * (n + 1) / 4 >= 1.5", [2, 3]),
        ("flux / n > 100", [0, 3]),
        ("0 / n = 0", [1, 2, 3]),
        ("-flux > 1", [1]),
        ("(flux - n) > 1 or (n) = 1", [1, 3]),
        ("abs(flux) < 1.6", [0, 1, 4]),
        ("ABS(flux - 0.5) = 0", [0]),
        ("log10(flux) > 3", [3]),
        ("log10(flux) is null", [1, 2]),
        ("sqrt(n) = 1", [1]),
        ("mag(flux) < 23.95", [3, 4]),
        ("isnull(flux) or isnull(n)", [2, 4]),
        ("not isnull(flux) and isnan(log10(flux) + 1)", []),
        ("contains(status, 'a')", [1]),
        ("contains(status, '.')", []),
        ("startswith(status, 'o')", [0, 3]),
        ("n < 99999999999999999999999", [0, 1, 2, 3]),
    ],
)
def test_rows_are_chosen_as_in_sql(text, rows):
    assert chosen(text) == rows


def test_random_conditions_agree_with_three_valued_logic():
    rng = np.random.default_rng(8)

    def value(kind, row):
        return {"a": row["n"] is not None and row["n"] < 2, "b": row["status"] == "ok", "c": row["n"] is None}[kind]

    atoms = {"a": "(n is not null and n < 2)", "b": "status = 'ok'", "c": "n is null"}

    def grow(depth):
        kind = rng.integers(0, 4) if depth else 3
        if kind == 3:
            name = rng.choice(list(atoms))
            return atoms[name], lambda row: value(name, row)
        if kind == 2:
            text, said = grow(depth - 1)
            return f"not ({text})", lambda row: not said(row)
        (one, first), (two, second) = grow(depth - 1), grow(depth - 1)
        if kind == 1:
            return f"({one}) and ({two})", lambda row: first(row) and second(row)
        return f"({one}) or ({two})", lambda row: first(row) or second(row)

    for _ in range(200):
        text, said = grow(4)
        assert chosen(text) == [i for i, row in enumerate(ROWS.iter_rows(named=True)) if said(row)], text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the end of '' is not allowed, there must be a column, a number or a text"),
        ("n <", "the end of 'n <' is not allowed, there must be a column"),
        ("n < 2 n", "'n' at character 7 .*there must be 'and', 'or' or the end"),
        ("(n < 2", r"the end .*there must be '\)'"),
        ("n is 2", "'2' at character 6 .*there must be 'null'"),
        ("5", "there must be a comparison"),
        ("n < < 2", "'<' at character 5"),
        ("and n < 2", "'and' at character 1"),
        ("n < 2; drop", "'; drop' at character 6"),
        ("status = 'ok", '"\'ok" at character 10'),
        ("n.real < 2", r"'\.real < 2' at character 2"),
        ("n % 2 = 1", "'% 2 = 1' at character 3"),
        ("abs(n) + 1", "the end .*there must be a comparison"),
        ("abs(n", r"the end .*there must be '\)' after 1 argument of abs"),
        ("abs(n, 2) < 1", r"',' at character 6 .*there must be '\)'"),
        ("contains(status) = true", r"'\)' at character 16 .*there must be ',' and argument 2 of contains"),
        ("__import__('os')", "'__import__' at character 1 .*one of the functions abs, sqrt, log10"),
        ("read_csv('/etc/passwd')", "'read_csv' at character 1"),
        ("n < eval('1')", "'eval' at character 5"),
        ("`abs`(n) < 2", r"'\(' at character 6"),
        ("n.abs() < 2", r"'\.abs\(\) < 2' at character 2"),
        ("n[0] < 2", r"'\[0\] < 2' at character 2"),
        ("-" * 200 + "n < 2", "at most 50 brackets in each other"),
        ("n < 2 or " * 1000 + "n < 2", "9005 characters are not allowed, at most 4096"),
        ("n < 2x", "'2x' at character 5"),
        ("(" * 200 + "n < 2" + ")" * 200, "at most 50 brackets in each other"),
        ("not " * 200 + "n < 2", "at most 50 brackets in each other"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(text, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m < 2", "column 'm' is not in the table, which has n, flux, status"),
        ("n < 'x'", r"n \(number\) with 'x' \(text\): only values of one kind"),
        ("status = 5", r"status \(text\) with 5 \(number\)"),
        ("is_deep = 1", r"is_deep \(boolean\) with 1 \(number\)"),
        ("is_deep < true", "is_deep <: what is true or false has no order"),
        ("n and flux > 1", "column 'n' is a number; only one that is true or false may stand alone"),
        ("n < 2 or missing is null", "column 'missing'"),
        ("abs(status) < 2", "column 'status' is a text; 'abs' needs a number"),
        ("status + 1 < 2", r"column 'status' is a text; '\+' needs a number"),
        ("contains(n, '1')", "column 'n' is a number; 'contains' needs a text"),
        ("(n < 2) + 1 < 2", r"< is a boolean; '\+' needs a number"),
        ("not n", "column 'n' is a number; only one that is true or false may stand alone"),
    ],
)
def test_columns_and_kinds_are_compared_with_the_table(text, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_condition(text).check(dict(ROWS.schema))


def test_any_text_is_a_condition_or_an_error_with_a_name():
    rng = np.random.default_rng(3)
    words = [
        "n < 2",
        "status = 'ok'",
        "is_deep",
        "n",
        "is null",
        "(",
        ")",
        "and",
        "or",
        "not",
        "'",
        "é",
        "`",
        "-",
        "<",
        "abs(",
        ",",
    ]
    understood = 0
    for length in itertools.chain(range(1, 9), [1] * 50, [3] * 2000, [5] * 1000):
        text = " ".join(rng.choice(words, length))
        try:
            condition = parse_condition(text)
            condition.check(dict(ROWS.schema))
        except InvalidInputError:
            continue
        understood += 1
        ROWS.filter(condition.expr)
    assert understood > 5


def test_the_longest_chain_that_is_allowed_is_answered():
    text = " or ".join(["n=1"] * 585)
    assert len(text) <= 4096
    assert chosen(text) == [1]
