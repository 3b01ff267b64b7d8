"""What a notebook writes down: the streams that it reads, what it makes of them, and where that goes."""
