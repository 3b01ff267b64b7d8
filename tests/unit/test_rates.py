"""Money in the base currency: published rates, and what is read equals a plain loop over the events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.answers.conversion import within_days
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.catalogue.answering import Asking, answer
from retailpulse_kernel.catalogue.overview import described
from retailpulse_kernel.catalogue.rates import rates_of
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry, titles
from retailpulse_kernel.ground.errors import ContractError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.tables.figures import FigureSource
from retailpulse_kernel.shop.contract.comparing import changes
from retailpulse_kernel.shop.contract.loading import load_contract, read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure, average_of, least_of
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.rates.ecb import ecb_rates
from retailpulse_kernel.shop.rates.published import Entry, Rate, Rates
from retailpulse_kernel.shop.rates.tables import table_rates
from retailpulse_kernel.shop.tables import CATEGORY, FigureTable, grain_of
from retailpulse_kernel.streaming.plan.data import TablePlan
from tests.memory import MemoryStore

#: A Friday.
FRIDAY = date(2026, 3, 6)
HISTORY = """Date,USD,GBP,CHF,
2026-03-09,1.3,0.84,N/A,
2026-03-06,1.25,0.85,N/A,
2026-03-05,1.2,0.86,0.9,
"""
DAILY = "Date, USD, GBP, \n06 March 2026, 1.25, 0.85, \n"
XML = """<?xml version="1.0"?>
<Envelope xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref"><Cube>
<Cube time="2026-03-06"><Cube currency="USD" rate="1.25"/><Cube currency="GBP" rate="0.85"/></Cube>
<Cube time="2026-03-05"><Cube currency="USD" rate="1.2"/></Cube>
</Cube></Envelope>
"""


def file(tmp_path: Path, text: str, name: str = "eurofxref-hist.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


class TestFilesOfTheBank:
    def test_the_history_has_a_factor_for_each_day(self, tmp_path: Path) -> None:
        rates = ecb_rates(file(tmp_path, HISTORY), "EUR")
        assert rates.on("USD", FRIDAY) == Rate(Decimal("0.8"), FRIDAY)
        assert rates.on("EUR", date(1990, 1, 1)) == Rate(Decimal(1), date(1990, 1, 1))

    @pytest.mark.parametrize(("text", "name"), [(DAILY, "eurofxref.csv"), (XML, "eurofxref-hist.xml")])
    def test_the_bank_s_other_files_are_read_as_well(self, tmp_path: Path, text: str, name: str) -> None:
        rates = ecb_rates(file(tmp_path, text, name), "EUR")
        assert rates.on("GBP", FRIDAY) == Rate(Context(prec=28).divide(Decimal(1), Decimal("0.85")), FRIDAY)

    @pytest.mark.parametrize(("day", "published"), [(7, 6), (8, 6), (9, 9), (16, 9), (17, None), (4, None)])
    def test_a_day_without_a_rate_has_the_last_one_before_it_for_a_week(
        self, tmp_path: Path, day: int, published: int | None
    ) -> None:
        found = ecb_rates(file(tmp_path, HISTORY), "EUR").on("USD", date(2026, 3, day))
        assert (found and found.day.day) == published

    def test_another_base_is_crossed_by_the_rates_of_one_day(self, tmp_path: Path) -> None:
        rates = ecb_rates(file(tmp_path, HISTORY), "CHF")
        assert rates.on("USD", FRIDAY) == Rate(Decimal("0.75"), date(2026, 3, 5)), "the franc has no rate on Friday"
        assert rates.on("EUR", FRIDAY) == Rate(Decimal("0.9"), date(2026, 3, 5))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("Date,USD,\n2026-03-06,0,\n", "line 2: the rate of USD on 2026-03-06 is 0, and a rate is greater than 0"),
            ("Date,USD,\n2026-03-06,-1.2,\n", "line 2: .* is -1.2"),
            ("Date,USD,\n2026-03-06,1.2,\n2026-03-05,abc,\n", "line 3: .* is 'abc', which is not a number"),
            ("Date,USD,\n2026-03-06,Infinity,\n", "line 2: .* which is not a number"),
            ("Date,USD,UDS,\n2026-03-06,1.2,1.2,\n", "line 2: 'UDS' is not a currency of ISO 4217"),
            ("Date,USD,\n2026-03-06,1.2,\n2026-03-06,1.3,\n", "line 3 has the day 2026-03-06, as line 2 has"),
            ("Date,USD,USD,\n2026-03-06,1.2,1.2,\n", "line 1 names USD twice"),
            ("Date,USD,\n06/03/2026,1.2,\n", "line 2: '06/03/2026' is not a day"),
            ("day,currency,rate\n2026-03-06,USD,1.2\n", "line 1 does not begin with Date"),
            ("", "line 1 does not begin with Date"),
        ],
    )
    def test_a_fault_is_told_with_its_line(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            ecb_rates(file(tmp_path, text), "EUR")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (XML.replace("0.85", "0"), "line 3: the rate of GBP on 2026-03-06 is 0"),
            (XML.replace("GBP", "USD"), "line 3: USD has a second rate on 2026-03-06"),
            (XML.replace("</Cube></Envelope>", ""), "line 6: no element found"),
            (XML.replace(' time="2026-03-06"', ""), "line 3 has a rate, and no day stands before it"),
            ("<a/>", "no element with a currency"),
        ],
    )
    def test_a_fault_in_xml_as_well(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            ecb_rates(file(tmp_path, text, "rates.xml"), "EUR")

    def test_a_base_without_rates_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="per EUR, and there is none of SEK"):
            ecb_rates(file(tmp_path, HISTORY), "SEK")

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="can't be read: No such file"):
            ecb_rates(tmp_path / "nowhere.csv", "EUR")


class TestReferenceTables:
    def rows(self, *rows: tuple[str, str], **more: str) -> pa.Table:
        return pa.Table.from_pylist(
            [{"day": FRIDAY, "currency": name, "rate": Decimal(rate)} | more for name, rate in rows]
        )

    def test_rates_are_per_the_base_where_nothing_else_is_said(self) -> None:
        assert table_rates(self.rows(("USD", "1.25")), "GBP", "rates").on("USD", FRIDAY) == Rate(Decimal("0.8"), FRIDAY)

    def test_rates_per_another_currency_are_crossed(self) -> None:
        rates = table_rates(self.rows(("USD", "1.2"), ("GBP", "0.9"), per="EUR"), "GBP", "rates")
        assert rates.on("USD", FRIDAY) == Rate(Decimal("0.75"), FRIDAY)

    def test_a_currency_has_one_rate_a_day(self) -> None:
        with pytest.raises(UsageError, match="row 2: USD has a second rate on 2026-03-06"):
            table_rates(self.rows(("USD", "1.2"), ("USD", "1.3")), "EUR", "rates")

    def test_all_rates_are_per_one_currency(self) -> None:
        mixed = pa.concat_tables([self.rows(("USD", "1.2"), per="EUR"), self.rows(("USD", "1.2"), per="GBP")])
        with pytest.raises(UsageError, match="per several currencies: EUR, GBP"):
            table_rates(mixed, "EUR", "rates")

    def test_a_row_is_whole(self) -> None:
        rows = pa.Table.from_pylist([{"day": FRIDAY, "currency": "USD", "rate": None}])
        with pytest.raises(UsageError, match=r"row 1 of .* has no rate: day 2026-03-06, currency USD"):
            table_rates(rows, "EUR", "rates")


TABLE = """
[shop]
currency = "EUR"
rates = "rates"

