"""What every store of tables of rows does: on the real servers, and in a further store."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from retailpulse_kernel.ground.errors import ConfinedError, NoSuchTable, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.rows import DELETED, Column, RowTable
from retailpulse_kernel.stores import registry
from retailpulse_kernel.stores.base import MicroBatch, RowStore
from retailpulse_kernel.stores.rows import schema_of
from tests.sqlite_store import SqliteStore

pytestmark = pytest.mark.integration

#: Shipped ones, that of `tests/sqlite_store.py`, and what is installed.
STORES = [name for name in registry.names() if registry.can(name, RowStore)]
#: Stores that also keep rows without a key.
APPENDING = {"hive", "kafka", SqliteStore.name}
#: Stores that keep the higher version, whichever comes last; Kafka's readers see messages in their order.
VERSIONED = {"cassandra", "hbase", "hive", SqliteStore.name}

TEXTS = (
    "plain", "", " leading and trailing ", "a#b", "100%", "tab\tnew\nline\r", "naïve", "日本語", "🛒", "e\u0301",
    "\u202eright to left", "'; drop table x; --", '"quoted"', "\\n", "\x01", "\uffff", "null", "x" * 70_000,
)  # fmt: skip
VALUES: dict[str, tuple[Any, ...]] = {
    "bool": (True, False),
    "int": (0, 1, -1, 2**31 - 1, -(2**31)),
    "long": (0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    "double": (0.0, -0.0, 0.1, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 1e22),
    "decimal(18,4)": (Decimal("0.0000"), Decimal("-0.0001"), Decimal("99999999999999.9999"), Decimal("1.1000")),
    "decimal(38,0)": (Decimal(10**38 - 1), Decimal(-(10**38) + 1), Decimal(0)),
    "decimal(38,38)": (Decimal("0." + "9" * 38), Decimal("-0." + "0" * 37 + "1")),
    "decimal(38,10)": (Decimal("9" * 28 + "." + "9" * 10), Decimal("0.1000000000")),
    "string": TEXTS,
    "binary": (b"", b"\0", bytes(range(256)), b"\xff\xfe", b"x" * 70_000),
    "date": (date(1, 1, 1), date(1582, 10, 10), date(1969, 12, 31), date(1970, 1, 1), date(9999, 12, 31)),
    "timestamp": tuple(
        moment.replace(tzinfo=UTC)
        for moment in (
            datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999000), datetime(1970, 1, 1),
            datetime(2026, 10, 25, 1, 30, 0, 1000), datetime(9999, 12, 31, 23, 59, 59, 999000),
        )
    ),
}  # fmt: skip
#: What a key may have in every store.
KEYS = {
    kind: tuple(value for value in values if not isinstance(value, str | bytes) or 0 < len(value) < 30_000)
    for kind, values in VALUES.items()
    if kind != "double"
}
MICROS = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
_names = itertools.count()


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowStore]:
    """A store in a namespace of its own."""
    folder, shipped = tmp_path_factory.mktemp("store"), request.param in ("cassandra", "hbase", "hive", "kafka")
    (folder / "local.toml").write_text("" if shipped else f"[stores.{request.param}]\n")
    home = request.getfixturevalue("stack").home if shipped else folder
    name = f"rc_{os.getpid()}_{time.time_ns() % 10**9}"
    own = Settings.load(home=home, profile=str(folder / "local.toml"), namespace=name)
    made = cast(RowStore, registry.open_store(request.param, own))
    yield made
    made.drop()
    made.close()


def a_table(kinds: dict[str, str], key: Sequence[str] = (), name: str | None = None) -> RowTable:
    """A table that no other test uses."""
    return RowTable(
        name or f"t{next(_names)}", tuple(Column(column, kind) for column, kind in kinds.items()), tuple(key)
    )


def rows_of(table: RowTable, rows: Sequence[Sequence[Any]], deleted: Sequence[bool] | None = None) -> pa.Table:
    """Rows in the table's types, and which of them are to be removed."""
    names = list(table.types)
    found = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema_of(table))
    return found if deleted is None else found.append_column(DELETED, pa.array(deleted, pa.bool_()))


def by(batch: int, *, epoch: int = 1, writer: str = "job/output") -> MicroBatch:
    """A micro-batch, with a version as `version_of` gives it."""
    return MicroBatch(epoch, batch, 1_790_000_000_000 + 1_000_000 * epoch + batch, writer)


