"""Files of orders in which something was renamed, removed, nested, repeated, or is huge or of another type.

Each order has an id and an amount that this module knows by itself. Whatever was done to one of them, nothing stops,
every row becomes events or a reject with a reason, and the revenue of the others is theirs to the last place.
"""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from retailpulse_kernel.feed.adapters import FORMATS, Accepted, Reject, read_rows
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.errors import EventError, UsageError
from retailpulse_kernel.shop.adapters.snowplow import Snowplow
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract
from tests.fuzz.forms import fuzzed, json_values

TIME = "2026-01-01T10:00:00Z"
IGLU = "iglu:com.snowplowanalytics.snowplow.ecommerce/{}/jsonschema/1-0-0"
OWN = """
[formats.own]
types = {sold = "purchase"}
lines = "lines"
[formats.own.fields]
event_id = "no"
event_type = "kind"
event_time = "at"
user_id = "who"
order_id = "no"
shipping = {path = "delivery", scale = 2, once = true}
[formats.own.line]
product_id = "what"
price = {path = "cents", scale = 2}
quantity = "count"

[fields.note]
[fields.points]
path = "more.points"
type = "int"
"""


class Line(NamedTuple):
    """A line of an order: its price in cents, and how many pieces."""

    cents: int
    quantity: int

    @property
    def price(self) -> str:
        return f"{self.cents // 100}.{self.cents % 100:02}"


def _segment(order: str, lines: list[Line]) -> dict[str, Any]:
    products = [{"product_id": "p", "price": float(line.price), "quantity": line.quantity} for line in lines]
    return {
        "type": "track", "event": "Order Completed", "messageId": f"m-{order}", "userId": "u", "timestamp": TIME,
        "properties": {"order_id": order, "currency": "EUR", "products": products, "shipping": 4.9, "coupon": "C"},
    }  # fmt: skip


def _ga4(order: str, lines: list[Line]) -> dict[str, Any]:
    items = [{"item_id": "p", "price": float(line.price), "quantity": line.quantity} for line in lines]
    params = [
        {"key": "currency", "value": {"string_value": "EUR", "int_value": None}},
        {"key": "ga_session_id", "value": {"string_value": None, "int_value": 7}},
    ]
    return {
        "event_name": "purchase", "event_timestamp": 1767261600000000, "user_pseudo_id": "1.2",
        "event_params": params, "ecommerce": {"transaction_id": order, "tax_value": 1.5}, "items": items,
    }  # fmt: skip


def _snowplow(order: str, lines: list[Line]) -> dict[str, Any]:
    products = [
        {"schema": IGLU.format("product"), "data": {"id": "p", "price": float(line.price), "quantity": line.quantity}}
        for line in lines
    ]
    transaction = {"schema": IGLU.format("transaction"), "data": {"transaction_id": order, "currency": "EUR"}}
    action = {"schema": IGLU.format("snowplow_ecommerce_action"), "data": {"type": "transaction"}}
    return {
        "event": "unstruct", "event_id": f"e-{order}", "collector_tstamp": "2026-01-01 10:00:00.123", "user_id": "u",
        "domain_sessionid": "s", "unstruct_event": {"data": action}, "contexts": {"data": [*products, transaction]},
    }  # fmt: skip


def _own(order: str, lines: list[Line]) -> dict[str, Any]:
    sold = [{"what": "p", "cents": line.cents, "count": line.quantity} for line in lines]
    return {
        "no": order, "kind": "sold", "at": TIME, "who": "u", "delivery": 490, "lines": sold, "note": "n",
        "more": {"points": 3},
    }  # fmt: skip


def _retailpulse(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "event_id": f"e-{order}", "event_type": "purchase", "event_time": TIME, "user_id": "u", "session_id": "s",
        "product_id": "p", "price": line.price, "quantity": line.quantity, "currency": "EUR", "order_id": order,
        "order_line": 1, "note": "n", "more": {"points": 3},
    }  # fmt: skip


def _rees46(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "event_time": "2026-01-01 10:00:00 UTC", "event_type": "purchase", "product_id": "p", "category_id": "1",
        "category_code": "a.b", "brand": "b", "price": line.price, "user_id": "u", "user_session": order,
    }  # fmt: skip


def _retailrocket(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "timestamp": 1767261600000, "visitorid": "u", "event": "transaction", "itemid": f"i{line.cents}",
        "transactionid": order,
    }  # fmt: skip


def _shopify(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "Name": order, "Email": "ann@example.com", "Financial Status": "paid",
        "Created at": "2026-01-01 10:00:00 +0100", "Currency": "EUR",
        "Lineitem quantity": line.quantity, "Lineitem price": line.price,
        "Lineitem sku": "p",
        "Discount Amount": "1.00",
    }  # fmt: skip


