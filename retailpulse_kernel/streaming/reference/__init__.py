"""Reference tables: how a job reads them, keeps each version, and joins every micro-batch with one that is recorded."""
