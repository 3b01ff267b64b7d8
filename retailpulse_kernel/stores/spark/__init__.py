"""Spark: SQL over the archive, and the sessions that jobs and notebooks work in."""

import os

from retailpulse_kernel.ground.extras import require_extra

# gRPC, the Connect client's transport, reads this when it is imported. With its support of forks, a process that has
# used it kills some of its children between fork and exec (https://github.com/grpc/grpc/issues/43055): one in a hundred
# starts of Spark's Java in a notebook that has a Connect session too. Nothing here needs gRPC in a forked child.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

require_extra("streaming")
