"""The magics without a server: options, variables, completion, errors, and what they cost."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import retailpulse_kernel
from retailpulse_kernel.errors import UnknownName, UsageError
from retailpulse_kernel.magics import completion, schema
from retailpulse_kernel.magics.base import Variables, split_options
from retailpulse_kernel.magics.statements import StatementMagics
from retailpulse_kernel.workbench import Workbench

MAGICS = {"line": {"cql", "hive", "sql", "hbase", "kafka", "rp"}, "cell": {"cql", "hive", "sql", "hbase"}}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell with the magics, on a profile whose servers are all down."""
    down = "port = 2\n"
    profile = tmp_path / "down.toml"
    profile.write_text(
        f'[kafka]\nbootstrap = "127.0.0.1:2"\n[cassandra]\n{down}[hbase]\n{down}'
        f'[hive]\n{down}metastore = "thrift://127.0.0.1:2"\n'
    )
    monkeypatch.setattr(retailpulse_kernel, "_default", Workbench(str(profile), "unit"))
    schema.forget()
    shell = InteractiveShell()
    retailpulse_kernel.load_ipython_extension(shell)
    yield shell
    shell.reset()
    schema.forget()


def offered(before: str, **variables: Any) -> list[str]:
    found = completion.complete(before, variables)
    return [word for word, _ in found[1]] if found else []


def test_they_load_with_the_extension_and_have_help(shell: InteractiveShell) -> None:
    magics = shell.magics_manager.magics
    assert all(names <= set(magics[kind]) for kind, names in MAGICS.items())
    for name in MAGICS["line"]:
        documented = magics["line"][name].__doc__
        assert "Examples" in documented and f"%{name}" in documented
        if name != "rp":
            assert all(option in documented for option in ("--into", "--limit", "--profile", "--explain", "--as"))


def test_loading_imports_no_client() -> None:
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell as S;"
        "import retailpulse_kernel as rp; rp.load_ipython_extension(S());"
        "print([m for m in ('pyspark', 'airflow', 'pandas', 'cassandra', 'happybase', 'pyhive', 'confluent_kafka',"
        " 'polars', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--into top --limit 5 select 'a  b' from t", ("--into top --limit 5", "select 'a  b' from t")),
        ("--explain select --1 from t", ("--explain", "select --1 from t")),
        ("--limit=5 select 1", ("--limit=5", "select 1")),
        ("select 1 --into x", ("", "select 1 --into x")),
        ("", ("", "")),
    ],
)
def test_options_come_before_the_statement_which_stays_as_it_is(line: str, found: tuple[str, str]) -> None:
    options, statement = split_options(StatementMagics.cql.parser, line)  # type: ignore[attr-defined]
    assert (options.strip(), statement) == found


def test_an_unknown_option_and_a_wrong_value_are_the_callers(shell: InteractiveShell) -> None:
    with pytest.raises(UnknownName, match=r"'--lmit'. Did you mean '--limit'"):
        shell.run_line_magic("cql", "--lmit 5 select 1")
    with pytest.raises(UsageError, match=r"--limit: a number of rows, or 'all'.*`%cql\?`"):
        shell.run_line_magic("cql", "--limit many select 1")
    with pytest.raises(UsageError, match="no statement for %%hive"):
        shell.run_cell_magic("hive", "--limit 5", "\n")
    with pytest.raises(UnknownName, match=r"'scna'. Did you mean 'scan'"):
        shell.run_line_magic("hbase", "scna x")
    with pytest.raises(UsageError, match=r"`%kafka\?`"):
        shell.run_line_magic("kafka", "tial")


def test_a_variable_that_is_not_there_is_named_with_the_nearest(shell: InteractiveShell) -> None:
    shell.user_ns |= {"today": date(2026, 1, 1), "_hidden": 1, "helper": len}
    with pytest.raises(UnknownName, match=r"no variable 'tody'. Did you mean 'today'\? Known: today."):
        shell.run_cell_magic("cql", "", "select * from t where day = :tody")
    with pytest.raises(UsageError, match="The variable 'helper' is a builtin_function"):
        shell.user_ns["helper"] = len
        shell.run_line_magic("hive", "select :helper")


