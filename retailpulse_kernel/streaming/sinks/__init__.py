"""What a job does with the result of a micro-batch."""
