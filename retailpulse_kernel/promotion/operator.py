"""Airflow's side of a promoted notebook: the operator that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.papermill.operators.papermill import NoteBook, PapermillOperator
from airflow.sdk.exceptions import AirflowFailException

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.monitoring.runs import counted
from retailpulse_kernel.promotion.production import run_current
from retailpulse_kernel.running import request_stop
from retailpulse_kernel.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PipelineOperator"]


class PipelineOperator(PapermillOperator):
    """Run the current version of a pipeline.

    Papermill's own operator leaves the kernel and Spark behind when its task is ended, and runs a notebook
    that it was given when the DAG was read. This one ends after the micro-batch that is under way when it gets
    SIGTERM, runs whatever version is current when it starts, and fails when the kernel or the query does.

    Parameters
    ----------
    pipeline : str
        The pipeline's name.
    profile, namespace : str, optional
        Which servers, which set of tables; from the environment when absent.
    """

    template_fields = ("pipeline", "profile", "namespace")
    ui_color = "#fde2c4"

    def __init__(
        self, *, pipeline: str, profile: str | None = None, namespace: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.profile = profile
        self.namespace = namespace

    @counted
    def execute(self, context: Context) -> str:
        """Run it; returns the path of the output notebook."""
        settings = Settings.load(profile=self.profile, namespace=self.namespace)
        try:
            done = run_current(settings, self.pipeline, show_output=self.log_output)
        except UsageError as error:
            # What the caller has to mend, another try won't.
            raise AirflowFailException(str(error)) from error
        self.input_nb = NoteBook(url=str(done.notebook), parameters=done.parameters)
        self.output_nb = NoteBook(url=str(done.output))
        self.log.info("%s ran for %.1f s: %s", self.pipeline, done.seconds, done.output)
        return str(done.output)

    def on_kill(self) -> None:
        """Let the job end after its micro-batch."""
        request_stop()
