from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.cli.jobs import with_pairs
from retailpulse_kernel.errors import ParameterError, UnknownName, UsageError
from retailpulse_kernel.parameters import check, read_parameters

CELL = """
from datetime import timedelta, datetime
from decimal import Decimal
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # how
run_for: timedelta | None = None
rate: int = 5
share: float = 0.5
limit: Decimal = Decimal("1.50")
since: datetime | None = None
names: list[str] = []
fast: bool = False
free = "anything"
"""


def notebook(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]}) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def parameters(tmp_path: Path) -> dict:
    return read_parameters(notebook(tmp_path / "job.ipynb", CELL))


def test_names_types_defaults_and_help(parameters: dict) -> None:
    assert list(parameters) == [
        "run", "run_for", "rate", "share", "limit", "since", "names", "fast", "free",
    ]  # fmt: skip
    assert parameters["run"].default == "available_now" and parameters["run"].help == "how"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("run", "continuous", "continuous"),
        ("run_for", "10m", "600s"),
        ("run_for", "None", None),
        ("rate", "7", 7),
        ("share", "0.25", 0.25),
        ("limit", "2.50", "2.50"),
        ("since", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("names", "['a', 'b']", ["a", "b"]),
        ("fast", "true", True),
        ("free", "whatever", "whatever"),
    ],
)
def test_values_are_converted(parameters: dict, name: str, text: str, value: object) -> None:
    assert check({name: text}, parameters, notebook="job.ipynb") == {name: value}


@pytest.mark.parametrize(
    ("name", "text"), [("run", "sometimes"), ("rate", "many"), ("rate", "1.5"), ("run_for", "soon"), ("fast", "maybe")]
)
def test_a_wrong_value_names_the_parameter(parameters: dict, name: str, text: str) -> None:
    with pytest.raises(ParameterError, match=f"'{name}' can't be '{text}'"):
        check({name: text}, parameters, notebook="job.ipynb")


def test_an_unknown_parameter_names_the_nearest(parameters: dict) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'rate'"):
        check({"rates": "1"}, parameters, notebook="job.ipynb")


def test_a_parameters_cell_only_sets_parameters(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="does more"):
        read_parameters(notebook(tmp_path / "a.ipynb", "x: int = 1\nprint(x)"))
    with pytest.raises(UsageError, match="2 cells"):
        read_parameters(notebook(tmp_path / "b.ipynb", "x = 1", "y = 2"))


def test_what_is_no_notebook_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.ipynb").write_text("not json")
    with pytest.raises(UsageError, match="not a notebook"):
        read_parameters(tmp_path / "c.ipynb")
    with pytest.raises(UsageError, match="no notebook"):
        read_parameters(tmp_path / "absent.ipynb")


def test_parameters_on_the_command_line_in_both_forms() -> None:
    assert with_pairs(["run", "a.ipynb", "-p", "x", "1", "-p", "y=2", "--json"]) == [
        "run", "a.ipynb", "-p", "x=1", "-p", "y=2", "--json",
    ]  # fmt: skip
    assert with_pairs(["logs", "-p", "x", "1"]) == ["logs", "-p", "x", "1"]
