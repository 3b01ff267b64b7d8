"""Other tools' records as events: what GA4, Segment, REES46 and RetailRocket write, one record at a time.

Files (`feed/adapters`) and topics (`shop/formats`) share these adapters. To add a format, write a module with one
subclass of `Adapter` and name it in `formats.ADAPTERS`.
"""
