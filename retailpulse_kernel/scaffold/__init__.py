"""New notebooks, made from templates."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("notebooks")
