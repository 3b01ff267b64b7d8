"""Completion within the magics: options, keywords, tables, columns, topics, and variables after a colon."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import retailpulse_kernel
from retailpulse_kernel.magics import hbase, kafka, rp, schema
from retailpulse_kernel.magics.keywords import KEYWORDS

__all__ = ["complete", "install"]

_MAGIC = re.compile(r"\s*%%?(cql|hive|sql|hbase|kafka|rp)\b")
_WORD = re.compile(r"[\w.\-%]*$")
_MENTIONED = re.compile(r"\b(?:from|join|into|update|table|describe)\s+(?:\w+\.)?(\w+)", re.IGNORECASE)
_ALIAS = r"\b(\w+)\s+(?:as\s+)?{}\b"
_STORES = {"cql": "cassandra", "hive": "hive", "sql": "hive", "hbase": "hbase"}
_VALUES = {"--as": ("arrow", "pandas", "polars")}
_OPTIONS = ("--as", "--explain", "--into", "--limit", "--profile")
_MORE_OPTIONS = {
    "kafka": (*_OPTIONS, "--key", "--last", "--since", "--topic", "--until"),
    "rp": ("--namespace",),
}
_COMMANDS = {"hbase": hbase.COMMANDS, "kafka": kafka.COMMANDS, "rp": rp.COMMANDS}


def install(shell: Any) -> None:
    """Make the shell's completer ask us first, once."""
    from IPython.core.completer import context_matcher

    @context_matcher(identifier="retailpulse")
    def matcher(context: Any) -> dict[str, Any]:
        return _matches(shell, context)

    others = [m for m in shell.Completer.custom_matchers if getattr(m, "matcher_identifier", "") != "retailpulse"]
    shell.Completer.custom_matchers = [matcher, *others]


def _matches(shell: Any, context: Any) -> dict[str, Any]:
    from IPython.core.completer import SimpleCompletion

    lines = context.full_text.splitlines(keepends=True)[: context.cursor_line]
    before = "".join(lines) + context.text_until_cursor
    found = complete(before, shell.user_ns)
    if found is None:
        return {"completions": [], "suppress": False}
    fragment, words = found
    return {
        "completions": [SimpleCompletion(text=word, type=kind) for word, kind in words],
        "matched_fragment": fragment,
        "suppress": True,
        "ordered": True,
    }


def complete(before: str, variables: dict[str, Any]) -> tuple[str, list[tuple[str, str]]] | None:
    """What may follow a text, as (word, kind), and the part of it that the word replaces; None outside of our magics.

    Parameters
    ----------
    before : str
        The cell up to the cursor.
    variables : dict
        The notebook's.
    """
    stripped = before.lstrip()
    cell = _MAGIC.match(stripped) if stripped.startswith("%%") else None
    text = stripped if cell else before.rpartition("\n")[2]
    match = cell or _MAGIC.match(text)
    if match is None or match.end() == len(text):
        return None  # the magic's own name is IPython's to complete
    magic, rest = match[1], text[match.end() :]
    fragment = _WORD.search(rest)[0]  # type: ignore[index]
    preceding = rest[: len(rest) - len(fragment)]
    if preceding.endswith(":"):
        return _variables(fragment, variables)
    option = re.search(r"(--[\w-]+)[\s=]+$", preceding)
    in_line = "\n" not in rest
    if in_line and fragment.startswith("--"):
        return fragment, _starting(fragment, _MORE_OPTIONS.get(magic, _OPTIONS), "keyword")
    if in_line and option and option[1] in (*_VALUES, "--profile"):
        return fragment, _starting(fragment, _VALUES.get(option[1]) or _profiles(), "value")
    if magic in ("kafka", "rp"):
        return fragment, _of_line(magic, preceding.split(), fragment)
    if magic == "hbase":
        return _of_hbase(preceding, fragment)
    return _of_statement(magic, rest, fragment)


def _of_statement(magic: str, statement: str, fragment: str) -> tuple[str, list[tuple[str, str]]]:
    tables = schema.tables(retailpulse_kernel.default_workbench(), _STORES[magic])
    if "." in fragment:
        owner, _, part = fragment.rpartition(".")
        named = [owner, *re.findall(_ALIAS.format(re.escape(owner)), statement, re.IGNORECASE)]
        owned = next((tables[name] for name in named if name in tables), [])
        return part, _starting(part, owned, "column")
    mentioned = [name for name in _MENTIONED.findall(statement) if name in tables]
    # Columns of what the statement names; of everything before it names anything.
    columns = dict.fromkeys(column for name in mentioned or tables for column in tables[name])
    after_from = re.search(r"\b(from|join|into|update|describe)\s+$", statement[: len(statement) - len(fragment)], re.I)
    if after_from:
        return fragment, _starting(fragment, tables, "table")
    keywords = KEYWORDS[magic]
    if fragment.isupper():
        keywords = tuple(word.upper() for word in keywords)
    return fragment, [
        *_starting(fragment, columns, "column"),
        *_starting(fragment, tables, "table"),
        *(_starting(fragment, keywords, "keyword") if fragment else []),
    ]


def _of_hbase(preceding: str, fragment: str) -> tuple[str, list[tuple[str, str]]]:
    words = [word for word in preceding.split() if not word.startswith("--")]
    if not any(word in hbase.COMMANDS for word in words):
        return fragment, _starting(fragment, hbase.COMMANDS, "command")
    tables = schema.tables(retailpulse_kernel.default_workbench(), "hbase")
    if words[-1] in hbase.COMMANDS:
        return fragment, _starting(fragment, tables, "table")
    if re.search(r"columns=(\S+,)?$", preceding):
        columns = next((tables[word] for word in words if word in tables), [])
        return fragment, _starting(fragment, columns, "column")
    return fragment, _starting(fragment, [f"{name}=" for name in hbase.PARAMETERS], "keyword")


def _of_line(magic: str, words: list[str], fragment: str) -> list[tuple[str, str]]:
    plain = [word for word in words if not word.startswith("--")]
    if not plain:
        return _starting(fragment, _COMMANDS[magic], "command")
    if magic == "rp":
        return _starting(fragment, _profiles(), "value") if plain[-1] in ("connect", "profile") else []
    names = [*schema.topics(retailpulse_kernel.default_workbench()), "dlq", "late", "progress"]
    return _starting(fragment, names, "topic")


def _variables(fragment: str, variables: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    from retailpulse_kernel.magics.base import Variables

    return fragment, _starting(fragment, Variables(variables).names(), "instance")


def _profiles() -> list[str]:
    from retailpulse_kernel.profiles import profile_names

    return profile_names()


def _starting(fragment: str, words: Iterable[str], kind: str) -> list[tuple[str, str]]:
    return [(word, kind) for word in words if word.lower().startswith(fragment.lower())]
