"""Airflow's side of a promoted notebook: the operator that runs it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.papermill.operators.papermill import NoteBook, PapermillOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from retailpulse_kernel.ground.errors import CheckFailed, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import request_stop
from retailpulse_kernel.promotion.airflow.runs import counted
from retailpulse_kernel.promotion.cutover.production import run_current
from retailpulse_kernel.promotion.registry.manifest import CONTINUOUS
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.stores.kafka.topics import ensure_topics

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

__all__ = ["PipelineOperator"]

#: The XCom with the sentence of a run that ended with a verdict.
VERDICT = "verdict"
#: How often Airflow is asked whether the DAG was paused there.
_ASK_SECONDS = 10.0


class OutputNotebook(BaseOperatorLink):
    """The link from a run to its output notebook, from its first second on."""

    name = "Output notebook"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The address of the page that shows the output notebook.

        Parameters
        ----------
        operator : object
            The operator whose run is shown.
        ti_key : TaskInstanceKey
            The task instance; the operator already knows the address.
        """
        return operator.output_url if isinstance(operator, PipelineOperator) else ""


class PipelineOperator(PapermillOperator):
    """Run the current version of a pipeline.

    Papermill's own operator leaves the kernel and Spark behind when its task is ended, and its notebook is fixed when
    the DAG is read. This operator runs the version that is current when the run starts. The run ends after its present
    micro-batch on SIGTERM, when the DAG is paused, or when the worker dies. The run fails when the kernel or the query
    fails, and Airflow tries again. A run whose check found something fails at once: the check's sentence is in the
    task's log and in the XCom `verdict`. A continuous job with such a verdict is held until somebody resumes it.

    Parameters
    ----------
    pipeline : str
        The pipeline's name.
    profile, namespace : str, optional
        The servers, and the namespace; from the environment when absent.
    """

    template_fields = ("pipeline", "profile", "namespace")
    operator_extra_links = (OutputNotebook(),)
    ui_color = "#fde2c4"

    def __init__(
        self, *, pipeline: str, profile: str | None = None, namespace: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.profile = profile
        self.namespace = namespace
        self.output_url = ""

    @counted
    def execute(self, context: Context) -> str:
        """Run the pipeline's current version.

        Parameters
        ----------
        context : Context
            Airflow's, of this task instance.

        Returns
        -------
        str
            The path of the output notebook.

        Raises
        ------
        AirflowSkipException
            The pipeline is held.
        AirflowFailException
            A check found something, or the user has to mend something: another try would end the same.
        """
        settings = Settings.load(profile=self.profile, namespace=self.namespace)
        registry = Registry(settings)
        if registry.current(self.pipeline).paused:
            raise AirflowSkipException(
                f"{self.pipeline} is held: `retailpulse resume {self.pipeline}` resumes the job."
            )
        version = registry.version(self.pipeline)
        if version.manifest.plan is not None:
            ensure_topics(settings)
        try:
            done = run_current(
                settings,
                self.pipeline,
                show_output=self.log_output,
                began=lambda output: self._link(context, output),
                stop_when=_ended_by_airflow(context, version),
            )
        except (CheckFailed, UsageError) as error:
            if version.manifest.schedule == CONTINUOUS and isinstance(error, UsageError):
                raise  # with a pause before each try: the next run would begin at once
            if version.manifest.schedule == CONTINUOUS:
                registry.pause(self.pipeline, paused=True)  # a stream has no end, and its next run would find the same
            # A verdict, or what the caller has to mend: another try ends the same.
            if "ti" in context:
                context["ti"].xcom_push(key=VERDICT, value=str(error))
            raise AirflowFailException(str(error)) from error
        self.input_nb = NoteBook(url=str(done.notebook), parameters=done.parameters)
        self.output_nb = NoteBook(url=str(done.output))
        self._record(context, version, done.output)
        self.log.info("%s ran for %.1f s: %s", self.pipeline, done.seconds, done.output)
        return str(done.output)

    def on_kill(self) -> None:
        """Let the job end after its micro-batch."""
        request_stop()

    def _link(self, context: Context, output: Path) -> None:
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        self.output_url = f"{base}/retailpulse/runs/{self.pipeline}/{output.name}"
        if "ti" in context:
            context["ti"].xcom_push(key=OutputNotebook().xcom_key, value=self.output_url)

    def _record(self, context: Context, version: Version, output: Path) -> None:
        """What the event of each asset says of the run that updated it."""
        if "outlet_events" in context:
            for asset in self.outlets:
                context["outlet_events"][asset].extra = {"version": version.label, "notebook": output.name}


def _ended_by_airflow(context: Context, version: Version) -> Callable[[], bool]:
    """Asked every second: whether the DAG was paused in Airflow, or nobody supervises this task any more."""
    parent, asked, paused = os.getppid(), time.monotonic(), False

    def ended() -> bool:
        nonlocal asked, paused
        if os.getppid() != parent:
            if version.manifest.plan is None:
                # A batch notebook ends nowhere but at its end, and another worker is about to begin it anew.
                os._exit(1)
            return True
        if version.manifest.schedule == CONTINUOUS and "ti" in context and time.monotonic() - asked > _ASK_SECONDS:
            asked = time.monotonic()
            # While the API server restarts there is no answer.
            with contextlib.suppress(Exception):
                paused = context["ti"].get_dag(context["ti"].dag_id).is_paused
        return paused

    return ended
