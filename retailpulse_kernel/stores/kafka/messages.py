"""Messages of a topic as a frame: column by column where they are as agreed, one by one where they are odd.

A message of the fields that the contract names, each of its usual JSON type, is decoded in one go, and
whole columns of thousands become Arrow arrays while they are still in the processor's cache. A field that the contract
does not name is learned from the first message that has it. Any other message (a list for a name, no JSON at all) is
read by itself and put into its row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.times import plain_times
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.formats.opening import Opener, events_in
from retailpulse_kernel.stores.frames import CATEGORIES, text_series
from retailpulse_kernel.stores.kafka.layouts import Column, decimal_of, layout_of, shown, walked

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = ["CHUNK", "MessageTable"]

#: Messages that are decoded together: few enough for the processor's cache, measured at half the time of 10,000.
CHUNK = 4_000

_decode_any = msgspec.json.Decoder(float_hook=Decimal).decode


class MessageTable:
    """Messages, as they are read, on their way into a frame.

    Parameters
    ----------
    contract : Contract, optional
        What the messages hold; the shipped one when absent.
    opener : Opener, optional
        Opens messages that are not JSON of the contract: each of their events is a row. One that can't be opened stands
        under ``raw``.
    """

    def __init__(self, contract: Contract | None = None, opener: Opener | None = None) -> None:
        self._layout = layout_of(shipped() if contract is None else contract)
        self._opener = opener
        self._places: list[tuple[Sequence[int], Sequence[int], Sequence[int]]] = []
        self._chunks: list[dict[str, Any]] = []
        self._odd: dict[int, dict[str, Any]] = {}
        #: Times in forms that whole columns are not read of, by their rows.
        self._unread: dict[int, Any] = {}
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(
        self,
        partitions: Sequence[int],
        offsets: Sequence[int],
        arrivals_ms: Sequence[int],
        values: Sequence[bytes | None],
    ) -> None:
        """Decode some messages; those of a partition come in the order of their offsets.

        Parameters
        ----------
        partitions, offsets : sequence of int
            Where each message stands.
        arrivals_ms : sequence of int
            The broker's time of each message, in milliseconds since 1970.
        values : sequence of bytes or None
            The messages; None is one without a value.
        """
        closed: dict[int, bytes | None] = {}
        if self._opener is not None:
            partitions, offsets, arrivals_ms, values, closed = self._opened(partitions, offsets, arrivals_ms, values)
        decoded, layout = self._decoded(values, closed), self._layout
        chunk = {name: self._kept(column, list(map(column.get, decoded))) for name, column in layout.columns.items()}
        self._chunks.append(chunk | {key: list(map(get, decoded)) for key, get in layout.within.items()})
        self._places.append((partitions, offsets, arrivals_ms))
        self._rows += len(values)

    def _opened(
        self,
        partitions: Sequence[int],
        offsets: Sequence[int],
        arrivals_ms: Sequence[int],
        values: Sequence[bytes | None],
    ) -> tuple[list[int], list[int], list[int], list[bytes | None], dict[int, bytes | None]]:
        """The messages' events, each with its message's place, and those messages that can't be opened."""
        places: tuple[list[int], list[int], list[int]] = ([], [], [])
        events, closed = list[bytes | None](), dict[int, bytes | None]()
        for *place, value in zip(partitions, offsets, arrivals_ms, values, strict=True):
            for event in events_in(self._opener, value, place[0], place[1]):
                if isinstance(event, EventError):
                    closed[len(events)] = value
                events.append(None if isinstance(event, EventError) else event)
                for column, at in zip(places, place, strict=True):
                    column.append(at)
        return *places, events, closed

    def _decoded(self, values: Sequence[bytes | None], closed: Mapping[int, bytes | None]) -> list[Any]:
        """The structs of messages; of an odd one, and of one that can't be opened, that of an empty message."""
        decoded = list[Any]()
        while len(decoded) < len(values):
            try:
                # Up to the next odd one without a step of Python's for each message.
                decoded.extend(map(self._layout.decode, values[len(decoded) :]))  # type: ignore[arg-type]
            except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
                place = len(decoded)
                fields = {"raw": closed[place]} if place in closed else _fields(values[place])
                wider = self._layout.wider(fields) if "raw" not in fields else None
                if wider is not None:  # from the first one again, so that all structs are of one layout
                    self._layout, decoded = wider, []
                else:
                    self._odd[self._rows + place] = fields
                    decoded.append(self._layout.nothing)
        return decoded

    def _kept(self, column: Column, values: list[Any]) -> pa.Array | list[Any]:
        """A column's values as they are kept."""
        import pyarrow as pa

        if column.arrow_type is None:
            return values
        if column.field.role == "price":
            return _texts(values)
        if column.field.role != "time":
            return pa.array(values, column.arrow_type)
        times = plain_times(values)
        if times.null_count:
            unread = (place for place, is_read in enumerate(times.is_valid().to_pylist()) if not is_read)
            self._unread |= {self._rows + place: values[place] for place in unread if values[place] is not None}
        return times

    def frame(self, limit: int | None, *, oldest: bool = False, of_events: bool = False) -> pd.DataFrame:
        """The newest messages by the broker's time, or the oldest, as `KafkaStore.tail` describes them.

        With `of_events` every field of an event is a column, also one that no message has.

        Parameters
        ----------
        limit : int or None
            At most this many rows; None is all.
        oldest : bool
            Whether the oldest messages are kept.
        of_events : bool
            Whether the messages are events.
        """
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        partitions, offsets, arrivals = (
            np.concatenate([np.asarray(place[i], dtype=np.int64) for place in self._places] or [np.empty(0, np.int64)])
            for i in range(3)
        )
        # Messages of a partition came in order, so that a stable sort by time and partition is all it takes.
        chosen = slice(0, limit) if oldest or not limit else slice(-limit, None)
        rows = np.lexsort((partitions, arrivals))[chosen]
        columns: dict[str, Any] = {
            "kafka_partition": partitions[rows],
            "kafka_offset": offsets[rows],
            "arrival": pd.to_datetime(arrivals[rows], unit="ms", utc=True),
        }
        odd, unread = _at(rows, self._odd), _at(rows, self._unread)
        layout = self._layout
        known = [*layout.columns, *layout.within]
        names = dict.fromkeys([*known, *(name for fields in odd.values() for name in fields)])
        take = pa.array(rows)

        def column(name: str) -> pd.Series | None:
            patches = self._patches(name, odd) | (unread if name == "event_time" else {})
            values = self._values(name, take)
            kept = of_events and name in layout.columns
            if isinstance(values, list):
                found = _objects(layout.columns.get(name), values, patches)
                return found if kept or found.notna().any() else None
            return _column(name, values, patches) if kept or patches or values.null_count < len(values) else None

        # Arrow works outside of Python's lock.
        with ThreadPoolExecutor(pa.cpu_count()) as pool:
            for name, series in zip(names, pool.map(column, names), strict=True):
                # The place is the broker's word, whatever fields a message has.
                if series is not None and name not in columns:
                    columns[name] = series
        frame = pd.DataFrame(columns)
        frame.attrs["more"] = limit is not None and self._rows > limit
        return frame

    def _patches(self, name: str, odd: dict[int, dict[str, Any]]) -> dict[int, Any]:
        """What odd messages have for a column, by their places."""
        column = self._layout.columns.get(name)
        if column is None or not column.field.is_moved:
            return {place: fields[name] for place, fields in odd.items() if name in fields}
        found = {place: walked(fields, column.field.steps) for place, fields in odd.items()}
        return {place: value for place, value in found.items() if value is not None}

    def _values(self, name: str, rows: pa.Array) -> pa.Array | list[Any]:
        """A column of the messages that are not odd; a list where it is kept as JSON has it."""
        import pyarrow as pa

        column = self._layout.columns.get(name)
        if column is None and name not in self._layout.within:
            return pa.nulls(len(rows), pa.string())
        if column is None or column.arrow_type is None:
            # Chunks of before a field was learned have nothing there.
            values = [value for chunk, place in zip(self._chunks, self._places, strict=True)
                      for value in chunk.get(name) or [None] * len(place[0])]  # fmt: skip
            return [values[row] for row in rows.to_pylist()]
        chunks = [chunk[name] for chunk in self._chunks]
        return pa.chunked_array(chunks, column.arrow_type).combine_chunks().take(rows)


