"""What the strings that ``rp``'s functions take may be: figures, dimensions, topics, tables, columns and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from retailpulse_kernel.magics import schema
from retailpulse_kernel.magics.calls import Call
from retailpulse_kernel.workbench.default import default_workbench
from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["STATEMENTS", "called", "names_of", "words_of"]

Words = Callable[[Workbench, Call], Iterable[str]]

#: The magic that completes as the statement of a function does.
STATEMENTS = {"cassandra.query": "cql", "cassandra.trace": "cql", "hive.query": "hive", "sql": "sql"}


def called(call: Call, variables: Mapping[str, Any]) -> tuple[Workbench, str] | None:
    """The workbench that a call belongs to, and what it calls from there on, such as ``kafka.tail``.

    Parameters
    ----------
    call : Call
        What the cursor stands in.
    variables : mapping
        The notebook's, by name.
    """
    root, _, path = call.name.partition(".")
    owner = variables.get(root)
    if isinstance(owner, Workbench):
        return owner, path
    if isinstance(owner, ModuleType) and owner.__name__ == "retailpulse_kernel":
        return default_workbench(), path
    if type(owner).__module__ in ("retailpulse_kernel.streaming.run.job", "retailpulse_kernel.streaming.query.streams"):
        return default_workbench(), f"{type(owner).__name__}.{path}"
    return None


def words_of(bench: Workbench, path: str, call: Call) -> tuple[str, Iterable[str]] | None:
    """What the string that the cursor is in may be: the kind of the words, and they.

    Parameters
    ----------
    bench : Workbench
        Whose tables and topics are offered.
    path : str
        What is called, such as ``kafka.tail``.
    call : Call
        What the cursor stands in.
    """
    takes = _TAKES.get(path, {})
    parameter = call.keyword
    if parameter is None and takes:
        first = next(iter(takes))
        parameter = first if call.place == 0 or first.startswith("*") else None
    if not parameter:
        return None
    if path == "promote":
        return "value", _choices(parameter)
    found = takes.get(parameter)
    if found is None:
        return None
    kind, words = found
    return kind, words if isinstance(words, tuple) else words(bench, call)


def names_of(path: str) -> list[str]:
    """The parameters that a call takes by name and Python does not know: those of the notebook that is promoted.

    Parameters
    ----------
    path : str
        What is called, such as ``promote``.
    """
    return ["notebook=", *(f"{name}=" for name in _parameters())] if path == "promote" else []


def _parameters() -> dict[str, Any]:
    from retailpulse_kernel.ground.errors import RetailPulseError
    from retailpulse_kernel.notebooks.parameters import read_parameters
    from retailpulse_kernel.promotion.gate.candidate import this_notebook

    try:
        return dict(read_parameters(this_notebook()))
    except RetailPulseError:  # nothing tells which notebook this is, or it can't be read
        return {}


def _choices(name: str) -> list[str]:
    """The values of a notebook's parameter, where its type lists them."""
    parameter = _parameters().get(name)
    return [value for value in get_args(getattr(parameter, "annotation", None)) if isinstance(value, str)]


def _figures(bench: Workbench, _call: Call) -> list[str]:
    from retailpulse_kernel.answers.base_figures import all_in_base
    from retailpulse_kernel.answers.reading import chosen_figures
    from retailpulse_kernel.catalogue.tables import catalogue_of

    catalogue = catalogue_of(bench.settings)
    tables = [entry.figures for entry in catalogue.figures if entry.figures]
    kept = [(figure, table) for table in tables for figure in chosen_figures((), table)]
    named = [figure.name for figure, _ in kept]
    if catalogue.contract.shop.rates:
        named += [based.name for figure, table in kept for based in all_in_base([figure], table.by)]
    return list(dict.fromkeys(named))


def _dimensions(bench: Workbench, call: Call) -> list[str]:
    """The dimensions of the tables that keep a figure which the call names; of all tables where it names none."""
    from retailpulse_kernel.answers.reading import chosen_figures
    from retailpulse_kernel.catalogue.tables import catalogue_of

    kept = [entry.figures for entry in catalogue_of(bench.settings).figures if entry.figures]
    named = [table for table in kept if {figure.name for figure in chosen_figures((), table)} & set(call.given)]
    return list(dict.fromkeys(["bucket", *(name for table in named or kept for name in table.by)]))


def _catalogued(bench: Workbench, _call: Call) -> list[str]:
    from retailpulse_kernel.catalogue.tables import catalogue_of

    return catalogue_of(bench.settings).names


def _figure_tables(bench: Workbench, _call: Call) -> list[str]:
    from retailpulse_kernel.catalogue.tables import catalogue_of

    return [entry.name for entry in catalogue_of(bench.settings).figures]


def _columns_of_table(bench: Workbench, call: Call) -> list[str]:
    """The columns of the table that a call has named already."""
    from retailpulse_kernel.catalogue.tables import catalogue_of

    entry = next((one for one in catalogue_of(bench.settings).entries if one.name in call.given), None)
    if entry is None:
        return []
    if entry.plan.rows is not None:
        return [name for name, _ in entry.plan.rows.columns]
    return [*entry.plan.by, *(figure.name for figure in entry.plan.figures)]


def _columns_of_events(bench: Workbench, _call: Call) -> Iterable[str]:
    from retailpulse_kernel.shop.contract.loading import contract_of

    return contract_of(bench.settings).dimensions


