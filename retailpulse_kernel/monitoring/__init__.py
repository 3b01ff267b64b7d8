"""Monitoring: gathers for Prometheus what processes tell, probes the rest, and defines the alerts."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("monitoring")