[tables.rates]
file = "rates.csv"
key = ["day", "currency"]
columns = {day = "date", currency = "string", rate = "decimal(18,6)"}
"""


class TestContract:
    def test_the_shipped_one_converts_nothing(self) -> None:
        assert shipped().shop.rates == ""
        old = {**msgspec.to_builtins(shipped().shop)}
        del old["rates"]
        assert Contract.of_plain({**shipped().plain(), "shop": old}) == shipped(), "plain values of before are read"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('[shop]\nrates = "rates"\n', "line 2: shop.rates: There is no reference table 'rates'"),
            ('[shop]\nrates = "rates.txt"\n', "line 2: shop.rates: 'rates.txt' is not the name of a CSV or XML file"),
            (TABLE.replace('day = "date", ', ""), "no column 'day'"),
            (TABLE.replace("decimal(18,6)", "double"), "The column 'rate' is a double and not a decimal"),
        ],
    )
    def test_what_can_not_be_is_told_with_its_line(self, text: str, said: str) -> None:
        with pytest.raises(ContractError, match=said):
            read_contract(text, name="shop.toml", base=shipped())

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ("2026-03-06,USD,0\n", "line 4: shop.rates: .*the rate of USD on 2026-03-06 is 0"),
            ("2026-03-06,USD,1.2\n2026-03-06,USD,1.3\n", "the key day = 2026-03-06 and currency = USD 2 times"),
        ],
    )
    def test_the_check_reads_the_file(self, tmp_path: Path, rows: str, said: str) -> None:
        file(tmp_path, f"day,currency,rate\n{rows}", "rates.csv")
        path = file(tmp_path, TABLE, "shop.toml")
        with pytest.raises(ContractError, match=f"(?s){said}"):
            load_contract(path, thoroughly=True)
        assert load_contract(path).shop.rates == "rates"

    def test_a_file_of_the_bank_is_checked(self, tmp_path: Path) -> None:
        path = file(tmp_path, '[shop]\ncurrency = "EUR"\nrates = "eurofxref-hist.csv"\n', "shop.toml")
        with pytest.raises(ContractError, match=r"line 3: shop.rates: .*can't be read"):
            load_contract(path, thoroughly=True)
        file(tmp_path, HISTORY)
        assert load_contract(path, thoroughly=True).shop.rates == "eurofxref-hist.csv"

    def test_the_shipped_example_converts_any_day_of_its_years(self) -> None:
        path = Path(__file__).resolve().parents[2] / "notebooks" / "worked" / "shop.toml"
        found = load_contract(path, thoroughly=True)
        rates = ecb_rates(path.with_name(found.shop.rates), found.shop.currency)
        days = [date(2025, 1, 6) + timedelta(days=number) for number in range(3 * 365 - 6)]
        assert all(rates.on(currency, day) for currency in ("EUR", "USD", "GBP") for day in days)

    def test_a_change_is_told(self) -> None:
        other = read_contract(TABLE, name="shop.toml", base=shipped())
        said = [change.said for change in changes(shipped(), other) if change.what == "shop"]
        assert said == ["currency is EUR instead of USD", "rates is rates instead of nothing"]

    def test_rates_are_read_again_once_their_file_has_changed(self, tmp_path: Path) -> None:
        path = file(tmp_path, '[shop]\ncurrency = "EUR"\nrates = "eurofxref-hist.csv"\n', "shop.toml")
        file(tmp_path, HISTORY)
        made = Settings.load(home=tmp_path, contract=str(path))
        first = rates_of(made)
        assert rates_of(made) is first
        file(tmp_path, HISTORY.replace("1.25", "1.6")).touch()
        again = rates_of(made).on("USD", FRIDAY)
        assert again is not None and again.factor == Decimal("0.625")

    def test_without_rates_nothing_is_converted(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="the contract names no rates"):
            rates_of(Settings.load(home=tmp_path))


# -- figures ----------------------------------------------------------------------------------------

START = datetime(2026, 3, 6, 20, tzinfo=UTC)
QUOTIENT = Context(prec=28, rounding=ROUND_HALF_EVEN)
Published = dict[str, dict[date, Decimal]]


def contract_in(zone: str = "UTC", base: str = "EUR") -> Contract:
    return read_contract(
        f'[shop]\nzone = "{zone}"\ncurrency = "{base}"\nrates = "rates.csv"\n', name="shop.toml", base=shipped()
    )


def purchase(number: int, at: datetime, price: Decimal, currency: str, category: str = "books") -> list[Event]:
    """A view and an order of one line."""
    common: dict[str, Any] = {"event_time": at, "user_id": "u", "session_id": "s", "product_id": "p",
                              "category": category}  # fmt: skip
    order = {"order_id": f"o{number}", "order_line": 1, "price": price, "currency": currency}
    return [
        Event(event_id=f"v{number}", event_type="view", **common),
        Event(event_id=f"p{number}", event_type="purchase", **common, **order),
    ]


def catalogue(
    events: Iterable[Event], contract: Contract, published: Published, per: str = "EUR", table: FigureTable = CATEGORY
) -> tuple[Catalogue, MemoryStore]:
    store, found = MemoryStore(), list(events)
    store.create(table)
    for grain in table.every:
        store.write(table, grain, fold(found, table, grain), version=1)
    entry = TableEntry(TablePlan.describing(table, "memory"), "job", "v1", ran=True)
    entries = [Entry("line", day, name, rate) for name, days in published.items() for day, rate in days.items()]
    rates = Rates.of_entries(entries, base=contract.shop.currency, per=per, name="rates.csv")
    return Catalogue("t", "memory", (entry,), contract, lambda: rates), store


def read(made: tuple[Catalogue, MemoryStore], *figures: str, **asked: Any) -> Any:
    return answer(made[0], Asking(figures, **asked), lambda name: made[1])  # type: ignore[arg-type, return-value]


def half_up(exact: Fraction) -> Decimal:
    """To four places, half away from zero, without any decimal arithmetic."""
    whole, rest = divmod(abs(exact) * 10_000, 1)
    return Decimal(int(whole) + (rest >= Fraction(1, 2))).scaleb(-4).copy_sign(Decimal(1 if exact >= 0 else -1))


def factor(published: Published, per: str, base: str, currency: str, day: date) -> Fraction | None:
    """The stated rule, written down once more: one day for both, a week back at most, 28 digits."""
    if currency == base:
        return Fraction(1)
    for age in range(8):
        of_day = {name: days[day - timedelta(age)] for name, days in published.items() if day - timedelta(age) in days}
        of_day[per] = Decimal(1)
        if base in of_day and currency in of_day:
            return Fraction(QUOTIENT.divide(of_day[base], of_day[currency]))
    return None


def looped(
    events: Iterable[Event], of: Callable[[Event], Fraction | None], key: Callable[[Event], Any]
) -> tuple[dict[Any, Fraction], dict[str, Fraction]]:
    """Converted sums by key, and what was not converted by currency: event by event."""
    sums: dict[Any, Fraction] = {}
    missing: dict[str, Fraction] = defaultdict(Fraction)
    lacking = set()
    for event in events:
        amount = Fraction(event.price or 0) * event.quantity if event.event_type == "purchase" else Fraction(0)
        rate = of(event) if amount else Fraction(1)
        if rate is None:
            missing[event.currency] += amount
            lacking.add(key(event))
        else:
            sums[key(event)] = sums.get(key(event), Fraction(0)) + amount * rate
    # Views beside a purchase without a rate do not make an amount of 0.
    return {one: amount for one, amount in sums.items() if amount or one not in lacking}, dict(missing)


prices = st.integers(0, 10**9).map(lambda number: Decimal(number).scaleb(-4))
currencies = st.sampled_from(["EUR", "USD", "GBP", "JPY", "PLN"])
sales = st.lists(
    st.tuples(st.integers(0, 12 * 24 * 60), prices, currencies, st.sampled_from(["books", "toys"])),
    min_size=1, max_size=25,
)  # fmt: skip
rate_of_a_day = st.integers(1, 10**9).map(lambda number: Decimal(number).scaleb(-5))
publications = st.dictionaries(
    st.sampled_from(["USD", "GBP", "JPY"]),
    st.dictionaries(st.integers(-9, 13).map(lambda day: FRIDAY + timedelta(days=day)), rate_of_a_day, min_size=1),
    min_size=3,
)


def began(shown: datetime, every: str) -> datetime:
    """The start of a window by what the shop's clock shows."""
    hour = shown.replace(minute=0, second=0, microsecond=0)
    if every == "hour":
        return hour
    day = hour.replace(hour=0)
    return day if every == "day" else day - timedelta(days=day.weekday())


