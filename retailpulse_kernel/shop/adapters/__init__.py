"""Records of other tools as events, one at a time: GA4, Segment, Snowplow, Shopify, REES46, RetailRocket, a shop's own.

Files (`feed/adapters`) and topics (`shop/formats`) share these adapters. To add a format, write a module with one
subclass of `Adapter` and name it in `formats.KINDS`. A format that is one mapping is a table of ``shipped.toml``, or of
a shop's contract.
"""
