"""Promotion without servers: what a change means, what a notebook must be, versions and the way between them."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.ground.errors import JobError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.environment import Environment, sha256_of
from retailpulse_kernel.notebooks.files import read_notebook
from retailpulse_kernel.promotion.cutover.overview import overview, runs_folder, runs_of
from retailpulse_kernel.promotion.cutover.production import run_current
from retailpulse_kernel.promotion.cutover.versions import ResumePlan, require_contract, resume_plan, rollback
from retailpulse_kernel.promotion.gate.gate import _is_same as same_version
from retailpulse_kernel.promotion.gate.isolation import explained
from retailpulse_kernel.promotion.gate.ownership import name_of, other_writer
from retailpulse_kernel.promotion.gate.resume import judge
from retailpulse_kernel.promotion.gate.snapshot import Snapshot, snapshot
from retailpulse_kernel.promotion.gate.static import static_problems
from retailpulse_kernel.promotion.gate.trial import Started, Tried
from retailpulse_kernel.promotion.registry.diffing import Diff, diff_versions
from retailpulse_kernel.promotion.registry.manifest import Manifest, Step, read_manifest
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.promotion.registry.schedules import check_schedule
from retailpulse_kernel.shop import figures as metrics
from retailpulse_kernel.shop.contract.loading import contract_of, shipped
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, new_epoch, open_local
from retailpulse_kernel.streaming.checkpoint.files import write_note
from retailpulse_kernel.streaming.checkpoint.writer import writer_lock
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, RowsPlan, TablePlan, write_plan
from retailpulse_kernel.streaming.run.changes import Effect, compare
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.run.runner import Runner
from tests.jobs import JOBS
from tests.memory import MemoryStore

EVENTS = FigurePlan("events", "count", "1", "")
UNITS = FigurePlan("units", "sum", "quantity", "purchase - refund")
REVENUE = FigurePlan("revenue", "money", "price * quantity", "purchase - refund")
CATEGORY = TablePlan(
    "category", "cassandra", ("minute", "hour", "day"), ("currency", "category"), (EVENTS, UNITS, REVENUE)
)
USER = TablePlan("user", "hbase", ("day",), ("currency", "user_id"), (EVENTS, REVENUE))
PLAN = Plan("metrics", "retail.events", "event_id", 600_000, (), "change", "publish", (CATEGORY,))
#: Another watermark, and ids remembered for as long as the old one.
APART = replace(PLAN, watermark_ms=300_000, dedup_horizon_ms=600_000)
TWO = replace(PLAN, tables=(CATEGORY, USER))


def table(**changes: object) -> Plan:
    return replace(PLAN, tables=(replace(CATEGORY, **changes),))  # type: ignore[arg-type]


ARCHIVE = replace(PLAN, job="archive", tables=(TablePlan("events", "hive"),))
IN_SPARK = table(figures=(EVENTS, FigurePlan("first_price", "first", "price", "")))


class TestComparing:
    @pytest.mark.parametrize(
        ("old", "new", "effect", "words"),
        [
            (PLAN, replace(PLAN, watermark_ms=300_000), Effect.RESUME, "from 10 min to 5 min"),
            (
                PLAN,
                replace(PLAN, dedup_horizon_ms=60_000),
                Effect.RESUME,
                "remembered 1 min behind the watermark instead of 10",
            ),
            (PLAN, APART, Effect.RESUME, "remembered 10 min behind the watermark, as before"),
            (APART, PLAN, Effect.RESUME, "remembered 10 min behind the watermark, as before"),
            (PLAN, replace(PLAN, rejects="count"), Effect.RESUME, "only counted"),
            (replace(PLAN, output="close"), PLAN, Effect.EPOCH, "at 'close', and are now at each change"),
            (PLAN, table(every=("minute", "hour")), Effect.RESUME, "category_day is no longer written"),
            (TWO, PLAN, Effect.EPOCH, "user is no longer written"),  # its key leaves the state's schema
            (PLAN, TWO, Effect.EPOCH, "user was added"),
            (TWO, replace(TWO, tables=(USER, CATEGORY)), Effect.EPOCH, "another order"),
            (TWO, replace(TWO, tables=(replace(CATEGORY, every=("minute", "hour")), USER)), Effect.EPOCH, "can't be"),
            (PLAN, table(every=("hour", "day")), Effect.EPOCH, "from minute, hour, day to hour, day: the state can't"),
            (PLAN, table(every=("hour", "minute", "day")), Effect.EPOCH, "another order"),
            (PLAN, table(by=("currency", "brand")), Effect.EPOCH, "grouping key of category changed"),
            (PLAN, table(by=("category", "currency")), Effect.EPOCH, "grouping key of category changed"),
            (PLAN, table(figures=(EVENTS, UNITS)), Effect.EPOCH, "revenue was removed"),
            (PLAN, table(figures=(UNITS, EVENTS, REVENUE)), Effect.EPOCH, "another order"),
            (PLAN, table(figures=(EVENTS, replace(UNITS, where="purchase"), REVENUE)), Effect.EPOCH, "it was sum of"),
            (PLAN, table(name="shelf"), Effect.EPOCH, "from category to shelf"),
            (PLAN, table(store="hbase"), Effect.EPOCH, "moved from cassandra to hbase"),
            (PLAN, replace(PLAN, conditions=("quantity > 1",)), Effect.EPOCH, "from none to (quantity > 1)"),
            (PLAN, replace(PLAN, unique_by="order_id"), Effect.EPOCH, "from event_id to order_id"),
            (PLAN, replace(PLAN, topic="retail.clicks"), Effect.EPOCH, "topic changed"),
            (PLAN, replace(PLAN, job="sales"), Effect.EPOCH, "renamed from metrics to sales"),
        ],
    )
    def test_a_difference_says_what_follows(self, old: Plan, new: Plan, effect: Effect, words: str) -> None:
        found = compare(old, new)
        assert max(difference.effect for difference in found) is effect
        assert words in "; ".join(difference.reason for difference in found)

    def test_the_same_is_no_difference(self) -> None:
        assert compare(TWO, TWO) == []


class TestJudging:
    COPIED = Snapshot(Path("e0001"), 7, 500)

    @pytest.mark.parametrize(
        ("plan", "copy", "fresh", "outcome", "words"),
        [
            (PLAN, Started(batches=2, rows=9, compared=9), None, "resume", "the job computes the same as before"),
            (
                PLAN,
                Started(compared=9, differing=1, first="k: 1 -> 2"),
                None,
                "new epoch",
                "other figures .* k: 1 -> 2",
            ),
            (PLAN, Started("no state"), Started(), "new epoch", "can't continue .* no state"),
            (PLAN, Started("no state"), Started("no column"), "refused", "no column"),
            (PLAN, Started("the key is ambiguous", refused=True), None, "refused", "^the key is ambiguous$"),
            (table(name="x"), Started("the key is ambiguous", refused=True), None, "refused", "is ambiguous"),
            (replace(PLAN, watermark_ms=1), Started(compared=9, differing=1), None, "resume", "watermark"),
            (table(name="x"), Started(batches=2), None, "new epoch", "from category to x"),
        ],
    )
    def test_both_questions_have_to_be_answered(
        self, plan: Plan, copy: Started, fresh: Started | None, outcome: str, words: str
    ) -> None:
        verdict = judge(PLAN, Tried(1, None, plan, copy, fresh), self.COPIED, compared=True)
        assert verdict.outcome == outcome
        assert re.search(words, "; ".join(verdict.reasons))

    def test_the_columns_that_were_compared_are_named_where_the_versions_have_others(self) -> None:
        copy = Started(batches=1, rows=3, compared=3, columns="currency of sold")
        verdict = judge(PLAN, Tried(1, None, PLAN, copy), self.COPIED, compared=True)
        said = "the job's 3 rows equal those of the live version in the columns that both have: currency of sold"
        assert said in verdict.evidence

    def test_a_checkpoint_that_nothing_tells_of_is_not_gone_on_from(self) -> None:
        verdict = judge(None, Tried(1, None, PLAN, Started(batches=1)), self.COPIED, compared=False)
        assert verdict.outcome == "new epoch"


def notebook(path: Path, *cells: str, parameters: str = "rate: int = 1", kernel: str = "python3") -> Path:
    content = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Job"),
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            *(nbformat.v4.new_code_cell(cell) for cell in cells or ["print(rate)"]),
        ],
        metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
    )
    nbformat.write(content, path)
    return path


class TestStatic:
    @pytest.mark.parametrize("job", JOBS)
    def test_the_projects_own_jobs_pass(self, job: str) -> None:
        assert static_problems(job_notebook(job), {}) == []

    @pytest.mark.parametrize(
        ("cell", "said"),
        [
            ("open('/home/me/data.csv', rate)", "absolute path '/home/me/data.csv'"),
            ("x = 'file:///srv/data', rate", "absolute path"),
            ("x = '~/data', rate", "absolute path"),
            ("%run /opt/tools/x.py {rate}", "absolute path '/opt/tools/x.py'"),
            ("password = 'hunter2'; rate", "gives 'password' a value"),
            ("connect(api_key='abc', rate=rate)", "gives 'api_key' a value"),
            ("conf = {'sasl.password': 'x'}; rate", "gives 'sasl.password' a value"),
            ("x = 'AKIAABCDEFGHIJKLMNOP'; rate", "looks like a secret"),
            ("x = 'postgres://me:hunter2@db/shop'; rate", "looks like a secret"),
            ("rp.connect(namespace='live'); rate", "bound to the namespace 'live'"),
            ("rp.connect('cluster'); rate", "bound to the profile 'cluster'"),
            ("print(1)", "'rate' of job.ipynb is never read"),
        ],
    )
    def test_a_problem_is_named(self, tmp_path: Path, cell: str, said: str) -> None:
        problems = static_problems(notebook(tmp_path / "job.ipynb", cell), {})
        assert len(problems) == 1 and said in problems[0]

    @pytest.mark.parametrize(
        "cell",
        [
            "'''It is 1/2 or /none/.'''; rate",
            "password = 'env:SHOP'; rate",
            "x = 'a/b', 'Europe/Berlin', '/', rate",
            "url = '/products/123', '/api/v1/{id}', r'\\d+/\\w+'; rate",
            "import sqlite3; sqlite3.connect('local.db'); rate",
            "client.load('model', profile='fast'); rate",
            "token_limit: int = 5; max_token = 256; rate",
        ],
    )
    def test_what_only_looks_like_one_passes(self, tmp_path: Path, cell: str) -> None:
        assert static_problems(notebook(tmp_path / "job.ipynb", cell), {}) == []

    def test_outputs_kernel_and_types(self, tmp_path: Path) -> None:
        path = notebook(tmp_path / "job.ipynb", "print(rate)", parameters="rate = None", kernel="cobol")
        content = read_notebook(path)
        content.cells[-1].execution_count = 1
        nbformat.write(content, path)
        assert [problem.split(".")[0] for problem in static_problems(path, {})] == [
            "The parameter 'rate' has no type",
            "There is no kernel 'cobol' here",
            "Cell 3 has outputs",
        ]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_promotion")


def manifest(version: int, plan: Plan | None = PLAN, **changes: object) -> Manifest:
    made = Manifest(
        "metrics", version, "metrics.ipynb", "", "stream", "@continuous", "# Job", "2026-01-01T00:00:00+00:00",
        {"rate": "1"}, Environment("0.1.0", "3.11.7", "ab" * 32, "cd" * 20), "resume", ("nothing has changed",),
        (Step("parameters", "1 typed, all read", "ok"),), plan,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


DEVICE = "[fields.device]\npath = 'context.device'\ndimension = true\ndefault = 'none'\nmax_length = 20\n"


class TestContract:
    """What a version computes follows from the contract, too."""

    @pytest.fixture
    def frozen(self, settings: Settings, tmp_path: Path) -> Version:
        """A version whose job reads the field `device`."""
        plan = replace(PLAN, conditions=("device <> 'tv'",))
        return Registry(self.under(settings, tmp_path, DEVICE)).freeze(
            notebook(tmp_path / "mine.ipynb"), manifest(1, plan)
        )

    def under(self, settings: Settings, folder: Path, contract: str) -> Settings:
        path = folder / f"shop-{len(contract)}.toml"
        path.write_text(contract)
        return Settings.load(home=settings.home, pipelines=settings.pipelines, contract=path, namespace="t_promotion")

    def test_a_version_has_the_contract_that_it_was_promoted_with(
        self, settings: Settings, frozen: Version, tmp_path: Path
    ) -> None:
        now = self.under(settings, tmp_path, DEVICE)
        assert Registry(now).version("metrics").contract == contract_of(now) != shipped()
        assert require_contract(now, frozen) == []

    def test_a_change_that_means_nothing_to_the_job_is_not_told(
        self, settings: Settings, frozen: Version, tmp_path: Path
    ) -> None:
        more = DEVICE + "[fields.campaign]\ntype = 'string'\n[shop]\nname = 'other'\n"
        assert require_contract(self.under(settings, tmp_path, more), frozen) == []

    def test_another_rule_is_told_and_another_meaning_is_refused(
        self, settings: Settings, frozen: Version, tmp_path: Path
    ) -> None:
        (told,) = require_contract(self.under(settings, tmp_path, DEVICE.replace("20", "30")), frozen)
        assert "the rules of the field device changed from max_length 20 to max_length 30" in told
        other = self.under(settings, tmp_path, DEVICE.replace("context.device", "client.device.kind"))
        with pytest.raises(UsageError) as refused:
            require_contract(other, frozen)
        said = (
            "The contract has changed since the promotion of metrics v1: the field device has another meaning: its path"
        )
        assert str(refused.value).startswith(said) and "contract.json has what" in str(refused.value)
        with pytest.raises(UsageError, match="the field device has another meaning"):
            run_current(other, "metrics")  # before anything of the job is looked at

    def test_a_rollback_to_a_version_of_another_contract_is_refused(
        self, settings: Settings, frozen: Version, tmp_path: Path
    ) -> None:
        other = self.under(settings, tmp_path, DEVICE.replace("context.device", "client.device.kind"))
        registry = Registry(other)
        newer = registry.freeze(notebook(tmp_path / "mine.ipynb"), replace(frozen.manifest, version=2))
        with pytest.raises(UsageError, match="the field device has another meaning"):
            rollback(other, "metrics")
        assert registry.current("metrics").version == 2
        assert "  field     device changes: its path is client.device.kind instead of context.device" in list(
            Diff(frozen, newer).lines()
        )

    def test_a_version_of_before_has_no_contract_and_runs(self, settings: Settings, frozen: Version) -> None:
        (frozen.folder / "contract.json").unlink()
        before = Version(frozen.folder, replace(frozen.manifest, kept={}))
        assert before.contract is None and require_contract(settings, before) == []


class TestRegistry:
    def test_a_version_is_kept_whole_and_becomes_current(self, settings: Settings, tmp_path: Path) -> None:
        registry = Registry(settings)
        source = notebook(tmp_path / "mine.ipynb")
        frozen = registry.freeze(source, manifest(1))
        names = ["contract.json", "manifest.toml", "metrics.ipynb", "metrics.py"]
        assert sorted(path.name for path in frozen.folder.iterdir()) == names
        assert read_manifest(frozen.folder / "manifest.toml") == frozen.manifest
        assert frozen.manifest.plan == PLAN
        frozen.require_intact()
        assert "print(rate)" in frozen.script.read_text()
        assert registry.current("metrics").version == 1
        registry.freeze(source, manifest(2))
        assert (registry.current("metrics").version, registry.current("metrics").previous) == (2, 1)
        assert [version.label for version in registry.versions("metrics")] == ["v1", "v2"]
        assert [path.name for path in settings.pipelines.rglob(".*")] == [], "nothing lies about"

    def test_what_fails_leaves_nothing(self, settings: Settings, tmp_path: Path) -> None:
        registry = Registry(settings)
        (tmp_path / "broken.ipynb").write_text("no")
        with pytest.raises(UsageError):
            registry.freeze(tmp_path / "broken.ipynb", manifest(1))
        assert registry.names() == [] and not list(settings.pipelines.rglob("v1"))
        registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(1))
        with pytest.raises(UsageError, match="there already"):
            registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(1))
        assert registry.current("metrics").version == 1

    def test_a_version_that_was_changed_by_hand_is_not_run(self, settings: Settings, tmp_path: Path) -> None:
        frozen = Registry(settings).freeze(notebook(tmp_path / "mine.ipynb"), manifest(1))
        notebook(frozen.notebook, "print(rate + 1)")
        with pytest.raises(UsageError, match="not what was promoted"):
            frozen.require_intact()

    def test_a_version_has_its_models(self, settings: Settings, tmp_path: Path) -> None:
        registry, model = Registry(settings), tmp_path / "score.joblib"
        model.write_bytes(b"1")
        plan = replace(PLAN, models=(("score.joblib", sha256_of(model)),))
        frozen = registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(1, plan))
        assert (frozen.folder / "score.joblib").read_bytes() == b"1"
        assert read_manifest(frozen.folder / "manifest.toml").models == plan.models
        frozen.require_intact()
        (frozen.folder / "score.joblib").write_bytes(b"2")
        with pytest.raises(UsageError, match=r"score\.joblib is not what was promoted as v1"):
            frozen.require_intact()
        model.write_bytes(b"3")
        with pytest.raises(UsageError, match="has changed since the notebook was tried"):
            registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(2, plan))
        assert [version.label for version in registry.versions("metrics")] == ["v1"]

    def test_a_version_has_its_file_of_tests_without_outputs(self, settings: Settings, tmp_path: Path) -> None:
        source, tests = notebook(tmp_path / "mine.ipynb"), notebook(tmp_path / "mine.test.ipynb", "assert rate")
        content = read_notebook(tests)
        content.cells[-1].outputs = [nbformat.v4.new_output("stream", text="seen")]
        nbformat.write(content, tests)
        frozen = Registry(settings).freeze(source, manifest(1, None))
        assert sorted(frozen.manifest.kept) == ["metrics.test.ipynb"] and frozen.contract is None
        kept = read_notebook(frozen.folder / "metrics.test.ipynb")
        assert [cell.source for cell in kept.cells] == [cell.source for cell in content.cells]
        assert not any(cell.get("outputs") for cell in kept.cells)
        assert same_version(frozen, source, frozen.manifest)
        notebook(tests, "assert rate > 0")
        assert not same_version(frozen, source, frozen.manifest), "other tests are another version"
        frozen.require_intact()
        notebook(frozen.folder / "metrics.test.ipynb", "assert True")
        with pytest.raises(UsageError, match=r"metrics\.test\.ipynb is not what was promoted as v1"):
            frozen.require_intact()

    def test_names_that_are_none(self, settings: Settings, tmp_path: Path) -> None:
        registry = Registry(settings)
        with pytest.raises(UnknownName):
            registry.current("../metrics")
        with pytest.raises(UsageError, match="can't be the name"):
            registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(1, name="../out"))
        registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(1))
        with pytest.raises(UnknownName, match="Did you mean 'metrics'"):
            registry.current("metric")
        with pytest.raises(UnknownName, match="v1"):
            registry.version("metrics", "v9")

    def test_a_notebook_is_a_version_of_the_pipeline_of_its_job(self, settings: Settings, tmp_path: Path) -> None:
        registry = Registry(settings)
        assert name_of(registry, Path("new.ipynb"), PLAN) == "metrics"
        registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(1))
        assert name_of(registry, Path("anything.ipynb"), PLAN) == "metrics"
        assert name_of(registry, Path("metrics.ipynb"), replace(PLAN, job="sales")) == "metrics"
        assert name_of(registry, Path("close.ipynb"), None) == "close"

    def test_two_pipelines_never_write_one_table(self, settings: Settings, tmp_path: Path) -> None:
        registry = Registry(settings)
        registry.freeze(notebook(tmp_path / "mine.ipynb"), manifest(1))
        other = replace(PLAN, job="sales")
        assert "category_day is written by metrics v1" in str(other_writer(registry, "sales", other))
        assert other_writer(registry, "metrics", PLAN) is None
        apart = replace(other, tables=(replace(CATEGORY, name="shelf"),))
        assert other_writer(registry, "sales", apart) is None


def test_a_diff_shows_cells_parameters_meaning_and_verdicts(settings: Settings, tmp_path: Path) -> None:
    registry = Registry(settings)
    registry.freeze(notebook(tmp_path / "a.ipynb", "x = 1", "print(rate)"), manifest(1))
    changed = replace(PLAN, watermark_ms=60_000)
    registry.freeze(
        notebook(tmp_path / "b.ipynb", "x = 2", "print(rate)"),
        manifest(2, changed, parameters={"rate": "5"}, outcome="new epoch", reasons=("because",)),
    )
    text = "\n".join(diff_versions(settings, "metrics").lines())
    for line in ("@@ cell 3 -> 3 @@", "-x = 1", "+x = 2", "- rate = 1", "+ rate = 5", "+ new epoch: because"):
        assert line in text.splitlines()
    assert "from 10 min to 1 min" in text and "print(rate)" not in text
    assert diff_versions(settings, "metrics", "v1", "v1").to_json()["cells"] == []
    with pytest.raises(UsageError, match="no version before v1"):
        diff_versions(settings, "metrics", None, "v1")


class TestResumePlan:
    def epoch(self, settings: Settings, plan: Plan, now_ms: int) -> Epoch:
        epoch = new_epoch(f"{settings.checkpoints}/metrics", now_ms=now_ms)
        write_plan(epoch.path, plan)
        (Path(epoch.path) / "offsets").mkdir()
        (Path(epoch.path) / "offsets" / "7").write_text(plan.topic)
        return epoch

    def test_the_checkpoint_itself_says_how_a_version_goes_on(self, settings: Settings) -> None:
        changed = table(name="shelf")
        assert resume_plan(settings, PLAN).kind == "first"
        first = self.epoch(settings, PLAN, 1_000)
        assert resume_plan(settings, replace(PLAN, watermark_ms=1)) == ResumePlan("resume", first)
        resume = resume_plan(settings, changed)
        assert (resume.kind, resume.epoch) == ("new epoch", first), "the one that is replaced"
        assert "from category to shelf" in resume.reasons[0]
        self.epoch(settings, changed, 2_000)
        assert resume_plan(settings, changed).kind == "resume"
        assert resume_plan(settings, PLAN).kind == "new epoch", "its tables are not what they were"
        write_note(first.path, "kept.json", b"{}")
        assert resume_plan(settings, PLAN).epoch == first
        assert resume_plan(settings, PLAN).kind == "earlier epoch"

    def test_rollback_goes_to_what_ran_before(self, settings: Settings, tmp_path: Path) -> None:
        registry = Registry(settings)
        with pytest.raises(UnknownName):
            rollback(settings, "metrics")
        registry.freeze(notebook(tmp_path / "a.ipynb"), manifest(1))
        with pytest.raises(UsageError, match="no version before v1"):
            rollback(settings, "metrics")
        registry.freeze(notebook(tmp_path / "a.ipynb"), manifest(2))
        registry.freeze(notebook(tmp_path / "a.ipynb"), manifest(3))
        assert rollback(settings, "metrics")["to"] == "v2"
        assert rollback(settings, "metrics", "v1")["to"] == "v1"
        assert rollback(settings, "metrics")["to"] == "v2", "the one that ran before"
        registry.pause("metrics", paused=True)
        rollback(settings, "metrics", "3")
        assert registry.current("metrics").paused, "a held job stays held"


def test_a_run_never_goes_on_from_a_state_of_other_figures(settings: Settings) -> None:
    """Whoever runs a changed notebook by hand, without promoting it, is told before anything has happened."""
    epoch = new_epoch(f"{settings.checkpoints}/metrics")
    (Path(epoch.path) / "offsets").mkdir()
    (Path(epoch.path) / "offsets" / "0").write_text('v1\n{"batchWatermarkMs": 0}\n{"t": {"0": 1}}\n')
    job = Job("metrics", settings)
    events = job.events()
    job.write(events.figures(metrics.EVENTS, by=["category"], every=["1 day"], table="category"), to=MemoryStore())
    write_plan(epoch.path, replace(plan_of(job), conditions=("quantity > 1",)))
    with pytest.raises(JobError, match=r"the filter changed from \(quantity > 1\) to none"):
        Runner(job).run()


def test_runs_are_read_from_their_output_notebooks(settings: Settings, tmp_path: Path) -> None:
    Registry(settings).freeze(notebook(tmp_path / "a.ipynb"), manifest(1))
    folder = runs_folder(settings, "metrics")
    folder.mkdir(parents=True)
    start = "2026-01-01T00:00:00+00:00"
    for number, papermill in enumerate(
        [
            {"start_time": start, "end_time": "2026-01-01T00:01:00+00:00", "duration": 60.04, "exception": None},
            {"start_time": start, "end_time": "2026-01-01T00:01:00+00:00", "duration": 60.0, "exception": True},
            {"start_time": start},
        ]
    ):
        content = nbformat.v4.new_notebook()
        content.metadata |= {"papermill": papermill, "retailpulse": {"version": "v1", "pid": 2**22 + 1}}
        nbformat.write(content, folder / f"{number}.ipynb")
    found = runs_of(settings, "metrics", limit=10)
    assert [(run["state"], run["seconds"]) for run in found] == [("killed", None), ("failed", 60.0), ("finished", 60.0)]
    assert len(runs_of(settings, "metrics", limit=2)) == 2


def test_the_lag_is_that_of_all_topics(settings: Settings, tmp_path: Path) -> None:
    class Topics(KafkaStore):
        def offsets(self, topic: str) -> dict[int, tuple[int, int]]:
            return {0: (0, 137 if topic.endswith("shop.payments") else 818)}

    reads = ((PLAN.topic, "event_id"), ("shop.payments", "event_id"))
    rows = RowsPlan("paid", (("event_id", "string"),), ("event_id",), "append", "q", reads)
    plan = replace(PLAN, tables=(TablePlan("paid", "cassandra", rows=rows),))
    Registry(settings).freeze(notebook(tmp_path / "a.ipynb"), replace(manifest(1), kind="stream", plan=plan))
    (row,) = overview(settings, kafka=Topics)
    assert row["lag"] == 818 + 137


def test_what_a_job_does_now_is_told(settings: Settings, tmp_path: Path) -> None:
    class Topics(KafkaStore):
        def offsets(self, topic: str) -> dict[int, tuple[int, int]]:
            return {0: (30, 50), 1: (0, 7)}

    registry, folder = Registry(settings), runs_folder(settings, "metrics")
    registry.freeze(notebook(tmp_path / "a.ipynb"), replace(manifest(1), kind="stream", plan=PLAN))
    folder.mkdir(parents=True)

    def now() -> tuple[str, int]:
        (row,) = overview(settings, kafka=Topics)
        return row["state"], row["lag"]

    def run(**papermill: object) -> None:
        content, told = nbformat.v4.new_notebook(), {"version": "v1", "pid": os.getpid()}
        content.metadata |= {"papermill": papermill, "retailpulse": told}
        nbformat.write(content, folder / f"{len(list(folder.iterdir()))}.ipynb")

    assert now() == ("waiting", 27), "what was deleted is not waited for"
    epoch = new_epoch(f"{settings.checkpoints}/metrics")
    for log, batches in (("offsets", (20, 40, 45)), ("commits", (20, 40))):
        (Path(epoch.path) / log).mkdir()
        for batch, end in enumerate(batches):
            ends = f'{{"{settings.namespace.topic(PLAN.topic)}": {{"0": {end}, "1": 7}}}}'
            (Path(epoch.path) / log / str(batch)).write_text(f'v1\n{{"batchWatermarkMs": 0}}\n{ends}\n')
    assert now() == ("waiting", 10), "the batch that is under way is not taken yet"
    run(start_time=datetime.now(UTC).isoformat())
    assert now()[0] == "starting"
    with writer_lock(settings, "metrics"):
        assert now()[0] == "running"
    run(start_time="2026-01-01T00:00:00+00:00")
    assert now()[0] == "failed", "its process is gone"
    run(start_time="2026-01-01T00:00:00+00:00", end_time="2026-01-01T00:01:00+00:00", exception=True)
    assert now()[0] == "failed"
    run(start_time="2026-01-01T00:00:00+00:00", end_time="2026-01-01T00:01:00+00:00", exception=None)
    assert now()[0] == "waiting"
    registry.pause("metrics", paused=True)
    assert now()[0] == "held"


@pytest.mark.parametrize("schedule", ["", "@continuous", "@daily", "5 * * * *", "asset:archive"])
def test_a_schedule_is_one(schedule: str) -> None:
    check_schedule(schedule)


@pytest.mark.parametrize("schedule", ["often", "@often", "61 * * * *", "* * * *", "asset:", "asset:a b"])
def test_what_is_no_schedule_is_said(schedule: str) -> None:
    with pytest.raises(UsageError, match="is not a schedule"):
        check_schedule(schedule)


class TestSnapshot:
    def checkpoint(self, folder: Path, ends: list[int], commits: int) -> Epoch:
        epoch = new_epoch(str(folder))
        root = Path(epoch.path)
        for name in ("offsets", "commits", "clocks/0", "state/0/0"):
            (root / name).mkdir(parents=True)
        for batch, end in enumerate(ends):
            (root / "offsets" / str(batch)).write_text(f'v1\n{{"batchWatermarkMs": 0}}\n{{"t": {{"0": {end}}}}}\n')
            (root / "offsets" / f".{batch}.crc").write_text("c")
            (root / "state" / "0" / "0" / f"{batch + 1}.changelog").write_text("s")
        for batch in range(commits):
            (root / "commits" / str(batch)).write_text("v1\n{}")
        return epoch

    def test_it_stands_before_the_last_batch_with_messages(self, tmp_path: Path) -> None:
        epoch = self.checkpoint(tmp_path / "job", [10, 25, 25, 40], commits=3)  # 2 has no messages, 3 is under way
        before = sorted((path, path.read_bytes()) for path in Path(epoch.path).rglob("*") if path.is_file())
        copied = snapshot(epoch, tmp_path / "copy" / "e0001")
        for own in ("ids", "sums"):
            kept = open_local(str(tmp_path / "copy" / "e0001"), own, master="local[2]")
            assert kept is None, "the copy goes on as the epoch does"
        assert copied is not None and (copied.batch, copied.messages) == (1, 15)
        left = sorted(str(path.relative_to(copied.path)) for path in copied.path.rglob("*") if path.is_file())
        assert left == [
            "commits/0", "epoch.json", "offsets/.0.crc", "offsets/.1.crc", "offsets/0", "offsets/1",
            "state/0/0/1.changelog",
        ]  # fmt: skip
        assert before == sorted((path, path.read_bytes()) for path in Path(epoch.path).rglob("*") if path.is_file())

    def test_sums_come_along_when_they_can_be_set_back(self, tmp_path: Path) -> None:
        epoch = self.checkpoint(tmp_path / "job", [10, 25], commits=2)
        sums = Path(epoch.path) / "sums"
        sums.mkdir()
        for name in ("0-3600.sums", "00000002.npz"):
            (sums / name).write_text("s")
        # The job has done so many batches meanwhile that the last one copied can't be undone any more.
        assert snapshot(epoch, tmp_path / "copy" / "e0001") is None
        (sums / "00000001.npz").write_text("s")
        copied = snapshot(epoch, tmp_path / "copy" / "e0001")
        assert copied is not None and copied.batch == 1
        assert sorted(path.name for path in (copied.path / "sums").iterdir()) == [
            "0-3600.sums", "00000001.npz", "00000002.npz",
        ]  # fmt: skip

    def test_without_a_batch_there_is_nothing_to_do_again(self, tmp_path: Path) -> None:
        epoch = self.checkpoint(tmp_path / "job", [0], commits=1)
        assert snapshot(epoch, tmp_path / "copy" / "e0001") is None
        with pytest.raises(UsageError, match="not on this machine"):
            snapshot(replace(epoch, path="hdfs://cluster/e0001"), tmp_path / "copy2")


def test_what_only_the_trial_knows_is_added_to_a_cell_s_error() -> None:
    said = explained("cell 6 fails: there is no keyspace 'shadow_a_b' yet.", "shadow_a_b")
    assert said.endswith("'shadow_a_b' is the trial's namespace: the job makes its tables there, in job.run().")
    assert explained("cell 6 fails: PermissionError.", "shadow_a_b").endswith("below `tempfile.gettempdir()`.")
    assert explained("cell 6 fails: KeyError: 'a'.", "shadow_a_b") == "cell 6 fails: KeyError: 'a'."
