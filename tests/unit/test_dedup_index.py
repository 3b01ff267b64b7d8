"""The deduplication index: who claimed first, whatever is killed, copied or done again."""

from __future__ import annotations

import resource
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.streaming.state.dedup_index import DedupIndex
from tests.processes import FORK, forked


def claim(
    index: DedupIndex, ids: list[str], *, partition: int = 0, first: int = 0, at_ms: int = 1_000, forget_ms: int = 0
) -> list[bool]:
    offsets = np.arange(first, first + len(ids))
    taken = index.claim(pa.array(ids), partition=partition, offsets=offsets, newest_ms=at_ms, forget_ms=forget_ms)
    return list(map(bool, taken))


def test_the_first_message_with_an_id_has_it(tmp_path: Path) -> None:
    index = DedupIndex(tmp_path)
    assert claim(index, ["a", "b", "a"]) == [True, True, False]
    assert claim(index, ["b", "c"], first=3) == [False, True]
    assert claim(index, ["c", "d"], partition=1) == [False, True]
    assert index.count == 4


def test_a_batch_that_is_done_again_is_judged_as_before(tmp_path: Path) -> None:
    before = [claim(DedupIndex(tmp_path), ["a", "b", "a"]), claim(DedupIndex(tmp_path), ["b", "c"], partition=1)]
    again = DedupIndex(tmp_path)
    # The other way round, too: what counts is who was first the first time.
    assert claim(again, ["b", "c"], partition=1) == before[1] == [False, True]
    assert claim(again, ["a", "b", "a"]) == before[0] == [True, True, False]


def test_no_message_no_claim(tmp_path: Path) -> None:
    assert claim(DedupIndex(tmp_path), []) == []


_messages = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.sampled_from([f"id-{i}" for i in range(300)]), min_size=1, max_size=60)),
    max_size=12,
)


@given(_messages, st.lists(st.integers(0, 11), max_size=6))
@settings(deadline=None, max_examples=150)
def test_it_is_a_dict_of_first_messages(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[int, list[str]]], again: list[int]
) -> None:
    """Whatever the chunks, also done again, and with tables so small that ids meet and segments fill up."""
    folder = tmp_path_factory.mktemp("ids")
    index, owners = DedupIndex(folder, smallest=8), {}
    ends: dict[int, int] = {}
    placed = []
    for partition, ids in chunks:
        placed.append((partition, ends.get(partition, 0), ids))
        ends[partition] = ends.get(partition, 0) + len(ids)
    for partition, first, ids in [*placed, *(placed[i] for i in again if i < len(placed))]:
        messages = [(partition, first + i) for i in range(len(ids))]
        expected = [owners.setdefault(key, message) == message for key, message in zip(ids, messages, strict=True)]
        assert claim(index, ids, partition=partition, first=first) == expected
    assert index.count == len(owners)
    shutil.rmtree(folder)


def test_ids_are_forgotten_after_their_time_and_not_before(tmp_path: Path) -> None:
    index = DedupIndex(tmp_path, smallest=8)
    for batch in range(50):
        ids = [f"{batch}-{i}" for i in range(4)]
        assert all(claim(index, ids, first=batch * 4, at_ms=batch * 1_000, forget_ms=(batch - 10) * 1_000))
        if batch >= 9:
            assert not any(claim(index, [f"{batch - 9}-0"], first=10_000, at_ms=0, forget_ms=(batch - 10) * 1_000))
    # 40 are to be remembered; a segment goes as a whole.
    assert 40 <= index.count <= 80 and len(list(tmp_path.glob("*.ids"))) <= 5
    assert claim(index, ["0-0"], first=20_000, forget_ms=39_000) == [True]


def test_all_may_be_forgotten(tmp_path: Path) -> None:
    index = DedupIndex(tmp_path)
    claim(index, ["a"], at_ms=1_000)
    assert claim(index, ["b"], at_ms=9_000, forget_ms=8_000) == [True]
    assert claim(index, ["a"], first=7, at_ms=9_000, forget_ms=8_000) == [True]
    assert index.count == 2


def _claim_all(folder: str, partition: int, results: Any) -> None:
    """Claim the same ids as the other processes do, and tell which were taken."""
    index = DedupIndex(Path(folder), smallest=64)
    taken = []
    for start in range(0, 4_000, 50):
        ids = [f"id-{i}" for i in range(start, start + 50)]
        taken += claim(index, ids, partition=partition, first=start)
    results.put((partition, taken))


def test_of_several_workers_one_gets_an_id(tmp_path: Path) -> None:
    results = FORK.Queue()
    with ExitStack() as workers:
        for partition in range(3):
            workers.enter_context(forked(_claim_all, str(tmp_path), partition, results))
        taken = dict(results.get(timeout=60) for _ in range(3))
    assert (np.sum([taken[p] for p in range(3)], axis=0) == 1).all()
    index = DedupIndex(tmp_path)
    assert index.count == 4_000
    again = claim(index, [f"id-{i}" for i in range(4_000)], partition=1)
    assert again == taken[1], "another process sees the same claims"


def _claim_on(folder: str, partition: int) -> None:
    """Claim more and more ids, until the process is killed."""
    index, start = DedupIndex(Path(folder), smallest=256), 0
    while True:
        claim(index, [f"id-{i}" for i in range(start, start + 100)], partition=partition, first=start)
        start += 100


def test_a_killed_worker_leaves_whole_claims(tmp_path: Path) -> None:
    """And a copy that is taken while it works has them whole, too."""
    index = DedupIndex(tmp_path / "ids", smallest=256)
    for turn in range(4):
        before = index.count
        copy = tmp_path / f"copy-{turn}"
        with forked(_claim_on, str(tmp_path / "ids"), turn) as worker:
            while index.count < before + 1_000:
                assert worker.is_alive(), f"the worker ended with {worker.exitcode}"
                time.sleep(0.01)
            shutil.copytree(tmp_path / "ids", copy, ignore=shutil.ignore_patterns("*.new"))
            time.sleep(0.02 + turn * 0.017)
        for folder in (copy, tmp_path / "ids"):
            found = DedupIndex(folder)
            ids = [f"id-{i}" for i in range(found.count)]
            # The first worker was alone and had them in order; none of its ids ever goes to another.
            known = 1_000
            assert claim(found, ids[:known], partition=0) == [True] * known
            assert claim(found, ids[:known], partition=9) == [False] * known


def _claim_without_room(folder: str, results: Any) -> None:
    index = DedupIndex(Path(folder))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        results.put(claim(index, ["a"]))
    except OSError as error:
        results.put(str(error))


def test_a_full_disk_is_an_error_and_leaves_no_half_segment(tmp_path: Path) -> None:
    results = FORK.Queue()
    with forked(_claim_without_room, str(tmp_path), results):
        assert isinstance(results.get(timeout=60), str)
    assert not list(tmp_path.glob("*.ids"))
    assert claim(DedupIndex(tmp_path), ["a"]) == [True]