def exactly(rows: pa.Table) -> list[str]:
    """Rows in one order, each value with its type: 1 is not True, -0.0 not 0.0, and 1.10 not 1.1."""
    return sorted(repr(list(row.values())) for row in rows.to_pylist())


def written(store: RowStore, table: RowTable, rows: pa.Table, *, batch: int = 0) -> pa.Table:
    """What a store gives back of rows."""
    store.check_rows(table)
    store.create_rows(table)
    store.write_rows(table, rows, by=by(batch))
    found = store.read_rows(table)
    assert found.schema == schema_of(table)
    return found


class TestValues:
    def test_what_is_written_is_read_back(self, store: RowStore) -> None:
        """Each value of each type, alone and in lists; in the last rows, nothing is there."""
        kinds = {f"c{n}": kind for n, kind in enumerate(VALUES)}
        lists = {f"l{n}": f"list<{kind}>" for n, kind in enumerate(VALUES)}
        table = a_table({"n": "int"} | kinds | lists, ["n"])
        rows = []
        for n in range(max(map(len, VALUES.values()))):
            values = [some[n % len(some)] for some in VALUES.values()]
            rows.append((n, *values, *(list(some[: n + 1]) for some in VALUES.values())))
        nothing = [None] * len(VALUES)
        rows += [(100, *nothing, *([] for _ in VALUES)), (101, *nothing, *nothing)]
        expected = rows_of(table, rows)
        assert exactly(written(store, table, expected)) == exactly(expected)

    def test_each_value_of_a_long_key_is_a_row(self, store: RowStore) -> None:
        """A key of all types, of which one after the other takes each of its values."""
        kinds = {f"c{n}": kind for n, kind in enumerate(KEYS)}
        table = a_table(kinds | {"other": "int"}, list(kinds))
        first = [values[0] for values in KEYS.values()]
        rows = [(*first, 0)]
        for place, values in enumerate(KEYS.values()):
            rows += [(*first[:place], value, *first[place + 1 :], len(rows)) for value in values[1:]]
        self.keep_and_remove(store, table, rows)

    @pytest.mark.parametrize("kind", ["decimal(38,10)", "string", "timestamp"])
    def test_each_value_of_a_short_key_is_a_row(self, store: RowStore, kind: str) -> None:
        table = a_table({"value": kind, "other": "int"}, ["value"])
        self.keep_and_remove(store, table, [(value, n) for n, value in enumerate(KEYS[kind])])

    def keep_and_remove(self, store: RowStore, table: RowTable, rows: Sequence[Sequence[Any]]) -> None:
        expected = rows_of(table, rows)
        assert exactly(written(store, table, expected)) == exactly(expected)
        assert len(set(exactly(expected))) == len(rows) > 1
        store.write_rows(table, rows_of(table, rows, [n != 1 for n in range(len(rows))]), by=by(1))
        assert exactly(store.read_rows(table)) == exactly(expected.slice(1, 1))

    def test_parts_of_a_key_do_not_run_into_one_another(self, store: RowStore) -> None:
        table = a_table({"a": "string", "b": "string", "c": "string"}, ["a", "b", "c"])
        parts = ("a", "aa", "a#", "#a", "a\x01", "a,", '["a"]', "a\\", "\\")
        expected = rows_of(table, list(itertools.product(parts, parts, ("", *parts))))
        assert exactly(written(store, table, expected)) == exactly(expected)
        assert store.read_rows(table).num_rows == 9 * 9 * 10

    @pytest.mark.parametrize("kind", ["string", "binary"])
    def test_an_empty_key_is_kept_or_refused_by_its_column(self, store: RowStore, kind: str) -> None:
        empty = "" if kind == "string" else b""
        table = a_table({"value": kind, "n": "int"}, ["value"])
        rows = rows_of(table, [(empty, 1)])
        if store.name == "cassandra":
            with pytest.raises(UsageError, match="empty value: the column 'value'"):
                written(store, table, rows)
            assert store.read_rows(table).num_rows == 0
        else:
            assert exactly(written(store, table, rows)) == exactly(rows)

    def test_a_key_that_is_too_long_is_kept_or_refused_by_its_column(self, store: RowStore) -> None:
        table = a_table({"value": "string", "n": "int"}, ["value"])
        rows = rows_of(table, [("é" * 33_000, 1), ("é" * 32_999 + "e", 2)])
        if store.name in ("cassandra", "hbase"):
            with pytest.raises(UsageError, match=r"the column 'value' .* one of 66,000"):
                written(store, table, rows)
            assert store.read_rows(table).num_rows == 0
        else:
            assert exactly(written(store, table, rows)) == exactly(rows)

    def test_microseconds_are_kept_or_refused_by_their_column(self, store: RowStore) -> None:
        table = a_table({"n": "int", "moment": "timestamp", "moments": "list<timestamp>"}, ["n"])
        for batch, row in enumerate([(1, MICROS, None), (2, None, [MICROS])]):
            rows = rows_of(table, [row])
            if store.name == "cassandra":
                with pytest.raises(UsageError, match=r"milliseconds: the column 'moments?'"):
                    written(store, table, rows)
                assert store.read_rows(table).num_rows == 0
            else:
                assert exactly(rows)[0] in exactly(written(store, table, rows, batch=batch))

    def test_the_character_nul_is_kept(self, store: RowStore) -> None:
        table = a_table({"name": "string", "value": "string"}, ["name"])
        expected = rows_of(table, [("a\0b", "\0"), ("a", "\0\0"), ("a\0", "")])
        assert exactly(written(store, table, expected)) == exactly(expected)

    def test_a_null_within_a_list_is_kept_or_refused_by_its_column(self, store: RowStore) -> None:
        table = a_table({"n": "int", "items": "list<int>"}, ["n"])
        rows = rows_of(table, [(1, [1, None, 2])])
        if store.name == "cassandra":
            with pytest.raises(UsageError, match="null within a list: the column 'items'"):
                written(store, table, rows)
        else:
            assert exactly(written(store, table, rows)) == exactly(rows)

    def test_columns_may_have_the_names_of_words(self, store: RowStore) -> None:
        words = ("order", "user", "start", "timestamp", "select", "value", "from", "table", "date", "key", "row")
        table = a_table(dict.fromkeys(words, "string"), ["order", "user"], name="group")
        expected = rows_of(table, [tuple(words), tuple(reversed(words))])
        assert exactly(written(store, table, expected)) == exactly(expected)
        store.remove_rows(table)


