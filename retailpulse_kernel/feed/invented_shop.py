"""An invented shop, shaped like a real one: categories, products, brands and how often each is looked at.

The shares, prices and sizes were measured on 8,000 consecutive events of a multi-category shop (REES46,
"eCommerce behavior data from multi category store", October 2019). Names of brands and products are made up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["CATEGORIES", "Catalogue", "Product"]


@dataclass(frozen=True)
class Category:
    """One category of the shop.

    Attributes
    ----------
    share : float
        Of all product views, in parts of 8,000.
    mu, sigma : float
        Mean and standard deviation of the logarithm of the price.
    products, brands : int
        How many there are.
    buys : float
        How much likelier than average a session here ends in an order.
    """

    path: str
    share: float
    mu: float
    sigma: float
    products: int
    brands: int
    buys: float = 0.55


CATEGORIES: Final = (
    Category("unknown", 2584, 4.40, 1.34, 1470, 120, 0.63),
    Category("electronics.smartphone", 2287, 5.90, 0.85, 352, 21, 1.8),
    Category("electronics.clocks", 299, 5.40, 1.21, 164, 26),
    Category("computers.notebook", 245, 6.32, 0.60, 100, 7),
    Category("electronics.audio.headphone", 217, 4.03, 1.11, 48, 15, 2.8),
    Category("appliances.environment.vacuum", 120, 4.99, 0.67, 47, 14),
    Category("appliances.kitchen.washer", 117, 5.77, 0.43, 46, 11),
    Category("electronics.video.tv", 107, 5.87, 0.60, 44, 12),
    Category("apparel.shoes.keds", 106, 4.28, 0.37, 65, 16),
    Category("appliances.environment.air_heater", 104, 3.52, 0.69, 38, 11),
    Category("appliances.kitchen.refrigerators", 98, 5.72, 0.62, 61, 16),
    Category("apparel.shoes", 91, 4.29, 0.46, 72, 13),
    Category("auto.accessories.player", 83, 4.72, 0.70, 37, 10),
    Category("furniture.living_room.cabinet", 72, 5.48, 0.47, 51, 3),
    Category("computers.desktop", 62, 6.17, 0.82, 45, 16),
    Category("furniture.bedroom.bed", 60, 5.03, 0.68, 37, 7),
    Category("appliances.kitchen.meat_grinder", 56, 4.23, 0.49, 33, 14),
    Category("appliances.environment.water_heater", 55, 4.66, 0.61, 26, 10),
    Category("auto.accessories.alarm", 54, 4.73, 0.44, 16, 4),
    Category("electronics.telephone", 51, 3.47, 0.56, 33, 9, 1.8),
    Category("construction.tools.drill", 48, 4.33, 0.65, 25, 6),
    Category("construction.tools.saw", 44, 5.13, 0.97, 34, 15),
    Category("auto.accessories.videoregister", 42, 4.25, 0.66, 17, 9),
    Category("appliances.sewing_machine", 42, 5.68, 0.89, 26, 5),
    Category("computers.peripherals.monitor", 38, 4.98, 0.91, 27, 9),
    Category("furniture.living_room.sofa", 37, 6.12, 0.42, 26, 2),
    Category("appliances.kitchen.blender", 36, 3.73, 0.55, 19, 9),
    Category("accessories.bag", 35, 3.88, 1.03, 21, 11),
    Category("appliances.kitchen.mixer", 34, 3.61, 1.19, 15, 9),
    Category("appliances.iron", 34, 3.40, 0.47, 15, 6),
    Category("furniture.kitchen.table", 33, 5.13, 0.80, 18, 8),
    Category("appliances.kitchen.oven", 32, 4.48, 0.93, 19, 9),
    Category("electronics.tablet", 32, 5.65, 0.89, 18, 6),
    Category("computers.components.hdd", 31, 3.81, 0.21, 10, 5),
    Category("computers.components.videocards", 29, 5.61, 0.90, 23, 6),
    Category("sport.bicycle", 25, 5.23, 0.84, 18, 12),
    Category("kids.carriage", 22, 4.27, 1.00, 13, 5),
)

_BRAND_SYLLABLES = ("al", "bren", "cor", "dai", "el", "fen", "gar", "hol", "iv", "jun", "kel", "lor", "mi", "nov", "or")
_BRAND_ENDINGS = ("a", "ex", "ia", "on", "os", "ra", "tek", "us", "vo", "wen", "yx")
_UNBRANDED = 0.14  # the share of products without a brand
_PRODUCT_SKEW = 0.7  # Zipf's exponent: the best seller of a category has about 5 % of its views
_BRAND_SKEW = 1.1


@dataclass(frozen=True, slots=True)
class Product:
    """One product. `json` holds its fields as they stand in a message; `cents` its price in hundredths."""

    category: str
    cents: int
    json: str


class Catalogue:
    """The products of a shop, the same for the same seed.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        numbers = np.random.default_rng([seed, 1])
        self._random = numbers
        self._buffers: list[list[Product]] = [[] for _ in CATEGORIES]
        self._weights = [_zipf(category.products, _PRODUCT_SKEW) for category in CATEGORIES]
        names = _brand_names(random.Random(seed))
        self.products: list[list[Product]] = []
        for index, category in enumerate(CATEGORIES):
            prices = np.exp(numbers.normal(category.mu, category.sigma, category.products))
            cents = np.clip(np.round(prices * 100), 99, 500_000).astype(int).tolist()
            brands = numbers.choice(category.brands, category.products, p=_zipf(category.brands, _BRAND_SKEW)).tolist()
            shift = int(numbers.integers(len(names)))
            bare = (numbers.random(category.products) < _UNBRANDED).tolist()
            self.products.append(
                [
                    _product(
                        f"{index + 1:02d}{position:05d}",
                        category.path,
                        None if bare[position] else names[(shift + brands[position]) % len(names)],
                        cents[position],
                    )
                    for position in range(category.products)
                ]
            )

    def pick(self, category: int) -> Product:
        """A product of the category with this index, the popular ones more often.

        Parameters
        ----------
        category : int
            An index into the shop's categories.
        """
        buffer = self._buffers[category]
        if not buffer:
            weights = self._weights[category]
            drawn = self._random.choice(len(weights), size=512, p=weights).tolist()
            buffer.extend(self.products[category][position] for position in drawn)
        return buffer.pop()


def _product(product_id: str, category: str, brand: str | None, cents: int) -> Product:
    fields = f'"product_id":"{product_id}",'
    if category != "unknown":  # a third of the real events name no category, and neither do these
        fields += f'"category":"{category}",'
    if brand:
        fields += f'"brand":"{brand}",'
    return Product(category, cents, fields + f'"price":"{cents // 100}.{cents % 100:02d}"')


def _zipf(count: int, skew: float) -> np.ndarray:
    weights = np.arange(1, count + 1) ** -skew
    return weights / weights.sum()


def _brand_names(chance: random.Random) -> list[str]:
    names = sorted(
        first + second + end for first in _BRAND_SYLLABLES for second in _BRAND_SYLLABLES for end in _BRAND_ENDINGS
    )
    return chance.sample(names, 400)