def _at(rows: np.ndarray, found: dict[int, Any]) -> dict[int, Any]:
    """What was found at some rows by the place in the frame, in its order."""
    import numpy as np

    wanted = np.fromiter(found, dtype=np.int64, count=len(found))
    places = np.flatnonzero(np.isin(rows, wanted))
    return {int(place): found[int(rows[place])] for place in places}


def _fields(value: bytes | None) -> dict[str, Any]:
    """What a message has, numbers exact; itself under ``raw`` where it is not a JSON object."""
    try:
        fields = _decode_any(value or b"")
    except (ValueError, RecursionError):
        try:  # NaN, half of a surrogate pair: what Python reads and JSON does not have
            fields = json.loads(value or b"", parse_float=Decimal)
        except (ValueError, RecursionError):
            fields = None
    return fields if isinstance(fields, dict) else {"raw": value}


def _column(name: str, values: pa.Array, patches: dict[int, Any]) -> pd.Series:
    """A field's values, with those of odd messages put in."""
    import pandas as pd
    import pyarrow as pa

    if name == "price":
        return _prices(values, patches)
    if name == "event_time":
        return _times(values, patches)
    wanted = bool if pa.types.is_boolean(values.type) else int if pa.types.is_integer(values.type) else str
    if all(value is None or type(value) is wanted for value in patches.values()):
        try:
            return _series(name, _patched(values, patches))
        except (OverflowError, UnicodeEncodeError):  # beyond 64 bits; half of a surrogate pair
            pass
    found = values.to_pandas(integer_object_nulls=True).astype("object").to_numpy()
    for place, value in patches.items():
        found[place] = value
    return pd.Series(found, dtype="object")


