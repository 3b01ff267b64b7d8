"""The read API: the figures over HTTP, exact, for Grafana and whoever else asks."""
