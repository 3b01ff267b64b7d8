"""Notebooks as programs: files, parameters, runs, and the records that runs leave."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("notebooks")