class TestKeyed:
    def test_a_later_row_takes_the_place_of_an_earlier_one(self, store: RowStore) -> None:
        table = a_table({"name": "string", "total": "decimal(9,2)"}, ["name"])
        store.create_rows(table)
        store.write_rows(table, rows_of(table, [("a", Decimal("1.10")), ("b", Decimal(2))]), by=by(0))
        store.write_rows(table, rows_of(table, [("a", None), ("c", Decimal(3))]), by=by(1))
        assert exactly(store.read_rows(table)) == exactly(
            rows_of(table, [("a", None), ("b", Decimal(2)), ("c", Decimal(3))])
        )

    def test_of_one_write_the_last_row_of_a_key_stays(self, store: RowStore) -> None:
        table = a_table({"name": "string", "n": "int"}, ["name"])
        store.create_rows(table)
        rows = [("a", 9), ("b", 1), ("a", 2), ("gone", 1), ("gone", 2), ("back", 1), ("back", 7), ("a", 1)]
        deleted = [False, False, False, False, True, True, False, False]
        store.write_rows(table, rows_of(table, rows, deleted), by=by(0))
        assert exactly(store.read_rows(table)) == exactly(rows_of(table, [("a", 1), ("b", 1), ("back", 7)]))

    def test_what_is_deleted_is_gone_until_it_is_written_again(self, store: RowStore) -> None:
        table = a_table({"name": "string", "n": "int", "note": "string"}, ["name", "n"])
        store.create_rows(table)
        rows = [("a", n, "x") for n in range(50)]
        store.write_rows(table, rows_of(table, rows), by=by(0))
        store.write_rows(table, rows_of(table, [("a", n, None) for n in range(45)], [True] * 45), by=by(1))
        assert exactly(store.read_rows(table)) == exactly(rows_of(table, rows[45:]))
        store.write_rows(table, rows_of(table, rows[:5]), by=by(2))
        assert exactly(store.read_rows(table)) == exactly(rows_of(table, rows[45:] + rows[:5]))

    def test_a_batch_that_is_done_again_changes_nothing(self, store: RowStore) -> None:
        table = a_table({"name": "string", "n": "int"}, ["name"])
        store.create_rows(table)
        for _ in range(3):
            store.write_rows(table, rows_of(table, [("a", 1), ("b", 2), ("c", 3)], [False, False, True]), by=by(4))
        assert exactly(store.read_rows(table)) == exactly(rows_of(table, [("a", 1), ("b", 2)]))

    def test_the_later_version_wins_whatever_comes_last(self, store: RowStore) -> None:
        if store.name not in VERSIONED:
            pytest.skip("its readers see messages in their order")
        table = a_table({"name": "string", "n": "int", "other": "int"}, ["name"])
        store.create_rows(table)
        store.write_rows(table, rows_of(table, [("a", 5, None), ("gone", 5, 5)], [False, True]), by=by(5))
        for older in (by(4), by(900, epoch=0)):
            store.write_rows(table, rows_of(table, [("a", 4, 4), ("gone", 4, 4), ("b", 4, 4)]), by=older)
            assert exactly(store.read_rows(table)) == exactly(rows_of(table, [("a", 5, None), ("b", 4, 4)]))
        store.write_rows(table, rows_of(table, [("a", 3, 3), ("b", 3, 3)], [True, True]), by=by(3))
        assert exactly(store.read_rows(table)) == exactly(rows_of(table, [("a", 5, None), ("b", 4, 4)]))
        store.write_rows(table, rows_of(table, [("a", 0, 0), ("gone", 0, 0)]), by=by(0, epoch=2))
        assert exactly(store.read_rows(table)) == exactly(rows_of(table, [("a", 0, 0), ("gone", 0, 0), ("b", 4, 4)]))


