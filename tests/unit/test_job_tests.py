"""The test of a job without Spark: its tables as text, what differs, and where its cells run."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from retailpulse_kernel.ground.errors import CheckFailed, TestFailed, UsageError
from retailpulse_kernel.notebooks.files import is_test, without_tests
from retailpulse_kernel.notebooks.testing import has_tests, sibling_of
from retailpulse_kernel.promotion.gate.candidate import cleaned
from retailpulse_kernel.streaming.run.differing import differences
from retailpulse_kernel.streaming.run.given_tables import of_type, rows_of, with_day


class TestTables:
    def test_a_text_table_has_quoted_cells_and_nulls(self) -> None:
        found = rows_of("""
            user_id  title          price
            u1       "a red towel"  10.00

            u2       null           ""
        """)
        assert found == [
            {"user_id": "u1", "title": "a red towel", "price": "10.00"},
            {"user_id": "u2", "title": None, "price": ""},
        ]

    def test_a_table_of_names_alone_has_no_rows(self) -> None:
        assert rows_of("user_id  price") == []

    def test_a_frame_and_dictionaries_are_tables_too(self) -> None:
        frame = pd.DataFrame({"user_id": ["u1", "u2"], "quantity": [1.0, float("nan")]})
        assert rows_of(frame) == [{"user_id": "u1", "quantity": 1.0}, {"user_id": "u2", "quantity": None}]
        assert rows_of([{"user_id": "u1"}]) == [{"user_id": "u1"}]

    @pytest.mark.parametrize("table", ["", "a b\n1", "a b\n1 2 3", 5, ["a"]])
    def test_what_is_not_a_table_is_refused(self, table: Any) -> None:
        with pytest.raises(UsageError):
            rows_of(table)

    @pytest.mark.parametrize(
        ("kind", "text", "value"),
        [
            ("int", "2", 2), ("double", "0.5", 0.5), ("bool", "true", True), ("list<int>", "[1,2]", [1, 2]),
            ("decimal(18,4)", "10.00", "10.00"), ("string", "2", "2"), ("int", None, None),
        ],
    )  # fmt: skip
    def test_a_cell_has_the_type_of_its_field(self, kind: str, text: str | None, value: object) -> None:
        assert of_type(kind, text) == value

    @pytest.mark.parametrize(("kind", "text"), [("int", "two"), ("bool", "yes"), ("list<int>", "1,2")])
    def test_a_cell_of_another_type_is_refused(self, kind: str, text: str) -> None:
        with pytest.raises(UsageError, match="is not a value of the type"):
            of_type(kind, text)

    def test_a_time_of_day_has_the_day_of_the_present(self) -> None:
        assert with_day("10:00:01.5", date(2026, 1, 31)) == "2026-01-31T10:00:01.5Z"
        with pytest.raises(UsageError, match="has no day"):
            with_day("10:00", None)


class TestDifferences:
    FOUND = (
        {"user_id": "u1", "start": datetime(2026, 1, 31, 10, tzinfo=UTC), "amount": Decimal("20.5000"), "n": 2},
        {"user_id": "u2", "start": datetime(2026, 1, 31, 11, tzinfo=UTC), "amount": None, "n": 1},
    )

    def test_rows_may_have_any_order_and_other_columns(self) -> None:
        assert differences(rows_of("n amount user_id\n1 null u2\n2 20.50 u1"), self.FOUND, ["user_id"]) == []
        assert differences(rows_of("start\n2026-01-31T11:00Z\n2026-01-31T10:00"), self.FOUND, ["user_id"]) == []

    def test_decimals_are_exact(self) -> None:
        lines = differences(rows_of("user_id amount\nu1 20.50001\nu2 null"), self.FOUND, ["user_id"])
        assert lines == ["user_id  column  expected  found", "u1       amount  20.50001  20.5000"]

    def test_rows_are_missing_and_unexpected(self) -> None:
        lines = differences(rows_of("user_id n\nu1 2\nu3 1"), self.FOUND, ["user_id"])
        assert [line.split() for line in lines] == [
            ["row", "user_id", "n"], ["missing", "u3", "1"], ["unexpected", "u2", "1"]
        ]  # fmt: skip

    def test_a_row_counts_as_often_as_it_is_there(self) -> None:
        twice = [{"n": 1}, {"n": 1}]
        assert differences(rows_of("n\n1\n1"), twice, []) == []
        assert len(differences(rows_of("n\n1"), twice, [])) == len(differences(rows_of("n\n1\n1\n1"), twice, [])) == 2

    def test_nothing_is_not_zero_and_not_an_empty_text(self) -> None:
        assert differences([{"n": "0"}], [{"n": None}], []) and differences([{"n": None}], [{"n": 0}], [])
        assert differences([{"n": ""}], [{"n": None}], []) and not differences([{"n": ""}], [{"n": ""}], [])

    def test_an_empty_table_is_as_expected_where_nothing_is(self) -> None:
        assert differences([], [], ["n"]) == []
        assert differences([], [{"n": 1}], ["n"]) != []

    @pytest.mark.parametrize(
        ("expected", "found", "same"),
        [
            ("true", True, True), ("false", True, False), ("0.5", 0.5, True), ("2026-01-31", date(2026, 1, 31), True),
            ('["a","b"]', ["a", "b"], True), (["a"], ["a", "b"], False), ("x", 1, False),
            ("x", datetime(2026, 1, 1), False),
        ],
    )  # fmt: skip
    def test_values_are_compared_by_the_type_that_is_found(self, expected: Any, found: Any, same: bool) -> None:
        assert (differences([{"a": expected}], [{"a": found}], []) == []) is same

    def test_the_failure_is_a_verdict_that_names_the_test(self) -> None:
        failure = TestFailed("a cart", ["carts: 1 expected, 2 found"])
        assert isinstance(failure, CheckFailed)
        assert str(failure) == "The test 'a cart' fails.\ncarts: 1 expected, 2 found"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_code_cell("x = 1"),
        nbformat.v4.new_code_cell("assert x == 2", metadata={"tags": ["test"]}),
        nbformat.v4.new_code_cell("x"),
    ]
    nbformat.write(made, tmp_path / "carts.ipynb")
    return tmp_path / "carts.ipynb"


def test_a_test_is_not_run_with_the_job_and_other_cells_keep_their_numbers(notebook: Path) -> None:
    content = nbformat.read(notebook, as_version=4)
    assert [is_test(cell) for cell in content.cells] == [False, True, False]
    left = without_tests(content)
    assert [cell.source.startswith("#") for cell in left.cells] == [False, True, False]
    assert content.cells[1].source == "assert x == 2"


def test_a_sibling_has_tests_too_and_goes_to_the_gate_with_the_notebook(notebook: Path, tmp_path: Path) -> None:
    assert has_tests(notebook)
    content = nbformat.read(notebook, as_version=4)
    del content.cells[1]
    nbformat.write(content, notebook)
    assert not has_tests(notebook)
    nbformat.write(content, sibling_of(notebook))
    assert sibling_of(notebook).name == "carts.test.ipynb" and has_tests(notebook)
    assert has_tests(cleaned(notebook, tmp_path / "copy"))
