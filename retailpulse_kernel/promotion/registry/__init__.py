"""The promoted versions: manifests, schedules, differences, and an overview of them."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("notebooks")
