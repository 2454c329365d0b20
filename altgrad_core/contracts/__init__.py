"""What a plugin author implements. Nothing here imports torch when loaded."""
