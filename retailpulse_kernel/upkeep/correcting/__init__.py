"""Corrections: what late events add to the figures, from the archive, beside the tables that the jobs write."""

from __future__ import annotations

from retailpulse_kernel.upkeep.correcting.correcting import correct
from retailpulse_kernel.upkeep.correcting.result import Corrections

__all__ = ["Corrections", "correct"]
