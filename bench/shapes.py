"""What other forms of messages cost: decoding for a job and for a frame, as a ratio to the plain event.

Nothing but the decoders is measured, in this process and in the processor's time, the forms by turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final, NamedTuple

import orjson
from rich.console import Console

from bench.results import Figure, Target, number
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.stores.kafka.messages import CHUNK, MessageTable
from retailpulse_kernel.streaming.intake.parsing import parse_events

__all__ = ["FORMS", "measure"]

_TARGET: Final = Target(0.8)
#: What a job of categories reads of each event.
_COLUMNS: Final = ("event_type", "category", "currency", "price", "quantity", "user_id", "order_id", "order_line")
_FIELDS: Final = """
[fields.device]
path = "context.device"
default = "unknown"
dimension = true

[fields.points]
type = "int"
"""


class Form(NamedTuple):
    """A form of messages.

    Attributes
    ----------
    title : str
        What is other than in the plain event.
    change : callable
        Makes a message's fields of the plain ones and the message's number.
    fields : str
        A contract's further fields, TOML.
    """

    title: str
    change: Callable[[dict[str, Any], int], Mapping[str, Any]]
    fields: str = ""


def _time(form: Callable[[datetime], Any]) -> Callable[[dict[str, Any], int], Mapping[str, Any]]:
    def change(event: dict[str, Any], number: int) -> Mapping[str, Any]:
        moment = datetime.fromisoformat(event["event_time"]) + timedelta(microseconds=number % 1_000)
        return event | {"event_time": form(moment)}

    return change


def _number(event: dict[str, Any], number: int) -> Mapping[str, Any]:
    return event | ({"price": orjson.Fragment(event["price"])} if "price" in event else {})


def _more(event: dict[str, Any], number: int) -> Mapping[str, Any]:
    """Ten more fields, four of them within others."""
    return event | {
        "context": {
            "device": ("phone", "desktop")[number % 2],
            "os": "Android",
            "locale": "de-DE",
            "page": f"/p/{number}",
        },
        "points": number % 100,
        "referrer": "https://shop.example/spring",
        "campaign": "spring",
        "experiment": "b",
        "ab_share": 0.25,
        "is_member": number % 3 == 0,
    }


def _plain(event: dict[str, Any], number: int) -> Mapping[str, Any]:
    return event


#: The forms by their names; the first one is what the others are compared with.
FORMS: Final[dict[str, Form]] = {
    "plain": Form("the plain event", _plain),
    "microseconds": Form("times in microseconds", _time(lambda t: t.isoformat().replace("+00:00", "Z"))),
    "offset": Form("times with +00:00", _time(lambda t: t.isoformat(timespec="milliseconds"))),
    "epoch": Form("times in milliseconds since 1970", _time(lambda t: round(t.timestamp() * 1_000))),
    "numbers": Form("prices as JSON numbers", _number),
    "more": Form("ten more fields, two of them read", _more, _FIELDS),
}


def measure(console: Console, *, events: int, rounds: int) -> list[Figure]:
    """Decode the messages of each form, by turns.

    Parameters
    ----------
    console : Console
        Where progress is told.
    events : int
        Messages of each form.
    rounds : int
        How often each is decoded.
    """
    generator = Generator(rate=events / 300, seconds=300, seed=4, start=datetime.now(UTC) - timedelta(minutes=5))
    plain = [orjson.loads(message.value or b"{}") for message in generator.messages()]
    made = {
        name: [orjson.dumps(form.change(event, number)) for number, event in enumerate(plain)]
        for name, form in FORMS.items()
    }
    contracts = {name: _contract(form) for name, form in FORMS.items()}
    samples: dict[tuple[str, str], list[float]] = {(way, name): [] for way in _WAYS for name in FORMS}
    for turn in range(1, rounds + 1):
        for (way, name), rates in samples.items():
            begin = time.process_time()
            _WAYS[way](made[name], contracts[name])
            rates.append(sum(map(len, made[name])) / (time.process_time() - begin))
        console.print(f"round {turn}: shapes done")
    return [_figure(way, name, samples, made[name]) for way, name in samples if name != "plain"]


def _figure(way: str, name: str, samples: dict[tuple[str, str], list[float]], messages: list[bytes]) -> Figure:
    """The bytes a second of a form over those of the plain event in the same round."""
    size = sum(map(len, messages)) / len(messages)
    ratios = [found / plain for found, plain in zip(samples[way, name], samples[way, "plain"], strict=True)]
    rate, of_plain = median(samples[way, name]) / size, median(samples[way, "plain"])
    note = f"bytes a second; {number(rate)} messages/s of {size:.0f} bytes, the plain event {of_plain / 1e6:.0f} MB/s"
    return Figure(f"{way}: {FORMS[name].title}", "of plain", ratios, target=_TARGET, note=note)


def _contract(form: Form) -> Contract:
    return read_contract(form.fields, name="shop.toml", base=shipped()).decoding if form.fields else shipped()


def _for_a_job(messages: list[bytes], contract: Contract) -> None:
    columns = (*_COLUMNS, *(field.name for field in contract.own))
    for start in range(0, len(messages), 5_000):
        part = messages[start : start + 5_000]
        parsed = parse_events(part, [-1] * len(part), columns, contract)
        assert parsed.events.num_rows == len(part)


def _for_a_frame(messages: list[bytes], contract: Contract) -> None:
    table = MessageTable(contract)
    for start in range(0, len(messages), CHUNK):
        part = messages[start : start + CHUNK]
        table.add([0] * len(part), range(start, start + len(part)), [0] * len(part), part)
    assert len(table.frame(None, of_events=True)) == len(messages)


_WAYS: Final = {"job": _for_a_job, "tail": _for_a_frame}
