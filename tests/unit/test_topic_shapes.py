"""Topics whose messages have fields of their own: the contract's faults, the two readers, the rows of an intake."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import ContractError, EventError, UnknownName, UsageError
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.shop.contract.comparing import changes
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.proposing import proposed
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, VIEWS, Figure, least_of, sum_of
from retailpulse_kernel.shop.kinds import Kind
from retailpulse_kernel.shop.personal import is_personal
from retailpulse_kernel.streaming.intake.given import given_events
from retailpulse_kernel.streaming.intake.judging import Chunk, Intake, Stretch
from retailpulse_kernel.streaming.intake.parsing import parse_events
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan
from retailpulse_kernel.streaming.run.changes import Effect, compare
from retailpulse_kernel.streaming.run.planning import under

ARRIVAL_MS = 1_769_860_800_000
PAYMENTS = """
[topics.payments]
topic = "shop.payments"
id = "payment_id"
time = "paid_at"

[topics.payments.fields.payment_id]
path = "id"
required = true

[topics.payments.fields.paid_at]
path = "times.paid"
type = "timestamp"
required = true

[topics.payments.fields.amount]
path = "money.amount"
type = "decimal(9,2)"
min = 0
required = true

[topics.payments.fields.method]
dimension = true
default = "unknown"
allowed = ["card", "cash", "unknown"]

[topics.payments.fields.owner]
personal = true

[topics.payments.fields.points]
type = "int"
"""
STOCK = """
[topics.stock]
topic = "shop.stock"

[topics.stock.fields.sku]
required = true

