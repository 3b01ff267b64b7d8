"""Which of the errors that Spark reports is one of a job's own Python function."""

from __future__ import annotations

import pytest

from retailpulse_kernel.streaming.run.failing import failing_function

SPARK = '  File "/x/site-packages/pyspark/worker.py", line 9, in main\n    process()\n'
USER = '  File "/tmp/ipykernel_7/12.py", line 2, in score\n    return price.map(known)\n'
LIBRARY = '  File "/x/site-packages/pandas/core/series.py", line 7, in map\n    return known(x)\n'
OURS = '  File "/x/retailpulse_kernel/streaming/intake/source.py", line 5, in read\n    raise\n'
PROXY = '  File "/x/site-packages/py4j/clientserver.py", line 644, in _call_proxy\n    return\n'
TRACEBACK = "Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    ("frames", "function"),
    [
        (SPARK + USER + LIBRARY, "score"),
        (USER + LIBRARY, "score"),
        (SPARK + OURS, None),
        (OURS + LIBRARY, None),
        (PROXY + OURS + SPARK + USER, None),
        (SPARK, None),
    ],
)
def test_the_first_frame_behind_spark_s_says_whose_function_it_is(frames: str, function: str | None) -> None:
    said = f"Return Message: {TRACEBACK}{PROXY}{OURS}\nPythonException: {TRACEBACK}{frames}KeyError: 'p13'\n"
    assert failing_function(said) == function


def test_an_error_without_a_traceback_is_of_no_function() -> None:
    assert failing_function(ValueError("too big")) is None
