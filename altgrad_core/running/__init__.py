"""Manifest and registry become a run; the run becomes records."""
