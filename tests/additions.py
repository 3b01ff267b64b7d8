"""One addition of each kind that CONTRIBUTING describes, as edits of the checkout and a use of what was added."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ADDITIONS", "Addition"]


@dataclass(frozen=True)
class Addition:
    """One of CONTRIBUTING's additions.

    Attributes
    ----------
    edits : tuple of (str, str, str)
        A file, a text in it that occurs once, and what comes behind this text. A file without such a text is new.
    used : str
        Python that uses what was added.
    tests : str
        Tests of the project that have to pass in the copy, as arguments of pytest; none when empty.
    """

    edits: tuple[tuple[str, str, str], ...] = ()
    used: str = ""
    tests: str = ""


FIGURES, TABLES = "retailpulse_kernel/shop/figures.py", "retailpulse_kernel/shop/tables.py"
KINDS, MEASURES = "retailpulse_kernel/shop/kinds.py", "retailpulse_kernel/shop/measuring/measures.py"
MAGICS, ADAPTERS = "retailpulse_kernel/magics", "retailpulse_kernel/shop/adapters"
FORMATS = "retailpulse_kernel/shop/formats"
SQLITE = Path(__file__).with_name("sqlite_store.py").read_text()

# fmt: off
FIGURE = Addition(
    (
        (FIGURES, '    "AVERAGE_ORDER_VALUE",\n', '    "CARTS",\n'),
        (FIGURES, 'where="view", unit="events")\n',
         'CARTS = Figure("carts", "Carts", count(), where="add_to_cart", unit="events")\n'),
        ("tests/unit/test_metrics.py", "(metrics.VIEWS, [None, None, None, 1]),\n",
         "        (metrics.CARTS, [None] * 4),\n"),
    ),
    """
import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import FIGURES
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.streaming.intake.given import given_events
from retailpulse_kernel.streaming.run.planning import plan_of

job = rp.job("carts")
counted = job.events().figures(rp.metrics.CARTS, by=["category"], every=["1 day"], table="carts")
job.write(counted, to=rp.cassandra)
(table,) = (planned.table for planned in plan_of(job).tables)
assert table.figures == (FIGURES["carts"],), "the shop's own figure comes back from the plan, with its title"
given = given_events([{"event_type": kind, "category": "toys"} for kind in ("add_to_cart", "add_to_cart", "view")])
assert [row["carts"] for row in fold(given, table, table.every[0])] == [2]
""",
    "tests/unit/test_metrics.py -k event_adds or named_after",
)

RATIO = Addition(
    (
        (FIGURES, '    "UNITS",\n', '    "UNITS_PER_ORDER",\n'),
        (FIGURES, '"Average order value", REVENUE, ORDERS, unit="currency")\n',
         'UNITS_PER_ORDER = Ratio("units_per_order", "Units per order", UNITS, ORDERS)\n'),
        ("tests/unit/test_metrics.py", '    assert AVERAGE_ORDER_VALUE.divide(Decimal("0"), 0) is None\n',
         '    assert metrics.UNITS_PER_ORDER.divide(3, 2) == Decimal("1.5")\n'),
    ),
    """
from decimal import Decimal
from retailpulse_kernel.answers.reading import chosen_figures, grouped, grouped_frame
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.streaming.intake.given import given_events

