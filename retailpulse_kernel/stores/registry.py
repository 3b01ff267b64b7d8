"""Which stores there are: each registers its name, how settings make it, and what it can do.

A store is one module. When it is imported, it calls `register`; a package of somebody else names its module as an entry
point of the group ``retailpulse.stores``, under the store's name. A profile uses the shipped stores, and the further
ones that it has a table ``[stores.NAME]`` for, with settings as that store wants them.

>>> def make(settings: Settings) -> Store:
...     from shelf.store import ShelfStore  # what a store needs is imported when it is first opened
...
...     return ShelfStore(settings.profile.stores["shelf"]["folder"], settings.namespace.name)
>>> register("shelf", make, FigureStore)
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from retailpulse_kernel.ground.errors import ProfileError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.base import EventArchive, FigureStore, RowStore, Store

__all__ = [
    "can",
    "event_archive",
    "figure_store",
    "names",
    "open_store",
    "register",
    "row_store",
    "serving_store",
    "used",
]

_GROUP = "retailpulse.stores"
#: Modules beside this one, which register as further stores do. Spark's workers import the package of Kafka: it
#: registers in a module that they do not need.
_SHIPPED = {"cassandra": "cassandra", "hbase": "hbase", "hive": "hive", "kafka": "kafka.store"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class _Registered:
    """A store that can be opened."""

    make: Callable[[Settings], Store]
    capabilities: frozenset[type]


_registered: dict[str, _Registered] = {}


def register(name: str, make: Callable[[Settings], Store], *capabilities: type) -> None:
    """Make a store known to this process, in place of what was registered under its name before.

    Parameters
    ----------
    name : str
        What plans, profiles and reports call it: lower-case letters, digits and ``_``; also the store's ``name``.
    make : callable
        Gives the store of the settings' namespace. It connects when it is first used.
    *capabilities : type
        Those protocols of `retailpulse_kernel.stores.base` that the store has.

    Raises
    ------
    UsageError
        The name can't be one, or is that of a shipped store.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be the name of a store.",
            remedy="Use lower-case letters, digits and '_', starting with a letter.",
        )
    if name in _SHIPPED and not getattr(make, "__module__", "").startswith(f"{__package__}."):
        raise UsageError(f"The store {name!r} is shipped with RetailPulse.", remedy="Register under another name.")
    _registered[name] = _Registered(make, frozenset(capabilities))


def names() -> list[str]:
    """The stores that are known: shipped, installed, or registered by this process."""
    return sorted({*_SHIPPED, *_registered, *_installed()})


def used(settings: Settings, *capabilities: type) -> list[str]:
    """The stores of a profile that have all of some capabilities.

    Parameters
    ----------
    settings : Settings
        Which profile.
    *capabilities : type
        Protocols of `stores.base`; none asks for all stores.

    Raises
    ------
    UnknownName
        The profile has a store that is not known.
    """
    return sorted(name for name in _of(settings) if set(capabilities) <= _found(name).capabilities)


def can(name: str, capability: type) -> bool:
    """Whether a store has a capability.

    Parameters
    ----------
    name : str
        The store's.
    capability : type
        A protocol of `stores.base`.

    Raises
    ------
    UnknownName
        There is no such store.
    """
    return capability in _found(name).capabilities


def open_store(name: str, settings: Settings) -> Store:
    """A store of the settings' namespace; it connects when it is first used.

    Parameters
    ----------
    name : str
        The store's.
    settings : Settings
        Which profile and namespace.

    Raises
    ------
    UnknownName
        There is no such store.
    ProfileError
        The profile does not use it: what it held of a namespace would not be dropped with the namespace.
    """
    found = _found(name)
    if name not in _of(settings):
        raise ProfileError(
            f"The profile {settings.profile_name!r} does not use the store {name!r}.",
            remedy=f"Add the table [stores.{name}] to the profile; it may be empty.",
        )
    return found.make(settings)


def figure_store(name: str, settings: Settings) -> FigureStore:
    """A store of figures by its name; see `open_store`.

    Parameters
    ----------
    name : str
        The store's.
    settings : Settings
        Which profile and namespace.

    Raises
    ------
    UnknownName
        There is no such store of figures.
    ProfileError
        The profile does not use it.
    """
    if not can(name, FigureStore):
        raise UnknownName("store of figures", name, used(settings, FigureStore))
    return cast(FigureStore, open_store(name, settings))


def row_store(name: str, settings: Settings) -> RowStore:
    """A store of rows by its name; see `open_store`.

    Parameters
    ----------
    name : str
        The store's.
    settings : Settings
        Which profile and namespace.

    Raises
    ------
    UnknownName
        There is no such store of rows.
    ProfileError
        The profile does not use it.
    """
    if not can(name, RowStore):
        raise UnknownName("store of rows", name, used(settings, RowStore))
    return cast(RowStore, open_store(name, settings))


def serving_store(settings: Settings) -> FigureStore:
    """The store that serves the figures: `store` in the profile's table ``[serving]``.

    Parameters
    ----------
    settings : Settings
        Which profile and namespace.

    Raises
    ------
    UnknownName
        There is no such store of figures.
    ProfileError
        The profile does not use the store.
    """
    return figure_store(settings.profile.serving.store, settings)


def event_archive(settings: Settings) -> EventArchive:
    """The store that keeps the single events: `archive` in the profile's table ``[serving]``.

    Parameters
    ----------
    settings : Settings
        Which profile and namespace.

    Raises
    ------
    UnknownName
        There is no such archive.
    ProfileError
        The profile does not use the store.
    """
    name = settings.profile.serving.archive
    if not can(name, EventArchive):
        raise UnknownName("archive of events", name, used(settings, EventArchive))
    return cast(EventArchive, open_store(name, settings))


def _of(settings: Settings) -> set[str]:
    """The names of a profile's stores."""
    profile = settings.profile
    return {*_SHIPPED, *profile.stores, profile.serving.store, profile.serving.archive}


def _found(name: str) -> _Registered:
    """A store by its name, whose module is imported where it has not registered yet."""
    if name not in _registered:
        if name in _SHIPPED:
            importlib.import_module(f"{__package__}.{_SHIPPED[name]}")
        elif (entry := _installed().get(name)) is not None:
            entry.load()
            if name not in _registered:
                raise UsageError(
                    f"The module {entry.value} is installed as the store {name!r}, and does not register it.",
                    remedy=f"The module has to call `register({name!r}, ...)` when it is imported.",
                )
        else:
            raise UnknownName("store", name, names())
    return _registered[name]


def _installed() -> dict[str, EntryPoint]:
    """What installed packages, and those on the path, offer."""
    return {entry.name: entry for entry in entry_points(group=_GROUP)}
