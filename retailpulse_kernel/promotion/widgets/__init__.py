"""Promotion in a notebook: `rp.promote()` and `rp.jobs()`."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("lab")