#: How each format writes an order.
NESTED: dict[str, Callable[[str, list[Line]], dict[str, Any]]] = {
    "segment": _segment, "ga4": _ga4, "snowplow": _snowplow, "own": _own,
}  # fmt: skip
FLAT: dict[str, Callable[[str, list[Line]], dict[str, Any]]] = {
    "retailpulse": _retailpulse, "rees46": _rees46, "retailrocket": _retailrocket, "shopify": _shopify,
}  # fmt: skip
#: Formats whose records have one piece each.
SINGLE = ("rees46", "retailrocket")


def contract() -> Contract:
    return read_contract(OWN, name="shop.toml", base=shipped())


def test_every_format_is_mutated() -> None:
    assert {*NESTED, *FLAT} == {*FORMATS, "own"}


_HUGE = [
    "9" * 5000, "x" * 70_000, 10**40, -(2**63) - 1, 1e308, "1e400", "0." + "0" * 400 + "1", {"a": {"b": {"c": [[]]}}},
    [[]] * 50, {str(number): number for number in range(50)},
]  # fmt: skip
_ENCODED = [
    "\ufeffx",
    "e\u0301",
    "\x00",
    "\u2028",
    "Ã©",
    "😀" * 65,
    "1\u00a0000,00",
    "\u0661\u0662",
    "12,50",
    "1.000,00",
]
_ODD = json_values | st.sampled_from(_HUGE) | st.sampled_from(_ENCODED)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in ((*path, key), *_places(one, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, record: dict[str, Any]) -> dict[str, Any]:
    """A record to which one to three things were done, at any depth."""
    changed = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(changed)
        if not places:
            break
        *way, key = draw(st.sampled_from(places))
        holder: Any = changed
        for step in way:
            holder = holder[step]
        value, what = holder[key], draw(st.sampled_from(["rename", "remove", "nest", "repeat", "type", "shuffle"]))
        if what == "remove":
            del holder[key]
        elif what == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from([key.upper(), f" {key}", f"{key}_", f"x.{key}", ""]))] = holder.pop(key)
        elif what == "nest":
            holder[key] = draw(st.sampled_from([[value], {"value": value}, [[value], value], json.dumps(value)]))
        elif what == "repeat" and isinstance(value, list):
            holder[key] = value * draw(st.integers(0, 3))
        elif what == "shuffle" and isinstance(holder, dict):
            pairs = draw(st.permutations(list(holder.items())))
            holder.clear()
            holder.update(pairs)
        else:
            holder[key] = copy.deepcopy(draw(_ODD))  # what is drawn is shared, and may be changed next
    return changed


class Orders(NamedTuple):
    """Orders of a format: their records, which of them were mutated, and what the others cost."""

    format: str
    records: list[dict[str, Any]]
    amounts: dict[str, Decimal]
    prices: set[int]


@st.composite
def orders(draw: st.DrawFn, formats: dict[str, Callable[[str, list[Line]], dict[str, Any]]]) -> Orders:
    """Up to five orders, some of them mutated."""
    format = draw(st.sampled_from(sorted(formats)))
    records, amounts, prices = [], {}, set()
    pieces = st.just(1) if format in SINGLE else st.integers(1, 9)
    line = st.builds(Line, st.integers(0, 10**9), pieces)
    for number in range(draw(st.integers(1, 5))):
        name = f"order-{number}"
        lines = draw(st.lists(line, min_size=1, max_size=3 if format in NESTED else 1))
        record = formats[format](name, lines)
        prices |= {one.cents for one in lines}
        # The first record tells a file's columns.
        if number and draw(st.booleans()):
            records.append(draw(mutated(record)))
        else:
            records.append(record)
            amounts[name] = sum((Decimal(one.cents) * one.quantity / 100 for one in lines), Decimal(0))
    return Orders(format, records, amounts, prices)


def judge(content: bytes, given: Orders, rows: int) -> None:
    """What is demanded of every file."""
    with TemporaryDirectory() as folder:
        path, items = Path(folder) / "f", Path(folder) / "items.csv"
        path.write_bytes(content)
        listed = "".join(f"i{cents},a,{Line(cents, 1).price}\n" for cents in given.prices)
        items.write_text("itemid,category,price\n" + listed)
        options: dict[str, Any] = {"items": items, "contract": contract()}
        reading = read_rows(path, given.format, **options)
        found = list(reading)
        check = check_file(path, given.format, **options)
    assert reading.rows == rows and len(found) >= rows
    assert check.sent + check.rejected.total() == len(found)
    sums: Counter[str] = Counter()
    ids: dict[str, Decimal] = {}
    for row in found:
        if isinstance(row, Reject):
            assert row.reason and ":" not in row.reason[:1]
            json.dumps(row).encode()
            continue
        # An independent reader of what is sent.
        sent = json.loads(row.value, parse_float=Decimal)
        amount = (
            Decimal(sent["price"]) * (sent.get("quantity") or 1)
            if sent["event_type"] in ("purchase", "refund")
            else Decimal(0)
        )
        amount = -amount if sent["event_type"] == "refund" else amount
        sums[sent.get("order_id") or ""] += amount  # type: ignore[assignment]
        ids.setdefault(sent["event_id"], amount)
    assert sum(ids.values()) == sum(check.revenue.values())
    for order, amount in given.amounts.items():
        others = [record for record in given.records if order in json.dumps(record, default=str)]
        if len(others) == 1:
            assert sums[order] == amount, order


