"""The sentence of an error's cause, through the words of those that handed it on."""

from __future__ import annotations

from pathlib import Path

import pytest
from papermill.exceptions import PapermillExecutionError

from retailpulse_kernel.ground.errors import JobError, RetailPulseError, StoreUnavailable, UsageError, cause_line
from retailpulse_kernel.notebooks.running import _as_ours

PROXY = """[FOREACH_BATCH_USER_FUNCTION_ERROR] An error occurred in the user provided function in foreach batch sink. \
Reason: An exception was raised by the Python Proxy. Return Message: Traceback (most recent call last):
  File "/x/py4j/clientserver.py", line 644, in _call_proxy
    return_value = getattr(self.pool[obj_id], method)(*params)
  File "/x/runner.py", line 180, in _write_batch
    rows = self._patiently(self._sink.compute(frame))
{last}
"""
STAGE = """[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: Job aborted due to stage failure: Task 0
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "/x/pyspark/worker.py", line 1, in main
    process()
retailpulse_kernel.ground.errors.StoreUnavailable: Kafka at 127.0.0.1:9 does not answer: Broker: Request timed out.

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:600)
\tat java.base/java.lang.Thread.run(Thread.java:840)

Driver stacktrace:"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("too big"), "ValueError: too big"),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(), "ValueError"),
        (JobError("It stopped.", remedy="Start it."), "It stopped. Start it."),
        (RuntimeError(PROXY.format(last="ZeroDivisionError: division by zero")), "ZeroDivisionError: division by zero"),
        (
            RuntimeError(PROXY.format(last="retailpulse_kernel.ground.errors.UnknownName: There is no table 'a'.")),
            "There is no table 'a'.",
        ),
        (
            PROXY.format(last='cimpl.KafkaException: KafkaError{code=_STATE,val=-172,str="Erroneous state"}'),
            "KafkaException: Erroneous state",
        ),
        (
            "AnalysisException: [A_CODE] Did you mean `a`? SQLSTATE: 42703;\n'Project ['b]",
            "AnalysisException: [A_CODE] Did you mean `a`?",
        ),
        (
            "AnalysisException: Queries must be executed with writeStream.start().;",
            "AnalysisException: Queries must be executed with writeStream.start().",
        ),
        (StoreUnavailable("kafka", STAGE), "Kafka at 127.0.0.1:9 does not answer: Broker: Request timed out."),
        (
            "[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: Cannot find column a\n\tat x.Y(Y:1)",
            "Cannot find column a",
        ),
        (
            "An error occurred while calling o1.start.\n: java.lang.IllegalStateException: Wrong state\n"
            "Caused by: java.io.IOException: No space left on device\n\tat x.Y.z(Y.java:1)",
            "IOException: No space left on device",
        ),
    ],
)
def test_the_cause_has_the_word(error: BaseException | str, line: str) -> None:
    assert cause_line(error) == line


@pytest.mark.parametrize(
    ("name", "value", "kind", "said"),
    [
        ("ZeroDivisionError", "division by zero", JobError, "Cell 3 failed: ZeroDivisionError: division by zero. The"),
        ("UnknownName", "There is no table 'a'.", UsageError, "Cell 3: There is no table 'a'."),
        ("StoreUnavailable", "Kafka does not answer.", JobError, "Cell 3 failed: Kafka does not answer. The run's"),
        ("StreamingQueryException", STAGE, JobError, "Cell 3 failed: Kafka at 127.0.0.1:9 does"),
        ("Py4JError", PROXY.format(last="OSError: disk full"), JobError, "Cell 3 failed: OSError: disk full. "),
    ],
)
def test_a_run_that_failed_names_the_cell_and_the_cause(
    name: str, value: str, kind: type[RetailPulseError], said: str
) -> None:
    raised = PapermillExecutionError(5, 3, "job.run()", name, value, [])
    error = _as_ours(raised, Path("a.ipynb"), Path("runs/a.ipynb"))
    assert type(error) is kind
    assert str(error).startswith(said) and "\n" not in str(error)
    assert ("runs/a.ipynb" in str(error)) == (kind is JobError)


def test_all_lines_of_a_fault_of_the_user_s_are_told() -> None:
    said = "shop.toml has 2 faults:\n  line 4: a\n  line 7: b"
    raised = PapermillExecutionError(5, 3, "rp.job(...)", "ContractError", said, [])
    assert str(_as_ours(raised, Path("a.ipynb"), Path("runs/a.ipynb"))) == f"Cell 3: {said}"
