"""From a manifest to a run: options resolved and checked, pieces built."""
