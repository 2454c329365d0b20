"""One run directory from beginning to end: begin, resume, branch, track."""