def _patched(values: pa.Array, patches: dict[int, Any]) -> pa.Array:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not patches:
        return values
    mask = np.zeros(len(values), dtype=bool)
    mask[list(patches)] = True
    return pc.replace_with_mask(values, pa.array(mask), pa.array(patches.values(), values.type))


def _series(name: str, values: pa.Array) -> pd.Series:
    import pandas as pd
    import pyarrow as pa

    if name in CATEGORIES:
        return values.dictionary_encode().to_pandas()
    if pa.types.is_integer(values.type):
        return pd.Series(pd.Int64Dtype().__from_arrow__(values))
    if pa.types.is_boolean(values.type):
        return pd.Series(pd.BooleanDtype().__from_arrow__(values))
    return text_series(values)


def _texts(values: list[Any]) -> pa.Array:
    """Texts and numbers, which are exact, as texts."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([v if v is None or type(v) is str else str(v) for v in values], pa.string())


def _prices(values: pa.Array, patches: dict[int, Any]) -> pd.Series:
    """Exact decimals where they can be read as such: each different text is read once."""
    import numpy as np
    import pandas as pd

    encoded = values.dictionary_encode()
    decimals = np.array([*map(decimal_of, encoded.dictionary.to_pylist()), None], dtype="object")
    prices = decimals[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    for place, value in patches.items():
        prices[place] = decimal_of(value)
    return pd.Series(prices, dtype="object")


def _objects(column: Column | None, values: list[Any], patches: dict[int, Any]) -> pd.Series:
    """Values that were kept as JSON has them, in the type of their field."""
    import pandas as pd
    import pyarrow as pa

    for place, value in patches.items():
        values[place] = value
    if column is None:
        try:
            return text_series(pa.array(values, pa.string()))
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):  # not only texts
            return pd.Series(values, dtype="object")
    if column.field.type == "timestamp":
        times = plain_times(values)
        unread = {place: value for place, value in enumerate(values) if value is not None}
        return _times(times, unread if times.null_count else {})
    return pd.Series([shown(column.field, value) for value in values], dtype="object")


def _times(values: pa.Array, unread: dict[int, Any]) -> pd.Series:
    """Times as the event's contract has them, RFC 3339 or epoch milliseconds; NaT for anything else."""
    import pandas as pd
    import pyarrow as pa

    times = pd.Series(values.cast(pa.timestamp("ns", tz="UTC")).to_pandas())
    texts = {place: value for place, value in unread.items() if isinstance(value, str)}
    numbers = {place: value for place, value in unread.items() if type(value) is int and abs(value) < 10**15}
    for found, how in ((texts, {"format": "ISO8601"}), (numbers, {"unit": "ms"})):
        if found:
            read = pd.to_datetime(pd.Series(list(found.values())), utc=True, errors="coerce", **how)
            times.iloc[list(found)] = read
    return times
