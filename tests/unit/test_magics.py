"""The magics without a server: options, variables, completion, errors, and what they cost."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import MAGIC_NO_VAR_EXPAND_ATTR

import retailpulse_kernel
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.magics import completion, schema
from retailpulse_kernel.magics.base import Variables, split_options
from retailpulse_kernel.magics.calls import call_at
from retailpulse_kernel.magics.statements import StatementMagics
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.workbench.default import default_workbench
from retailpulse_kernel.workbench.workbench import Workbench

MAGICS = {"line": {"cql", "hive", "sql", "hbase", "kafka", "rp"}, "cell": {"cql", "hive", "sql", "hbase"}}


@pytest.fixture
def shell(tmp_path: Path, use_bench: Callable[[Any], None]) -> Iterator[InteractiveShell]:
    """A shell with the magics, on a profile whose servers are all down."""
    down = "port = 2\n"
    profile = tmp_path / "down.toml"
    profile.write_text(
        f'[kafka]\nbootstrap = "127.0.0.1:2"\n[cassandra]\n{down}[hbase]\n{down}'
        f'[hive]\n{down}metastore = "thrift://127.0.0.1:2"\n'
    )
    use_bench(Workbench(str(profile), "unit"))
    schema.forget()
    shell = InteractiveShell()
    retailpulse_kernel.load_ipython_extension(shell)
    yield shell
    shell.cleanup()  # else it stays `__main__`, which a process that a later test starts looks at
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


@pytest.mark.parametrize("then", ["", "import retailpulse_kernel.live.view"], ids=["loading", "the live view"])
def test_a_kernel_imports_no_client_before_it_is_asked_for(then: str) -> None:
    """Each costs a tenth of a second or more, several times that on a busy machine, before a cell shows anything."""
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell as S;"
        f"import retailpulse_kernel as rp; rp.load_ipython_extension(S()); {then or 'pass'};"
        "print([m for m in ('pyspark', 'airflow', 'pandas', 'cassandra', 'happybase', 'pyhive', 'confluent_kafka',"
        " 'polars', 'pyarrow', 'numpy', 'grpc', 'nbformat', 'datasketches') if m in sys.modules])"
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
    with pytest.raises(UsageError, match=r"does not draw. Keep the frame with `--into top`, and draw it in"):
        split_options(StatementMagics.cql.parser, "--plot select 1")  # type: ignore[attr-defined]
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
    with pytest.raises(UsageError) as caught:
        shell.run_cell_magic("cql", "", "select * from t where day = :tody")
    assert str(caught.value) == (
        "The notebook has no variable 'tody', which :tody stands for. Did you mean 'today'? "
        "Set it in a cell before this one: `tody = ...`."
    )
    with pytest.raises(UsageError, match="The variable 'helper' is a builtin_function"):
        shell.user_ns["helper"] = len
        shell.run_line_magic("hive", "select :helper")


@pytest.mark.parametrize(
    ("magic", "line", "cell"),
    [
        ("cql", "", "select * from t where day = :today"),
        ("hive", "", "select * from t where day = :today"),
        ("sql", "", "select * from t where day = :today"),
        ("hbase", "", "get sessions :today"),
        ("kafka", "consume --since :today", None),
    ],
)
def test_an_unset_variable_of_a_new_notebook_is_named_with_how_to_set_it(
    shell: InteractiveShell, magic: str, line: str, cell: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        shell.run_line_magic(magic, line) if cell is None else shell.run_cell_magic(magic, line, cell)
    assert str(caught.value) == (
        "The notebook has no variable 'today', which :today stands for. "
        "Set it in a cell before this one: `today = ...`."
    )


def test_words_of_a_line_are_values_where_they_begin_with_a_colon() -> None:
    variables = Variables({"key": "a b", "n": 3})
    assert variables.words("get 'x y' :key :n plain:text") == ["get", "x y", "a b", 3, "plain:text"]
    with pytest.raises(UsageError, match=r"no variable 'keys'.*Did you mean 'key'"):
        variables.words("get :keys")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("get t dXNlcg==", ["get", "t", "dXNlcg=="]),
        ("get t o'brien#1", ["get", "t", "o'brien#1"]),
        ("get t 'two words'", ["get", "t", "two words"]),
        ("get t 'x", ["get", "t", "'x"]),
        ('get t a\\b"c', ["get", "t", 'a\\b"c']),
        ("scan t prefix='a b' columns=x,y", ["scan", "t", "prefix=a b", "columns=x,y"]),
        ('scan t prefix="o\'b"', ["scan", "t", "prefix=o'b"]),
    ],
)
def test_a_word_is_as_it_was_typed(line: str, words: list[str]) -> None:
    assert Variables().words(line) == words


def test_braces_and_dollars_stay_as_they_were_typed(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython would put variables and the values of expressions into the text, and thus into a statement."""
    typed = "select 1 where id rlike '^[0-9]{4}$' and brand = '{cat}' and x = '$cat' and {1 + 1}"
    shell.user_ns["cat"] = "pasted"
    seen: list[tuple[str, str | None]] = []
    monkeypatch.setattr(StatementMagics, "_run", lambda _, magic, line, cell, local_ns: seen.append((line, cell)))
    for magic in ("sql", "cql", "hive"):
        shell.run_line_magic(magic, typed)
        shell.run_cell_magic(magic, typed, "and 1")
    assert seen == [(typed, None), (typed, "and 1")] * 3
    for kind, names in MAGICS.items():
        for name in names:
            assert getattr(shell.magics_manager.magics[kind][name], MAGIC_NO_VAR_EXPAND_ATTR, False), name


