"""The stream behind a live view: stored figures and what is newer in Kafka, put together in a process of its own."""
