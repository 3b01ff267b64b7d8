"""Reference tables: how a job reads them, keeps each version, and joins every micro-batch with one that is recorded."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("streaming")
