"""A new job's notebook: what is made, which names it can have, and that it is fit for promotion."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import jupytext
import pytest
from typer.testing import CliRunner

import retailpulse_kernel as rp
from retailpulse_kernel.cli import app
from retailpulse_kernel.ground.errors import EventError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import read_notebook
from retailpulse_kernel.notebooks.parameters import read_parameters
from retailpulse_kernel.promotion.gate.static import static_problems
from retailpulse_kernel.scaffold.jobs import NewJob, new_job
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.figures import EVENTS, ORDERS, REVENUE, UNITS
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.streaming.intake.given import given_events
from retailpulse_kernel.streaming.run.differing import differences
from retailpulse_kernel.streaming.run.given_tables import of_type, rows_of

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings.load(pipelines=ROOT / "pipelines")


@pytest.fixture
def made(tmp_path: Path) -> NewJob:
    return new_job(SETTINGS, "brand_sales", tmp_path)


def cells(path: Path) -> list[tuple[str, str, list[str]]]:
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in jupytext.read(path).cells]


class TestNotebook:
    def test_says_the_same_as_its_script(self, made: NewJob) -> None:
        assert cells(made.notebook) == cells(made.script)
        assert read_notebook(made.notebook).metadata.jupytext.formats == "ipynb,py:percent"

    def test_is_what_the_gate_accepts_without_running_it(self, made: NewJob) -> None:
        assert static_problems(made.notebook, {"run": "continuous", "run_for": "30m"}) == []
        parameters = read_parameters(made.notebook)
        assert list(parameters) == ["run", "run_for", "watermark", "since", "until"]
        assert all(parameter.help for parameter in parameters.values())

    def test_has_a_test_and_bears_its_own_name_only(self, made: NewJob) -> None:
        assert [source for _, source, tags in cells(made.notebook) if tags == ["test"]]
        assert 'rp.job("brand_sales"' in made.script.read_text()
        assert "my_job" not in made.script.read_text() + made.notebook.read_text()

    @pytest.mark.parametrize("name", ["a", "x" * 40])
    def test_keeps_the_project_s_style(self, name: str, tmp_path: Path) -> None:
        script = new_job(SETTINGS, name, tmp_path).script
        for verb in (["check"], ["format", "--check"]):
            command = [
                Path(sys.executable).with_name("ruff"),
                *verb,
                "--quiet",
                "--stdin-filename",
                f"notebooks/{name}.py",
            ]
            done = subprocess.run([*command, "-"], input=script.read_text(), capture_output=True, text=True, cwd=ROOT)
            assert (done.returncode, done.stdout) == (0, "")

    def test_tests_numbers_that_a_plain_loop_finds_too(self, made: NewJob) -> None:
        (source,) = (source for _, source, tags in cells(made.notebook) if tags == ["test"])
        table = FigureTable("brand_sales", (EVENTS, UNITS, REVENUE, ORDERS), ("currency", "category"), (GRAINS["day"],))
        fields = shipped().by_name

        class Loop:
            def test(self, name: str, *, given: str, expected: dict[str, str]) -> None:
                rows = [{n: of_type(fields[n].type, cell) for n, cell in row.items()} for row in rows_of(given)]
                found = fold(given_events(rows), table, GRAINS["day"])
                assert differences(rows_of(expected["brand_sales_day"]), found, ["category"]) == []

        exec(source, {"job": Loop()})
        with pytest.raises(AssertionError):
            exec(source.replace("12.50", "12.51"), {"job": Loop()})


class TestName:
    @pytest.mark.parametrize(
        "name", ["", "Sales", "brand-sales", "2_sales", "_sales", "sales.ipynb", "../sales", "import", "x" * 41]
    )
    def test_that_can_t_be_one_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="can't be the name of a job"):
            new_job(SETTINGS, name, tmp_path)

    @pytest.mark.parametrize("name", ["metrics", "archive", "close_day"])
    def test_of_a_shipped_job_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=f"There is a job '{name}' already"):
            new_job(SETTINGS, name, tmp_path)

    @pytest.mark.parametrize(
        ("name", "owner"), [("category", "metrics"), ("user", "engagement"), ("events", "archive")]
    )
    def test_whose_tables_are_another_job_s_is_refused(self, name: str, owner: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=f"The table '{name}' is written by the job '{owner}'"):
            new_job(SETTINGS, name, tmp_path)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", [".ipynb", ".py"])
    def test_of_a_file_that_exists_is_refused(self, suffix: str, tmp_path: Path) -> None:
        mine = tmp_path / f"sales{suffix}"
        mine.write_text("mine")
        with pytest.raises(UsageError, match="exists and is not overwritten"):
            new_job(SETTINGS, "sales", tmp_path)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(mine.name, "mine")]

    def test_where_nothing_can_be_written_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(UsageError, match="can't be written"):
            new_job(SETTINGS, "sales", tmp_path / "file" / "folder")


class TestCommand:
    def test_says_where_the_notebook_is_and_what_comes_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(app, ["new", "job", "sales", "--folder", "my jobs"])
        assert done.exit_code == 0, done.output
        assert (tmp_path / "my jobs" / "sales.ipynb").is_file() and (tmp_path / "my jobs" / "sales.py").is_file()
        first, _, *commands = done.output.splitlines()
        assert first.startswith("The job sales is in my jobs/sales.ipynb")
        assert [command.split("retailpulse ")[1] for command in commands] == [
            "run 'my jobs/sales.ipynb'",
            "promote --dry-run 'my jobs/sales.ipynb'",
            "promote 'my jobs/sales.ipynb'",
        ]

    def test_does_the_same_as_the_line_in_a_notebook(self, tmp_path: Path) -> None:
        made = rp.new_job("sales", tmp_path)
        assert made.notebook == tmp_path / "sales.ipynb" and "retailpulse promote" in repr(made)


class TestGivenEvents:
    def test_are_filled_in(self) -> None:
        view, purchase = given_events([{}, {"event_type": "purchase", "price": Decimal("2.50"), "category": "books"}])
        assert (view.event_type, view.category, view.order_id) == ("view", "unknown", None)
        assert (purchase.price, purchase.order_line, purchase.quantity) == (Decimal("2.50"), 1, 1)
        assert view.event_id != purchase.event_id and view.event_time == purchase.event_time

    def test_that_are_events_already_stay_as_they_are(self) -> None:
        (event,) = given_events([{"user_id": "u9"}])
        assert given_events([event]) == [event]

    def test_with_a_field_that_is_none_are_refused(self) -> None:
        with pytest.raises(UnknownName, match="Did you mean 'category'"):
            given_events([{"categroy": "books"}])

    def test_are_judged_as_messages_are(self) -> None:
        with pytest.raises(EventError, match="missing:price"):
            given_events([{"event_type": "purchase"}])