class TestAppended:
    def test_rows_without_a_key_are_added_once(self, store: RowStore) -> None:
        table = a_table({"name": "string", "n": "int"})
        if store.name not in APPENDING:
            with pytest.raises(UsageError, match=r"has none.*key=\[\.\.\.\]"):
                store.check_rows(table)
            return
        store.create_rows(table)
        same = rows_of(table, [("a", 1), ("a", 1), (None, None)])
        for _ in range(2):
            store.write_rows(table, same, by=by(0))
        store.write_rows(table, same, by=by(1))
        for _ in range(2):
            store.write_rows(table, same, by=by(0, epoch=2))
        assert exactly(store.read_rows(table)) == sorted(exactly(same) * 3)

    def test_no_rows_are_a_batch_too(self, store: RowStore) -> None:
        table = a_table({"name": "string"}, () if store.name in APPENDING else ("name",))
        store.create_rows(table)
        for _ in range(2):
            store.write_rows(table, rows_of(table, []), by=by(0))
        assert store.read_rows(table).schema == schema_of(table)
        assert store.read_rows(table).num_rows == 0


class TestTables:
    def test_a_table_is_made_once_and_gets_columns_that_are_new(self, store: RowStore) -> None:
        table = a_table({"name": "string", "n": "int"}, ["name"])
        more = a_table({"name": "string", "later": "decimal(9,2)", "n": "int"}, ["name"], name=table.name)
        store.create_rows(table)
        store.write_rows(table, rows_of(table, [("a", 1), ("b", 1)]), by=by(0))
        for _ in range(2):
            store.create_rows(more)
        store.write_rows(more, rows_of(more, [("b", Decimal(2), 2)]), by=by(1))
        assert exactly(store.read_rows(more)) == exactly(rows_of(more, [("a", None, 1), ("b", Decimal(2), 2)]))
        store.create_rows(table)
        assert exactly(store.read_rows(table)) == exactly(rows_of(table, [("a", 1), ("b", 2)]))

    @pytest.mark.parametrize("kind", ["string", "decimal(9,3)"])
    def test_another_type_is_refused_by_its_column(self, store: RowStore, kind: str) -> None:
        table = a_table({"name": "string", "price": "decimal(9,2)"}, ["name"])
        other = a_table({"name": "string", "price": kind}, ["name"], name=table.name)
        store.create_rows(table)
        if store.name == "cassandra" and kind == "decimal(9,3)":
            pytest.skip("its decimals have no places of their own")
        with pytest.raises(UsageError, match=f"{table.name!r} is there, and its column 'price' is"):
            store.create_rows(other)

    def test_another_key_is_refused(self, store: RowStore) -> None:
        kinds = {"name": "string", "n": "int"}
        table = a_table(kinds, ["name", "n"])
        store.create_rows(table)
        for key in (["name"], ["n", "name"]):
            with pytest.raises(UsageError, match=rf"{table.name!r} is there, and its key is \(name, n\)"):
                store.create_rows(a_table(kinds, key, name=table.name))

    @pytest.mark.parametrize("kind", ["double", "list<string>"])
    def test_a_key_of_no_certain_value_is_refused_by_its_column(self, store: RowStore, kind: str) -> None:
        with pytest.raises(UsageError, match=r"'value' .* can't be part of a key"):
            store.check_rows(a_table({"value": kind, "n": "int"}, ["n", "value"]))

    def test_what_does_not_fit_is_refused_by_its_column(self, store: RowStore) -> None:
        table = a_table({"name": "string", "n": "int"}, ["name"])
        store.create_rows(table)
        faults = {
            r"no column 'n'": pa.table({"name": ["a"]}),
            r"'n' .* do not fit": pa.table({"name": ["a"], "n": [2**40]}),
            r"'name' is part of the key .* null in 2 rows": pa.table({"name": ["a", None, None], "n": [1, 2, 3]}),
        }
        for said, rows in faults.items():
            with pytest.raises(UsageError, match=said):
                store.write_rows(table, rows, by=by(0))
        assert store.read_rows(table).num_rows == 0

    def test_a_table_can_be_removed(self, store: RowStore) -> None:
        table = a_table({"name": "string", "n": "int"}, ["name"])
        store.create_rows(table)
        store.write_rows(table, rows_of(table, [("a", 1)]), by=by(0))
        for _ in range(2):
            store.remove_rows(table)
        with pytest.raises(NoSuchTable):
            store.read_rows(table)
        store.create_rows(table)
        assert store.read_rows(table).num_rows == 0
        store.write_rows(table, rows_of(table, [("a", 1)]), by=by(0))
        assert store.read_rows(table).num_rows == 1

    def test_a_table_is_removed_whatever_its_key_is(self, store: RowStore) -> None:
        one = a_table({"a": "int", "b": "int"}, ["a"])
        assert written(store, one, rows_of(one, [(1, 2)])).num_rows == 1
        other = replace(one, columns=(Column("a", "int"), Column("b", "string")), key=("a", "b"))
        store.remove_rows(other)
        assert exactly(written(store, other, rows_of(other, [(1, "x")]))) == exactly(rows_of(other, [(1, "x")]))

    def test_a_trial_writes_into_no_other_namespace(self, store: RowStore, tmp_path: Path) -> None:
        table = a_table({"name": "string"}, ["name"])
        own = cast(Any, store)._settings
        confined = own.within("rc_other").model_copy(update={"home": tmp_path, "confined_to": "rc_trial"})
        other = cast(Any, type(store))(confined)
        doors: list[Callable[[], object]] = [
            lambda: other.create_rows(table),
            lambda: other.remove_rows(table),
            lambda: other.write_rows(table, rows_of(table, [("a",)]), by=by(0)),
            lambda: other.drop(),
        ]
        for door in doors:
            with pytest.raises(ConfinedError, match="rc_other"):
                door()

    def test_drop_takes_everything(self, store: RowStore) -> None:
        own = cast(Any, store)._settings.within(f"rc_drop_{os.getpid()}")
        other = cast(Any, type(store))(own)
        table = a_table({"name": "string", "n": "int"}, ["name"])
        for _ in range(2):
            other.create_rows(table)
            assert other.read_rows(table).num_rows == 0
            other.write_rows(table, rows_of(table, [("a", 1)]), by=by(0))
            assert other.read_rows(table).num_rows == 1
            other.drop()
            with pytest.raises(NoSuchTable):
                other.read_rows(table)
        other.close()


