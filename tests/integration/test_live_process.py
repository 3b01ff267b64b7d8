"""The process that follows the stream for a view: it ends with its kernel, and one that is killed is started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import orjson
import psutil
import pytest
from jupyter_client.manager import KernelManager

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.replay import send
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.live.stream.broadcast import Broadcast
from retailpulse_kernel.live.stream.frames import NOTHING
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop

pytestmark = pytest.mark.integration

SENT = 200
HELLO = {"op": "hello", "client": "a"}


@pytest.fixture(scope="module")
def shop(stack: Settings) -> Iterator[Settings]:
    settings = Settings.load(namespace=f"live_process_{os.getpid()}")
    ensure_topics(settings)
    send(settings, Generator(rate=SENT, seconds=1, seed=1).messages(), paced=False)
    yield settings
    drop(settings)


class Browser:
    """Hears what a browser would, and acknowledges it."""

    def __init__(self, settings: Settings) -> None:
        self.heard: Queue[dict[str, Any]] = Queue()
        self.broadcast = Broadcast(settings, self._hear, hz=4, fold_up_to=10_000)

    def _hear(self, message: dict[str, Any], content: bytes) -> None:
        frame = orjson.loads(content) if message["op"] == "frame" else {}
        self.heard.put(message | frame)
        if frame:
            self.broadcast.hear({"op": "ack", "client": "a", "seq": frame["seq"]})

    def wait(self, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The first message that meets a condition."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                message = self.heard.get(timeout=1)
            except Empty:
                continue
            if condition(message):
                return message
        pytest.fail(f"waited in vain for {what}")

    @property
    def processes(self) -> list[psutil.Process]:
        return [p for p in psutil.Process().children() if "retailpulse_kernel.live.stream.follower" in p.cmdline()]

    @property
    def process(self) -> psutil.Process:
        (found,) = self.processes
        return found


@pytest.fixture
def browser(shop: Settings) -> Iterator[Browser]:
    made = Browser(shop)
    yield made
    made.broadcast.stop()


def events(browser: Browser) -> int:
    return sum(cell.parts[0] for cell in browser.broadcast.cells())


def test_nothing_runs_before_a_browser_asks_and_what_it_showed_last_stays(browser: Browser) -> None:
    assert browser.broadcast.cells() == [] and not browser.processes
    browser.broadcast.hear(HELLO)
    browser.wait(lambda m: m["op"] == "frame" and events(browser) == SENT, "all that was sent")
    process = browser.process
    browser.broadcast.stop()
    assert not process.is_running() and events(browser) == SENT


def test_one_that_is_killed_is_started_again_and_tells_everything_anew(browser: Browser) -> None:
    browser.broadcast.hear(HELLO)
    first = browser.wait(lambda m: m["op"] == "frame" and bool(m["keys"]), "events")
    browser.process.kill()
    browser.wait(lambda m: m["op"] == "lost", "the news that it has ended")
    again = browser.wait(lambda m: m["op"] == "frame", "a frame from the next one")
    assert again["run"] != first["run"] and tuple(again["base"]) == NOTHING
    browser.wait(lambda m: m["op"] == "frame" and events(browser) == SENT, "all that was sent")


def test_a_browser_is_heard_while_a_cell_runs(shop: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel as JupyterLab uses it: a comm's messages have a subshell of their own."""
    monkeypatch.setenv("RETAILPULSE_NAMESPACE", shop.namespace_name)
    manager = KernelManager(kernel_name="retailpulse")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()

    def heard(kind: str, **content: Any) -> dict[str, Any]:
        while True:
            message = client.get_iopub_msg(timeout=60)
            if message["msg_type"] == kind and content.items() <= message["content"].items():
                return message

    def say(comm: str, **message: Any) -> None:
        sent = client.session.msg("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": message}})
        sent["header"]["subshell_id"] = subshell
        client.shell_channel.send(sent)

    try:
        client.wait_for_ready(60)
        client.control_channel.send(client.session.msg("create_subshell_request"))
        subshell = client.get_control_msg(timeout=20)["content"]["subshell_id"]
        client.execute("view = rp.live(hz=4); view")
        while "options" not in (opened := heard("comm_open"))["content"]["data"]["state"]:
            pass
        comm, over = opened["content"]["comm_id"], tmp_path / "over"
        running = client.execute(f"import pathlib\nwhile not pathlib.Path({str(over)!r}).exists(): pass\nprint('over')")
        heard("execute_input", execution_count=2)
        say(comm, op="hello", client="a")
        for _ in range(3):  # each but the first needs the acknowledgement of the one before
            frame = heard("comm_msg", comm_id=comm)
            assert frame["content"]["data"]["content"]["op"] == "frame"
            say(comm, op="ack", client="a", seq=orjson.loads(bytes(frame["buffers"][0]))["seq"])
        over.touch()
        assert heard("stream")["parent_header"]["msg_id"] == running, "the cell has run all the time"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_an_interrupt_of_the_cell_leaves_it_alone_and_the_end_of_the_kernel_ends_it(shop: Settings) -> None:
    kernel = (
        "import sys, time\nfrom retailpulse_kernel.live.stream.broadcast import Broadcast\n"
        "from retailpulse_kernel.ground.settings import Settings\n"
        "b = Broadcast(Settings.load(), lambda m, c: print('frame', flush=True), hz=4, fold_up_to=1e4)\n"
        f"b.hear({HELLO!r})\n"
        "while True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", kernel], env={**os.environ, **environment(shop)}, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert running.stdout is not None and running.stdout.readline() == "frame\n"
        (follower,) = psutil.Process(running.pid).children()
        os.killpg(running.pid, 2)  # as Jupyter interrupts: the whole group
        assert running.stdout.readline() == "frame\n" and follower.is_running()
    finally:
        running.kill()
        running.wait()
    follower.wait(30)
