"""The output notebook of a run: whole at every moment, small after many batches, and it tells what ran."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel import records
from retailpulse_kernel.errors import JobError
from retailpulse_kernel.promotion.manifest import environment_of
from retailpulse_kernel.records import pruned
from retailpulse_kernel.running import run_notebook
from retailpulse_kernel.settings import Settings

#: A job as far as its record goes: a report that is kept up to date, and a line for each batch.
JOB = """
import time
from pathlib import Path
from retailpulse_kernel.streaming.accounts import Account
from retailpulse_kernel.streaming.report import Report

report = Report("metrics", "here", 3, state="running")
report.begin = {"retail.events": {"0": 0, "1": 5}}
handle = display(report, display_id=True)
for batch in range(batches):
    ends = {"retail.events": {"0": 10 * batch, "1": 5}}
    report.add(Account("metrics", 3, batch, ends, 10, 8, 1, 1, 0, 7, 0, 1000 * batch, 1000 * batch + 500))
    print(f"batch {batch} of {batches}: something that somebody wanted to see in the log of the run" + 100 * ".")
    if batch % 100 == 0:
        handle.update(report)
        display({"text/plain": f"a table of batch {batch}"}, raw=True)
    if batch % 2_500 == 2_499:  # goes on once that was saved, in the middle of the cell
        while f"{batch + 1:,}, " not in Path(output).read_text():
            handle.update(report)
            time.sleep(0.02)
report.fail("Cassandra does not answer.\\nand so on")
handle.update(report)
"""


def notebook(path: Path, *cells: str) -> Path:
    content = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("batches: int = 1\noutput: str = ''", metadata={"tags": ["parameters"]}),
            *(nbformat.v4.new_code_cell(cell) for cell in cells),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(content, path)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", namespace="t_records")


def test_a_long_run_is_read_while_it_lasts(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "SAVE_SECONDS", 0.1)
    output, over, seen = tmp_path / "runs" / "run.ipynb", threading.Event(), set[str]()

    def read() -> None:
        while not over.wait(0.02):
            if output.exists():
                found = re.findall(r"(\d[\d,]*), [\d,]+ rows written", text_of(json.loads(output.read_text())))
                seen.update(found)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        run_notebook(
            settings,
            notebook(tmp_path / "job.ipynb", JOB),
            {"batches": 10_000, "output": str(output)},
            output=output,
            about={"pipeline": "metrics", "version": "v7"},
        )
    finally:
        over.set()
        reader.join()
    assert {"2,500", "5,000", "7,500"} <= seen, "every save that was seen was a whole notebook"
    assert output.stat().st_size < 2_000_000
    content = nbformat.read(output, as_version=4)
    nbformat.validate(content)
    text = text_of(content)
    here = environment_of()
    for said in (
        "v7", "batches = 10000", here.package, here.lock_sha256, "10,000, 70,000 rows written", "messages/s",
        "retail.events 0:0 1:5", "retail.events 0:99990 1:5", "UTC: Cassandra does not answer.", "batch 0 of",
        "batch 9999 of", "characters left out", "a table of batch 9900",
    ):  # fmt: skip
        assert said in text, said
    assert "a table of batch 5000" not in text
    assert [path.name for path in output.parent.iterdir()] == ["run.ipynb"], "nothing is left beside it"


def text_of(content: dict) -> str:  # type: ignore[type-arg]
    parts = []
    for cell in content["cells"]:
        parts.append("".join(cell["source"]))
        for output in cell.get("outputs", ()):
            parts.append("".join(output.get("text", "")))
            parts.append("".join(output.get("data", {}).get("text/plain", "")))
    return "\n".join(parts)


def test_a_run_that_fails_says_so_in_its_record(settings: Settings, tmp_path: Path) -> None:
    output = tmp_path / "run.ipynb"
    with pytest.raises(JobError, match="ZeroDivisionError"):
        run_notebook(settings, notebook(tmp_path / "job.ipynb", "batches / 0, output"), {}, output=output)
    content = nbformat.read(output, as_version=4)
    assert content.metadata.papermill.exception is True
    assert any(o.output_type == "error" for cell in content.cells for o in cell.get("outputs", ()))


def test_one_output_that_is_too_large_is_left_out() -> None:
    large = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "x" * 3_000_000}}
    error = {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["y" * 3_000_000]}
    content = pruned({"cells": [{"outputs": [large, error]}, {"source": "no outputs"}]})
    assert len(json.dumps(content)) < 200_000
    assert "3,000,0" in content["cells"][0]["outputs"][0]["data"]["text/plain"]
