"""Each type of Python and numpy, bound in each store that takes statements: exactly, or refused with a reason.

The table stands in docs/statements.md; a cell there is a case here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.workbench.workbench import Workbench

pytestmark = pytest.mark.integration

STORES = ("cassandra", "hive", "spark")
TIME = datetime(2026, 3, 1, 10, 0, 0, 123000, tzinfo=UTC)
REFUSED = object()


class Case(NamedTuple):
    """A value, the type of a column of Cassandra's for it, and what comes back; by store where they differ."""

    value: Any
    cql: str
    back: Any
    by_store: dict[str, Any] = {}


CASES = {
    "str": Case("it's {a} $b ${c} ü", "text", "it's {a} $b ${c} ü"),
    "bytes": Case(b"\x00'\xff", "blob", b"\x00'\xff"),
    "bool": Case(True, "boolean", True),
    "int": Case(-7, "int", -7),
    "int of 64 bits": Case(-(2**63), "bigint", -(2**63)),
    "longer int": Case(10**20, "varint", 10**20, dict.fromkeys(("hive", "spark"), Decimal(10**20))),
    "float": Case(0.1, "double", 0.1),
    "infinite float": Case(float("-inf"), "double", float("-inf")),
    "Decimal": Case(Decimal("-1234567890.1234"), "decimal", Decimal("-1234567890.1234")),
    "datetime": Case(TIME, "timestamp", TIME),
    "datetime without zone": Case(TIME.replace(tzinfo=None), "timestamp", TIME),
    "date": Case(date(2026, 1, 31), "date", date(2026, 1, 31)),
    "UUID": Case(UUID(int=5), "uuid", UUID(int=5), dict.fromkeys(("hive", "spark"), str(UUID(int=5)))),
    "None": Case(None, "text", None),
    "np.int64": Case(np.int64(7), "bigint", 7),
    "np.float32": Case(np.float32(0.5), "double", 0.5),
    "np.bool_": Case(np.bool_(False), "boolean", False),
    "np.str_": Case(np.str_("a"), "text", "a"),
    "np.datetime64[ns]": Case(np.datetime64(TIME.replace(tzinfo=None), "ns"), "timestamp", TIME),
    "np.datetime64[D]": Case(np.datetime64("2026-01-31", "D"), "date", date(2026, 1, 31)),
    "pd.Timestamp": Case(pd.Timestamp(TIME), "timestamp", TIME),
    "pd.NaT": Case(pd.NaT, "timestamp", None),
    "Decimal of NaN": Case(Decimal("NaN"), "decimal", REFUSED),
    "timedelta": Case(pd.Timedelta("1s"), "text", REFUSED),
    "np.datetime64 below a microsecond": Case(np.datetime64("2026-03-01T10:00:00.123456789"), "timestamp", REFUSED),
    "dict": Case({"a": 1}, "text", REFUSED),
    "Enum": Case(Enum("Plain", "A").A, "text", REFUSED),  # type: ignore[attr-defined]
    "IntEnum": Case(IntEnum("Number", "A").A, "bigint", 1),  # type: ignore[attr-defined]
    "time": Case(time(1, 2, 3), "text", REFUSED),
    "pd.NA": Case(pd.NA, "text", None),
    "NaN": Case(float("nan"), "double", float("nan")),
    "pd.Timestamp with a zone": Case(pd.Timestamp(TIME).tz_convert("America/New_York"), "timestamp", TIME),
    "np.uint64": Case(np.uint64(2**64 - 1), "varint", 2**64 - 1, dict.fromkeys(("hive", "spark"), Decimal(2**64 - 1))),
    "np.bytes_": Case(np.bytes_(b"a'"), "blob", b"a'"),
    "np.datetime64 of the year 10000": Case(np.datetime64("10000-01-01", "s"), "timestamp", REFUSED),
    "str with half of a character": Case("a\ud800", "text", REFUSED),
}


