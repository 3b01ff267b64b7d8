"""What a person can read in a namespace, as a page lists it: each topic and table, its parts, and the code for each.

Everything is plain values. `live/browsing.py` shows them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from retailpulse_kernel.catalogue.conditions import time_column_if_any
from retailpulse_kernel.catalogue.overview import Freshness, tables_of
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.contract.model import Contract, Field, ReferenceTable
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.personal import is_personal, shows_personal
from retailpulse_kernel.stores.kafka.config import reach
from retailpulse_kernel.stores.kafka.topics import topic_states

__all__ = ["listed"]

#: Seconds for which Kafka is asked again whether it is there.
_PATIENCE = 2.0
#: The magics of the stores that take statements.
_MAGICS = {"cassandra": "%%cql", "hive": "%%hive"}

Item = dict[str, Any]


def listed(settings: Settings) -> dict[str, Any]:
    """The topics, tables and reference tables of a namespace.

    Parameters
    ----------
    settings : Settings
        Whose namespace.

    Returns
    -------
    dict
        ``namespace``, ``problems`` (what could not be asked), ``empty`` (what to do where no job has run), and
        ``groups``: a title and items each. An item has ``name``, ``kind``, ``about`` (labels with texts), ``code``
        (titles with lines of code), and ``parts`` (``name``, ``type``, ``about``, ``personal``, ``code``).
    """
    found = tables_of(settings)
    catalogue, problems = found.catalogue, [found.problem] if found.problem else []
    try:
        topics = _topics(settings, catalogue.contract)
    except RetailPulseError as error:
        topics, problems = [], [*problems, f"The topics are not known: {error}"]
    both = zip(catalogue.entries, found.freshness, strict=True)
    names = Counter(entry.name for entry in catalogue.entries)
    tables = [_table(catalogue, entry, fresh, names[entry.name] > 1) for entry, fresh in both]
    groups = [
        ("Topics", topics),
        ("Tables", tables),
        ("Reference tables", [_reference(table) for table in catalogue.contract.tables]),
    ]
    empty = "" if catalogue.entries else (
        f"No job has run in the namespace {catalogue.namespace}, and none is promoted. "
        'Make one with rp.new_job("NAME"), run its notebook, and list again.'
    )  # fmt: skip
    return {
        "namespace": catalogue.namespace,
        "problems": problems,
        "empty": empty,
        "groups": [{"title": title, "items": items} for title, items in groups if items],
    }


# -- topics ---------------------------------------------------------------------------------------


def _topics(settings: Settings, contract: Contract) -> list[Item]:
    """The namespace's topics, and those of the contract."""
    namespace = settings.namespace
    # What `rp.kafka` calls the topics of a namespace beside that of its events.
    short = {namespace.dlq_topic: "dlq", namespace.late_topic: "late", namespace.progress_topic: "progress"}
    further = {namespace.topic(one.topic): one.topic for one in contract.topics}
    reach(settings, _PATIENCE)  # its client would try for long, and not tell why
    states = topic_states(settings, dict.fromkeys([*namespace.topics, *further]))
    items = []
    for state in states:
        is_main = state.name == namespace.events_topic
        name = namespace.EVENTS if is_main else short.get(state.name) or further[state.name]
        given = "" if is_main else _text(name)
        fields: Iterable[Field] = () if state.name in short else contract.of_topic(name).fields
        held = f"{state.messages:,}" if state.exists else "the topic is not made yet"
        about = [["messages", held], *([["partitions", str(state.partitions)]] if state.exists else [])]
        call = ", ".join(filter(None, [given, 'last="10m"']))
        live = [["Live", "rp.live()"]] if is_main else []
        items.append({
            "name": name, "kind": "topic", "about": about,
            "code": [["Newest messages", f"rp.kafka.tail({call})"], *live],
            "parts": [_field(field) for field in fields],
        })  # fmt: skip
    return items


def _field(field: Field) -> Item:
    about = [field.title, field.unit, "required" if field.required else "", "dimension" if field.dimension else ""]
    return _part(field.name, field.type, ", ".join(filter(None, about)), personal=field.personal)


# -- tables ---------------------------------------------------------------------------------------


