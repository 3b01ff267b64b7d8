"""Metrics without a server: what a process leaves, who takes it over, and what a reader makes of it."""

from __future__ import annotations

import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.monitoring.probes import ratios
from retailpulse_kernel.monitoring.reading import put_together, read_recorded
from retailpulse_kernel.telemetry.definitions import METRICS
from retailpulse_kernel.telemetry.recording import Recorder, current, folder, forget, recording
from retailpulse_kernel.telemetry.statsd import Statsd
from retailpulse_kernel.telemetry.values import Values, exposition

SENT = "retailpulse_producer_messages_total"
LATENCY = "retailpulse_job_end_to_end_latency_seconds"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path, namespace="shop")


def samples(*sources: Values) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = exposition(*sources).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def process(name: str, component: str = "job") -> tuple[tuple[str, str], ...]:
    return (("component", component), ("name", name), ("namespace", "shop"))


def seen(settings: Settings, now: float | None = None) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return samples(put_together(read_recorded(folder(settings), now)))


class TestDefinitions:
    @pytest.mark.parametrize("name", METRICS)
    def test_follow_the_conventions(self, name: str) -> None:
        metric = METRICS[name]
        assert name.startswith("retailpulse_")
        assert (metric.kind == "counter") == name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        if metric.kind == "histogram":
            assert name.endswith("_seconds")
        assert not {"user_id", "product_id", "pid", "session_id", "le"} & set(metric.labels)
        assert metric.help.endswith(".")

    def test_what_is_not_defined_is_not_measured(self) -> None:
        with pytest.raises(UsageError, match="no metric"):
            Values().add("retailpulse_nonsense_total")
        with pytest.raises(UsageError, match="has the labels"):
            Values(namespace="shop").add(SENT)


class TestValues:
    def test_a_histogram_counts_each_observation_once(self) -> None:
        values = Values(namespace="shop", job_name="metrics")
        for seconds in (0.5, 0.6, 9000):
            values.observe(LATENCY, seconds)
        found = samples(values)
        labels = (("job_name", "metrics"), ("namespace", "shop"))

        def bucket(bound: str) -> float:
            return found[f"{LATENCY}_bucket", tuple(sorted((*labels, ("le", bound))))]

        assert [bucket("0.5"), bucket("1.0"), bucket("1800.0"), bucket("+Inf")] == [1, 2, 2, 3]
        assert found[f"{LATENCY}_count", labels] == 3
        assert found[f"{LATENCY}_sum", labels] == 9001.1

    def test_of_an_older_program_only_what_still_fits_is_taken_over(self) -> None:
        values = Values()
        values.merge(
            {
                "numbers": [["gone_total", [], 3], [SENT, ["one label"], 3]],
                "histograms": [[LATENCY, ["a", "b"], [1], 1]],
            }
        )
        assert list(values.items()) == []


