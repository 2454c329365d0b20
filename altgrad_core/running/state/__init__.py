"""What is written of a run, and read back: serialization and checkpoints."""
