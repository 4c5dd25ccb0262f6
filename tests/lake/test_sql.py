"""SQL over a lake: its tables and nothing else, found by parsing."""

import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.lake.sql import tables_of

TABLES = ("source", "run", "cutout", "read_me", "count")


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """Files that no query may open."""
    folder = tmp_path_factory.mktemp("secret")
    frame = pl.DataFrame({"word": ["swordfish"]})
    frame.write_csv(folder / "secret.csv")
    frame.write_parquet(folder / "secret.parquet")
    frame.write_ipc(folder / "secret.ipc")
    frame.write_ndjson(folder / "secret.json")
    return folder


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('{}/secret.csv')",
        "select * from READ_PARQUET('{}/secret.parquet')",
        "select * from read_ipc ('{}/secret.ipc')",
        "select * from read_json/* */('{}/secret.json')",
        "select * from \"read_csv\"('{}/secret.csv')",
        "select * from `read_csv`('{}/secret.csv')",
        "select * from ((read_csv('{}/secret.csv')))",
        "select word from source, read_csv('{}/secret.csv')",
        "select word from source cross join read_csv('{}/secret.csv')",
        "select word from source as s(a), read_csv('{}/secret.csv')",
        "select word from (select * from read_csv('{}/secret.csv')) as t",
        "select source_id from source where 'x' in (select word from read_csv('{}/secret.csv'))",
        "with t as (select * from read_csv('{}/secret.csv')) select * from t",
        "with read_csv as (select 1) select * from read_csv('{}/secret.csv')",
        "select 1 as n from source union all select word from read_csv('{}/secret.csv')",
        "from read_csv('{}/secret.csv') select word",
        "select '''' as b, word from read_csv('{}/secret.csv')",
        "select 'it\n''s', word from read_csv('{}/secret.csv')",
        "select $$'$$ as b, word from read_csv('{}/secret.csv') -- '",
        "select $tag$'$tag$ as b, word from read_csv('{}/secret.csv') -- '",
        "select e'\\'' as b, word from read_csv('{}/secret.csv') -- '",
        "select x'27' as b, word from read_csv('{}/secret.csv') -- '",
        "select 'x\\' as b, word from read_csv('{}/secret.csv') -- '",
        'select """" as b, word from read_csv(\'{}/secret.csv\') -- "',
        "select word /* /* */ */ from read_csv('{}/secret.csv') /* */",
        "select word from -- '\n read_csv('{}/secret.csv') -- '",
        "select extract(year from word) from read_csv('{}/secret.csv')",
        "select word is distinct from 'a' from read_csv('{}/secret.csv')",
        "select * from '{}/secret.csv'",
        'select * from "{}/secret.csv"',
        "select * from `{}/secret.parquet`",
        "select * from main.source",
        "create table t as select * from read_csv('{}/secret.csv')",
        "select 1; select * from read_csv('{}/secret.csv')",
        "show tables",
        "",
    ],
)
def test_nothing_outside_the_lake_can_be_read(full, secret, query):
    with pytest.raises(InvalidInputError, match="query: "):
        full.sql(query.format(secret)).collect()


def test_polars_itself_would_read_it(secret):
    """The attacks above are real ones: without the parser a file's content comes out."""
    for query in (
        "select * from read_csv('{}/secret.csv')",
        "select $$'$$ as b, word from read_csv('{}/secret.csv') -- '",
    ):
        found = pl.SQLContext(eager=True).execute(query.format(secret))
        assert found["word"].to_list() == ["swordfish"]


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("select 'read_csv(''/etc/passwd'')' as text from source", ["source"]),
        ("select ' from read_parquet(''x'')' as a, ', read_csv(' as b from source", ["source"]),
        ("select 1 -- from read_csv('x')\nfrom source", ["source"]),
        ("select 1 /* from read_csv('x') /* , y */ */ from source;", ["source"]),
        ('select "ra", `dec` from "source" as s', ["source"]),
        (
            "with bright as (select * from source), b2 as (select * from bright) select * from b2, run",
            ["run", "source"],
        ),
        ("select * from (select source_id from source) a join cutout using (source_id)", ["cutout", "source"]),
        ("select count(*), sum(n) from count", ["count"]),
        ("select read_me.x from read_me", ["read_me"]),
        ("select * from source union select * from cutout order by ra, dec limit 3", ["cutout", "source"]),
        ("select extract(year from t), trim(both from x), a is distinct from b from run", ["run"]),
        ("select substring(x from 2) from run where y in (1, 2) and z in (select tile from cutout)", ["cutout", "run"]),
        ("select sum(x) over (partition by a, b order by c, d) from run", ["run"]),
        ("select case when a = 'from' then 1 end from source natural join run", ["run", "source"]),
        ("select 1", []),
    ],
)
def test_tables_are_found_by_parsing(query, tables):
    assert tables_of(query, TABLES) == tables


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select * from nothing", "nothing is not allowed in the place of a table"),
        ("select * from source where x = 'open", "quotation mark is not closed"),
        ("select * from source /* open", "comment is not closed"),
        ("delete from source", "must be one SELECT"),
        ("select nothing from source", "nothing"),
        ("select from where", "query: "),
    ],
)
def test_what_is_not_understood_is_said(full, query, words):
    with pytest.raises(InvalidInputError, match=words):
        full.sql(query).collect()


def test_answers_are_those_of_the_tables(full):
    rows = full.table("source").collect()
    assert full.sql("select count(*) as n from source").collect().item() == rows.height
    asked = """
        with cut as (select source_id, size_class from cutout where size_class = 64)
        select s.source_id, c.size_class, 'read_csv(''x'')' as text
        from "source" as s join cut as c on s.source_id = c.source_id -- and nothing else
        order by s.source_id
    """
    found = full.sql(asked).collect()
    expected = full.table("cutout").filter(pl.col("size_class") == 64).sort("source_id").collect()
    assert found["source_id"].equals(expected["source_id"])
    assert found["text"].unique().to_list() == ["read_csv('x')"]
    grouped = full.sql("select tile, max(label) as top from source group by tile having max(label) > 0").collect()
    assert sorted(grouped["tile"]) == ["east", "west"]