@pytest.mark.timeout(120)
def test_many_rows(store: RowStore) -> None:
    table = a_table({"day": "date", "name": "string", "total": "decimal(18,4)", "at": "timestamp"}, ["day", "name"])
    day, start = date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)
    rows = rows_of(
        table,
        [
            (day + timedelta(days=n % 7), f"user {n}", Decimal(n) / 100, start + timedelta(seconds=n))
            for n in range(20_000)
        ],
    )
    store.create_rows(table)
    begin = time.monotonic()
    store.write_rows(table, rows, by=by(0))
    print(f"{store.name}: {len(rows) / (time.monotonic() - begin):,.0f} rows/s")
    assert exactly(store.read_rows(table)) == exactly(rows)


def asked(store: Any, statement: str) -> list[dict[str, Any]]:
    """What a store answers to a statement in its own language."""
    return cast(list[dict[str, Any]], store.query(statement, limit=None).to_dict("records"))


@pytest.mark.parametrize("store", ["hive"], indirect=True)
def test_hiveql_shows_the_newest_row_of_each_key(store: RowStore) -> None:
    table = a_table({"order": "string", "total": "decimal(38,10)", "items": "list<int>", "note": "string"}, ["order"])
    store.create_rows(table)
    big = Decimal("9" * 28 + ".0000000001")
    store.write_rows(
        table, rows_of(table, [("a", big, [1, 2], "x"), ("b", big, [7], None), ("c", big, [], "")]), by=by(5)
    )
    store.write_rows(table, rows_of(table, [("b", None, None, "old")]), by=by(4))
    store.write_rows(table, rows_of(table, [("a", -big, None, None), ("c", big, [], "")], [False, True]), by=by(6))
    found = asked(store, f"select * from {table.name} order by `order`")
    assert found == [
        {"order": "a", "total": -big, "items": None, "note": None},
        {"order": "b", "total": big, "items": "[7]", "note": None},
    ]
    assert asked(store, f"select count(*) n from {table.name}") == [{"n": 2}]
    more = a_table(table.types | {"later": "bool"}, ["order"], name=table.name)
    store.create_rows(more)
    store.write_rows(more, rows_of(more, [("a", big, [3], "y", True)]), by=by(7))
    assert [row["later"] for row in asked(store, f"select later from {table.name} order by `order`")] == [True, None]


