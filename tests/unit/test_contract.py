"""The contract: its faults with line, reason and remedy; what a change of it means; what is proposed from messages."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.answers.reading import chosen_figures, grouped
from retailpulse_kernel.cli import main
from retailpulse_kernel.feed.adapters import read_rows
from retailpulse_kernel.feed.adapters.reading import Accepted
from retailpulse_kernel.ground.errors import ContractError, UsageError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.reconcile.sums import Facts, TableSums
from retailpulse_kernel.reconcile.tables import share_of
from retailpulse_kernel.shop.comparison import comparable
from retailpulse_kernel.shop.contract.comparing import Change, changes
from retailpulse_kernel.shop.contract.loading import SHIPPED, contract_of, load_contract, read_contract, shipped
from retailpulse_kernel.shop.contract.model import ROLES, Contract, Field
from retailpulse_kernel.shop.contract.paths import steps_of
from retailpulse_kernel.shop.contract.proposing import proposed
from retailpulse_kernel.shop.contract.rows import file_rows, object_rows
from retailpulse_kernel.shop.contract.types import arrow_type, sql_type
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.events import Event, Message, schema_text
from retailpulse_kernel.shop.figures import (
    EVENTS,
    Figure,
    average_of,
    count,
    distinct_of,
    first,
    greatest_of,
    least_of,
    parts_of,
    sum_of,
    users_of,
    values_of,
)
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.kinds import RULES, Kind
from retailpulse_kernel.shop.measuring.measures import Measure
from retailpulse_kernel.shop.tables import GRAINS, FigureTable, grain_of
from retailpulse_kernel.stores.hive.archive import ARCHIVE_COLUMNS, archive_columns
from retailpulse_kernel.stores.kafka.messages import MessageTable
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.intake.given import given_events
from retailpulse_kernel.streaming.intake.judging import Intake
from retailpulse_kernel.streaming.intake.parsing import EVENT_TYPES
from retailpulse_kernel.streaming.intake.source import SourceConfig
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan, write_plan
from retailpulse_kernel.streaming.run.changes import Effect, compare
from retailpulse_kernel.streaming.run.planning import under

ROOT = Path(__file__).resolve().parents[2]
DEVICE = '[fields.device]\npath = "context.device"\ndefault = "unknown"\ndimension = true\n'


def shop(text: str, folder: Path | None = None) -> Contract:
    return read_contract(text, name="shop.toml", base=shipped(), folder=folder)


def run(words: list[str]) -> None:
    """Run a command; only one that fails raises."""
    try:
        main(words)
    except SystemExit as ended:
        if ended.code:
            raise


def faults(text: str, folder: Path | None = None) -> list[str]:
    with pytest.raises(ContractError) as raised:
        shop(text, folder)
    assert raised.value.exit_code == 2
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


#: A contract with one fault, its line, and what the error says of it.
FAULTS = [
    ('[fields.device]\ntype = "strng"', 2, "fields.device.type: There is no type 'strng'. Did you mean 'string'?"),
    ('[fields.device]\ntype = "decimal(2,5)"', 2, "There is no type 'decimal(2,5)'"),
    ('[fields.device]\ntype = "list<list<int>>"', 2, "There is no type 'list<list<int>>'"),
    ("[fields.device]\ntyp = 1", 2, "fields.device.typ: There is no key 'typ'. Did you mean 'type'?"),
    ("[fields.device]\ntype = 3", 2, "type is not a text in quotes."),
    ('[fields.device]\nrequired = "yes"', 2, "required is not true or false."),
    ("[fields.device]\nmax_length = -1", 2, "max_length is not a whole number from 0."),
    ('[fields.device]\npath = "a..b"', 2, "'a..b' is not a path. Write keys with dots between them"),
    ('[fields.device]\npath = "[0].a"', 2, "'[0].a' is not a path."),
    ("[fields.Device]", 1, "'Device' can't be the name of a field. Use lower-case letters"),
    ("[fields.offset]", 1, "Rows have a column 'offset' already. Take another name, with path = 'offset'."),
    ("[fields.view]", 1, "'view' is a type of event"),
    ("[fields.order]", 1, "'order' is a word of a store's language."),
    ('[fields.sku]\nrole = "product"', 2, "Only a standard field has a role, and 'sku' is not one."),
    ('[fields.sku]\nrole = "produkt"', 2, "There is no role 'produkt'. Did you mean 'product'?"),
    ('[fields.price]\ntype = "double"', 2, "price is a standard field: only its path can be set."),
    ("[fields.a]\nrequired = true\ndefault = 'x'", 3, "A required field is never absent. Leave default out"),
    ("[fields.a]\ntype = 'int'\ndefault = 'x'", 3, "'x' is not a value of the type int."),
    ("[fields.a]\ntype = 'int'\ndefault = 3000000000", 3, "3000000000 is not a value of the type int."),
    ("[fields.a]\ntype = 'decimal(5,2)'\nmin = 0.001", 3, "0.001 is not a value of the type decimal(5,2)."),
    ("[fields.a]\ntype = 'date'\nmin = '2026-02-30'", 3, "day is out of range for month."),
    ("[fields.a]\ntype = 'timestamp'\nmax = 2026-01-01T00:00:00", 3, "is not a value of the type timestamp."),
    ("[fields.a]\ntype = 'list<int>'\ndefault = 1", 3, "A list has no default."),
    ("[fields.a]\ntype = 'int'\nmin = 5\nmax = 1", 4, "max is below min. Exchange the two."),
    ("[fields.a]\ntype = 'int'\nmin = 5\ndefault = 1", 4, "The default is outside of min and max."),
    ("[fields.a]\nmin = 'a'", 2, "A string has no min. Only numbers, dates and timestamps have bounds."),
    ("[fields.a]\nallowed = ['x']\ndefault = 'y'", 3, "The default is not among the allowed values."),
    ("[fields.a]\nallowed = []", 2, "No value is allowed."),
    ("[fields.a]\ntype = 'double'\nallowed = [1.5]", 3, "A double has no allowed values."),
    ("[fields.a]\ntype = 'int'\nmax_length = 3", 3, "A int has no length."),
    ("[fields.a]\nmin_length = 3\nmax_length = 2", 3, "max_length is below min_length."),
    ("[fields.a]\nmax_length = 2\ndefault = 'long'", 3, "The default is too short or too long."),
    ("[fields.a]\ndimension = true", 2, 'a key is never null. Add default = "unknown", or required = true.'),
    ("[fields.a]\ntype = 'int'\ndimension = true\ndefault = 1", 3, "A int can't be a dimension."),
    ("[fields.a]\ndimension = true\nrequired = true\npersonal = true", 2, "A personal field can't be a dimension."),
    ("[fields.a]\n[fields.b]\npath = 'a'", 3, "'b' and 'a' read the same path 'a'. Remove one of the two"),
    ("[fields.a]\n[fields.b]\npath = 'a.b'", 3, "The path 'a.b' lies within 'a', which is a value of its own."),
    ("[fields.a]\npath = 'x[0]'\n[fields.b]\npath = 'x.y'", 2, "'x' would be an object for 'a' and a list for 'b'."),
    ("[fields.user_id]\npath = 'session_id'", 2, "'user_id' and 'session_id' read the same path"),
    ("[fields.a]\n[fields.a]", 2, "TOML: Cannot declare ('fields', 'a') twice. The name stands in the file already"),
    ("[fields.a]\ntype = 'int'\ntype = 'long'", 3, "TOML: Cannot overwrite a value. The name stands in the file"),
    ("[fields.a]\ntype = ", 2, "TOML: Invalid value. Correct the line."),
    ("fields = 3", 1, "fields: This is not a table."),
    ("[fields]\na = 3", 2, "fields.a: This is not a table."),
    ("[feilds.a]", 1, "There is no table 'feilds'. Did you mean 'fields'?"),
    ("[event_types]\nsale = 'purchas'", 2, "There is no role 'purchas' of events. Did you mean 'purchase'?"),
    ("[event_types]\nview = 'click'", 2, "'view' is a word of the standard event, with the role 'view'."),
    ("[event_types]\nsale = 1", 2, "The role of an event is a text in quotes."),
    ("[topics.more]\nformat = 'jsn'", 2, "There is no format 'jsn'. Did you mean 'json'?"),
    ("[topics.more]\ntopic = 'a b'", 2, "'a b' can't be the name of a topic."),
    ("[topics.more]\ntopic = 'retail.events'", 2, "'events' is the topic 'retail.events' already."),
    ("[tables.products]\nfile = 'p.csv'", 1, "The table has no key."),
    ("[tables.products]\nfile = 'p.csv'\nkey = []", 3, "The table has no key."),
    ("[tables.products]\nfile = 'p.csv'\nkey = 'id'", 1, "The table has no columns."),
    ("[tables.products]\nkey = 'id'", 1, "The table has no place."),
    ("[tables.products]\nhive = 'p'\ncassandra = 'p'", 3, "The table has two places. Name one"),
    ("[tables.products]\nhive = 'a-b'", 2, "'a-b' can't be the name of a table."),
    ("[tables.products]\nhvie = 'p'", 2, "There is no key 'hvie'. Did you mean 'hive'?"),
    ("[tables.products]\nfile = 'p.xls'\nkey = 'id'", 2, "'p.xls' is not the name of a CSV or Parquet file."),
    ("[tables.p]\nhive = 'p'\nevery = '10x'", 3, "every"),
    ("[tables.p]\nhive = 'p'\nevery = '0.1s'", 3, "every"),
    ("[tables.p]\nkey = 'k'\ncolumns = {k = 'double'}", 2, "The column 'k' is a double, which can't be part of a key."),
    ("[tables.p]\nfile = 'p.csv'\nkey = 'idd'\ncolumns = {id = 'string'}", 3, "no column 'idd'. Did you mean 'id'?"),
    ("[tables.p]\nfile = 'p.csv'\nkey = 'id'\ncolumns = {id = 'text'}", 4, "There is no type 'text'."),
    ("[tables.p]\nfile = 'p.csv'\nkey = 'id'\nreferences = {s = 'suppliers'}", 4, "no reference table 'suppliers'."),
    ("[tables.p]\nfile = 'p.csv'\nkey = 'id'\nreferences = {s = 'p'}", 4, "The references go in a circle: p -> p."),
    ("[shop]\nzone = 'Europe/Belin'", 2, "There is no time zone 'Europe/Belin'. Did you mean 'Europe/Berlin'?"),
    ("[shop]\nweek_start = 'mon'", 2, "There is no day 'mon'."),
    ("[shop]\ncurrency = 'EURO'", 2, "'EURO' is not a currency of ISO 4217."),
    ("[shop]\nzones = 'UTC'", 2, "There is no key 'zones'. Did you mean 'zone'?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), FAULTS)
def test_a_fault_is_told_with_its_line_and_what_to_do(text: str, line: int, said: str) -> None:
    found = faults(text)
    assert any(one.startswith(f"line {line}: ") and said in one for one in found), found


def test_all_faults_of_a_file_are_told_at_once_in_their_order() -> None:
    found = faults("[shop]\nzone = 'x'\n[fields.a]\ntype = 'x'\nmin = -5\n[fields.b]\npath = '.'\n")
    assert [one.split(":")[0] for one in found] == ["line 2", "line 4", "line 7"]


def test_reference_tables_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("sku,cost,supplier\n")
    table = "[tables.{0}]\nfile = '{0}.csv'\nkey = 'sku'\ncolumns = {{sku = 'string'}}\n"
    found = shop(table.format("products"), tmp_path).tables[0]
    assert (found.source, found.place, found.key, found.every) == ("file", "products.csv", ("sku",), "10m")
    (said,) = faults(table.format("products").replace("sku", "skuu"), tmp_path)
    assert "There is no column 'skuu' of products.csv. Did you mean 'sku'?" in said
    (said,) = faults(table.format("suppliers"), tmp_path)
    assert said.startswith("line 2: tables.suppliers.file: ")
    assert "suppliers.csv is not there. Its path is relative to the contract's folder." in said
    link = "[tables.{0}]\nhive='t'\nkey='k'\ncolumns={{k='int',x='int'}}\nreferences={{x='{1}'}}\n"
    circle = "".join(link.format(one, two) for one, two in ("ab", "ba"))
    assert "circle: a -> b -> a" in faults(circle)[0]


PRODUCTS = """
[tables.products]
file = "products.csv"
key = ["sku", "country"]
columns = {sku = "string", country = "string", cost = "decimal(9,2)", since = "date", seen = "timestamp", size = "int"}
"""


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("A,DE,1.50,2026-01-31,2026-01-31T10:00:00Z,7\nA,,,,,\n", "The key column 'country' of the reference table"),
        ("A,DE,,,,\nA,FR,,,,\nA,DE,,,,\n", "has the key sku = A and country = DE 2 times"),
        (
            "A,DE,1.555,,,\n",
            "The column 'cost' of the reference table 'products' has a value that is not a decimal(9,2)",
        ),
        ("A,DE,,31.1.2026,,\n", "The column 'since'"),
        ("A,DE,,,2026-01-31T10:00:00,\n", "The column 'seen'"),
        ("A,DE,,,,7.5\n", "The column 'size'"),
        ("A,DE\n", "can't be read"),
    ],
)
def test_the_rows_of_a_reference_table_are_judged(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "products.csv").write_text(f"sku,country,cost,since,seen,size\n{rows}")
    (found,) = faults(PRODUCTS, tmp_path)
    assert found.startswith("line 3: tables.products.file: ") and said in found


def test_the_same_rows_in_another_order_or_file_are_the_same(tmp_path: Path) -> None:
    lines = ["A,DE,1.5,2026-01-31,2026-01-31T10:00:00Z,7", '"",FR,,,,']
    table = shop(PRODUCTS).tables[0]
    found = []
    for part in (lines, lines[::-1]):
        (tmp_path / "products.csv").write_text("\n".join(["sku,country,cost,since,seen,size", *part, ""]))
        found.append(file_rows(table, tmp_path))
    pq.write_table(found[0], tmp_path / "products.parquet")
    found.append(file_rows(replace(table, place="products.parquet"), tmp_path))
    assert found[0] == found[1] == found[2]
    objects = [
        {
            "sku": "A",
            "country": "DE",
            "cost": "1.5",
            "since": "2026-01-31",
            "seen": "2026-01-31T11:00:00+01:00",
            "size": 7,
        },
        {"sku": "", "country": "FR", "more": [1]},
    ]
    assert object_rows(table, objects) == found[0]
    with pytest.raises(UsageError, match="'size'"):
        object_rows(table, [{"sku": "A", "country": "DE", "size": "7"}])


def test_what_a_change_of_a_reference_table_means_is_said() -> None:
    old, new = shop(PRODUCTS), shop(PRODUCTS.replace("int", "long").replace("products.csv", "p.csv"))
    said = [change.said for change in changes(old, new) if change.what == "table"]
    assert len(said) == 2 and "a job that joins it needs a new epoch" in said[0] and "the file p.csv" in said[1]
    (said,) = [change.said for change in changes(old, shop(PRODUCTS + 'every = "never"\n'))]
    assert said == "products: it is read again never instead of every 10m"


class TestShipped:
    def test_it_describes_todays_event(self) -> None:
        contract = shipped()
        assert contract.is_plain and not contract.own
        assert tuple(field.role for field in contract.fields) == ROLES
        assert tuple(contract.by_name) == Message.__struct_fields__ == Event.__struct_fields__
        assert (ROOT / "docs" / "event.schema.json").read_text() == schema_text()
        assert [field.name for field in contract.columns] == list(EVENT_TYPES)
        assert archive_columns(contract) == ARCHIVE_COLUMNS

    def test_its_file_is_a_contract_that_can_be_copied(self) -> None:
        copied = shop(SHIPPED.read_text() + "\n" + DEVICE)
        assert copied.standard == shipped().standard and [field.name for field in copied.own] == ["device"]
        assert shop(SHIPPED.read_text()) == shipped()

    def test_defaults_of_the_event_are_those_of_the_contract(self) -> None:
        assert shipped().by_role["currency"].default == "USD"
        bare = given_events([{}])[0]
        standard = {field.name: field.default for field in shipped().fields if field.default is not None}
        assert {name: getattr(bare, name) for name in standard} == standard

    def test_workers_are_told_nothing_of_it(self) -> None:
        told = SourceConfig({}, Intake(("event_id",), "t")).dump()
        assert "contract" not in json.loads(told)["intake"]
        own = shop(DEVICE)
        loaded = SourceConfig.load(SourceConfig({}, Intake(("device",), "t", contract=own.plain())).dump())
        assert loaded.intake.shop == own
        assert "`device` string" in loaded.intake.ddl


class TestWhereItIs:
    def test_the_profile_names_it_and_the_environment_overrides(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine.toml").write_text('contract = "shop.toml"')
        (tmp_path / "shop.toml").write_text(DEVICE)
        (tmp_path / "other.toml").write_text("")
        settings = Settings.load(profile=str(tmp_path / "mine.toml"))
        assert settings.contract == tmp_path / "shop.toml"
        assert [field.name for field in contract_of(settings).own] == ["device"]
        assert contract_of(settings).of_topic("retail.events").own == contract_of(settings).own
        monkeypatch.setenv("RETAILPULSE_CONTRACT", str(tmp_path / "other.toml"))
        assert contract_of(Settings.load(profile=str(tmp_path / "mine.toml"))) == shipped()
        assert environment(Settings.load())["RETAILPULSE_CONTRACT"] == str(tmp_path / "other.toml")
        monkeypatch.setenv("RETAILPULSE_CONTRACT", "")
        assert Settings.load().contract is None
        assert contract_of(Settings.load()) is shipped()

    def test_a_file_that_changed_is_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "shop.toml"
        path.write_text(DEVICE)
        assert len(load_contract(path).own) == 1
        path.write_text(DEVICE + "[fields.points]\ntype = 'int'\n")
        assert len(load_contract(path).own) == 2

    def test_one_that_is_missing_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ContractError, match="There is no contract"):
            load_contract(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ("a",)), ("a.b[0].c", ("a", "b", 0, "c")), ("a[1][2]", ("a", 1, 2)), ("A-b c", ("A-b c",)),
        ("", None), (".a", None), ("a.", None), ("a..b", None), ("a[b]", None), ("a[0]b", None), ("[0]", None),
    ],
)  # fmt: skip
def test_paths(path: str, steps: tuple[Any, ...] | None) -> None:
    assert steps_of(path) == steps


@pytest.mark.parametrize("type_", ["string", "list<decimal(5,2)>", "timestamp"])
def test_types_are_known_to_arrow_and_spark(type_: str) -> None:
    assert str(arrow_type(type_)) and sql_type(type_)


class TestFigures:
    CONTRACT = shop(
        DEVICE + "[fields.points]\ntype='int'\n[fields.cost]\ntype='decimal(9,2)'\n[fields.score]\ntype='double'\n"
        "[fields.fine]\ntype='decimal(9,6)'\n[fields.vast]\ntype='decimal(20,4)'\n[fields.seen_at]\ntype='timestamp'\n"
        "[fields.visits]\ntype='long'\n[fields.tags]\ntype='list<string>'\n[fields.wide]\ntype='decimal(18,4)'\n"
    )

    @pytest.mark.parametrize(
        ("measure", "kind"),
        [
            (sum_of("points"), Kind.SUM),
            (sum_of("visits"), Kind.SUM),
            (sum_of("points", money=True), Kind.MONEY),
            (sum_of("cost"), Kind.MONEY),
            (sum_of("cost * quantity", money=True), Kind.MONEY),
            (sum_of("price * cost"), Kind.MONEY),
            (sum_of("points * 0.5"), Kind.MONEY),
            (sum_of("(device == 'app') * quantity"), Kind.SUM),
            (least_of("cost"), Kind.LEAST_DECIMAL),
            (greatest_of("points - quantity"), Kind.GREATEST),
            (least_of("seen_at"), Kind.FIRST),
            (first("seen_at"), Kind.FIRST),
            (users_of("device"), Kind.USERS),
            (distinct_of("device"), Kind.USERS),
            (distinct_of("cost"), Kind.DISTINCT),
            (values_of("score"), Kind.VALUES),
        ],
    )
    def test_the_types_of_the_fields_say_what_is_kept(self, measure: Measure, kind: Kind) -> None:
        found = Figure("f", "F", measure).typed(self.CONTRACT.types)
        assert found.measure.kind is kind and found.rules.value is RULES[kind].value
        assert found.typed(self.CONTRACT.types) == found

    @pytest.mark.parametrize(
        ("measure", "said"),
        [
            (
                sum_of("score"),
                "'f' can't be computed: score is a double, which no figure measures exactly. Measure fields",
            ),
            (sum_of("score * 2", money=True), "score is a double"),
            (sum_of("fine"), "fine has 6 places behind the point, and figures keep 4."),
            (sum_of("vast"), "vast has 16 digits before the point, and what one event adds to a figure has 14 at most"),
            (greatest_of("vast"), "vast has 16 digits"),
            (sum_of("device"), "'device' is a text, and this measure is of a whole number or a decimal."),
            (least_of("device"), "'device' is a text"),
            (greatest_of("device * 2"), "calculates with a text or a time"),
            (first("points"), "'points' is a whole number, and this measure is of a time."),
            (users_of("points"), "this measure is of a text"),
            (distinct_of("tags"), "tags is a list<string>"),
            (least_of("wide * wide * visits * 0.5"), "more than the 38 that are calculated exactly"),
            (sum_of("pints"), "There is no column 'pints' of an event. Did you mean 'points'?"),
            (values_of("pints"), "Did you mean 'points'?"),
        ],
    )
    def test_others_are_refused(self, measure: Measure, said: str) -> None:
        with pytest.raises(UsageError) as raised:
            Figure("f", "F", measure).typed(self.CONTRACT.types)
        assert said in str(raised.value)

    def test_a_condition_of_a_field_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(UsageError, match="Did you mean 'points'"):
            Figure("f", "F", count(), where="pints > 3").typed(self.CONTRACT.types)

    def test_nothing_is_computed_before_the_types_are_known(self) -> None:
        (one,) = given_events([{"cost": "1.50"}], self.CONTRACT)
        lowest = Figure("lowest", "Lowest", least_of("cost"))
        with pytest.raises(UsageError, match=r"depends on the types.*figure\.typed\(contract\.types\)"):
            lowest.of_event(one)
        assert lowest.typed(self.CONTRACT.types).of_event(one) == Decimal("1.50")

    def test_an_average_of_an_own_field_is_divided_of_what_the_table_keeps(self) -> None:
        average = average_of("cost")
        typed = average.typed(self.CONTRACT.types)
        week = grain_of("1 week")
        table = FigureTable(
            "t", tuple(parts_of([typed])), ("device",), (week,), (typed,), dimensions=self.CONTRACT.dimensions
        )
        plan = TablePlan.describing(table, "cassandra")
        assert plan.physical == ("t_week",) and TablePlan.describing(plan.table, "cassandra") == plan
        given = given_events([{"cost": cost, "device": "tv"} for cost in ("1.00", "2.50", None)], self.CONTRACT)
        (row,) = grouped(fold(given, table, week), ["device"], table, chosen_figures([average], table))
        assert row == {"device": "tv", "average_cost": Decimal("1.7500")}

    def test_a_comparison_with_nothing_is_false_as_in_spark(self) -> None:
        few, other = (Figure("f", "F", sum_of("quantity"), where=f"points {sign} 5") for sign in ("<", "!="))
        nothing, three = given_events([{}, {"points": 3}], self.CONTRACT)
        assert [figure.of_event(nothing) for figure in (few, other)] == [None, None]
        assert [figure.of_event(three) for figure in (few, other)] == [1, 1]

    def test_reconciliation_sums_own_fields_in_any_width_as_the_fold_does(self) -> None:
        """Times of own fields have microseconds, of which Cassandra keeps milliseconds."""
        measures = {
            "lowest": least_of("cost"), "newest": greatest_of("seen_at"), "costs": distinct_of("cost"),
            "points_given": sum_of("points"), "scored": values_of("score"),
        }  # fmt: skip
        made = [Figure(name, name, measure).typed(self.CONTRACT.types) for name, measure in measures.items()]
        grain = grain_of("7 minutes")
        table = FigureTable("t", tuple(made), ("device",), (grain,), dimensions=self.CONTRACT.dimensions)
        plan = TestPlans().plan(self.CONTRACT, TablePlan.describing(table, "hbase"))
        share = share_of(plan, others=(), contract=self.CONTRACT)
        assert share.unchecked == ()
        ((_, folded),) = share.tables
        given = given_events(
            [
                {"cost": "1.10", "points": 3, "seen_at": "2026-01-31T10:00:00.000999Z"},
                {"cost": "0.90", "score": 0.5, "seen_at": "2026-01-31T10:00:00.000001Z", "device": "tv"},
                {"points": 4, "seen_at": "2026-01-31T09:00:00Z"},
            ],
            self.CONTRACT,
        )
        sums = TableSums(folded)
        sums.add(Facts([folded])(given, [ms_of(one.event_time) for one in given]))
        names = [figure.name for figure in made]
        found = {
            key[1:]: comparable(folded, dict(zip(names, values, strict=True)))
            for key, values in sums.rows(grain).items()
        }
        truth = {(row["device"],): comparable(table, row) for row in fold(given, table, grain)}
        assert found == {key: {name: row[name] for name in names} for key, row in truth.items()}

    def test_reconciliation_sums_the_fields_of_a_topic_of_another_shape(self) -> None:
        contract = shop(
            "[topics.stock]\ntopic='shop.stock'\n[topics.stock.fields.sku]\nrequired=true\ndimension=true\n"
            "[topics.stock.fields.pieces]\ntype='int'\n[topics.stock.fields.parts]\ntype='list<decimal(9,2)>'\n"
            "[topics.stock.fields.cost]\ntype='decimal(9,2)'\n[topics.stock.fields.seen]\ntype='timestamp'\n"
        ).of_topic("shop.stock")
        made = [Figure("moved", "Moved", sum_of("pieces * cost")), Figure("newest", "Newest", greatest_of("seen"))]
        typed, day = tuple(one.typed(contract.types) for one in made), GRAINS["day"]
        table = FigureTable("t", (EVENTS, *typed), ("sku",), (day,), dimensions=contract.dimensions)
        plan = replace(TestPlans().plan(contract, TablePlan.describing(table, "hbase")), topic="shop.stock")
        share = share_of(replace(plan, conditions=("pieces > 1",)), others=(), contract=contract)
        assert share.unchecked == () and share.meets is not None
        ((_, folded),) = share.tables
        seen = "2026-01-31T10:00:00.000Z"
        stock = [{"sku": sku, "pieces": n, "cost": "1.10", "seen": seen} for n, sku in enumerate("abab")]
        given = [one for one in given_events(stock, contract) if share.meets(one)]
        sums = TableSums(folded)
        sums.add(Facts([folded])(given, [ms_of(one.event_time) for one in given]))
        assert {key[1]: values[:2] for key, values in sums.rows(day).items()} == {
            "a": (1, Decimal("2.20")), "b": (1, Decimal("3.30")),
        }  # fmt: skip

    def test_dimensions_are_those_of_the_contract(self) -> None:
        with pytest.raises(UsageError, match="There is no dimension 'device'"):
            FigureTable("t", (EVENTS,), ("device",), (GRAINS["hour"],))
        assert FigureTable("t", (EVENTS,), ("device",), (GRAINS["hour"],), dimensions=self.CONTRACT.dimensions).by == (
            "device",
        )


def test_given_events_stand_where_the_contract_has_their_fields() -> None:
    contract = shop(DEVICE + "[fields.user_id]\npath='who[1].id'\n[fields.sku]\npath='items[0].parts[1]'\n")
    event: Any = given_events([{"user_id": "me", "sku": "x", "device": "watch"}], contract)[0]
    assert (event.user_id, event.sku, event.device) == ("me", "x", "watch")


def test_the_tail_shows_own_fields_and_what_they_are_within() -> None:
    contract = shop(
        DEVICE + "[fields.user_id]\npath='user.id'\n[fields.cost]\ntype='decimal(9,2)'\n[fields.fresh]\ntype='bool'\n"
        "[fields.day_of]\ntype='date'\npath='when.day'\n[fields.seen_at]\ntype='timestamp'\n"
    )
    usual = {"event_type": "view", "user": {"id": "u"}, "context": {"device": "phone"}, "cost": 1.10, "fresh": True,
             "when": {"day": "2026-01-31"}, "seen_at": "2026-01-31T10:00:00.000001+01:00"}  # fmt: skip
    table = MessageTable(contract)
    values = [usual, {**usual, "unknown": 1, "seen_at": 1_767_225_600_000}, {"context": "odd"}, {}]
    table.add([0] * 4, range(4), [0] * 4, [json.dumps(value).encode() for value in values])
    frame = table.frame(None, of_events=True)
    assert list(frame["device"][:2]) == ["phone"] * 2 and frame["device"][2:].isna().all()
    assert list(frame["user_id"][:2]) == ["u", "u"] and str(frame["cost"][1]) == "1.1"
    assert list(frame["fresh"].fillna(False)) == [True, True, False, False]
    assert [str(day) for day in frame["day_of"][:2]] == ["2026-01-31"] * 2
    assert [moment.isoformat() for moment in frame["seen_at"][:2]] == [
        "2026-01-31T09:00:00.000001+00:00", "2026-01-01T00:00:00+00:00",
    ]  # fmt: skip
    assert list(frame["context"])[:3] == [{"device": "phone"}, {"device": "phone"}, "odd"]
    assert frame["unknown"][1] == 1 and "brand" in frame


def test_a_replayed_file_keeps_its_own_fields(tmp_path: Path) -> None:
    contract = shop(DEVICE + "[event_types]\nseen = 'view'\n")
    line = {"event_id": "e", "event_type": "seen", "event_time": "2026-01-01T00:00:00Z", "user_id": "u",
            "session_id": "s", "product_id": "p", "context": {"device": "tv"}, "more": [1]}  # fmt: skip
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(line) + "\n" + json.dumps(line | {"context": 3}) + "\n")
    good, bad = read_rows(path, "retailpulse", contract=contract)
    assert isinstance(good, Accepted) and json.loads(good.value) == line
    assert not isinstance(bad, Accepted) and bad.reason == "type:device"


class TestPlans:
    TABLE = TablePlan("devices", "cassandra", ("hour",), ("device",))
    BEFORE = shop(DEVICE + "[event_types]\nsold = 'purchase'\n[fields.points]\ntype = 'int'\n")

    def plan(self, contract: Contract, *tables: TablePlan, conditions: tuple[str, ...] = ()) -> Plan:
        written = tables or (self.TABLE,)
        one = Plan("j", "retail.events", "event_id", 1, conditions, "change", "count", written)
        return under(one, contract)

    def test_only_what_a_job_reads_is_in_its_plan(self) -> None:
        archive = self.plan(self.BEFORE, TablePlan("events", "hive"))
        assert [field.name for field in archive.fields] == ["device", "points"]
        table = TablePlan.describing(FigureTable("t", (EVENTS,), ("brand",), (GRAINS["hour"],)), "cassandra")
        assert self.plan(self.BEFORE, table).fields == ()
        read = self.plan(self.BEFORE, table, conditions=("brand = 'device' AND `Points` > 3",))
        assert [(field.name, field.path, field.type) for field in read.fields] == [("points", "points", "int")]

    @pytest.mark.parametrize(
        ("now", "effect", "said"),
        [
            (DEVICE.replace("context.device", "client.device"), Effect.EPOCH,
             "the field device has another meaning: its path changed from context.device to client.device"),
            (DEVICE.replace('"unknown"', '"none"'), Effect.EPOCH, 'its default changed from "unknown" to "none"'),
            (DEVICE + "max_length = 9\n", Effect.RESUME, "rules of the field device changed from none to max_length 9"),
            (DEVICE + "[fields.user_id]\npath = 'user.id'\n", Effect.EPOCH,
             "the field user_id has another meaning: its path changed from user_id to user.id"),
            (DEVICE + "[event_types]\nsold = 'refund'\n", Effect.EPOCH,
             "the word sold for an event had the role purchase, and now has refund"),
            (DEVICE, Effect.RESUME, "messages with the event type sold are bad from the next batch on"),
        ],
    )  # fmt: skip
    def test_what_a_change_means_for_a_job_that_reads_the_field(self, now: str, effect: Effect, said: str) -> None:
        words = "" if "sold" in now or now == DEVICE else "[event_types]\nsold = 'purchase'\n"
        table = TablePlan.describing(
            FigureTable("t", (EVENTS,), ("device",), (GRAINS["hour"],), dimensions=("device",)), "cassandra"
        )
        (found,) = compare(self.plan(self.BEFORE, table), self.plan(shop(now + words), table))
        assert found.effect is effect and said in found.reason

    def test_a_field_that_it_does_not_read_changes_nothing(self) -> None:
        table = TablePlan.describing(
            FigureTable("t", (EVENTS,), ("device",), (GRAINS["hour"],), dimensions=("device",)), "x"
        )
        after = shop(DEVICE + "[event_types]\nsold = 'purchase'\n[fields.points]\ntype='string'\n[fields.extra]\n")
        assert compare(self.plan(self.BEFORE, table), self.plan(after, table)) == []

    def test_the_archive_goes_on_when_a_field_is_added(self) -> None:
        archive = TablePlan("events", "hive")
        before, after = shop(DEVICE), shop(DEVICE + "[fields.points]\ntype='int'\n")
        assert compare(self.plan(before, archive), self.plan(after, archive)) == []


class TestCommands:
    def test_check(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "shop.toml"
        path.write_text(DEVICE + "[topics.returns]\ntopic = 'retail.returns'\n")
        run(["contract", "check", str(path)])
        assert capsys.readouterr().out.split("  ")[0] == "shop.toml: 15 fields (1 yours), 2 topics"
        run(["contract", "check", str(path), "--json"])
        assert json.loads(capsys.readouterr().out)["fields"][-1]["path"] == "context.device"
        path.write_text("[fields.device]\ntype = 'strng'\n")
        with pytest.raises(SystemExit) as ended:
            run(["contract", "check", str(path)])
        assert ended.value.code == 2
        assert "shop.toml has a fault:\n  line 2: fields.device.type: There is no type" in capsys.readouterr().err

    def test_diff_says_what_becomes_of_archive_dimensions_and_jobs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("RETAILPULSE_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("RETAILPULSE_PIPELINES", str(tmp_path / "pipelines"))
        old, new = tmp_path / "old.toml", tmp_path / "new.toml"
        old.write_text(DEVICE)
        new.write_text(DEVICE.replace("context", "client") + "[fields.points]\ntype = 'int'\n")
        tables = {"by_device": ("device",), "by_brand": ("brand",)}
        for name, by in tables.items():
            table = FigureTable(name, (EVENTS,), by, (GRAINS["hour"],), dimensions=by)
            plan = TestPlans().plan(shop(DEVICE), TablePlan.describing(table, "cassandra"))
            folder = Settings.load().checkpoints
            write_plan(new_epoch(f"{folder}/{name}").path, Plan(**{**plan_fields(plan), "job": name}))
        run(["contract", "diff", str(old), str(new), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert {job["job"]: job["verdict"] for job in found["jobs"]} == {
            "by_brand": "resumes",
            "by_device": "new epoch",
        }
        said = [change["said"] for change in found["changes"]]
        assert "device changes: its path is client.device instead of context.device" in said
        assert "the column points int is added, null in the files that are there" in said
        run(["contract", "diff", str(old), str(new)])
        assert "by_device: new epoch; the field device has another meaning" in " ".join(capsys.readouterr().out.split())
        run(["contract", "diff", str(old), str(old)])
        assert capsys.readouterr().out == "Both contracts say the same.\n"

    def test_init_proposes_a_contract_that_check_accepts(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = tmp_path / "events.jsonl"
        messages = [
            {"event_id": str(n), "event_type": ["viewed", "order placed"][n % 2], "event_time": "2026-01-01T00:00:00Z",
             "user": {"id": f"u{n}", "email": "a@b.c"}, "session_id": "s", "product_id": "p", "odd.key": 1,
             "context": {"device": ["phone", "tv", None][n % 3], "OSVersion": n % 2}, "margin": 0.25,
             "items": [{"sku": "x", "tags": ["a"]}], "mixed": [1, "a"][n % 2], "order": n,
             "price": 1, "order_id": "o", "order_line": 1}
            for n in range(60)
        ]  # fmt: skip
        lines.write_text("".join(json.dumps(message) + "\n" for message in messages) + "no JSON\n")
        made = tmp_path / "shop.toml"
        run(["contract", "init", "--from", str(lines), "--output", str(made)])
        contract = load_contract(made)
        assert contract.by_name["user_id"].path == "user.id"
        assert dict(contract.event_types.words)["viewed"] == "view"
        own = {field.name: field for field in contract.own}
        assert own["device"].dimension and own["email"].personal and not own["email"].dimension
        assert own["margin"].type == "decimal(18,2)" and own["osversion"].type == "int"
        assert own["tags"].path == "items[0].tags" and own["tags"].type == "list<string>"
        assert "# mixed: in 100.0% of the messages, of several kinds" in made.read_text()
        assert "in 66.7% of the messages, null in 33.3%" in made.read_text()
        assert "# 1 further messages are not JSON objects." in made.read_text()
        reader = reader_of(contract_of(Settings.load(contract=made)).of_topic("retail.events"))
        for message in messages:
            reader.parse(json.dumps(message | {"mixed": None}).encode())
        with pytest.raises(SystemExit) as ended:
            run(["contract", "init", "--from", str(lines), "--output", str(made)])
        assert ended.value.code == 2 and "exists. Name another file with --output." in capsys.readouterr().err

    def test_a_rare_kind_of_value_is_told_and_not_followed(self) -> None:
        messages: list[dict[str, Any]] = [{"points": n, "c": {"name": "x"}, "cost": n} for n in range(98)]
        messages += [{"points": "many", "c": "x", "cost": 1.5}] * 2
        text = proposed([json.dumps(message).encode() for message in messages], shipped(), source="m")
        own = {field.name: field.type for field in shop(text).own}
        assert own == {"points": "int", "c_name": "string", "cost": "decimal(18,2)"}
        assert "2.0% have another kind of value there and would be bad" in text

    def test_init_from_nothing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="2 messages, none of them a JSON object"):
            proposed([b"[]", None], shipped(), source="m.jsonl")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(["2026-01-01", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=4) | st.sampled_from(["id", "event", "user", "price", "a", "email", "event_type"]), inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=4) | st.sampled_from(["a", "b", "ts"]), _JSON, max_size=5), max_size=4)
)
def test_whatever_messages_hold_a_proposal_has_no_fault(messages: list[dict[str, Any]]) -> None:
    values = [json.dumps(message).encode("utf-8", "surrogatepass") for message in messages]
    shop(proposed([*values, b"{}"], shipped(), source="m"))


def test_changes_are_said_in_words() -> None:
    before = shop("[event_types]\nsold = 'purchase'\n" + DEVICE + "[fields.points]\ntype = 'int'\n")
    after = shop("[shop]\nzone = 'Europe/Berlin'\n[event_types]\nwish = 'other'\n[fields.points]\ntype = 'long'\n")
    assert changes(before, after) == [
        Change("field", "device is removed: messages may have anything there"),
        Change("field", "points changes: type is long instead of int"),
        Change("words", "sold is removed: messages with it will be bad"),
        Change("words", "wish is added, a word for other: messages with it were bad so far"),
        Change("archive", "the column points is int and can't become bigint: its files keep theirs, and the job that "
               "archives will refuse to start"),
        Change("archive", "the column device stays, and is null from now on"),
        Change("dimension", "device is removed: no figures can go by it"),
        Change(
            "shop",
            "zone is Europe/Berlin instead of UTC: windows of hours, days, weeks and months begin at other moments; "
            "a job that keeps such windows needs a new epoch",
        ),
    ]  # fmt: skip


def plan_fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in Plan.__dataclass_fields__}


def test_the_schema_of_a_contract_says_where_its_fields_are() -> None:
    import jsonschema

    contract = shop(
        DEVICE
        + "[event_types]\nsold = 'purchase'\n[fields.user_id]\npath='user.id'\n[fields.sku]\npath='items[0].sku'\n"
        "[fields.points]\ntype='int'\nrequired=true\nmin=0\n[fields.cost]\ntype='decimal(9,2)'\n"
    )
    check = jsonschema.Draft202012Validator(json.loads(schema_text(contract)))
    good = {"event_id": "e", "event_type": "sold", "event_time": "2026-01-01T00:00:00Z", "user": {"id": "u"},
            "session_id": "s", "product_id": "p", "points": 3, "cost": "1.50", "items": [{"sku": "x"}],
            "price": 1, "order_id": "o", "order_line": 1}  # fmt: skip
    assert check.is_valid(good)
    for wrong in (
        {"points": -1}, {"points": None}, {"items": [{"sku": 3}]}, {"context": {"device": 1}}, {"context": "x"},
        {"event_type": "bought"}, {"order_line": None},
    ):  # fmt: skip
        assert not check.is_valid(good | wrong), wrong


class TestPages:
    CONTRACT = (ROOT / "docs" / "contract.md").read_text()
    EVENTS = (ROOT / "docs" / "events.md").read_text().partition("## Reasons")[0]

    def block(self, language: str) -> str:
        found = re.search(rf"```{language}\n(.*?)```", self.CONTRACT, re.DOTALL)
        assert found is not None
        return textwrap.dedent(found[1])

    def test_the_worked_example_works(self) -> None:
        contract = shop(textwrap.dedent("   " + self.block("toml")))
        event: Any = reader_of(contract).parse(self.block("json").encode())
        assert (event.event_type, event.user_id, event.device, event.campaign) == ("view", "u17", "phone", "spring")
        assert (str(event.discount), event.points, event.email) == ("1.5000", 12, "ann@example.com")
        assert f"{len(contract.fields)} fields ({len(contract.own)} yours)" in self.CONTRACT

    def test_every_key_of_a_field_is_explained(self) -> None:
        explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", self.CONTRACT, re.MULTILINE))))
        assert set(Field.__dataclass_fields__) - {"name"} <= explained

    def test_the_table_of_the_event_has_the_fields_of_the_shipped_contract(self) -> None:
        rows = dict(re.findall(r"^\| ([\w, ]+) \| (.*) \|$", self.EVENTS, re.MULTILINE))
        listed = {name: said for names, said in rows.items() for name in names.split(", ")}
        assert [name for name in listed if name in shipped().by_name] == list(shipped().by_name)
        for field in shipped().fields:
            said = listed[field.name]
            assert ("required" in said) >= field.required
            assert field.max_length is None or str(field.max_length) in said
            assert field.default is None or f"{field.default}" in said
        assert all(word in listed["event_type"] for word in shipped().event_types.columns)
