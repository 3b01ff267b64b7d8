"""Says how many inputs the long form has judged."""

from __future__ import annotations

import pytest

from tests.fuzz.forms import JUDGED, LONG


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LONG:
        for name, count in JUDGED.items():
            terminalreporter.write_line(f"{count:>9,}  {name}")
        terminalreporter.write_line(f"{JUDGED.total():>9,}  inputs judged")
