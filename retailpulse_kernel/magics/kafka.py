"""``%kafka``: topics, what they hold, and what is sent to them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from IPython.core.magic import line_magic, magics_class, needs_local_scope, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.magics.base import StoreMagics, options
from retailpulse_kernel.stores.frames import to_frame

__all__ = ["COMMANDS", "KafkaMagics"]

COMMANDS = ("consume", "offsets", "produce", "tail", "topics")


@magics_class
class KafkaMagics(StoreMagics):
    """Commands for Kafka."""

    @needs_local_scope
    @no_var_expand
    @magic_arguments()
    @options
    @argument("--last", metavar="SPAN", help="how far back, 30s, 10m, 2h or 1d; for tail 10m when absent")
    @argument("--since", metavar="TIME", help="consume: from this time on; from the beginning when absent")
    @argument("--until", metavar="TIME", help="consume: up to this time")
    @argument("--key", default="user_id", metavar="FIELD", help="produce: the field that is the messages' key")
    @argument("--topic", metavar="TOPIC", help="produce: where to; the namespace's events when absent")
    @argument("command", nargs="?", default="topics", choices=COMMANDS, help="topics when absent")
    @argument("what", nargs="?", help="a topic (the events' when absent), dlq, late or progress; produce: :records")
    @line_magic
    def kafka(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Read from Kafka, or send to it.

        A word ``:name`` is the value of that variable. Examples::

            %kafka topics
            %kafka tail --last 10m --into events
            %kafka tail dlq --limit 20
            %kafka consume late --since 2026-11-24T10:00 --until :noon
            %kafka produce :records --key user_id
        """
        given = self.parsed(self.kafka, line)
        variables = self.variables(local_ns)
        what, since, until, last = (variables.word(word) for word in (given.what, given.since, given.until, given.last))
        started = time.monotonic()
        kafka = self.bench(given.profile).kafka
        if given.command == "produce":
            topic = variables.word(given.topic)
            sent = kafka.produce(_records(what), topic, key=given.key)
            print(f"{sent:,} messages sent and acknowledged · {time.monotonic() - started:.1f} s")
            return None
        if given.command == "topics":
            frame = kafka.topics()
        elif given.command == "offsets" or given.explain:
            rows = [(place, first, end, end - first) for place, (first, end) in sorted(kafka.offsets(what).items())]
            if given.explain:
                print("No index but time: of each partition, messages are read from that time's offset on.")
            names = ["partition", "first", "next", "messages"]
            frame = to_frame(names, rows, dict.fromkeys(range(4), "integer"))
        elif given.command == "tail":
            with unsaid():
                frame = kafka.tail(what, last=last or "10m", limit=given.limit)
        else:
            with unsaid():
                frame = kafka.consume(what, since=since, until=until, last=last, limit=given.limit)
        return self.finish(frame, given, started)


def _records(what: Any) -> list[dict[str, Any]]:
    """A frame's rows, or a list of dicts, or one."""
    if hasattr(what, "to_dict"):  # pandas
        return list(what.to_dict("records"))
    if hasattr(what, "to_dicts"):  # polars
        return list(what.to_dicts())
    records = [what] if isinstance(what, Mapping) else what
    if not isinstance(records, (list, tuple)) or not all(isinstance(record, Mapping) for record in records):
        raise UsageError(
            "produce sends a variable's records.", remedy="Write `%kafka produce :records`, a list of dicts or a frame."
        )
    return [dict(record) for record in records]
