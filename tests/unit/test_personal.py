"""Values of personal fields are in no error, dead letter, gate or report that names an example."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from retailpulse_kernel.feed.adapters import Reject, read_rows
from retailpulse_kernel.ground.errors import AmbiguousKey
from retailpulse_kernel.reconcile.result import Difference
from retailpulse_kernel.shop.comparison import compared_rows
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.figures import EVENTS, Figure
from retailpulse_kernel.shop.measuring.measures import greatest_of
from retailpulse_kernel.shop.personal import HIDDEN, masked, named_only, told_detail
from retailpulse_kernel.shop.rows import FAILED, Column, RowTable
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.intake.judging import Chunk, Intake, Stretch
from retailpulse_kernel.streaming.intake.rejects import RefusedRows, RejectTopics
from retailpulse_kernel.streaming.sinks.keys import identified

ADA = "ada@example.com"
NOON_MS = 1_767_268_800_000
SHOP = Contract(
    (*shipped().fields, Field("email", "int", personal=True, path="email"), Field("age", "int", personal=True)),
    shipped().event_types,
)
OLDEST = Figure("oldest", "Oldest", greatest_of("age")).typed(SHOP.types)
told = partial(masked, contract=SHOP)


class Kept(RejectTopics):
    """Rejects that stay here."""

    def __init__(self) -> None:
        super().__init__((), bad="bad", late="late")
        object.__setattr__(self, "records", [])

    def send(self, records: Any) -> None:
        self.records.extend(json.loads(record) for _, _, record in records)  # type: ignore[attr-defined]


def test_a_row_is_told_without_personal_values() -> None:
    row = {"email": ADA, "first_email": None, "n": 3, "oldest": 71, "events": 2}
    assert masked(row, SHOP, (OLDEST, EVENTS)) == row | {"email": HIDDEN, "oldest": HIDDEN}
    assert masked(row, shipped(), (EVENTS,)) == row
    assert repr(HIDDEN) == "(personal)", "no text of a shop"
    assert orjson.dumps(HIDDEN).decode() == json.dumps(HIDDEN) == '"(personal)"'


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (f"KeyError: '{ADA}'", "KeyError: (personal)"),
        (f"shop.errors.NoUser: {ADA}: none", "shop.errors.NoUser: (personal)"),
        (f"{ADA} is unknown", "(personal)"),
        ("ValueError", "(personal)"),
    ],
)
def test_an_exception_keeps_its_name(why: str, said: str) -> None:
    assert named_only(why) == said


def test_keys_that_do_not_identify_a_row_are_not_quoted() -> None:
    table = RowTable(
        "people", tuple(Column(name, "string") for name in ("email", "shop", "last_email")), ("email", "shop")
    )
    rows = pa.table({"email": [ADA, ADA], "shop": ["a", "a"], "last_email": ["x", ADA]})
    with pytest.raises(AmbiguousKey) as raised:
        identified(table, rows, told)
    assert "such as email (personal), shop 'a' with last_email (personal) and (personal)." in raised.value.message


def test_the_first_row_that_differs_is_not_quoted() -> None:
    old, new = {(ADA, 1): {"age": 71, "n": 1}}, {(ADA, 1): {"age": 72, "n": 1}}
    found = compared_rows("people", ["email", "shop"], old, new, told=told)
    assert found.first == "people (personal) 1: age (personal) -> (personal)"
    assert compared_rows("people", ["email", "shop"], old, {}, told=told).first.startswith(
        "people (personal) 1: not in"
    )


def test_reconciliation_does_not_quote_what_differs() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    said = Difference({"start": start, "email": ADA}, {"oldest": 71, "n": 1}, {"oldest": 72, "n": 2}).told(
        SHOP, [OLDEST]
    )
    assert (said.key["email"], said.stored, said.folded) == (
        HIDDEN, {"oldest": HIDDEN, "n": 1}, {"oldest": HIDDEN, "n": 2}
    )  # fmt: skip
    assert "email (personal): the store has oldest (personal), n 1" in str(said)


def test_why_a_message_is_bad_does_not_quote_it() -> None:
    fields = {"event_type": "view", "event_time": "2026-01-01T12:00:00Z", "user_id": "u", "session_id": "s",
              "product_id": "p", "event_id": "e"}  # fmt: skip
    kept = Kept()
    intake = Intake(("event_id",), "t", rejects=kept, contract=SHOP.plain())
    chunk = Chunk(
        [json.dumps(fields | more).encode() for more in ({"email": ADA}, {"price": "x"})], [0, 1], [NOON_MS] * 2
    )
    list(intake.rows([chunk], Stretch(0)))
    bad = [(one["reason"], one["detail"]) for one in kept.records]  # type: ignore[attr-defined]
    assert bad[0] == ("type:email", told_detail("type:email", ADA, SHOP)) and ADA not in bad[0][1]
    assert bad[1][0] == "format:price" and "'x'" in bad[1][1], "other values are told"


def test_a_file_s_rejects_are_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"event_id,event_type,event_time,user_id,session_id,product_id,email\n"
                    f"e,view,2026-01-01T12:00:00Z,u,s,p,{ADA}\n")  # fmt: skip
    (found,) = read_rows(path, "retailpulse", contract=SHOP)
    assert isinstance(found, Reject) and found.reason.endswith(":email") and ADA not in found.detail


@pytest.mark.parametrize(("hides", "detail"), [(True, "KeyError: (personal)"), (False, f"KeyError: '{ADA}'")])
def test_why_a_row_failed_is_not_quoted_where_the_query_reads_a_personal_field(hides: bool, detail: str) -> None:
    kept = Kept()
    rows = pa.table({"id": ["a"], FAILED: [f"KeyError: '{ADA}'"]})
    RefusedRows(kept, "shop", "people", hides)("function_failed", rows, Epoch(1, 0, "e0001"), 0)
    assert [one["detail"] for one in kept.records] == [detail]  # type: ignore[attr-defined]