def _archived(bench: Workbench, _call: Call) -> Iterable[str]:
    from retailpulse_kernel.shop.contract.loading import contract_of
    from retailpulse_kernel.stores.hive.archive import archive_columns

    return archive_columns(contract_of(bench.settings))


def _topics(bench: Workbench, _call: Call) -> list[str]:
    return [*schema.topics(bench), "dlq", "late", "progress"]


def _tables(store: str) -> Words:
    return lambda bench, _call: schema.tables(bench, store)


def _cells(bench: Workbench, call: Call) -> list[str]:
    return next((columns for name, columns in schema.tables(bench, "hbase").items() if name in call.given), [])


def _profiles(_bench: Workbench, _call: Call) -> list[str]:
    from retailpulse_kernel.ground.profiles import profile_names

    return profile_names()


def _namespaces(bench: Workbench, _call: Call) -> list[str]:
    """Those in which a job ran, where checkpoints are on this machine."""
    folder = Path(bench.settings.checkpoints.removeprefix("file://")).parent
    found = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted({*found, bench.settings.namespace_name})


def _categories(bench: Workbench, _call: Call) -> list[str]:
    return schema.values(bench)[0]


def _currencies(bench: Workbench, _call: Call) -> list[str]:
    return schema.values(bench)[1]


def _comparisons(_bench: Workbench, _call: Call) -> Iterable[str]:
    from retailpulse_kernel.answers.comparing import COMPARISONS

    return COMPARISONS


def _questions(_bench: Workbench, _call: Call) -> Iterable[str]:
    from retailpulse_kernel.answers.questions import QUESTIONS

    return QUESTIONS


_FORM: dict[str, tuple[str, tuple[str, ...] | Words]] = {"as_": ("value", ("pandas", "float", "polars", "arrow"))}
_CURRENCY: dict[str, tuple[str, tuple[str, ...] | Words]] = {"currency": ("value", _currencies)}
_TOPIC: dict[str, tuple[str, tuple[str, ...] | Words]] = {"topic": ("topic", _topics)}

#: What the strings of each function are, by parameter. The first one is also meant without its name, and a starred
#: one by every argument without a name; an empty name is for one of which nothing is known.
_TAKES: dict[str, dict[str, tuple[str, tuple[str, ...] | Words]]] = {
    "figures": {
        "*figures": ("figure", _figures),
        "by": ("dimension", _dimensions),
        "every": ("value", ("minute", "5 minutes", "hour", "day", "week", "month")),
        "grain": ("value", ("minute", "hour", "day")),
        "table": ("table", _figure_tables),
        "compare": ("value", _comparisons),
        **_CURRENCY,
        **_FORM,
    },
    "why": {
        "figure": ("figure", _figures),
        "by": ("dimension", _dimensions),
        "table": ("table", _figure_tables),
        "against": ("value", _comparisons),
        **_CURRENCY,
    },
    "table": {
        "name": ("table", _catalogued),
        "columns": ("column", _columns_of_table),
        "order": ("column", _columns_of_table),
        "time": ("column", _columns_of_table),
        "where": ("column", _columns_of_table),
        **_FORM,
    },
    "live": {
        "table": ("table", _catalogued),
        "figure": ("figure", _figures),
        "by": ("dimension", _dimensions),
        "where": ("column", _columns_of_table),
        "columns": ("column", _columns_of_table),
        "time": ("column", _columns_of_table),
        "chart": ("value", ("auto", "line", "bar", "number", "table")),
        "categories": ("category", _categories),
        "window": ("value", ("5m", "15m", "1h", "3h", "6h", "1d")),
        **_CURRENCY,
    },
    "explore": {"categories": ("category", _categories), "question": ("value", _questions), **_CURRENCY},
    "connect": {"profile": ("value", _profiles), "namespace": ("value", _namespaces)},
    "job": {
        "": ("value", ()),
        "run": ("value", ("available_now", "continuous", "backfill")),
        "source": ("value", ("kafka", "archive")),
        "late": ("value", ("exclude", "include")),
    },
    "Job.events": {
        "": ("value", ()),
        "unique_by": ("value", ("event_id", "order_id", "session_id", "user_id")),
        "rejects": ("value", ("publish", "count")),
    },
    "Events.figures": {
        "": ("value", ()),
        "by": ("dimension", _columns_of_events),
        "every": ("value", ("1 minute", "1 hour", "1 day")),
    },
    "sql": _FORM,
    "kafka.tail": _TOPIC | _FORM,
    "kafka.consume": _TOPIC | _FORM,
    "kafka.messages": _TOPIC,
    "kafka.offsets": _TOPIC,
    "kafka.require": _TOPIC,
    "kafka.produce": {"": ("value", ()), **_TOPIC},
    "cassandra.columns": {"table": ("table", _tables("cassandra"))},
    "cassandra.query": _FORM,
    "hive.columns": {"table": ("table", _tables("hive"))},
    "hive.query": _FORM,
    "hive.events": {"": ("value", ()), "columns": ("column", _archived), **_FORM},
    "hbase.columns": {"table": ("table", _tables("hbase"))},
    "hbase.get": {"table": ("table", _tables("hbase")), "columns": ("column", _cells)},
    "hbase.scan": {"table": ("table", _tables("hbase")), "columns": ("column", _cells), **_FORM},
}