def test_a_notebook_of_an_older_version_still_names_its_namespace_in_braces(shell: InteractiveShell) -> None:
    for line in ("connect --namespace {namespace}", "connect --namespace :namespace"):
        shell.user_ns["namespace"] = f"mine{len(line)}"
        shell.run_line_magic("rp", line)
        assert default_workbench().settings.namespace_name == f"mine{len(line)}"


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


TABLES = {
    "cassandra": {"category_day": ["day", "category", "revenue"]},
    "hive": {"events": ["event_id", "event_time"]},
    "hbase": {"session_hour": ["user_id", "revenue"]},
}


@pytest.fixture
def shop(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    """A shell whose stores have some tables, topics, categories and currencies."""
    bench = retailpulse_kernel.default_workbench()
    for store, tables in TABLES.items():
        schema._entry(bench, store, lambda tables=tables: tables, {}).get()  # type: ignore[misc]
    schema._entry(bench, "kafka", lambda: ["unit.retail.events", "unit.retail.events.dlq"], []).get()
    schema._entry(bench, "values", lambda: (["books", "electronics.audio"], ["EUR", "USD"]), ([], [])).get()
    shell.Completer.use_jedi = False
    return shell


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ('rp.figures("rev', {"revenue"}),
        ('rp.figures("revenue", "ord', {"orders"}),
        ("rp.figures(by='ev", {"event_type"}),
        ('frame = rp.figures("active_users", by=["category", "', {"bucket", "category", "currency", "event_type"}),
        ('rp.figures("views", by="user', {"user_id"}),
        ('rp.figures(table="us', {"user"}),
        ('rp.table("sess', {"session"}),
        ('rp.table("session", columns=["rev', {"revenue"}),
        ('rp.figures(last="1h", grain="', {"minute", "hour", "day"}),
        ('rp.figures("revenue", compare="', {"previous", "yesterday", "last week"}),
        ('rp.figures("revenue",\n    as_="fl', {"float"}),
        ('rp.figures(currency="', {"EUR", "USD"}),
        ('rp.kafka.tail("unit.retail.events.', {"unit.retail.events.dlq"}),
        ('len(rp.kafka.consume(topic="la', {"late"}),
        ('rp.hive.columns("', {"events"}),
        ('rp.hive.events(columns=["event_i', {"event_id"}),
        ('rp.hbase.scan("', {"session_hour"}),
        ('rp.hbase.scan("session_hour", columns=["us', {"user_id"}),
        ('rp.cassandra.query("select * from cat', {"category_day"}),
        ('rp.cassandra.query("""\nselect rev', {"revenue"}),
        ('rp.hive.query("select event_t', {"event_time"}),
        ('rp.sql("select * from ev', {"events"}),
        ('rp.live("sess', {"session"}),
        ('rp.live(figure="act', {"active_users"}),
        ('rp.live(chart="b', {"bar"}),
        ('rp.live(categories="el', {"electronics.audio"}),
        ('rp.explore(["books", "el', {"electronics.audio"}),
        ('rp.explore(question="fun', {"funnel"}),
        ('rp.connect(profile="clu', {"cluster"}),
        ('rp.connect(namespace="un', {"unit"}),
        ('bench.figures("act', {"active_users"}),
        ('rp.job("metrics", run="back', {"backfill"}),
        ('job.events(unique_by="ord', {"order_id"}),
        ('events.figures(REVENUE, by=["currency", "bra', {"brand"}),
        ('events.figures(REVENUE, every=["1 m', {"1 minute"}),
    ],
)
def test_completion_in_strings(shop: InteractiveShell, code: str, words: set[str]) -> None:
    job = Workbench(namespace="unit").job("metrics")
    shop.user_ns |= {"bench": retailpulse_kernel.default_workbench(), "job": job, "events": job.events()}
    assert {c.text for c in _completions(shop, code)} == words