@settings(max_examples=60)
@given(
    sales, publications, st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"]),
    st.sampled_from(["EUR", "GBP"]), st.sampled_from(["hour", "day", "week"]), st.booleans(),
)  # fmt: skip
def test_what_is_read_is_what_a_loop_over_the_events_says(
    sold: list[Any], published: Published, zone: str, base: str, every: str, by_currency: bool
) -> None:
    events = [
        event
        for number, (minute, price, currency, category) in enumerate(sold)
        for event in purchase(number, START + timedelta(minutes=minute), price, currency, category)
    ]
    made = catalogue(events, contract_in(zone, base), published)

    def of(event: Event) -> Fraction | None:
        return factor(published, "EUR", base, event.currency, event.event_time.astimezone(ZoneInfo(zone)).date())

    def key(event: Event) -> Any:
        window = (began(event.event_time.astimezone(ZoneInfo(zone)), every), event.category)
        return (*window, event.currency) if by_currency else window

    sums, missing = looped(events, of, key)
    by = ("bucket", "category", *(["currency"] if by_currency else []))
    frame = read(made, "revenue_base", by=by, every=every)
    found = {tuple(row[:-1]): row[-1] for row in frame[[*by, "revenue_base"]].itertuples(index=False)}
    assert {key: value for key, value in found.items() if value is not None} == {
        key: half_up(value) for key, value in sums.items()
    }
    assert {name: Fraction(amounts["revenue"]) for name, (_, amounts) in frame.attrs["missing"].items()} == missing
    total = read(made, "revenue_base", by=())
    whole = sum(sums.values(), Fraction(0))
    assert total["revenue_base"].tolist() == [half_up(whole) if whole or not missing else None]


