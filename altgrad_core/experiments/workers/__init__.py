"""Processes that train the cells of a study, and who hands them out."""
