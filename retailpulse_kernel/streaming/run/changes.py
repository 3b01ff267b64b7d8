"""What a change of a job's plan means for its checkpoint and its tables.

Spark asks only whether it can read the state. Whether the figures that it would go on with are still the same
figures is asked here, and answered in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from retailpulse_kernel.ground.calendars import UTC_CALENDAR
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.formats.opening import JSON
from retailpulse_kernel.stores.base import SentRows
from retailpulse_kernel.stores.registry import can
from retailpulse_kernel.streaming.checkpoint.outputs import forgotten, outputs_of
from retailpulse_kernel.streaming.plan.data import FieldPlan, FigurePlan, Plan, ReferencePlan, TablePlan
from retailpulse_kernel.streaming.plan.steps import changed_steps

__all__ = ["Difference", "Effect", "again", "compare", "is_sent"]


#: What another value of each means for a table of rows; the first that differs is told.
_ROWS = {
    "reads": "the query of {name} reads other topics: its state is of the old ones",
    "columns": "the columns of {name} changed: its rows so far have the old ones",
    "key": "the key of {name} changed: its rows so far have the old one",
    "mode": "the output mode of {name} changed: what was written so far follows the old one",
    "output": "the output of {name} has another name: its checkpoint goes by the old one",
    "query": "the query of {name} changed: its state, or the rows so far, are of the old one",
}
#: What becomes of the readers of a topic whose query has changed.
_FROM_HERE = "what was sent to {name} stays, and its readers get the rows of the new query from the cutover on"


class Effect(IntEnum):
    """What a difference asks for; the greatest decides."""

    RESUME = 1
    EPOCH = 2
    REFUSED = 3


@dataclass(frozen=True)
class Difference:
    """One difference of two plans.

    Attributes
    ----------
    what : str
        ``job``, ``topic``, ``contract``, ``format``, ``field``, ``words``, ``dedup key``, ``dedup horizon``,
        ``watermark``, ``filter``, ``expectation``, ``output``, ``rejects``, ``reference``, ``model``, ``table``,
        ``rows``, ``windows``, ``key``, ``figures``, ``measure`` or ``revision``.
    effect : Effect
        What it asks for.
    reason : str
        What changed, and what follows.
    """

    what: str
    effect: Effect
    reason: str


def compare(old: Plan, new: Plan) -> list[Difference]:
    """The differences of two plans, in the order in which a reader wants them.

    Parameters
    ----------
    old, new : Plan
        Of the same job.
    """
    parts = (
        _of_source, _of_formats, _of_expectations, _of_contract, _of_references, _of_models, _of_tables, _of_output,
    )  # fmt: skip
    return [difference for part in parts for difference in part(old, new)]


def _of_expectations(old: Plan, new: Plan) -> Iterator[Difference]:
    """What other events the job refuses, and what else it expects of them."""
    for topic in sorted({one.topic for plan in (old, new) for one in plan.expectations}):
        was, now = sorted(set(old.refuses(topic))), sorted(set(new.refuses(topic)))
        if was != now:
            before, after = (" and ".join(f"({one})" for one in found) or "all" for found in (was, now))
            reason = f"the events of {topic} that are not rejected changed from {before} to {after}"
            yield Difference("expectation", Effect.EPOCH, f"{reason}: what is there went by the old ones")
    watched = [{one for one in plan.expectations if one.otherwise != "reject"} for plan in (old, new)]
    if names := sorted({one.name for one in watched[0] ^ watched[1]}):
        reason = f"other expectations: {_words(names)} holds as it is now from the next batch on"
        yield Difference("expectation", Effect.RESUME, reason)


def _of_references(old: Plan, new: Plan) -> Iterator[Difference]:
    """What the reference tables mean that both join. One that only one of them joins shows in its query."""
    before, after = ({one.name: one for one in plan.references} for plan in (old, new))
    for name in sorted(before.keys() & after.keys()):
        for what, was, now in (
            ("key", _words(before[name].key), _words(after[name].key)),
            ("columns", _columns(before[name]), _columns(after[name])),
        ):
            if was != now:
                reason = f"the {what} of the reference table {name} changed from {was} to {now}"
                yield Difference("reference", Effect.EPOCH, f"{reason}: rows that are there went by the old one")


def _of_models(old: Plan, new: Plan) -> Iterator[Difference]:
    """Which models have another content. One that only one of both loads shows in the query that uses it."""
    before, after = dict(old.models), dict(new.models)
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            reason = f"the model {name} changed: rows that are there went by the old one"
            yield Difference("model", Effect.EPOCH, reason)


def _columns(table: ReferencePlan) -> str:
    return _words(f"{name} {kind}" for name, kind in table.columns)


def _of_formats(old: Plan, new: Plan) -> Iterator[Difference]:
    """How the messages of the topics are written that both read."""
    before, after = dict(old.formats), dict(new.formats)
    for topic in sorted({*old.topics} & {*new.topics}):
        was, now = before.get(topic, JSON), after.get(topic, JSON)
        if was != now:
            reason = f"the messages of {topic} were read as {was}, and now are as {now}"
            yield Difference("format", Effect.EPOCH, f"{reason}: what is there went by the old format")


def _of_contract(old: Plan, new: Plan) -> Iterator[Difference]:
    """What the fields that both read mean. One that only one of them reads shows in its tables or its filter."""
    before, after = ({(field.topic, field.name): field for field in plan.fields} for plan in (old, new))
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key) or _usual(old, after[key]), after.get(key) or _usual(new, before[key])
        if was is not None and now is not None and was != now:
            yield from _of_field(was, now)
    words = [dict(plan.words) for plan in (old, new)]
    for word in sorted(words[0].keys() | words[1].keys()):
        role = [known.get(word) for known in words]
        if None not in role and role[0] != role[1]:
            yield Difference(
                "words",
                Effect.EPOCH,
                f"the word {word} for an event had the role {role[0]}, and now has {role[1]}: "
                "figures that are there went by the old one",
            )
        elif role[0] != role[1]:
            said = "are events" if role[0] is None else "are bad"
            reason = f"messages with the event type {word} {said} from the next batch on"
            yield Difference("words", Effect.RESUME, reason)


def _usual(plan: Plan, field: FieldPlan) -> FieldPlan | None:
    """What a field is to a plan that does not list it; None where the plan says nothing of it.

    A standard field is listed only where it is elsewhere than under its name. A topic of which no field is listed has
    the standard event.
    """
    has_events = field.topic in plan.topics and all(one.topic != field.topic for one in plan.fields)
    known = shipped().by_name.get(field.name) if has_events or not field.topic else None
    return None if known is None else FieldPlan.describing(known, field.topic)


def _of_field(old: FieldPlan, new: FieldPlan) -> Iterator[Difference]:
    changes = [
        f"{what} changed from {before or 'none'} to {after or 'none'}"
        for what, before, after in (
            ("path", old.path, new.path),
            ("type", old.type, new.type),
            ("default", old.default, new.default),
        )
        if before != after
    ]
    if changes:
        reason = f"the field {new.label} has another meaning: its {_words(changes)}; older sums went by the old one"
        yield Difference("field", Effect.EPOCH, reason)
    if old.rules != new.rules:
        before, after = (_words(field.rules) or "none" for field in (old, new))
        reason = (
            f"the rules of the field {new.label} changed from {before} to {after}: they hold from the next batch on"
        )
        yield Difference("field", Effect.RESUME, reason)


def again(epoch: str, plan: Plan) -> list[str]:
    """The outputs of a plan that an epoch once had and forgot, in words.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    plan : Plan
        What is to go on in it.
    """
    known, there = forgotten(epoch), outputs_of(epoch)
    names = [table.rows.output for table in plan.rows if table.rows is not None]
    return [
        f"this epoch had the output {name} and gave it up: its micro-batches would have the same numbers once more"
        for name in names
        if name in known and name not in there
    ]


def _of_source(old: Plan, new: Plan) -> Iterator[Difference]:
    if old.job != new.job:
        yield Difference(
            "job",
            Effect.EPOCH,
            f"the job was renamed from {old.job} to {new.job}: a checkpoint goes by its job's name, "
            "so the new one begins with none",
        )
    if old.topic != new.topic:
        yield Difference(
            "topic",
            Effect.EPOCH,
            f"the topic changed from {old.topic} to {new.topic}: the checkpoint's offsets are those of the old one",
        )
    if old.contract != new.contract:
        yield Difference(
            "contract",
            Effect.EPOCH,
            f"the events' contract changed from version {old.contract} to {new.contract}: "
            "the same message may be another event",
        )
    if old.revision != new.revision:
        yield Difference(
            "revision",
            Effect.EPOCH,
            f"the same batch gave other figures in revision {new.revision or 'none'} than in {old.revision or 'none'}",
        )
    if old.unique_by != new.unique_by:
        yield Difference(
            "dedup key",
            Effect.EPOCH,
            f"the key of deduplication changed from {old.unique_by} to {new.unique_by}: "
            "the state remembers values of the old one, and what was counted once would count again",
        )
    if old.dedup_horizon_ms != new.dedup_horizon_ms:
        before, after = (
            _span(plan.watermark_ms if plan.dedup_horizon_ms is None else plan.dedup_horizon_ms) for plan in (old, new)
        )
        yield Difference(
            "dedup horizon",
            Effect.RESUME,
            f"ids are remembered {after} behind the watermark"
            # The same span where the horizon was the watermark's and no longer is, or the other way round.
            + (", as before" if before == after else f" instead of {before}: it holds from the next batch on"),
        )
    if old.conditions != new.conditions:
        yield Difference(
            "filter",
            Effect.EPOCH,
            f"the filter changed from {_filter(old)} to {_filter(new)}: "
            "open windows would mix both, and closed ones keep the old one",
        )
    if old.watermark_ms != new.watermark_ms:
        yield Difference(
            "watermark",
            Effect.RESUME,
            f"the watermark changed from {_span(old.watermark_ms)} to {_span(new.watermark_ms)}: "
            "it holds from the next batch on, what was called late stays late",
        )


def _of_tables(old: Plan, new: Plan) -> Iterator[Difference]:
    yield from _of_rows(old, new)
    before, after = ({t.name: t for t in plan.tables if t.rows is None} for plan in (old, new))
    gone = [table for name, table in before.items() if name not in after]
    for table in (table for name, table in after.items() if name not in before):
        source = next((t for t in gone if _content(t) == _content(table)), None)
        if source is not None:
            gone.remove(source)
            what = f"the table changed from {source.name} to {table.name}: the new one would lack every closed window"
        else:
            what = f"the table {table.name} was added: it would begin without its past"
        yield Difference("table", Effect.EPOCH, what)
    kept = _keeps_state(old, new)
    for name, table in after.items():
        if name in before:
            yield from _of_table(before[name], table, kept=kept)
    if gone:
        reason = f"{_words(table.name for table in gone)} is no longer written: its rows stay as they are"
        yield Difference("table", Effect.RESUME if kept else Effect.EPOCH, reason)
    yield from _of_order(old, new)


def _content(table: TablePlan) -> tuple[object, ...]:
    return (table.by, table.figures, table.every, table.calendar)


def _of_rows(old: Plan, new: Plan) -> Iterator[Difference]:
    """Tables of rows: each has a query and a checkpoint of its own, so one more or one less changes no other."""
    before, after = ({table.name: table for table in plan.rows} for plan in (old, new))
    for name in sorted(after.keys() - before.keys()):
        reason = f"the table {name} was added: its query reads the topic from the beginning"
        yield Difference("rows", Effect.RESUME, reason)
    for name in sorted(before.keys() - after.keys()):
        yield Difference("rows", Effect.RESUME, f"{name} is no longer written: its rows stay as they are")
    for name in sorted(after.keys() & before.keys()):
        yield from _of_row_table(before[name], after[name])


def _of_row_table(old: TablePlan, new: TablePlan) -> Iterator[Difference]:
    """What has changed of a table of rows, and what becomes of what its readers have."""
    name = new.name
    if old.store != new.store:
        reason = f"the table {name} moved from {old.store} to {new.store}: the new one would lack what is written"
        yield Difference("rows", Effect.EPOCH, reason)
    assert old.rows is not None and new.rows is not None
    changed = next((what for what in _ROWS if getattr(old.rows, what) != getattr(new.rows, what)), None)
    steps = changed_steps(old.rows.steps, new.rows.steps)
    if changed is None:
        if steps:  # how long a query waits; whatever else it does is its query
            yield Difference(
                "watermark", Effect.RESUME, f"in the query of {name}, {steps}: it holds from the next batch on"
            )
        return
    was, now = (_words(rows.key) or "none" for rows in (old.rows, new.rows))
    key = f"the key was {was}, and now is {now}" if was != now else ""
    reason = "; ".join(filter(None, (_ROWS[changed].format(name=name), key, steps)))
    if not (old.store == new.store and is_sent(new)):
        yield Difference("rows", Effect.EPOCH, reason)
    elif _is_other_form(old, new):
        remedy = "rows that were sent can't be taken back: write to a topic of another name"
        yield Difference("rows", Effect.REFUSED, f"{reason}; {remedy}")
    else:
        yield Difference("rows", Effect.EPOCH, f"{reason}; {_FROM_HERE.format(name=name)}")


def is_sent(table: TablePlan) -> bool:
    """Whether a table of rows is sent to readers, who keep what they have read.

    Parameters
    ----------
    table : TablePlan
        The table.
    """
    return table.rows is not None and can(table.store, SentRows)


def _is_other_form(old: TablePlan, new: TablePlan) -> bool:
    """Whether rows of the two can't stand beside one another: another key, or a column of another type."""
    assert old.rows is not None and new.rows is not None
    before = dict(old.rows.columns)
    return old.rows.key != new.rows.key or any(before.get(name, kind) != kind for name, kind in new.rows.columns)


