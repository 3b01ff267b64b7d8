"""`retailpulse runs JOB --open`: JupyterLab on the newest record, which it can't change."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.lab.readonly import ReadOnlyContents
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.promotion.cutover.overview import runs_folder
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry


def test_a_record_is_read_and_never_written(tmp_path: Path) -> None:
    path = tmp_path / "run.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("as it was")]), path)
    before = path.read_bytes()
    contents = ReadOnlyContents(root_dir=str(tmp_path))

    async def use() -> None:
        model = await contents.get("run.ipynb")
        assert model["writable"] is False and model["content"]["cells"][0]["source"] == "as it was"
        for action in (
            contents.save(model, "run.ipynb"),
            contents.delete_file("run.ipynb"),
            contents.rename_file("run.ipynb", "other.ipynb"),
        ):
            with pytest.raises(Exception, match="read-only"):
                await action

    asyncio.run(use())
    assert path.read_bytes() == before and sorted(tmp_path.glob("*.ipynb")) == [path]


def test_the_newest_record_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in (("HOME", "home"), ("PIPELINES", "pipelines")):
        monkeypatch.setenv(f"RETAILPULSE_{name}", str(tmp_path / folder))
    settings = Settings.load()
    source = tmp_path / "job.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), source)
    Registry(settings).freeze(source, Manifest("job", 1, "job.ipynb", "", "batch", "", "", "", {}, Environment("", "")))
    result = CliRunner().invoke(app, ["runs", "job", "--open"])
    assert "has not run yet" in str(result.exception)
    folder = runs_folder(settings, "job")
    folder.mkdir(parents=True)
    for name in ("20260101T000000-v1-1.ipynb", "20260102T000000-v1-1.ipynb"):
        nbformat.write(nbformat.v4.new_notebook(), folder / name)
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, command, env: started.append(command))
    CliRunner().invoke(app, ["runs", "job", "--open", "--no-browser", "--port", "9999"])
    (command,) = started
    assert f"--ServerApp.root_dir={folder}" in command and "--port=9999" in command
    assert "--LabApp.default_url=/lab/tree/20260102T000000-v1-1.ipynb" in command
    assert "--ServerApp.contents_manager_class=retailpulse_kernel.lab.readonly.ReadOnlyContents" in command
