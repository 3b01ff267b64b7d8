"""What the magics share: options, the notebook's variables, and how a result is shown."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic import Magics
from IPython.core.magic_arguments import argument, parse_argstring

from retailpulse_kernel.ground.errors import UnknownName, UsageError, did_you_mean
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.stores.binding import Dialect, names_in, plain_value
from retailpulse_kernel.stores.frames import Form, shaped
from retailpulse_kernel.workbench.default import connect, default_workbench

if TYPE_CHECKING:
    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["COUNT_SECONDS", "StoreMagics", "Variables", "options", "split_options"]

#: Rows that a magic fetches when it is not told how many.
LIMIT = 1_000
#: Seconds for which rows beyond the limit are still counted.
COUNT_SECONDS = 1.0

_TOKEN = re.compile(r"""\s*((?:[^\s'"]|'[^']*'|"[^"]*")+)""")
_WORD = re.compile(
    r"""(?P<name>[a-z]+=)?(?:'(?P<single>[^']*)'(?!\S)|"(?P<double>[^"]*)"(?!\S))|(?P<plain>\S+)""", re.DOTALL
)
_NAME = re.compile(r"[A-Za-z_]\w*")
#: What other magics draw with.
_PLOTS = ("--plot", "--chart")

F = TypeVar("F", bound=Callable[..., Any])


def _limit(text: str) -> int | None:
    if text in ("all", "none"):
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("a number of rows, or 'all'")
    return int(text)


def options(function: F) -> F:
    """The options that every magic has.

    Parameters
    ----------
    function : F
        A magic, below ``magic_arguments()``.
    """
    for add in reversed(
        (
            argument("--into", metavar="NAME", help="keep the frame as this variable, and show only how many rows"),
            argument("--limit", type=_limit, default=LIMIT, metavar="N", help=f"at most N rows, or 'all'; {LIMIT:,}"),
            argument("--profile", metavar="NAME", help="the servers of this profile, for this cell alone"),
            argument("--explain", action="store_true", help="show how the server does it"),
            argument("--as", dest="as_", default="pandas", choices=get_args(Form), help="kind of frame"),
        )
    ):
        function = add(function)
    return function


def split_options(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    """The options that a text begins with, and what follows them, as it is.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The magic's.
    text : str
        A magic's line, or its line and cell.

    Raises
    ------
    UsageError
        An option does not exist.
    """
    known, place = parser._option_string_actions, 0
    while (match := _TOKEN.match(text, place)) and match[1].startswith("--") and match[1] != "--":
        name, equals, _ = match[1].partition("=")
        if name in _PLOTS:
            raise UsageError(
                f"There is no option {name}: a magic gives a frame, and does not draw.",
                remedy="Keep the frame with `--into top`, and draw it in the next cell: `import plotly.express as px`, "
                "then `px.bar(top, x=..., y=...)`, or `bars(top, VALUES, LABELS, TITLE)` from "
                "`retailpulse_kernel.live.drawing`.",
            )
        if name not in known:
            raise UnknownName("option", name, [option for option in known if option.startswith("--")])
        place = match.end()
        if not equals and known[name].nargs != 0 and (value := _TOKEN.match(text, place)):
            place = value.end()
    return text[:place], text[place:].strip()


class StoreMagics(Magics):
    """The base of our magics."""

    def parsed(self, magic: Any, text: str) -> argparse.Namespace:
        """Options and arguments of a magic's line.

        Parameters
        ----------
        magic : object
            The decorated method.
        text : str
            The magic's line.

        Raises
        ------
        UsageError
            They can't be read.
        """
        try:
            return parse_argstring(magic, text)
        except (IPythonUsageError, ValueError) as error:
            raise UsageError(
                f"%{magic.__name__}: {error}.", remedy=f"`%{magic.__name__}?` shows its options."
            ) from None

    def bench(self, profile: str | None) -> Workbench:
        """The default workbench, or that of a profile, whose connections stay open for the next cell.

        Parameters
        ----------
        profile : str or None
            A name or the path of a file; the default workbench for None.
        """
        default = default_workbench()
        if profile is None or profile == default.settings.profile_name:
            return default
        namespace = default.settings.namespace_name
        if (profile, namespace) not in _others:
            _others[profile, namespace] = connect(profile, namespace)
        return _others[profile, namespace]

    def variables(self, local_ns: Mapping[str, Any] | None) -> Variables:
        """What ``:name`` may stand for.

        Parameters
        ----------
        local_ns : mapping or None
            The calling function's; the notebook's own when None.
        """
        return Variables({**(self.shell.user_ns if self.shell else {}), **(local_ns or {})})

    def finish(self, frame: Any, given: argparse.Namespace, started: float) -> Any:
        """Say how many rows there are, and keep the frame or hand it to the cell.

        Parameters
        ----------
        frame : object
            What the store gave.
        given : argparse.Namespace
            The magic's options.
        started : float
            When the magic began, seconds of `time.monotonic`.
        """
        with unsaid():  # the line below says it
            shown = shaped(frame, given.as_)
        said = f"{_rows(frame)} · {time.monotonic() - started:.1f} s"
        if given.into is None:
            print(said)
            return shown if len(frame.columns) else None
        if not _NAME.fullmatch(given.into):
            raise UsageError(f"{given.into!r} is not a variable's name.", remedy="Write --into name.")
        if self.shell is not None:
            self.shell.user_ns[given.into] = shown
        print(f"{given.into}: {said}")
        return None


_others: dict[tuple[str, str], Workbench] = {}


class Variables(dict[str, Any]):
    """The notebook's variables; one that is not there is named, with the nearest that is."""

    def __missing__(self, name: str) -> Any:
        raise UsageError(
            f"The notebook has no variable {name!r}, which :{name} stands for.",
            remedy=f"{did_you_mean(name, self.names())}Set it in a cell before this one: `{name} = ...`.",
        )

    def of(self, statement: str, dialect: Dialect) -> dict[str, Any]:
        """The values of a statement's parameters.

        Parameters
        ----------
        statement : str
            With ``:name`` for each parameter.
        dialect : Dialect
            Says what a string and a comment are.
        """
        return {name: self[name] for name in names_in(statement, dialect)}

    def names(self) -> list[str]:
        """Those that a person has set to something that can be bound."""
        found = []
        for name, value in self.items():
            if name.startswith("_") or name in ("In", "Out", "exit", "quit", "get_ipython") or callable(value):
                continue
            try:
                plain_value(name, value)
            except (UsageError, ValueError, TypeError):
                continue
            found.append(name)
        return found

    def word(self, word: str | None) -> Any:
        """What a word of a line stands for: the variable's value where it begins with a colon.

        Parameters
        ----------
        word : str or None
            A word of a magic's line.
        """
        return self[word[1:]] if word and word.startswith(":") and _NAME.fullmatch(word[1:]) else word

    def words(self, text: str) -> list[Any]:
        """The words of a line, each as `word` gives it.

        Parameters
        ----------
        text : str
            A magic's line.
        """
        return [self.word(word) for word in words_of(text)]


def words_of(text: str) -> list[str]:
    """The words of a line; one that is quoted as a whole may hold spaces, quotes within a word are part of it.

    Parameters
    ----------
    text : str
        A magic's line.

    >>> words_of("get t o'brien#1 'two words' prefix='a b'")
    ['get', 't', "o'brien#1", 'two words', 'prefix=a b']
    """
    return [
        f"{match['name'] or ''}{match['single'] or match['double'] or match['plain'] or ''}"
        for match in _WORD.finditer(text)
    ]


def _rows(frame: Any) -> str:
    """How much of a result this is: a cut is always told."""
    count, note = len(frame), frame.attrs.get("note")
    if not len(frame.columns):
        return "done"
    if note:
        return f"{note}: --limit all gives all" if frame.attrs.get("more") else f"{count:,} rows. {note}."
    return f"{count:,} row{'' if count == 1 else 's'}"
