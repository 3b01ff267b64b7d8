"""Files are there whole or not at all, also where the process that writes one is killed, or its disk is full."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retailpulse_kernel.ground.files import put_in_place, whole_file, write_whole


def test_a_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_whole(path, "früher")
    write_whole(path, b"later", synced=False)
    assert path.read_bytes() == b"later"
    assert list(tmp_path.iterdir()) == [path], "nothing is left aside"


def test_what_was_there_stays_until_all_is_written_and_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "table"
    write_whole(path, b"before")
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        file.write(b"half of")
        file.flush()
        assert path.read_bytes() == b"before"
        1 / 0  # noqa: B018
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "table"
    write_whole(path, b"before")
    code = (
        "import os, signal, sys; from pathlib import Path; from retailpulse_kernel.ground.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"before"
    assert list(tmp_path.glob("[!.]*")) == [path], "what is left is hidden from whoever lists the folder"


def test_of_two_writers_at_a_time_each_writes_a_whole_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "role.json", [bytes([65 + number]) * 100_000 for number in range(4)]
    write_whole(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(30):
            write_whole(path, content, synced=False)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_never_readable_for_others(tmp_path: Path) -> None:
    with whole_file(tmp_path / "token", mode=0o600) as file:
        (aside,) = tmp_path.iterdir()
        assert stat.S_IMODE(aside.stat().st_mode) == 0o600
        file.write(b"s3cret")
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_a_file_that_was_written_aside_gets_its_name(tmp_path: Path) -> None:
    (tmp_path / "jar.part").write_bytes(b"jar")
    put_in_place(tmp_path / "jar.part", tmp_path / "a.jar")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jar"]