@pytest.fixture(scope="module")
def bench(stack: Settings) -> Iterator[Workbench]:
    bench = Workbench(namespace=f"bind_{os.getpid()}")
    keyspace = bench.settings.namespace.keyspace
    bench.cassandra.query(
        f"create keyspace if not exists {keyspace} with replication = "
        "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
    )
    for number, kind in enumerate(sorted({case.cql for case in CASES.values()})):
        bench.cassandra.query(f"create table if not exists kind_{number} (k text primary key, v {kind})")
        bench.cassandra.query(f"create table if not exists among_{number} (v {kind} primary key)")
    bench.cassandra.query(
        "create table if not exists held (k int primary key, numbers list<double>, names set<text>, days list<date>)"
    )
    yield bench
    bench.cassandra.drop()
    bench.cassandra.close()
    bench.hive.close()


def back(bench: Workbench, store: str, case: Case) -> Any:
    """The value that a store gives back for the one that it was given."""
    if store != "cassandra":
        client = bench.hive if store == "hive" else bench._spark
        frame = client.query("select :theValue as x", {"theValue": case.value})
        return frame.iloc[0, 0]
    number = sorted({case.cql for case in CASES.values()}).index(case.cql)
    bench.cassandra.query(
        f"insert into kind_{number} (k, v) values (:theKey, :theValue)", {"theKey": "k", "theValue": case.value}
    )
    return bench.cassandra.query(f"select v from kind_{number} where k = 'k'").iloc[0, 0]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", CASES)
def test_a_value_comes_back_as_it_went_or_is_refused(bench: Workbench, name: str, store: str) -> None:
    case = CASES[name]
    wanted = case.by_store.get(store, case.back)
    if wanted is REFUSED:
        with pytest.raises(UsageError, match="theValue"):
            back(bench, store, case)
        return
    found = back(bench, store, case)
    if wanted is None:
        assert found is None or found is pd.NA or found is pd.NaT
        return
    found = found.to_pydatetime() if isinstance(found, pd.Timestamp) else found
    assert found == wanted or (found != found and wanted != wanted)  # NaN is not equal to itself


class Among(NamedTuple):
    """A list for `in :names`, the type of Cassandra's column, and values of which only the first is in it."""

    names: Any
    cql: str
    there: Any
    absent: Any


