"""How to reach Kafka: the profile's addresses and credentials as confluent-kafka settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from retailpulse_kernel.ground.errors import RetailPulseError, StoreUnavailable
from retailpulse_kernel.ground.retrying import Patience, passes
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores import connection
from retailpulse_kernel.stores.connection import Address

__all__ = ["admin_client", "bootstrap_addresses", "client_config", "client_failure", "explained", "failure", "reach"]

#: Seconds that a broker has to take a login and say who it is: with a wrong profile it only hangs up, again and again.
_LOGIN_SECONDS = 3.5
_LAST = re.compile(r" \(after \d+ms in state .*")


def client_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """Settings that every client needs, with `more` on top (underscores become dots).

    >>> client_config(Settings(), client_id="me")["client.id"]
    'me'

    Parameters
    ----------
    settings : Settings
        Which profile.
    **more : object
        Further settings of the client library, by name.
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

    Parameters
    ----------
    settings : Settings
        Which profile.
    """
    addresses = (urlsplit(f"//{address.strip()}") for address in settings.profile.kafka.bootstrap.split(","))
    return [(address.hostname or "", address.port or 9092) for address in addresses]


def reach(settings: Settings, seconds: float = _LOGIN_SECONDS) -> int:
    """Ask a broker something, and tell why where it does not answer; the number of brokers.

    The client tries again until its timeout whatever is wrong, and tells the reason only on the side.

    Parameters
    ----------
    settings : Settings
        Which profile.
    seconds : float
        How long to ask again while what is wrong may pass.

    Raises
    ------
    StoreUnavailable
        No broker answers, or none takes this login.
    """
    admin, causes = admin_client(settings)
    try:
        return Patience(seconds).ask(
            "Kafka", lambda: len(admin.list_topics(timeout=0.5).brokers), passing=lambda e: passes(e) and not causes()
        )
    except KafkaException as error:
        raise explained(settings, (causes() or [error.args[0]])[0]) from error


def admin_client(settings: Settings) -> tuple[AdminClient, Callable[[], list[KafkaError]]]:
    """What administers Kafka, and what it has said on the side that does not pass, such as a login that is refused.

    Parameters
    ----------
    settings : Settings
        Which profile.

    Raises
    ------
    StoreUnavailable
        Nothing listens there, which the client itself would not tell.
    """
    if why := connection.why_unreachable(bootstrap_addresses(settings)):
        raise failure(settings, why)
    heard: list[KafkaError] = []
    admin = AdminClient(client_config(settings, error_cb=heard.append, socket_connection_setup_timeout_ms=3_000))

    def causes() -> list[KafkaError]:
        admin.poll(0)
        # What passes only says that something else went wrong, unless it names encryption.
        return [error for error in heard if not passes(error) or "SSL" in error.str()]

    return admin, causes


def explained(settings: Settings, error: KafkaError) -> RetailPulseError:
    """The error for a first contact that failed: in words what is wrong with the profile, where that is the cause.

    Parameters
    ----------
    settings : Settings
        Which profile was used.
    error : KafkaError
        What the client said.
    """
    kafka, said = settings.profile.kafka, error.str()
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        why = said.rpartition("SASL authentication error: ")[2]
        if "not valid in" in said or "ILLEGAL_SASL_STATE" in said:
            why = f"it takes no login there, and security_protocol is {kafka.security_protocol!r}"
        return connection.refused("kafka", "Kafka", bootstrap_addresses(settings), kafka.username, _LAST.sub("", why))
    if "SSL" in said:
        return failure(settings, f"no TLS with it ({_LAST.sub('', said).rpartition(': ')[2].rstrip('?')})")
    if error.code() == KafkaError._BAD_MSG:
        return failure(settings, "what listens there does not speak Kafka's protocol, or wants TLS")
    return failure(settings, error if passes(error) else _LAST.sub("", said))


def failure(settings: Settings, error: KafkaException | KafkaError | str) -> RetailPulseError:
    """The error for a call that failed: `StoreUnavailable` where Kafka does not answer, another where it refuses.

    Parameters
    ----------
    settings : Settings
        Which profile was used.
    error : KafkaException or KafkaError or str
        What the client said; a text is why Kafka does not answer.
    """
    cause = error.args[0] if isinstance(error, KafkaException) else error
    addresses = bootstrap_addresses(settings)
    if isinstance(cause, KafkaError) and not passes(cause):
        return _refusal(",".join(f"{host}:{port}" for host, port in addresses), cause)
    why = _LAST.sub("", cause.str()) if isinstance(cause, KafkaError) else str(cause)
    return connection.unavailable(settings, "kafka", "Kafka", addresses, why, service="kafka")


def client_failure(client: Mapping[str, Any], error: KafkaException | KafkaError | str) -> RetailPulseError:
    """The same where only the client's configuration is known, as in Spark's workers.

    Parameters
    ----------
    client : mapping of str to object
        What `client_config` gave.
    error : KafkaException or KafkaError or str
        What the client said; a text is why Kafka does not answer.
    """
    cause = error.args[0] if isinstance(error, KafkaException) else error
    where = str(client["bootstrap.servers"])
    if isinstance(cause, KafkaError) and not passes(cause):
        return _refusal(where, cause)
    why = cause.str() if isinstance(cause, KafkaError) else cause
    return StoreUnavailable("kafka", f"Kafka at {where} does not answer: {str(why).rstrip('.')}.")


def _refusal(where: str, error: KafkaError) -> RetailPulseError:
    said, name = error.str().removeprefix("Broker: ").rstrip("."), error.name()
    if "AUTHORIZATION" in name:
        remedy = "Give the user of [kafka] in the profile that right, or name another user there."
    elif "SIZE_TOO_LARGE" in name or "RECORD_LIST_TOO_LARGE" in name:
        remedy = "Send smaller messages, or raise max.message.bytes of the topic."
    else:
        remedy = (
            f"Kafka's documentation says what {name} means: https://kafka.apache.org/protocol#protocol_error_codes."
        )
    return RetailPulseError(f"Kafka at {where} refuses this: {said} ({name}).", remedy=remedy)
