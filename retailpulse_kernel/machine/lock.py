"""Write `env/artifacts.lock` anew: ``python -m retailpulse_kernel.machine.lock``.

Each `env/servers/GROUP.xml` is a small Maven project. jgo resolves it as Maven would; every jar
is downloaded, compared with the SHA-1 that the repository publishes, and written down with its
SHA-256 and size.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from rich.console import Console

from retailpulse_kernel.ground.errors import ArtifactError
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.artifacts import Artifact, lock_path
from retailpulse_kernel.machine.download import repositories

__all__ = ["main"]

_HEADER = """\
# Every jar of the servers, by group. Written by `python -m retailpulse_kernel.machine.lock` from env/servers/*.xml.
"""


def main() -> None:
    """Resolve every group and write the lock."""
    settings, console = Settings.load(), Console(stderr=True)
    projects = sorted((lock_path().parent / "servers").glob("*.xml"))
    lines = [_HEADER]
    with httpx.Client(follow_redirects=True, timeout=60) as client, ThreadPoolExecutor(6) as pool:
        for project in projects:
            coordinates = resolve(project, settings)
            locked = list(pool.map(lambda c: lock(c, settings, client), coordinates))
            _refuse_twins(locked)
            lines.append(f"\n[{project.stem}]\n")
            lines += [f'"{a.coordinate}" = {{ sha256 = "{a.sha256}", size = {a.size} }}\n' for a in locked]
            console.print(f"{project.stem}: {len(locked)} jars, {sum(a.size for a in locked) / 1e6:.0f} MB")
    write_whole(lock_path(), "".join(lines))


def resolve(project: Path, settings: Settings) -> list[str]:
    """The coordinates of all jars and archives that a Maven project needs at run time, sorted.

    Parameters
    ----------
    project : Path
        Its POM.
    settings : Settings
        Says where the cache is.
    """
    from jgo.config import GlobalSettings
    from jgo.maven import POM, MavenContext

    context = MavenContext(repo_cache=settings.cache / "poms", timeout=60)
    context.remote_repos.update(GlobalSettings.load().repositories)
    _, nodes = context.pom_dependency_list(POM(project))
    found = set()
    for node in nodes:
        dependency = node.dep
        if dependency.scope in ("compile", "runtime", None) and dependency.type in ("jar", "tar.gz"):
            version = dependency.version.strip("[]")  # Maven's "exactly this one"
            parts = [dependency.groupId, dependency.artifactId, version, dependency.classifier]
            kind = "" if dependency.type == "jar" else f"@{dependency.type}"
            found.add(":".join(part for part in parts if part) + kind)
    return sorted(found)


def lock(coordinate: str, settings: Settings, client: httpx.Client) -> Artifact:
    """Download one jar into the cache and take its SHA-256 and size.

    Parameters
    ----------
    coordinate : str
        ``group:artifact:version``, perhaps with a classifier and the type of an archive.
    settings : Settings
        Says where the cache is.
    client : httpx.Client
        Downloads; its timeouts apply.
    """
    unhashed = Artifact(coordinate, "", 0)
    for repository in repositories():
        url = f"{repository}/{unhashed.repository_path}"
        response = client.get(url)
        if response.status_code == 404:
            continue
        response.raise_for_status()
        published = client.get(f"{url}.sha1").raise_for_status().text.split()[0]
        if hashlib.sha1(response.content, usedforsecurity=False).hexdigest() != published:
            raise ArtifactError(f"{coordinate} does not have the SHA-1 that its repository publishes.")
        content = response.content
        artifact = Artifact(coordinate, hashlib.sha256(content).hexdigest(), len(content))
        path = artifact.path(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        return artifact
    raise ArtifactError(f"{coordinate} is in none of the Maven repositories.")


def _refuse_twins(locked: list[Artifact]) -> None:
    """Two jars of one file name would overwrite each other in a folder of links."""
    names = [a.filename for a in locked]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise ArtifactError(f"Several artifacts share a file name: {', '.join(sorted(twins))}.")


if __name__ == "__main__":
    main()
