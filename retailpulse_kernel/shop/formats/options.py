"""What the opener of a topic's messages needs to know, as plain values that travel to Spark's workers."""

from __future__ import annotations

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.formats.opening import REGISTERED
from retailpulse_kernel.shop.formats.registry import registry_options

__all__ = ["options_of"]


def options_of(settings: Settings, contract: Contract) -> dict[str, str]:
    """The options of a topic's format. They may hold a password: they belong into no plan, log or record.

    Parameters
    ----------
    settings : Settings
        Of the namespace: how to reach what a format needs.
    contract : Contract
        That of the topic, see `Contract.of_topic`: what the shop has chosen.
    """
    reached = registry_options(settings) if contract.format in REGISTERED else {}
    return dict(contract.options) | reached
