"""A Schema Registry that speaks Confluent's API, as those who open messages ask it.

A registry that is away makes no message bad: it is asked again for a while, then the micro-batch fails and is done
again. Only an id that the registry says it does not know is the message's own fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from retailpulse_kernel.ground.errors import EventError, RetailPulseError, StoreUnavailable
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.retrying import Patience

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema

    from retailpulse_kernel.ground.settings import Settings

__all__ = ["SchemaRegistry", "registry_options"]

#: Seconds that the registry is waited for within a micro-batch; after that the job itself waits, and says so.
_PATIENCE: Final = Patience(seconds=20.0)
_SECONDS: Final = 5.0
#: What the registry says of a subject, a version and a schema that it does not have. Any other "not found" is about
#: the address, and so about each message.
_NOT_FOUND: Final = frozenset({40401, 40402, 40403})
#: HTTP's codes of a server that may answer later.
_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
#: Seconds for which an id that the registry does not know is not asked for again: garbage may hold it a thousand times.
_UNKNOWN_SECONDS: Final = 10.0
#: Greater numbers are ids of no registry.
_GREATEST_ID: Final = 2**31 - 1

_PREFIX: Final = "registry."
_FILES: Final = {
    "ca_location": "ssl.ca.location",
    "certificate_location": "ssl.certificate.location",
    "key_location": "ssl.key.location",
}

T = TypeVar("T")


def registry_options(settings: Settings) -> dict[str, str]:
    """How the profile's registry is reached, as options of an opener. They hold its password.

    Parameters
    ----------
    settings : Settings
        Which profile.
    """
    address = settings.profile.registry
    found = {name: getattr(address, name) for name in ("url", "username", *_FILES)}
    found["password"] = address.secret()
    return {f"{_PREFIX}{name}": str.__str__(value) for name, value in found.items() if value}


class SchemaRegistry:
    """The schemas of messages by their ids. A schema is asked for once.

    Parameters
    ----------
    options : mapping of str to str
        As `registry_options` gives them.
    patience : Patience
        How long a registry that is away is waited for.
    """

    def __init__(self, options: Mapping[str, str], patience: Patience = _PATIENCE) -> None:
        require_extra("registry")

        from confluent_kafka.schema_registry import SchemaRegistryClient

        own = {name.removeprefix(_PREFIX): value for name, value in options.items() if name.startswith(_PREFIX)}
        self._url, self._patience = own["url"], patience
        config: dict[str, Any] = {"url": self._url, "timeout": _SECONDS, "max.retries": 0}
        if "username" in own:
            config["basic.auth.user.info"] = f"{own['username']}:{own.get('password', '')}"
        config |= {client: own[name] for name, client in _FILES.items() if name in own}
        self.client: Any = SchemaRegistryClient(config)
        self._unknown: dict[int, tuple[float, str]] = {}

    def schema(self, number: int, format: str | None = None) -> Schema:
        """A schema by its id.

        Parameters
        ----------
        number : int
            The id.
        format : str, optional
            In which form the registry should give the schema.

        Raises
        ------
        EventError
            ``unknown_schema``: the registry does not have it.
        StoreUnavailable
            The registry does not answer.
        """
        if number > _GREATEST_ID:
            raise EventError("unknown_schema", f"{number} can't be the id of a schema")
        now = self._patience.clock()
        until, said = self._unknown.get(number, (now, ""))
        if now >= until:
            try:
                return self.ask(lambda: self.client.get_schema(number, fmt=format))
            except EventError as error:
                said = f"the registry has no schema {number}: {error.detail}"
                self._unknown = {n: kept for n, kept in self._unknown.items() if kept[0] > now}
                self._unknown[number] = now + _UNKNOWN_SECONDS, said
        raise EventError("unknown_schema", said)

    def ask(self, call: Callable[[], T]) -> T:
        """What a call returns that may ask the registry; it is made again while the registry is away.

        Parameters
        ----------
        call : callable
            Uses `client`.

        Raises
        ------
        EventError
            ``unknown_schema``: the registry does not have what was asked for.
        StoreUnavailable
            The registry does not answer.
        RetailPulseError
            The registry refuses, or the address leads to something else.
        """
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            try:
                return call()  # nearly always: the schema is known
            except Exception as error:
                if not _is_away(error):
                    raise
            return self._patience.ask("The Schema Registry", call, passing=_is_away)
        except SchemaRegistryError as error:
            raise self._failure(error) from None
        except Exception as error:
            if _is_away(error):
                raise self._away(str(error) or type(error).__name__) from None
            raise

    def _failure(self, error: Any) -> RetailPulseError:
        said, status = str(error.error_message or "").strip().rstrip("."), error.http_status_code
        if error.error_code in _NOT_FOUND:
            return EventError("unknown_schema", said[:300])
        if status in _LATER:
            return self._away(f"HTTP {status}")
        if status in (401, 403):
            return RetailPulseError(
                f"The Schema Registry at {self._url} refuses this login (HTTP {status}).",
                remedy="Check `username` and `password` of [registry] in the profile.",
            )
        return RetailPulseError(
            f"What answers at {self._url} does not speak the API of Confluent's Schema Registry (HTTP {status}).",
            remedy="Check `url` of [registry] in the profile; Apicurio's ends with /apis/ccompat/v7.",
        )

    def _away(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            "registry",
            f"The Schema Registry at {self._url} does not answer: {why.rstrip('.')}.",
            remedy="No message is lost or skipped: they are read once the registry answers. "
            "`retailpulse up registry` starts the local one.",
        )


def _is_away(error: BaseException) -> bool:
    """Whether the registry may answer the same request later."""
    if type(error).__name__ == "SchemaRegistryError":
        return getattr(error, "http_status_code", None) in _LATER
    # The client has one of two HTTP libraries below it, each with its own tree of errors.
    return any(
        kind.__name__ == "TransportError" and kind.__module__.startswith("httpx") for kind in type(error).__mro__
    )
