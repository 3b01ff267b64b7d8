from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.cli.jobs import with_pairs
from retailpulse_kernel.ground.errors import ParameterError, UnknownName, UsageError
from retailpulse_kernel.ground.spans import span_of, span_text
from retailpulse_kernel.notebooks.files import code_cells, read_notebook, with_parameters
from retailpulse_kernel.notebooks.parameters import REQUIRED, Parameter, check, read_parameters, unread
from retailpulse_kernel.notebooks.running import checked_parameters

CELL = """
from datetime import timedelta, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

run: Literal["continuous", "available_now"] = "available_now"  # how
run_for: timedelta | None = None
rate: int = 5
share: float = 0.5
limit: Decimal = Decimal("1.50")
since: datetime | None = None
names: list[str] = []
fast: bool = False
share_of: Annotated[float, Field(gt=0, le=1)] = 1.0
pages: Annotated[list[int], Field(max_length=2)] = []
password: str = "env:SHOP_PASSWORD"
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
        "run", "run_for", "rate", "share", "limit", "since", "names", "fast", "share_of", "pages", "password", "free",
    ]  # fmt: skip
    assert parameters["run"].default == "available_now" and parameters["run"].help == "how"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("run", "continuous", "continuous"),
        ("run_for", "10m", timedelta(minutes=10)),
        ("run_for", "None", None),
        ("rate", "7", 7),
        ("share", "0.25", 0.25),
        ("limit", "2.50", Decimal("2.50")),
        ("since", "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("since", "2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("since", "None", None),
        ("names", "['a', 'b']", ["a", "b"]),
        ("fast", "true", True),
        ("free", "whatever", "whatever"),
        ("share_of", "0.5", 0.5),
        ("pages", "[1, 2]", [1, 2]),
        ("password", "file:/run/secrets/shop", "file:/run/secrets/shop"),
        ("rate", 7, 7),
        ("run_for", timedelta(seconds=1), timedelta(seconds=1)),
    ],
)
def test_values_are_converted(parameters: dict, name: str, text: object, value: object) -> None:
    assert check({name: text}, parameters, notebook="job.ipynb") == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run", "sometimes"), ("rate", "many"), ("rate", "1.5"), ("rate", "None"), ("run_for", "soon"),
        ("run_for", "10"), ("since", "1700000000"), ("since", "someday"), ("fast", "maybe"), ("share", "nan"),
        ("names", "a"), ("names", "[1]"), ("pages", "['x']"), ("limit", "1,5"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_the_parameter(parameters: dict, name: str, text: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(f"'{name}' can't be {text!r}: it is ")):
        check({name: text}, parameters, notebook="job.ipynb")


def test_a_wrong_span_and_a_wrong_time_say_how_they_are_written() -> None:
    parameters = {
        "watermark": Parameter("watermark", timedelta, timedelta(minutes=10)),
        "run_for": Parameter("run_for", timedelta | None, None),
        "since": Parameter("since", datetime, REQUIRED),
    }
    for name, remedy in {
        "watermark": "Write a time span as 30s, 10m, 2h or 1d. Its default is 10m.",
        "run_for": "Write a time span as 30s, 10m, 2h or 1d. Its default is None.",
        "since": "Write a time as 2026-01-31 or 2026-01-31T10:00.",
    }.items():
        with pytest.raises(ParameterError) as caught:
            check({name: "10 minuts"}, parameters, notebook="job.ipynb")
        assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("share_of", "0", "should be greater than 0"),
        ("share_of", "1.5", "should be less than or equal to 1"),
        ("pages", "[1, 2, 3]", "should have at most 2 items"),
        ("rate", True, "it is int"),
        ("fast", 1, "it is bool"),
    ],
)
def test_a_value_out_of_range_or_of_another_type_says_why(parameters: dict, name: str, given: object, why: str) -> None:
    with pytest.raises(ParameterError, match=f"'{name}' can't be .*{why}"):
        check({name: given}, parameters, notebook="job.ipynb")


def test_a_secret_is_given_by_reference_only(parameters: dict, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="'password' holds a secret itself") as caught:
        check({"password": "hunter2"}, parameters, notebook="job.ipynb")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ParameterError, match="'api_key' holds a secret itself"):
        read_parameters(notebook(tmp_path / "job.ipynb", 'api_key: str = "abc"'))
    with pytest.raises(ParameterError, match="'passwords' holds a secret itself"):
        read_parameters(notebook(tmp_path / "job.ipynb", 'passwords: list[str] = ["env:A", "abc"]'))


def test_a_number_or_a_flag_is_no_secret(tmp_path: Path) -> None:
    source = "max_token: int = 256\nuse_token: bool = True\ntoken: timedelta | None = None"
    found = read_parameters(notebook(tmp_path / "job.ipynb", CELL[: CELL.index("run:")] + source))
    assert check({"max_token": "512"}, found, notebook="job.ipynb")["max_token"] == 512


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rate: int = 'many'", "'rate' can't be 'many': it is int"),
        ("rate: int = True", "'rate' can't be True: it is int"),
        ("limit: Decimal = 0.1", "'limit' can't be 0.1: it is Decimal"),
        ("rate: Annotated[int, Field(ge=1)] = 0", "'rate' can't be 0: .*greater than or equal to 1"),
        ("span: timedelta = '1s'", "'span' can't be '1s': it is timedelta"),
        ("where: dict = {}", "'where' can't be a dict"),
        ("path: Path = Path('.')", "'path' can't be a Path"),
    ],
)
def test_a_wrong_definition_names_the_parameter(tmp_path: Path, source: str, said: str) -> None:
    imports = CELL[: CELL.index("run:")] + "from pathlib import Path\n"
    with pytest.raises(ParameterError, match=said):
        read_parameters(notebook(tmp_path / "job.ipynb", imports + source))


def test_a_parameter_without_a_default_must_be_given(tmp_path: Path) -> None:
    required = read_parameters(notebook(tmp_path / "job.ipynb", "shop: str\nrate: int = 1"))
    assert check({"shop": "a"}, required, notebook="job.ipynb") == {"shop": "a"}
    with pytest.raises(ParameterError, match=r"'shop' of job\.ipynb is missing"):
        check({"rate": "2"}, required, notebook="job.ipynb")


@pytest.mark.parametrize(
    ("cell", "never"),
    [
        ("print(rate)", ["span"]),
        ("print(f'{rate} {span}')", []),
        ("rate = 3; span = 4", ["rate", "span"]),
        ("%%cql\nselect * from t where rate = :rate -- :span", []),
        ("%%cql\n# span\nselect :rate", ["span"]),
        ("print('rate', x.span)", ["rate", "span"]),
    ],
)
def test_a_parameter_that_no_later_cell_reads_is_found(tmp_path: Path, cell: str, never: list[str]) -> None:
    path = notebook(tmp_path / "job.ipynb", "rate: int = 1\nspan: int = 2")
    content = nbformat.read(path, as_version=4)
    content.cells.insert(0, nbformat.v4.new_code_cell("rate, span = rate, span"))  # before: not a later cell
    content.cells.append(nbformat.v4.new_code_cell(cell))
    nbformat.write(content, path)
    assert unread(path, read_parameters(path)) == never
    if never:
        with pytest.raises(ParameterError, match=f"'{never[0]}' of job.ipynb is never read"):
            checked_parameters(path, {})


def test_values_are_injected_with_their_types(parameters: dict) -> None:
    given = {
        "run_for": "90s", "limit": "2.50", "since": "2026-01-01", "names": "['a', 'b']", "free": "it's", "fast": "1",
        "share": "0.1", "rate": "3",
    }  # fmt: skip
    values = check(given, parameters, notebook="job.ipynb")
    content = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(CELL, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("old = 1", metadata={"tags": ["injected-parameters"]}),
            nbformat.v4.new_code_cell("seen = dict(globals())"),
        ]
    )
    names: dict = {}
    for source in code_cells(with_parameters(content, values)):
        exec(source, names)
    assert {name: names["seen"][name] for name in given} == values
    assert {type(names["seen"][name]) for name in ("run_for", "limit", "since")} == {timedelta, Decimal, datetime}
    assert "old" not in names
    assert len(content.cells) == 3, "the source is left as it was"


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


# As other people write notebooks


def test_a_parameter_without_a_type_has_that_of_its_default(tmp_path: Path) -> None:
    cell = "x = 100\nflag = True\nxs = [1]\nshare = 0.5\nname = 'a'\nnothing = None"
    untyped = read_parameters(notebook(tmp_path / "job.ipynb", cell))
    given = {"x": "5", "flag": "False", "xs": "[2,3]", "share": "1", "name": "5", "nothing": "5"}
    values = check(given, untyped, notebook="job.ipynb")
    assert values == {"x": 5, "flag": False, "xs": [2, 3], "share": 1.0, "name": "5", "nothing": 5}
    assert [type(value) for value in values.values()] == [int, bool, list, float, str, int]
    for name, text in (("x", "many"), ("x", "0.5"), ("flag", "perhaps"), ("xs", "2")):
        with pytest.raises(ParameterError, match=f"'{name}' can't be"):
            check({name: text}, untyped, notebook="job.ipynb")


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("1461d", timedelta(days=1461)),
        ("1234567s", timedelta(seconds=1234567)),
        ("1234567ms", timedelta(milliseconds=1234567)),
        ("0.000001s", timedelta(microseconds=1)),
        ("123456789.123456s", timedelta(seconds=123456789, microseconds=123456)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_span_is_exact_on_its_whole_way(tmp_path: Path, text: str, span: timedelta) -> None:
    path = notebook(tmp_path / "job.ipynb", "from datetime import timedelta\nspan: timedelta = timedelta(0)")
    values = check({"span": text}, read_parameters(path), notebook="job.ipynb")
    names: dict = {}
    for source in code_cells(with_parameters(nbformat.read(path, as_version=4), values)):
        exec(source, names)
    assert names["span"] == values["span"] == span_of(span_text(span)) == span


@pytest.mark.parametrize("text", ["0.0000001s", "0.0001ms", "9999999999999w"])
def test_a_span_that_can_t_be_exact_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"microsecond|longer"):
        span_of(text)


@pytest.mark.parametrize(
    "cell",
    [
        "from __future__ import annotations\nfrom datetime import date, timedelta\nn: int = 1\nday: date | None = None",
        'from datetime import date\nn: "int" = 1\nday: "date | None" = None',
        "from typing import Annotated, Optional\nfrom datetime import date\n"
        'from pydantic import Field\nn: Annotated["int", Field(ge=1)] = 1\nday: Optional["date"] = None',
    ],
)
def test_types_are_read_as_python_reads_them(tmp_path: Path, cell: str) -> None:
    path = notebook(tmp_path / "job.ipynb", cell)
    values = check({"n": "7", "day": "2026-01-31"}, read_parameters(path), notebook="job.ipynb")
    assert values == {"n": 7, "day": date(2026, 1, 31)}
    names: dict = {}
    for source in code_cells(with_parameters(nbformat.read(path, as_version=4), values)):
        exec(source, names)
    assert names["day"] == date(2026, 1, 31)


def test_a_type_that_is_nowhere_says_so(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="name 'Nowhere' is not defined"):
        read_parameters(notebook(tmp_path / "job.ipynb", 'n: "Nowhere" = 1'))


def test_a_number_sign_within_quotes_begins_no_comment(tmp_path: Path) -> None:
    cell = "x: str = 'a#b'  # help\ny: str = \"#\"\nz: list[str] = [  # not this\n    '#',\n]  # but this"
    found = read_parameters(notebook(tmp_path / "job.ipynb", cell))
    assert [parameter.help for parameter in found.values()] == ["help", "", "but this"]


def test_an_older_notebook_stays_valid_with_parameters(tmp_path: Path) -> None:
    old = {
        "nbformat": 4, "nbformat_minor": 4, "metadata": {},
        "cells": [
            {"cell_type": "code", "execution_count": None, "metadata": {"tags": None}, "outputs": [], "source": "1"},
            {"cell_type": "code", "execution_count": None, "metadata": {"tags": ["parameters"]}, "outputs": [],
             "source": "x = 1"},
        ],
    }  # fmt: skip
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(old))
    assert read_parameters(path)["x"].default == 1
    nbformat.validate(with_parameters(read_notebook(path), {"x": 2}))
