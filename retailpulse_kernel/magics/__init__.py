"""The magics: ``%%cql``, ``%%hive``, ``%%sql``, ``%%hbase``, ``%kafka`` and ``%rp``."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("lab")
