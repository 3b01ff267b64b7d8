"""On which machines this runs: what native libraries are built for, and the page that says so."""

from __future__ import annotations

import platform
import re
import struct
import zipfile
from pathlib import Path

import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts
from retailpulse_kernel.machine.native import PLATFORMS, Platform, built_for, lacking, libraries
from retailpulse_kernel.machine.platforms import locked_requirements, page
from retailpulse_kernel.stack.doctor import diagnose

ROOT = Path(__file__).resolve().parents[2]
LINUX, LINUX_ARM, MAC = PLATFORMS


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01" + bytes(12) + struct.pack("<H", machine) + bytes(40)


def macho(*kinds: int) -> bytes:
    if len(kinds) == 1:
        return b"\xcf\xfa\xed\xfe" + struct.pack("<I", kinds[0]) + bytes(24)
    return b"\xca\xfe\xba\xbe" + struct.pack(">I", len(kinds)) + b"".join(struct.pack(">I16x", k) for k in kinds)


@pytest.mark.parametrize(
    ("name", "content", "system", "builds"),
    [
        ("linux/libx.so", elf(62), "Linux", {LINUX}),
        ("META-INF/native/libx.so", elf(183), "Linux", {LINUX_ARM}),
        ("linux/s390x/libx.so", elf(22), "Linux", set()),
        ("freebsd/libx.so", elf(62), "", set()),
        ("libx-linux64-musl.so", elf(62), "", set()),
        ("osx/libx.jnilib", macho(0x01000007, 0x0100000C), "Darwin", {MAC}),
        ("osx/libx.jnilib", macho(0x01000007, 7), "Darwin", set()),
        ("osx/libx.dylib", macho(0x0100000C), "Darwin", {MAC}),
        ("win/x.so", b"MZ" + bytes(60), "", set()),
    ],
)
def test_what_a_library_is_built_for_stands_in_it(
    name: str, content: bytes, system: str, builds: set[Platform]
) -> None:
    assert built_for(name, content) == (system, builds)


def test_builds_in_several_jars_are_those_of_one_library(tmp_path: Path) -> None:
    jars = []
    for number, (entry, content) in enumerate(
        [
            ("META-INF/native/libepoll_x86_64.so", elf(62)),
            ("META-INF/native/libepoll_aarch_64.so", elf(183)),
            ("META-INF/native/osx/libold.jnilib", macho(0x01000007)),
            ("META-INF/native/epoll.txt", b"no library"),
            ("META-INF/native/shaded_old.so", elf(62)),
        ]
    ):
        jars.append(("kafka", "netty 4.1", tmp_path / f"{number}.jar"))
        with zipfile.ZipFile(jars[-1][2], "w") as jar:
            jar.writestr(entry, content)
    epoll, shaded = libraries(jars)
    (old,) = libraries([("kafka", "netty 4.1", jars[2][2])])
    assert (epoll.name, epoll.builds) == ("epoll", {LINUX, LINUX_ARM})
    assert not epoll.lacks(MAC), "it is for another system"
    assert shaded.name == "shaded_old", "its jar's classes look for no other"
    assert (old.name, old.lacks(MAC), old.lacks(LINUX)) == ("old", True, False)


def test_the_page_names_what_has_no_build(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jar", "w") as jar:
        jar.writestr("linux64/libleveldbjni.so", elf(62))
    found = libraries([("hive", "leveldbjni-all 1.8", tmp_path / "a.jar")])
    wheels = {(known, python): {"pyhive"} for known in PLATFORMS for python in ("3.11", "3.12", "3.13")}
    wheels[MAC, "3.12"] = {"pyhive", "numpy"}
    text = page(300, wheels, found)
    assert "made: pyhive. They hold no code that needs a compiler." in text
    assert "| 3.12 | every wheel is there | every wheel is there | numpy |" in text
    assert "| hive | leveldbjni-all 1.8 | leveldbjni | yes | **no** |  |" in text
    assert "- leveldbjni-all: For the shuffle and history services" in text


def test_the_committed_page_is_of_the_locks_of_today() -> None:
    """After a change of a lock: `make platforms`."""
    text = (ROOT / "docs" / "platforms.md").read_text()
    count = len(locked_requirements((ROOT / "env" / "requirements.lock").read_text()))
    assert f"\n{count} packages are locked." in text
    locked = {
        (group, " ".join(artifact.coordinate.split(":")[1:3]))
        for group in artifacts.groups()
        for artifact in artifacts.artifacts([group])
    }
    rows = re.findall(r"^\| (\w[\w-]*) \| (\S+ \S+) \| \S+ \|", text, re.MULTILINE)
    named = {row for row in rows if row[0] in artifacts.groups()}
    assert len(named) > 20 and named <= locked


def test_an_arm_machine_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(home=tmp_path / "home", cache=tmp_path / "cache", port_offset=21_000)
    assert {library.name for library in lacking(settings, LINUX)} == set()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    (check,) = (check for check in diagnose(settings) if check.name == "machine")
    assert check.verdict == "warning"
    assert (
        "Linux arm64 should work, without the native libraries" in check.detail and "leveldbjni (spark)" in check.detail
    )


def test_another_machine_is_told_which_ones_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(home=tmp_path / "home", cache=tmp_path / "cache", port_offset=21_000)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    (check,) = (check for check in diagnose(settings) if check.name == "machine")
    assert check.verdict == "problem" and "Linux riscv64" in check.detail
    assert check.remedy == "Use one of: Linux x86-64, Linux arm64, macOS arm64."
