"""When a promoted notebook runs."""

from __future__ import annotations

from croniter import croniter

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.promotion.manifest import CONTINUOUS

__all__ = ["PRESETS", "asset_of", "check_schedule", "is_cron"]

#: Airflow's names for frequent cron expressions.
PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")
_ASSET = "asset:"


def asset_of(schedule: str) -> str | None:
    """The pipeline whose run a schedule waits for, or None."""
    return schedule.removeprefix(_ASSET) if schedule.startswith(_ASSET) else None


def is_cron(schedule: str) -> bool:
    """Whether a schedule is times of the clock."""
    return schedule not in ("", CONTINUOUS) and asset_of(schedule) is None


def check_schedule(schedule: str) -> None:
    """Make sure that a schedule is one.

    Raises
    ------
    UsageError
        It is none.
    """
    asset = asset_of(schedule)
    known = schedule in ("", CONTINUOUS, *PRESETS) or (asset is not None and asset.isidentifier())
    if not known and (asset is not None or len(schedule.split()) != 5 or not croniter.is_valid(schedule)):
        raise UsageError(
            f"{schedule!r} is not a schedule.",
            remedy=f"Use {CONTINUOUS}, a cron expression such as '5 * * * *', {', '.join(PRESETS)}, or asset:NAME.",
        )
