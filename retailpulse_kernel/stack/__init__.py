"""The local servers: their artifacts, configuration, supervision and health."""
