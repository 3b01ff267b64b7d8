"""Formats that a contract describes as one mapping, those that are shipped, and own columns of the plain format."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retailpulse_kernel.cli import main
from retailpulse_kernel.feed.adapters import Accepted, Reject, read_rows
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.errors import ContractError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop import figures
from retailpulse_kernel.shop.adapters.declared import shipped_formats
from retailpulse_kernel.shop.adapters.snowplow import Snowplow
from retailpulse_kernel.shop.contract.comparing import changes
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.contract.model import TOOLS, Contract
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.formats.options import options_of
from retailpulse_kernel.shop.formats.reading import TopicReader
from retailpulse_kernel.streaming.intake.judging import Intake, Stretch
from retailpulse_kernel.streaming.intake.opening import Chunk
from tests.adapters import lines
from tests.fuzz.test_adapters import RECORDS

TILL = """
[formats.till]
types = {SALE = "purchase", RETURN = "refund", LOOK = "view"}
lines = "receipt.positions"

[formats.till.fields]
event_id = "receipt.no"
event_type = "kind"
event_time = {path = "at", scale = -3}
user_id = ["card", "till"]
product_id = "article"
currency = {value = "CHF"}
order_id = "receipt.no"
coupon = "voucher"
shipping = {path = "delivery", scale = 2, once = true}

[formats.till.line]
product_id = "article"
category = "group"
price = {path = "cents", scale = 2}
quantity = "count"

[topics.tills]
topic = "shop.tills"
format = "till"
"""
SALE = {
    "kind": "SALE", "at": 1767614400, "till": "till-7", "voucher": "SPRING", "delivery": 490,
    "receipt": {"no": 4711, "positions": [
        {"article": "shoe", "group": "Apparel > Shoes", "cents": 1999, "count": 2}, {"article": "hat", "cents": "550"},
    ]},
}  # fmt: skip
LOOK = {"kind": "LOOK", "at": "1767614401.5", "card": "c-1", "article": "hat", "receipt": {"no": 4712}}
OWN = """
[fields.user_id]
path = "user.id"

[fields.device]
path = "context.device"
dimension = true
default = "unknown"

[fields.points]
type = "int"

[fields.weight]
type = "double"

[fields.tax]
type = "decimal(9,2)"

[fields.gift]
type = "bool"

[fields.shipped_on]
type = "date"

[fields.paid_at]
type = "timestamp"