DAY, EARLIER = date(2026, 1, 31), TIME.replace(year=2020)
NAIVE = np.datetime64(TIME.replace(tzinfo=None), "ns")
AMONG = {
    "list of str": Among(["it's ${a}", "b"], "text", "it's ${a}", "c"),
    "list of bytes": Among([b"\x00'", b"b"], "blob", b"\x00'", b"c"),
    "list of bool": Among([True], "boolean", True, False),
    "list of int": Among([7, -(2**63)], "bigint", -(2**63), 8),
    "list of longer int": Among([7, 10**20], "varint", 10**20, 10**20 + 1),
    "list of float": Among([0.1, float("inf")], "double", 0.1, 0.2),
    "list with NaN": Among([0.1, float("nan")], "double", float("nan"), 0.2),
    "list of Decimal": Among([Decimal("0.10"), Decimal(10) ** 30], "decimal", Decimal("0.10"), Decimal("0.11")),
    "list of datetime": Among([TIME], "timestamp", TIME, EARLIER),
    "list of date": Among([DAY], "date", DAY, date(2026, 2, 1)),
    "list of UUID": Among([UUID(int=5)], "uuid", UUID(int=5), UUID(int=6)),
    "tuple": Among(("a", "b"), "text", "a", "c"),
    "set": Among({"a", "b"}, "text", "a", "c"),
    "frozenset": Among(frozenset({7}), "int", 7, 8),
    "range": Among(range(3), "int", 2, 3),
    "keys of a dict": Among({7: 1}.keys(), "int", 7, 8),
    "values of a dict": Among({1: 7}.values(), "int", 7, 8),
    "list of 2,000": Among(list(range(2000)), "int", 1999, 2000),
    "array of int64": Among(np.array([7, 9]), "bigint", 7, 8),
    "array of uint64": Among(np.array([2**64 - 1], dtype="uint64"), "varint", 2**64 - 1, 2**64 - 2),
    "array of float32": Among(np.array([0.5], dtype="float32"), "double", 0.5, 0.1),
    "array of bool": Among(np.array([False]), "boolean", False, True),
    "array of str": Among(np.array(["a", "bb"]), "text", "a", "c"),
    "array of datetime64[ns]": Among(np.array([NAIVE]), "timestamp", TIME, EARLIER),
    "array of datetime64[D]": Among(np.array(["2026-01-31"], dtype="datetime64[D]"), "date", DAY, date(2026, 2, 1)),
    "Series of int64": Among(pd.Series([7, 9]), "bigint", 7, 8),
    "Series of str": Among(pd.Series(["a", "b"]), "text", "a", "c"),
    "Series of category": Among(pd.Series(["a", "b"], dtype="category"), "text", "a", "c"),
    "Series of Decimal": Among(pd.Series([Decimal("0.10")]), "decimal", Decimal("0.10"), Decimal("0.11")),
    "Series of times": Among(pd.Series([pd.Timestamp(TIME)]), "timestamp", TIME, EARLIER),
    "Index of times": Among(pd.DatetimeIndex([NAIVE]), "timestamp", TIME, EARLIER),
    "polars Series": Among(pl.Series([TIME]), "timestamp", TIME, EARLIER),
    "Arrow array": Among(pa.array(["a"]), "text", "a", "c"),
    "list of int and float": Among([1, 0.5], "double", 1.0, 2.0),
    "list of int and Decimal": Among([1, Decimal("0.5")], "decimal", Decimal(1), Decimal(2)),
    "empty list": Among([], "int", 7, REFUSED),
    "empty array": Among(np.array([]), "double", 0.5, REFUSED),
    "empty Series": Among(pd.Series([], dtype="str"), "text", "a", REFUSED),
    "list with None": Among([7, None], "int", 7, REFUSED),
    "Series with None": Among(pd.Series([7, None]), "double", 7.0, REFUSED),
    "Series with pd.NA": Among(pd.Series([7, pd.NA], dtype="Int64"), "bigint", 7, REFUSED),
    "Series with NaT": Among(pd.Series([pd.Timestamp(TIME), pd.NaT]), "timestamp", TIME, REFUSED),
    "list of int and str": Among([7, "a"], "int", 7, REFUSED),
    "list of int and bool": Among([1, True], "int", 1, REFUSED),
    "list of date and datetime": Among([DAY, TIME], "date", DAY, REFUSED),
    "list of float and an int that no float is": Among([0.5, 2**53 + 1], "bigint", 2**53 + 1, REFUSED),
    "list of lists": Among([[7, 8]], "int", 7, REFUSED),
    "array of two dimensions": Among(np.array([[7, 8]]), "int", 7, REFUSED),
    "generator": Among((number for number in [7]), "int", 7, REFUSED),
    "one value": Among("a", "text", "a", REFUSED),
}


def is_among(bench: Workbench, store: str, case: Among, value: Any) -> bool:
    """Whether a store finds a value in the list."""
    if store != "cassandra":
        client = bench.hive if store == "hive" else bench._spark
        given = {"value": value, "names": case.names}
        return len(client.query("select x from (select :value as x) t where x in :names", given)) == 1
    table = f"among_{sorted({case.cql for case in CASES.values()}).index(case.cql)}"
    bench.cassandra.query(f"truncate {table}")
    bench.cassandra.query(f"insert into {table} (v) values (:value)", {"value": value})
    return len(bench.cassandra.query(f"select v from {table} where v in :names", {"names": case.names})) == 1


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", AMONG)
def test_a_list_is_searched_as_it_is_or_refused(bench: Workbench, name: str, store: str) -> None:
    case = AMONG[name]
    if case.absent is REFUSED:
        with pytest.raises(UsageError, match="names"):
            is_among(bench, store, case, case.there)
        return
    assert is_among(bench, store, case, case.there)
    assert not is_among(bench, store, case, case.absent)