def _packed(draw: st.DrawFn, text: str) -> bytes:
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    content = text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf-8") else "replace")
    return gzip.compress(content, mtime=0) if draw(st.booleans()) else content


@st.composite
def json_files(draw: st.DrawFn) -> tuple[bytes, Orders]:
    """JSONL, an array, or objects over several lines."""
    given = draw(orders(NESTED | FLAT))
    shape, ascii_only = draw(st.sampled_from(["lines", "array", "spread"])), draw(st.booleans())
    texts = [json.dumps(one, ensure_ascii=ascii_only, indent=1 if shape == "spread" else None) for one in given.records]
    text = f"[{','.join(texts)}]" if shape == "array" else "\n".join(texts)
    return _packed(draw, text), given


@fuzzed(0.3, file=json_files())
def test_orders_in_json(file: tuple[bytes, Orders]) -> None:
    content, given = file
    judge(content, given, len(given.records))


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, Orders]:
    """CSV with its columns in any order, and with more of them; nested values as JSON."""
    given = draw(orders(NESTED | FLAT))
    columns = [*given.records[0], *draw(st.lists(st.sampled_from(["further", "x y", "tax"]), unique=True))]
    columns = [name for name in draw(st.permutations(columns)) if name]
    buffer = io.StringIO()
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    writer = csv.writer(buffer, lineterminator=draw(st.sampled_from(["\n", "\r\n"])), delimiter=delimiter)
    writer.writerow(columns)
    for record in given.records:
        writer.writerow([_cell(record.get(name)) for name in columns])
    return _packed(draw, buffer.getvalue()), given


def _cell(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value).replace("\r", "").replace("\n", "")


@fuzzed(0.15, file=tables())
def test_orders_in_tables(file: tuple[bytes, Orders]) -> None:
    content, given = file
    if any("\x00" in _cell(value) for record in given.records for value in record.values()):
        return  # Python's reader of CSV has no NUL
    judge(content, given, len(given.records))


@st.composite
def parquets(draw: st.DrawFn) -> tuple[bytes, Orders] | None:
    """Parquet, where Arrow has one type for each of the columns."""
    given = draw(orders(NESTED | FLAT))
    buffer = io.BytesIO()
    try:
        table = pa.Table.from_pylist(given.records)
        pq.write_table(table.select(draw(st.permutations(table.column_names))), buffer)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        return None
    return buffer.getvalue(), given


@fuzzed(0.15, file=parquets())
def test_orders_in_parquet(file: tuple[bytes, Orders] | None) -> None:
    if file is not None:
        judge(file[0], file[1], len(file[1].records))


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, Orders]:
    """Snowplow's lines, which have no header, some of them with more or fewer columns."""
    given = draw(orders({"snowplow": _snowplow}))
    lines = []
    for number, record in enumerate(given.records):
        cells = [_cell(record.get(name)).replace("\t", " ") for name in Snowplow.headless]
        if number and not any(order in cells[6] for order in given.amounts):
            cells = ["x", *cells[: draw(st.integers(1, len(cells)))]] + ["more"] * draw(st.integers(0, 2))
        lines.append("\t".join(cells))
    return ("\n".join(lines) + "\n").encode(errors="surrogatepass"), given


@fuzzed(0.05, file=streams())
def test_orders_in_lines_without_a_header(file: tuple[bytes, Orders]) -> None:
    content, given = file
    judge(content, given, len(given.records))


@fuzzed(0.05, file=tables(), name=st.sampled_from(["price", "event_time", "Name", "items", "properties", "lines"]))
def test_a_damaged_header_is_refused_or_read(file: tuple[bytes, Orders], name: str) -> None:
    content, given = file
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(content.replace(name.encode(), b"x", 1))
        try:
            assert all(isinstance(row, Accepted | Reject) for row in read_rows(path, given.format, contract=contract()))
        except UsageError as error:
            assert str(error)


def test_the_judge_can_say_no() -> None:
    given = Orders("segment", [_segment("order-0", [Line(150, 2)])], {"order-0": Decimal("2.99")}, set())
    try:
        judge(json.dumps(given.records[0]).encode(), given, 1)
    except AssertionError:
        return
    raise EventError("judged", "a wrong sum was not noticed")
