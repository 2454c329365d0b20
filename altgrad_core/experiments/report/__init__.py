"""The report of a study: sections made from its records, a page and its markdown twin."""
