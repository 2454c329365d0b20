"""What the cells of a study show together: comparisons, intervals, sentences, tables."""
