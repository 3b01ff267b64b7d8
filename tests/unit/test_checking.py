"""`replay --check`: what a file holds, judged and not sent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from retailpulse_kernel.cli import main
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.paths import require_apart
from tests.adapters import BUY, HEADER, VIEW, rees46

EVENT = {
    "event_id": "e1", "event_type": "purchase", "event_time": "2026-03-01T10:00:00Z", "user_id": "u1",
    "session_id": "s", "product_id": "p", "price": "9.99", "quantity": 2, "currency": "EUR", "order_id": "o1",
    "order_line": 1,
}  # fmt: skip


def own(path: Path, *events: dict[str, Any] | str) -> Path:
    path.write_text("".join((e if isinstance(e, str) else json.dumps(EVENT | e)) + "\n" for e in events))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two orders in two currencies, a line more of one, a refund, a view, an id twice and one with another content."""
    return own(
        tmp_path / "events.jsonl",
        {},
        {"event_id": "e2", "order_line": 2, "quantity": 1, "price": "0.02"},
        {"event_id": "e3", "user_id": "u2", "order_id": "o2", "currency": "USD", "event_time": "2026-03-02T10:00:00Z"},
        {"event_id": "e4", "event_type": "refund", "quantity": 1},
        {"event_id": "e5", "event_type": "view", "user_id": "u3", "event_time": "2026-02-28T10:00:00.5Z"},
        {},
        {"event_id": "e3", "price": "1"},
        "nonsense",
        {"event_id": "e6", "currency": "eur"},
        {"event_id": "e7", "currency": "EURO"},
    )


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_report(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = said(capsys, "replay", str(file), "--check", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["rows"] == 10 and found["events"] == 5
    assert found["by_type"] == {"purchase": 3, "refund": 1, "view": 1}
    assert found["revenue"] == {"EUR": "10.01", "USD": "19.98"}  # 2 x 9.99 + 0.02 - 9.99
    assert found["orders"] == {"EUR": 1, "USD": 1}
    assert found["users"] == 3
    assert (found["since"], found["until"]) == ("2026-02-28T10:00:00.500Z", "2026-03-02T10:00:00.000Z")
    assert found["rejected"] == {"unknown:currency": 2, "not_json": 1}
    assert found["rejected_first"]["unknown:currency"]["place"] == "line 9"
    assert (found["repeated_ids"], found["conflicting_ids"]) == (2, 1)
    assert (found["format"], found["changed"], found["ignored_columns"]) == ("retailpulse", {}, [])
    assert not list(file.parent.glob("*.rejects.jsonl")) and not list(Path.cwd().glob("events.jsonl.rejects.jsonl"))


def test_the_report_for_people(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = said(capsys, "replay", str(file), "--check")
    for words in ("known by the columns event_id", "10.01 in 1 order", "not_json", "line 8", "ids that repeat"):
        assert words in out


def test_nothing_rejected_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = said(capsys, "replay", str(rees46(tmp_path, HEADER + VIEW + BUY)), "--check", "--json")
    found = json.loads(out)
    assert code == 0 and found["format"] == "rees46" and "event_type" in found["known_by"]
    assert found["ignored_columns"] == ["category_id"]
    assert found["revenue"] == {"USD": "35.79"} and found["orders"] == {"USD": 1}


def test_every_change_is_counted(tmp_path: Path) -> None:
    check = check_file(
        rees46(tmp_path, HEADER + VIEW.replace("s-1", "").replace("35.79", "6.666666666666667")), "rees46"
    )
    assert check.changed == {"derived:session_id": 1, "rounded:price": 1}


def test_a_file_is_never_its_own_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = own(tmp_path / "x.jsonl", {}, "nonsense")
    before = file.read_bytes()
    (tmp_path / "soft").symlink_to(file)
    os.link(file, tmp_path / "hard")
    for rejects in (file, tmp_path / "soft", tmp_path / "hard", tmp_path / "." / "x.jsonl"):
        code, _ = said(capsys, "replay", str(file), "--rejects", str(rejects))
        assert code == 2 and file.read_bytes() == before
    code, _ = said(capsys, "generate", "--seconds", "1", "--out", str(tmp_path / "new"), "--truth", f"{tmp_path}/./new")
    assert code == 2 and not (tmp_path / "new").exists()


def test_two_outputs_may_not_be_one_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the copy and the original are one file"):
        require_apart({"the copy": tmp_path / "a"}, {"the original": f"{tmp_path}/./a", "none": None})
    require_apart({"the copy": tmp_path / "b", "none": None}, {"the original": tmp_path / "a"})
