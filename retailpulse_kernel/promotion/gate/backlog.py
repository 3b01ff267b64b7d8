"""What a new epoch has to read: the messages that the job's topics hold, and those that they have lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.plan.data import Plan
from retailpulse_kernel.streaming.run.changes import is_sent

__all__ = ["Backlog"]


@dataclass(frozen=True)
class Backlog:
    """The messages of the topics that a job reads.

    Attributes
    ----------
    messages : int
        The number of messages that the topics hold.
    lost : dict of str to int
        The number of messages that a topic has deleted, of each topic that has deleted any.
    """

    messages: int
    lost: dict[str, int]

    @classmethod
    def of(cls, live: Settings, plan: Plan) -> Backlog:
        """The backlog of a job in a namespace.

        Parameters
        ----------
        live : Settings
            The namespace with the topics.
        plan : Plan
            The job's plan.
        """
        kafka = KafkaStore(live)
        bounds = {topic: kafka.offsets(live.namespace.topic(topic)).values() for topic in plan.topics}
        messages = sum(end - begin for found in bounds.values() for begin, end in found)
        lost = {topic: gone for topic, found in bounds.items() if (gone := sum(begin for begin, _ in found))}
        return cls(messages, lost)

    def notes(self, plan: Plan) -> Iterator[str]:
        """What becomes of the tables of rows in a new epoch, a line each.

        Parameters
        ----------
        plan : Plan
            The job's plan.
        """
        replaced = [table.name for table in plan.rows if not is_sent(table)]
        if not replaced:
            return
        yield f"the cutover compares the rows of {', '.join(replaced)} in both versions, and then replaces them"
        for topic, gone in self.lost.items():
            yield (
                f"{topic} has deleted its first {gone:,} messages: these tables will hold what the rest gives. "
                "The rows as they are now are kept for a rollback"
            )