def in_hive_s_words(value: Any) -> str | None:
    """How Hive writes a value as text."""
    match value:
        case None:
            return None
        case bool():
            return str(value).upper()
        case datetime():
            text = str(value.replace(tzinfo=None))
            return text.rstrip("0") if value.microsecond else text
        case Decimal():
            return format(value, "f")
    return str(value)


@pytest.mark.parametrize("store", ["hive"], indirect=True)
def test_hiveql_reads_appended_rows_exactly(store: RowStore) -> None:
    kinds = {f"c{n}": kind for n, kind in enumerate(VALUES) if kind not in ("string", "binary", "double")}
    table = a_table({"n": "int"} | kinds)
    store.create_rows(table)
    assert asked(store, f"select count(*) n from {table.name}") == [{"n": 0}]
    some = [VALUES[kind] for kind in kinds.values()]
    rows = [(n, *(values[n % len(values)] for values in some)) for n in range(8)]
    rows.append((8, *(MICROS if kind == "timestamp" else None for kind in kinds.values())))
    for batch in (0, 1, 1):
        store.write_rows(table, rows_of(table, [(100 * batch + n, *values) for n, *values in rows]), by=by(batch))
    assert asked(store, f"select count(*) n from {table.name}") == [{"n": 18}]
    texts = ", ".join(f"cast({name} as string) {name}" for name in ["n", *kinds])
    expected = [dict(zip(["n", *kinds], map(in_hive_s_words, row), strict=True)) for row in rows]
    assert asked(store, f"select {texts} from {table.name} where n < 100 order by {table.name}.n") == expected


@pytest.mark.parametrize("store", ["cassandra"], indirect=True)
def test_cql_reads_what_was_written(store: RowStore) -> None:
    table = a_table(
        {"user": "string", "start": "timestamp", "total": "decimal(9,2)", "date": "date"}, ["user", "start"]
    )
    store.create_rows(table)
    start = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    store.write_rows(table, rows_of(table, [("a", start, Decimal("1.10"), start.date())]), by=by(0))
    (row,) = asked(store, f"select * from {table.name} where user = 'a' and start = '2026-01-01T12:30:00Z'")
    assert (row["start"], row["total"], row["date"]) == (start, Decimal("1.10"), start.date())
    (row,) = asked(store, f"select writetime(total) as at from {table.name}")
    assert row["at"] == by(0).version * 1000


@pytest.mark.parametrize("store", ["hbase"], indirect=True)
def test_a_scan_shows_the_columns_of_rows(store: Any) -> None:
    table = a_table({"user": "string", "total": "decimal(9,2)", "at": "timestamp", "items": "list<int>"}, ["user"])
    store.create_rows(table)
    rows = [("a#", Decimal("1.10"), MICROS, [1, 2]), ("b", None, None, None)]
    store.write_rows(table, rows_of(table, rows), by=by(0))
    frame = store.scan(table.name)
    assert (
        list(frame.columns)
        == ["row", "user", "total", "at", "items"]
        == ["row", *store.columns(table.name)[table.name]]
    )
    assert frame["row"].tolist() == ["a%23", "b"] and frame["total"].iloc[0] == Decimal("1.10")
    assert frame["at"].iloc[0].to_pydatetime() == MICROS
    assert list(store.scan(table.name, "b", columns=["user"]).columns) == ["row", "user"]
    assert store.get(table.name, "a%23", ["user", "items"]) == {"user": "a#", "items": [1, 2]}
