"""Rates of exchange: by which an amount of a business day becomes one of the shop's base currency."""
