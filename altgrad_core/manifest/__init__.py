"""What is wanted: a manifest file becomes validated models. Nothing here imports torch or a plugin."""
