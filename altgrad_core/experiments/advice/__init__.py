"""Advice on recipes, as a file and a page."""
