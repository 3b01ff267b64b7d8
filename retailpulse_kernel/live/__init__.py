"""Live views: the stored figures, what is newer in Kafka, and the widget that shows them."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("lab")