given = given_events([{"event_type": "purchase", "price": "2", "quantity": n, "category": "toys"} for n in (1, 2)])
rows = fold(given, CATEGORY, GRAINS["day"])
(row,) = grouped(rows, ["category"], figures=chosen_figures(["units_per_order"]))
assert row["units_per_order"] == Decimal("1.5000")
assert grouped_frame(rows, [])["units_per_order"].to_list() == [Decimal("1.5000")], "also where none is named"
""",
    "tests/unit/test_figures.py tests/unit/test_metrics.py -k average or named_after or frame",
)

KIND = Addition(
    (
        (KINDS, '    USERS = "users"\n', '    LARGEST = "largest"\n'),
        (KINDS, 'partial(max, default=None), "max({})", compared=_in_ms),\n',
         '    Kind.LARGEST: Rules(Value.WHOLE, Combination.GREATEST, partial(max, default=None), "max({})"),\n'),
        (FIGURES, '    "greatest_of",\n', '    "largest",\n'),
        (FIGURES, '    greatest_of,\n', '    largest,\n'),
        (MEASURES, '    "greatest_of",\n', '    "largest",\n'),
        (MEASURES, '    return _measure(column, {None: Kind.USERS})\n',
         '\n\ndef largest(expression: str) -> Measure:\n    """The largest of some whole numbers.\n\n'
         '    Parameters\n    ----------\n    expression : str\n        Of columns of an event.\n    """\n'
         '    return _measure(expression, {Value.WHOLE: Kind.LARGEST})\n'),
        ("tests/unit/test_metrics.py", "(metrics.LAST_EVENT, [NOON] * 4),\n",
         '        (Figure("most", "Most at once", metrics.largest("quantity"), "purchase"), [2, 1, None, None]),\n'),
    ),
    """
import pyarrow as pa
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.reconcile.sums import Facts, TableSums
from retailpulse_kernel.shop.figures import Figure, largest
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.stores.figure_rows import arrow_rows
from retailpulse_kernel.stores.cassandra.rows import ddl
from retailpulse_kernel.stores.hbase.rows import pack_cells, pack_keys, unpacker
from retailpulse_kernel.streaming.intake.given import given_events
from retailpulse_kernel.streaming.plan.data import TablePlan
from retailpulse_kernel.streaming.state.encoding import added, as_column, as_words
from retailpulse_kernel.streaming.state.batch_sums import aggregate_batch

day, figure = GRAINS["day"], Figure("most", "Most at once", largest("quantity"), where="purchase")
table = FigureTable("shelf", (figure,), ("category",), (day,))
assert TablePlan.describing(table, "hbase").table.figures[0].measure == figure.measure
bought = {"event_type": "purchase", "price": "1", "category": "toys"}
given = given_events([bought | {"quantity": n} for n in (2, 5, 3)] + [{"category": "books"}])
rows = fold(given, table, day)
assert {row["category"]: row["most"] for row in rows} == {"toys": 5, "books": None}
sums, times = TableSums(table), [ms_of(event.event_time) for event in given]
sums.add(Facts([table])(given, times))
assert {key[1]: most for key, (most,) in sums.rows(day).items()} == {"toys": 5, "books": None}
arrow = arrow_rows(table, day, rows)
assert list(map(unpacker(table, day), pack_keys(table, day, arrow), pack_cells(table, arrow))) == rows
assert "most bigint" in ddl("shop", table, day) and figure.aggregate_sql == "max(`most`)"
facts = {"end": [event.event_time for event in given], "category": [event.category for event in given]}
batch = aggregate_batch(pa.table(facts | {"most": pa.array([2, 5, 3, None], pa.int32())}), [table])
words = as_words(figure, batch["most"])
assert as_column(figure, added([figure], words, words)).to_pylist() == batch["most"].to_pylist() == [5, None]
""",
    "tests/unit/test_metrics.py -k event_adds",
)

TABLE = Addition(
    (
        (TABLES, "__all__ = [\n", '    "BRAND",\n'),
        (TABLES, '    every=(GRAINS["hour"],),\n)\n',
         '\n#: A brand\'s day.\nBRAND = FigureTable(\n    "brand",\n    figures=(EVENTS, UNITS, REVENUE),\n'
         '    by=("brand", "currency"),\n    every=(GRAINS["day"],),\n)\n'),
    ),
    """
import retailpulse_kernel as rp
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.scaffold.jobs import new_job
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import BRAND
from retailpulse_kernel.streaming.intake.given import given_events
from retailpulse_kernel.streaming.run.planning import plan_of
from tests.memory import MemoryStore

job, (day,) = rp.job("brands"), BRAND.every
job.write(job.events().figures(*BRAND.figures, by=BRAND.by, every=[day.name], table=BRAND.name), to=rp.hbase)
assert [planned.table for planned in plan_of(job).tables] == [BRAND]
store = MemoryStore()
store.create(BRAND)
store.write(BRAND, day, fold(given_events([{"brand": "acme"}]), BRAND, day), version=1)
assert [(row["brand"], row["events"]) for row in store.read(BRAND, day)] == [("acme", 1)]
try:
    new_job(Settings.load(), "brand")
except UsageError as error:
    assert "one of the shop's own tables" in str(error)
else:
    raise AssertionError("a job of this name would take the table")
""",
)

