"""Names of namespaces, jobs and tables: which can be one, and that no two of them mean the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from cassandra.metadata import cql_keywords_reserved

from retailpulse_kernel.ground import names as reserved
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.promotion.cutover.staging import last_file
from retailpulse_kernel.promotion.gate.shadow import shadow_name
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.streaming.checkpoint.writer import drain_file, writer_lock
from retailpulse_kernel.streaming.run.job import Job


@pytest.mark.parametrize(
    "name",
    [
        "select", "order", "table", "user", "date", "system", "system_schema", "system_new", "default", "hbase", "all",
        "sys", "information_schema", "global_temp", "keyspace", "token",
    ],
)  # fmt: skip
def test_a_name_that_a_store_keeps_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' can't be a namespace: a store keeps it for itself"):
        Settings.load(namespace=name)


def test_words_of_cql_are_what_the_driver_takes_for_them() -> None:
    assert set(reserved._CQL.split()) <= cql_keywords_reserved


@pytest.mark.parametrize("name", ["shop", "orders", "selected", "my_table", "systems", "retailpulse", "retail_2"])
def test_a_name_that_only_looks_like_one_can_be_a_namespace(name: str) -> None:
    assert Namespace(name).keyspace == name


def test_the_default_topics_belong_to_no_other_namespace() -> None:
    with pytest.raises(UsageError, match="the topics of 'retailpulse' begin with it"):
        Namespace("retail")
    for topic in Namespace().topics:
        assert Namespace().owns(topic) and not Namespace("retail_2").owns(topic)


def test_of_two_namespaces_one_may_begin_as_the_other() -> None:
    one, other = Namespace("hunt_a"), Namespace("hunt_a_b")
    assert not any(one.owns(topic) for topic in other.topics)
    assert not any(other.owns(topic) for topic in one.topics)


def test_files_of_a_job_are_in_the_folder_of_its_namespace(tmp_path: Path) -> None:
    places = []
    for namespace, job in (("a", "b_c"), ("a_b", "c"), ("a", "b"), ("a_b_c", "d")):
        settings = Settings.load(home=tmp_path, namespace=namespace)
        places += [writer_lock(settings, job).lock_file, str(drain_file(settings, job)), str(last_file(settings, job))]
        assert all(f"/locks/{namespace}/{job}." in place for place in places[-3:])
    assert len(set(places)) == len(places)


def test_a_command_in_a_remedy_means_the_namespace_of_the_error() -> None:
    assert (Namespace("shop").option, Namespace().option) == (" --namespace shop", "")


def test_a_notebook_of_any_name_has_a_shadow() -> None:
    assert Namespace(shadow_name("shop", "user-bad copy (1)")).name.startswith("shadow_shop_user_bad_")


def test_no_two_promotions_share_a_shadow() -> None:
    """`a_b` and `c` are not `a` and `b_c`."""
    pairs = [("a", "b_c"), ("a_b", "c"), ("a" * 40, "b" * 40), ("a" * 40, "c" * 40)]
    found = [shadow_name(*pair) for pair in pairs]
    assert len(set(found)) == len(found)
    assert [Namespace(name).name for name in found] == found, "each can be a namespace"


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "", "1st", "x" * 41, "a-b", "über", "a\n"])
def test_a_job_has_a_plain_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be the name of a job"):
        Job(name, Settings.load(home=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a; drop table b", "A", "", "x" * 41])
def test_a_table_has_a_plain_name(name: str) -> None:
    with pytest.raises(UsageError, match="can't be the name of a table"):
        FigureTable(name, (EVENTS,), ("currency",), (GRAINS["day"],))