def test_completion_knows_the_base_currency_where_there_are_rates(
    shop: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETAILPULSE_CONTRACT", str(Path("notebooks/worked/shop.toml").resolve()))
    shop.user_ns["bench"] = Workbench(namespace="unit")
    assert {c.text for c in _completions(shop, 'bench.figures("rev')} == {"revenue", "revenue_base"}


def test_completion_of_a_notebook_s_parameters(shop: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(Path("notebooks/jobs/metrics.ipynb").resolve()))
    assert [c.text for c in _completions(shop, "rp.promote(water")] == ["watermark="]
    assert {c.text for c in _completions(shop, 'rp.promote(run="')} == {"continuous", "available_now", "backfill"}
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert offered("rp.promote(water", rp=retailpulse_kernel) == []


@pytest.mark.parametrize(
    ("before", "name", "keyword", "text"),
    [
        ('f("a', "f", None, "a"),
        ("f(x, y='a", "f", "y", "a"),
        ("g(f(1), 'b", "g", None, "b"),
        ("f('it\\'s', k=['a', 'b", "f", "k", "b"),
        ('f("""a "quoted" (', "f", None, 'a "quoted" ('),
        ("f(x == 'a", "f", None, "a"),
        ("# f('\ng(k=", "g", "k", None),
    ],
)
def test_the_call_that_a_cursor_is_in(before: str, name: str, keyword: str | None, text: str | None) -> None:
    call = call_at(before)
    assert call is not None and (call.name, call.keyword, call.text) == (name, keyword, text)


@pytest.mark.parametrize("before", ["", "'a", "f('a')", "x = ['a", "f({'day': 'a", "f(a)['b", "(1, 'a"])
def test_no_call(before: str) -> None:
    assert call_at(before) is None


def test_frames_are_plotted_without_matplotlib() -> None:
    code = (
        "from IPython.core.interactiveshell import InteractiveShell as S; import retailpulse_kernel as rp;"
        "rp.load_ipython_extension(S()); rp.load_ipython_extension(S()); import pandas as pd;"
        "print(type(pd.Series([1, 2]).plot()).__module__, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plotly.graph_objs._figure", "False"]


class Shop:
    """A store whose schema is slow to read, until it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = threading.Event()

    def columns(self) -> dict[str, list[str]]:
        self.asked += 1
        self.go.wait(30)
        return {"category_day": ["day", "category", "revenue"], "other": ["x"]}


def test_a_schema_is_read_once_and_nobody_waits_for_it(use_bench: Callable[[Any], None]) -> None:
    shop = Shop()
    settings = SimpleNamespace(profile_name="p", namespace_name="n")
    bench = SimpleNamespace(settings=settings, cassandra=shop)
    use_bench(bench)
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


def test_connect_leaves_what_rp_and_the_magics_use_and_its_magic_switches_it(shell: InteractiveShell) -> None:
    before = retailpulse_kernel.default_workbench()
    assert retailpulse_kernel.connect(namespace="shop").settings.namespace_name == "shop"
    assert retailpulse_kernel.default_workbench() is before
    try:
        shell.run_line_magic("rp", "connect --namespace shop")
        assert retailpulse_kernel.kafka is retailpulse_kernel.default_workbench().kafka
        assert retailpulse_kernel.default_workbench().settings.namespace_name == "shop"
    finally:
        retailpulse_kernel.use_workbench(before)


def test_sketches_are_shown_as_the_users_in_them_and_stay_bytes(shell: InteractiveShell) -> None:
    sketch, image = sketches.of(f"u{number}" for number in range(100)), bytes(5000)
    broken = sketch[:20]
    frame = pd.DataFrame(
        {"active_users": [sketch, None, image], "one": [sketches.of(["u"])] * 3, "other": [b"few", broken, b""]}
    )
    shown, _ = shell.display_formatter.format(frame)
    for text in shown["text/html"].replace("&lt;", "<").replace("&gt;", ">"), shown["text/plain"]:
        assert all(
            word in text
            for word in ("<sketch of 100 users>", "<sketch of 1 user>", "<5,000 bytes>", "b'few'", "<20 bytes>")
        )
        assert "\\x" not in text
    series, _ = shell.display_formatter.format(frame["active_users"])
    assert "<sketch of 100 users>" in series["text/plain"]
    assert frame["active_users"][0] == sketch


def test_exact_decimals_are_shown_for_reading_and_stay_exact(shell: InteractiveShell) -> None:
    amounts = [Decimal("8980.4900"), None, Decimal("-1234567.0123"), Decimal("NaN"), Decimal("3")]
    frame = pd.DataFrame({"revenue": amounts, "orders": range(5), "name": list("abcde"), "none": None})
    shown, _ = shell.display_formatter.format(frame)
    for text in shown["text/html"], shown["text/plain"]:
        assert "8,980.49" in text and "8980.4900" not in text and "-1,234,567.0123" in text
    series, _ = shell.display_formatter.format(frame["revenue"])
    assert "8,980.49" in series["text/plain"]
    assert list(frame["revenue"])[:3] == amounts[:3], "only what is shown is text"
    plain = frame[["orders", "name"]]
    assert shell.display_formatter.format(plain)[0] == {"text/html": plain._repr_html_(), "text/plain": repr(plain)}
