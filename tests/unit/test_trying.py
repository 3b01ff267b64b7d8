"""Functions that may fail for a row: the value or the reason, for each row, whatever a part of a batch does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyspark import cloudpickle

from retailpulse_kernel.shop.rows import FAILED
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.intake.rejects import RefusedRows, RejectTopics
from retailpulse_kernel.streaming.query.functions import digest
from retailpulse_kernel.streaming.query.trying import TriedFunction, TriedSeries
from retailpulse_kernel.streaming.sinks.rows import computed

SHELVES = {"p1": 1, "p2": 2}


def shelves(products: pd.Series) -> pd.Series:
    return products.map(lambda one: SHELVES[one])


def test_a_row_has_its_value_or_the_last_line_of_the_traceback() -> None:
    tried = TriedFunction(lambda part, whole: part / whole)
    assert tried(6, 3) == (2, None)
    assert tried(6, 0) == (None, "ZeroDivisionError: division by zero")


def test_only_the_rows_fail_for_which_the_function_fails() -> None:
    found = TriedSeries(shelves, pa.int64())(pd.Series(["p1", "p13", "p2"], index=[7, 8, 9]))
    assert found["value"].tolist() == [1, None, 2]
    assert found["failed"].tolist() == [None, "KeyError: 'p13'", None]
    fine = TriedSeries(shelves, pa.int64())(pd.Series(["p1", "p2"]))
    assert fine["value"].tolist() == [1, 2] and fine["failed"].tolist() == [None, None]
    assert len(TriedSeries(shelves, pa.int64())(pd.Series([], dtype=object))) == 0


@pytest.mark.parametrize(
    ("type", "bad", "good"),
    [(pa.float64(), "a", 1.5), (pa.decimal128(5, 2), Decimal(1_234_567), Decimal("1.50")), (pa.string(), 1.5, "a")],
)
def test_a_value_that_spark_can_t_take_is_a_failure(type: pa.DataType, bad: Any, good: Any) -> None:
    def same(given: pd.Series) -> pd.Series:
        return given

    found = TriedSeries(same, type)(pd.Series([bad, good], dtype=object))
    assert found["value"].tolist() == [None, good]
    first, second = found["failed"]
    assert first.startswith("pyarrow.lib.Arrow") and second is None


def test_a_function_that_gives_too_few_values_fails_for_the_rows_alone_as_well() -> None:
    found = TriedSeries(lambda given: pd.Series([], dtype=float), pa.float64())(pd.Series([0, 1]))
    assert found["failed"].tolist() == ["ValueError: the function gave 0 values for 1 rows"] * 2


def test_too_little_memory_is_not_the_row_s_fault() -> None:
    def greedy(*_: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        TriedFunction(greedy)(1)
    with pytest.raises(MemoryError):
        TriedSeries(greedy, pa.int64())(pd.Series([1]))


def test_the_meaning_is_that_of_the_function() -> None:
    def made(number: int) -> Any:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def shelf(product):\n    return {number}", names)
        return TriedSeries(names["shelf"], pa.int64())

    one = made(1)
    one(pd.Series([1]))  # what is remembered of the type means nothing
    assert digest(made(1)) == digest(cloudpickle.loads(cloudpickle.dumps(made(1)))) == digest(one)
    assert digest(made(1)) != digest(made(2))
    assert digest(TriedSeries(shelves, pa.int64())) != digest(TriedSeries(shelves, pa.int32()))


@dataclass(frozen=True)
class Sent(RejectTopics):
    """The dead-letter topic in memory: by key, as its readers have it."""

    records: dict[str, Any] = field(default_factory=dict)

    def send(self, records: list[tuple[str, str, bytes]]) -> None:
        self.records.update({f"{topic} {key}": json.loads(record) for topic, key, record in records})


def test_a_micro_batch_that_is_done_again_leaves_one_dead_letter_for_each_row() -> None:
    sent = Sent((), "dlq", "late")
    rows = pa.table({"id": ["a", "b"], FAILED: ["KeyError: 'p13'", "KeyError: 'p13'"]})
    for one in (rows, rows.take([1, 0])):
        RefusedRows(sent, "shop", "shelves")("function_failed", one, Epoch(3, 1_000, "e0003"), 7)
    common = {"reason": "function_failed", "detail": "KeyError: 'p13'", "job": "shop", "output": "shelves"}
    assert sent.records == {
        f"dlq shop/shelves/3/7/function_failed/{number}": {**common, "epoch": 3, "batch": 7, "row": {"id": one}}
        for number, one in enumerate("ab")
    }


def test_rows_that_failed_are_apart() -> None:
    rows = pa.table({"id": ["a", "b"], FAILED: [None, "KeyError: 'p13'"]})
    fine, failed = computed(rows)
    assert fine.to_pylist() == [{"id": "a"}] and failed.to_pylist() == [{"id": "b", FAILED: "KeyError: 'p13'"}]
    same, none = computed(fine)
    assert same is fine and none.num_rows == 0
