"""Downloads against a real HTTP server: resumed, retried, checked."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from retailpulse_kernel.ground.errors import ArtifactError, UnknownName
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts, download
from retailpulse_kernel.machine.artifacts import Artifact
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.services import SERVICES

CONTENT = bytes(range(256)) * 4096
JAR = Artifact("org.example:thing:1.0:linux", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


class Repository(ThreadingHTTPServer):
    """Serves one jar; can break off, refuse ranges, or serve something else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.content = CONTENT
        self.broken_answers = 0
        self.knows_ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        span = self.headers["Range"]
        self.server.asked.append((self.path, span))
        if self.path != "/org/example/thing/1.0/thing-1.0-linux.jar":
            self.send_error(404)
            return
        begin = int(re.sub(r"\D", "", span)) if span and self.server.knows_ranges else 0
        body = self.server.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.broken_answers:
            self.server.broken_answers -= 1
            self.wfile.write(body[: len(body) // 2])
            return  # fewer bytes than announced: the connection breaks
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository() -> Iterator[Repository]:
    server = Repository()
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", cache=tmp_path / "cache")


def fetch(target: Path, *addresses: str, artifact: Artifact = JAR) -> float:
    """Download the jar; what the progress bar counted, in bytes."""
    with Progress(disable=True) as progress:
        bar = progress.add_task("", total=artifact.size)
        with download.Fetcher(progress, bar, list(addresses)) as fetcher:
            fetcher.fetch(artifact, target)
        return progress.tasks[0].completed


def test_downloads_into_place(repository: Repository, tmp_path: Path) -> None:
    assert fetch(tmp_path / "a" / "b.jar", repository.address) == len(CONTENT)
    assert (tmp_path / "a" / "b.jar").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.jar"]


def test_resumes_where_it_broke_off(repository: Repository, tmp_path: Path) -> None:
    repository.broken_answers = 2
    assert fetch(tmp_path / "b.jar", repository.address) == len(CONTENT)
    assert (tmp_path / "b.jar").read_bytes() == CONTENT
    ranges = [span for _, span in repository.asked]
    assert ranges == [None, f"bytes={len(CONTENT) // 2}-", f"bytes={len(CONTENT) * 3 // 4}-"]


def test_resumes_what_an_earlier_run_left(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "b.jar.part").write_bytes(CONTENT[:1000])
    assert fetch(tmp_path / "b.jar", repository.address) == len(CONTENT)
    assert repository.asked[0][1] == "bytes=1000-"
    assert (tmp_path / "b.jar").read_bytes() == CONTENT


def test_starts_over_where_ranges_are_unknown(repository: Repository, tmp_path: Path) -> None:
    repository.knows_ranges = False
    (tmp_path / "b.jar.part").write_bytes(CONTENT[:1000])
    assert fetch(tmp_path / "b.jar", repository.address) == len(CONTENT)
    assert (tmp_path / "b.jar").read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_deleted(repository: Repository, tmp_path: Path) -> None:
    repository.content = CONTENT[:-1] + b"!"
    with pytest.raises(
        ArtifactError, match=r"org.example:thing:1.0:linux is not the locked file and was deleted"
    ) as caught:
        fetch(tmp_path / "b.jar", repository.address)
    assert JAR.sha256 in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_next_repository_is_tried(repository: Repository, tmp_path: Path) -> None:
    fetch(tmp_path / "b.jar", f"{repository.address}/empty", repository.address)
    assert [path for path, _ in repository.asked] == [f"/empty/{JAR.repository_path}", f"/{JAR.repository_path}"]


def test_a_jar_that_nobody_has(repository: Repository, tmp_path: Path) -> None:
    other = Artifact("org.example:other:1.0", JAR.sha256, JAR.size)
    with pytest.raises(ArtifactError, match=r"org.example:other:1.0 is in none of the Maven repositories \(HTTP 404\)"):
        fetch(tmp_path / "b.jar", repository.address, artifact=other)


def test_a_repository_that_does_not_answer(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_ATTEMPTS", 2)
    repository.broken_answers = 99
    with pytest.raises(ArtifactError, match=r"can't be downloaded") as caught:
        fetch(tmp_path / "b.jar", repository.address)
    assert "resumes" in str(caught.value)
    assert (tmp_path / "b.jar.part").exists()


def test_ensure_fetches_what_is_missing_and_then_nothing(
    repository: Repository, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "_lock", lambda: {"thing": (JAR,)})
    monkeypatch.setattr(download, "repositories", lambda: [repository.address])
    assert artifacts.ensure(settings, ["thing"]) == len(CONTENT)
    assert artifacts.jars(settings, "thing")[0].read_bytes() == CONTENT
    assert artifacts.ensure(settings, ["thing"]) == 0
    assert len(repository.asked) == 1


def test_a_log_says_when_a_download_begins_and_ends(
    repository: Repository, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "_lock", lambda: {"thing": (JAR,)})
    monkeypatch.setattr(download, "repositories", lambda: [repository.address])
    said = io.StringIO()
    supervision._download(settings, ["thing"], Console(file=said))
    assert re.fullmatch(
        r"  downloading 1 server artifacts, 1 MB\n  1 MB of server artifacts downloaded and checked in \d+ s\n",
        said.getvalue(),
    )
    supervision._download(settings, ["thing"], Console(file=said))
    assert said.getvalue().count("\n") == 2, "nothing is said, and no line is left empty, where nothing is missing"


def test_verify_finds_a_changed_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_lock", lambda: {"thing": (JAR,)})
    path = JAR.path(settings)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert artifacts.verify(settings) == []
    path.write_bytes(CONTENT[:-1] + b"!")
    assert artifacts.missing(settings) == []  # the size is right: only hashing finds it
    assert artifacts.verify(settings) == [JAR]
    assert artifacts.missing(settings) == [JAR]


def test_lib_folder_links_to_the_jars(settings: Settings) -> None:
    folder = artifacts.lib_folder(settings, "spark-kafka")
    assert folder == artifacts.lib_folder(settings, "spark-kafka")
    assert [link.readlink() for link in sorted(folder.iterdir())] == sorted(
        artifacts.jars(settings, "spark-kafka"), key=lambda jar: jar.name
    )


def test_an_archive_is_unpacked_once_into_the_classpath(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("thing-runner.jar", "lib/other.jar"):
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT)
            archive.addfile(member, io.BytesIO(CONTENT))
    content = packed.getvalue()
    whole = Artifact("org.example:thing:1.0:all@tar.gz", hashlib.sha256(content).hexdigest(), len(content))
    assert whole.repository_path == "org/example/thing/1.0/thing-1.0-all.tar.gz"
    monkeypatch.setattr(artifacts, "_lock", lambda: {"thing": (JAR, whole)})
    whole.path(settings).parent.mkdir(parents=True)
    whole.path(settings).write_bytes(content)
    folder = artifacts.unpack(settings, "thing")
    assert folder == artifacts.unpack(settings, "thing")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.jar")} == {"thing-runner.jar", "lib/other.jar"}
    assert artifacts.classpath(settings, "thing") == [str(JAR.path(settings)), f"{folder}/*"]


def test_what_is_started_by_name_is_fetched_by_name(settings: Settings) -> None:
    named = {service.artifacts for service in SERVICES.values() if service.beside} - {""}
    assert named == artifacts.BY_NAME
    assert not set(artifacts.artifacts(named)) & set(artifacts.missing(settings))
    assert artifacts.missing(settings, named) == artifacts.artifacts(named)


def test_an_unknown_group(settings: Settings) -> None:
    with pytest.raises(UnknownName, match=r"no artifact group 'kafak'. Did you mean 'kafka'"):
        artifacts.jars(settings, "kafak")


def test_the_lock_is_whole() -> None:
    groups = {"kafka", "cassandra", "hbase", "hive", "spark-kafka"}
    for group in groups | artifacts.BY_NAME:
        for artifact in artifacts.artifacts([group]):
            assert re.fullmatch(r"[0-9a-f]{64}", artifact.sha256)
            assert artifact.size > 0
            assert re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+(:[\w.-]+)?(@[\w.]+)?", artifact.coordinate)
    assert len(artifacts.artifacts(["spark-kafka"])) == 4
    assert {a.coordinate for a in artifacts.artifacts(groups)} == {a.coordinate for a in artifacts.artifacts()}
    assert any("jamm" in a.coordinate for a in artifacts.artifacts(["cassandra"]))


def test_the_lock_holds_what_the_projects_ask_for() -> None:
    """A version changed in env/servers without writing the lock anew."""
    projects = artifacts.lock_path().parent / "servers"
    locked = {group.stem: {a.coordinate for a in artifacts.artifacts([group.stem])} for group in projects.glob("*.xml")}
    assert set(locked) == {"kafka", "cassandra", "hbase", "hive", "registry", "spark-kafka"}
    for group, coordinates in locked.items():
        text = (projects / f"{group}.xml").read_text()
        properties = dict(re.findall(r"<([\w.]+\.version)>([^<]+)<", text))
        text = re.sub(r"\$\{([^}]+)\}", lambda match, p=properties: p[match[1]], text)
        for block in re.findall(r"<dependency>(.*?)</dependency>", text, re.DOTALL):
            own = block.partition("<exclusions>")[0]
            kind = "".join(f"@{kind}" for kind in re.findall(r"<type>([^<]+)<", own))
            asked = ":".join(re.findall(r"<(?:groupId|artifactId|version|classifier)>([^<]+)<", own)) + kind
            assert (asked in coordinates) != ("<scope>provided" in block), asked


def test_a_full_cache_is_taken_by_its_files_sizes(settings: Settings) -> None:
    for artifact in artifacts.artifacts():
        path = artifact.path(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(artifact.size)  # sparse: the size without the bytes
    assert artifacts.ensure(settings) == 0
