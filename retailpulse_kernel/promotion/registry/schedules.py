"""When a promoted notebook runs."""

from __future__ import annotations

from croniter import croniter

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.promotion.registry.manifest import CONTINUOUS

__all__ = ["PRESETS", "asset_of", "check_schedule", "is_cron"]

#: Airflow's names for frequent cron expressions.
PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")
_ASSET = "asset:"


def asset_of(schedule: str) -> str | None:
    """The pipeline whose run a schedule waits for, or None.

    Parameters
    ----------
    schedule : str
        The schedule.
    """
    return schedule.removeprefix(_ASSET) if schedule.startswith(_ASSET) else None


def is_cron(schedule: str) -> bool:
    """Whether a schedule is a cron expression or preset.

    Parameters
    ----------
    schedule : str
        The schedule.
    """
    return schedule not in ("", CONTINUOUS) and asset_of(schedule) is None


def check_schedule(schedule: str) -> None:
    """Make sure that a text is a schedule.

    Parameters
    ----------
    schedule : str
        The text.

    Raises
    ------
    UsageError
        The text is not a schedule.
    """
    asset = asset_of(schedule)
    known = schedule in ("", CONTINUOUS, *PRESETS) or (asset is not None and asset.isidentifier())
    if not known and (asset is not None or len(schedule.split()) != 5 or not croniter.is_valid(schedule)):
        raise UsageError(
            f"{schedule!r} is not a schedule.",
            remedy=f"Use {CONTINUOUS}, a cron expression such as '5 * * * *', {', '.join(PRESETS)}, or asset:NAME.",
        )
