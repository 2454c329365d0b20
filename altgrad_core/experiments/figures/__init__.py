"""Figures of a report: plain data in, SVG text out; the same data give the same bytes."""
