"""Another query of tables of rows, from the gate to the cutover and back, on the real servers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pyarrow as pa
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.cutover import cut_over
from retailpulse_kernel.promotion.cutover.overview import runs_of
from retailpulse_kernel.promotion.cutover.retiring import retire
from retailpulse_kernel.promotion.cutover.staging import staging_of
from retailpulse_kernel.promotion.cutover.versions import resume_plan, rollback
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.promotion.gate.resume import Verdict, check_checkpoint
from retailpulse_kernel.promotion.gate.trial import Candidate
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import row_store
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch, new_epoch
from retailpulse_kernel.streaming.checkpoint.log import committed_batch
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan, write_plan
from tests.faults.handover import Runs
from tests.jobs import produce, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

Items = dict[str, int]


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    pipelines = tmp_path_factory.mktemp("rows") / "pipelines"
    made = Settings.load(namespace=f"t_rows_new_{os.getpid()}", pipelines=pipelines)
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


# -- tables of every store, without Spark ------------------------------------------------------

COLUMNS = (("user_id", "string"), ("items", "int"))
#: Another type of a column, and one column more.
OTHERS = (("user_id", "string"), ("items", "long"), ("score", "double"))


def table(name: str, store: str, query: str, columns: Any = COLUMNS, *, keyed: bool = True) -> TablePlan:
    key, mode = (("user_id",), "update") if keyed else ((), "append")
    return TablePlan(name, store, rows=RowsPlan(name, columns, key, mode, query, (("retail.events", "event_id"),)))


def plan_of(store: str, query: str, columns: Any = COLUMNS, *, keyed: bool = True) -> Plan:
    """Tables of the same form and of another one, and for Hive also without a key and with one or none."""
    tables = [table("stays", store, query), table("other", store, query, columns)]
    tables += [table("appended", store, query, keyed=False), table("form", store, query, keyed=keyed)]
    kept = {"cassandra": tables[:2], "hbase": tables[:2], "hive": tables, "kafka": [tables[0], tables[2]]}[store]
    return Plan(f"moved_{store}", "retail.events", "event_id", 1, (), "change", "count", tuple(kept))


#: The rows of the old query, of the new one, and what comes later.
FIRST, SECOND, MORE = {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 9, "d": 4}, {"e": 5}


def write(settings: Settings, plan: Plan, rows: Items, *, epoch: int, start_ms: int, batch: int) -> None:
    """Write rows as the plan's job does."""
    for one in plan.rows:
        form, store = one.row_table, row_store(one.store, settings)
        store.create_rows(form)
        found = [{name: {"user_id": user, "items": n}.get(name) for name in form.types} for user, n in rows.items()]
        by = MicroBatch(epoch, batch, start_ms + batch, f"{plan.job}/{one.name}")
        store.write_rows(form, pa.Table.from_pylist(found, schema=schema_of(form)), by=by)
        store.close()


def stored(settings: Settings, plan: Plan) -> dict[str, list[tuple[str, int]]]:
    """The rows of each table of a plan, in order."""
    found = {}
    for one in plan.rows:
        store = row_store(one.store, settings)
        rows = store.read_rows(one.row_table).to_pylist()
        found[one.name] = sorted((row["user_id"], row["items"]) for row in rows)
        store.close()
    return found


def test_what_was_sent_stays_and_goes_on(settings: Settings) -> None:
    old, new = plan_of("kafka", "q1"), plan_of("kafka", "q2")
    new = replace(new, tables=(*new.tables, table("alerts", "kafka", "q2", keyed=False)))
    begun(settings, old, new)
    cut_over(settings, new)
    first, second = sorted(FIRST.items()), sorted(SECOND.items())
    assert stored(settings, new) == {"stays": first, "appended": first, "alerts": second}, "a new topic is sent whole"
    epoch = find_epoch(f"{settings.checkpoints}/{new.job}")
    assert epoch is not None
    write(settings, new, MORE, epoch=epoch.number, start_ms=epoch.start_ms, batch=1)
    both, more = sorted((FIRST | MORE).items()), sorted((SECOND | MORE).items())
    assert stored(settings, new) == {"stays": both, "appended": both, "alerts": more}
    retire(settings, new.job)
    for one in new.rows:
        with closing(KafkaStore(settings)) as kafka, pytest.raises(NoSuchTable):
            kafka.read_rows(one.row_table)