STORE = Addition(
    (
        ("shelf-store/shelf_store.py", "", SQLITE.replace('name = "sqlite"', 'name = "shelf"')),
        ("shelf-store/pyproject.toml", "",
         '[project]\nname = "shelf-store"\nversion = "1.0"\n\n'
         '[project.entry-points."retailpulse.stores"]\nshelf = "shelf_store"\n'),
    ),
    """
from pathlib import Path
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.stores.registry import serving_store
from retailpulse_kernel.streaming.intake.given import given_events

profile, day = Path("shelf.toml").absolute(), GRAINS["day"]
profile.write_text('[serving]\\nstore = "shelf"\\n')
store, rows = serving_store(Settings.load(profile=str(profile))), fold(given_events([{}]), CATEGORY, day)
profile.unlink()
store.create(CATEGORY)
store.write(CATEGORY, day, rows, version=1)
assert store.name == "shelf" and store.read(CATEGORY, day) == rows != []
""",
    "tests/integration/test_store_contract.py -k TestContract and shelf and not any_row and not sketches",
)

JOB = Addition(
    used="""
import jupytext
import retailpulse_kernel as rp
from retailpulse_kernel.streaming.run.planning import plan_of

notebook, script = (jupytext.read(f"notebooks/jobs/shelf.{kind}").cells for kind in ("ipynb", "py"))
assert [cell.source for cell in notebook] == [cell.source for cell in script]
# What asks Spark or a server is left out: the test, the preview, the run and the look at what was written.
cells = [cell for cell in notebook if cell.cell_type == "code" and "test" not in cell.metadata.get("tags", ())]
lines = "\\n".join(cell.source for cell in cells).splitlines()
variables = {}
exec("\\n".join(line for line in lines if not line.startswith(("sales.preview", "job.run", "rp.cassandra"))), variables)
plan = plan_of(variables["job"])
assert (plan.job, plan.tables[0].physical) == ("shelf", ("shelf_hour", "shelf_day"))
""",
)

TOPIC_FORMAT = Addition(
    (
        (
            f"{FORMATS}/till.py",
            "",
            '''"""The till's journal: each message is a sale, its three values with semicolons between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.formats.opening import Opener

__all__ = ["opener"]


class _Till:
    def open(self, message: bytes, partition: int, offset: int) -> Sequence[bytes]:
        """The sale."""
        try:
            sold_at, article, paid = message.decode().split(";")
        except ValueError as error:
            raise EventError("not_till", str(error)) from None
        receipt = f"{partition}-{offset}"
        order = {"order_id": receipt, "order_line": 1, "product_id": article, "price": paid}
        event = {"event_id": receipt, "event_type": "purchase", "event_time": sold_at}
        sale = event | order | {"user_id": "till", "session_id": receipt}
        return [orjson.dumps(sale)]


def opener(format: str, options: Mapping[str, str]) -> Opener:
    """What opens the till's journal.

    Parameters
    ----------
    format : str
        Its name in a contract.
    options : mapping of str to str
        Of no use here.
    """
    return _Till()
''',
        ),
        (f"{FORMATS}/opening.py", '    "protobuf": "retailpulse_kernel.shop.formats.protobuf:opener",\n',
         '    "till": "retailpulse_kernel.shop.formats.till:opener",\n'),
        ("retailpulse_kernel/shop/contract/topics.py", 'FORMATS: Final = ("json", *REGISTERED, *TOOLS', ', "till"'),
        (
            "tests/unit/test_formats.py",
            '        send(Settings.load(home=tmp_path), [])\n',
            """

def test_the_till_s_journal() -> None:
    (sale,) = TopicReader(of_format("till")).events(b"2026-03-01T10:00:00Z;towel;9.99", 1, 7)
    assert isinstance(sale, Event) and (sale.event_id, sale.price) == ("1-7", Decimal("9.99"))
""",
        ),
        ("docs/contract.md", "or one with a [Schema Registry](#schema-registry).", " `till` is our till's journal."),
    ),
    """
from retailpulse_kernel.shop.contract.loading import read_contract, shipped

contract = read_contract("[topics.till]\\nformat = 'till'", name="shop.toml", base=shipped())
assert contract.of_topic("till").format == "till"
""",
    "tests/unit/test_formats.py -k till_s or any_bytes or can_be_named",
)