WEEKEND: Published = {
    "USD": {FRIDAY: Decimal("1.25"), FRIDAY + timedelta(days=3): Decimal("1.6")},
    "GBP": {FRIDAY: Decimal("0.8")},
}


@pytest.fixture
def weekend() -> tuple[Catalogue, MemoryStore]:
    """Sales of Friday to Monday."""
    sold = [(0, "10", "USD"), (1, "20", "GBP"), (2, "40", "EUR"), (24, "100", "USD"), (50, "5", "PLN"),
            (72, "32", "USD")]  # fmt: skip
    events = [
        event
        for number, (hours, price, currency) in enumerate(sold)
        for event in purchase(number, START + timedelta(hours=hours), Decimal(price), currency)
    ]
    return catalogue(events, contract_in(), WEEKEND)


class TestReading:
    def test_money_is_added_up_over_all_currencies(self, weekend: Any, capsys: pytest.CaptureFixture[str]) -> None:
        frame = read(weekend, "revenue_base", by=())
        # 10 / 1.25 + 20 / 0.8 + 40 + 100 / 1.25 + 32 / 1.6
        assert frame["revenue_base"].tolist() == [Decimal("173.0000")]
        assert frame.attrs["base_currency"] == "EUR"
        assert frame.attrs["rate_dates"] == {"GBP": ["2026-03-06"], "USD": ["2026-03-06", "2026-03-09"]}
        assert frame.attrs["missing"] == {"PLN": (1, {"revenue": Decimal("5")})}
        said = capsys.readouterr().err
        assert "rates for GBP of 2026-03-06, USD of 2026-03-06 to 2026-03-09" in said
        assert "no rate for PLN on 1 day (2026-03-08): revenue 5.00 PLN is not converted" in said

    def test_the_largest_groups_are_ranked_over_all_currencies(self, weekend: Any) -> None:
        frame = read(weekend, "revenue_base", by=("event_type",), top=1)
        assert dict(zip(frame["event_type"], frame["revenue_base"], strict=True)) == {
            "purchase": Decimal("173.0000"),
            "other": Decimal("0.0000"),
        }

    def test_it_stands_beside_the_original(self, weekend: Any) -> None:
        frame = read(weekend, "revenue", "revenue_base", by=("currency",))
        rows = {row.currency: (row.revenue, row.revenue_base) for row in frame.itertuples()}
        assert rows["USD"] == (Decimal("142"), Decimal("108.0000"))
        assert rows["EUR"] == (Decimal("40"), Decimal("40.0000"))
        assert rows["PLN"] == (Decimal("5"), None), "what has no rate is not an amount of 0"

    def test_a_currency_is_a_filter_as_ever(self, weekend: Any) -> None:
        frame = read(weekend, "revenue_base", by=(), where={"currency": ["USD"]})
        assert frame["revenue_base"].tolist() == [Decimal("108.0000")]
        assert frame.attrs["missing"] == {}

    def test_an_average_leaves_out_what_has_no_rate_on_both_sides(self, weekend: Any) -> None:
        frame = read(weekend, "average_order_value_base", by=())
        assert frame["average_order_value_base"].tolist() == [Decimal("34.6000")], "173 over 5 orders, and not 6"

    def test_a_week_is_read_from_days(self, weekend: Any) -> None:
        frame = read(weekend, "revenue_base", by=("bucket",), every="week")
        assert frame["revenue_base"].tolist() == [Decimal("153.0000"), Decimal("20.0000")]

    def test_an_extreme_is_that_of_the_converted_amounts(self) -> None:
        least = Figure("least", "Least", least_of("price"), where="purchase", unit="currency")
        table = FigureTable("prices", (EVENTS, least, *average_parts), ("currency",), (grain_of("hour"),), (AVERAGE,))
        events = [*purchase(1, START, Decimal(10), "USD"), *purchase(2, START, Decimal(9), "EUR")]
        made = catalogue(events, contract_in(), WEEKEND, table=table)
        frame = read(made, "least_base", "average_price_base", by=(), table="prices")
        assert frame.iloc[0].tolist() == [Decimal("8.0000"), Decimal("8.5000")]

    def test_what_is_no_money_has_no_base(self, weekend: Any) -> None:
        with pytest.raises(UsageError, match="'orders' is no amount of money"):
            read(weekend, "orders_base", by=())
        with pytest.raises(UnknownName, match="nothing_base"):
            read(weekend, "nothing_base", by=())

    def test_windows_of_several_days_are_refused(self) -> None:
        table = FigureTable("weekly", (REVENUE,), ("currency",), (grain_of("week"), grain_of("month")))
        made = catalogue(purchase(1, START, Decimal(10), "USD"), contract_in(), WEEKEND, table=table)
        with pytest.raises(UsageError, match=r"its windows \(week, month\) do not lie within one business day"):
            read(made, "revenue_base", by=(), table="weekly")

    @pytest.mark.parametrize(
        ("zone", "kept"),
        [
            ("UTC", ["minute", "hour", "day"]),
            ("Europe/Berlin", ["minute", "hour"]),
            ("Asia/Kolkata", ["minute"]),
            ("Australia/Lord_Howe", ["minute"]),
            ("America/Sao_Paulo", ["minute", "hour"]),
        ],
    )
    def test_days_of_the_shop_s_zone_need_windows_that_begin_with_them(self, zone: str, kept: list[str]) -> None:
        assert [grain.name for grain in within_days(CATEGORY, contract_in(zone)).every] == kept

    def test_the_catalogue_lists_it_where_there_are_rates(self, weekend: Any) -> None:
        (entry,) = weekend[0].entries
        names = [one["name"] for one in described(entry, contract_in())["figures"]]
        assert names[-2:] == ["revenue_base", "average_order_value_base"]
        assert "Total revenue in the base currency" in titles(entry, contract_in())
        assert not any("base" in one["name"] for one in described(entry, shipped())["figures"])
        assert not any("base" in title for title in titles(entry, shipped()))

    def test_without_rates_the_error_says_what_to_do(self) -> None:
        made = catalogue([], contract_in(), WEEKEND)
        plain = Catalogue("t", "memory", made[0].entries, shipped())
        with pytest.raises(UsageError, match="the contract names no rates"):
            read((plain, made[1]), "revenue_base", by=())


