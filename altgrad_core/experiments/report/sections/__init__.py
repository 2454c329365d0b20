"""The sections of a report, one file each: from a view of the study to sentences, figures and tables."""
