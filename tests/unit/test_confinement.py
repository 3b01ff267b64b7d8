"""While a notebook is tried: what a statement writes, and that every door of the package asks first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import ConfinedError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.promotion.cutover.production import run_current
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.promotion.gate.isolation import trial_environment
from retailpulse_kernel.promotion.gate.landlock import is_possible
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stores.binding import Dialect
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.confinement import refusals, require_own_statement, require_own_topic
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.archive import Staged
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.topics import delete_topics, ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.written import written
from retailpulse_kernel.streaming.checkpoint.accounts import Ledger
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.upkeep.retention import keep_topics

DAY = GRAINS["day"]

#: A statement, by dialect, and the namespaces that it writes: none, the session's (""), or one that it names.
WRITTEN: list[tuple[Dialect, str, set[str]]] = [
    ("cql", "select * from live.category_day", set()),
    ("cql", "/* x */ SELECT json * from live.t -- drop table live.t", set()),
    ("cql", "describe tables", set()),
    ("cql", "truncate category_day", {""}),
    ("cql", "TRUNCATE TABLE live.category_day;", {"live"}),
    ("cql", "insert into live.t (a) values ('mine.t')", {"live"}),
    ("cql", 'insert into "live".t (a) values (1)', {"live"}),
    ("cql", "insert into live . t json '{}'", {"live"}),
    ("cql", "update t using timestamp 1 set a = 2 where b = 3", {""}),
    ("cql", "delete a, b from live.t where c = 1", {"live"}),
    ("cql", "begin unlogged batch insert into t (a) values (1); delete from live.t where a = 1; apply batch",
     {"", "live"}),
    ("cql", "drop keyspace if exists live", {"live"}),
    ("cql", "create keyspace live with replication = {}", {"live"}),
    ("cql", "alter table live.t with default_time_to_live = 1", {"live"}),
    ("cql", "drop index live.i", {"live"}),
    ("cql", "create custom index if not exists i on live.t (a)", {"live"}),
    ("cql", "create materialized view live.v as select a from t", {"live"}),
    ("cql", "use live", {"live"}),
    ("hive", "select a from live.t", set()),
    ("hive", "with q as (select 1) select * from q", set()),
    ("hive", "show tables in live", set()),
    ("hive", "explain drop table live.t", set()),
    ("hive", "explain analyze insert into live.t select 1", {"live"}),
    ("hive", "set hive.exec.parallel = true", set()),
    ("hive", "insert into t select * from live.events", {""}),
    ("hive", "insert overwrite table live.t partition (dt = 'x') select 1", {"live"}),
    ("hive", "with q as (select 1) insert into table `live`.`t` select * from q", {"live"}),
    ("hive", "from live.t insert into a select b insert overwrite table live.c select d", {"", "live"}),
    ("hive", "merge into live.t using s on a = b when matched then delete when not matched then insert values (1)",
     {"live"}),
    ("hive", "delete from LIVE.t", {"LIVE"}),
    ("hive", "alter table mine.t rename to live.t", {"mine", "live"}),
    ("hive", "alter table t exchange partition (dt = 'x') with table live.t", {"", "live"}),
    ("hive", "drop database live cascade", {"live"}),
    ("hive", "msck repair table live.t", {"live"}),
    ("spark", "from live.events |> aggregate count(*)", set()),
    ("spark", "create or replace temp view v as select * from live.events", set()),
    ("spark", "cache table live.events", set()),
    ("spark", "refresh table live.events", set()),
    ("spark", "create table t using parquet as select * from live.events", {""}),
    ("spark", "insert into spark_catalog.live.t values (1)", {"live"}),
    ("spark", "insert overwrite parquet.`/srv/live` select 1", {"parquet"}),
    ("spark", "drop view live.v", {"live"}),
    ("spark", "truncate table live.t", {"live"}),
    ("spark", "use database live", {"live"}),
]  # fmt: skip

#: Of these nothing is known, or too much.
UNCLEAR: list[tuple[Dialect, str]] = [
    ("cql", "grant all on keyspace live to me"),
    ("cql", "create role r"),
    ("cql", "select * from t; drop table live.t"),
    ("hive", "load data inpath '/x' into table t"),
    ("hive", "insert overwrite directory '/srv/live' select 1"),
    ("hive", "export table t to '/srv/live'"),
    ("hive", "truncate table ${hiveconf:t}"),
    ("hive", "dfs -rm -r /srv/live"),
    ("hive", "add jar x.jar"),
    ("spark", "insert into identifier('live.t') values (1)"),
    ("spark", "execute immediate 'drop table live.t'"),
    ("spark", "/* /* */ select 1 */ drop table live.t"),
    ("spark", "call system.drop()"),
    ("spark", "begin drop table live.t; end"),
]


@pytest.mark.parametrize(("dialect", "statement", "namespaces"), WRITTEN)
def test_what_a_statement_writes(dialect: Dialect, statement: str, namespaces: set[str]) -> None:
    found = written(statement, dialect)
    assert found is not None and found.namespaces == namespaces


@pytest.mark.parametrize(("dialect", "statement"), UNCLEAR)
def test_what_is_not_known_is_not_a_query(dialect: Dialect, statement: str) -> None:
    assert written(statement, dialect) is None


@pytest.fixture
def trial(tmp_path: Path) -> Settings:
    """A trial that is confined to the namespace `mine`; nothing listens anywhere."""
    profile = tmp_path / "none.toml"
    place = 'host = "127.0.0.1"\nport = 1\n'
    profile.write_text(f'[kafka]\nbootstrap = "127.0.0.1:1"\n[cassandra]\nport = 1\n[hbase]\n{place}[hive]\n{place}')
    made = Settings.load(
        home=tmp_path / "home", pipelines=tmp_path / "pipelines", profile=str(profile), namespace="mine"
    )
    return made.confined()


def test_the_rule_goes_by_the_namespace_of_the_trial(trial: Settings) -> None:
    live = trial.within("live")
    require_own_statement(trial, "truncate t", "cql")
    require_own_statement(live, "truncate mine.t", "cql")
    require_own_statement(live, "insert into MINE.t select * from events", "hive")
    require_own_statement(live.model_copy(update={"confined_to": ""}), "truncate t", "cql")
    for settings, statement in ((live, "truncate t"), (trial, "truncate live.t"), (trial, 'truncate "Mine".t')):
        with pytest.raises(ConfinedError, match="is refused: it would write into the namespace"):
            require_own_statement(settings, statement, "cql")
    assert [refusal.what.split("`")[1] for refusal in refusals(trial)] == [
        "truncate t", "truncate live.t", 'truncate "Mine".t',
    ]  # fmt: skip


def test_a_table_is_kept_in_the_folder_of_its_namespace(trial: Settings) -> None:
    own = f"{trial.warehouse}/mine.db/t"
    for place in (own, own.removeprefix("file://"), own.replace("file:///", "file:/"), own.replace("mine", "m%69ne")):
        require_own_statement(trial, f"create external table t (a int) location '{place}'", "hive")
    for place in (
        f"{trial.warehouse}/live.db/events",
        f"{own}/../../live.db/events",
        "s3a://shop/mine.db/t",
        f"{trial.warehouse}/mine.dbx/t",
    ):
        with pytest.raises(ConfinedError, match="write into the folder"):
            require_own_statement(trial, f"create external table t (a int) location '{place}'", "hive")
    with pytest.raises(ConfinedError, match="write into the folder"):
        require_own_statement(trial, "create table t using csv options (path '/srv/live')", "spark")


def test_only_own_topics_are_written(trial: Settings) -> None:
    require_own_topic(trial, "mine.retail.events")
    for topic in ("retail.events", "mine_too.retail.events", "live.retail.events"):
        with pytest.raises(ConfinedError, match="Writing to the topic"):
            require_own_topic(trial, topic)


#: Every door through which the package writes, with the settings of the live namespace.
DOORS: dict[str, Callable[[Settings], object]] = {
    "cassandra create": lambda live: CassandraStore(live).create(CATEGORY),
    "cassandra remove": lambda live: CassandraStore(live).remove(CATEGORY),
    "cassandra drop": lambda live: CassandraStore(live).drop(),
    "cassandra write": lambda live: CassandraStore(live).write(CATEGORY, DAY, [], version=1),
    "cassandra load": lambda live: CassandraStore(live).load(CATEGORY, DAY, {}, version=1),
    "cassandra delete": lambda live: CassandraStore(live).delete(CATEGORY, DAY, [], version=1),
    "hbase create": lambda live: HBaseStore(live).create(CATEGORY),
    "hbase remove": lambda live: HBaseStore(live).remove(CATEGORY),
    "hbase drop": lambda live: HBaseStore(live).drop(),
    "hbase write": lambda live: HBaseStore(live).write(CATEGORY, DAY, [], version=1),
    "hbase load": lambda live: HBaseStore(live).load(CATEGORY, DAY, {}, version=1),
    "hbase delete": lambda live: HBaseStore(live).delete(CATEGORY, DAY, [], version=1),
    "hive query": lambda live: HiveStore(live).query("drop table events"),
    "hive create": lambda live: HiveStore(live).create(),
    "hive drop": lambda live: HiveStore(live).drop(),
    "hive put": lambda live: HiveStore(live).put(Staged(1, 1, 0, frozenset())),
    "hive compact": lambda live: HiveStore(live).compact(),
    "hive recover": lambda live: HiveStore(live).recover(),
    "hive retire": lambda live: HiveStore(live).retire(1, {}),
    "hive take in": lambda live: HiveStore(live).take_in(Path(), 1),
    "topics": ensure_topics,
    "topics away": delete_topics,
    "topics kept": lambda live: keep_topics(live, GRAINS["hour"].width),
    "accounts": Ledger,
    "drop": drop,
    "job": lambda live: Job("metrics", live).run(),
    "promote": lambda live: promote(live, Path("a.ipynb")),
    "run": lambda live: run_current(live, "metrics"),
    "pause": lambda live: Registry(live)._write("metrics", None),  # type: ignore[arg-type]
    "up": lambda live: supervision.up(live, console=None),  # type: ignore[arg-type]
    "down": lambda live: supervision.down(live, wipe=True),
    "program": lambda live: supervision.start_program(live, "x", ["true"]),
    "program away": lambda live: supervision.stop_program(live, "x"),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_asks_before_it_writes(trial: Settings, door: str) -> None:
    with pytest.raises(ConfinedError):
        DOORS[door](trial.within("live"))
    assert len(refusals(trial)) == 1
    assert not (trial.home / "checkpoints").exists() and not trial.pipelines.exists()


def test_a_topic_of_another_namespace_is_not_written(trial: Settings) -> None:
    from retailpulse_kernel.stores.kafka.producer import Sender

    with pytest.raises(ConfinedError):
        Sender(trial, "retail.events")


def test_our_own_command_is_confined_too(trial: Settings) -> None:
    command = [sys.executable, "-m", "retailpulse_kernel.cli", "topics", "--create", "--namespace", "live"]
    env = {"PATH": "", "PYTHONPATH": ":".join(sys.path), **environment(trial)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "may write only into 'mine'" in " ".join(done.stderr.split())
    assert len(refusals(trial)) == 1


def test_a_trial_is_told_no_secrets_but_those_of_its_servers(tmp_path: Path) -> None:
    profile = tmp_path / "shop.toml"
    profile.write_text(
        '[kafka]\npassword = "env:SHOP_KAFKA"\n[spark.conf]\n"spark.hadoop.fs.s3a.secret.key" = "env:SHOP_S3"\n'
        '[airflow]\ndatabase = "env:SHOP_DATABASE"\n'
    )
    settings = Settings.load(home=tmp_path, profile=str(profile), namespace="mine")
    environ = {
        "PATH": "/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": "/p", "SHOP_KAFKA": "k", "SHOP_S3": "s",
        "SHOP_DATABASE": "d", "GITHUB_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "a", "RETAILPULSE_ALERT_WEBHOOK": "w",
        "GRAFANA_TOKEN": "g",
    }  # fmt: skip
    found = trial_environment(settings, tmp_path / "own", environ)
    assert found.keys() & environ.keys() == {"PATH", "LC_ALL", "PYTHONPATH", "SHOP_KAFKA", "SHOP_S3"}
    assert found["RETAILPULSE_CONFINED_TO"] == "mine" and found["TMPDIR"] == str(tmp_path / "own")


@pytest.mark.skipif(not is_possible(), reason="this kernel has no Landlock")
def test_files_are_read_only_for_a_process_and_what_it_starts(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "kept").write_text("here")
    tried = (
        f"import json, os, pathlib, subprocess; o, w = pathlib.Path({str(other)!r}), pathlib.Path({str(own)!r})\n"
        "from retailpulse_kernel.promotion.gate.landlock import make_read_only\n"
        "made = make_read_only([w])\n"
        "(w / 'a').write_text((o / 'kept').read_text()); (w / 'b').mkdir(); (w / 'a').rename(w / 'b' / 'a')\n"
        "said = []\n"
        "for act in ((o / 'kept').unlink, (o / 'new').mkdir, lambda: (o / 'kept').write_text(''),\n"
        "            lambda: os.truncate(o / 'kept', 0), lambda: (o / 'kept').rename(w / 'kept'),\n"
        "            lambda: subprocess.run(['rm', str(o / 'kept')], check=True, stderr=-3)):\n"
        "    try:\n        act()\n        said.append('done')\n"
        "    except (OSError, subprocess.CalledProcessError) as error:\n        said.append(type(error).__name__)\n"
        "print(json.dumps([made, said]))\n"
    )
    done = subprocess.run([sys.executable, "-c", tried], capture_output=True, text=True, check=True)
    made, said = json.loads(done.stdout)
    assert made and "done" not in said, said
    assert (other / "kept").read_text() == "here" and [path.name for path in other.iterdir()] == ["kept"]
    assert (own / "b" / "a").read_text() == "here"
