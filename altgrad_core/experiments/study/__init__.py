"""A directory of cells as it is read: what each of them is, and how it ended."""
