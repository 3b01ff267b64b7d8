"""How to reach Kafka: the profile's addresses and credentials as confluent-kafka settings."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException

from retailpulse_kernel.errors import StoreUnavailable
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores import connection
from retailpulse_kernel.stores.connection import Address

__all__ = ["bootstrap_addresses", "client_config", "unavailable"]


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
    if kafka.ca_location:
        config["ssl.ca.location"] = kafka.ca_location
    return config | {name.replace("_", "."): value for name, value in more.items()}


def bootstrap_addresses(settings: Settings) -> list[Address]:
    """The brokers' hosts and ports.

    >>> bootstrap_addresses(Settings())
    [('127.0.0.1', 9092)]
    """
    addresses = (urlsplit(f"//{address.strip()}") for address in settings.profile.kafka.bootstrap.split(","))
    return [(address.hostname or "", address.port or 9092) for address in addresses]


def unavailable(settings: Settings, error: KafkaException | KafkaError | str) -> StoreUnavailable:
    """The error for a Kafka that does not answer."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    why = cause.str() if isinstance(cause, KafkaError) else str(cause)
    return connection.unavailable(settings, "kafka", "Kafka", bootstrap_addresses(settings), why, service="kafka")
