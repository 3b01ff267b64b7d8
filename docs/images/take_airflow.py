"""Takes the README's picture of a DAG's run from a running Airflow: ``python docs/images/take_airflow.py metrics``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.browser import chromium
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stack.airflow import login

HERE = Path(__file__).parent


def main(dag: str) -> None:
    """Log in as a person does, open the newest run's task, take the picture."""
    place = login(Settings.load())
    with chromium(viewport={"width": 1500, "height": 900}) as context:
        page = context.new_page()
        page.goto(place.url)
        page.locator("input[name=username]").fill(place.user)
        page.locator("input[name=password]").fill(json.loads(place.passwords.read_text())[place.user])
        page.locator("button[type=submit]").click()
        page.wait_for_url(lambda url: "login" not in url)
        found = context.request.get(f"{place.url}/api/v2/dags/{dag}/dagRuns?order_by=-start_date&limit=1").json()
        page.goto(f"{place.url}/dags/{dag}/runs/{found['dag_runs'][0]['dag_run_id']}/tasks/run/details")
        page.get_by_role("link", name="Output notebook").wait_for()
        page.wait_for_timeout(3_000)  # its panels fill one after the other
        page.screenshot(path=HERE / "airflow-run.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
