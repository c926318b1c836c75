"""State that survives a crash: changelog, checkpoints, snapshots and tables."""
