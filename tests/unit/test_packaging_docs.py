"""What people read says what is there: the command's help, the README, CONTRIBUTING, the decisions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from retailpulse_kernel.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


class TestCommand:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_has_help_for_itself_and_each_option(self, name: str) -> None:
        command = COMMANDS[name]
        assert command.help
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, parameter.opts

    @pytest.mark.parametrize("name", COMMANDS)
    @pytest.mark.parametrize("flag", ["-h", "--help"])
    def test_shows_its_help(self, name: str, flag: str) -> None:
        result = CliRunner().invoke(app, [name, flag])
        assert result.exit_code == 0
        assert "Usage:" in result.output

    def test_the_readme_lists_exactly_the_commands(self) -> None:
        listed = re.findall(r"^\| `retailpulse (\w+)[^`]*` \|", README, re.MULTILINE)
        assert sorted(listed) == sorted(COMMANDS)

    def test_is_installed(self) -> None:
        command = Path(sys.executable).with_name("retailpulse")
        done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert all(name in done.stdout for name in COMMANDS)


class TestPages:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_links_lead_somewhere(self, page: Path) -> None:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), target

    @pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
    def test_names_paths_that_exist(self, page: str) -> None:
        code = re.findall(r"`([\w./-]+)`", page)
        paths = [c for c in code if "/" in c and "NAME" not in c and not c.startswith((".venv", ".retailpulse"))]
        assert paths
        roots = (ROOT, ROOT / "retailpulse_kernel")  # CONTRIBUTING shortens what it has just named in full
        assert [path for path in paths if not any((root / path).exists() for root in roots)] == []

    @pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
    def test_names_make_targets_that_exist(self, page: str) -> None:
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        named = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", page, re.MULTILINE))
        assert {a or b for a, b in named} <= targets

    def test_decisions_are_numbered_without_gaps(self) -> None:
        decisions = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
        assert [path.name[:4] for path in decisions] == [f"{n:04}" for n in range(1, len(decisions) + 1)]
        for number, path in enumerate(decisions, 1):
            assert path.read_text().startswith(f"# {number}. ")


class TestPreCommit:
    def test_is_valid_and_uses_installed_programs(self) -> None:
        config = ROOT / ".pre-commit-config.yaml"
        programs = Path(sys.executable).parent
        subprocess.run([programs / "pre-commit", "validate-config", config], check=True, timeout=60)
        for program in re.findall(r"entry: \.venv/bin/(\S+)", config.read_text()):
            assert (programs / program).is_file()