def begun(settings: Settings, old: Plan, new: Plan) -> int:
    """A live epoch and a staged one, each with its rows; when the live one began."""
    staging, start_ms = staging_of(settings), int(datetime.now(UTC).timestamp() * 1_000) - 60_000
    ensure_topics(staging)
    for place, plan, rows in ((settings, old, FIRST), (staging, new, SECOND)):
        write_plan(new_epoch(f"{place.checkpoints}/{plan.job}", now_ms=start_ms).path, plan)
        write(place, plan, rows, epoch=1, start_ms=start_ms, batch=0)
    return start_ms


@pytest.mark.parametrize("store", ["cassandra", "hbase", "hive"])
def test_tables_are_replaced_and_come_back(settings: Settings, store: str) -> None:
    """With a key and without, of the same form and of another."""
    old, new = plan_of(store, "q1"), plan_of(store, "q2", OTHERS, keyed=False)
    start_ms = begun(settings, old, new)

    def all_are(plan: Plan, rows: Items) -> bool:
        return stored(settings, plan) == {one.name: sorted(rows.items()) for one in plan.rows}

    compared = cut_over(settings, new)
    # Of the same form one row is equal. Of another type only who is there is compared; without a key, whole rows.
    rows, differing = (4 + 4, 3 + 2) if store != "hive" else (4 + 4 + 5, 3 + 2 + 4)
    assert (compared.rows, compared.differing, compared.first) == (rows, differing, "stays b: items 2 -> 9")
    assert all_are(new, SECOND)
    now = find_epoch(f"{settings.checkpoints}/{new.job}")
    assert now is not None and now.number == 2
    # A writer of before that was only slow changes nothing of the keyed tables, and the job goes on.
    write(settings, replace(new, tables=new.tables[:2]), {"a": 77}, epoch=1, start_ms=start_ms, batch=9)
    write(settings, new, MORE, epoch=2, start_ms=now.start_ms, batch=1)
    assert all_are(new, SECOND | MORE)

    for plan, rows_then in ((old, FIRST), (new, SECOND | MORE)):
        back = resume_plan(settings, plan)
        assert back.kind == "earlier epoch" and back.epoch is not None
        cut_over(settings, plan, back.epoch)
        assert all_are(plan, rows_then)

    retire(settings, new.job)
    for place in (settings, staging_of(settings)):
        assert [one for one in tables_of(place, store) if one.startswith(("stays", "other", "app", "form"))] == []


def tables_of(settings: Settings, store: str) -> list[str]:
    with closing(row_store(store, settings)) as made:
        return made.tables()  # type: ignore[attr-defined]


# -- a job -------------------------------------------------------------------------------------

PARAMETERS = """from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there"""
IMPORTS = """import retailpulse_kernel as rp
from pyspark.sql import functions as F

job = rp.job("baskets", run=run)
events = job.events(watermark="10m")"""
SOLD = """sold = events.df.where("event_type = 'purchase'").groupBy("currency").agg(F.sum("quantity").alias("items"))
job.write(sold, to=rp.cassandra, table="sold", key=["currency"])"""
BOUGHT = """bought = events.df.where("event_type = 'purchase'").select("event_id", "quantity")
job.write(bought, to=rp.hive, table="bought")"""
ALERTS = """alerts = events.df.where("event_type = 'add_to_cart'").select("event_id", "quantity")
job.write(alerts, to=rp.kafka, topic="alerts")"""
RUN = "job.run()"
CELLS = (PARAMETERS, IMPORTS, SOLD, BOUGHT, ALERTS, RUN)

