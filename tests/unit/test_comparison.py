"""Rows of two versions: how many differ, and the first of them in words."""

from __future__ import annotations

from datetime import UTC, datetime

from retailpulse_kernel.shop.comparison import Compared, Difference, comparable, compare, compared_rows
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import GRAINS, FigureTable

DAY = datetime(2026, 1, 2, tzinfo=UTC)
KEY = ["day", "shelf"]


def test_equal_rows_are_equal_also_where_one_version_has_more_columns() -> None:
    rows = {(DAY, "a"): {"events": 1}, (DAY, "b"): {"events": 2}}
    more = {key: row | {"units": 7} for key, row in rows.items()}
    assert compared_rows("shelf", KEY, rows, more) == Compared(2)
    assert str(compared_rows("shelf", KEY, rows, more)) == "2 rows equal"
    assert str(compared_rows("shelf", KEY, {}, {})) == "no rows to compare"


def test_the_first_that_differs_is_named_with_what_differs() -> None:
    old = {(DAY, "b"): {"events": 2, "units": 3}, (DAY, "a"): {"events": 1, "units": 3}}
    new = {(DAY, "b"): {"events": 1, "units": 3}, (DAY, "a"): {"events": 1, "units": 4}, (DAY, "c"): {"events": 1}}
    found = compared_rows("shelf_day", KEY, old, new)
    assert found == Compared(3, 3, "shelf_day 2026-01-02T00:00:00Z a: units 3 -> 4")
    assert compared_rows("t", ["day"], {}, {(DAY,): {}}).first == "t 2026-01-02T00:00:00Z: only in the new one"
    assert compared_rows("t", KEY, {(0, 7): {}}, {}).first == "t 0 7: not in the new one"


def test_values_become_rows_only_where_they_differ() -> None:
    def row_of(values: tuple[int, int]) -> dict[str, int]:
        asked.append(values)
        return {"events": values[0], "units": abs(values[1])}

    asked: list[tuple[int, int]] = []
    one, other = {(n, "a"): (n, n) for n in (9, 10, 11)}, {(9, "a"): (9, 9), (10, "a"): (10, -10), (11, "a"): (12, 11)}
    assert compare(one, other, row_of) == (3, 1, Difference((11, "a"), {"events": 11}, {"events": 12}))
    assert sorted(asked) == [(10, -10), (10, 10), (11, 11), (12, 11)], "equal as they are, or as rows"
    assert compare({(9,): (1, 1), (10,): (1, 1)}, {}, row_of).first == Difference((9,), {"events": 1, "units": 1}, None)
    assert compare({}, {}, row_of) == (0, 0, None)


def test_tables_add_up_and_the_first_stays_the_first() -> None:
    total = Compared(3, 0) + Compared(4, 1, "one") + Compared(5, 2, "two")
    assert total == Compared(12, 3, "one")
    assert str(total) == "3 of 12 rows differ, the first is one"


def test_equal_sets_of_users_are_equal_whatever_their_bytes() -> None:
    table = FigureTable("t", (EVENTS, ACTIVE_USERS), ("category",), (GRAINS["day"],))
    users = [f"u{number}" for number in range(40)]
    one, two = sketches.of(users), sketches.union([sketches.of(users[20:]), sketches.of(users[:20])])
    assert one != two
    rows = [{"category": "c", "events": 2, "active_users": value} for value in (one, two)]
    assert comparable(table, rows[0]) == comparable(table, rows[1]) == rows[0] | {"active_users": 40}
    absent = {"category": "c", "events": 2, "active_users": None}
    assert comparable(table, absent) == absent, "a figure that was added later"
