"""The two forms of every fuzz test, and the strategies that they share.

The short form is part of `make test`: a few hundred inputs, the same ones each time. The long form is
`make fuzz`: `RETAILPULSE_FUZZ` inputs in all, new ones each time.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

__all__ = ["JUDGED", "LONG", "fuzzed", "json_texts", "json_values", "literals", "seeded"]

#: Inputs of the long form, all tests together; 0 is the short form.
LONG = int(os.environ.get("RETAILPULSE_FUZZ", "0"))
_SHORT = 600
_SHORT_ROWS = 6000

#: How many inputs each test has judged.
JUDGED: Counter[str] = Counter()


def fuzzed(share: float, **strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with its share of all inputs, and count them."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def counted(**given_values: Any) -> None:
            JUDGED[test.__name__] += 1
            test(**given_values)

        return settings(
            max_examples=max(1, round((LONG or _SHORT) * share)),
            derandomize=not LONG,
            database=None,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        )(given(**strategies)(counted))

    return decorate


def seeded(share: float) -> Callable[[Callable[[random.Random], int]], Callable[[], None]]:
    """Run a test on files of many rows until it has judged its share of all inputs, which are rows here.

    Hypothesis would draw each value by itself: a file of sixty rows took it thirty times as long as judging the file.
    """

    def decorate(test: Callable[[random.Random], int]) -> Callable[[], None]:
        def counted() -> None:
            kind, wanted = secrets.token_hex(8) if LONG else "short", max(1, round((LONG or _SHORT_ROWS) * share))
            for number in itertools.count():
                if JUDGED[test.__name__] >= wanted:
                    return
                JUDGED[test.__name__] += test(random.Random(f"{kind}-{number}"))

        counted.__name__, counted.__doc__ = test.__name__, test.__doc__
        return counted

    return decorate


#: Text with all that JSON can hold: controls, quotes, characters outside the basic plane.
_ODD_TEXTS = [" ", "\x00", "\u2028", "é", "e\u0301", "a.b.c", ".", "a..b", "None", "NaN"]
_LONG_TEXTS = ["", "😀" * 65, "x" * 128, "x" * 129, "x" * 257]
_TEXTS = st.text(max_size=12) | st.sampled_from([*_ODD_TEXTS, *_LONG_TEXTS])
_NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([2**31 - 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**14, 10**40, 1_767_261_600_000])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
)
#: What `json.loads` can give.
json_values = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def json_texts(draw: st.DrawFn, values: st.SearchStrategy[Any] = json_values) -> str:
    """A value as JSON, with its characters escaped or not."""
    return json.dumps(draw(values), ensure_ascii=draw(st.booleans()))


_DATE = r"(19|20|21)[0-9]{2}-[0-1][0-9]-[0-3][0-9]"
_CLOCK = r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,9})?(Z|z|[+-][0-9]{2}:[0-9]{2})?"
_ODD_NUMBERS = [
    "1e999", "-0", "-0.0", "0.00001", "1E400", "NaN", "Infinity", "-Infinity", "00", "01", "+1", ".5", "5.", "1_0",
    "-1", "4133980800000", "9" * 400, "9" * 5000, "0." + "0" * 400 + "1", "1" + "0" * 400,
]  # fmt: skip
_ODD_STRINGS = [
    r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', r'"\ud83d\ude00"', r'"\x"', '"', "'a'", '" 1"', r'"1\n"',
    '"\u0663"', '"\uff11\uff12"', r'"2026-01-01T00:00:00Z\n"', '"2026-02-30T00:00:00Z"', '"2026-01-01T24:00:00Z"',
    '"2026-01-01T23:59:60Z"', '"2026-01-01T00:00:00+99:99"',
]  # fmt: skip
_ODD_LITERALS = ["", "nul", "True", "[" * 70 + "]" * 70, '{"a":' * 70 + "1" + "}" * 70]

#: What stands behind a key in JSON, right or not: numbers that no float holds, lone surrogates, depths.
literals: st.SearchStrategy[str] = (
    json_texts()
    | st.from_regex(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,8})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.from_regex(r'"-?[0-9]{0,16}(\.[0-9]{0,6})?([eE][+-]?[0-9]{1,3})?"', fullmatch=True)
    | st.from_regex(f'"{_DATE}[Tt ]{_CLOCK}"', fullmatch=True)
    | st.sampled_from([*_ODD_NUMBERS, *_ODD_STRINGS, *_ODD_LITERALS])
)