#: An edit: what is replaced by what, the verdict, and words of its reason.
EDITS: dict[str, tuple[str, str, str, str]] = {
    "comment": (RUN, "# nothing else\njob.run()", "resume", "the job computes the same as before"),
    "query": ('F.sum("quantity")', 'F.max("quantity").cast("long")', "new epoch", "the query of sold changed"),
    "columns": ('F.sum("quantity")', 'F.max("quantity")', "new epoch", "the columns of sold changed"),
    "key": ('key=["currency"]', 'key=["currency", "items"]', "new epoch", "the key of sold changed"),
    "sent query": ("'add_to_cart'", "'view'", "new epoch", "the rows of the new query from the cutover on"),
    "sent type": (
        "job.write(alerts",
        'alerts = alerts.withColumn("quantity", F.lit("1"))\njob.write(alerts',
        "refused",
        "write to a topic of another name",
    ),
    "one less": (BOUGHT, "", "resume", "bought is no longer written"),
    "one more": (RUN, 'job.write(events.df.select("event_id"), to=rp.hive, table="ids")\njob.run()', "resume",
                 "the table ids was added"),
}  # fmt: skip


def notebook(path: Path, *changes: tuple[str, str]) -> Path:
    content = nbformat.v4.new_notebook()
    content.metadata.kernelspec = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    for source in CELLS:
        for old, new in changes:
            source = source.replace(old, new)
        content.cells.append(nbformat.v4.new_code_cell(source))
    content.cells[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, path)
    return path


def feed(settings: Settings, seed: int, ago: timedelta) -> list[dict[str, Any]]:
    """Send events of 25 minutes, the first of them so long ago, and give them."""
    start = datetime.now(UTC) - ago
    generator = Generator(rate=1, seconds=1_500, seed=seed, start=start, users=100, duplicates=0.0, bad=0.0, late=0.0)
    messages = list(generator.messages())
    produce(settings, [(message.key, message.value) for message in messages])
    return [msgspec.json.decode(message.value or b"{}", type=dict[str, Any]) for message in messages]


def bought_by(events: list[dict[str, Any]], measure: Any) -> dict[str, int]:
    found: dict[str, list[int]] = {}
    for event in events:
        if event["event_type"] == "purchase":
            found.setdefault(event["currency"], []).append(event["quantity"])
    return {currency: measure(numbers) for currency, numbers in found.items()}