FORMAT = Addition(
    (
        (
            f"{ADAPTERS}/shelf.py",
            "",
            '''"""The till's journal: each line is a sale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.shop.adapters.base import Adapter

__all__ = ["Shelf"]


class Shelf(Adapter):
    """One row is one sale of one article."""

    name: ClassVar[str] = "shelf"
    columns: ClassVar[tuple[str, ...]] = ("receipt", "sold_at", "article", "paid")

    def adapt(self, record: Mapping[str, Any], row: int) -> list[dict[str, Any]]:
        """One purchase for the row."""
        receipt = record["receipt"]
        return [
            {"event_id": receipt, "event_type": "purchase", "event_time": record["sold_at"], "user_id": "till",
             "session_id": receipt, "product_id": record["article"], "price": self.price(record["paid"]),
             "currency": self.rules.currency, "order_id": receipt, "order_line": 1}
        ]  # fmt: skip
''',
        ),
        (f"{ADAPTERS}/formats.py", "import Segment\n", "from retailpulse_kernel.shop.adapters.shelf import Shelf\n"),
        (f"{ADAPTERS}/formats.py", "RetailRocket, GA4, Segment", ", Shelf"),
        (
            "tests/unit/test_adapters.py",
            'read(path, "retailrocket", items=items)\n',
            """

def test_the_till_s_journal(tmp_path: Path) -> None:
    path = tmp_path / "till.csv"
    path.write_text("receipt,sold_at,article,paid\\n7,2026-03-01T10:00:00Z,towel,9.99\\n")
    (sale,) = events_of(path, "shelf")
    assert (sale.order_id, sale.product_id, sale.price) == ("7", "towel", Decimal("9.99"))
""",
        ),
        ("docs/events.md", "What else is to know:\n", "\n- The till's `receipt` is event, session and order.\n"),
    ),
    """
from decimal import Decimal
from pathlib import Path
from typer.testing import CliRunner
from retailpulse_kernel.cli import app
from retailpulse_kernel.feed.adapters import read

path = Path("till.csv")
path.write_text("receipt,sold_at,article,paid\\n7,2026-03-01T10:00:00Z,towel,9.99\\n")
assert [sale.price for sale in read(path)] == [Decimal("9.99")], "its columns tell the format"
checked = CliRunner().invoke(app, ["replay", str(path), "--check", "--json"], catch_exceptions=False).stdout
path.unlink()
assert '"format": "shelf"' in checked and '"USD": "9.99"' in checked, checked
""",
    "tests/unit/test_adapters.py -k till",
)

MAGIC = Addition(
    (
        (
            f"{MAGICS}/shelf.py",
            "",
            '''"""``%shelf``: the currencies that an event may carry."""

from __future__ import annotations

import time
from typing import Any

from IPython.core.magic import line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from retailpulse_kernel.magics.base import StoreMagics, options
from retailpulse_kernel.shop.currencies import CURRENCIES
from retailpulse_kernel.stores.frames import to_frame

__all__ = ["COMMANDS", "ShelfMagics"]

COMMANDS = ("currencies",)


@magics_class
class ShelfMagics(StoreMagics):
    """Lists."""

    @no_var_expand
    @magic_arguments()
    @options
    @argument("command", choices=COMMANDS, help="what is listed")
    @line_magic
    def shelf(self, line: str) -> Any:
        """List what an event may carry.

        Examples::

            %shelf currencies --into known
        """
        given, started = self.parsed(self.shelf, line), time.monotonic()
        return self.finish(to_frame(["currency"], [[code] for code in sorted(CURRENCIES)], {}), given, started)
''',
        ),
        (f"{MAGICS}/extension.py", "import RetailPulseMagics\n",
         "    from retailpulse_kernel.magics.shelf import ShelfMagics\n"),
        (f"{MAGICS}/extension.py", "KafkaMagics, RetailPulseMagics", ", ShelfMagics"),
        (f"{MAGICS}/completion.py", "hbase, kafka, rp, schema", ", shelf"),
        (f"{MAGICS}/completion.py", '"rp": rp.COMMANDS', ', "shelf": shelf.COMMANDS'),
        ("tests/unit/test_magics.py", '"sql", "hbase", "kafka", "rp"', ', "shelf"'),
        ("tests/unit/test_magics.py", '        ("%rp pro", "profile"),\n', '        ("%shelf cur", "currencies"),\n'),
    ),
    """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell()
shell.run_line_magic("load_ext", "retailpulse_kernel")
shell.run_cell("%shelf currencies --into known").raise_error()
assert "EUR" in set(shell.user_ns["known"]["currency"])
""",
    "tests/unit/test_magics.py -k load_with or with_every_server_down or var_expand",
)

