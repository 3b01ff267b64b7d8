"""Other tools' records as events: what GA4, Segment, Snowplow, Shopify, REES46 and RetailRocket write, one record at a time.

Files (`feed/adapters`) and topics (`shop/formats`) share these adapters. To add a format, write a module with one
subclass of `Adapter` and name it in `formats.KINDS`. A format that is one mapping is a table of ``shipped.toml``, or of
a shop's contract.
"""
