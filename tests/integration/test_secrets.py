"""A canary secret: a notebook that uses it, shows all it can and fails in every way, and nowhere leaves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.ground.settings import Settings, environment

pytestmark = pytest.mark.integration

CANARY = "canary-9f41c7"

KEYRING = f"""
from keyring.backend import KeyringBackend
class Ring(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        return {CANARY!r}
    def set_password(self, service, username, password): ...
    def delete_password(self, service, username): ...
"""

CELLS = [
    "login = 'env:CANARY'",  # the cell tagged `parameters`
    "import logging; logging.basicConfig(level=logging.DEBUG, force=True)",
    "rp.connect()",
    "bench = rp.connect(); bench.settings, bench.settings.profile, vars(bench.settings.profile.kafka)",
    "%rp profile",
    "%xmode Verbose",
    "%kafka topics",
    "rp.kafka.tail()",
    "%tb",
    "%%cql\nselect release_version from system.local",
    "%%hive\nselect 1",
    "%tb",
    "from retailpulse_kernel.stores.kafka.config import client_config\nclient_config(rp.connect().settings)",
    # A client that fails by itself, in the traceback's most talkative form.
    "from confluent_kafka import Consumer\nsettings = client_config(rp.connect().settings)\n"
    "Consumer({**settings, 'no.such.setting': 1})",
    "from retailpulse_kernel.stores.hive.connection import connect\nconnect(rp.connect().settings)",
    "%whos",
    # What print(password) says is its owner's wish; whatever shows values by itself must not.
    "password = rp.connect().settings.profile.cassandra.secret()\nfound = {'password': password}\nfound, 1 / 0",
    "password",
    "[password], f'{found}'",
    "rp.status()",
]


def test_the_canary_is_nowhere(stack: Settings, tmp_path: Path) -> None:
    (tmp_path / "canary_ring.py").write_text(KEYRING)
    (tmp_path / "secret").write_text(CANARY)
    profile = stack.profile
    (tmp_path / "shop.toml").write_text(
        f'[kafka]\nbootstrap = "{profile.kafka.bootstrap}"\nsecurity_protocol = "SASL_PLAINTEXT"\n'
        'sasl_mechanism = "PLAIN"\nusername = "ann"\npassword = "env:CANARY"\n'
        f'[cassandra]\nport = {profile.cassandra.port}\nusername = "ann"\npassword = "file:{tmp_path}/secret"\n'
        f'[hive]\nport = {profile.hive.port}\nauth = "LDAP"\nusername = "ann"\npassword = "keyring:shop/ann"\n'
        '[spark.conf]\n"spark.authenticate.secret" = "env:CANARY"\n'
    )
    cells = [nbformat.v4.new_code_cell(text, metadata={"tags": ["raises-exception"]}) for text in CELLS]
    cells[0].metadata.tags = ["parameters"]
    kernel = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    source, output = tmp_path / "canary.ipynb", tmp_path / "out.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), source)
    run = (
        "import logging, sys, papermill; logging.basicConfig(level=logging.DEBUG);"
        "papermill.execute_notebook(sys.argv[1], sys.argv[2], parameters={'login': 'env:CANARY'}, log_output=True,"
        " progress_bar=False)"
    )
    settings = stack.model_copy(
        update={"profile_name": str(tmp_path / "shop.toml"), "namespace_name": f"ct_canary_{os.getpid()}"}
    )
    done = subprocess.run(
        [sys.executable, "-c", run, source, output],
        cwd=tmp_path,
        env={
            **os.environ, **environment(settings), "CANARY": CANARY, "PYTHONPATH": str(tmp_path),
            "PYTHON_KEYRING_BACKEND": "canary_ring.Ring",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )  # fmt: skip
    assert "PapermillExecutionError" in done.stderr, "papermill's own error is looked at, too"
    said = output.read_text()
    # It was really used, and what surrounds it was really shown.
    assert "refuses the user 'ann'" in said and "does not take a login with auth = 'LDAP'" in said
    assert "release_version" in said and "ZeroDivisionError" in said and "no.such.setting" in said
    assert "**********" in said and "env:CANARY" in said
    texts = {"notebook": said, "stdout": done.stdout, "stderr": done.stderr}
    assert [name for name, text in texts.items() if CANARY in text] == []
    assert json.loads(said)["metadata"]["papermill"]["parameters"] == {"login": "env:CANARY"}
