"""The words of each language that are worth completing: what people write, not all that is reserved."""

from __future__ import annotations

__all__ = ["KEYWORDS"]

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

KEYWORDS: dict[str, tuple[str, ...]] = {
    "cql": tuple(sorted({*_COMMON, *_CQL})),
    "hive": tuple(sorted({*_COMMON, *_SQL, "cluster", "distribute", "lateral", "sort", "view", "explode"})),
    "sql": tuple(sorted({*_COMMON, *_SQL, "explode", "lateral", "pivot", "qualify", "temporary", "using", "view"})),
}
