"""Columns of own fields against the reader that reads one message at a time: the same verdicts, the same values."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.streaming.intake.parsing import parse_events
from retailpulse_kernel.streaming.intake.shapes import column_types

ARRIVAL_MS = 1_800_000_000_000
GOOD: dict[str, Any] = {
    "event_id": "e", "event_type": "purchase", "event_time": "2026-01-31T23:59:59.999Z", "user_id": "u",
    "session_id": "s", "product_id": "p", "category": "a.b", "brand": "x", "price": "19.90", "quantity": 2,
    "currency": "EUR", "order_id": "o", "order_line": 1,
}  # fmt: skip

#: Every type, with its bounds, as fields at every kind of place.
TYPES = {
    "string": ["", "max_length = 3", "min_length = 1\nmax_length = 2", 'allowed = ["a", "b"]', 'default = "none"'],
    "bool": ["", "default = false"],
    "int": ["", "min = 0\nmax = 5", "allowed = [1, 2]", "default = 7"],
    "long": ["", "min = -5"],
    "double": ["", "min = 0.5\nmax = 2"],
    "decimal(5,2)": ["", "min = 0\nmax = 10.5", 'default = "1.5"'],
    "decimal(38,10)": [""],
    "decimal(3,3)": [""],
    "decimal(4,0)": [""],
    "date": ["", "min = 2026-01-01", "default = 2026-02-03"],
    "timestamp": ["", "max = 2026-06-01T00:00:00Z"],
    "list<string>": ["", "max_length = 2", 'allowed = ["a"]'],
    "list<int>": ["", "min = 0"],
    "list<decimal(5,2)>": ["", "min = 0"],
    "list<timestamp>": [""],
    "list<date>": [""],
}
PATHS = [
    "", "context.device", "context.campaign.name", "items[0].sku", "items[1].price.net", "tags[0]", "grid[0][1]",
    "context.list[2].a", "Odd-Key", "items[0].parts[1].id", "grid[0][0]", "items[0].parts[2].id",
]  # fmt: skip
VALUES: list[Any] = [
    None, "", "a", "b", "abc", "abcd", "é", True, False, 0, 1, -1, 5, 6, 2**31, 2**63, 2**70, 0.5, 1.5, 2.0, 1e300,
    "0", "1.5", "-1.50", "10.50", "10.51", "999.99", "1000", "1.555", "1e2", "-0.00", 0.1, 12.345, "0.123", "1234",
    "2026-01-31", "2026-02-30", "2025-12-31", "1899-01-01", "2200-01-01", "2026-1-1",
    "2026-01-31T10:00:00Z", "2026-01-31T10:00:00.123456Z", "2026-01-31T10:00:00.1234567Z", "2026-01-31T10:00:00+02:00",
    "2026-02-30T10:00:00Z", "2026-07-01T00:00:00Z", "2026-01-31 10:00:00z", "1850-01-01T00:00:00Z",
    1_767_225_600_000, -3_000_000_000_000, 10**18, [], ["a"], ["a", "abc"], [None], [1], [1, -1], ["1.5"], [1.5, "x"],
    ["2026-01-31"], ["2026-01-31T10:00:00Z", 0], {}, {"a": 1}, [[1]], "null",
]  # fmt: skip


def contract(*fields: tuple[str, str, str, bool], more: str = "") -> Contract:
    """A contract of own fields: path, type, bounds, required."""
    text = more
    for number, (path, type_, bounds, required) in enumerate(fields):
        text += f'\n[fields.own_{number}]\ntype = "{type_}"\n{bounds}\n'
        text += f'path = "{path}"\n' if path else ""
        text += "required = true\n" if required and "default" not in bounds else ""
    return read_contract(text, name="shop.toml", base=shipped())


def verdicts(contract: Contract, values: list[bytes | None], columns: list[str]) -> list[Any]:
    """What the columns say of each message."""
    parsed = parse_events(values, [ARRIVAL_MS] * len(values), columns, contract)
    assert parsed.events.column_names == list(dict.fromkeys(("event_id", "event_time", *columns)))
    assert all(parsed.events.schema.field(name).type == column_types(contract)[name] for name in columns)
    found: dict[int, Any] = {position: error.reason for position, error in parsed.bad}
    for position, row in zip(parsed.positions, parsed.events.to_pylist(), strict=True):
        found[int(position)] = row
    return [found[i] for i in range(len(values))]


def truth(contract: Contract, value: bytes | None, columns: list[str]) -> Any:
    reader = reader_of(contract)
    try:
        event = reader.parse(value, arrival_ms=ARRIVAL_MS)
    except EventError as error:
        assert error.reason in reader.reasons
        return error.reason
    values = {name: getattr(event, name) for name in dict.fromkeys(("event_id", "event_time", *columns))}
    # An event is hashable, so its lists are tuples.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def put(message: dict[str, Any], path: str, value: Any) -> None:
    """Set what a path leads to, as far as the way is free."""
    parts: list[Any] = []
    for part in path.replace("[", ".#").replace("]", "").split("."):
        parts.append(int(part[1:]) if part.startswith("#") else part)
    holder: Any = message
    for at, part in enumerate(parts):
        if isinstance(part, int):
            if not isinstance(holder, list):
                return
            holder.extend([None] * (part + 1 - len(holder)))
        elif not isinstance(holder, dict):
            return
        if at == len(parts) - 1:
            holder[part] = value
            return
        present = holder[part] if isinstance(part, int) else holder.get(part)
        if present is None:
            holder[part] = present = [] if isinstance(parts[at + 1], int) else {}
        holder = present


@pytest.mark.parametrize(
    ("path", "type_", "bounds"),
    [
        *(("", type_, bounds) for type_, several in TYPES.items() for bounds in several),
        *((path, type_, TYPES[type_][0]) for path in PATHS[1:] for type_ in ("string", "decimal(5,2)", "list<int>")),
    ],
)
def test_each_type_is_judged_alike_at_each_place(path: str, type_: str, bounds: str) -> None:
    for required in (False, True):
        shop = contract((path, type_, bounds, required))
        messages: list[bytes | None] = []
        for value in VALUES:
            message = json.loads(json.dumps(GOOD))
            put(message, path or "own_0", value)
            messages.append(json.dumps(message).encode())
        messages.append(json.dumps(GOOD).encode())
        for columns in (["own_0", "price"], []):
            assert verdicts(shop, messages, columns) == [truth(shop, one, columns) for one in messages]
        # One that is wrong sends its whole column another way: each by itself as well.
        for one in messages:
            assert verdicts(shop, [one], ["own_0"]) == [truth(shop, one, ["own_0"])]


@st.composite
def _contracts(draw: st.DrawFn) -> tuple[Contract, list[str]]:
    paths = draw(st.permutations(PATHS))[: draw(st.integers(1, 4))]
    fields = []
    for path in paths:
        type_ = draw(st.sampled_from(sorted(TYPES)))
        fields.append((path, type_, draw(st.sampled_from(TYPES[type_])), draw(st.booleans())))
    more = ""
    if draw(st.booleans()):
        more += '[event_types]\nproduct_viewed = "view"\nsold = "purchase"\nwishlist = "other"\n'
    moved = {"user_id": "context.user.id", "price": "money[0].amount", "event_type": "what.kind", "brand": "Brand"}
    chosen = draw(st.lists(st.sampled_from(sorted(moved)), unique=True))
    more += "".join(f'[fields.{name}]\npath = "{moved[name]}"\n' for name in chosen)
    return contract(*fields, more=more), [*(moved[name] for name in chosen), *(path or "own_0" for path in paths)]


@settings(max_examples=150, deadline=None)
@given(_contracts(), st.data())
def test_any_contract_judges_any_messages_alike(drawn: tuple[Contract, list[str]], data: st.DataObject) -> None:
    shop, paths = drawn
    standard = {field.name: field.path or field.name for field in shop.standard}
    messages: list[bytes | None] = []
    for _ in range(data.draw(st.integers(1, 5))):
        message: dict[str, Any] = {}
        words = st.sampled_from([*shop.event_types.columns, *shop.event_types.columns, "unknown", None])
        for name, value in {**GOOD, "event_type": data.draw(words)}.items():
            put(message, standard[name], value)
        for path in [*paths, *data.draw(st.lists(st.sampled_from([*GOOD, "context", "items", "tags"]), max_size=1))]:
            if data.draw(st.booleans()):
                put(message, path, data.draw(st.sampled_from(VALUES)))
        messages.append(json.dumps(message).encode())
    columns = [field.name for field in shop.columns]
    assert verdicts(shop, messages, columns) == [truth(shop, one, columns) for one in messages]


def test_a_contract_without_own_fields_reads_as_before() -> None:
    message = json.dumps(GOOD).encode()
    assert reader_of(shipped()).event is type(reader_of(shipped()).parse(message))
    assert shipped().is_plain


SHOP = """
[event_types]
product_viewed = "view"
wishlist = "other"