def rows_of(settings: Settings, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for one in plan.rows:
        with closing(row_store(one.store, settings)) as store:
            found[one.name] = store.read_rows(one.row_table).to_pylist()
    return found


def ids(events: list[dict[str, Any]], kind: str) -> Counter[str]:
    return Counter(event["event_id"] for event in events if event["event_type"] == kind)


@pytest.mark.long
def test_a_changed_query_takes_over_from_a_job_that_runs_and_goes_back(stack: Settings, tmp_path: Path) -> None:
    """The whole gate, beside a continuous run; all outputs change over at one boundary."""
    settings = Settings.load(namespace=f"t_rows_runs_{os.getpid()}", pipelines=tmp_path / "pipelines")
    drop(settings)
    ensure_topics(settings)
    parts = [feed(settings, 1, timedelta(hours=2))]
    changes = [(old, new) for old, new, *_ in (EDITS["query"], EDITS["sent query"])]
    first = promote(settings, notebook(tmp_path / "1" / "baskets.ipynb"), sample=500)
    assert first.ok and first.version is not None, first.steps
    plan = first.version.manifest.plan
    assert plan is not None
    production = Runs(settings, "baskets", tmp_path / "production.log")
    try:
        wait_until(lambda: all_have_taken(settings, len(parts[0])), "the first events")
        rows = rows_of(settings, plan)
        assert {row["currency"]: row["items"] for row in rows["sold"]} == bought_by(parts[0], sum)
        carts = ids(parts[0], "add_to_cart")
        assert carts and Counter(row["event_id"] for row in rows["alerts"]) == carts
        second = promote(settings, notebook(tmp_path / "2" / "baskets.ipynb", *changes), sample=500)
        assert second.ok and second.version is not None, second.steps
        assert second.verdict is not None and second.verdict.outcome == "new epoch", second.verdict
        said = [step.found for step in second.steps]
        assert "the cutover compares the rows of sold, bought in both versions, and then replaces them" in said
        assert any(one.startswith("in tables of rows, while the live job runs: ") for one in said), said
        wait_until(lambda: runs_of(settings, "baskets", limit=1)[0]["version"] == "v2", "the new version")
        parts.append(feed(settings, 2, timedelta(hours=1)))
        wait_until(lambda: all_have_taken(settings, len(parts[0]) + len(parts[1])), "the new version's events")
    finally:
        production.end()
    assert production.failures == 0, production.tail()
    other, both = second.version.manifest.plan, parts[0] + parts[1]
    assert other is not None
    rows = rows_of(settings, other)
    assert {row["currency"]: row["items"] for row in rows["sold"]} == bought_by(both, max)
    assert Counter(row["event_id"] for row in rows["bought"]) == ids(both, "purchase"), "each once"
    sent = carts + ids(parts[1], "view")
    assert Counter(row["event_id"] for row in rows["alerts"]) == sent, "the new query's from the cutover on"
    one_boundary(settings, other)

    back = rollback(settings, "baskets")
    assert "its own epoch 1" in back["state"], back
    parts.append(feed(settings, 3, timedelta(minutes=30)))
    both += parts[2]
    production = Runs(settings, "baskets", tmp_path / "production.log")
    try:
        wait_until(lambda: all_have_taken(settings, len(both)), "the first version's further events")
    finally:
        production.end()
    assert production.failures == 0, production.tail()
    rows = rows_of(settings, plan)
    assert {row["currency"]: row["items"] for row in rows["sold"]} == bought_by(both, sum)
    assert Counter(row["event_id"] for row in rows["bought"]) == ids(both, "purchase"), "each once"
    assert Counter(row["event_id"] for row in rows["alerts"]) == sent + ids(parts[1] + parts[2], "add_to_cart")
    one_boundary(settings, plan)
    judged(settings, tmp_path)
    drop(settings)


def all_have_taken(settings: Settings, messages: int) -> bool:
    """Whether every output of the newest epoch has committed so many messages."""
    epoch = find_epoch(f"{settings.checkpoints}/baskets")
    if epoch is None:
        return False
    done = [committed_batch(checkpoint_of(epoch.path, name), alone=True) for name in ("sold", "bought", "alerts")]
    return all(b is not None and sum(sum(ends.values()) for ends in b.offsets.values()) >= messages for b in done)


def judged(settings: Settings, folder: Path) -> None:
    """What the gate says of edits of the notebook."""
    shadow = Settings.load(namespace=f"{settings.namespace.name}_s")
    drop(shadow)
    ensure_topics(shadow)
    try:
        candidates = [
            Candidate(str(notebook(folder / f"{name.replace(' ', '_')}.ipynb", (old, new))))
            for name, (old, new, *_) in EDITS.items()
        ]
        baseline = Candidate(str(notebook(folder / "as_it_was.ipynb")))
        found = check_checkpoint(settings, shadow, "baskets", candidates, baseline=baseline)
    finally:
        drop(shadow)
    for (name, (*_, outcome, words)), verdict in zip(EDITS.items(), found, strict=True):
        assert_as_expected(name, verdict, outcome, words)


def assert_as_expected(name: str, verdict: Verdict, outcome: str, words: str) -> None:
    assert verdict.outcome == outcome, (name, verdict)
    assert words in "; ".join(verdict.reasons), (name, verdict)


def one_boundary(settings: Settings, plan: Plan) -> None:
    epoch = find_epoch(f"{settings.checkpoints}/baskets")
    assert epoch is not None
    ends = [committed_batch(checkpoint_of(epoch.path, output), alone=True) for output in plan.outputs]
    assert len({str(end and end.offsets) for end in ends}) == 1, "all queries end at the same offsets"
