"""How to reach Kafka: the profile's addresses and credentials as confluent-kafka settings."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from retailpulse_kernel.errors import StoreUnavailable
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores import connection
from retailpulse_kernel.stores.connection import Address

__all__ = ["bootstrap_addresses", "client_config", "reach", "unavailable"]

#: Seconds that a broker has to take a login and say who it is.
_LOGIN_SECONDS = 3.5
_LAST = re.compile(r" \(after \d+ms in state .*")
#: What only says that something else went wrong.
_CONSEQUENCES = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._TRANSPORT)


def client_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """Settings that every client needs, with `more` on top (underscores become dots).

    >>> client_config(Settings(), client_id="me")["client.id"]
    'me'
    """
    kafka = settings.profile.kafka
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap,
        "security.protocol": kafka.security_protocol,
        "client.id": "retailpulse",
        # Errors come back through callbacks and exceptions; librdkafka's own lines on stderr say them twice.
        "log_level": 0,
    }
    if kafka.sasl_mechanism:
        config |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.username or "",
            "sasl.password": kafka.secret() or "",
        }
    files = {
        "ssl.ca.location": kafka.ca_location,
        "ssl.certificate.location": kafka.certificate_location,
        "ssl.key.location": kafka.key_location,
    }
    config |= {name: str(Path(file).expanduser()) for name, file in files.items() if file}
    plain = ("error_cb", "stats_cb", "logger")
    return config | {name if name in plain else name.replace("_", "."): value for name, value in more.items()}


def bootstrap_addresses(settings: Settings) -> list[Address]:
    """The brokers' hosts and ports.

    >>> bootstrap_addresses(Settings())
    [('127.0.0.1', 9092)]
    """
    addresses = (urlsplit(f"//{address.strip()}") for address in settings.profile.kafka.bootstrap.split(","))
    return [(address.hostname or "", address.port or 9092) for address in addresses]


def reach(settings: Settings, seconds: float = _LOGIN_SECONDS) -> int:
    """Ask a broker something, and tell why where it does not answer; the number of brokers.

    The client tries again until its timeout whatever is wrong, and tells the reason only on the side.

    Raises
    ------
    StoreUnavailable
        No broker answers, or none takes this login.
    """
    if why := connection.why_unreachable(bootstrap_addresses(settings)):
        raise unavailable(settings, why)
    heard: list[KafkaError] = []
    admin = AdminClient(client_config(settings, error_cb=heard.append, socket_connection_setup_timeout_ms=3_000))
    end = time.monotonic() + seconds
    while True:
        try:
            return len(admin.list_topics(timeout=0.5).brokers)
        except KafkaException as error:
            admin.poll(0)
            causes = [e for e in heard if e.code() not in _CONSEQUENCES or "SSL" in e.str()]
            if causes or time.monotonic() > end:
                raise _explained(settings, (causes or heard or [error.args[0]])[0]) from error


def _explained(settings: Settings, error: KafkaError) -> StoreUnavailable:
    kafka, said = settings.profile.kafka, error.str()
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        why = said.rpartition("SASL authentication error: ")[2]
        if "not valid in" in said or "ILLEGAL_SASL_STATE" in said:
            why = f"it takes no login there, and security_protocol is {kafka.security_protocol!r}"
        return connection.refused("kafka", "Kafka", bootstrap_addresses(settings), kafka.username, _LAST.sub("", why))
    if "SSL" in said:
        return unavailable(settings, f"no TLS with it ({_LAST.sub('', said).rpartition(': ')[2].rstrip('?')})")
    if error.code() == KafkaError._BAD_MSG:
        return unavailable(settings, "what listens there does not speak Kafka's protocol, or wants TLS")
    return unavailable(settings, _LAST.sub("", said))


def unavailable(settings: Settings, error: KafkaException | KafkaError | str) -> StoreUnavailable:
    """The error for a Kafka that does not answer."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    why = cause.str() if isinstance(cause, KafkaError) else str(cause)
    return connection.unavailable(settings, "kafka", "Kafka", bootstrap_addresses(settings), why, service="kafka")
