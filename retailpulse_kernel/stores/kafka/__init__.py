"""Kafka: the topics, what is in them, and what is sent to them."""
