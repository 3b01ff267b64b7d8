"""``python -m retailpulse_kernel.cli`` is the command `retailpulse`."""

from retailpulse_kernel.cli import main

main()
