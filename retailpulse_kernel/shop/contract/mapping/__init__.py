"""Formats of a shop's own: where in a record of its tools the fields of an event are."""
