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


def test_the_table_of_the_docs_has_every_case() -> None:
    root = project_root()
    assert root is not None
    rows = [line.split("|") for line in (Path(root) / "docs" / "statements.md").read_text().splitlines() if "|" in line]
    told = {row[1].strip(" `"): [cell.strip() for cell in row[2:5]] for row in rows[2:]}
    assert told.keys() == CASES.keys()
    for name, cells in told.items():
        refused = CASES[name].back is REFUSED
        assert all(("refused" in cell) == refused for cell in cells), name
