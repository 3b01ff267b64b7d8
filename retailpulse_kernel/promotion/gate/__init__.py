"""The gate: the checks of a notebook before its promotion."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("notebooks")
require_extra("streaming")
