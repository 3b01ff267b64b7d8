"""JupyterLab as `retailpulse lab` opens it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from jupyter_core.paths import jupyter_runtime_dir

from retailpulse_kernel.cli.jobs import START

pytestmark = pytest.mark.integration


def test_lab_offers_the_kernel(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "lab.log"
    with log.open("wb") as output:
        lab = subprocess.Popen(
            [sys.executable, "-m", "retailpulse_kernel.cli", "lab", "--no-browser", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + 120
        while not (found := re.search(rf"http://127\.0\.0\.1:{port}/\S*token=(\w+)", log.read_text())):
            assert lab.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.5)
        assert f"/lab/tree/{START}?token=" in found[0]
        opened = httpx.get(f"http://127.0.0.1:{port}/api/contents/{START}", params={"token": found[1]}, timeout=30)
        assert opened.json()["content"]["metadata"]["kernelspec"]["name"] == "retailpulse"
        answer = httpx.get(f"http://127.0.0.1:{port}/api/kernelspecs", params={"token": found[1]}, timeout=30)
        assert answer.json()["kernelspecs"]["retailpulse"]["spec"]["display_name"] == "RetailPulse"
        kernel = httpx.post(
            f"http://127.0.0.1:{port}/api/kernels", params={"token": found[1]}, json={"name": "retailpulse"}, timeout=60
        ).json()["id"]
        connection = json.loads((Path(jupyter_runtime_dir()) / f"kernel-{kernel}.json").read_text())
        assert connection["transport"] == "ipc", "no other user of the machine reaches the kernel"
    finally:
        lab.terminate()
        lab.wait(30)
