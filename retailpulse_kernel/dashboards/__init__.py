"""Grafana's dashboards as code: made from the definitions of the figures, written to ``grafana/dashboards``."""
