"""Modules by their names of before: a notebook that was promoted then imports them, and goes on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["MOVED", "install"]

_PACKAGE = "retailpulse_kernel"
#: What notebooks import, by its name until version 0.1, and where it is now.
MOVED = {
    "adapters": "feed.adapters",
    "errors": "ground.errors",
    "events": "shop.events",
    "figures": "answers.reading",
    "feed.adapters.base": "shop.adapters.base",
    "feed.adapters.formats": "shop.adapters.formats",
    "feed.adapters.ga4": "shop.adapters.ga4",
    "feed.adapters.rees46": "shop.adapters.rees46",
    "feed.adapters.retailpulse": "shop.adapters.retailpulse",
    "feed.adapters.retailrocket": "shop.adapters.retailrocket",
    "feed.adapters.segment": "shop.adapters.segment",
    "feed.adapters.values": "shop.adapters.values",
    "fold": "shop.fold",
    "generator": "feed.generator",
    "live.exploring": "answers.questions",
    "metrics": "shop.figures",
    "namespaces": "stores.namespaces",
    "promotion.diffing": "promotion.registry.diffing",
    "promotion.overview": "promotion.cutover.overview",
    "promotion.switching": "promotion.cutover.versions",
    "ranges": "answers.ranges",
    "replay": "feed.replay",
    "sample_shop": "feed.sample_shop",
    "settings": "ground.settings",
    "shop.sketches": "shop.sketching.sketches",
    "sketches": "shop.sketching.sketches",
    "spans": "ground.spans",
    "stores.archive": "stores.hive.archive",
    "streaming.reference.reading": "stores.reference_tables",
    "tables": "shop.tables",
    "topics": "stores.kafka.topics",
    "ground.reserved_names": "ground.names",
}


class _Finder(MetaPathFinder, Loader):
    """Gives the module of today where one is imported by its name of before."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        return ModuleSpec(name, self) if package == _PACKAGE and old in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"{_PACKAGE}.{MOVED[spec.name.removeprefix(f'{_PACKAGE}.')]}")
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is executed twice; the module keeps the name that it has now."""
        asked = module.__spec__
        if asked is not None and asked.name in self._specs:
            module.__spec__ = self._specs.pop(asked.name)


def install() -> None:
    """Let imports find modules by their names of before; first of all, since folders of before may be left."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
