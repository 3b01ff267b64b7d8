"""The worked notebooks in the demo: each passes the gate, and then runs as the promoted job that it has become."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table

from retailpulse_kernel.demo.jobs import CLI, failed, start_logged, worked_folder, worked_jobs
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.streaming.checkpoint.accounts import Accounts

__all__ = ["NAMESPACE", "Worked", "where_to_look", "with_worked"]

#: The namespace of the worked notebooks' live events; a file has one of its own.
NAMESPACE = "worked"
_LOOK_SECONDS = 0.5
#: How a notebook is promoted whose job ends with the topic.
_TO_THE_END = ("-p", "run=available_now", "--schedule", "")


def with_worked(settings: Settings) -> Settings:
    """The same servers and namespace, with the contract of the worked notebooks and a folder for their versions.

    The versions lie under the home, not among those that the project ships: Airflow runs all of these.

    Parameters
    ----------
    settings : Settings
        Those of the demo.
    """
    folder = settings.home / "demo" / settings.namespace.name / "pipelines"
    made = settings.model_copy(update={"contract_file": worked_folder() / "shop.toml", "pipelines": folder})
    made.__dict__.pop("contract", None)
    return made


def where_to_look(settings: Settings, console: Console, *, servers_stopped: bool) -> None:
    """Say how the tables of the worked notebooks are seen after the demo.

    Parameters
    ----------
    settings : Settings
        Those of the demo, as `with_worked` gives them.
    console : Console
        Gets the lines.
    servers_stopped : bool
        Whether the demo has stopped the servers.
    """
    option = settings.namespace.option
    console.print(f"The tables stay in the namespace {settings.namespace.name}. To see them:", soft_wrap=True)
    for name in ("RETAILPULSE_CONTRACT", "RETAILPULSE_PIPELINES"):
        console.print(f"  export {name}={environment(settings)[name]}", soft_wrap=True)
    if servers_stopped:
        console.print("  retailpulse up")
    console.print(f"  retailpulse tables{option}")
    console.print(
        f'  retailpulse lab{option}       and in a notebook: rp.table("margin")', markup=False, soft_wrap=True
    )


class Worked:
    """The worked notebooks of a demo, on their way into production.

    Parameters
    ----------
    settings : Settings
        Those of the demo, as `with_worked` gives them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._states = dict.fromkeys(worked_jobs(), "waits for the gate")
        self._rows: Counter[str] = Counter()
        self._accounts: Accounts | None = None
        #: What the supervisor calls the jobs that run.
        self.programs: list[str] = []

    def __rich__(self) -> RenderableType:
        table = Table(box=None, padding=(0, 1))
        for column in ("job", "rows written", "state"):
            table.add_column(column, justify="right" if column == "rows written" else "left")
        for name, state in self._states.items():
            table.add_row(name, f"{self._rows[name]:,}", state)
        return Panel(table, title="Worked notebooks", title_align="left")

    def lines(self) -> list[str]:
        """A line for each notebook, for a log."""
        return [f"  {name}: {self._rows[name]:,} rows written, {state}" for name, state in self._states.items()]

    def read(self) -> None:
        """Count the rows that the jobs have written, in all of their tables.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        """
        if self._accounts is None:
            self._accounts = Accounts(self._settings, further=True)
            self._accounts.catch_up()
        else:
            self._accounts.poll()
        self._rows = Counter()
        for account in self._accounts.all():
            self._rows[account.job] += account.rows

    def close(self) -> None:
        """Close the connection."""
        if self._accounts is not None:
            self._accounts.close()

    def promote_and_start(self, over: threading.Event) -> None:
        """Promote one notebook after the other, and run each promoted job under the stack's supervisor.

        Parameters
        ----------
        over : threading.Event
            Set at the demo's end: a gate is left then, and no further job starts.
        """
        for name in self._states:
            passed = self._promote(name, over)
            if over.is_set():
                return
            if passed:
                self.programs.append(f"job-{name}")
                command, variables = [*CLI, "run", name], environment(self._settings)
                supervision.start_program(self._settings, f"job-{name}", command, env=variables)
                self._states[name] = "promoted, runs"

    def promote_and_run(self, console: Console) -> None:
        """Promote one notebook after the other, and let each promoted job take the topic to its end.

        Parameters
        ----------
        console : Console
            Gets a line for each.

        Raises
        ------
        JobError
            A notebook was refused, or its job failed; the last line of the log is in the message.
        """
        over = threading.Event()
        for name in self._states:
            began = time.monotonic()
            with console.status(f"{name} is at the gate …"):
                passed = self._promote(name, over, *_TO_THE_END)
            if not passed:
                raise failed(self._settings, f"The worked notebook {name!r}", _gate_log(name))
            with console.status(f"{name} takes the topic to its end …"):
                if not self._ends_well(["run", name], f"job-{name}", over):
                    raise failed(self._settings, f"The worked notebook {name!r}", f"job-{name}")
            self._states[name] = "promoted, has taken all"
            console.print(f"  [green]✓[/] {name:<16} {time.monotonic() - began:5.1f} s")

    def _promote(self, name: str, over: threading.Event, *options: str) -> bool:
        """Take a notebook through the gate; whether it passed."""
        self._states[name] = "is at the gate"
        notebook = str(worked_folder() / f"{name}.ipynb")
        passed = self._ends_well(["promote", notebook, *options], _gate_log(name), over)
        if not passed:
            self._states[name] = f"was not promoted: `retailpulse logs {_gate_log(name)}` shows why"
        return passed

    def _ends_well(self, arguments: Sequence[str], log: str, over: threading.Event) -> bool:
        """Whether a command ends without an error. It is ended in order where the demo is over before."""
        process = start_logged(self._settings, [*CLI, *arguments], log)
        try:
            while process.poll() is None and not over.wait(_LOOK_SECONDS):
                pass
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
        return process.returncode == 0


def _gate_log(name: str) -> str:
    return f"promote-{name}"