@pytest.mark.parametrize("store", STORES)
def test_a_list_in_parentheses_is_refused_with_what_to_write(bench: Workbench, store: str) -> None:
    client = {"cassandra": bench.cassandra, "hive": bench.hive, "spark": bench._spark}[store]
    table = "system.local" if store == "cassandra" else "(select 'local' as key) t"
    with pytest.raises(UsageError, match="Write `in :names`"):
        client.query(f"select key from {table} where key in (:names)", {"names": ["local"]})
    assert len(client.query(f"select key from {table} where key in (:a, :b)", {"a": "local", "b": "x"})) == 1


def test_collections_of_cassandra_hold_lists_as_they_are(bench: Workbench) -> None:
    add = "insert into held (k, numbers, names, days) values (1, :numbers, :names, :days)"
    given = {"numbers": np.array([0.5, np.nan]), "names": {"b", "a"}, "days": [DAY]}
    bench.cassandra.query(add, given)
    (row,) = bench.cassandra.query("select * from held").to_dict("records")
    assert row["numbers"][0] == 0.5 and np.isnan(row["numbers"][1])
    assert ({*row["names"]}, [*row["days"]]) == ({"a", "b"}, [DAY])
    for name, wrong in {"numbers": [None], "days": [TIME], "names": [b"x"]}.items():
        with pytest.raises(UsageError, match=name):
            bench.cassandra.query(add, given | {name: wrong})


@pytest.mark.parametrize(
    ("cql", "value"),
    [
        ("blob", 7), ("blob", [1]), ("date", TIME), ("date", 7), ("double", 2**53 + 1), ("double", Decimal("0.1")),
        ("int", True), ("decimal", True), ("decimal", 0.1), ("timestamp", 0.5), ("text", 7), ("boolean", 1),
        ("uuid", "a"),
    ],
)  # fmt: skip
def test_what_cassandra_would_keep_as_another_value_is_refused(bench: Workbench, cql: str, value: Any) -> None:
    with pytest.raises(UsageError, match="theValue"):
        back(bench, "cassandra", Case(value, cql, None))


@pytest.mark.parametrize("store", STORES)
def test_statements_as_people_type_them(bench: Workbench, store: str) -> None:
    client = {"cassandra": bench.cassandra, "hive": bench.hive, "spark": bench._spark}[store]
    one = "select release_version from system.local" if store == "cassandra" else "select 1 as x"
    for text in (f"{one};", f"{one} ; -- done", f"-- why\n{one} /* :no */ ;\n-- done;\n", f"{one};;"):
        assert len(client.query(text)) == 1, text
    table = "system.local where key in :names" if store == "cassandra" else "(select 'a' as key) t where key in :names"
    with pytest.raises(UsageError, match="The list :names is empty"):
        client.query(f"select key from {table}", {"names": []})
    assert len(client.query(f"select key from {table}", {"names": ["a", "local"]})) == 1


@pytest.mark.parametrize("store", ["hive", "spark"])
def test_times_of_any_year_are_utc_and_what_python_lacks_is_told(bench: Workbench, store: str) -> None:
    client = {"hive": bench.hive, "spark": bench._spark}[store]
    early = client.query("select timestamp '0001-01-01 00:00:00' as x").iloc[0, 0]
    assert early == datetime(1, 1, 1, tzinfo=UTC)
    if store == "spark":
        for late in ("date '12000-01-01'", "timestamp '12000-01-01 00:00:00'", "array(date '-0044-03-15')"):
            with pytest.raises(UsageError, match=r"a value that Python can't hold: 'x'.*`cast\(x as string\)`"):
                client.query(f"select {late} as x")
        assert client.query("select cast(date '12000-01-01' as string) as x").iloc[0, 0] == "+12000-01-01"


def test_the_table_of_the_docs_has_every_case() -> None:
    root = project_root()
    assert root is not None
    rows = [line.split("|") for line in (Path(root) / "docs" / "statements.md").read_text().splitlines() if "|" in line]
    told = {row[1].strip(" `"): [cell.strip() for cell in row[2:5]] for row in rows if "`" in row[1]}
    refusals = {name: case.back is REFUSED for name, case in CASES.items()}
    refusals |= {name: case.absent is REFUSED for name, case in AMONG.items()}
    assert told.keys() == refusals.keys()
    for name, cells in told.items():
        refused = refusals[name]
        assert all(("refused" in cell) == refused for cell in cells), name
