"""The read API: the figures over HTTP, exact, for Grafana and other clients."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("api")
