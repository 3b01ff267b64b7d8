"""Grafana's dashboards as code: made from the definitions of the figures, written to ``grafana/dashboards``."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("monitoring")
