"""From a topic's messages to judged rows, each event once."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("streaming")
