"""Messages as Confluent's serialisers write them: a zero, the schema's id in four bytes, and what it describes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from retailpulse_kernel.ground.errors import EventError, RetailPulseError
from retailpulse_kernel.shop.formats.registry import SchemaRegistry

__all__ = ["DESERIALIZER", "HEAD", "Framed", "Payload"]

#: Bytes of a message in front of what the schema describes.
HEAD: Final = 5
#: What a decoder was reading, by an address that says nothing to anyone, and differs each time.
_OBJECT: Final = re.compile(r"<\S+ object at 0x[0-9a-f]+>")
#: Which subject a schema has says nothing that its id does not.
DESERIALIZER: Final[dict[str, Any]] = {"subject.name.strategy": lambda *_: None}


class Payload:
    """What stands behind a message's head, as confluent-kafka's deserialisers ask for it, and what they left of it."""

    def __init__(self) -> None:
        self._behind = io.BytesIO()

    def __call__(self, data: bytes, context: Any, schema_id: Any) -> io.BytesIO:
        """Take the head of a message off.

        Parameters
        ----------
        data : bytes
            The message.
        context : object
            The deserialiser's own.
        schema_id : object
            The deserialiser's own; gets the id.
        """
        self._behind = schema_id.from_bytes(io.BytesIO(data))
        return self._behind

    def require_read(self) -> None:
        """Refuse bytes that the schema does not describe: what was read before them may be wrong, too.

        Raises
        ------
        ValueError
            There are some.
        """
        if left := len(self._behind.read()):
            raise ValueError(f"{left} bytes stand behind what the schema describes")


class Reader(Protocol):
    """Reads the messages of one format, whose heads were looked at."""

    def read(self, message: bytes, number: int) -> bytes:
        """A message as JSON.

        Parameters
        ----------
        message : bytes
            With its head.
        number : int
            The schema's id.

        Raises
        ------
        Exception
            Any: the bytes are not what the schema describes.
        """


class Framed:
    """Opens messages of one format, each of which is one event.

    Parameters
    ----------
    format : str
        The format's name in a contract.
    schema_type : str
        What the registry calls the format.
    registry : SchemaRegistry
        Has the schemas.
    reader : Reader
        Reads the messages.
    form : str, optional
        In which form the registry should give the schemas.
    """

    def __init__(
        self, format: str, schema_type: str, registry: SchemaRegistry, reader: Reader, form: str | None = None
    ) -> None:
        self._format, self._schema_type, self._form = format, schema_type, form
        self._registry, self._reader = registry, reader
        self._known: set[int] = set()

    def open(self, message: bytes, partition: int, offset: int) -> Sequence[bytes]:
        """The message's event as JSON.

        Parameters
        ----------
        message : bytes
            As it is in the topic.
        partition, offset : int
            Where it is.

        Raises
        ------
        EventError
            The message can't be opened.
        StoreUnavailable
            The registry does not answer.
        """
        if len(message) <= HEAD or message[0]:
            raise self._refused("it does not begin with a zero and the id of a schema")
        number = int.from_bytes(message[1:HEAD])
        if number not in self._known:
            found = self._registry.schema(number, self._form).schema_type
            if found != self._schema_type:
                raise self._refused(f"the schema {number} is of the type {found}")
            self._known.add(number)
        try:
            return [self._registry.ask(lambda: self._reader.read(message, number))]
        except RetailPulseError:
            raise
        except Exception as error:  # broken bytes make a decoder raise whatever its code stumbles over
            said = _OBJECT.sub("the message", str(error).strip()) or type(error).__name__
            raise self._refused(f"it is not what the schema {number} describes: {said[:200]}") from None

    def _refused(self, why: str) -> EventError:
        return EventError(f"not_{self._format}", why)
