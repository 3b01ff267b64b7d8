"""What the jobs write: the tables of a namespace, their rows, and the table that answers a question about figures."""
