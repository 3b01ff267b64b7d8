"""Live views: the stored figures, what is newer in Kafka, and the widget that shows them."""
