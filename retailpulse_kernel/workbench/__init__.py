"""One line to everything: what ``import retailpulse_kernel as rp`` offers."""
