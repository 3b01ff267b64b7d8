"""What a live view says about itself, and when its feed did what."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["Clocks", "State"]


@dataclass
class State:
    """What the strip of the view says.

    Attributes
    ----------
    rate : float
        Messages a second that come into the topic.
    lag : int
        Messages that the stored figures do not hold yet.
    folding : bool
        Whether the tail is added to the stored figures.
    note : str
        Why not, or what is wrong; empty when all is well.
    newest_ms : int
        The broker's time of the newest message that is shown, epoch milliseconds.
    edge : int
        The end of the newest minute that there may be figures of, epoch seconds.
    minutes_from : int
        From when on figures are known by the minute, epoch seconds; before that by the hour.
    hour_phase : int
        How many seconds after the hours of UTC the shop's hours begin.
    loaded : bool
        Whether all of them have been read.
    """

    rate: float = 0.0
    lag: int = 0
    folding: bool = False
    note: str = "starting"
    newest_ms: int = 0
    edge: int = 0
    minutes_from: int = 0
    hour_phase: int = 0
    loaded: bool = False


@dataclass
class Clocks:
    """When each thing was done last."""

    at: dict[str, float] = field(default_factory=dict)

    def due(self, name: str, seconds: float) -> bool:
        """Whether something was not done for so long; it counts as done now.

        Parameters
        ----------
        name : str
            What is done.
        seconds : float
            How often.
        """
        now = time.monotonic()
        if now - self.at.get(name, -1e9) < seconds:
            return False
        self.at[name] = now
        return True