PANEL = Addition(
    (
        ("retailpulse_kernel/dashboards/store_pulse.py", '"Events by their type.", nothing=_NO_EVENTS),\n',
         '        told(_over_time(20, "Events over time", (0, 40, 24, 8), EVENTS, filters), "Events of each window.",\n'
         '             nothing=_NO_EVENTS),\n'),
    ),
    """
import json
from pathlib import Path

panels = json.loads(Path("grafana/dashboards/store-pulse.json").read_text())["panels"]
(panel,) = (panel for panel in panels if panel["id"] == 20)
assert panel["title"] == "Events over time" and "figures/events?" in json.dumps(panel["targets"])
""",
    "tests/unit/test_dashboards.py",
)

ALERT = Addition(
    (
        ("retailpulse_kernel/monitoring/alerts.py", "ALERTS: tuple[Alert, ...] = (\n",
         '    Alert(\n        "ShelfEmpty", "retailpulse_topic_messages_total == 0", "5m", "warning",'
         ' "{{ $labels.topic }} of "\n'
         '        "{{ $labels.namespace }} has never had a message.",\n    ),\n'),
        ("tests/unit/test_alerts.py", "list[tuple[str, str]], bool]] = [\n",
         '    ("ShelfEmpty", "empty", [(TOPIC, "0x120")], True),\n'
         '    ("ShelfEmpty", "one", [(TOPIC, "1x120")], False),\n'),
        ("docs/runbooks/ShelfEmpty.md", "",
         "# ShelfEmpty\n\n## It means\n\nNobody sends.\n\n## Look\n\n"
         "`retailpulse topics`\n\n## Do\n\nSend.\n\n## Tried\n\nThe rule by promtool.\n"),
        ("docs/runbooks/README.md", "- [ServiceDown](ServiceDown.md)\n", "- [ShelfEmpty](ShelfEmpty.md)\n"),
    ),
    """
from pathlib import Path
import yaml

groups = yaml.safe_load(Path("grafana/alerts/retailpulse.yml").read_text())["groups"]
(rule,) = (rule for group in groups for rule in group["rules"] if rule.get("alert") == "ShelfEmpty")
assert rule["expr"] == "retailpulse_topic_messages_total == 0" and Path(rule["annotations"]["runbook"]).is_file()
""",
    "tests/unit/test_alerts.py -k not promtool",
)

COMMAND = Addition(
    (
        (
            "retailpulse_kernel/cli/checks.py",
            '"differs": 1, "not checked": 3}\n',
            '''

@app.command()
def shelf(as_json: AsJson = False) -> None:
    """List the shop's own tables and their keys."""
    from retailpulse_kernel.shop.tables import TABLES

    keys = {table.name: list(table.by) for table in TABLES}
    if as_json:
        print_json(keys)
    else:
        typer.echo("\\n".join(f"{name}: {', '.join(by)}" for name, by in keys.items()))
''',
        ),
        ("README.md", "| `retailpulse lab` | open JupyterLab on the notebook to start with |\n",
         "| `retailpulse shelf` | list the shop's own tables and their keys |\n"),
    ),
    """
import json
from typer.testing import CliRunner
from retailpulse_kernel.cli import app

def said(*words):
    return CliRunner().invoke(app, ["shelf", *words], catch_exceptions=False).stdout

assert "Print JSON" in said("--help")
assert "session: session_id, user_id, currency" in said()
assert json.loads(said("--json"))["user"] == ["user_id", "currency"]
""",
    "tests/unit/test_packaging_docs.py -k TestCommand and (shelf or readme)",
)

ADDITIONS = {
    "a figure": FIGURE,
    "a ratio": RATIO,
    "a kind of figure": KIND,
    "a table": TABLE,
    "a store": STORE,
    "a job": JOB,
    "a format of a topic's messages": TOPIC_FORMAT,
    "a format of events": FORMAT,
    "a magic": MAGIC,
    "a panel": PANEL,
    "an alert": ALERT,
    "a command": COMMAND,
}
