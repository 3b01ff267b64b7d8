"""Completion in the magics (options, keywords, tables, columns, topics, variables) and in the strings that rp takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.magics import arguments, hbase, kafka, rp, schema
from retailpulse_kernel.magics.calls import call_at
from retailpulse_kernel.magics.statements import LANGUAGES
from retailpulse_kernel.workbench.default import default_workbench

if TYPE_CHECKING:
    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["complete", "install"]

_WORD = re.compile(r"[\w.\-%]*$")
_MENTIONED = re.compile(r"\b(?:from|join|into|update|table|describe)\s+(?:\w+\.)?(\w+)", re.IGNORECASE)
_ALIAS = r"\b(\w+)\s+(?:as\s+)?{}\b"
_VALUES = {"--as": ("arrow", "float", "pandas", "polars")}
_OPTIONS = ("--as", "--explain", "--into", "--limit", "--profile")
_MORE_OPTIONS = {
    "kafka": (*_OPTIONS, "--key", "--last", "--since", "--topic", "--until"),
    "rp": ("--namespace",),
}
#: What the line of a magic that is not a language begins with.
_COMMANDS = {"hbase": hbase.COMMANDS, "kafka": kafka.COMMANDS, "rp": rp.COMMANDS}
_MAGIC = re.compile(rf"\s*%%?({'|'.join([*LANGUAGES, *_COMMANDS])})\b")

# The words of each language that are worth completing: what people write, not all that is reserved.
_COMMON = (
    "and", "as", "asc", "avg", "between", "by", "cast", "count", "create", "delete", "desc", "describe", "distinct",
    "drop", "false", "from", "group", "if", "in", "insert", "into", "is", "limit", "max", "min", "not", "null", "or",
    "order", "select", "set", "sum", "table", "true", "update", "values", "where",
)  # fmt: skip
_CQL = (
    "allow", "contains", "filtering", "json", "key", "per", "primary", "timestamp", "token", "ttl", "using",
    "writetime",
)  # fmt: skip
_SQL = (
    "case", "coalesce", "cross", "date_format", "date_trunc", "else", "end", "exists", "explain", "full", "having",
    "hour", "inner", "interval", "join", "left", "like", "minute", "on", "outer", "over", "partition", "rank", "right",
    "row_number", "show", "tables", "then", "timestamp", "union", "unix_timestamp", "when", "window", "with", "year",
)  # fmt: skip

_KEYWORDS: dict[str, tuple[str, ...]] = {
    "cql": tuple(sorted({*_COMMON, *_CQL})),
    "hive": tuple(sorted({*_COMMON, *_SQL, "cluster", "distribute", "lateral", "sort", "view", "explode"})),
    "sql": tuple(sorted({*_COMMON, *_SQL, "explode", "lateral", "pivot", "qualify", "temporary", "using", "view"})),
}


def install(shell: Any) -> None:
    """Make the shell's completer ask us first, once.

    Parameters
    ----------
    shell : object
        IPython's.
    """
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
    """What may follow a text, as (word, kind), and the part of it that the word replaces; None where that is not ours.

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
    if match is None:
        return None if stripped.startswith("%%") else _of_call(before, variables)
    if match.end() == len(text):
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
    if magic == "hbase":
        return _of_hbase(preceding, fragment)
    if magic in LANGUAGES:
        return _of_statement(magic, rest, fragment)
    return fragment, _of_line(magic, preceding.split(), fragment)


def _of_call(before: str, variables: dict[str, Any]) -> tuple[str, list[tuple[str, str]]] | None:
    """What an argument of one of ``rp``'s functions may be."""
    call = call_at(before)
    found = None if call is None else arguments.called(call, variables)
    if call is None or found is None:
        return None
    bench, path = found
    if call.text is None:
        word = re.search(r"\w*$", before)[0]  # type: ignore[index]
        names = arguments.names_of(path) if call.keyword is None else []
        return (word, _starting(word, names, "param")) if names else None
    if path in arguments.STATEMENTS and call.keyword in (None, "cql", "sql", "statement") and call.place == 0:
        return _of_statement(arguments.STATEMENTS[path], call.text, _WORD.search(call.text)[0], bench)  # type: ignore[index]
    words = arguments.words_of(bench, path, call)
    return None if words is None else (call.text, _starting(call.text, words[1], words[0]))


def _of_statement(
    magic: str, statement: str, fragment: str, bench: Workbench | None = None
) -> tuple[str, list[tuple[str, str]]]:
    tables = schema.tables(bench or default_workbench(), LANGUAGES[magic].tables)
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
    keywords = _KEYWORDS[magic]
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
    tables = schema.tables(default_workbench(), "hbase")
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
    names = [] if magic != "kafka" else [*schema.topics(default_workbench()), "dlq", "late", "progress"]
    return _starting(fragment, names, "topic")


def _variables(fragment: str, variables: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    from retailpulse_kernel.magics.base import Variables

    return fragment, _starting(fragment, Variables(variables).names(), "instance")


def _profiles() -> list[str]:
    from retailpulse_kernel.ground.profiles import profile_names

    return profile_names()


def _starting(fragment: str, words: Iterable[str], kind: str) -> list[tuple[str, str]]:
    return [(word, kind) for word in words if word.lower().startswith(fragment.lower())]