def _table(catalogue: Catalogue, entry: TableEntry, fresh: Freshness, is_ambiguous: bool) -> Item:
    store = [f"store={_text(entry.store)}"] if is_ambiguous else []
    about = [
        ["job", entry.writer], ["store", entry.store], ["by", ", ".join(entry.key)],
        ["windows", ", ".join(entry.plan.widths)], ["only", " and ".join(entry.conditions)],
        ["fresh until", _fresh(fresh)], ["rows", "" if fresh.rows is None else f"{fresh.rows:,}"],
    ]  # fmt: skip
    parts = _figures(catalogue, entry) if entry.figures is not None else _columns(catalogue, entry, store)
    return {
        "name": entry.name, "store": entry.store, "kind": entry.kind, "about": [line for line in about if line[1]],
        "code": _readings(catalogue, entry, store), "parts": parts,
    }  # fmt: skip


def _fresh(fresh: Freshness) -> str:
    if fresh.written is None:
        return "the job has not run here"
    return iso_text(fresh.complete_until or fresh.written, "seconds")


def _readings(catalogue: Catalogue, entry: TableEntry, store: list[str]) -> list[list[str]]:
    """The ways to read a table."""
    live = ", ".join([_text(entry.name), *store])
    found = [["Rows", _rows(entry, store)], ["Live", f"rp.live({live})"]]
    stored = entry.name
    if entry.figures is not None:
        stored = entry.figures.physical(entry.figures.finest)
        found.insert(0, ["Figures", _asked(catalogue, entry, None)])
    if entry.store in _MAGICS:
        magic = _MAGICS[entry.store]
        found.append([magic, f"{magic} --limit 100\nselect * from {stored}"])
    return found


def _rows(entry: TableEntry, store: list[str], *more: str) -> str:
    """Some rows, the newest first where a column tells their time."""
    given = [_text(entry.name), *more]
    if entry.plan.rows is None:
        given.append('last="1h"')
    else:
        time = time_column_if_any(entry.plan.row_table)
        given += [f"order={_text(f'-{time}')}"] if time else []
    return f"rp.table({', '.join([*given, 'limit=100', *store])})"


def _asked(catalogue: Catalogue, entry: TableEntry, figure: Figure | Ratio | None, by: str = "") -> str:
    """A call of `rp.figures` that the table answers."""
    assert entry.figures is not None
    dimension = by or next((name for name in entry.figures.by if name != "currency"), "bucket")
    chosen = figure or entry.figures.figures[0]
    given = [_text(chosen.name), f"by={_text(dimension)}", 'last="1d"']
    if not catalogue.is_served(entry):
        given.append(f"table={_text(entry.name)}")
    return f"rp.figures({', '.join(given)})"


def _figures(catalogue: Catalogue, entry: TableEntry) -> list[Item]:
    table = entry.figures
    assert table is not None
    kept: list[Figure | Ratio] = [*table.figures, *table.ratios]
    figures = [
        _part(
            one.name, "figure",
            ", ".join(filter(None, [one.title, one.unit, "estimated" if entry.is_estimated(one) else ""])),
            personal=shows_personal(one, catalogue.contract), code=_asked(catalogue, entry, one),
        )
        for one in kept
    ]  # fmt: skip
    dimensions = [
        _part(name, "dimension", "", personal=is_personal(name, catalogue.contract),
              code=_asked(catalogue, entry, None, by=name))
        for name in table.by
    ]  # fmt: skip
    return [*figures, *dimensions]


def _columns(catalogue: Catalogue, entry: TableEntry, store: list[str]) -> list[Item]:
    contract = catalogue.contract
    if entry.plan.rows is None:
        return [_part(one.name, one.type, one.title, personal=one.personal) for one in contract.columns]
    return [
        _part(name, kind, "key" if name in entry.key else "", personal=is_personal(name, contract),
              code=_rows(entry, store, f"columns=[{_text(name)}]"))
        for name, kind in entry.plan.rows.columns
    ]  # fmt: skip


# -- reference tables -----------------------------------------------------------------------------


def _reference(table: ReferenceTable) -> Item:
    code = [["Rows", f"rp.reference({_text(table.name)})"]]
    about = [["from", f"{table.source} {table.place}"], ["key", ", ".join(table.key)], ["read again", table.every]]
    parts = [_part(name, kind, "key" if name in table.key else "") for name, kind in table.columns]
    return {"name": table.name, "kind": "reference", "about": about, "code": code, "parts": parts}


def _part(name: str, kind: str, about: str, *, personal: bool = False, code: str = "") -> Item:
    return {"name": name, "type": kind, "about": about, "personal": personal, "code": code}


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
