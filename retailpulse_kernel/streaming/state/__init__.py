"""What a job remembers between micro-batches: the ids that it has seen, and the sums of its windows."""
