"""What a job leaves of its progress: epochs, offsets, accounts, and the lock of its one writer."""
