"""Files of orders in which something was renamed, removed, nested, repeated, or is huge or of another type.

Each order has an id and an amount that this module knows by itself. Whatever was done to one of them, nothing stops,
every row becomes events or a reject with a reason, and the revenue of the others is theirs to the last place.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retailpulse_kernel.feed.adapters import FORMATS, Accepted, Reject, read_rows
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.adapters.snowplow import Snowplow
from tests.fuzz.forms import seeded
from tests.fuzz.mutating import Orders, orders
from tests.fuzz.records import BESIDE, FORMS, NESTED, Line, contract

#: Makes a file of orders.
Writer = Callable[[Orders], bytes]


def test_every_format_is_mutated() -> None:
    assert {*FORMS} == {*FORMATS, "own"}


def judge(content: bytes, given: Orders) -> None:
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
    assert reading.rows == len(given.records) <= len(found), (reading.rows, len(given.records), len(found))
    assert check.sent + check.rejected.total() == len(found)
    sums = Counter[str]()
    ids: dict[str, Decimal] = {}
    name, of_order = BESIDE.get(given.format, ("", "0"))
    beside = Counter[str]()
    for row in found:
        if isinstance(row, Reject):
            assert row.reason and ":" not in row.reason[:1]
            json.dumps(row).encode()
            continue
        # An independent reader of what is sent.
        sent = json.loads(row.value, parse_float=Decimal)
        sign = {"purchase": 1, "refund": -1}.get(sent["event_type"], 0)
        amount = sign * Decimal(sent["price"]) * (sent.get("quantity") or 1) if sign else Decimal(0)
        sums[sent.get("order_id") or ""] += amount  # type: ignore[assignment]
        if name and name in sent:
            beside[sent.get("order_id") or ""] += Decimal(sent[name])  # type: ignore[assignment]
        ids.setdefault(sent["event_id"], amount)
    assert sum(ids.values()) == sum(check.revenue.values())
    texts = [json.dumps(record, default=str) for record in given.records]
    for order, amount in given.amounts.items():
        if sum(order in text for text in texts) == 1:
            assert (sums[order], beside[order]) == (amount, Decimal(of_order)), order


def judge_all(write: Writer, given: Orders) -> int:
    """Judge a file; where it is judged wrong, the smallest one that is shows what of it is wrong."""
    try:
        judge(write(given), given)
    except Exception:
        for number in range(1, len(given.records)):
            alone = given.alone(number)
            try:
                judge(write(alone), alone)
            except Exception as error:
                raise AssertionError(f"{alone.format}: {write(alone)[:4000]!r}") from error
        raise
    return len(given.records)


def packed(chance: random.Random) -> Callable[[str], bytes]:
    encoding = chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"])
    errors, packs = "surrogatepass" if encoding.startswith("utf-8") else "replace", chance.random() < 0.2

    def pack(text: str) -> bytes:
        content = text.encode(encoding, errors=errors)
        return gzip.compress(content, 1, mtime=0) if packs else content

    return pack


@seeded(0.45)
def test_orders_in_json(chance: random.Random) -> int:
    """JSONL, an array, or objects over several lines."""
    shape, ascii_only = chance.choice(["lines", "lines", "array", "spread"]), chance.random() < 0.5
    pack = packed(chance)

    def write(given: Orders) -> bytes:
        indent = 1 if shape == "spread" else None
        texts = [json.dumps(one, ensure_ascii=ascii_only, indent=indent) for one in given.records]
        return pack(f"[{','.join(texts)}]" if shape == "array" else "\n".join(texts))

    return judge_all(write, orders(chance, FORMS))


def cell(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value).replace("\r", "").replace("\n", "")


def table(chance: random.Random, given: Orders) -> Writer:
    """CSV with its columns in any order, and with more of them; nested values as JSON."""
    columns = [*given.records[0], *chance.choice([(), ("further",), ("x y", "tax")])]
    columns = chance.sample(columns, len(columns))
    delimiter, end, pack = chance.choice([",", ";", "\t", "|"]), chance.choice(["\n", "\r\n"]), packed(chance)

    def write(given: Orders) -> bytes:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator=end, delimiter=delimiter)
        writer.writerow(columns)
        for record in given.records:
            writer.writerow([cell(record.get(name)) for name in columns])
        return pack(buffer.getvalue())

    return write


@seeded(0.25)
def test_orders_in_tables(chance: random.Random) -> int:
    given = orders(chance, FORMS)
    return judge_all(table(chance, given), given)


def column(values: list[Any]) -> pa.Array:
    """A column of one type; where Arrow has none for all its values they are texts, nested ones JSON."""
    try:
        found = pa.array(values)
        pq.write_table(pa.table({"x": found}), io.BytesIO())
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        texts = [None if value is None else cell(value).encode(errors="replace").decode() for value in values]
        return pa.array(texts, pa.string())
    return found


@seeded(0.2)
def test_orders_in_parquet(chance: random.Random) -> int:
    given = orders(chance, FORMS, most=20)
    order = chance.random()

    def write(given: Orders) -> bytes:
        names = [name for name in dict.fromkeys(name for one in given.records for name in one) if name]
        random.Random(order).shuffle(names)
        buffer = io.BytesIO()
        columns = {name: column([record.get(name) for record in given.records]) for name in names}
        pq.write_table(pa.table(columns), buffer)
        return buffer.getvalue()

    return judge_all(write, given)


@seeded(0.05)
def test_orders_in_lines_without_a_header(chance: random.Random) -> int:
    """Snowplow's lines, some of them with more or fewer columns."""
    damage = chance.random()

    def write(given: Orders) -> bytes:
        lines, damaging = [], random.Random(damage)
        for number, record in enumerate(given.records):
            cells = [cell(record.get(name)).replace("\t", " ") for name in Snowplow.headless]
            if number and not any(order in text for order in given.amounts for text in cells):
                cells = ["x", *cells[: damaging.randint(1, len(cells))]] + ["more"] * damaging.randrange(3)
            lines.append("\t".join(cells))
        return ("\n".join(lines) + "\n").encode(errors="surrogatepass")

    return judge_all(write, orders(chance, {"snowplow": NESTED["snowplow"]}))


@seeded(0.05)
def test_a_damaged_header_is_refused_or_read(chance: random.Random) -> int:
    given = orders(chance, FORMS, most=5)
    name = chance.choice(["price", "event_time", "Name", "items", "properties", "lines"])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(table(chance, given)(given).replace(name.encode(), b"x", 1))
        try:
            assert all(isinstance(row, Accepted | Reject) for row in read_rows(path, given.format, contract=contract()))
        except UsageError as error:
            assert str(error)
    return len(given.records)


def test_the_judge_can_say_no() -> None:
    record = NESTED["segment"]("order-0000", [Line(150, 2)])
    wrong = Orders("segment", [record, record], {"order-0000": Decimal("2.99")}, set())
    with pytest.raises(AssertionError):
        judge(json.dumps(record).encode(), wrong._replace(records=[record]))
