"""Commands that go on and answer over HTTP: the read API, and the monitor for Prometheus."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import NamespaceOption, ProfileOption, end_asked
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings

__all__: list[str] = []

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_GRACE_SECONDS = 10
#: Longer than Grafana keeps an idle connection: we must not close one just as a request comes.
_IDLE_SECONDS = 120


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8090,
    token: Annotated[
        str | None, typer.Option(help="Where the token is found: env:NAME, file:PATH or keyring:SERVICE/USER.")
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Serve figures and tables over HTTP, for Grafana and other readers. `/docs` lists the requests."""
    from retailpulse_kernel.ground.credentials import resolve_secret

    if token is None and host not in _LOOPBACK:
        raise UsageError(
            f"The read API does not listen on {host} without a token.",
            remedy="Name one with --token file:PATH, or leave --host away.",
        )
    secret = None if token is None else resolve_secret(token)
    if secret is not None and not secret.strip():
        raise UsageError(f"The token behind {token} is empty.", remedy="Write one there.")
    settings = Settings.load(profile=profile, namespace=namespace)

    require_extra("api")

    import uvicorn

    from retailpulse_kernel.api.app import create_app
    from retailpulse_kernel.api.sources import Sources
    from retailpulse_kernel.stores.registry import event_archive, serving_store
    from retailpulse_kernel.telemetry.recording import recording

    store, archive = serving_store(settings), event_archive(settings)  # of the latter only the files
    sources = Sources(store, settings)
    try:
        with recording(settings, "api", "api") as values:
            api = create_app(
                store, token=secret, hosts=None if secret else sorted(_LOOPBACK), values=values,
                archive=lambda: archive.archive, sources=sources,
            )  # fmt: skip
            values.before_flush(api.state.measure)
            # uvicorn raises the signal once more when all is answered: it must not end us before our own clean-up.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            uvicorn.run(
                api, host=host, port=port, log_level="warning", access_log=False,
                timeout_graceful_shutdown=_GRACE_SECONDS, timeout_keep_alive=_IDLE_SECONDS,
            )  # fmt: skip
    finally:
        sources.close()


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
    """Collect the metrics of all local processes for Prometheus. `retailpulse up prometheus` starts the monitor too.

    The monitor also keeps a Grafana dashboard for each promoted job in the folder `dashboards` of the home.
    """
    from retailpulse_kernel.dashboards.keeping import keep_dashboards
    from retailpulse_kernel.monitoring.monitor import Monitor
    from retailpulse_kernel.stack.observers import MONITOR_PORT

    settings = Settings.load(profile=profile)
    end = end_asked()
    further = {"dashboards": lambda _values: keep_dashboards(settings)}
    Monitor(settings, further).serve(port or MONITOR_PORT + settings.port_offset, end, statsd_host=statsd_host)
