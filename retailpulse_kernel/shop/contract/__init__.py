"""The contract: one file that says what a shop's messages hold, read by everything that knows a field."""
