"""The picture of the package is that of its floors."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from retailpulse_kernel.demo.jobs import demo_jobs, job_command, job_notebook

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
PACKAGE = Path(__file__).resolve().parents[2] / "retailpulse_kernel"
#: Modules of a folder, at most.
DOZEN = 14


def test_the_picture_is_drawn_from_the_floors() -> None:
    drawing = runpy.run_path(str(IMAGES / "architecture.py"))["drawing"]
    assert (IMAGES / "architecture.svg").read_text() == drawing(), "python docs/images/architecture.py"


def test_every_room_is_on_a_floor() -> None:
    floors = runpy.run_path(str(IMAGES / "architecture.py"))["floors"]()
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(room for floor in floors for room in floor) == sorted(rooms)


def test_no_room_is_crowded() -> None:
    crowded = {
        folder.relative_to(PACKAGE).as_posix(): len(modules)
        for folder in [PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))]
        if len(modules := [path for path in folder.glob("*.py") if path.name != "__init__.py"]) > DOZEN
    }
    assert crowded == {}


def test_no_module_names_a_job() -> None:
    """What a job does is in its plan: jobs that are called otherwise do as well."""
    names = "|".join(demo_jobs())
    quoted = rf"""["'`*]({names})\b"""
    naming = re.compile(rf"""\bjobs?\b\W{{0,3}}{quoted}|{quoted}["'`*]* job\b|\.job\W+{quoted}|jobs/({names})\b""")
    sources = (path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".mjs", ".template", ".css"))
    named = {
        f"{path.relative_to(PACKAGE)}:{number}": line.strip()
        for path in sources
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if naming.search(line)
    }
    assert named == {}


def test_the_demo_s_jobs_are_notebooks() -> None:
    assert all(job_notebook(name).is_file() for name in demo_jobs())
    assert job_command(demo_jobs()[0], run="continuous")[-3:] == ["-p", "run", "continuous"]
