"""What happened: the lines of a run, its directory, and the sinks that receive copies."""