[fields.user_id]
path = "user.id"

[fields.device]
path = "context.device"
default = "unknown"
dimension = true

[fields.discount]
path = "items[0].discount"
type = "decimal(5,4)"

[fields.shipped_on]
type = "date"

[fields.seen]
type = "timestamp"

[fields.coupons]
type = "list<string>"
"""


def shop_message(**fields: Any) -> bytes:
    message = {name: value for name, value in GOOD.items() if name != "user_id"} | {"user": {"id": "u"}} | fields
    return json.dumps(message).encode()


def test_own_fields_are_exact_values() -> None:
    shop = read_contract(SHOP, name="shop.toml", base=shipped())
    event: Any = reader_of(shop).parse(
        shop_message(
            context={"device": "phone"}, items=[{"discount": 0.1}], shipped_on="2026-01-31",
            seen="2026-01-31T10:00:00.123456+02:00", coupons=["a", "b"],
        )
    )  # fmt: skip
    assert (event.user_id, event.device, event.discount) == ("u", "phone", Decimal("0.1000"))
    assert (event.shipped_on, event.coupons) == (date(2026, 1, 31), ("a", "b"))
    assert event.seen == datetime(2026, 1, 31, 8, 0, 0, 123456, tzinfo=UTC)
    assert hash(event) == hash(event)
    bare: Any = reader_of(shop).parse(shop_message())
    assert (bare.device, bare.discount, bare.shipped_on, bare.coupons) == ("unknown", None, None, None)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"context": "phone"}, "type:device"),
        ({"context": {"device": 7}}, "type:device"),
        ({"items": [{"discount": "0.12345"}]}, "range:discount"),
        ({"items": [{"discount": "ten"}]}, "format:discount"),
        ({"items": {}}, "type:discount"),
        ({"shipped_on": "31.1.2026"}, "format:shipped_on"),
        ({"seen": "2026-01-31T10:00:00"}, "format:seen"),
        ({"coupons": ["a", None]}, "type:coupons"),
        ({"user": {}}, "missing:user_id"),
        ({"event_type": "sale"}, "unknown:event_type"),
    ],
)
def test_a_wrong_value_rejects_the_message_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    shop = read_contract(SHOP, name="shop.toml", base=shipped())
    assert verdicts(shop, [shop_message(**fields)], ["device"]) == [reason]


def test_figures_go_by_the_role_of_a_word() -> None:
    shop = read_contract(SHOP, name="shop.toml", base=shipped())
    messages: list[bytes | None] = [shop_message(event_type=word) for word in ("product_viewed", "view", "wishlist")]
    found = verdicts(shop, messages, ["event_type"])
    assert [row["event_type"] for row in found] == ["view", "view", "wishlist"]
