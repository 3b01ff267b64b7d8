"""Events for Kafka: made up, or from files of other systems."""
