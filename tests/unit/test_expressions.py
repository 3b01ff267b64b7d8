from __future__ import annotations

import pytest

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.events import parse_event
from retailpulse_kernel.shop.measuring.expressions import compile_expression, to_sql

PURCHASE = parse_event(
    b'{"event_id": "1", "event_type": "purchase", "event_time": "2026-01-01T10:00:00Z", "user_id": "u",'
    b' "session_id": "s", "product_id": "p", "price": "19.90", "quantity": 3, "order_id": "o", "order_line": 1}'
)
VIEW = parse_event(
    b'{"event_id": "2", "event_type": "view", "event_time": "2026-01-01T10:00:00Z", "user_id": "u",'
    b' "session_id": "s", "product_id": "p"}'
)


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("price * quantity", "(`price` * `quantity`)"),
        ("purchase - refund", "(CAST((event_type = 'purchase') AS INT) - CAST((event_type = 'refund') AS INT))"),
        ("-quantity", "(-`quantity`)"),
    ],
)
def test_numbers_become_sql(text: str, sql: str) -> None:
    assert to_sql(text) == sql


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("view", "(event_type = 'view')"),
        ("purchase and order_line == 1", "((event_type = 'purchase') AND coalesce(`order_line` = 1, FALSE))"),
        ("not view or brand != 'x'", "((NOT (event_type = 'view')) OR coalesce(`brand` <> 'x', FALSE))"),
        (r"brand == 'it\'s'", r"coalesce(`brand` = 'it\'s', FALSE)"),
    ],
)
def test_conditions_become_sql(text: str, sql: str) -> None:
    assert to_sql(text, condition=True) == sql


@pytest.mark.parametrize(
    ("text", "of_purchase", "of_view"),
    [
        ("purchase - refund", 1, 0),
        ("purchase and order_line == 1", True, 0),
        ("quantity * 2", 6, 2),
        ("not view", True, False),
    ],
)
def test_python_gives_the_same(text: str, of_purchase: object, of_view: object) -> None:
    assert compile_expression(text)(PURCHASE) == of_purchase
    assert compile_expression(text)(VIEW) == of_view


@pytest.mark.parametrize("text", ["__import__('os')", "price.real", "[1]", "price **2", "1 <", "a if b else c"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        compile_expression(text)
