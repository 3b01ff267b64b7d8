"""The output notebook of a run: whole at every moment, small after many batches, and it tells what ran."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks import records
from retailpulse_kernel.notebooks.environment import environment_of
from retailpulse_kernel.notebooks.records import pruned
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.promotion.cutover.overview import runs_folder, runs_of
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry

#: A job as far as its record goes: a report that is kept up to date, and a line for each batch.
JOB = """
import time
from pathlib import Path
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.run.report import Report, shown

report = Report("metrics", "here", 3, state="running")
report.begin = {"retail.events": {"0": 0, "1": 5}}
with shown(report) as show:
    for batch in range(batches):
        ends = {"retail.events": {"0": 10 * batch, "1": 5}}
        report.add(Account("metrics", 3, batch, ends, 10, 8, 1, 1, 0, 7, 0, 1000 * batch, 1000 * batch + 500))
        print(f"batch {batch} of {batches}: something that somebody wanted to see in the log of the run" + 100 * ".")
        if batch % 100 == 0:
            show()
            display({"text/plain": f"a table of batch {batch}"}, raw=True)
        if batch % 2_500 == 2_499:  # goes on once that was saved, in the middle of the cell
            while f"{batch + 1:,}, " not in Path(output).read_text():
                show()
                time.sleep(0.02)
    report.fail("Cassandra does not answer.\\nand so on")
report
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
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_records")


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
        done = run_notebook(
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
    assert text.count("messages/s") == 1, "the cell's result is the report that it has kept up to date"
    (report,) = done.reports
    assert (report["job"], report["batches"], report["lag"]) == ("metrics", 10_000, 0)
    assert report["messages"] == {
        "consumed": 100_000, "accepted": 80_000, "duplicate": 10_000, "late": 10_000, "bad": 0, "ahead": 0,
        "rows": 70_000, "lost": 0, "further_events": 0,
    }  # fmt: skip
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


def test_a_run_whose_kernel_dies_has_failed(settings: Settings, tmp_path: Path) -> None:
    """Papermill's own words for it are those of a run that ended well."""
    Registry(settings).freeze(
        notebook(tmp_path / "job.ipynb"), Manifest("job", 1, "job.ipynb", "", "batch", "", "", "2026-01-01")
    )
    dying = notebook(tmp_path / "job.ipynb", "import os; os._exit(batches if not output else 0)")
    with pytest.raises(JobError, match="lost its kernel"):
        run_notebook(settings, dying, {}, output=runs_folder(settings, "job") / "a.ipynb")
    (run,) = runs_of(settings, "job", limit=9)
    assert run["state"] == "failed" and "lost its kernel" in run["error"]


def test_a_kernel_that_does_not_start_says_why(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ipykernel_launcher.py").write_text("raise ImportError('no kernel here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(JobError, match="ImportError: no kernel here"):
        run_notebook(settings, notebook(tmp_path / "job.ipynb", "batches, output"), {})


SOCKETS = """
from ipykernel.connect import get_connection_info
told = get_connection_info(unpack=True)
print(told["transport"], told["ip"], batches, output)
"""


@pytest.mark.parametrize("folder", ["t", "a-folder-whose-name-is-so-long-that-no-socket-has-a-path-in-it-" + 60 * "x"])
def test_no_other_user_reaches_the_kernel(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], folder: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    look = "from pathlib import Path; print(oct(Path(told['ip']).parent.stat().st_mode & 0o777))"
    done = run_notebook(settings, notebook(tmp_path / "a.ipynb", SOCKETS, look), {})
    shown = text_of(nbformat.read(done.output, as_version=4))
    assert re.search(r"^ipc /\S+/kernel 1", shown, re.MULTILINE) and "0o700" in shown
    assert capfd.readouterr().err == "", "nothing that the run has not to say"


def test_one_output_that_is_too_large_is_left_out() -> None:
    large = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "x" * 3_000_000}}
    error = {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["y" * 3_000_000]}
    content = pruned({"cells": [{"outputs": [large, error]}, {"source": "no outputs"}]})
    assert len(json.dumps(content)) < 200_000
    assert "3,000,0" in content["cells"][0]["outputs"][0]["data"]["text/plain"]
