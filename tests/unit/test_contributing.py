"""CONTRIBUTING is true: each addition is made in a copy of the checkout by its entry alone, and used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.additions import ADDITIONS

ROOT = Path(__file__).resolve().parents[2]
#: What an addition may touch, and what its tests need.
COPIED = (
    "CONTRIBUTING.md", "README.md", "docs", "env", "grafana", "notebooks", "pyproject.toml", "retailpulse_kernel",
    "tests",
)  # fmt: skip
SECONDS = 120
_IN_THE_COPY = "import os, retailpulse_kernel; assert retailpulse_kernel.__file__.startswith(os.getcwd())"
#: Entries that name their files in parentheses: these files, and the text.
ENTRIES = {
    title: (re.findall(r"`([^`]+)`", files), text)
    for title, files, text in re.findall(
        r"^\*\*([^*]+)\*\* \((`[^)]+)\): (.+?)\n\n", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL
    )
}


def test_each_entry_that_names_its_files_is_tried() -> None:
    assert sorted(ENTRIES) == sorted(ADDITIONS)


@pytest.mark.parametrize("title", ADDITIONS)
def test_an_addition_takes_the_files_that_its_entry_names(title: str, tmp_path: Path) -> None:
    addition, (named, text), copy = ADDITIONS[title], ENTRIES[title], tmp_path / "checkout"
    for name in COPIED:
        # With the times of the files, so that Python finds them compiled.
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, _parent(copy / name))
    before = contents(copy)
    for name, anchor, added in addition.edits:
        insert(copy / name, anchor, added)
    for command in re.findall(r"`retailpulse ((?:new job|dashboards build)[^`]*)`", text):
        python(copy, "-m", "retailpulse_kernel.cli", *command.replace("NAME", "shelf").split())
    after = contents(copy)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

    unnamed = [name for name in changed if name not in named]
    for name in (name for name in named if name not in changed):
        pattern = re.escape(name).replace("NAME", r"[\w-]+")
        found = [other for other in unnamed if re.fullmatch(pattern, other)]
        assert found, f"the entry names {name}, which is not needed; needed are {changed}"
        unnamed.remove(found[0])
    assert unnamed == [], "the entry does not name these"
    ours = (name for name in changed if not (copy / name).with_name("pyproject.toml").exists())
    scripts = [name for name in ours if name.endswith(".py")]
    for verb in (["check"], ["format", "--check"]) if scripts else ():
        python(copy, "-m", "ruff", *verb, "--no-cache", "--quiet", *scripts)
    code = [_IN_THE_COPY, addition.used]
    if addition.tests:
        files, _, chosen = addition.tests.partition(" -k ")
        asked = ["-q", "-pno:cacheprovider", *files.split(), *([f"-k{chosen}"] if chosen else [])]
        code.append(f"import pytest\nraise SystemExit(pytest.main({asked}))")
    python(copy, "-c", "\n".join(code))


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def insert(path: Path, anchor: str, added: str) -> None:
    """Add text behind an anchor, or make a new file."""
    text = path.read_text() if anchor else ""
    assert not anchor or text.count(anchor) == 1, f"{anchor!r} is not once in {path}"
    head, _, tail = text.partition(anchor) if anchor else ("", "", "")
    _parent(path).write_text(head + anchor + added + tail)


def python(copy: Path, *arguments: str) -> None:
    """Run a fresh Python on the copy; what packages of the copy's own offer is installed there."""
    path = [str(copy)]
    for project in copy.glob("*/pyproject.toml"):
        path += [str(project.parent), str(_installed(project, copy.parent / "site"))]
    home = str(copy.parent / "home")
    mine = {"PYTHONPATH": os.pathsep.join(path), "RETAILPULSE_HOME": home, "RETAILPULSE_TEST_HOME": home}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RETAILPULSE_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=kept | mine, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _installed(project: Path, site: Path) -> Path:
    """What installing a package leaves on the path: its name and its entry points."""
    about = tomllib.loads(project.read_text())["project"]
    folder = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    _parent(folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    lines = [f"[{group}]\n" + "".join(f"{n} = {m}\n" for n, m in found.items())
             for group, found in about["entry-points"].items()]  # fmt: skip
    (folder / "entry_points.txt").write_text("\n".join(lines))
    return site
