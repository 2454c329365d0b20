"""Models evaluated under recipes, without training."""
