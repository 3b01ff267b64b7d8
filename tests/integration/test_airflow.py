"""Airflow's four processes, started once, with promoted jobs: what runs, and what is left when something dies."""

from __future__ import annotations

import io
import json
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import httpx
import nbformat
import psutil
import pytest
import tomli_w
from rich.console import Console

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.strays import of_home
from retailpulse_kernel.promotion.cutover.overview import runs_of
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.airflow import login
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.writer import writer_lock
from retailpulse_kernel.telemetry.statsd import STATSD_PORT, Statsd
from retailpulse_kernel.telemetry.values import Histogram, Values
from tests.jobs import consumed, produce, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
KERNEL = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
DONE = ("success", "failed", "skipped", "upstream_failed")


class Airflow:
    """The API, as its user has it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        place = login(settings)
        self.passwords: dict[str, str] = json.loads(place.passwords.read_text())
        self._client = httpx.Client(base_url=place.url, timeout=60)
        self._client.headers["Authorization"] = f"Bearer {self.token(place.user, self.passwords[place.user])}"

    def token(self, user: str, password: str) -> str:
        answer = httpx.post(
            f"{self._client.base_url}/auth/token".replace("//auth", "/auth"),
            json={"username": user, "password": password},
            timeout=60,
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def get(self, path: str, **query: Any) -> Any:
        answer = self._client.get(path, params=query)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    def post(self, path: str, body: Any) -> Any:
        answer = self._client.post(path, json=body)
        assert answer.status_code < 300, (path, answer.status_code, answer.text)
        return answer.json()

    def tasks(self, dag: str) -> list[dict[str, Any]]:
        """The task's instances, the newest first."""
        found = self.get(f"/api/v2/dags/{dag}/dagRuns/~/taskInstances")["task_instances"]
        return sorted(found, key=lambda task: task["id"], reverse=True)

    def trigger(self, *dags: str) -> list[dict[str, Any]]:
        """Run DAGs, all from now on, and wait for their ends; their tasks."""
        runs = {dag: self.post(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"] for dag in dags}

        def tasks() -> list[dict[str, Any]]:
            return [next(t for t in self.tasks(dag) if t["dag_run_id"] == run) for dag, run in runs.items()]

        wait_until(lambda: all(task["state"] in DONE for task in tasks()), f"the end of {', '.join(dags)}")
        return tasks()

    def pause(self, dag: str, *, paused: bool) -> None:
        answer = self._client.patch(f"/api/v2/dags/{dag}", json={"is_paused": paused})
        assert answer.status_code == 200, answer.text

    def scheduler(self) -> psutil.Process:
        (pid,) = (s.pid for s in supervision.status(self.settings) if s.name == "airflow-scheduler")
        return psutil.Process(pid)


def profile_of(stack: Settings, path: Path) -> Path:
    """A profile that leads to the session's servers from a home of another place."""
    content = stack.profile.model_copy(update={"name": "beside"}).model_dump(mode="json", exclude_none=True)
    content["hive"]["warehouse"] = stack.warehouse
    path.write_text(tomli_w.dumps(content))
    return path


def promoted(settings: Settings, folder: Path, name: str, schedule: str, *code: str) -> None:
    cells = [nbformat.v4.new_markdown_cell(f"# {name}\n\nWhat it is for."), *map(nbformat.v4.new_code_cell, code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), folder / f"{name}.ipynb")
    manifest = Manifest(name, 1, f"{name}.ipynb", "", "batch", schedule, cells[0].source, "")
    Registry(settings).freeze(folder / f"{name}.ipynb", manifest)


def feed(settings: Settings, seed: int, *, ago: timedelta = timedelta(0)) -> None:
    messages = Generator(rate=500, seconds=1, seed=seed, start=datetime.now(UTC) - ago).messages()
    produce(settings, [(message.key, message.value) for message in messages])


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("airflow")
    made = Settings.load(
        home=folder / "home", pipelines=folder / "pipelines", namespace="t_scheduler",
        profile=str(profile_of(stack, folder / "beside.toml")), port_offset=20_500,
    )  # fmt: skip
    drop(made)
    ensure_topics(made)
    # What the project ships, as it is; the archive waits for its test.
    for name in ("metrics", "archive", "close_day"):
        shutil.copytree(ROOT / "pipelines" / name, made.pipelines / name)
    Registry(made).pause("archive", paused=True)
    promoted(made, folder, "greeting", "", "print('good', 'morning')")
    promoted(made, folder, "follower", "asset:greeting", "print('after')")
    mistake = "from retailpulse_kernel.ground.errors import UsageError", "raise UsageError('There is no such shelf.')"
    promoted(made, folder, "broken", "", "\n".join(mistake))
    yield made
    drop(made)


@pytest.fixture(scope="module")
def measured(settings: Settings) -> Iterator[Values]:
    """What Airflow says of itself, taken where the monitor would take it."""
    values, over = Values(), threading.Event()
    port = STATSD_PORT + settings.port_offset
    thread = threading.Thread(target=Statsd(values).listen, args=("127.0.0.1", port, over))
    thread.start()
    yield values
    over.set()
    thread.join()


@pytest.fixture(scope="module")
def airflow(settings: Settings, measured: Values) -> Iterator[Airflow]:
    said = io.StringIO()
    try:
        supervision.up(settings, ["airflow"], console=Console(file=said, width=200))
        made = Airflow(settings)
        wait_until(lambda: made.get("/api/v2/dags")["total_entries"] == 6, "the DAGs")
        yield made
    finally:
        supervision.down(settings)
        assert of_home(settings.home) == [], "no process is left"


def is_one_writer(settings: Settings) -> bool:
    """Whether exactly one kernel streams, and holds the job's lock."""
    try:
        with writer_lock(settings, "metrics").acquire(timeout=0):
            return False
    except filelock.Timeout:
        return len(kernels(settings)) == 1


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def kernels(settings: Settings) -> list[psutil.Process]:
    """The kernels under this scheduler; batch notebooks have ended, so they stream."""
    return [p for p in of_home(settings.home) if "ipykernel_launcher" in " ".join(_command(p))]


def test_nobody_gets_in_without_a_password(airflow: Airflow, settings: Settings) -> None:
    place = login(settings)
    for path in ("/api/v2/dags", "/api/v2/variables", "/retailpulse/runs/greeting/a.ipynb", "/execution/variables/a"):
        assert httpx.get(f"{place.url}{path}", timeout=60).status_code in (401, 403), path
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        airflow.token("admin", "admin")
    viewer = {"Authorization": f"Bearer {airflow.token('viewer', airflow.passwords['viewer'])}"}
    assert httpx.get(f"{place.url}/api/v2/dags", headers=viewer, timeout=60).status_code == 200
    run = httpx.post(
        f"{place.url}/api/v2/dags/greeting/dagRuns", headers=viewer, json={"logical_date": None}, timeout=60
    )
    assert run.status_code == 403, "a viewer looks"
    assert stat.S_IMODE(place.passwords.stat().st_mode) == 0o600
    for log in [*(settings.home / "logs").rglob("*.log"), *(settings.home / "airflow" / "logs").rglob("*.log")]:
        said = log.read_text(errors="replace")
        assert not any(password in said for password in airflow.passwords.values()), log
    listening = {
        connection.laddr.ip
        for process in of_home(settings.home)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}, "loopback only"


def test_a_batch_notebook_and_who_waits_for_it(airflow: Airflow) -> None:
    assert airflow.get("/api/v2/importErrors")["import_errors"] == []
    (task,) = airflow.trigger("greeting")
    assert task["state"] == "success"
    links = airflow.get(f"/api/v2/dags/greeting/dagRuns/{task['dag_run_id']}/taskInstances/run/links")["extra_links"]
    page = httpx.URL(links["Output notebook"]).path
    assert "good morning" in airflow.get(page), "the link leads to what the cells printed"
    wait_until(lambda: any(t["state"] == "success" for t in airflow.tasks("follower")), "the run that waits for it")
    (event,) = airflow.get("/api/v2/assets/events", source_dag_id="greeting")["asset_events"]
    assert event["name"] == "retailpulse_greeting" and event["extra"]["notebook"] == Path(page).name
    assert airflow.get("/api/v2/dags/greeting/details")["doc_md"].startswith("# greeting\n\nWhat it is for.")

    (task,) = airflow.trigger("broken")
    assert (task["state"], task["try_number"]) == ("failed", 1), "another try would not mend a mistake"
    log = airflow.get(f"/api/v2/dags/broken/dagRuns/{task['dag_run_id']}/taskInstances/run/logs/1")
    assert "no such shelf" in json.dumps(log)


def test_batch_notebooks_take_turns(airflow: Airflow) -> None:
    """Ticks that were missed together are made up for together, beside streams that start."""
    first, second = sorted(airflow.trigger("follower", "broken"), key=lambda task: str(task["start_date"]))
    assert first["end_date"] <= second["start_date"]
    assert second["scheduled_when"] < first["end_date"], "it could have met the other one"


def test_airflow_says_how_it_is(airflow: Airflow, measured: Values) -> None:
    airflow.trigger("greeting")
    airflow.trigger("broken")

    def found() -> dict[tuple[str, ...], float | Histogram]:
        return {(name.removeprefix("retailpulse_airflow_"), *labels): value for name, labels, value in measured.items()}

    processes = [("heartbeats_total", name) for name in ("scheduler", "dag-processor", "triggerer")]
    runs = [("run_duration_seconds", "greeting", "success"), ("run_duration_seconds", "broken", "failed")]
    slots = [("executor_slots", state) for state in ("open", "queued", "running")]
    tries = [("task_tries_total", "greeting", "success"), ("task_tries_total", "broken", "failed")]
    wanted = {*processes, *runs, *slots, *tries, ("parse_duration_seconds",)}
    wait_until(lambda: wanted <= found().keys(), "all that the monitor takes from Airflow", 60)
    assert found()["import_errors",] == 0
    broken = [task for task in airflow.tasks("broken") if task["state"] == "failed"]

    def counted() -> tuple[float, float]:
        """Runs and tries of it that failed; Airflow tells of a run's end a little after its task's."""
        failed, tried = found()[runs[1]], found()[tries[1]]
        assert isinstance(failed, Histogram) and isinstance(tried, float | int)
        return sum(failed.counts), tried

    expected = (len(broken), sum(task["try_number"] for task in broken))
    wait_until(lambda: counted() == expected, f"{expected} failed runs and tries", 60)


def test_a_stream_outlives_its_kernel_and_its_scheduler(airflow: Airflow, settings: Settings) -> None:
    feed(settings, 1)
    wait_until(lambda: consumed(settings, "metrics") >= 500, "the first events")
    assert is_one_writer(settings)
    (task,) = airflow.tasks("metrics")
    assert task["state"] == "running"

    kernels(settings)[0].kill()
    wait_until(lambda: airflow.tasks("metrics")[0]["state"] != "running", "the end of the try")
    feed(settings, 2)
    wait_until(lambda: consumed(settings, "metrics") >= 1000, "the next try, after a pause")
    assert is_one_writer(settings) and airflow.tasks("metrics")[0]["try_number"] == 2

    left = [*kernels(settings), *(p for p in of_home(settings.home) if "LocalExecutor" in " ".join(_command(p)))]
    scheduler = airflow.scheduler()
    scheduler.kill()
    _watched(lambda: not any(process.is_running() for process in left), settings, "the end of what the scheduler left")
    assert runs_of(settings, "metrics", limit=1)[0]["state"] == "finished", "the job after its micro-batch"
    feed(settings, 3)
    _watched(lambda: consumed(settings, "metrics") >= 1500, settings, "the next run's events")
    assert is_one_writer(settings) and airflow.scheduler().pid != scheduler.pid

    airflow.pause("metrics", paused=True)  # there: it need not know of the project's own pause
    wait_until(lambda: airflow.tasks("metrics")[0]["state"] == "success", "the end of the run")
    assert runs_of(settings, "metrics", limit=1)[0]["state"] == "finished", "after its micro-batch"
    assert not is_one_writer(settings)
    Registry(settings).pause("metrics", paused=True)
    airflow.pause("metrics", paused=False)
    assert airflow.trigger("metrics")[0]["state"] == "skipped", "held, which is no failure"
    result = reconcile(settings)
    assert result.ok, result.differences


def test_a_day_is_closed_when_the_archive_has_ended_a_run(airflow: Airflow, settings: Settings) -> None:
    ago = timedelta(days=2)
    day = (datetime.now(UTC) - ago).date()
    feed(settings, 4, ago=ago)
    Registry(settings).pause("archive", paused=False)
    wait_until(lambda: consumed(settings, "archive") >= 500, "the archive's first batch")
    assert airflow.tasks("close_day") == [], "not while it runs"
    airflow.pause("archive", paused=True)  # which ends the run, half an hour early
    wait_until(lambda: any(t["state"] == "success" for t in airflow.tasks("close_day")), "the run that waits for it")

    (run,) = airflow.get("/api/v2/dags/close_day/dagRuns")["dag_runs"]
    assert run["run_type"] == "asset_triggered"
    events = airflow.get(f"/api/v2/dags/close_day/dagRuns/{run['dag_run_id']}/upstreamAssetEvents")["asset_events"]
    assert [(event["name"], event["source_dag_id"]) for event in events] == [("retailpulse_archive", "archive")]
    closed = HiveStore(settings).query("select sum(events) n from daily where dt = :day", {"day": day.isoformat()})
    assert int(closed["n"][0]) == 500, "all that the archive had taken of the day"


def _watched(condition: Callable[[], bool], settings: Settings, what: str) -> None:
    """Wait, and see to it that there are never two kernels: the one that is left ends before another begins."""

    def once() -> bool:
        assert len(kernels(settings)) <= 1
        return condition()

    wait_until(once, what)
