"""One run on several processes: who takes part, how sums are formed, how processes are started."""
