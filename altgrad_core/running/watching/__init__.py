"""Monitors in a training loop of one's own, whose records are those of a run."""
