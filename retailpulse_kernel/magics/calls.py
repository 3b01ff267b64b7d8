"""Which call of Python a cursor is in, and in which of its strings: what completion within a string has to know."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Call", "call_at"]

_TOKEN = re.compile(
    r"""\#[^\n]*|[bfruBFRU]*(?P<quote>\"{3}|'{3}|"|')|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<comma>,)"""
    r"""|(?P<keyword>\w+)\s*=(?!=)|(?P<name>[\w.]+)|\s+|.""",
    re.DOTALL,
)


@dataclass
class Call:
    """A call, up to the cursor.

    Attributes
    ----------
    name : str
        What is called, as it is written; empty for a list, a dict or plain brackets.
    place : int
        How many arguments come before the one that the cursor is in.
    keyword : str or None
        The name of that argument, where it has one.
    text : str or None
        The string so far that the cursor is in; None outside of a string.
    given : list of str
        The strings that come before, in their order.
    """

    name: str
    place: int = 0
    keyword: str | None = None
    text: str | None = None
    given: list[str] = field(default_factory=list)
    is_dict: bool = False


def call_at(before: str) -> Call | None:
    """The call that a text ends in; None where it ends in none, or in a dict.

    Parameters
    ----------
    before : str
        A cell up to the cursor.
    """
    inside: list[Call] = []
    place, name, text = 0, "", None
    while text is None and (token := _TOKEN.match(before, place)):
        place = token.end()
        if mark := token["quote"]:
            end = re.compile(rf"((?:\\.|(?!{mark})[^\\])*){mark}", re.DOTALL).match(before, place)
            if end is None:
                text = before[place:]
            else:
                place = end.end()
                for call in inside:
                    call.given.append(end[1])
        elif bracket := token["open"]:
            inside.append(Call(name if bracket == "(" else "", is_dict=bracket == "{"))
        elif token["close"]:
            del inside[-1:]
        elif inside and token["comma"]:
            inside[-1].place += 1
            inside[-1].keyword = None
        elif inside and token["keyword"]:
            inside[-1].keyword = token["keyword"]
        name = token["name"] or ""
    while inside and not inside[-1].name and not inside[-1].is_dict:  # a list is a part of what it is given to
        inside.pop()
    if not inside or not inside[-1].name:
        return None
    inside[-1].text = text
    return inside[-1]
