"""A run's output notebook as its record: written whole or not at all, and small however long the run lasts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from papermill.iorw import LocalHandler, papermill_io

from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.streaming.run.report import MIME

__all__ = ["SAVE_SECONDS", "header", "note_failure", "pruned", "reports_in", "save_whole"]

#: How often a record is saved while a cell runs, where it has new output.
SAVE_SECONDS = 5
#: The tag of the cell that says what runs.
HEADER = "run-record"

#: Characters of a record that is cut, and what is left then of a cell's text and how many of its other outputs.
_LONG = 1_000_000
_HEAD, _TAIL = 16_000, 64_000
_DISPLAYS = 20
_LARGEST = 200_000


class _Handler(LocalHandler):
    """Papermill's way to files, in which a reader never finds half a notebook."""

    def write(self, buf: str, path: str) -> None:
        """Write a notebook in the place of the one that is there."""
        if len(buf) > _LONG:
            buf = json.dumps(pruned(json.loads(buf)), indent=1, ensure_ascii=False)
        write_whole(Path(self._cwd or "", path), buf)


_known: set[str] = set()


def save_whole(folder: Path) -> None:
    """Let papermill save what lies in a folder whole or not at all.

    Parameters
    ----------
    folder : Path
        Where records are; what papermill saves elsewhere is left alone.
    """
    if str(folder) not in _known:
        _known.add(str(folder))
        papermill_io.register(str(folder), _Handler())


def note_failure(output: Path, error: BaseException) -> None:
    """Keep in a record why its run failed: papermill does so for an error in a cell, and for nothing else.

    Parameters
    ----------
    output : Path
        The record.
    error : BaseException
        Why the run failed.
    """
    content = json.loads(output.read_text())
    content["metadata"]["retailpulse"]["error"] = str(error) or type(error).__name__
    _Handler().write(json.dumps(content, indent=1, ensure_ascii=False), str(output))


def reports_in(output: Path) -> list[dict[str, Any]]:
    """The reports of the jobs that a record's notebook ran, as numbers.

    Parameters
    ----------
    output : Path
        The record.
    """
    outputs = (shown for cell in nbformat.read(output, as_version=4).cells for shown in cell.get("outputs", ()))
    return [shown["data"][MIME] for shown in outputs if MIME in shown.get("data", {})]


def pruned(content: dict[str, Any]) -> dict[str, Any]:
    """A notebook whose cells keep the beginning and the end of what they printed, and their newest outputs.

    Parameters
    ----------
    content : dict
        A notebook as JSON has it; it is not changed.
    """
    for cell in content["cells"]:
        if cell.get("outputs"):
            cell["outputs"] = _few(cell["outputs"])
    return content


def _few(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    texts: dict[str, str] = {}
    others: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream":
            texts[output["name"]] = texts.get(output["name"], "") + "".join(output["text"])
        else:
            others.append(output)
    streams = [{"output_type": "stream", "name": name, "text": _ends(text)} for name, text in texts.items()]
    # The first is a job's report, which is shown once and then kept up to date.
    kept = others if len(others) <= _DISPLAYS else [others[0], *others[1 - _DISPLAYS :]]
    return [*streams, *(output if len(json.dumps(output)) <= _LARGEST else _left_out(output) for output in kept)]


def _ends(text: str) -> str:
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]}\n… {len(text) - _HEAD - _TAIL:,} characters left out …\n{text[-_TAIL:]}"


def _left_out(output: dict[str, Any]) -> dict[str, Any]:
    if output["output_type"] == "error":
        return {**output, "traceback": [_ends("\n".join(output["traceback"]))]}
    said = f"(an output of {len(json.dumps(output)):,} characters is left out)"
    return {"output_type": "display_data", "metadata": {}, "data": {"text/plain": said}}


def header(about: Mapping[str, Any]) -> Any:
    """The cell that says what runs: version, commit, environment, parameters.

    Parameters
    ----------
    about : mapping
        By what each line is called.
    """
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in about.items() if value)
    return nbformat.v4.new_markdown_cell(f"| run | |\n| --- | --- |\n{rows}", metadata={"tags": [HEADER]})


def _cell(value: Any) -> str:
    text = ", ".join(f"{name} = {part}" for name, part in value.items()) if isinstance(value, Mapping) else str(value)
    return f"`{text}`".replace("|", "\\|").replace("\n", " ")
