"""From one version to the next: the staged epoch, its catch-up, the cutover, and the rollback."""
