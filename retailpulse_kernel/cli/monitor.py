"""The monitor's command."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import ProfileOption
from retailpulse_kernel.ground.settings import Settings

__all__: list[str] = []


@app.command()
def monitor(
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on, on this machine only.", min=1, max=65_535, show_default="8091"),
    ] = None,
    statsd_host: Annotated[
        str,
        typer.Option(
            help="Address that receives Airflow's StatsD metrics. 0.0.0.0: other machines can send metrics too."
        ),
    ] = "127.0.0.1",
    profile: ProfileOption = None,
) -> None:
    """Collect the metrics of all local processes for Prometheus. `retailpulse up prometheus` starts the monitor too."""
    from retailpulse_kernel.monitoring.monitor import Monitor
    from retailpulse_kernel.stack.observers import MONITOR_PORT

    settings = Settings.load(profile=profile)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    Monitor(settings).serve(port or MONITOR_PORT + settings.port_offset, stop, statsd_host=statsd_host)