def test_words_of_a_line_are_values_where_they_begin_with_a_colon() -> None:
    variables = Variables({"key": "a b", "n": 3})
    assert variables.words("get 'x y' :key :n plain:text") == ["get", "x y", "a b", 3, "plain:text"]
    with pytest.raises(UnknownName):
        variables.words("get :keys")
    with pytest.raises(UsageError, match="Close the quotes"):
        variables.words("get 'x")


def test_an_error_is_its_message_and_keeps_its_kind(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    result = shell.run_cell("x = 1\n%cql select 1", store_history=True)
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith(
        "StoreUnavailable: Cassandra at 127.0.0.1:2 does not answer: nothing listens"
    )
    assert "Traceback" not in shown and "line 2" in shown and "%tb" in shown
    assert type(result.error_in_exec).__name__ == "StoreUnavailable"
    shell.run_cell("%tb")
    assert "Traceback" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "word"),
    [
        ("%%cql\nsel", "select"),
        ("%%cql\nSEL", "SELECT"),
        ("%%hive\nselect a from t gro", "group"),
        ("%%cql --in", "--into"),
        ("%kafka tail --la", "--last"),
        ("%%sql --as ", "polars"),
        ("%%cql --profile clu", "cluster"),
        ("%%hbase\nsc", "scan"),
        ("%%hbase\nscan t pre", "prefix="),
        ("%kafka ta", "tail"),
        ("x = 1\n%kafka tail d", "dlq"),
        ("%rp pro", "profile"),
        ("%rp connect com", "compose"),
        ("%%cql\nselect * from t where day = :to", "today"),
    ],
)
def test_completion_with_every_server_down(shell: InteractiveShell, before: str, word: str) -> None:
    assert word in offered(before, today=date(2026, 1, 1), tool=len)


def test_completion_leaves_python_alone() -> None:
    for before in ("pri", "x = 1\nselect", "%%timeit\nsel", "%cq", "%%cql"):
        assert completion.complete(before, {}) is None


def test_the_shell_asks_us(shell: InteractiveShell) -> None:
    code = "%%cql\nselect * from x\nwhe"
    shell.Completer.use_jedi = False
    assert [c.text for c in _completions(shell, code)] == ["where"]
    retailpulse_kernel.load_ipython_extension(shell)  # once more
    assert [c.text for c in _completions(shell, code)] == ["where"]


def _completions(shell: InteractiveShell, code: str) -> list[Any]:
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        return list(shell.Completer.completions(code, len(code)))


class Shop:
    """A store whose schema is slow to read, until it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = threading.Event()

    def columns(self) -> dict[str, list[str]]:
        self.asked += 1
        self.go.wait(30)
        return {"category_day": ["day", "category", "revenue"], "other": ["x"]}


def test_a_schema_is_read_once_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    settings = SimpleNamespace(profile_name="p", namespace_name="n")
    bench = SimpleNamespace(settings=settings, cassandra=shop)
    monkeypatch.setattr(retailpulse_kernel, "_default", bench)
    schema.forget()
    assert offered("%%cql\nselect * from cat") == [], "the server has not answered yet"
    shop.go.set()
    assert schema.tables(bench, "cassandra").keys() == {"category_day", "other"}
    assert offered("%%cql\nselect * from cat") == ["category_day"]
    assert offered("%%cql\nselect rev") == ["revenue"]
    assert offered("%%cql\nselect category_day.ca") == ["category"]
    assert offered("%%cql\nselect c.ca from category_day c where c.da") == ["day"]
    assert offered("%%cql\nselect * from other where ") == ["x", "category_day", "other"]
    assert shop.asked == 1
    schema.forget()
