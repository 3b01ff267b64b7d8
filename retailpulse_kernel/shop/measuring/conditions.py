"""Conditions on events in plain Python, as Spark SQL means them: a comparison with NULL is neither true nor false.

A condition may be anything that Spark can. Those of everyday are evaluated here: columns of an event, literals,
comparisons, ``AND``, ``OR``, ``NOT``, ``IN``, ``BETWEEN``, ``LIKE``, ``IS NULL``, ``+ - *`` and a few functions. Of any
other it is said that it is not, and why; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import add, eq, ge, gt, le, lt, mul, ne, sub
from typing import Any, Final, NamedTuple

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.types import decimal_digits
from retailpulse_kernel.shop.events import Event

__all__ = ["compiled", "condition_of"]

_Value = Callable[[Event], Any]

_TEXT, _NUMBER, _TRUTH, _TIME, _NULL = "text", "number", "truth", "time", "null"

#: What columns of a type hold; a condition on others is told by Spark alone.
_KINDS: Final = {"string": _TEXT, "int": _NUMBER, "long": _NUMBER, "bool": _TRUTH, "timestamp": _TIME}

_TOKENS = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)(?![\w.])|(?P<text>'[^'\\]*'|"[^"\\]*")|`(?P<quoted>[^`]+)`"""
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign><=>|<=|>=|<>|!=|==|[=<>+\-*(),]))"
)
_COMPARISONS: Final = {"=": eq, "==": eq, "<>": ne, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_ARITHMETIC: Final = {"+": add, "-": sub, "*": mul}
#: Functions by name: what they take, what they give. None of their arguments may be NULL, else the result is.
_FUNCTIONS: Final[dict[str, tuple[tuple[str, ...], str, Callable[..., Any]]]] = {
    "contains": ((_TEXT, _TEXT), _TRUTH, lambda text, part: part in text),
    "endswith": ((_TEXT, _TEXT), _TRUTH, str.endswith),
    "length": ((_TEXT,), _NUMBER, len),
    "lower": ((_TEXT,), _TEXT, str.lower),
    "startswith": ((_TEXT, _TEXT), _TRUTH, str.startswith),
    "upper": ((_TEXT,), _TEXT, str.upper),
}


class _Term(NamedTuple):
    """A part of a condition: what it holds, and its value for an event; None is NULL."""

    kind: str
    of: _Value


@dataclass(frozen=True)
class Condition:
    """A condition that was read.

    Attributes
    ----------
    text : str
        In Spark SQL.
    columns : tuple of str
        The columns that it names.
    of : callable
        Its value for an event, or anything else with these columns as attributes: true, false, or None for NULL.
    """

    text: str
    columns: tuple[str, ...]
    of: Callable[[Any], Any]

    def is_violated(self, event: Any) -> bool:
        """Whether an event violates the condition, as one of SQL's CHECK: NULL is not a violation.

        Parameters
        ----------
        event : object
            An event, or anything else with the condition's columns as attributes.
        """
        return self.of(event) is False


def condition_of(text: str, contract: Contract | None = None) -> Condition:
    """A condition, read.

    Parameters
    ----------
    text : str
        In Spark SQL.
    contract : Contract, optional
        What an event holds; the shipped one when absent.

    Raises
    ------
    UsageError
        It is not among those that are evaluated here.
    """
    parser = _Parser(text, _columns(shipped() if contract is None else contract))
    of = parser.whole()
    return Condition(text, tuple(sorted(parser.named)), of)


def compiled(conditions: Sequence[str], contract: Contract | None = None) -> Callable[[Event], bool]:
    """Whether an event meets all of some conditions, as a function.

    Parameters
    ----------
    conditions : sequence of str
        In Spark SQL.
    contract : Contract, optional
        What an event holds; the shipped one when absent.

    Raises
    ------
    UsageError
        One of them is not among those that are evaluated here.
    """
    tests = [condition_of(condition, contract).of for condition in conditions]
    return lambda event: all(test(event) is True for test in tests)


def _columns(contract: Contract) -> dict[str, str]:
    """The columns that a condition may name, and what they hold."""
    kinds = {one.name: _NUMBER if decimal_digits(one.type) else _KINDS.get(one.type) for one in contract.columns}
    return {name: kind for name, kind in kinds.items() if kind is not None}


class _Parser:
    """Reads one condition, from the loosest operator to the tightest."""

    def __init__(self, text: str, columns: Mapping[str, str]) -> None:
        self._text, self._columns = text, columns
        self._tokens = list(self._split())
        self._at = 0
        #: The columns that it names.
        self.named: set[str] = set()

    def _split(self) -> Iterable[tuple[str, str]]:
        at = 0
        while self._text[at:].strip():
            found = _TOKENS.match(self._text, at)
            if found is None or self._text[at:].lstrip().startswith("--"):  # the rest is a comment
                raise self._refused(self._text[at:].split()[0])
            at = found.end()
            assert found.lastgroup is not None
            yield found.lastgroup, found[found.lastgroup]

    def _refused(self, what: str) -> UsageError:
        return UsageError(
            f"The condition {self._text} can't be told of an event outside of Spark: it has {what}.",
            remedy="Use columns, literals, comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL.",
        )

    # -- tokens ------------------------------------------------------------------------------

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "its end too early")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _takes(self, *words: str) -> bool:
        """Whether these words or signs come next; they are taken then."""
        ahead = self._tokens[self._at : self._at + len(words)]
        if [text.upper() if kind in ("word", "sign") else None for kind, text in ahead] != list(words):
            return False
        self._at += len(words)
        return True

    def _require(self, sign: str) -> None:
        if not self._takes(sign):
            raise self._refused(self._peek()[1])

    # -- grammar -----------------------------------------------------------------------------

    def whole(self) -> _Value:
        """The condition as a function that gives True, False or None."""
        term = self._or()
        if self._at < len(self._tokens) or term.kind not in (_TRUTH, _NULL):
            raise self._refused(self._peek()[1] if self._at < len(self._tokens) else self._text)
        return term.of

    def _or(self) -> _Term:
        term = self._and()
        while self._takes("OR"):
            term = _Term(_TRUTH, _either(*self._truths(term, self._and()), decisive=True))
        return term

    def _and(self) -> _Term:
        term = self._not()
        while self._takes("AND"):
            term = _Term(_TRUTH, _either(*self._truths(term, self._not()), decisive=False))
        return term

    def _not(self) -> _Term:
        if self._takes("NOT"):
            (one,) = self._truths(self._not())
            return _Term(_TRUTH, _strict(lambda value: not value, one))
        return self._comparison()

    def _truths(self, *terms: _Term) -> list[_Value]:
        for term in terms:
            if term.kind not in (_TRUTH, _NULL):
                raise self._refused(self._text)
        return [term.of for term in terms]

    def _comparison(self) -> _Term:
        term = self._sum()
        if self._takes("IS"):
            no = self._takes("NOT")
            self._require("NULL")
            return _Term(_TRUTH, lambda event: (term.of(event) is None) != no)
        negated = self._takes("NOT")
        if self._takes("IN"):
            found = self._in(term)
        elif self._takes("BETWEEN"):
            low = self._alike(term, self._sum())
            self._require("AND")
            high = self._alike(term, self._sum())
            found = _either(_strict(ge, term.of, low), _strict(le, term.of, high), decisive=False)
        elif self._takes("LIKE"):
            found = self._like(term)
        elif negated:
            raise self._refused("NOT")
        elif self._takes("<=>"):
            other = self._alike(term, self._sum())
            return _Term(_TRUTH, lambda event: term.of(event) == other(event))
        elif self._peek()[0] == "sign" and self._peek()[1] in _COMPARISONS:
            compare = _COMPARISONS[self._next()[1]]
            return _Term(_TRUTH, _strict(compare, term.of, self._alike(term, self._sum())))
        else:
            return term
        return _Term(_TRUTH, _strict(lambda value: not value, found) if negated else found)

    def _alike(self, one: _Term, other: _Term) -> _Value:
        """The other's value, where both are of a kind: Spark would turn one into the other, by rules of its own."""
        if other.kind not in (one.kind, _NULL) and one.kind != _NULL:
            raise self._refused(f"{one.kind} beside {other.kind}")
        return other.of

    def _in(self, term: _Term) -> _Value:
        self._require("(")
        found = _strict(eq, term.of, self._alike(term, self._sum()))
        while self._takes(","):
            found = _either(found, _strict(eq, term.of, self._alike(term, self._sum())), decisive=True)
        self._require(")")
        return found

    def _like(self, term: _Term) -> _Value:
        kind, pattern = self._next()
        if kind != "text" or term.kind != _TEXT or (self._peek()[0], self._peek()[1].upper()) == ("word", "ESCAPE"):
            raise self._refused("LIKE" if kind == "text" else pattern)
        parts = {"%": ".*", "_": "."}
        matches = re.compile("".join(parts.get(c, re.escape(c)) for c in pattern[1:-1]), re.DOTALL).fullmatch
        return _strict(lambda text: matches(text) is not None, term.of)

    def _sum(self) -> _Term:
        term = self._product()
        while self._peek()[0] == "sign" and self._peek()[1] in "+-":
            term = self._arithmetic(term, self._product)
        return term

    def _product(self) -> _Term:
        term = self._single()
        while self._peek() == ("sign", "*"):
            term = self._arithmetic(term, self._single)
        return term

    def _arithmetic(self, term: _Term, right: Callable[[], _Term]) -> _Term:
        sign = self._next()[1]
        other = right()
        if term.kind != _NUMBER or other.kind != _NUMBER:
            raise self._refused(sign)
        return _Term(_NUMBER, _strict(_ARITHMETIC[sign], term.of, other.of))

    def _single(self) -> _Term:
        kind, text = self._next()
        if kind == "number":
            return _constant(_NUMBER, Decimal(text))
        if kind == "text":
            return _constant(_TEXT, text[1:-1])
        if kind == "sign" and text == "(":
            term = self._or()
            self._require(")")
            return term
        if kind == "sign" and text == "-":
            term = self._single()
            if term.kind == _NUMBER:
                return _Term(_NUMBER, _strict(lambda value: -value, term.of))
        if kind == "word" and text.upper() in ("TRUE", "FALSE"):
            return _constant(_TRUTH, text.upper() == "TRUE")
        if kind == "word" and text.upper() == "NULL":
            return _constant(_NULL, None)
        if kind == "word" and self._peek() == ("sign", "("):
            return self._function(text.lower())
        if kind in ("word", "quoted") and text.lower() in self._columns:
            name = text.lower()
            self.named.add(name)
            return _Term(self._columns[name], lambda event: getattr(event, name))
        raise self._refused(text)

    def _function(self, name: str) -> _Term:
        self._require("(")
        given = [self._or()]
        while self._takes(","):
            given.append(self._or())
        self._require(")")
        values = [term.of for term in given]
        if name == "coalesce":
            kinds = {term.kind for term in given} - {_NULL}
            if len(kinds) != 1:
                raise self._refused(name)
            return _Term(kinds.pop(), lambda event: next((v for of in values if (v := of(event)) is not None), None))
        takes, gives, function = _FUNCTIONS.get(name, ((), "", str))
        if not gives or tuple(term.kind for term in given) != takes:
            raise self._refused(name)
        return _Term(gives, _strict(function, *values))


def _constant(kind: str, value: Any) -> _Term:
    return _Term(kind, lambda _: value)


def _strict(function: Callable[..., Any], *values: _Value) -> _Value:
    """A function of values, none of which may be NULL: then the result is."""

    def applied(event: Event) -> Any:
        given = [value(event) for value in values]
        return None if any(one is None for one in given) else function(*given)

    return applied


def _either(one: _Value, other: _Value, *, decisive: bool) -> _Value:
    """OR, for which a truth decides, or AND, for which a falsehood does; NULL where neither does and one is NULL."""

    def joined(event: Event) -> bool | None:
        first = one(event)
        if first is decisive:
            return decisive
        second = other(event)
        if second is decisive:
            return decisive
        return None if first is None or second is None else not decisive

    return joined