[fields.tags]
type = "list<string>"
"""
PLAIN = {
    "event_id": "e1", "event_type": "view", "event_time": "2026-01-05T12:00:00Z", "user.id": "u1", "session_id": "s",
    "product_id": "p", "context": '{"device": "phone"}', "points": "7", "weight": "1.5", "tax": "1.20",
    "gift": "TRUE", "shipped_on": "2026-01-06", "paid_at": "2026-01-05 12:00:00", "tags": '["a", "b"]',
}  # fmt: skip
VALUES = {
    "user_id": "u1", "device": "phone", "points": 7, "weight": 1.5, "tax": Decimal("1.20"), "gift": True,
    "shipped_on": date(2026, 1, 6), "paid_at": datetime(2026, 1, 5, 12, tzinfo=UTC), "tags": ("a", "b"),
}  # fmt: skip


def shop(text: str) -> Contract:
    return read_contract(text, name="shop.toml", base=shipped())


def table(path: Path, *rows: dict[str, Any]) -> Path:
    buffer = io.StringIO()
    csv.DictWriter(buffer, list(rows[0])).writeheader()
    csv.DictWriter(buffer, list(rows[0])).writerows(rows)
    path.write_text(buffer.getvalue())
    return path


def events(path: Path, format: str, contract: Contract) -> list[Any]:
    rows = list(read_rows(path, format, contract=contract))
    assert not [row for row in rows if isinstance(row, Reject)]
    return [row.event for row in rows if isinstance(row, Accepted)]


class TestOwnFormats:
    def test_a_record_with_lines(self, tmp_path: Path) -> None:
        first, second, look = events(lines(tmp_path / "f", SALE, LOOK), "till", shop(TILL))
        assert first == Event(
            event_id="4711-1", event_type="purchase", event_time=datetime(2026, 1, 5, 12, tzinfo=UTC), user_id="till-7",
            session_id="till-7-2026-01-05", product_id="shoe", category="Apparel.Shoes", price=Decimal("19.99"),
            quantity=2, currency="CHF", order_id="4711", order_line=1,
        )  # fmt: skip
        assert (second.event_id, second.price, second.order_line) == ("4711-2", Decimal("5.50"), 2)
        assert (look.event_id, look.event_type, look.user_id) == ("4712", "view", "c-1")
        assert look.event_time.microsecond == 500_000

    def test_further_fields_are_in_the_message_once_where_they_are_of_the_order(self, tmp_path: Path) -> None:
        sent = [json.loads(row.value) for row in read_rows(lines(tmp_path / "f", SALE), contract=shop(TILL))]  # type: ignore[union-attr]
        assert [(one.get("shipping"), one["coupon"]) for one in sent] == [("4.90", "SPRING"), (None, "SPRING")]

    def test_the_file_s_format_is_known_by_its_columns(self, tmp_path: Path) -> None:
        reading = read_rows(lines(tmp_path / "f", SALE), contract=shop(TILL))
        assert (reading.format, reading.known_by) == ("till", "receipt, kind, at")

    def test_a_topic_is_read_by_the_same_mapping(self, tmp_path: Path) -> None:
        contract = shop(TILL).of_topic("shop.tills")
        settings = Settings(home=tmp_path)
        found = TopicReader(contract, options_of(settings, contract)).events(json.dumps(SALE).encode(), 0, 5)
        assert list(found) == events(lines(tmp_path / "f", SALE), "till", shop(TILL))

    def test_spark_s_workers_read_it_too(self, tmp_path: Path) -> None:
        contract = shop(TILL).of_topic("shop.tills")
        intake = Intake(
            ("event_id", "price"), "t", contract=contract.plain(), options=options_of(Settings(home=tmp_path), contract)
        )
        chunk = Chunk([json.dumps(SALE).encode()], [0], [1767614400000])
        rows = [row for batch in intake.rows([chunk], Stretch(0)) for row in batch.to_pylist()]
        assert [row["event_id"] for row in rows if row["event_id"]] == ["4711-1", "4711-2"]

    def test_a_changed_mapping_is_a_change_of_the_topic(self) -> None:
        other = TILL.replace('path = "cents", scale = 2', 'path = "cents"')
        topic, format = changes(shop(TILL), shop(other))
        assert "tills: its mapping_version is" in topic.said and "new epoch" in topic.said
        assert format.said == "till: its mapping changes"
        *_, added = changes(shipped(), shop(TILL))
        assert added.said == "till is added: files and topics can be read by it"
        assert not list(changes(shop(TILL), shop(TILL)))

    def test_rows_of_a_table_are_lines_of_their_order(self, tmp_path: Path) -> None:
        text = """
        [formats.erp]
        fill = ["day", "customer"]
        [formats.erp.fields]
        event_type = {value = "purchase"}
        event_time = "day"
        user_id = {path = "customer", hash = true}
        product_id = "sku"
        price = "net"
        order_id = "order"
        shipping = {path = "freight", once = true}
        """
        day = "2026-01-05T12:00:00"
        rows = [
            {"order": "A", "day": day, "customer": "ann@example.com", "sku": "x", "net": "1.50", "freight": "4"},
            {"order": "A", "day": "", "customer": "", "sku": "y", "net": "2", "freight": "4"},
            {"order": "B", "day": "", "customer": "", "sku": "z", "net": "2", "freight": ""},
            {"order": "A", "day": day, "customer": "ann@example.com", "sku": "", "net": "", "freight": ""},
        ]  # fmt: skip
        found = list(read_rows(table(tmp_path / "f", *rows), "erp", contract=shop(text)))
        good = [row for row in found if isinstance(row, Accepted)]
        assert [(row.event.event_id, row.event.order_line) for row in good] == [
            ("A-purchase-1", 1),
            ("A-purchase-2", 2),
        ]
        assert len({row.event.user_id for row in good}) == 1 and "ann" not in good[0].value.decode()
        assert [json.loads(row.value).get("shipping") for row in good] == ["4", None]
        assert [row.reason for row in found if isinstance(row, Reject)] == ["missing:event_time", "missing:price"]

    def test_a_word_of_the_shop_s_own_is_a_type_too(self, tmp_path: Path) -> None:
        text = "[event_types]\nwished = 'other'\n" + TILL.replace('LOOK = "view"', 'LOOK = "wished"')
        assert [one.event_type for one in events(lines(tmp_path / "f", LOOK), "till", shop(text))] == ["wished"]

    def test_words_that_are_not_listed_are_no_events(self, tmp_path: Path) -> None:
        (row,) = read_rows(lines(tmp_path / "f", SALE | {"kind": "OPEN"}), "till", contract=shop(TILL))
        assert isinstance(row, Reject) and row.reason == "not_mapped"
        (row,) = read_rows(lines(tmp_path / "f", SALE | {"receipt": {"no": 1}}), "till", contract=shop(TILL))
        assert isinstance(row, Reject) and row.reason == "missing:lines"

    def test_the_command_takes_the_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "shop.toml").write_text(TILL)
        monkeypatch.setenv("RETAILPULSE_CONTRACT", str(tmp_path / "shop.toml"))
        with pytest.raises(SystemExit) as ended:
            main(["replay", str(lines(tmp_path / "f", SALE)), "--check", "--json", "--format", "till"])
        said = json.loads(capsys.readouterr().out)
        assert not ended.value.code and said["revenue"] == {"CHF": "45.48"} and said["orders"] == {"CHF": 1}

    def test_an_unknown_format_is_named_beside_the_shop_s_own(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match="till"):
            read_rows(lines(tmp_path / "f", SALE), "tilll", contract=shop(TILL))

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ('event_type = "kind"\n', "", "nothing of event_type"),
            ('"kind"', '"kind."', "'kind.' is not a path"),
            ('SALE = "purchase"', 'SALE = "sold"', "no type of event 'sold'"),
            ('lines = "receipt.positions"\n', 'lines = "receipt.positions"\nfill = [1]\n', "fill is a list of columns"),
            ("[formats.till]\n", "[formats.till]\nshape = 1\n", "no key 'shape'"),
            ('{value = "CHF"}', '{value = "CHF", path = "x"}', "a path or a value"),
            ("scale = -3", "scale = 1.5", "not a whole number of places"),
            ('lines = "receipt.positions"\n', "", "lines and line go together"),
            ("formats.till", "formats.ga4", "a format 'ga4' already"),
            ("formats.till", "formats.retailpulse", "a format 'retailpulse' already"),
            ('format = "till"', 'format = "tull"', "no format 'tull'"),
            ('["card", "till"]', "[]", "list of paths is empty"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_line(self, old: str, new: str, said: str) -> None:
        with pytest.raises(ContractError, match=rf"line \d+: .*{said}"):
            shop(TILL.replace(old, new))


DOCS = Path(__file__).parents[2] / "docs"


def examples(name: str, heading: str, language: str) -> list[str]:
    """The code of a section of the documentation."""
    section = (DOCS / name).read_text().split(f"# {heading}\n")[1]
    return re.findall(rf"```{language}\n(.+?)```", section, re.DOTALL)


def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    till = shop(examples("contract.md", "Formats of your own", "toml")[0])
    found = events(lines(tmp_path / "f", SALE), "till", till)
    assert [(one.event_id, one.price, one.currency) for one in found] == [
        ("4711-1", Decimal("19.99"), "CHF"), ("4711-2", Decimal("5.50"), "CHF"),
    ]  # fmt: skip
    contract = shop(examples("events.md", "Amounts beside the price", "toml")[0])
    said: dict[str, Any] = {}
    exec(examples("events.md", "Amounts beside the price", "python")[0], vars(figures), said)
    shoe, *_ = events(table(tmp_path / "g", RECORDS["shopify"]), "shopify", contract)
    assert said["net_revenue"].typed(contract.types).of_event(shoe) == Decimal("20.00") and shoe.coupon == "SPRING"


class TestShippedFormats:
    def test_each_is_a_tool_of_topics_too(self) -> None:
        assert {one.name for one in shipped_formats()} <= set(TOOLS)

    def test_shopify(self, tmp_path: Path) -> None:
        first = RECORDS["shopify"]
        more = dict.fromkeys(first, "") | {
            "Name": "#1001",
            "Lineitem quantity": 1,
            "Lineitem name": "Hat",
            "Lineitem price": "5",
        }
        void = first | {"Name": "#1002", "Financial Status": "voided"}
        path = table(tmp_path / "f", first, more, void)
        check = check_file(path, "auto")
        assert (check.format, check.revenue, check.orders) == ("shopify", {"EUR": Decimal("27.00")}, {"EUR": 1})
        assert check.rejected == {"not_mapped": 1}
        shoe, hat = (json.loads(row.value) for row in read_rows(path) if isinstance(row, Accepted))
        assert shoe["event_time"] == "2026-01-01T09:00:00.000Z" and "example" not in shoe["user_id"]
        assert (shoe["discount"], shoe["shipping"], shoe["tax"], shoe["coupon"]) == ("2.00", "4.90", "3.19", "SPRING")
        assert (hat["product_id"], hat["order_line"], hat["coupon"]) == ("Hat", 2, "SPRING") and "tax" not in hat
        again = check_file(table(tmp_path / "later", void, first, more), "shopify")
        assert again.revenue == check.revenue, "an order's lines have the same ids in every export"


class TestOwnColumns:
    @pytest.mark.parametrize("container", ["csv", "parquet", "parquet as text"])
    def test_fields_of_the_contract_are_read_from_tables(self, tmp_path: Path, container: str) -> None:
        path = table(tmp_path / "f", PLAIN)
        if container != "csv":
            typed = {"context": {"device": "phone"}, **{name: VALUES[name] for name in list(VALUES)[2:]}}
            row = PLAIN | (typed | {"tags": ["a", "b"]} if container == "parquet" else {})
            pq.write_table(pa.Table.from_pylist([row]), path)
        reading = read_rows(path, contract=shop(OWN))
        (row,) = reading
        assert isinstance(row, Accepted) and reading.ignored == () and reading.format == "retailpulse"
        assert {name: getattr(row.event, name) for name in VALUES} == VALUES
        (again,) = read_rows(lines(tmp_path / "sent", json.loads(row.value)), "retailpulse", contract=shop(OWN))
        assert isinstance(again, Accepted) and again.event == row.event

    def test_empty_cells_are_absent(self, tmp_path: Path) -> None:
        path = table(tmp_path / "f", PLAIN | dict.fromkeys(list(PLAIN)[6:], ""))
        (event,) = events(path, "retailpulse", shop(OWN))
        assert (event.device, event.points, event.tags) == ("unknown", None, None)

    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("points", "seven", "type:points"),
            ("points", "1.5", "type:points"),
            ("gift", "perhaps", "type:gift"),
            ("weight", "inf", "type:weight"),
            ("tax", "1.999", "range:tax"),
            ("shipped_on", "06.01.2026", "format:shipped_on"),
            ("context", "phone", "type:context"),
        ],
    )
    def test_a_wrong_cell_makes_its_row_bad(self, tmp_path: Path, column: str, value: str, reason: str) -> None:
        (row,) = read_rows(table(tmp_path / "f", PLAIN | {column: value}), "retailpulse", contract=shop(OWN))
        assert isinstance(row, Reject) and row.reason == reason

    def test_records_of_tools_keep_the_shop_s_own_fields(self, tmp_path: Path) -> None:
        contract = shop(OWN.replace("context.device", "context.device.type"))
        record = RECORDS["segment"] | {
            "context": {"sessionId": 7, "device": {"type": "phone"}},
            "points": 12345678901234567890,
        }
        (row,) = read_rows(lines(tmp_path / "f", record), "segment", contract=contract)
        assert isinstance(row, Reject) and row.reason == "range:points"
        (event,) = events(lines(tmp_path / "f", record | {"points": 3}), "segment", contract)
        assert (event.device, event.points, event.user_id) == ("phone", 3, "u")

    def test_a_column_that_is_needed_is_asked_for_by_the_contract_s_name(self, tmp_path: Path) -> None:
        without = {name: value for name, value in PLAIN.items() if name != "user.id"}
        with pytest.raises(UsageError, match="no column 'user_id'"):
            read_rows(table(tmp_path / "f", without), "retailpulse", contract=shop(OWN))


class TestSnowplow:
    def row(self, **more: Any) -> str:
        record = RECORDS["snowplow"] | more
        cells = (record.get(name, "") for name in Snowplow.headless)
        return "\t".join(json.dumps(one) if isinstance(one, dict) else str(one) for one in cells) + "\n"

    def test_a_file_without_a_header(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text(self.row(page_title='"Sale", he said') + self.row(event_id="e2"))
        reading = read_rows(tmp_path / "f")
        found = [row.event for row in reading if isinstance(row, Accepted)]
        assert reading.format == "snowplow" and [one.event_id for one in found] == ["c6ef3124-1", "e2-1"]
        assert (found[0].price, found[0].quantity, found[0].order_id) == (Decimal("19.5"), 2, "o")
        (tmp_path / "g").write_text("\t".join(Snowplow.headless) + "\n" + self.row())
        assert [row.event for row in read_rows(tmp_path / "g") if isinstance(row, Accepted)] == found[:1]

    def test_a_row_with_another_number_of_columns_is_rejected(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text(self.row() + self.row().rstrip("\n") + "\tmore\n" + self.row(event_id="e2"))
        assert [getattr(row, "reason", "") for row in read_rows(tmp_path / "f")] == ["", "format:row", ""]

    def test_amounts_of_the_transaction(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text(self.row())
        (row,) = read_rows(tmp_path / "f")
        sent = json.loads(row.value)  # type: ignore[union-attr]
        assert (sent["tax"], sent["shipping"], sent["category"]) == ("3", "2.5", "a.b")

    def test_a_topic_has_its_lines(self) -> None:
        reader = TopicReader(replace(shipped().decoding, format="snowplow"))
        (event,) = reader.events(self.row().encode(), 0, 0)
        assert isinstance(event, Event) and event.event_id == "c6ef3124-1"
        (error,) = reader.events(b"a\tb", 0, 0)
        assert getattr(error, "reason", "") == "format:row"

    def test_orders_of_the_older_tracker(self, tmp_path: Path) -> None:
        item = {
            "event": "transaction_item",
            "ti_orderid": "o9",
            "ti_price": "5",
            "ti_quantity": "3",
            "unstruct_event": "",
        }
        rows = [self.row(event_id=f"e{n}", ti_sku=f"s{n}", contexts="", **item) for n in (1, 2)]
        (tmp_path / "f").write_text("".join([self.row(event="transaction", unstruct_event="", contexts=""), *rows]))
        found = list(read_rows(tmp_path / "f"))
        assert getattr(found[0], "reason", "") == "not_mapped"
        assert [(r.event.order_id, r.event.order_line, r.event.price) for r in found[1:]] == [
            ("o9", 1, 5),
            ("o9", 2, 5),
        ]  # type: ignore[union-attr]

    def test_a_refund_of_a_whole_order(self, tmp_path: Path) -> None:
        schema = "iglu:com.snowplowanalytics.snowplow.ecommerce/{}/jsonschema/1-0-0"
        refund = {
            "schema": schema.format("refund"),
            "data": {"transaction_id": "o", "refund_amount": 7, "currency": "EUR"},
        }
        action = {"data": {"schema": schema.format("snowplow_ecommerce_action"), "data": {"type": "refund"}}}
        (tmp_path / "f").write_text(self.row(unstruct_event=action, contexts={"data": [refund]}))
        check = check_file(tmp_path / "f", "snowplow")
        assert check.revenue == {"EUR": -7} and check.changed["chosen:whole_order"] == 1
