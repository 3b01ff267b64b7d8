"""What the API reads: the catalogue of a namespace, and the stores that its tables are in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

from fastapi import Request, Response

from retailpulse_kernel.catalogue.overview import Freshness, Tables, tables_of
from retailpulse_kernel.catalogue.tables import Catalogue, catalogue_of
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.stores.base import FigureStore, Store
from retailpulse_kernel.stores.registry import open_store

__all__ = ["Answering", "Sources"]

#: Makes the response of a request, its key and what gives the body.
Answering = Callable[[Request, tuple[Any, ...], Callable[[], bytes]], Response]

#: Plans change when a job is started or promoted.
_SECONDS = 5.0


class Sources:
    """The tables of a namespace, and their stores.

    Parameters
    ----------
    store : FigureStore
        The store that serves the figures.
    settings : Settings, optional
        Whose namespace; without settings there is only the table of figures that is served.
    """

    def __init__(self, store: FigureStore, settings: Settings | None = None) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._stores: dict[str, Store] = {store.name: store}
        self._catalogue = Catalogue("", store.name, (), shipped())
        self._until = 0.0

    @property
    def catalogue(self) -> Catalogue:
        """The tables, as the plans said a few seconds ago at most."""
        with self._lock:
            if self._settings is not None and time.monotonic() >= self._until:
                self._catalogue, self._until = catalogue_of(self._settings), time.monotonic() + _SECONDS
            return self._catalogue

    def tables(self) -> Tables:
        """The tables with how fresh they are."""
        if self._settings is not None:
            return tables_of(self._settings)
        catalogue = self.catalogue
        return Tables(catalogue, tuple(Freshness() for _ in catalogue.entries))

    def store(self, name: str) -> Store:
        """A store by its name; it stays open.

        Parameters
        ----------
        name : str
            As the catalogue calls it.
        """
        with self._lock:
            if name not in self._stores:
                assert self._settings is not None, "without settings there are no other tables"
                self._stores[name] = open_store(name, self._settings)
            return self._stores[name]

    def figures(self, name: str) -> FigureStore:
        """A store of figures by its name.

        Parameters
        ----------
        name : str
            As the catalogue calls it.
        """
        return cast("FigureStore", self.store(name))

    def close(self) -> None:
        """Close every store that was opened."""
        with self._lock:
            for store in self._stores.values():
                store.close()
