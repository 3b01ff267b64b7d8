"""What a job remembers between micro-batches: the deduplication index, and the state of its windows."""