def _keeps_state(old: Plan, new: Plan) -> bool:
    """Whether everything that is left has the place in the state that it had."""
    names = [[figure.name for figure in plan.state] for plan in (old, new)]
    return old.keys == new.keys and names[0] == names[1] and new.slots == old.slots[: len(new.slots)]


def _of_table(old: TablePlan, new: TablePlan, *, kept: bool) -> Iterator[Difference]:
    name = new.name
    if old.store != new.store:
        yield Difference(
            "table",
            Effect.EPOCH,
            f"the table {name} moved from {old.store} to {new.store}: the new one would lack every closed window",
        )
    if old.by != new.by:
        yield Difference(
            "key",
            Effect.EPOCH,
            f"the grouping key of {name} changed from {_words(old.by)} to {_words(new.by)}: "
            "the state can't be reused, and the table is made anew",
        )
    if set(old.every) != set(new.every):
        lost = _words(p for p, grain in zip(old.physical, old.every, strict=True) if grain not in new.every)
        yield Difference(
            "windows",
            Effect.RESUME if kept else Effect.EPOCH,
            f"{lost} is no longer written: its rows stay as they are"
            if kept
            else f"the grouping key of {name} changed from {_words(old.widths)} to {_words(new.widths)}: "
            "the state can't be reused",
        )
    elif old.calendar != new.calendar:
        before, after = (_calendar(table) for table in (old, new))
        yield Difference(
            "windows",
            Effect.EPOCH,
            f"the windows of {name} were counted {before}, and now are {after}: they begin at other moments, and the "
            "table is made anew",
        )
    yield from _of_figures(name, old.figures, new.figures)