class TestRecording:
    def test_a_short_process_leaves_all_that_it_measured(self, settings: Settings) -> None:
        with recording(settings, "producer", "generate", producer="generate") as metrics:
            metrics.add(SENT, 7)
        found = seen(settings)
        assert found[SENT, (("namespace", "shop"), ("producer", "generate"))] == 7
        # It ended in order: nobody misses it.
        assert ("retailpulse_process_up", process("generate", "producer")) not in found

    def test_the_next_one_goes_on_counting(self, settings: Settings) -> None:
        for count in (7, 5):
            with recording(settings, "producer", "generate", producer="generate") as metrics:
                metrics.grow(SENT, count - 1)
                metrics.grow(SENT, count)
        found = seen(settings)
        assert found[SENT, (("namespace", "shop"), ("producer", "generate"))] == 12
        assert found["retailpulse_process_starts_total", process("generate", "producer")] == 2

    def test_two_at_once_add_up(self, settings: Settings) -> None:
        one = Recorder(settings, "producer", "generate", producer="generate")
        two = Recorder(settings, "producer", "generate", producer="generate")
        one.start()
        two.start()
        one.add(SENT, 1)
        two.add(SENT, 2)
        one.end()
        two.end()
        assert seen(settings)[SENT, (("namespace", "shop"), ("producer", "generate"))] == 3

    def test_a_gauge_of_one_that_ended_is_only_kept_where_it_still_says_something(self, settings: Settings) -> None:
        with recording(settings, "job", "metrics", job_name="metrics") as metrics:
            metrics.set("retailpulse_job_state_rows", 9)
            metrics.set("retailpulse_job_last_batch_timestamp_seconds", 1000)
            metrics.flush()
            assert seen(settings)["retailpulse_job_state_rows", (("job_name", "metrics"), ("namespace", "shop"))] == 9
        found = seen(settings)
        assert ("retailpulse_job_state_rows", (("job_name", "metrics"), ("namespace", "shop"))) not in found
        assert (
            found["retailpulse_job_last_batch_timestamp_seconds", (("job_name", "metrics"), ("namespace", "shop"))]
            == 1000
        )

    def test_one_that_fails_or_falls_silent_is_down_until_another_takes_over(self, settings: Settings) -> None:
        up = ("retailpulse_process_up", process("metrics"))
        with pytest.raises(ZeroDivisionError), recording(settings, "job", "metrics"):
            assert seen(settings)[up] == 1
            assert seen(settings, time.time() + 60)[up] == 0  # silent, as when it was killed
            raise ZeroDivisionError
        assert seen(settings)[up] == 0
        assert up not in seen(settings, time.time() + 100_000)  # nobody started it for a day
        with recording(settings, "job", "metrics"):
            assert seen(settings)[up] == 1

    def test_the_memory_is_that_of_the_living(self, settings: Settings) -> None:
        memory = ("retailpulse_process_memory_bytes", process("metrics"))
        with recording(settings, "job", "metrics"):
            assert seen(settings)[memory] > 10_000_000
        assert memory not in seen(settings)

    def test_a_sink_finds_its_job_s_recorder_and_no_other(self, settings: Settings) -> None:
        name = "retailpulse_store_write_duration_seconds"
        current("job").observe(name, 1, store="cassandra")  # outside of any run: nowhere
        with recording(settings, "job", "metrics", job_name="metrics") as metrics, recording(settings, "live", "live"):
            current("job").observe(name, 1, store="cassandra")
            assert [found for found, _, _ in metrics.items()] == [name]

    def test_a_half_written_file_and_a_home_that_can_not_be_written_stop_nothing(self, settings: Settings) -> None:
        with recording(settings, "producer", "generate", producer="generate") as metrics:
            metrics.add(SENT, 7)
        (path,) = folder(settings).glob("*/*.json")
        path.write_bytes(path.read_bytes()[:20])
        assert seen(settings) == {}
        with recording(settings, "producer", "generate", producer="generate") as metrics:
            metrics.add(SENT, 1)
        assert seen(settings)[SENT, (("namespace", "shop"), ("producer", "generate"))] == 1
        nowhere = Settings.load(home=Path("/dev/null/nowhere"), namespace="shop")
        with recording(nowhere, "producer", "generate", producer="generate") as metrics:
            metrics.add(SENT, 1)

    def test_what_lives_as_long_as_its_process_ends_with_it(self, settings: Settings) -> None:
        frames = "retailpulse_live_frames_total"
        code = (
            "from retailpulse_kernel.telemetry.recording import standing\n"
            "from retailpulse_kernel.ground.settings import Settings\n"
            f"settings = Settings.load(home={str(settings.home)!r}, namespace='shop')\n"
            f"for _ in range(3): standing(settings, 'live', 'live').add({frames!r})"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        found = seen(settings)
        assert found[frames, (("namespace", "shop"),)] == 3
        assert ("retailpulse_process_up", process("live", "live")) not in found

    def test_a_dropped_namespace_is_forgotten(self, settings: Settings) -> None:
        with recording(settings, "producer", "generate", producer="generate"):
            pass
        forget(settings)
        assert seen(settings) == {}


def test_revenue_is_compared_with_the_median_of_the_weeks_that_have_any() -> None:
    weeks = [{"USD": Decimal(10)}, {"USD": Decimal(1000)}, {"USD": Decimal(20), "EUR": Decimal(5)}, {}]
    assert ratios({"USD": Decimal(5)}, weeks) == {"USD": Decimal("0.25"), "EUR": Decimal(0)}
    assert ratios({"USD": Decimal(5)}, [{}, {"USD": Decimal(0)}]) == {}


class TestStatsd:
    """Airflow's datagrams; `tests/integration/test_airflow.py` takes them from Airflow itself."""

    @pytest.fixture
    def values(self) -> Values:
        return Values()

    def test_what_is_known_is_told_by_our_names_and_units(self, values: Values) -> None:
        taken = Statsd(values)
        taken.take(b"airflow.scheduler_heartbeat:1|c\nairflow.scheduler_heartbeat:2|c\nairflow.triggerer_heartbeat:1|c")
        taken.take(b"airflow.executor.queued_tasks,status=queued,executor_class_name=LocalExecutor:3|g")
        taken.take(b"airflow.dag_processing.import_errors:1|g")
        taken.take(b"airflow.dag_processing.total_parse_time:0.25|g")
        taken.take(b"airflow.dagrun.duration.success,dag_id=metrics,run_type=scheduled:61500.000000|ms")
        taken.take(b"airflow.dagrun.duration.failed,dag_id=metrics:400|ms")
        taken.take(b"airflow.dagrun.first_task_scheduling_delay,dag_id=metrics,run_type=scheduled:2000|ms")
        taken.take(b"airflow.ti.finish,dag_id=metrics,task_id=run,state=failed:1|c")
        found = {f"{name}{dict(labels)}": value for (name, labels), value in samples(values).items()}
        told = {name: value for name, value in found.items() if "_bucket" not in name}
        prefix = "retailpulse_airflow_"
        assert told == {
            f"{prefix}heartbeats_total{{'process': 'scheduler'}}": 3,
            f"{prefix}heartbeats_total{{'process': 'triggerer'}}": 1,
            f"{prefix}executor_slots{{'state': 'queued'}}": 3,
            f"{prefix}import_errors{{}}": 1,
            f"{prefix}parse_duration_seconds{{}}": 0.25,
            f"{prefix}run_duration_seconds_count{{'pipeline': 'metrics', 'state': 'success'}}": 1,
            f"{prefix}run_duration_seconds_sum{{'pipeline': 'metrics', 'state': 'success'}}": 61.5,
            f"{prefix}run_duration_seconds_count{{'pipeline': 'metrics', 'state': 'failed'}}": 1,
            f"{prefix}run_duration_seconds_sum{{'pipeline': 'metrics', 'state': 'failed'}}": 0.4,
            f"{prefix}run_delay_seconds_count{{'pipeline': 'metrics'}}": 1,
            f"{prefix}run_delay_seconds_sum{{'pipeline': 'metrics'}}": 2,
            f"{prefix}task_tries_total{{'pipeline': 'metrics', 'state': 'failed'}}": 1,
        }

    @pytest.mark.parametrize(
        "datagram",
        [
            b"", b"\n", b"\xff\xfe", b":|", b"airflow.triggerer_heartbeat", b"airflow.triggerer_heartbeat:x|c",
            b"airflow.triggerer_heartbeat:nan|c", b"airflow.triggerer_heartbeat:-1|c",
            b"airflow.triggerer_heartbeat:1|g", b"airflow.ti.finish:1|c", b"airflow.ti.finish,dag_id:1|c",
            b"airflow.ti.running,dag_id=metrics:1|g", b"airflow.dagrun.duration.success,dag_id=metrics:inf|ms",
        ],
    )  # fmt: skip
    def test_what_is_not_known_or_makes_no_sense_is_left_out(self, values: Values, datagram: bytes) -> None:
        taken = Statsd(values)
        taken.take(datagram)
        assert samples(values) == {}

    def test_a_gauge_that_is_no_longer_sent_is_forgotten_and_a_counter_is_not(self, values: Values) -> None:
        now = 0.0
        taken = Statsd(values, clock=lambda: now)
        taken.take(b"airflow.dag_processing.import_errors:1|g\nairflow.scheduler_heartbeat:1|c")
        now = 100.0
        taken.take(b"airflow.executor.open_slots:8|g")
        now = 130.0
        taken.forget()
        assert {name.removeprefix("retailpulse_airflow_") for name, _ in samples(values)} == {
            "heartbeats_total", "executor_slots",
        }  # fmt: skip
