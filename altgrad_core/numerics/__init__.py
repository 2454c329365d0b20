"""Pure tensor mathematics of number formats; knows no plugin, no layer, no run."""