def _calendar(table: TablePlan) -> str:
    calendar = table.calendar or UTC_CALENDAR
    return f"in {calendar.zone} with weeks from {calendar.week_start.capitalize()}"


def _of_figures(table: str, old: Sequence[FigurePlan], new: Sequence[FigurePlan]) -> Iterator[Difference]:
    before, after = ({figure.name: figure for figure in figures} for figures in (old, new))
    for names, done in ((after.keys() - before.keys(), "added to"), (before.keys() - after.keys(), "removed from")):
        for name in sorted(names):
            reason = f"the figure {name} was {done} {table}: same keys, new state schema"
            yield Difference("figures", Effect.EPOCH, reason)
    for name in before.keys() & after.keys():
        if before[name] != after[name]:
            yield Difference(
                "measure",
                Effect.EPOCH,
                f"the figure {name} of {table} is now {_figure(after[name])}, it was {_figure(before[name])}: "
                "open windows would mix both, and closed ones keep the old one",
            )


def _of_order(old: Plan, new: Plan) -> Iterator[Difference]:
    """What keeps its type but changes its place: Spark would take one for the other."""
    names = [[figure.name for figure in plan.state] for plan in (old, new)]
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        yield Difference(
            "figures",
            Effect.EPOCH,
            f"the figures stand in another order, {_words(names[1])}: the state keeps them by their place, "
            "and one would be taken for another",
        )
    if old.slots != new.slots and sorted(old.slots) == sorted(new.slots):
        yield Difference(
            "windows",
            Effect.EPOCH,
            "tables or windows stand in another order: the state keeps them by their place, "
            "and one would be taken for another",
        )


def _of_output(old: Plan, new: Plan) -> Iterator[Difference]:
    if old.output != new.output:
        yield Difference(
            "output",
            Effect.EPOCH,
            f"windows were written at {old.output!r}, and are now at each change: open ones that do not change again "
            "would never be written",
        )
    if old.rejects != new.rejects:
        verb = "are published" if new.rejects == "publish" else "are only counted"
        yield Difference("rejects", Effect.RESUME, f"bad and late messages {verb} from the next batch on")


def _filter(plan: Plan) -> str:
    return " and ".join(f"({condition})" for condition in plan.conditions) or "none"


def _figure(figure: FigurePlan) -> str:
    return f"{figure.label} of {figure.of}" + (f" where {figure.where}" if figure.where else "")


def _span(ms: int) -> str:
    seconds = timedelta(milliseconds=ms).total_seconds()
    size, unit = next(
        (s, u) for s, u in ((3600, "h"), (60, "min"), (1, "s")) if s == 1 or (seconds >= s and not seconds % s)
    )
    return f"{seconds / size:g} {unit}"


def _words(names: Iterable[str]) -> str:
    return ", ".join(names)