[topics.stock.fields.pieces]
type = "long"
"""
GOOD: dict[str, Any] = {
    "id": "p1", "times": {"paid": "2026-01-31T11:59:59.123456Z"}, "money": {"amount": "19.90"}, "method": "card",
    "owner": "Ann", "points": 3,
}  # fmt: skip


def shop(text: str) -> Contract:
    return read_contract(text, name="shop.toml", base=shipped())


def payments(text: str = PAYMENTS) -> Contract:
    return shop(text).of_topic("shop.payments")


def message(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


class TestContract:
    def test_a_topic_has_its_own_fields_and_the_others_have_the_event(self) -> None:
        contract = shop(PAYMENTS + STOCK)
        assert list(contract.of_topic("shop.payments").types.items())[:4] == [
            ("event_id", "string"), ("event_time", "timestamp"), ("payment_id", "string"), ("paid_at", "timestamp"),
        ]  # fmt: skip
        assert list(contract.of_topic("shop.stock").types) == ["event_id", "event_time", "sku", "pieces"]
        assert contract.of_topic("shop.stock").counts_messages and not payments().counts_messages
        assert contract.of_topic("retail.events") == contract.of_topic("of.nobody") == shipped().decoding
        assert payments().dimensions == ("method",)
        assert Contract.of_plain(contract.plain()) == contract
        assert Contract.of_plain(payments().plain()) == payments()

    def test_the_command_counts_the_topics(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "shop.toml").write_text(PAYMENTS)
        with pytest.raises(SystemExit) as ended:
            main(["contract", "check", str(tmp_path / "shop.toml")])
        assert not ended.value.code
        assert "shop.toml: 14 fields, 2 topics" in capsys.readouterr().out

    def test_a_personal_field_of_a_topic_is_hidden_as_one_of_the_events(self) -> None:
        contract = shop(PAYMENTS)
        assert is_personal("owner", contract) and is_personal("max_owner", contract)
        assert not is_personal("method", contract)

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            ("id = 'skuu'\n", 3, "topics.stock.id: There is no field 'skuu'. Did you mean 'sku'?"),
            ("time = 'sku'\n", 3, "'sku' is a string, which can't be the time of a message. Name a field of the type"),
            ("id = 'pieces'\n", 3, "A message may lack 'pieces'. Add required = true to the field 'pieces'."),
            ("id = 'weight'\n", 3, "'weight' is a double, which can't be the id of a message."),
            ("ids = 'sku'\n", 3, "topics.stock.ids: There is no key 'ids'. Did you mean 'id'?"),
            ("id = 3\n", 3, "id is not a text in quotes."),
        ],
    )
    def test_a_fault_of_a_topic_is_told(self, text: str, line: int, said: str) -> None:
        stock = '[topics.stock]\ntopic = "shop.stock"\n' + text
        stock += "[topics.stock.fields.sku]\nrequired = true\n[topics.stock.fields.pieces]\ntype = 'int'\n"
        stock += "[topics.stock.fields.weight]\ntype = 'double'\nrequired = true\n"
        with pytest.raises(ContractError) as raised:
            shop(stock)
        (found,) = str(raised.value).splitlines()[1:]
        assert found.strip().startswith(f"line {line}: ") and said in found

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            ("[topics.a]\nid = 'x'", 2, "id is one of the topic's own fields, and the topic has none."),
            ("[topics.a]\nfields = {}", 2, "The topic has no fields."),
            ("[topics.a.fields.x]\nrole = 'id'", 2, "topics.a.fields.x.role: There is no key 'role'."),
            ("[topics.a.fields.x]\ntype = 'txt'", 2, "topics.a.fields.x.type: There is no type 'txt'."),
            ("[topics.a.fields.event_time]", 1, "Rows have a column 'event_time' already. Take another name"),
            ("[topics.a.fields.offset]", 1, "Rows have a column 'offset' already."),
            ("[topics.a.fields.view]", 1, "'view' is a type of event"),
            ("[topics.a.fields.x]\n[topics.a.fields.y]\npath = 'x'", 3, "'y' and 'x' read the same path 'x'."),
            ("[topics.a.fields.x]\n[topics.a.fields.x]", 2, "The name stands in the file already"),
            ("[topics.a.fields.x]\ndimension = true", 2, "a key is never null."),
            ("[topics.a]\ntopic = 't'\n[topics.b]\ntopic = 't'", 4, "'a' is the topic 't' already."),
            ("[topics.events.fields.x]\n[topics.events]\ntopic = 'retail.events'", 1, "are standard events, which all"),
        ],
    )
    def test_a_fault_of_a_topics_fields_is_told(self, text: str, line: int, said: str) -> None:
        with pytest.raises(ContractError) as raised:
            shop(text)
        assert any(
            one.strip().startswith(f"line {line}: ") and said in one for one in str(raised.value).splitlines()[1:]
        ), str(raised.value)

    def test_what_a_change_means_is_said(self) -> None:
        def said(old: str, new: str) -> list[str]:
            return [change.said for change in changes(shop(old), shop(new)) if change.what == "topic"]

        assert said("", STOCK) == ["stock is added: jobs can read it"]
        assert said(STOCK, "") == ["stock is removed: its messages are read as standard events"]
        (added,) = said(STOCK, STOCK + "[topics.stock.fields.shelf]\n")
        assert added == "stock: the field shelf is added: string, at shelf"
        (moved,) = said(PAYMENTS, PAYMENTS.replace("money.amount", "amount"))
        assert moved == (
            "payments: the field amount changes: its path is amount instead of money.amount; a job that reads it "
            "needs a new epoch"
        )
        (bounded,) = said(PAYMENTS, PAYMENTS.replace("min = 0\n", "min = 1\n"))
        assert bounded == "payments: the field amount changes: min is 1.00 instead of 0.00"
        keyed, bounds = said(PAYMENTS, PAYMENTS.replace('id = "payment_id"\n', ""))
        assert "min_length is nothing instead of 1" in bounds
        assert keyed == "payments: its id is nothing instead of payment_id: a job that reads it needs a new epoch"
        (other,) = said(STOCK, STOCK.replace("shop.stock", "shop.shelves"))
        assert other == "stock: it is the topic shop.shelves instead of shop.stock"

    def test_one_is_proposed_with_its_likely_id_and_time(self) -> None:
        text = proposed(
            [message(id=f"p{n}") for n in range(9)], shipped(), source="x", topic=("payments", "shop.payments")
        )
        found = shop(text).of_topic("shop.payments")
        assert (found.id, found.time) == ("id", "paid")
        assert {name: (field.path, field.type) for name, field in found.by_name.items()} == {
            "id": ("", "string"), "paid": ("times.paid", "timestamp"), "amount": ("money.amount", "string"),
            "method": ("", "string"), "owner": ("", "string"), "points": ("", "int"),
        }  # fmt: skip


class TestReader:
    def test_an_event_has_its_id_and_time_and_keeps_the_fields(self) -> None:
        event = reader_of(payments()).parse(message())
        assert (event.event_id, event.payment_id) == ("p1", "p1")
        assert event.event_time == datetime(2026, 1, 31, 11, 59, 59, 123_000, UTC)
        assert event.paid_at == datetime(2026, 1, 31, 11, 59, 59, 123_456, UTC)
        assert (event.amount, event.method, event.points) == (Decimal("19.90"), "card", 3)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"id": None}, "missing:payment_id"),
            ({"id": 7}, "type:payment_id"),
            ({"id": ""}, "range:payment_id"),
            ({"id": "x" * 129}, "range:payment_id"),
            ({"times": {}}, "missing:paid_at"),
            ({"times": 3}, "type:paid_at"),
            ({"times": {"paid": "yesterday"}}, "format:paid_at"),
            ({"times": {"paid": "1999-12-31T23:59:59Z"}}, "range:paid_at"),
            ({"times": {"paid": "2101-01-01T00:00:00Z"}}, "range:paid_at"),
            ({"times": {"paid": "2026-01-31T12:10:01Z"}}, "time:future"),
            ({"money": {"amount": "-1"}}, "range:amount"),
            ({"money": {}}, "missing:amount"),
            ({"method": "cheque"}, "unknown:method"),
        ],
    )
    def test_a_bad_message_has_the_reasons_of_events(self, fields: dict[str, Any], reason: str) -> None:
        reader = reader_of(payments())
        with pytest.raises(EventError) as raised:
            reader.parse(message(**fields), arrival_ms=ARRIVAL_MS)
        assert raised.value.reason == reason and reason in reader.reasons

    def test_without_an_id_and_a_time_the_broker_says_both(self) -> None:
        reader = reader_of(shop(STOCK).of_topic("shop.stock"))
        event = reader.parse(b'{"sku": "a"}', arrival_ms=ARRIVAL_MS, place="3-14")
        assert (event.event_id, event.event_time, event.pieces) == ("3-14", moment_at(ARRIVAL_MS), None)
        for arrival_ms, reason in ((None, "missing"), (-1, "missing"), (10**17, "range")):
            with pytest.raises(EventError) as raised:
                reader.parse(b'{"sku": "a"}', arrival_ms=arrival_ms, place="3-14")
            assert raised.value.reason == f"{reason}:event_time" and raised.value.reason in reader.reasons


IDS: list[Any] = [None, "", "a", "é", "x" * 128, "x" * 129, 0, -7, 2**31, 2**63 - 1, 2**63, 1.0, True, [], {"a": 1}]
TIMES: list[Any] = [
    None, "2026-01-31T11:00:00Z", "2026-01-31T11:00:00.123456Z", "2026-01-31T13:00:00+02:00", "2026-01-31T12:10:00Z",
    "2026-01-31T12:10:00.001Z", "2026-02-30T00:00:00Z", "1999-12-31T23:59:59.999Z", "2000-01-01T00:00:00Z",
    "2101-01-01T00:00:00Z", 1_769_850_000_000, 0, -5, 10**18, "x", 1.5, {},
]  # fmt: skip
AMOUNTS: list[Any] = [None, 0, 1.5, "1.50", "1.555", "-1", -1, "x", 10**8, True, [], "1e2"]
ARRIVALS = [ARRIVAL_MS, -1, 0, 10**17]


@st.composite
def _shapes(draw: st.DrawFn) -> tuple[Contract, dict[str, str]]:
    """A contract, and the paths of its fields."""
    paths = {
        "key": draw(st.sampled_from(["key", "ids.key", "ids[1]"])),
        "moment": draw(st.sampled_from(["moment", "a.b.c"])),
        "amount": draw(st.sampled_from(["amount", "money[0].net"])),
    }
    bounded = 'max = "2100-01-01T00:00:00Z"\n' if draw(st.booleans()) else ""
    text = '[topics.t]\ntopic = "t"\n'
    text += 'id = "key"\n' if draw(st.booleans()) else ""
    text += 'time = "moment"\n' if draw(st.booleans()) else ""
    id_type = draw(st.sampled_from(["string", "int", "long"]))
    text += f'[topics.t.fields.key]\npath = "{paths["key"]}"\ntype = "{id_type}"\nrequired = true\n'
    text += f'[topics.t.fields.moment]\npath = "{paths["moment"]}"\ntype = "timestamp"\nrequired = true\n{bounded}'
    text += f'[topics.t.fields.amount]\npath = "{paths["amount"]}"\ntype = "decimal(9,2)"\n'
    text += "required = true\n" if draw(st.booleans()) else "min = 0\n"
    return shop(text).of_topic("t"), paths


def _put(holder: dict[str, Any], path: str, value: Any) -> None:
    match path.split("."):
        case [name] if "[" not in name:
            holder[name] = value
        case [name]:
            holder[name.split("[")[0]] = [None, value]
        case [name, inner] if "[" in name:
            holder[name.split("[")[0]] = [{inner: value}]
        case names:
            for name in names[:-1]:
                holder = holder.setdefault(name, {})
            holder[names[-1]] = value


@settings(max_examples=300, deadline=None)
@given(_shapes(), st.data())
def test_the_columns_say_what_the_reader_says(drawn: tuple[Contract, dict[str, str]], data: st.DataObject) -> None:
    contract, paths = drawn
    values: list[bytes | None] = []
    arrivals = []
    for _ in range(data.draw(st.integers(1, 6))):
        made: dict[str, Any] = {"more": [1, {}]}
        for name, choices in (("key", IDS), ("moment", TIMES), ("amount", AMOUNTS)):
            usual = st.just(choices[2])
            if data.draw(st.integers(0, 5)):
                _put(made, paths[name], data.draw(usual | st.sampled_from(choices)))
        values.append(data.draw(st.sampled_from([json.dumps(made).encode()] * 8 + [None, b"\xff", b"[]", b"{"])))
        arrivals.append(data.draw(st.sampled_from([ARRIVAL_MS] * 4 + ARRIVALS)))
    places = [f"0-{number}" for number in range(len(values))]
    columns = data.draw(st.sampled_from([["amount"], [], ["key", "moment", "amount"]]))
    parsed = parse_events(values, arrivals, columns, contract, places)
    found: dict[int, Any] = {position: error.reason for position, error in parsed.bad}
    found |= {int(at): row for at, row in zip(parsed.positions, parsed.events.to_pylist(), strict=True)}
    reader = reader_of(contract)
    for position, value in enumerate(values):
        try:
            event = reader.parse(value, arrival_ms=arrivals[position], place=places[position])
        except EventError as error:
            assert error.reason in reader.reasons
            assert found[position] == error.reason
        else:
            assert found[position] == {name: getattr(event, name) for name in ("event_id", "event_time", *columns)}


class TestIntake:
    def test_messages_are_judged_and_counted_as_events_are(self) -> None:
        intake = Intake(("payment_id", "amount"), "shop.payments", delay_ms=60_000, contract=payments().plain())
        late = message(id="p2", times={"paid": "2026-01-31T11:50:00Z"})
        values = [message(), late, message(id="p3", money={"amount": "x"}), message()]
        chunk = Chunk([*values], [7, 8, 9, 10], [ARRIVAL_MS] * 4)
        *rows, counts = [row for part in intake.rows([chunk], Stretch(2)) for row in part.to_pylist()]
        assert [(row["dedup_key"], row["amount"]) for row in rows] == [("p1", Decimal("19.90"))] * 2
        assert (counts["n_accepted"], counts["n_late"], counts["n_bad"]) == (2, 1, 1)
        assert "`amount` decimal(9,2)" in intake.ddl

    def test_each_message_counts_where_none_has_an_id(self) -> None:
        contract = shop(STOCK).of_topic("shop.stock")
        intake = Intake(("event_id", "event_time", "sku"), "shop.stock", contract=contract.plain())
        chunk = Chunk([b'{"sku": "a"}'] * 2, [7, 8], [ARRIVAL_MS, ARRIVAL_MS + 5])
        *rows, counts = [row for part in intake.rows([chunk], Stretch(2)) for row in part.to_pylist()]
        assert [(row["dedup_key"], row["event_id"]) for row in rows] == [("2-7", "2-7"), ("2-8", "2-8")]
        assert [row["event_time"] for row in rows] == [moment_at(ARRIVAL_MS), moment_at(ARRIVAL_MS + 5)]
        assert counts["n_accepted"] == 2

    def test_a_topic_can_be_taken_once_by_a_text_of_its_own(self) -> None:
        intake = Intake(("amount",), "shop.payments", unique_by="owner", contract=payments().plain())
        chunk = Chunk([message(), message(owner=None, id="p2")], [7, 8], [ARRIVAL_MS] * 2)
        *rows, _ = [row for part in intake.rows([chunk], Stretch(2)) for row in part.to_pylist()]
        assert [row["dedup_key"] for row in rows] == ["Ann", "p2"]


def made(contract: Contract, *given: dict[str, Any]) -> list[Any]:
    """Events that are given by hand; of another shape they have the fields of the topic."""
    return list(given_events(given, contract))


class TestGiven:
    def test_what_is_required_is_filled_in(self) -> None:
        one, two = made(payments(), {}, {"amount": "5", "paid_at": "2026-02-01T00:00:00Z"})
        assert (one.event_id, one.amount, one.method) == ("e1", Decimal("0.00"), "unknown")
        assert (two.event_id, two.amount, two.event_time) == ("e2", Decimal("5.00"), datetime(2026, 2, 1, tzinfo=UTC))
        with pytest.raises(UnknownName, match=r"amonut.*Did you mean 'amount'"):
            given_events([{"amonut": 1}], payments())
        with pytest.raises(EventError, match="method"):
            given_events([{"method": "cheque"}], payments())

    def test_what_the_broker_says_can_be_given_where_no_message_says_it(self) -> None:
        contract = shop(STOCK).of_topic("shop.stock")
        one, two = made(contract, {"pieces": 3}, {"event_id": "0-9", "event_time": "2026-02-01T00:00:00Z"})
        assert (one.event_id, one.sku, one.pieces) == ("0-0", "x", 3)
        assert (two.event_id, two.event_time) == ("0-9", datetime(2026, 2, 1, tzinfo=UTC))
        with pytest.raises(UnknownName, match="event_time"):
            given_events([{"event_time": "2026-02-01T00:00:00Z"}], payments())


class TestFigures:
    def test_they_are_typed_by_the_topics_fields(self) -> None:
        types = payments(PAYMENTS + '[topics.payments.fields.quantity]\ntype = "decimal(9,3)"\n').types
        assert Figure("paid", "Paid", sum_of("amount"), "method == 'card'").typed(types).measure.kind is Kind.MONEY
        # A name that the standard event has, too, with another type.
        assert Figure("pieces", "Pieces", sum_of("quantity")).typed(types).measure.kind is Kind.MONEY
        assert Figure("least", "Least", least_of("quantity")).typed(types).measure.kind is Kind.LEAST_DECIMAL
        assert EVENTS.typed(types) == EVENTS

    def test_a_figure_of_a_field_that_is_not_there_is_refused(self) -> None:
        for figure, name in ((REVENUE, "price"), (VIEWS, "view"), (Figure("x", "X", sum_of("amonut")), "amonut")):
            with pytest.raises(UsageError, match=f"'{name}'"):
                figure.typed(payments().types)


def plan(*columns: str, contract: str = PAYMENTS, topic: str = "shop.payments") -> Plan:
    """The plan of a job of rows that reads some columns of the topic."""
    rows = RowsPlan("paid", (("event_id", "string"),), ("event_id",), "append", "q", ((topic, "event_id"),))
    made = Plan("j", topic, "event_id", 60_000, (), "change", "publish", (TablePlan("paid", "cassandra", rows=rows),))
    named = under(Plan(**{**made.__dict__, "conditions": tuple(columns)}), shop(contract))
    return Plan(**{**named.__dict__, "conditions": ()})


class TestChanges:
    @pytest.mark.parametrize(
        ("old", "new", "effect"),
        [
            ("money.amount", "amount", Effect.EPOCH),
            ('type = "decimal(9,2)"', 'type = "decimal(9,3)"', Effect.EPOCH),
            ("times.paid", "paid_at", Effect.EPOCH),
            ('id = "payment_id"\n', "", Effect.EPOCH),
            ('time = "paid_at"\n', "", Effect.EPOCH),
            ("min = 0\n", "min = 1\n", Effect.RESUME),
            ('type = "int"', 'type = "long"', None),  # nobody reads it
            (
                "[topics.payments.fields.points]",
                "[topics.payments.fields.further]\n[topics.payments.fields.points]",
                None,
            ),
        ],
    )
    def test_a_change_of_a_topics_field_means_what_the_job_reads(
        self, old: str, new: str, effect: Effect | None
    ) -> None:
        found = compare(plan("amount"), under(plan("amount"), shop(PAYMENTS.replace(old, new))))
        assert max((one.effect for one in found), default=None) == effect
        assert all("of shop.payments" in one.reason for one in found)

    def test_a_topic_that_gets_another_shape_needs_an_epoch(self) -> None:
        before = plan("amount", contract="")
        assert before.fields == ()
        found = compare(before, plan("amount"))
        assert any(one.effect is Effect.EPOCH and "event_id of shop.payments" in one.reason for one in found)

    def test_a_job_that_reads_one_more_field_goes_on(self) -> None:
        assert compare(plan("amount"), plan("amount", "points")) == []
