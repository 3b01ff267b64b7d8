"""A topic's messages as events, one message at a time: what the fold of `reconcile` and the live view go by.

Spark's workers do the same for thousands of messages at once (`streaming/intake/judging.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.shop.contract.loading import contract_of, shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.formats.opening import events_in, opener_of, place_of
from retailpulse_kernel.shop.formats.options import options_of

__all__ = ["TopicReader", "topic_reader"]


class TopicReader:
    """Reads the messages of a topic.

    Parameters
    ----------
    contract : Contract, optional
        That of the topic; the shipped one when absent.
    options : mapping of str to str, optional
        What the opener of the messages' format needs to know.
    changed : Counter, optional
        Counts the messages in which a value was changed for the event, by what was done.
    """

    def __init__(
        self,
        contract: Contract | None = None,
        options: Mapping[str, str] | None = None,
        changed: Counter[str] | None = None,
    ) -> None:
        shop = shipped() if contract is None else contract
        self._parse = reader_of(shop).parse
        self._opener = opener_of(shop.format, options or {}, changed)

    def events(
        self, message: bytes | None, partition: int, offset: int, *, arrival_ms: int | None = None
    ) -> Iterator[Event | EventError]:
        """What a message holds, in its order: each event, or why it is none. A message gives one at least.

        Parameters
        ----------
        message : bytes or None
            As it is in the topic.
        partition, offset : int
            Where it is.
        arrival_ms : int, optional
            The broker's time of the message, in milliseconds since 1970.

        Raises
        ------
        StoreUnavailable
            What is needed to open the message does not answer.
        """
        for number, event in enumerate(events_in(self._opener, message, partition, offset), start=1):
            place = place_of(partition, offset, number)
            try:
                yield (
                    event if isinstance(event, EventError) else self._parse(event, arrival_ms=arrival_ms, place=place)
                )
            except EventError as error:
                yield error


def topic_reader(settings: Settings, topic: str = Namespace.EVENTS) -> TopicReader:
    """The reader of a topic of the shop that settings name.

    Parameters
    ----------
    settings : Settings
        Their contract says what the topic's messages hold, and how they are written.
    topic : str
        The topic's name within the namespace.

    Raises
    ------
    ContractError
        The contract has faults.
    """
    contract = contract_of(settings).of_topic(topic)
    return TopicReader(contract, options_of(settings, contract))
