"""The rates of a shop, read from where its contract says that they are, and kept for a while."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import span_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import NEVER, Contract, ReferenceTable
from retailpulse_kernel.shop.rates.ecb import ecb_rates
from retailpulse_kernel.shop.rates.published import Rates
from retailpulse_kernel.shop.rates.tables import table_rates
from retailpulse_kernel.stores.reference_tables import read_table

__all__ = ["rates_of", "require_rates"]


@dataclass(frozen=True)
class _Kept:
    """Rates that were read: what they were read for, and until when they are taken again."""

    stamp: tuple[Any, ...]
    until: float
    rates: Rates


_kept: Final[dict[tuple[str, str, str], _Kept]] = {}
_lock: Final = threading.Lock()


def require_rates(contract: Contract) -> None:
    """Refuse to convert money where the contract names no rates.

    Parameters
    ----------
    contract : Contract
        The shop's.

    Raises
    ------
    UsageError
        There are none.
    """
    if not contract.shop.rates:
        raise UsageError(
            f"Nothing says what other money is worth in {contract.shop.currency}: the contract names no rates.",
            remedy='Add rates = "TABLE" to its [shop], or a file such as rates = "eurofxref-hist.csv".',
        )


def rates_of(settings: Settings) -> Rates:
    """The rates that the contract of some settings names.

    A file is read again when it has changed, a table as often as its ``every`` says.

    Parameters
    ----------
    settings : Settings
        Whose contract, and in whose namespace a table is.

    Raises
    ------
    UsageError
        The contract names no rates, they are not there, or one of them can't be.
    StoreUnavailable
        The store of the table does not answer.
    """
    contract = contract_of(settings)
    require_rates(contract)
    table = next((one for one in contract.tables if one.name == contract.shop.rates), None)
    path = _file(settings, contract, table)
    stamp = (contract.shop, table, path, _changed(path))
    key = (str(settings.contract), settings.profile_name, settings.namespace_name)
    with _lock:
        kept = _kept.get(key)
        if kept is None or kept.stamp != stamp or time.monotonic() >= kept.until:
            kept = _kept[key] = _Kept(stamp, time.monotonic() + _seconds(table), _read(settings, contract, table, path))
        return kept.rates


def _read(settings: Settings, contract: Contract, table: ReferenceTable | None, path: Path | None) -> Rates:
    base = contract.shop.currency
    if table is not None:
        return table_rates(read_table(settings, table), base, table.name)
    assert path is not None, "rates that are no table are a file"
    return ecb_rates(path, base)


def _file(settings: Settings, contract: Contract, table: ReferenceTable | None) -> Path | None:
    """The file of the rates; None where they are in a store or a topic."""
    if table is not None and table.source != "file":
        return None
    folder = Path() if settings.contract is None else settings.contract.parent
    return folder / (contract.shop.rates if table is None else table.place)


def _changed(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mtime_ns
    except OSError:
        return 0  # the reader tells that the file is not there


def _seconds(table: ReferenceTable | None) -> float:
    if table is None or table.source == "file" or table.every == NEVER:
        return float("inf")
    return span_of(table.every).total_seconds()