def test_a_live_view_adds_up_all_currencies_and_says_the_rates(weekend: Any) -> None:
    asking = Asking(("revenue_base",), ("category",))
    source = FigureSource.of(asking, lambda: weekend[0], lambda name: weekend[1])
    reading = source.read(None, None)
    assert reading.money == frozenset(), "it is no money of a row's currency"
    assert [row.revenue_base for row in reading.totals.itertuples()] == [Decimal("173.0000")]
    (said,) = reading.notes
    assert said.startswith("Amounts in EUR use the rates for GBP of 2026-03-06") and "5.00 PLN" in said


AVERAGE = average_of("price", where="purchase", unit="currency")
average_parts = (AVERAGE.over, AVERAGE.under)


class TestOverHttp:
    @pytest.fixture
    def client(self, weekend: tuple[Catalogue, MemoryStore]) -> TestClient:
        class Here(Sources):
            @property
            def catalogue(self) -> Catalogue:
                return weekend[0]

        return TestClient(create_app(weekend[1], sources=Here(weekend[1])))

    def test_a_figure_in_the_base_currency(self, client: TestClient) -> None:
        asked = {"from": START.isoformat(), "to": (START + timedelta(days=4)).isoformat()}
        found = client.get("/api/v1/figures/revenue_base", params=asked).json()
        assert [row["decimal"] for row in found["rows"]] == ["173.00"]
        assert found["base"] == {
            "currency": "EUR",
            "rates": {"GBP": {"first": "2026-03-06", "last": "2026-03-06"},
                      "USD": {"first": "2026-03-06", "last": "2026-03-09"}},
            "missing": {"PLN": {"days": 1, "amounts": {"revenue": "5.00"}}},
        }  # fmt: skip
        assert "base" not in client.get("/api/v1/figures/revenue", params=asked).json()

    def test_the_currency_base_is_all_money_converted_and_all_of_what_is_no_money(self, client: TestClient) -> None:
        asked = {"from": START.isoformat(), "to": (START + timedelta(days=4)).isoformat()}
        for name, by_name in (("revenue", "revenue_base"), ("orders", "orders")):
            found = client.get(f"/api/v1/figures/{name}", params={**asked, "currency": "base"}).json()["rows"]
            assert found and found == client.get(f"/api/v1/figures/{by_name}", params=asked).json()["rows"]

    def test_a_series_of_days_over_any_range(self, client: TestClient) -> None:
        asked = {"from": START.isoformat(), "to": (START + timedelta(days=4)).isoformat(), "by": "bucket",
                 "grain": "day"}  # fmt: skip
        rows = client.get("/api/v1/figures/revenue_base", params=asked).json()["rows"]
        assert [(row["bucket"][:10], row["decimal"]) for row in rows] == [
            ("2026-03-06", "73.00"), ("2026-03-07", "80.00"), ("2026-03-09", "20.00"),
        ]  # fmt: skip

    def test_averages_are_those_of_the_frame(self, client: TestClient) -> None:
        asked = {"from": START.isoformat(), "to": (START + timedelta(days=4)).isoformat()}
        rows = client.get("/api/v1/figures/average_order_value_base", params=asked).json()["rows"]
        assert [row["decimal"] for row in rows] == ["34.60"]
